"""Wrong passwords of workers: slowed down where they come from, and nowhere else."""

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_client import Client, serving, until

from lockstep.master import doorkeeper
from lockstep.master.guesses import Guesses, guesser
from lockstep.master.limits import GUESS_SECONDS, MAX_GUESSERS, MAX_GUESSES
from lockstep.master.server import Server

LONG = 3600.0
"""Seconds that no test takes, however slow the machine is."""
WHO = ("w1", "10.0.0.1", "10.0.0.1")


def test_after_some_guesses_there_is_one_in_a_while() -> None:
    guesses = Guesses()
    for _ in range(MAX_GUESSES):
        assert guesses.wait(WHO, 0) == 0
        guesses.begin(WHO, 0)
    assert guesses.wait(WHO, 0) == GUESS_SECONDS
    looked_at = 0
    for second in range(int(100 * GUESS_SECONDS)):
        if guesses.wait(WHO, second) == 0:
            guesses.begin(WHO, second)
            looked_at += 1
    assert looked_at == 99
    assert guesses.wait(WHO, 200 * GUESS_SECONDS) == 0


def test_passwords_that_come_at_once_count_before_they_are_looked_at_and_right_ones_do_not() -> None:
    guesses = Guesses()
    for _ in range(MAX_GUESSES):
        guesses.begin(WHO, 0)
    assert guesses.wait(WHO, 0) > 0
    guesses.right(WHO, 0)
    assert guesses.wait(WHO, 0) == 0
    for _ in range(MAX_GUESSES - 1):
        guesses.right(WHO, 0)
    assert len(guesses) == 0
    for at in range(1000):
        guesses.begin(WHO, at)
        guesses.right(WHO, at)
    assert len(guesses) == 0


def test_whoever_has_many_addresses_fills_no_memory() -> None:
    guesses = Guesses()
    for number in range(3 * MAX_GUESSERS):
        guesses.begin(("w1", str(number), str(number)), number / 1000)
    assert len(guesses) == MAX_GUESSERS


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("host", "host", True),
    ],
)
def test_what_addresses_are_the_same_guesser(one: str, other: str, same: bool) -> None:
    told = [guesser("w", {"client": (each, 1), "peer": ("127.0.0.1", 2)}) for each in (one, other)]
    assert (told[0] == told[1]) == same
    assert guesser("w", {"client": ("10.0.0.1", 1), "peer": ("10.0.0.1", 2)}) != told[0]
    assert guesser("w", {}) == ("w", "somewhere", "somewhere")


CONFIG = "c['workers'] += [worker.Worker('w2', 'other'), worker.LocalWorker('here')]\nc['builders'] = [build('b')]"


async def refusal(server: Server, password: str, name: str = "w1", address: str = "10.6.6.6") -> str:
    """What is said to somebody who is not let in."""
    client = Client(server, name, password, address)
    await until(lambda: client.refusal, "a refusal")
    return client.refusal


async def comes_in(server: Server, name: str, password: str, address: str) -> bool:
    """Whether its password is taken. (What follows may be that a worker of its name is connected already.)"""
    client = Client(server, name, password, address)
    client.hello()
    await until(lambda: client.closed or client.heard, "an answer")
    await client.close()
    return not client.refusal


def test_guesses_keep_no_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.master.guesses.GUESS_SECONDS", LONG)

    async def scene() -> None:
        async with serving(tmp_path, CONFIG) as server:
            for number in range(MAX_GUESSES):
                assert "is wrong" in await refusal(server, f"guess{number}")
            assert "too many wrong passwords for 'w1'" in await refusal(server, "guess")
            assert "try again in" in await refusal(server, "secret"), "nothing may tell that this one is right"
            assert await comes_in(server, "w1", "secret", "10.0.0.1")
            assert await comes_in(server, "w2", "other", "10.6.6.6")
            for _ in range(MAX_GUESSES):
                await refusal(server, "x", "here")
            assert "too many" in await refusal(server, "x", "here")
            assert await comes_in(server, "here", server.local.password("here"), "10.6.6.6")
            for number in range(2 * MAX_GUESSES):
                assert "there is no worker" in await refusal(server, "x", "nobody")
                assert "there is no worker" in await refusal(server, "x", f"nobody{number}")
            assert len(server.agents._doorkeeper._guesses) == 2

    asyncio.run(scene())


def test_made_up_names_do_not_flood_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "REFUSAL_PERIOD", LONG)
    monkeypatch.setattr(doorkeeper, "MAX_REFUSED", 20)

    async def scene() -> None:
        async with serving(tmp_path, CONFIG) as server:
            for number in range(30):
                await refusal(server, "x", "n" * 5000 + str(number))

    asyncio.run(scene())
    told = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert len(told) == 20
    assert max(map(len, told)) < 5000
