"""A step's logs and those who read along: `Log`, and the observers that users subclass.

Only what concerns text lives here; commands are in `commands.py`. Nothing here stores anything: a log writes through
the step's doors (`context.py`), and lines come back from there, from what was stored.
"""

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from lockstep.config.secrets import disarm
from lockstep.core.calls import CloseLog, LogType, Stream
from lockstep.steps.context import StepContext

T = TypeVar("T")


class Done(Generic[T]):
    """A value that is there already, for callers that write `await` and for those that do not."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, T]:
        yield from ()
        return self.value


class Log:
    """A log of a step. Every method may be awaited and need not be; `await log` is the log itself.

    `eager` logs watch their lines from the beginning, so that a later command's output can be told from an earlier
    one's; a log that is not eager starts to when the first observer asks.
    """

    def __init__(self, context: StepContext, name: str, type: LogType, eager: bool = True, encoding: str = "") -> None:
        self.name = name
        self.type = type
        self.finished = False
        self._context = context
        self._observers: list[LogObserver] = []
        self._sink: Callable[[Stream, str], None] | None = None
        self._watching = False
        self.logid = context.open_log(name, type, encoding)
        if eager:
            self.watch()

    def __await__(self) -> Generator[Any, None, "Log"]:
        yield from ()
        return self

    def getName(self) -> str:
        """The log's name."""
        return self.name

    def watch(self) -> None:
        """Have the lines of this log delivered from now on (earlier ones come first)."""
        if not self._watching:
            self._watching = True
            self._context.observe(self.logid, self._line)

    def _line(self, stream: Stream, line: str) -> None:
        line = disarm(line)
        if self._sink is not None:
            self._sink(stream, line)
        for observer in self._observers:
            observer.feed(stream, line)

    def set_sink(self, sink: Callable[[Stream, str], None] | None) -> None:
        """Let the running command collect its lines; None ends that."""
        self._sink = sink
        if sink is not None:
            self.watch()

    def attach(self, observer: "LogObserver") -> None:
        """Add an observer. It gets every line of the log from its beginning if it is added before the first command."""
        self._observers.append(observer)
        self.watch()

    def _write(self, stream: Stream, text: str) -> Done[None]:
        if self.finished:
            raise ValueError(f"log {self.name!r} is finished: nothing can be added to it")
        if text:
            self._context.write_log(self.logid, stream, text)
        return Done(None)

    def addContent(self, text: str) -> Done[None]:
        """Append text."""
        return self._write("o", text)

    def addStdout(self, text: str) -> Done[None]:
        """Append text as standard output."""
        return self._write("o", text)

    def addStderr(self, text: str) -> Done[None]:
        """Append text as standard error."""
        return self._write("e", text)

    def addHeader(self, text: str) -> Done[None]:
        """Append text as a header, set apart from the program's own output."""
        return self._write("h", text)

    def finish(self) -> Done[None]:
        """Close the log. What is left open is closed when the step ends."""
        if not self.finished:
            self.finished = True
            self._context.call_now(CloseLog(self.logid))
        return Done(None)

    def isFinished(self) -> bool:
        """Whether the log is closed."""
        return self.finished


class LogObserver:
    """Reads a log along. Subclass it (or a friendlier one below) and hand it to `addLogObserver`.

    `step` and `log` are set when it is added. Text comes a line at a time, with its newline.
    """

    step: Any = None
    log: Log | None = None

    def setStep(self, step: Any) -> None:
        """Called when the observer is added to a step."""
        self.step = step

    def setLog(self, log: Log) -> None:
        """Called when the log exists."""
        self.log = log
        log.attach(self)

    def feed(self, stream: Stream, line: str) -> None:
        """One line came, without its newline."""
        text = line + "\n"
        if stream == "o":
            self.outReceived(text)
        elif stream == "e":
            self.errReceived(text)
        else:
            self.headerReceived(text)

    def outReceived(self, data: str) -> None:
        """Standard output came."""

    def errReceived(self, data: str) -> None:
        """Standard error came."""

    def headerReceived(self, data: str) -> None:
        """A header came."""

    def finishReceived(self) -> None:
        """The step has ended: nothing more comes."""


class LogLineObserver(LogObserver):
    """Reads a log along by lines."""

    def feed(self, stream: Stream, line: str) -> None:
        if stream == "o":
            self.outLineReceived(line)
        elif stream == "e":
            self.errLineReceived(line)
        else:
            self.headerLineReceived(line)

    def setMaxLineLength(self, max_length: int) -> None:
        """Accepted and without effect: lines of any length are delivered whole."""

    def outLineReceived(self, line: str) -> None:
        """A line of standard output, without its newline."""

    def errLineReceived(self, line: str) -> None:
        """A line of standard error, without its newline."""

    def headerLineReceived(self, line: str) -> None:
        """A line of a header, without its newline."""


class LineConsumerLogObserver(LogLineObserver):
    """Feeds lines into a generator function that takes (stream, line) from `yield`; GeneratorExit at the end.

    With `wantHeaders`-less use the streams are `o` and `e`, as in Buildbot; headers come as `h`.
    """

    def __init__(self, consumerFunction: Callable[[], Generator[Any, tuple[str, str], Any]]) -> None:
        self._make = consumerFunction
        self._consumer: Generator[Any, tuple[str, str], Any] | None = None

    def feed(self, stream: Stream, line: str) -> None:
        if self._consumer is None:
            self._consumer = self._make()
            next(self._consumer)
        try:
            self._consumer.send((stream, line))
        except StopIteration:
            self.feed = lambda stream, line: None  # type: ignore[method-assign]

    def finishReceived(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


class BufferLogObserver(LogObserver):
    """Keeps what it reads: `getStdout()`, `getStderr()`."""

    def __init__(self, wantStdout: bool = True, wantStderr: bool = False) -> None:
        self._stdout: list[str] | None = [] if wantStdout else None
        self._stderr: list[str] | None = [] if wantStderr else None

    def outReceived(self, data: str) -> None:
        if self._stdout is not None:
            self._stdout.append(data)

    def errReceived(self, data: str) -> None:
        if self._stderr is not None:
            self._stderr.append(data)

    def getStdout(self) -> str:
        """All standard output so far."""
        return "".join(self._stdout or ())

    def getStderr(self) -> str:
        """All standard error so far."""
        return "".join(self._stderr or ())


class OutputProgressObserver(LogObserver):
    """Accepted and without effect: progress is not forecast from the length of output."""

    def __init__(self, name: str = "") -> None:
        self.name = name
