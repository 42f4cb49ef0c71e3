"""What agents say, on connections that break, come twice, or lie: nothing is doubled, lost, or told too early."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import DEADLINE, Client, at_work, force, no_commits, serving, until

from lockstep.core import events as e
from lockstep.core.facts import CommandOver
from lockstep.core.nouns import Result
from lockstep.core.values import RequestWish, Submission
from lockstep.master.server import Server
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import MAX_PIECE
from lockstep.protocol.master_session import MasterSession
from lockstep.protocol.messages import (
    Ack,
    Ended,
    FileRead,
    FromAgent,
    Hello,
    Known,
    Output,
    Shutdown,
    Start,
    Welcome,
    encode,
)
from lockstep.storage.batch import Batch


@pytest.fixture(autouse=True)
def patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """`no_commits` takes longer on a busy machine than a store waits for another program."""
    monkeypatch.setattr("lockstep.storage.opening.BUSY_SECONDS", DEADLINE)


SHELL = "c['builders'] = [build('one', steps.ShellCommand(command=['true']))]"


def played(folder: Path, config: str, play: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    """Run a server with this configuration, and play with it."""

    async def scene() -> None:
        async with serving(folder, config) as server:
            await play(server)

    asyncio.run(scene())


def said(server: Server) -> str:
    """The lines of the first log, as they are stored, without headers."""
    text = str(server.reads.log_contents(1)["content"])
    return "".join(line[1:] + "\n" for line in text.splitlines() if line.startswith("o"))


async def ended(server: Server) -> Result:
    """Wait for the first build's end."""
    found = await until(lambda: [b for b in server.reads.page("builds").items if b["complete"]], "the build's end")
    return Result(found[0]["results"])


