"""Commands on the worker as steps see them: `RemoteCommand`, and `RemoteShellCommand` with its many options.

A command here is made, run once, and asked how it ended. What a command's kind and arguments mean to a worker is in
BUILDBOT.md section 2; Buildbot's older names for the kinds and for their arguments are translated here.
"""

import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from lockstep.config.errors import Place, mistake
from lockstep.config.secrets import disarm
from lockstep.core.calls import CommandResult, RunCommand, Stream
from lockstep.core.nouns import Result
from lockstep.steps.context import StepContext
from lockstep.steps.logs import Log

_KINDS: Final = {
    "uploadFile": "upload_file",
    "uploadDirectory": "upload_directory",
    "downloadFile": "download_file",
}
_PATH_ARGUMENTS: Final = {
    "mkdir": ("paths",),
    "rmdir": ("paths",),
    "cpdir": ("from_path", "to_path"),
    "stat": ("path",),
    "glob": ("path",),
    "listdir": ("path",),
    "rmfile": ("path",),
    "upload_file": ("path",),
    "upload_directory": ("path",),
    "download_file": ("path",),
}
"""The arguments that are paths below the build's folder, by kind."""

_OLD_ARGUMENTS: Final = {
    "mkdir": {"dir": "paths", "path": "paths"},
    "rmdir": {"dir": "paths"},
    "cpdir": {"fromdir": "from_path", "todir": "to_path"},
    "stat": {"file": "path"},
    "glob": {"glob": "path"},
    "listdir": {"dir": "path"},
}


def check_signal(name: Any, place: Place | None) -> None:
    """Report an `interruptSignal` that is the name of no signal. One that is rendered is looked at by the worker."""
    if isinstance(name, str) and not hasattr(signal, f"SIG{name.removeprefix('SIG')}"):
        mistake(f"interruptSignal: there is no signal {name!r}", '"TERM", for example', place)


class RemoteCommand:
    """One command on the worker.

    `kind` is its name, `args` what it needs; paths in it are below the build's folder (`builddir`) unless absolute.
    `decodeRC` maps exit codes to results; what is not in it is FAILURE. `rc` is None until it has ended.
    """

    def __init__(
        self,
        remote_command: str,
        args: Mapping[str, Any],
        *,
        stdioLogName: str = "stdio",
        collectStdout: bool = False,
        collectStderr: bool = False,
        decodeRC: Mapping[int, int] | None = None,
        ignore_updates: bool = False,
        interruptSignal: str | None = None,
    ) -> None:
        self.remote_command = _KINDS.get(remote_command, remote_command)
        renamed = _OLD_ARGUMENTS.get(self.remote_command, {})
        self.args = {renamed.get(key, key): value for key, value in args.items()}
        if self.remote_command in ("mkdir", "rmdir") and isinstance(self.args.get("paths"), str):
            self.args["paths"] = [self.args["paths"]]
        self.stdioLogName = stdioLogName
        self.decodeRC = {0: Result.SUCCESS} if decodeRC is None else dict(decodeRC)
        self.collectStdout = collectStdout
        self.collectStderr = collectStderr
        self.rc: int | None = None
        self.failure = ""
        self.lost = False
        self.timed_out = False
        self.interrupted = False
        self.active = False
        self.updates: dict[str, list[Any]] = {}
        self.masterdest = ""
        self.mastersrc = ""
        self.content: bytes | None = None
        self.to_result = False
        self._out: list[str] = []
        self._err: list[str] = []
        self._logs: dict[str, Log] = {}
        self._stdio: Log | None = None
        self._closing: list[Log] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.remote_command!r}>"

    @property
    def stdout(self) -> str:
        """What was collected of standard output (with `collectStdout`)."""
        return "".join(self._out)

    @property
    def stderr(self) -> str:
        """What was collected of standard error (with `collectStderr`)."""
        return "".join(self._err)

    @property
    def collects(self) -> bool:
        """Whether it needs its lines while it runs."""
        return self.collectStdout or self.collectStderr

    def useLog(self, log: Log, closeWhenFinished: bool = False, logfileName: str | None = None) -> None:
        """Send the output into this log; with `logfileName`, that of the worker's file of this name."""
        if logfileName is None or logfileName == "stdio":
            self._stdio = log
        else:
            self._logs[logfileName] = log
        if closeWhenFinished:
            self._closing.append(log)

    @property
    def log(self) -> Log | None:
        """The log that takes standard output, if one was given."""
        return self._stdio

    def didFail(self) -> bool:
        """Whether its result is FAILURE."""
        return self.results() == Result.FAILURE

    def results(self) -> int:
        """Its result. An interrupted command is CANCELLED, one whose end nobody knows is RETRY."""
        if self.lost:
            return Result.RETRY
        if self.interrupted:
            return Result.CANCELLED
        if self.rc is None:
            return Result.FAILURE
        return self.decodeRC.get(self.rc, Result.FAILURE)

    async def run(self, context: StepContext, place: Callable[[str], str]) -> None:
        """Run it. `place` turns a path below the build's folder into one below the worker's own.

        Raises `asyncio.CancelledError` when the build is stopped without waiting for the command.
        """
        stdio = self._stdio
        if stdio is not None and self.collects:
            stdio.set_sink(self._collect)
        call = RunCommand(
            kind=self.remote_command,
            args=self._placed(place),
            stdio=stdio.logid if stdio is not None else 0,
            logs={name: log.logid for name, log in self._logs.items()},
            masterdest=self.masterdest,
            mastersrc=self.mastersrc,
            content=self.content,
            to_result=self.to_result,
        )
        self.active = True
        try:
            ended: CommandResult = await context.call(call)
        finally:
            self.active = False
            if stdio is not None and self.collects:
                stdio.set_sink(None)
        self.rc, self.failure, self.lost, self.timed_out = ended.rc, ended.failure, ended.lost, ended.timed_out
        self.updates = {name: [value] for name, value in disarm(ended.results).items()}
        self.updates["rc"] = [ended.rc]
        for log in self._closing:
            log.finish()

    def _placed(self, place: Callable[[str], str]) -> dict[str, Any]:
        args = dict(self.args)
        for name in _PATH_ARGUMENTS.get(self.remote_command, ()):
            value = args.get(name)
            if isinstance(value, str):
                args[name] = place(value)
            elif isinstance(value, list | tuple):
                args[name] = [place(path) for path in value]
        return args

    def _collect(self, stream: Stream, line: str) -> None:
        if stream == "o" and self.collectStdout:
            self._out.append(line + "\n")
        elif stream == "e" and self.collectStderr:
            self._err.append(line + "\n")

    def interrupt(self, why: str) -> None:
        """Remember that somebody wants it to end. The master stops it on the worker."""
        self.interrupted = True


