"""Both ends of `lockstep.1` against each other, with connections that break anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.protocol.agent_session import AgentSession
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import MAX_FRAME, MAX_PIECE, SUBPROTOCOL, WINDOW
from lockstep.protocol.messages import (
    Ack,
    AgentMessage,
    Ended,
    FileRead,
    FromAgent,
    FromMaster,
    Hello,
    Interrupt,
    Known,
    MasterMessage,
    Output,
    Refused,
    Start,
    Welcome,
    decode_from_agent,
    decode_from_master,
    encode,
)
from lockstep.protocol.session import Absent, Attached, Cleared, Session, open_session


def hello(*commands: Known, home: str = "home", boot: str = "boot") -> Hello:
    return Hello("1", 60.0, home, boot, "life", commands=commands)


def out(command: str, offset: int, data: bytes) -> Output:
    return Output(command, offset, "stdout", data)


def frame(number: int, *messages: AgentMessage) -> bytes:
    return encode(FromAgent(number, messages))


def opened(*commands: Known, stored: dict[str, int] | None = None) -> Session:
    """A master's session that has welcomed an agent."""
    session = open_session(SUBPROTOCOL, "bot")
    assert session.receive(frame(1, hello(*commands)), 1.0) == [Attached(hello(*commands))]
    session.welcome(stored or {}, "home", "boot")
    session.outgoing()
    return session


def said(session: Session) -> list[MasterMessage]:
    return [message for data in session.outgoing() for message in decode_from_master(data).messages]


class TestMaster:
    def test_first_word(self) -> None:
        session = open_session(SUBPROTOCOL, "bot")
        assert session.outgoing() == []
        with pytest.raises(ProtocolError, match="the agent broke the protocol: Output before") as error:
            session.receive(frame(1, out("1", 0, b"x")), 1.0)
        assert error.value.fault == "agent"

    def test_no_work_before_welcome(self) -> None:
        session = open_session(SUBPROTOCOL, "bot")
        with pytest.raises(ProtocolError) as error:
            session.start("1", "shell", {})
        assert error.value.fault == "master"

    def test_refusal(self) -> None:
        session = open_session(SUBPROTOCOL, "bot")
        session.receive(frame(1, hello()), 1.0)
        session.refuse("no")
        assert said(session) == [Refused("no")]
        assert session.closing
        assert session.receive(frame(2), 2.0) == []

    def test_numbers(self) -> None:
        session = opened()
        with pytest.raises(ProtocolError, match="frame 3 after frame 1"):
            session.receive(frame(3), 1.0)

    def test_heartbeats_are_answered_and_give_the_time(self) -> None:
        session = opened()
        assert session.lease == 60.0
        assert session.receive(frame(2), 7.0) == []
        assert [decode_from_master(data) for data in session.outgoing()] == [FromMaster(2)]
        assert session.last_received == 7.0
        assert session.outgoing() == []

    def test_a_command(self) -> None:
        session = opened()
        session.start("1", "shell", {"command": "true"})
        session.start("1", "shell", {"command": "true"})
        assert said(session) == [Start("1", "shell", {"command": "true"})]
        piece, read, end = out("1", 0, b"abc"), FileRead("1", 0, 5), Ended("1", 3, 0)
        assert session.receive(frame(2, piece, read, end), 2.0) == [piece, read, end]
        session.ack("1", 3)
        session.ack("1", 2)
        session.ack("1", 3, ended=True)
        session.ack("1", 3, ended=True)
        assert said(session) == [Ack("1", 3), Ack("1", 3, True)]

    def test_acknowledging_what_was_not_said_is_the_masters_fault(self) -> None:
        session = opened()
        session.start("1", "shell", {})
        for offset, ended in [(1, False), (0, True)]:
            with pytest.raises(ProtocolError) as error:
                session.ack("1", offset, ended)
            assert error.value.fault == "master"

    @pytest.mark.parametrize(
        "messages",
        [
            (out("1", 1, b"gap"),),
            (out("1", 0, b""),),
            (out("1", 0, b"x" * (MAX_PIECE + 1)),),
            (Ended("1", 5, 0),),
            (Ended("1", 0, 0), out("1", 0, b"x")),
            (Ended("1", 0, 0), Ended("1", 0, 0)),
            (out("2", 0, b"unknown"),),
            (hello(),),
        ],
    )
    def test_what_an_agent_must_not_say(self, messages: tuple[AgentMessage, ...]) -> None:
        session = opened()
        session.start("1", "shell", {})
        with pytest.raises(ProtocolError) as error:
            session.receive(frame(2, *messages), 2.0)
        assert error.value.fault == "agent"

    def test_resume_passes_on_only_what_is_new(self) -> None:
        session = opened(Known("1", "running", 10), stored={"1": 4})
        assert session.receive(frame(2, out("1", 2, b"cd"), out("1", 4, b"e")), 2.0) == [out("1", 4, b"e")]
        assert session.receive(frame(3, out("1", 3, b"defg")), 2.0) == [out("1", 5, b"fg")]

    def test_absent_commands(self) -> None:
        for place, never in [(("home", "boot"), True), (("home", "old"), False), (("", ""), False)]:
            session = open_session(SUBPROTOCOL, "bot")
            session.receive(frame(1, hello()), 1.0)
            assert session.welcome({"1": 0}, *place) == [Absent("1", never)]

    def test_unwanted_commands_are_ended_and_cleared(self) -> None:
        session = open_session(SUBPROTOCOL, "bot")
        session.receive(frame(1, hello(Known("old", "running", 10), Known("over", "ended", 3))), 1.0)
        session.welcome({})
        welcome, interrupt = said(session)
        assert isinstance(welcome, Welcome)
        assert welcome.stored == {"old": 10}
        assert isinstance(interrupt, Interrupt)
        assert session.unwanted == {"old"}
        assert session.receive(frame(2, out("old", 10, b"x"), Ended("old", 11, -1)), 2.0) == [Cleared("old")]
        assert session.unwanted == set()
        assert said(session) == [Ack("old", 11), Ack("old", 11, True)]

    def test_output_lost_in_a_power_cut(self) -> None:
        session = opened(Known("1", "ended", 5), stored={"1": 9})
        end = Ended("1", 5, -1, "lost")
        assert session.receive(frame(2, end), 2.0) == [end]

    def test_sizes(self) -> None:
        session = opened()
        with pytest.raises(ProtocolError, match="at most"):
            session.start("1", "shell", {"command": "x" * MAX_FRAME})
        for i in range(5):
            session.start(f"c{i}", "shell", {"initial_stdin": "x" * 500_000})
        frames = session.outgoing()
        assert len(frames) == 3
        assert all(len(data) <= MAX_FRAME for data in frames)
        with pytest.raises(ProtocolError):
            session.receive(b"\0" * (MAX_FRAME + 1), 1.0)
        with pytest.raises(ProtocolError, match="cannot be read"):
            session.receive(b"\xc1rubbish", 1.0)
        deep = b"\x82\xa6number\x01\xa8messages\x91\x82\xa2op\xa5ended\xa7results\x81\xa1a"
        for dialect in (SUBPROTOCOL, None):
            with pytest.raises(ProtocolError, match="cannot be read"):
                open_session(dialect, "bot").receive(deep + b"\x91" * 100_000 + b"\x01", 1.0)

    def test_unknown_dialect(self) -> None:
        with pytest.raises(ProtocolError, match="chat"):
            open_session("chat", "bot")


