"""The calls of a step: its only doors to the world (HOUSE.md section 2), and their results.

A call is numbered within (build, step) in program order and journaled: its start is stored before it acts, its end
before the step goes on. Values only; the core decides about them in `decide_calls.py`, `master/` performs them.
"""

from typing import Any, Literal

from msgspec import Struct, field

from lockstep.core.nouns import Access, LockKey
from lockstep.core.values import StepPlan, Submission

LogType = Literal["t", "s", "h"]
"""Text, stdio with prefixes for its streams, or HTML (BUILDBOT.md section 3)."""

Stream = Literal["o", "e", "h"]
"""Where a line of a stdio log came from: standard output, standard error, or a header of ours."""


class RunCommand(Struct, frozen=True, tag_field="call", tag="command", kw_only=True):
    """Run a command on the build's worker and wait for its end.

    `kind` and `args` have Buildbot's names (`shell` with `command`, `workdir`, `env`, ...; BUILDBOT.md section 2).
    `stdio` is the log that takes standard output and headers, `logs` maps the worker's log files to log ids.
    Secrets stand in `args` as markers (`config.secrets`), never in clear. For transfers `masterdest` is the file or
    directory on the master that receives, `mastersrc` the file that is sent, `content` what is sent instead of a file;
    `to_result` puts what was received into the result (small files only).
    Result: `CommandResult`.
    """

    kind: str
    args: dict[str, Any]
    stdio: int = 0
    logs: dict[str, int] = field(default_factory=dict)
    masterdest: str = ""
    mastersrc: str = ""
    content: bytes | None = None
    to_result: bool = False


class SetProperty(Struct, frozen=True, tag_field="call", tag="property"):
    """Set a property of the build. Ends at once; result: what it was before, as [value, source], or None."""

    name: str
    value: Any
    source: str


class OpenLog(Struct, frozen=True, tag_field="call", tag="log", omit_defaults=True):
    """Add a log to the step. Ends at once; result: the log's id (int). `encoding` is that of what commands write."""

    name: str
    type: LogType = "s"
    encoding: str = ""


class WriteLog(Struct, frozen=True, tag_field="call", tag="write"):
    """Append text to a log. Ends at once. The journal keeps only `digest`; the text goes to the log's chunks."""

    log: int
    stream: Stream
    digest: str
    length: int


class CloseLog(Struct, frozen=True, tag_field="call", tag="close"):
    """Nothing more comes into this log. Ends at once."""

    log: int


class AddUrl(Struct, frozen=True, tag_field="call", tag="url"):
    """Show a link with the step. Ends at once."""

    name: str
    url: str


class AddSteps(Struct, frozen=True, tag_field="call", tag="steps"):
    """Add steps after the current one or after the last. Ends at once; result: their numbers (list of int)."""

    plans: tuple[StepPlan, ...]
    where: Literal["after-current", "after-last"]


class StartBuilds(Struct, frozen=True, tag_field="call", tag="builds"):
    """Submit build sets (a Trigger step). With `wait`, ends when all of them are complete.

    Result: a list of `Triggered`.
    """

    submissions: tuple[Submission, ...]
    wait: bool = False


class Acquire(Struct, frozen=True, tag_field="call", tag="acquire"):
    """Claim locks inside a step; ends when they are granted. They are released by `Release` or by the step's end.

    Result: the fences, `{str(lock): number}`.
    """

    accesses: tuple[Access, ...]


class Release(Struct, frozen=True, tag_field="call", tag="release", omit_defaults=True):
    """Give back what the call of that number acquired. Ends at once.

    With a `lock`: that one of what the step, or its group, has by `locks=` (the number is 0). Result: why it may not,
    as a sentence, or nothing.
    """

    acquired_by: int
    lock: LockKey | None = None


class Sleep(Struct, frozen=True, tag_field="call", tag="sleep"):
    """Wait for so many seconds."""

    seconds: float


class Now(Struct, frozen=True, tag_field="call", tag="now"):
    """The wall time, Unix seconds (float), the same on replay. Ends at once."""


class Keep(Struct, frozen=True, tag_field="call", tag="keep"):
    """Something that was evaluated once. Ends at once; result: `data`, on replay the stored one, whatever is given."""

    name: str
    data: bytes


Call = (
    RunCommand
    | SetProperty
    | OpenLog
    | WriteLog
    | CloseLog
    | AddUrl
    | AddSteps
    | StartBuilds
    | Acquire
    | Release
    | Sleep
    | Now
    | Keep
)


class CommandResult(Struct, frozen=True, kw_only=True):
    """How a command ended. `rc` is its exit code (-1: it was killed or could not be started), `failure` says why.

    `results` holds what some commands answer (`files` of glob and listdir, `stat`, `content` of a small upload).
    `lost` means that the worker cannot say how it ended, `timed_out` that it was ended by a limit of time. `lines` are
    the line counts of its logs at its end: a replay feeds observers with them, command by command.
    """

    rc: int
    failure: str = ""
    elapsed: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    timed_out: bool = False
    lines: dict[int, int] = field(default_factory=dict)


class Triggered(Struct, frozen=True, kw_only=True):
    """One build set that a Trigger step submitted. `result` is None where the step did not wait."""

    buildset: int
    requests: dict[str, int]
    result: int | None = None
    builds: tuple[tuple[str, int, int, int], ...] = ()
    """(builder, build number, build id, result) of each build of it that has ended."""