class RemoteShellCommand(RemoteCommand):
    """A program on the worker: `command` is a list of words, or one string for the shell.

    Times are in seconds: `timeout` without output (default 1200), `maxTime` in all, `sigtermTime` between SIGTERM and
    `interruptSignal`. `logfiles` maps a log's name to a file, or to `{"filename": ..., "follow": bool}`.
    """

    def __init__(
        self,
        workdir: str,
        command: Any,
        env: Mapping[str, Any] | None = None,
        want_stdout: bool = True,
        want_stderr: bool = True,
        timeout: float | None = 20 * 60,
        maxTime: float | None = None,
        max_lines: int | None = None,
        sigtermTime: float | None = None,
        logfiles: Mapping[str, Any] | None = None,
        usePTY: bool | None = None,
        logEnviron: bool = True,
        collectStdout: bool = False,
        collectStderr: bool = False,
        interruptSignal: str | None = None,
        initialStdin: str | None = None,
        decodeRC: Mapping[int, int] | None = None,
        stdioLogName: str = "stdio",
    ) -> None:
        self.command = flatten_command(command)
        files = {name: _log_file(value) for name, value in (logfiles or {}).items()}
        args: dict[str, Any] = {
            "command": self.command,
            "workdir": workdir,
            "env": checked_environment(env),
            "want_stdout": bool(want_stdout),
            "want_stderr": bool(want_stderr),
            "logfiles": files,
            "timeout": timeout,
            "maxTime": maxTime,
            "max_lines": max_lines,
            "sigtermTime": sigtermTime,
            "usePTY": bool(usePTY),
            "logEnviron": bool(logEnviron),
            "initial_stdin": initialStdin,
            "interruptSignal": interruptSignal,
        }
        super().__init__(
            "shell",
            {name: value for name, value in args.items() if value is not None or name == "timeout"},
            collectStdout=collectStdout,
            collectStderr=collectStderr,
            decodeRC=decodeRC,
            stdioLogName=stdioLogName,
        )

    def __repr__(self) -> str:
        return f"<RemoteShellCommand {self.command!r}>"


def _log_file(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"filename": value["filename"], "follow": bool(value.get("follow", False))}
    return {"filename": value, "follow": False}


def flatten_command(command: Any) -> Any:
    """A command as one string, or as one flat list of words (nested lists come from properties, and so do numbers).

    Raises TypeError for a word that is neither a text nor a number.
    """
    if isinstance(command, str):
        return command
    if not isinstance(command, list | tuple):
        raise TypeError(f"a command is a list of words or a text, not {command!r}")
    words: list[str] = []
    for word in command:
        if isinstance(word, list | tuple):
            words.extend(flatten_command(word))
        elif isinstance(word, str):
            words.append(word)
        elif isinstance(word, int | float) and not isinstance(word, bool):
            words.append(str(word))
        else:
            raise TypeError(f"the command {command!r} has the word {word!r}, which is neither a text nor a number")
    return words


def checked_environment(env: Mapping[str, Any] | None) -> dict[str, Any]:
    """The environment as a worker takes it: strings, lists of strings (joined there), or None (removed there).

    Raises TypeError for anything else: a number is a sign of a property that was not interpolated.
    """
    checked: dict[str, Any] = {}
    for name, value in (env or {}).items():
        texts = value if isinstance(value, list | tuple) else (value,)
        if not all(text is None or isinstance(text, str) for text in texts):
            raise TypeError(
                f"the environment variable {name} has the value {value!r}; values must be strings or lists of strings"
                " (use Interpolate to make one of a property)"
            )
        checked[name] = list(value) if isinstance(value, list | tuple) else value
    return checked


def hidden_word(value: str) -> list[str]:
    """A word or the value of a variable as a worker gets it that it must not show in a log."""
    return ["obfuscated", value, "<hidden>"]


def _leaves(command: Any) -> list[Any]:
    """The words of a command that may not be rendered yet."""
    return [leaf for word in command for leaf in (_leaves(word) if isinstance(word, list | tuple) else (word,))]


def command_text(command: Any) -> str:
    """A command in a few words, quoted, as a step's description: `'make all ...'`."""
    if isinstance(command, str):
        words = command.split()
    elif isinstance(command, list | tuple):
        words = [word if isinstance(word, str) else "<...>" for word in _leaves(command)]
    else:
        return ""
    words = [word.replace("\n", " ") for word in words]
    if not words:
        return ""
    return f"'{' '.join(words[:2])}{' ...' if len(words) > 2 else ''}'"
