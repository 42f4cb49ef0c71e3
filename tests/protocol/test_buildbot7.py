"""The codec of `msgpack_experimental_v7` alone; the real worker is in
`tests/worker/test_buildbot_worker.py`.
"""

from typing import Any

import msgspec
import pytest

from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import MAX_PIECE
from lockstep.protocol.messages import Ended, FileRead, Output
from lockstep.protocol.session import Absent, Attached, Event, Session, open_session


def sent(session: Session) -> list[dict[str, Any]]:
    return [msgspec.msgpack.decode(data) for data in session.outgoing()]


def tell(session: Session, now: float = 1.0, **message: Any) -> list[Event]:
    return session.receive(msgspec.msgpack.encode(message), now)


def info(**more: Any) -> dict[str, Any]:
    commands = {"shell": "3.3", "mkdir": "3.3"}
    return {"basedir": "/bb", "system": "posix", "version": "4.3.0", "worker_commands": commands, **more}


def opened(stored: dict[str, int] | None = None, **more: Any) -> Session:
    session = open_session(None, "bot")
    (ask,) = sent(session)
    assert ask["op"] == "get_worker_info"
    (event,) = tell(session, op="response", seq_number=ask["seq_number"], result=info(**more))
    assert isinstance(event, Attached)
    session.welcome(stored or {})
    return session


def started(kind: str = "shell", **args: Any) -> tuple[Session, dict[str, Any]]:
    session = opened()
    session.start("c", kind, args or {"command": "true"})
    return session, sent(session)[-1]


def update(session: Session, number: int, *pairs: Any) -> list[Event]:
    return tell(session, op="update", seq_number=number, command_id="c", args=[list(pair) for pair in pairs])


def text(words: str) -> list[Any]:
    return [words, [len(words) - 1], [12.5]]


def test_environment_is_dropped_and_settings_are_sent() -> None:
    session = opened(environ={"TOKEN": "hush"}, TOKEN="hush", admin="me")
    assert session.hello is not None
    assert "hush" not in repr(session.hello)
    assert session.hello.info["admin"] == "me"
    assert session.hello.kinds == ("shell", "mkdir")
    (settings,) = sent(session)
    assert settings["op"] == "set_worker_settings"
    assert 0.1 <= settings["args"]["buffer_timeout"] <= 0.5


def test_paths_are_joined_and_secrets_are_plain() -> None:
    hidden = ["obfuscated", "real", "XX"]
    session, message = started(command=["a", hidden], workdir="b/../c", env={"P": hidden, "L": ["1", "2"]})
    assert message["op"] == "start_command"
    args = message["args"]
    assert (args["command"], args["workdir"], args["env"]) == (["a", "real"], "/bb/c", {"P": "real", "L": ["1", "2"]})
    assert args["logEnviron"] is False
    session.start("c", "shell", {"command": "true"})
    assert sent(session) == []
    _, message = started("mkdir", paths=["x", "/y"])
    assert message["args"]["paths"] == ["/bb/x", "/y"]
    windows = opened(system="nt", basedir="C:\\bb")
    windows.start("c", "mkdir", {"paths": ["x/y"]})
    assert sent(windows)[-1]["args"]["paths"] == ["C:\\bb\\x\\y"]


def test_updates_in_any_order_before_the_response() -> None:
    session, start = started()
    events = update(
        session,
        0,
        ("rc", 3),
        ("stderr", text("err\n")),
        ("log", ["l", text("x\n")]),
        ("elapsed", 0.5),
        ("stdout", text("o\n")),
    )
    assert events == [
        Output("c", 0, "stderr", b"err\n", 12.5),
        Output("c", 4, "log:l", b"x\n", 12.5),
        Output("c", 6, "stdout", b"o\n", 12.5),
    ]
    assert tell(session, op="complete", seq_number=1, command_id="c", args=None) == [Ended("c", 8, 3, elapsed=0.5)]
    assert [message["result"] for message in sent(session)] == [None, None]
    assert tell(session, op="response", seq_number=start["seq_number"], result=None) == []
    session.ack("c", 8, ended=True)


def test_an_exit_code_is_a_number_whatever_the_worker_says() -> None:
    for said, rc in ((True, 1), (False, 0)):
        session, _ = started()
        update(session, 0, ("rc", said))
        (end,) = tell(session, op="complete", seq_number=1, command_id="c", args=None)
        assert isinstance(end, Ended)
        assert type(end.rc) is int
        assert end.rc == rc


