"""What a running step may reach: the contract between the steps' vocabulary and the master that runs it.

Only protocols live here. `master/` implements them; tests and the simulation may too.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from lockstep.core.calls import Call, LogType, Stream
from lockstep.core.nouns import Result
from lockstep.core.values import Change, Properties, SourceStamp


class BuildContext(Protocol):
    """The build that a step belongs to, as the vocabulary sees it. Read it; change it only through calls."""

    @property
    def buildid(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def builder(self) -> str: ...
    @property
    def worker(self) -> str: ...
    @property
    def basedir(self) -> str:
        """The worker's folder for this build, relative to the worker's own (`builddir`)."""

    @property
    def properties(self) -> Properties: ...
    @property
    def sourcestamps(self) -> tuple[SourceStamp, ...]: ...
    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of all source stamps, oldest first."""

    @property
    def result(self) -> Result:
        """The build's result so far."""

    @property
    def env(self) -> dict[str, Any]:
        """The builder's `env=`, not rendered."""

    @property
    def worker_info(self) -> dict[str, Any]: ...
    @property
    def units(self) -> dict[str, Any]:
        """What is told of the units that the current step and its group hold, as properties of this step."""

    @property
    def fences(self) -> dict[str, int]:
        """Lock as text to fence, of the build's and the current step's holds (L62)."""


class StepContext(Protocol):
    """The doors of one running step. Each `call` takes the next number of the step's journal."""

    @property
    def build(self) -> BuildContext: ...
    @property
    def number(self) -> int:
        """The step's place in its build, from 1."""

    async def call(self, call: Call) -> Any:
        """Make a call and wait for its stored result (its type is named in the call's docstring).

        Raises `asyncio.CancelledError` in the step when the build is stopped or the worker is lost.
        """

    def call_now(self, call: Call) -> Any:
        """Make a call that ends at once (its docstring says so) and return its result without waiting."""

    def write_log(self, log: int, stream: Stream, text: str) -> None:
        """Append text to an open log (a `WriteLog` call)."""

    async def until_stored(self) -> None:
        """Wait until what was written is stored: who writes more than a little must not get ahead of the disk."""

    def open_log(self, name: str, type: LogType, encoding: str = "") -> int:
        """Add a log to the step (an `OpenLog` call). A second log of one name gets another slug.

        `encoding` is that of what commands write into it; empty: the configuration's. Raises LookupError.
        """

    @property
    def calls(self) -> int:
        """The number of the call that was started last; 0 before the first."""

    def observe(self, log: int, observer: Callable[[Stream, str], None]) -> None:
        """Feed each stored line of the log, from its beginning, without its newline, before a call's result returns.

        Live and on replay, what a command wrote is fed after the result of the call before it has been returned and
        before its own is: so one log's lines can be told apart by command. A line without a newline at a command's end
        is fed then.
        """

    def add_steps(self, steps: list[Any], where: str) -> None:
        """Add step objects after the current one (`after-current`) or the last one (`after-last`)."""

    def submission(self, scheduler: str) -> Any:
        """The Triggerable scheduler of that name. Raises KeyError if there is none."""

    def update_summary(self, text: str) -> None:
        """Show a text with the running step. Not journaled, not kept."""

    def master_path(self, path: str) -> str:
        """A path on the server, absolute; relative ones are below the server's base directory."""

    async def reveal(self, log: int, tree: Any) -> Any:
        """`tree` with secrets in clear, for code on the master. What is written to `log` from now on hides them.

        Raises KeyError, or what a provider of secrets raises.
        """

    def on_interrupt(self, handler: Callable[[str], Awaitable[None]]) -> None:
        """Have `handler(reason)` called when somebody stops the build while this step runs."""
