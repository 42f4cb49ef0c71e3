"""Records of commands: new and old names, defaults, mistakes."""

from typing import Any

import pytest

from lockstep.protocol.commands import (
    CopyTree,
    DownloadFile,
    LogFile,
    MakeDirectories,
    OnePath,
    RemoveTrees,
    Shell,
    UploadFile,
    command_args,
    parse_command,
    signal_number,
)


def test_shell() -> None:
    args: dict[str, Any] = {
        "command": "x",
        "maxTime": 5,
        "usePTY": True,
        "logfiles": {"a": "b", "c": {"filename": "d"}},
    }
    kind, record = parse_command("shell", args)
    assert kind == "shell"
    assert isinstance(record, Shell)
    assert (record.max_time, record.use_pty, record.interrupt_signal) == (5, True, "KILL")
    assert record.logfiles == {"a": "b", "c": LogFile("d")}
    assert command_args(record)["maxTime"] == 5


@pytest.mark.parametrize(
    ("kind", "args", "record"),
    [
        ("mkdir", {"dir": "a"}, MakeDirectories(["a"])),
        ("rmdir", {"dir": ["a", "b"]}, RemoveTrees(["a", "b"])),
        ("cpdir", {"fromdir": "a", "todir": "b"}, CopyTree("a", "b")),
        ("stat", {"file": "a", "workdir": "w"}, OnePath("w/a")),
        ("uploadFile", {"workersrc": "a", "workdir": "w"}, UploadFile("w/a")),
        ("downloadFile", {"workerdest": "/a", "workdir": "w", "mode": 0o644}, DownloadFile("/a", mode=0o644)),
    ],
)
def test_old_names(kind: str, args: dict[str, Any], record: object) -> None:
    assert parse_command(kind, args)[1] == record


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [
        ("fly", {}, "there is no command 'fly'"),
        ("shell", {}, "command"),
        ("shell", {"command": ""}, "empty"),
        ("shell", {"command": "x", "timout": 5}, "timout"),
        ("shell", {"command": "x", "env": {"A=B": "c"}}, "A=B"),
        ("shell", {"command": "x", "interruptSignal": "PANIC"}, "PANIC"),
        ("upload_file", {"path": "x", "blocksize": 0}, "blocksize"),
        ("upload_directory", {"path": "x", "compress": "zip"}, "zip"),
        ("mkdir", {"paths": 5}, "paths"),
    ],
)
def test_mistakes(kind: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_command(kind, args)


def test_signals() -> None:
    assert signal_number("KILL") == signal_number("SIGKILL") == 9
