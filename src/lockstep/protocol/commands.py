"""The commands a worker can run, as records with Buildbot's argument names. Only values and their checks
live here.

The names are those of Buildbot's manual for `msgpack_experimental_v7`. The older names that `RemoteCommand`
takes in configurations (`dir`, `file`, `fromdir`, `todir`, `workersrc`, `workerdest`, `uploadFile`, …) are
understood too. Relative paths are relative to the worker's base directory (a `workdir` is `BUILDDIR/build`,
for example).

A string that must not be shown (in `command` and `env`) is the triple `["obfuscated", real, shown]`.
"""

import posixpath
import signal
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

Word = str | list[str]
"""A string, or a triple that hides one: see `real_word` and `shown_word`."""


class LogFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that is followed while a command runs. With `follow`, only what is appended after the start."""

    filename: str
    follow: bool = False


_SHELL_NAMES: Final = {
    "max_time": "maxTime",
    "sigterm_time": "sigtermTime",
    "use_pty": "usePTY",
    "log_environ": "logEnviron",
    "interrupt_signal": "interruptSignal",
}


class Shell(Struct, frozen=True, forbid_unknown_fields=True, rename=_SHELL_NAMES, kw_only=True):
    """Run a program. A `command` that is a string goes to `/bin/sh -c`.

    `env`: added to the worker's own; `${NAME}` stands for the worker's value, None removes, a list is a
    path; the worker's own PYTHONPATH is kept behind a given one. `timeout`: seconds without output;
    `maxTime`: seconds in all (None or 0, as in Buildbot: no such limit); `max_lines`: of output;
    `sigtermTime`: seconds between SIGTERM and SIGKILL (None: SIGKILL at once). `interruptSignal`: what an
    Interrupt sends first.
    """

    command: str | list[Word]
    workdir: str = ""
    env: dict[str, str | list[str] | None] = {}
    want_stdout: bool = True
    want_stderr: bool = True
    logfiles: dict[str, str | LogFile] = {}
    timeout: float | None = None
    max_time: float | None = None
    max_lines: int | None = None
    sigterm_time: float | None = None
    use_pty: bool = False
    initial_stdin: str | None = None
    log_environ: bool = True
    interrupt_signal: str = "KILL"


class UploadFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Send a file to the master, in the stream `file`. `maxsize`: bytes; a longer one fails."""

    path: str
    maxsize: int | None = None
    blocksize: int = 65536
    keepstamp: bool = False


class UploadDirectory(Struct, frozen=True, forbid_unknown_fields=True):
    """Send a directory as a tar archive; `compress` is None, `gz` or `bz2`."""

    path: str
    maxsize: int | None = None
    blocksize: int = 65536
    compress: str | None = None


class DownloadFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Fetch a file from the master. `mode`: permission bits of the new file, None for the usual ones."""

    path: str
    maxsize: int | None = None
    blocksize: int = 65536
    mode: int | None = None


class OnePath(Struct, frozen=True, forbid_unknown_fields=True):
    """What `listdir`, `stat`, `glob` (a pattern) and `rmfile` take."""

    path: str


class MakeDirectories(Struct, frozen=True, forbid_unknown_fields=True, rename={"log_environ": "logEnviron"}):
    """Make directories with their parents; existing ones are fine."""

    paths: list[str]
    log_environ: bool = False


class RemoveTrees(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"log_environ": "logEnviron", "max_time": "maxTime"},
):
    """Remove directories or files with all that is in them; missing ones are fine."""

    paths: list[str]
    timeout: float | None = 120
    max_time: float | None = None
    log_environ: bool = False


class CopyTree(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"log_environ": "logEnviron", "max_time": "maxTime"},
):
    """Copy a directory, with links, times and permissions."""

    from_path: str
    to_path: str
    timeout: float | None = 120
    max_time: float | None = None
    log_environ: bool = False


Command = Shell | UploadFile | UploadDirectory | DownloadFile | OnePath | MakeDirectories | RemoveTrees | CopyTree

KINDS: Final[Mapping[str, type[Any]]] = {
    "shell": Shell,
    "upload_file": UploadFile,
    "upload_directory": UploadDirectory,
    "download_file": DownloadFile,
    "listdir": OnePath,
    "mkdir": MakeDirectories,
    "rmdir": RemoveTrees,
    "cpdir": CopyTree,
    "stat": OnePath,
    "glob": OnePath,
    "rmfile": OnePath,
}

PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "shell": ("workdir",),
    "mkdir": ("paths",),
    "rmdir": ("paths",),
    "cpdir": ("from_path", "to_path"),
    "upload_file": ("path",),
    "upload_directory": ("path",),
    "download_file": ("path",),
    "listdir": ("path",),
    "stat": ("path",),
    "glob": ("path",),
    "rmfile": ("path",),
}
"""Which arguments of each kind are paths (or lists of them)."""

OLD_KINDS: Final = {
    "uploadFile": "upload_file",
    "uploadDirectory": "upload_directory",
    "downloadFile": "download_file",
}

_OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "mkdir": {"dir": "paths"},
    "rmdir": {"dir": "paths"},
    "cpdir": {"fromdir": "from_path", "todir": "to_path"},
    "stat": {"file": "path"},
    "glob": {"glob": "path"},
    "listdir": {"dir": "path"},
    "upload_file": {"workersrc": "path", "slavesrc": "path"},
    "upload_directory": {"workersrc": "path", "slavesrc": "path"},
    "download_file": {"workerdest": "path", "slavedest": "path"},
}


def parse_command(kind: str, args: Mapping[str, Any]) -> tuple[str, Command]:
    """Return a command's modern kind and its record; ValueError says what is wrong with it."""
    kind = OLD_KINDS.get(kind, kind)
    record = KINDS.get(kind)
    if record is None:
        raise ValueError(f"there is no command {kind!r}; there are {', '.join(KINDS)}")
    modern = _modern_names(kind, args)
    try:
        command: Command = msgspec.convert(modern, record)
    except msgspec.ValidationError as error:
        raise ValueError(f"wrong arguments for {kind}: {error}") from None
    _check(command)
    return kind, command


def command_args(command: Command) -> dict[str, Any]:
    """Return the arguments of a record as plain values under Buildbot's names."""
    args: dict[str, Any] = msgspec.to_builtins(command)
    return args


def _modern_names(kind: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments under their newer names; for file commands a `workdir` is joined to the path."""
    renames = _OLD_NAMES.get(kind, {})
    modern = {renames.get(name, name): value for name, value in args.items()}
    paths = modern.get("paths")
    if isinstance(paths, str):
        modern["paths"] = [paths]
    if kind != "shell" and isinstance(workdir := modern.pop("workdir", None), str):
        for name in PATHS[kind]:
            if isinstance(path := modern.get(name), str):
                modern[name] = posixpath.join(workdir, path)
    return modern


def _check(command: Command) -> None:
    """What the types cannot say."""
    if isinstance(command, Shell):
        if not command.command:
            raise ValueError("shell: the command is empty")
        signal_number(command.interrupt_signal)
        for name in command.env:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"shell: {name!r} cannot be the name of an environment variable")
    if isinstance(command, UploadFile | UploadDirectory | DownloadFile) and command.blocksize < 1:
        raise ValueError("blocksize must be at least 1")
    if isinstance(command, UploadDirectory) and command.compress not in {None, "gz", "bz2"}:
        raise ValueError(f"upload_directory: compress is {command.compress!r}, not None, 'gz' or 'bz2'")


def signal_number(name: str) -> int:
    """Return the number of a signal from its name, with or without SIG; ValueError for an unknown one."""
    found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(found, signal.Signals):
        raise ValueError(f"there is no signal {name!r}")
    return int(found)


def real_word(word: Word) -> str:
    """Return the string itself, for the program."""
    if isinstance(word, str):
        return word
    if len(word) != 3 or word[0] != "obfuscated":
        raise ValueError("a hidden string is written ['obfuscated', real, shown]")
    return word[1]


def shown_word(word: Word) -> str:
    """Return the string for people: what a hidden one shows."""
    return word if isinstance(word, str) else word[-1]


def is_hidden(value: object) -> bool:
    """Whether a value of `env` (which may also be a list of paths) is a hidden string."""
    return isinstance(value, list) and len(value) == 3 and value[0] == "obfuscated"