def test_what_a_replaced_connection_still_delivers_is_not_taken_twice(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        first, command = await at_work(server, "one")
        first.say(Output(command, 0, "stdout", b"one\n"))
        await until(lambda: first.told(Ack), "the first line to be stored")
        second = Client(server)
        second.hello(Known(command, "running", 8))
        assert (await second.welcomed()).stored == {command: 4}
        first.say(Output(command, 4, "stdout", b"two\n"), Ended(command, 8, 1))
        second.say(Output(command, 4, "stdout", b"two\n"), Ended(command, 8, 0))
        assert await ended(server) == Result.SUCCESS
        assert said(server) == "one\ntwo\n"
        await until(lambda: not server.agents.outputs.at("w1"), "the command to be forgotten")

    played(tmp_path, SHELL, play)


def test_an_agent_is_told_only_what_is_stored(tmp_path: Path) -> None:
    """Neither output nor ends that a killed server would not know any more (HOUSE 2.7)."""

    async def play(server: Server) -> None:
        first, command = await at_work(server, "one")
        second = Client(server)
        with no_commits(tmp_path):
            first.say(Output(command, 0, "stdout", b"one\n"), Ended(command, 4, 0))
            await until(lambda: command not in server.loop.state.commands, "the end")
            second.hello(Known(command, "ended", 4))
            await until(lambda: first.closed, "the first connection to be closed")
            await until(lambda: len(server.loop._flights) > 0, "a commit")
            assert not second.told(Welcome)
            assert not first.told(Ack)
        # The end is stored by now: the agent forgets the command with this.
        assert (await second.welcomed()).stored == {}
        assert await ended(server) == Result.SUCCESS

    played(tmp_path, SHELL, play)


def test_what_the_first_connection_said_is_welcomed_when_it_is_stored(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        first, command = await at_work(server, "one")
        second = Client(server)
        with no_commits(tmp_path):
            first.say(Output(command, 0, "stdout", b"one\n"))
            await until(lambda: server.agents.outputs.at("w1")[command] == 4, "the output")
            second.hello(Known(command, "running", 4))
            await until(lambda: first.closed, "the first connection to be closed")
            await until(lambda: len(server.loop._flights) > 0, "a commit")
            assert not second.told(Welcome)
        assert (await second.welcomed()).stored == {command: 4}

    played(tmp_path, SHELL, play)


def test_lines_are_stored_together_with_how_far_they_are(tmp_path: Path) -> None:
    """Whatever commits come in between: a killed server asks for nothing twice."""

    async def play(server: Server) -> None:
        batches: list[Batch] = []
        put = server.writer.put

        def recorded(batch: Batch, done: Callable[[str], None]) -> None:
            batches.append(batch)
            put(batch, done)

        server.loop._writer.put = recorded  # type: ignore[method-assign]
        client, command = await at_work(server, "one")
        for number in range(50):
            client.say(Output(command, 4 * number, "stdout", b"abc\n"))
            server.loop.after_commit(lambda: None)  # a commit in the very turn in which the output is taken
            await asyncio.sleep(0)
        client.say(Ended(command, 200, 0))
        assert await ended(server) == Result.SUCCESS
        lines = offset = 0
        for batch in batches:
            lines += sum(part.text.count("oabc\n") for part in batch.parts)
            offset = max([offset, *(progress.offset for progress in batch.progress)])
            if any(isinstance(numbered.fact, CommandOver) for numbered in batch.facts):
                break
            assert offset == 4 * lines
        assert lines == 50

    played(tmp_path, SHELL, play)


def test_bytes_of_a_file_that_nobody_asked_for_are_dropped(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        client, command = await at_work(server, "one")
        client.say(Output(command, 0, "file", b"evil"), Output(command, 4, "stdout", b"said\n"), Ended(command, 9, 0))
        assert await ended(server) == Result.SUCCESS
        assert said(server) == "said\n"

    played(tmp_path, SHELL, play)
    assert not list(tmp_path.rglob("*.part"))


def test_an_archive_that_cannot_be_read_ends_its_step(tmp_path: Path) -> None:
    config = """
    up = steps.DirectoryUpload(workersrc='d', masterdest='got', compress='gz')
    c['builders'] = [build('one', up)]
    """

    async def play(server: Server) -> None:
        client, command = await at_work(server, "one")
        torn = bytes.fromhex("1f8b0800000000000203edcfb10d80300c44d194ae18c1238c92") + b"\0" * 20
        client.say(Output(command, 0, "file", torn), Ended(command, len(torn), 0))
        assert await ended(server) == Result.FAILURE
        await until(lambda: [ack for ack in client.told(Ack) if ack.ended], "the acknowledgement")
        assert "cannot store got: " in "".join(server.reads.log_raw(1, "s"))

    played(tmp_path, config, play)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [("OSError('no vault')", "OSError: no vault"), ("KeyError(entry)", "there is no secret 'pw'")],
)
def test_a_provider_that_fails_ends_the_step_and_refuses_its_worker(tmp_path: Path, error: str, sentence: str) -> None:
    config = f"""
    from lockstep.config.secrets import SecretProviderBase
    class Vault(SecretProviderBase):
        async def get(self, entry):
            raise {error}
    c['secretsProviders'] = [Vault()]
    c['workers'].append(worker.Worker('w2', util.Secret('pw')))
    c['builders'] = [build('one', steps.ShellCommand(command=['echo', util.Secret('pw')]))]
    """

    async def play(server: Server) -> None:
        other = Client(server, "w2")
        await other.task
        assert "cannot be checked now" in other.refusal
        client = Client(server)
        client.hello()
        await client.welcomed()
        await force(server, "one")
        assert await ended(server) in (Result.FAILURE, Result.EXCEPTION)
        assert not client.told(Start)
        assert sentence in "".join(server.reads.log_raw(1, "s"))

    played(tmp_path, config, play)


def test_secrets_that_must_be_waited_for_reach_commands_and_doors(tmp_path: Path) -> None:
    config = """
    from lockstep.config.secrets import SecretProviderBase
    class Vault(SecretProviderBase):
        async def get(self, entry):
            return 'first line\\nsecond line'
    c['secretsProviders'] = [Vault()]
    c['workers'].append(worker.Worker('w2', util.Secret('pw')))
    c['builders'] = [build('one', steps.ShellCommand(command=['echo', util.Secret('pw')]))]
    """

    async def play(server: Server) -> None:
        other = Client(server, "w2", "first line\nsecond line")
        other.hello()
        await other.welcomed()
        client, command = await at_work(server, "one")
        assert "first line" in str((await client.started()).args)
        pieces = (b"it is: fir", b"st line\nsec", b"ond line, yes", b"\nand second lin")
        at = 0
        for piece in pieces:
            client.say(Output(command, at, "stdout", piece))
            at += len(piece)
        end = Ended(command, at, 1, "error", "cannot run 'first line'", results={"files": ["second line"]})
        client.say(end)
        assert await ended(server) == Result.FAILURE
        assert said(server) == "it is: <pw>\n<pw>, yes\nand second lin\n"
        assert "first line" not in str(server.reads.facts_after(0))
        assert "second line" not in str(server.reads.facts_after(0))

    played(tmp_path, config, play)


def test_what_cannot_be_masked_after_a_restart_is_not_kept(tmp_path: Path) -> None:
    config = """
    from lockstep.config.secrets import SecretProviderBase
    class Vault(SecretProviderBase):
        async def get(self, entry):
            return %s
    c['secretsProviders'] = [Vault()]
    c['builders'] = [build('one', steps.ShellCommand(command=['echo', util.Secret('pw')]))]
    """
    commands = []

    async def before(server: Server) -> None:
        client, command = await at_work(server, "one")
        client.say(Output(command, 0, "stdout", b"it is hunter2\n"))
        await until(lambda: client.told(Ack), "the line to be stored")
        commands.append(command)

    async def after(server: Server) -> None:
        client, (command,) = Client(server), commands
        client.hello(Known(command, "running", 50))
        offset = (await client.welcomed()).stored[command]
        client.say(Output(command, offset, "stdout", b"still hunter2\n"), Ended(command, offset + 14, 0))
        assert await ended(server) == Result.SUCCESS
        assert said(server) == "it is <pw>\n"
        assert "what is said from here on is not kept" in str(server.reads.log_contents(1)["content"])

    played(tmp_path, config % "'hunter2'", before)
    played(tmp_path, config % "None", after)


def test_an_end_in_order_of_the_agent_is_tried_again(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        client, command = await at_work(server, "one")
        client.say(Ended(command, 0, -1, "shutdown", "the worker is stopped"))
        assert await ended(server) == Result.RETRY

    played(tmp_path, SHELL, play)


@pytest.mark.parametrize("says_so", [True, False])
def test_an_agent_that_is_being_stopped_gets_no_other_command(tmp_path: Path, says_so: bool) -> None:
    """An older one does not say so in its frames: the first end that it tells does."""

    async def play(server: Server) -> None:
        client, command = await at_work(server, "one")
        if says_so:
            client.session.leaving = True
            client.say()
            await until(lambda: client.told(Shutdown), "the server to let it go")
        client.say(Ended(command, 0, -1, "shutdown", "the worker is stopped"))
        assert await ended(server) == Result.RETRY
        await until(lambda: client.told(Shutdown), "the server to let it go")
        await until(lambda: [ack for ack in client.told(Ack) if ack.ended], "the end to be stored")
        await client.close()
        await until(lambda: server.loop.state.workers["w1"].state == "absent", "its going")
        assert len(client.told(Start)) == 1
        assert not server.loop.state.builds

    played(tmp_path, SHELL, play)


def test_a_command_that_is_decided_while_its_agent_goes_is_not_sent(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        client = Client(server)
        client.hello()
        await client.welcomed()
        await until(lambda: server.loop.state.workers["w1"].state == "connected", "the worker")
        await server.loop.settle()  # the connection has its number then
        with no_commits(tmp_path):
            server.loop.post(e.Submitted(submission=Submission(requests=(RequestWish(builder="one"),))))
            await until(lambda: server.loop.state.commands, "a command")
            client.session.leaving = True
            client.say()
            await until(lambda: server.loop.state.workers["w1"].state == "leaving", "the word")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
                assert "being stopped" in (await http.get("/workers")).text
        assert await ended(server) == Result.RETRY
        await until(lambda: client.told(Shutdown), "the server to let it go")
        assert not client.told(Start)

    played(tmp_path, SHELL, play)


def test_an_end_of_a_former_life_says_nothing_of_this_one(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        first, command = await at_work(server, "one")
        await first.close()
        second = Client(server)
        second.hello(Known(command, "ended"))
        await second.welcomed()
        second.say(Ended(command, 0, -1, "shutdown", "the worker is stopped"))
        again = await second.started()
        second.say(Ended(again.command, 0, 0))
        await until(lambda: len(server.reads.page("builds").items) == 2, "a second build")
        await until(lambda: not server.loop.state.builds, "its end")
        assert server.loop.state.workers["w1"].state == "connected"

    played(tmp_path, SHELL, play)


def test_a_command_that_ended_by_itself_is_forgotten_while_its_agent_is_away(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        client, command = await at_work(server, "one")
        assert server.agents.outputs.at("w1") == {command: 0}
        await client.close()
        await until(lambda: server.loop.state.workers["w1"].state == "unreachable", "the loss")
        server.loop.post(e.WorkerDeclaredDead(worker="w1"))
        assert await ended(server) == Result.RETRY
        await until(lambda: not server.agents.outputs.at("w1"), "the command to be forgotten")

    played(tmp_path, SHELL, play)


def greeted() -> MasterSession:
    """A session with one command that runs."""
    session = MasterSession("w1")
    hello = Hello("test", 60.0, "home", "boot", "life", commands=(Known("c", "running"),))
    session.receive(encode(FromAgent(1, (hello,))), 0.0)
    session.welcome({"c": 0})
    return session


@pytest.mark.parametrize(
    "reads",
    [[(-1, 5)], [(0, -1)], [(0, 0)], [(0, MAX_PIECE + 1)], [(1 << 63, 5)], [(0, 5), (5, 5)]],
)
def test_only_pieces_that_fit_are_read_one_at_a_time(reads: list[tuple[int, int]]) -> None:
    frame = FromAgent(2, tuple(FileRead("c", offset, length) for offset, length in reads))
    with pytest.raises(ProtocolError, match="it wants"):
        greeted().receive(encode(frame), 0.0)
    session = greeted()
    for number in (2, 3):
        session.receive(encode(FromAgent(number, (FileRead("c", 0, MAX_PIECE),))), 0.0)
        session.file_chunk("c", 0, b"x")