class TestAgent:
    def test_lease_counts_from_sending_what_was_answered(self) -> None:
        agent = AgentSession(60.0)
        assert agent.lease_ends_at == 0.0
        agent.open(hello(), 100.0)
        agent.receive(encode(FromMaster(1, (Welcome("1"),))), 130.0)
        assert agent.lease_ends_at == 160.0
        agent.frame((), 140.0)
        agent.frame((), 150.0)
        assert agent.lease_ends_at == 160.0
        agent.receive(encode(FromMaster(2)), 155.0)
        assert agent.lease_ends_at == 200.0
        assert agent.next_heartbeat_at == 160.0
        assert agent.hopeless_at == 195.0
        agent.close()
        agent.open(hello(), 199.0)
        assert agent.lease_ends_at == 200.0, "a new connection alone does not help"

    @pytest.mark.parametrize(
        ("seen", "messages"),
        [(9, ()), (1, (Ack("1", 5),)), (1, (Ack("1", 0, True),)), (1, (Welcome("1"),)), (0, (Refused("x"),))],
    )
    def test_what_a_master_must_not_say(self, seen: int, messages: tuple[MasterMessage, ...]) -> None:
        agent = AgentSession(60.0)
        agent.open(hello(), 0.0)
        agent.receive(encode(FromMaster(1, (Welcome("1"), Start("1", "shell")))), 0.0)
        with pytest.raises(ProtocolError) as error:
            agent.receive(encode(FromMaster(seen, messages)), 0.0)
        assert error.value.fault == "master"

    def test_before_welcome(self) -> None:
        agent = AgentSession(60.0)
        agent.open(hello(), 0.0)
        with pytest.raises(ProtocolError):
            agent.frame((), 0.0)
        with pytest.raises(ProtocolError) as error:
            agent.receive(encode(FromMaster(1, (Start("1", "shell"),))), 0.0)
        assert error.value.fault == "master"

    def test_its_own_mistakes_do_not_leave_it(self) -> None:
        agent = AgentSession(60.0)
        agent.open(hello(), 0.0)
        agent.receive(encode(FromMaster(1, (Welcome("1"), Start("1", "shell")))), 0.0)
        for message in [out("1", 3, b"x"), out("2", 0, b"x"), hello()]:
            with pytest.raises(ProtocolError) as error:
                agent.frame((message,), 0.0)
            assert error.value.fault == "agent"

    def test_window(self) -> None:
        agent = AgentSession(60.0)
        agent.open(hello(), 0.0)
        agent.receive(encode(FromMaster(1, (Welcome("1"), Start("1", "shell")))), 0.0)
        agent.frame((out("1", 0, b"x" * 1000),), 0.0)
        assert agent.room() == WINDOW - 1000
        agent.receive(encode(FromMaster(2, (Ack("1", 600),))), 0.0)
        assert agent.room() == WINDOW - 400

    def test_short_lease(self) -> None:
        with pytest.raises(ValueError, match="too short"):
            AgentSession(0.5)