def test_reasons() -> None:
    for said, reason in [("timeout", "timeout"), ("max_lines_failure", "max_lines_failure"), ("odd", "error")]:
        session, _ = started()
        update(session, 0, ("failure_reason", said), ("rc", -1))
        (end,) = tell(session, op="complete", seq_number=1, command_id="c", args=None)
        assert isinstance(end, Ended)
        assert (end.rc, end.reason) == (-1, reason)
    session, _ = started()
    session.interrupt("c", "enough")
    assert sent(session)[-1]["op"] == "interrupt_command"
    (end,) = tell(session, op="complete", seq_number=1, command_id="c", args=None)
    assert isinstance(end, Ended)
    assert end.reason == "interrupted"


def test_a_command_that_is_not_started() -> None:
    session, start = started()
    events = tell(session, op="response", seq_number=start["seq_number"], result="unknown", is_exception=True)
    assert events == [Ended("c", 0, -1, "refused", "unknown")]


def test_old_commands_are_interrupted_and_absent_after_the_answer() -> None:
    session = opened({"old": 5})
    interrupt = sent(session)[-1]
    assert (interrupt["op"], interrupt["command_id"]) == ("interrupt_command", "old")
    late = tell(session, op="update", seq_number=0, command_id="old", args=[["rc", 0]])
    assert late == []
    assert tell(session, op="response", seq_number=interrupt["seq_number"], result=None) == [Absent("old", False)]


def test_files() -> None:
    session, _ = started("download_file", path="f")
    assert tell(session, op="update_read_file", seq_number=4, command_id="c", length=10**9) == [
        FileRead("c", 0, MAX_PIECE)
    ]
    assert sent(session) == []
    session.file_chunk("c", 0, b"data")
    assert sent(session) == [{"op": "response", "seq_number": 4, "result": b"data"}]
    assert tell(session, op="update_read_file", seq_number=5, command_id="c", length=10) == [FileRead("c", 4, 10)]
    session.file_failed("c", "gone")
    assert sent(session) == [{"op": "response", "seq_number": 5, "result": "gone", "is_exception": True}]
    session, _ = started("upload_file", path="f")
    big = b"x" * (MAX_PIECE + 1)
    events = tell(session, op="update_upload_file_write", seq_number=0, command_id="c", args=big)
    assert [(e.offset, len(e.data)) for e in events if isinstance(e, Output)] == [(0, MAX_PIECE), (MAX_PIECE, 1)]
    session.file_failed("c", "full")
    sent(session)
    assert tell(session, op="update_upload_file_write", seq_number=1, command_id="c", args=b"x") == []
    assert sent(session)[0]["is_exception"] is True


def test_refusal_is_printed() -> None:
    session = open_session("", "bot")
    session.refuse("already here")
    (message,) = sent(session)
    assert (message["op"], message["message"]) == ("print", "already here")
    assert session.closing


def test_one_keepalive_at_a_time() -> None:
    session = opened()
    sent(session)
    session.ask()
    session.ask()
    (message,) = sent(session)
    tell(session, 9.0, op="response", seq_number=message["seq_number"], result=None)
    assert session.last_received == 9.0
    session.ask()
    assert len(sent(session)) == 1


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"op": "update"},
        {"op": "response", "seq_number": 99, "result": None},
        {"op": "update", "seq_number": 1, "args": []},
        {"op": "update", "seq_number": 1, "command_id": "c", "args": [["stdout", 5]]},
        {"op": "update", "seq_number": 1, "command_id": "c", "args": 5},
        {"op": "update_read_file", "seq_number": 1, "command_id": "c", "length": "x"},
        {"op": "update_upload_file_write", "seq_number": 1, "command_id": "c", "args": "text"},
    ],
)
def test_rubbish_is_the_workers_fault(message: Any) -> None:
    session, _ = started()
    with pytest.raises(ProtocolError) as error:
        session.receive(msgspec.msgpack.encode(message), 1.0)
    assert error.value.fault == "agent"


def test_wrong_arguments_are_the_masters_fault() -> None:
    session = opened()
    with pytest.raises(ProtocolError, match="fly") as error:
        session.start("1", "fly", {})
    assert error.value.fault == "master"
