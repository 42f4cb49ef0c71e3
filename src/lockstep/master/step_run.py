"""One running step: the doors that `steps.context.StepContext` promises, with the journal behind them.

Calls become events for the core; their results come back as effects. On replay, stored results are returned without
effect, and what differs is found (HOUSE.md section 2).
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core.records import CallRecord, Step
from lockstep.master.journal import ReplayDiffersError, fingerprint, result_of
from lockstep.master.limits import STOP_GRACE
from lockstep.master.tape import Line, Tape
from lockstep.steps.base import BuildStep
from lockstep.steps.execution import Prepared, StepOutcome, decode_prepared, encode_prepared, execute, render_arguments

if TYPE_CHECKING:
    from lockstep.master.builds import BuildRun, BuildView


class StepRun:
    """The doors of one running step. `difference` says what a replay did otherwise, or is empty.

    `stored` are the lines that each of its logs had when this process started.
    With `replay_only` the step has ended before: it is run to its end again without effect, to have what it made.
    """

    def __init__(
        self,
        run: "BuildRun",
        view: "BuildView",
        record: Step,
        step: BuildStep,
        stored: dict[int, list[Line]],
        replay_only: bool = False,
    ) -> None:
        self._run = run
        self._record = record
        self._step = step
        self._replay_only = replay_only
        self._journal: dict[int, CallRecord] = dict(record.calls)
        self._next = 1
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._commands: set[int] = set()
        self._on_interrupt: list[Callable[[str], Awaitable[None]]] = []
        self._logs: set[int] = set(record.logs)
        self._tapes: dict[int, Tape] = {logid: Tape(lines) for logid, lines in stored.items()}
        for logid, tape in self._tapes.items():
            run.house.observe(logid, tape.take)
        self._replaying = bool(record.calls)
        self._task: asyncio.Task[Any] | None = None
        self.build = view
        self.number = record.number
        self.difference = ""
        self.summary = ""

    # --- running

    async def execute(self, prepared: Prepared) -> StepOutcome | None:
        """Run the step's code. None if the step has not ended: the replay differs, or this process ends."""
        self._task = asyncio.current_task()
        try:
            outcome = await execute(self._step, self, await self._complete(prepared))
        except ReplayDiffersError as exc:
            self.difference = str(exc)
            return None
        left = [number for number in self._journal if number >= self._next]
        if left:
            self._differs(left[0], self._journal[left[0]].fingerprint, "nothing")
            return None
        await self._end_commands()
        return outcome

    async def _complete(self, prepared: Prepared) -> Prepared:
        """Arguments that had to wait for the step's locks are rendered now, once (HOUSE 2.5)."""
        if prepared.args is not None or prepared.skip or prepared.error:
            return prepared
        known = self._journal.get(self._next)
        if known is not None and isinstance(known.result, bytes):
            data = known.result
        else:
            data = encode_prepared(await render_arguments(self._step, self.build, prepared))
        return decode_prepared(self.call_now(c.Keep("arguments", data)))

    async def _end_commands(self) -> None:
        """A step does not end before its commands: those that nobody awaited are interrupted now."""
        if self._replay_only:
            return
        for number in sorted(self._commands):
            self._post_interrupt(number, "its step has ended")
        while self._commands:
            await asyncio.wait([self._waiting[number] for number in self._commands])

    def _post_interrupt(self, number: int, reason: str) -> None:
        self._run.loop.post(
            e.CommandInterruptAsked(buildid=self.build.buildid, step=self.number, call=number, reason=reason)
        )

    def finish_logs(self) -> dict[int, int]:
        """Close the step's logs; returns their line counts."""
        return {logid: self._run.house.finish_log(logid) for logid in sorted(self._logs)}

    # --- calls

    def _begin(self, call: c.Call) -> tuple[int, CallRecord | None]:
        """Number a call, and find its record if this is a replay. Raises ReplayDiffersError."""
        number = self._next
        self._next += 1
        mark = fingerprint(call)
        known = self._journal.get(number)
        if known is not None and known.fingerprint != mark:
            self._differs(number, known.fingerprint, mark)
            raise ReplayDiffersError(self.difference)
        if known is None or known.state == "started":
            self._caught_up()
        if known is None and self._replay_only:
            self._differs(number, "nothing", mark)
            raise ReplayDiffersError(self.difference)
        if known is None:
            self._run.loop.post(
                e.CallMade(buildid=self.build.buildid, step=self.number, number=number, call=call, fingerprint=mark)
            )
        return number, known

    def _caught_up(self) -> None:
        """From here on the step does what it has not done before."""
        if self._replaying:
            self._replaying = False
            for tape in self._tapes.values():
                tape.live()

    def _differs(self, number: int, before: str, now: str) -> None:
        self.difference = (
            f"step {self.number} '{self._record.name}' did something else when it was replayed after a restart: "
            f"call {number} was {before}, now {now}; the build is tried again"
        )

    async def call(self, call: c.Call) -> Any:
        """Make a call and wait for its stored result."""
        number, known = self._begin(call)
        if known is not None and known.state == "ended":
            result = result_of(call, known.result)
            if isinstance(result, c.CommandResult):
                for logid, lines in result.lines.items():
                    if logid in self._tapes:
                        self._tapes[logid].pass_until(lines)
            return result
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        if isinstance(call, c.RunCommand):
            self._commands.add(number)
        try:
            # Shielded: a command that its step no longer awaits still runs, and the step ends only after it.
            return await asyncio.shield(future)
        finally:
            if future.done():
                self._waiting.pop(number, None)

    def call_now(self, call: c.Call) -> Any:
        """Make a call that ends at once and return its result."""
        number, known = self._begin(call)
        record = known or self._record.calls.get(number)
        if record is None:
            raise asyncio.CancelledError
        return result_of(call, record.result)

    def deliver(self, number: int, result: Any) -> None:
        """A call's result is stored: let whoever waits for it go on."""
        self._commands.discard(number)
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(result)

    async def interrupt(self, reason: str) -> None:
        """The build is being stopped: tell the step, end what it waits for, and cancel its code if it does not end."""
        for handler in list(self._on_interrupt):
            await handler(reason)
        for number, future in list(self._waiting.items()):
            if number not in self._commands and not future.done():
                future.cancel()
        commands = [self._waiting[number] for number in self._commands if number in self._waiting]
        if commands:
            await asyncio.wait(commands)
        task = self._task
        if task is not None and not task.done():
            await asyncio.wait([task], timeout=STOP_GRACE)
            if not task.done():
                task.cancel()

    # --- logs

    def open_log(self, name: str, type: c.LogType) -> int:
        """Add a log to the step."""
        logid = int(self.call_now(c.OpenLog(name, type)))
        self._logs.add(logid)
        if logid not in self._tapes:
            self._run.house.open_log(logid, type)
            tape = self._tapes[logid] = Tape(None)
            self._run.house.observe(logid, tape.take)
        return logid

    def write_log(self, log: int, stream: c.Stream, text: str) -> None:
        """Append text to a log of this step; on replay it is there already."""
        data = text.encode("utf-8", "replace")
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        replayed = self._next in self._journal
        self.call_now(c.WriteLog(log, stream, digest, len(data)))
        if not replayed:
            self._run.house.feed_log(log, stream, data)

    def observe(self, log: int, observer: Callable[[c.Stream, str], None]) -> None:
        """Feed stored lines of a log to an observer."""
        self._tapes[log].observe(observer)

    @property
    def calls(self) -> int:
        """The number of the call that was started last; 0 before the first."""
        return self._next - 1

    # --- the rest

    def add_steps(self, steps: list[Any], where: str) -> None:
        """Add step objects to the build."""
        place: Any = where
        plans = tuple(step.plan() for step in steps)
        numbers = self.call_now(c.AddSteps(plans, place))
        if numbers:
            self._run.add_steps(numbers[0], steps)

    def submission(self, scheduler: str) -> Any:
        """The Triggerable scheduler of that name."""
        return self._run.house.triggerable(scheduler)

    def update_summary(self, text: str) -> None:
        """Show a text with the running step."""
        self.summary = text
        self._run.house.summary_changed(self.build.buildid, self.number, text)

    def master_path(self, path: str) -> str:
        """A path on the server, absolute; relative ones are below the server's base directory."""
        return self._run.house.path(path)

    def secret(self, name: str) -> str:
        """The value of a secret."""
        return self._run.house.secret(name)

    def on_interrupt(self, handler: Callable[[str], Awaitable[None]]) -> None:
        """Call `handler(reason)` when the build is stopped."""
        self._on_interrupt.append(handler)