Step = tuple[str, int]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["produce", "send", "read", "store", "tell", "hear", "cut", "end"]), st.integers(0, 9)
        ),
        max_size=80,
    )
)
def test_whatever_breaks_nothing_is_lost_or_doubled(steps: list[Step]) -> None:
    """Two commands, a link that delivers late and breaks anywhere, a master that stores late and restarts."""
    world = _Pair()
    for what, size in steps:
        world.step(what, size)
    world.finish()
    for command in world.commands:
        assert bytes(world.stored[command]) == bytes(world.produced[command])
        assert world.ends[command] == 1
    assert world.known == {}


class _Pair:
    """An agent and a master, with two queues between them. What the master stores survives it."""

    def __init__(self) -> None:
        self.commands = ["a", "b"]
        self.produced = {command: bytearray() for command in self.commands}
        self.known: dict[str, bool] = {}  # at the agent: whether it has ended
        self.stored = {command: bytearray() for command in self.commands}
        self.ends = dict.fromkeys(self.commands, 0)
        self.agent = AgentSession(60.0)
        self.started: set[str] = set()
        self.connect()

    def connect(self) -> None:
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.unstored: list[Output | Ended] = []
        self.agent.close()
        self.master = open_session(SUBPROTOCOL, "bot")
        known = [Known(c, "ended" if e else "running", len(self.produced[c])) for c, e in self.known.items()]
        self.up.append(self.agent.open(hello(*known), 0.0))

    def step(self, what: str, size: int) -> None:
        running = [command for command, ended in self.known.items() if not ended]
        if what == "produce" and running:
            self.produced[running[size % len(running)]] += b"%d" % size * (size + 1)
        elif what == "end" and running:
            self.known[running[0]] = True
        elif what == "send":
            self.send(size + 1)
        elif what == "read" and self.up:
            self.read(self.up.pop(0))
        elif what == "store" and self.unstored:
            self.store(self.unstored.pop(0))
        elif what == "tell":
            self.down += self.master.outgoing()
        elif what == "hear" and self.down:
            self.hear(self.down.pop(0))
        elif what == "cut":
            self.connect()

    def send(self, size: int) -> None:
        if self.agent.state != "open":
            return
        batch: list[AgentMessage] = []
        for command, ended in self.known.items():
            at = self.agent.position(command)
            if at is None or self.agent.end_sent(command):
                continue
            data = bytes(self.produced[command][at : at + size])
            if data:
                batch.append(out(command, at, data))
            if ended and at + len(data) == len(self.produced[command]):
                batch.append(Ended(command, len(self.produced[command]), 0))
        self.up.append(self.agent.frame(batch, 0.0))

    def read(self, data: bytes) -> None:
        for event in self.master.receive(data, 0.0):
            if isinstance(event, Attached):
                wanted = {c: len(self.stored[c]) for c in self.commands if not self.ends[c]}
                for absent in self.master.welcome(wanted, "home", "boot"):
                    assert isinstance(absent, Absent)
                    self.master.start(absent.command, "shell", {})
            else:
                assert isinstance(event, Output | Ended)
                self.unstored.append(event)

    def store(self, event: Output | Ended) -> None:
        if isinstance(event, Output):
            assert event.offset == len(self.stored[event.command])
            self.stored[event.command] += event.data
            self.master.ack(event.command, len(self.stored[event.command]))
        else:
            self.ends[event.command] += 1
            self.master.ack(event.command, event.produced, ended=True)

    def hear(self, data: bytes) -> None:
        for message in self.agent.receive(data, 0.0):
            if isinstance(message, Start) and message.command not in self.known:
                assert message.command not in self.started, "never run twice"
                self.started.add(message.command)
                self.known[message.command] = False
            elif isinstance(message, Welcome):
                for command in list(self.known):
                    if command not in message.stored:
                        assert self.known[command]
                        del self.known[command]
            elif isinstance(message, Ack) and message.ended:
                del self.known[message.command]

    def finish(self) -> None:
        for _ in range(400):
            for what in ["read", "store", "tell", "hear", "send"]:
                self.step(what, 999)
            if len(self.started) == 2:
                for command in self.known:
                    self.known[command] = True
            if len(self.started) == 2 and not self.known and not self.unstored:
                return
        raise AssertionError("it does not come to an end")


def test_frames_are_what_they_were() -> None:
    message = FromAgent(3, (out("1", 5, b"\0\xff"), Ended("1", 7, -1, "timeout", "late", 1.5, {"files": ["a"]})))
    assert decode_from_agent(encode(message)) == message
