"""One running step: the doors that `steps.context.StepContext` promises, with the journal behind them.

Calls become events for the core; their results come back as effects. On replay, stored results are returned without
effect, and what differs is found (HOUSE.md section 2).
"""

import asyncio
import codecs
import contextlib
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from lockstep.core import calls as c
from lockstep.core import events as e
from lockstep.core.errors import RAISED, AwayError
from lockstep.core.nouns import Result
from lockstep.core.records import CallRecord, Step
from lockstep.master.journal import Journal, ReplayDiffersError, ReplayEndsError, StepOverError, fingerprint, result_of
from lockstep.master.limits import REPLAY_PATIENCE, STOP_CANCELS, STOP_GRACE, TURNS_BETWEEN_RESULTS
from lockstep.master.tape import Tape
from lockstep.steps.base import BuildStep
from lockstep.steps.execution import Prepared, StepOutcome, decode_prepared, encode_prepared, execute, render_arguments

if TYPE_CHECKING:
    from lockstep.master.builds import BuildRun, BuildView


class StepRun:
    """The doors of one running step. `difference` says what a replay did otherwise, or is empty.

    `tapes` are those of the logs that it had when this process started.
    With `replay_only` the step has ended before: it is run to its end again without effect, to have what it made.
    """

    def __init__(
        self,
        run: "BuildRun",
        view: "BuildView",
        record: Step,
        step: BuildStep,
        tapes: dict[int, Tape],
        replay_only: bool = False,
    ) -> None:
        self._run = run
        self._record = record
        self._step = step
        self._replay_only = replay_only
        self._journal = Journal(record.calls)
        self._replaying = bool(self._journal)
        self._next = 1
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._commands: set[int] = set()
        self._results: deque[tuple[int, Any]] = deque()
        self._delivering = False
        self._patience: asyncio.TimerHandle | None = None
        self._on_interrupt: list[Callable[[str], Awaitable[None]]] = []
        self._stop_reason: str | None = None
        self._code_ended = False
        self._refused: set[type[BaseException]] = set()
        self._logs: set[int] = set() if replay_only else set(record.logs)
        self._tapes = tapes
        self._resumed = bool(tapes)
        self._observer_error: BaseException | None = None
        if not replay_only:
            for logid, tape in self._tapes.items():
                run.house.listen(logid, tape.take)
        self._task: asyncio.Task[Any] | None = None
        self.build = view
        self.number = record.number
        self.difference = ""

    # --- running

    async def execute(self, prepared: Prepared) -> StepOutcome | None:
        """Run the step's code. None if the step has not ended: the replay differs, or this process ends."""
        self._task = asyncio.current_task()
        try:
            outcome = await execute(self._step, self, await self._complete(prepared))
        except (ReplayEndsError, StepOverError):
            return None
        except ReplayDiffersError as exc:
            self.difference = self.difference or str(exc)
            return None
        except asyncio.CancelledError:
            if self._stop_reason is None:
                raise
            outcome = StepOutcome(result=Result.CANCELLED, summary=self._stop_reason)
        self._code_ended = True
        left = self._journal.left(self._next)
        if left is not None:
            self._differs(left.number, left.fingerprint, "nothing")
            return None
        if self._patience is not None:
            self._patience.cancel()
        await self._end_commands()
        return outcome

    async def _complete(self, prepared: Prepared) -> Prepared:
        """Arguments that had to wait for the step's locks are rendered now, once (HOUSE 2.5)."""
        if prepared.args is not None or prepared.skip or prepared.error:
            return prepared
        known = self._journal.known(self._next)
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
            self._run.loop.post(
                e.CommandInterruptAsked(
                    buildid=self.build.buildid, step=self.number, call=number, reason="its step has ended"
                )
            )
        while self._commands:
            await asyncio.wait([self._waiting[number] for number in self._commands])

    def finish_logs(self) -> dict[int, int]:
        """Close the step's logs; returns their line counts."""
        return {logid: self._run.house.finish_log(logid) for logid in sorted(self._logs)}

    # --- calls

    def _begin(self, call: c.Call) -> tuple[int, CallRecord | None]:
        """Number a call, and find its record if this is a replay."""
        number = self._next
        self._next += 1
        mark = fingerprint(call)
        known = self._journal.known(number)
        if known is not None and known.fingerprint != mark:
            self._differs(number, known.fingerprint, mark)
            raise ReplayDiffersError(self.difference)
        if self._replay_only and (known is None or known.state == "started"):
            raise ReplayEndsError
        if known is None:
            self._caught_up()
            self._run.loop.post(
                e.CallMade(buildid=self.build.buildid, step=self.number, number=number, call=call, fingerprint=mark)
            )
        return number, known

    def _caught_up(self) -> None:
        """From here on the step does what it has not done before."""
        if self._replaying:
            self._replaying = False
            self.build.replayed = None
            for tape in self._tapes.values():
                if tape.behind:
                    self._run.spawn(tape.catch_up())
                else:
                    tape.live()

    def _differs(self, number: int, before: str, now: str) -> None:
        self.difference = (
            f"step {self.number} '{self._record.name}' did something else when it was replayed after a restart: "
            f"call {number} was {before}, now {now}; the build is tried again"
        )

    async def call(self, call: c.Call) -> Any:
        """Make a call and wait for its stored result."""
        if (
            self._code_ended
            or self.build.buildid not in self._run.loop.state.builds
            or (self._stop_reason is not None and not isinstance(call, c.RunCommand))
        ):
            await self._refuse()
        number, known = self._begin(call)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        if known is not None and known.state == "ended":
            self._journal.ask(number)
            self._let_through()
        elif isinstance(call, c.RunCommand):
            self._commands.add(number)
        if known is not None and known.state == "started" and not self._journal.blocked:
            self._caught_up()
        try:
            # Shielded: a command that its step no longer awaits still runs, and the step ends only after it.
            result = result_of(call, await asyncio.shield(future))
        finally:
            if future.done():
                self._waiting.pop(number, None)
        if self._observer_error is not None:
            raise self._observer_error
        return result

    async def _refuse(self) -> None:
        """No call is made any more: end the step's code, by what it may catch first and by what it should not then.

        Code that goes on all the same waits here, for the next cancel; when its build has ended, for ever.
        """
        over = self.build.buildid not in self._run.loop.state.builds
        refusal: type[BaseException] = StepOverError if over else asyncio.CancelledError
        if refusal not in self._refused:
            self._refused.add(refusal)
            raise refusal
        await asyncio.get_running_loop().create_future()

    def _turn_away(self) -> None:
        """What the step's code left running when it ended makes no calls: it is cancelled once.

        If it goes on all the same, nothing comes of what it does, until it must wait.
        """
        if asyncio.CancelledError not in self._refused:
            self._refused.add(asyncio.CancelledError)
            raise asyncio.CancelledError("its step has ended")

    def call_now(self, call: c.Call) -> Any:
        """Make a call that ends at once and return its result; None for what the step's code left behind."""
        if self._code_ended:
            return self._turn_away()
        number, known = self._begin(call)
        if known is not None:
            self._journal.pass_at_once(number)
            if isinstance(call, c.SetProperty) and self.build.replayed is not None:
                self.build.replayed[call.name] = (call.value, call.source)
            self._let_through()
        elif isinstance(call, c.CloseLog):
            self._run.house.end_log(call.log)
        record = known or self._record.calls.get(number)
        if record is None:
            raise asyncio.CancelledError
        return result_of(call, record.result)

    def _let_through(self) -> None:
        """On replay: give the results back whose turn it is."""
        for record in self._journal.next_results():
            self.deliver(record.number, record.result)
        if self._patience is None and self._journal.blocked:
            later = asyncio.get_running_loop().call_later
            self._patience = later(REPLAY_PATIENCE, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self._journal.blocked:
            self._differs(self._next, "made before", "not made")
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ReplayDiffersError(self.difference))

    def deliver(self, number: int, result: Any) -> None:
        """A call's result is stored: let whoever waits for it go on, one after another in the order of the ends."""
        self._results.append((number, result))
        if not self._delivering:
            self._delivering = True
            self._deliver_next(0)

    def _deliver_next(self, turns: int, fed: bool = False) -> None:
        soon = asyncio.get_running_loop().call_soon
        if turns:
            soon(self._deliver_next, turns - 1)
            return
        if not self._results:
            self._delivering = False
            return
        if self._resumed and not fed and any(tape.behind for tape in self._tapes.values()):
            self._run.spawn(self._feed_observers(self._results[0][1]))
            return
        number, result = self._results.popleft()
        self._commands.discard(number)
        for logid, line in _lines_before(result).items() if self._replaying else ():
            if logid in self._tapes:
                self._tapes[logid].skip_until(line)
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(result)
        if self._replaying or self._results or len(self._waiting) > 1:
            soon(self._deliver_next, TURNS_BETWEEN_RESULTS)
        else:  # nothing else is awaited: there is no order to keep
            self._delivering = False

    async def _feed_observers(self, result: Any) -> None:
        """Let stored lines through that stand before a result, then give the result."""
        until = _lines_before(result) if self._replaying else None
        for logid, tape in list(self._tapes.items()):
            if until is None:
                await tape.catch_up()
            elif logid in until:
                await tape.pass_until(until[logid])
        self._deliver_next(0, fed=True)

    async def interrupt(self, reason: str) -> None:
        """The build is being stopped: tell the step, end what it waits for, and cancel its code if it does not end."""
        self._stop_reason = reason
        for handler in list(self._on_interrupt):
            await handler(reason)
        for number, future in list(self._waiting.items()):
            if number not in self._commands and not future.done():
                future.cancel()
        commands = [self._waiting[number] for number in self._commands if number in self._waiting]
        if commands:
            await asyncio.wait(commands)
        await self._end_code()

    async def _end_code(self) -> None:
        """Cancel the step's code when it has had its time, again if it swallows that, and at last leave it alone."""
        task = self._task
        if task is None:
            return
        for _ in range(STOP_CANCELS + 1):
            await asyncio.wait([task], timeout=STOP_GRACE)
            if task.done():
                return
            task.cancel()
        reason = (
            f"step {self.number} '{self._record.name}' was stopped and does not end: its code swallows every "
            "asyncio.CancelledError (catch what you expect, not everything)"
        )
        self._run.loop.post(e.BuildBroken(buildid=self.build.buildid, result=Result.CANCELLED, reason=reason))

    # --- logs

    def open_log(self, name: str, type: c.LogType, encoding: str = "") -> int:
        """Add a log to the step. Raises LookupError for an encoding that nobody knows."""
        encoding = codecs.lookup(encoding or self._run.house.config.logEncoding).name
        if self._code_ended:
            self._turn_away()
            return 0
        logid = int(self.call_now(c.OpenLog(name, type, encoding)))
        self._logs.add(logid)
        if logid not in self._tapes:
            if not self._replay_only:
                self._run.house.open_log(logid, type, encoding, (self.build.buildid, self.number))
            tape = self._tapes[logid] = Tape(type)
            if not self._replay_only:
                self._run.house.listen(logid, tape.take)
        return logid

    def write_log(self, log: int, stream: c.Stream, text: str) -> None:
        """Append text to a log of this step; on replay it is there already."""
        if self._code_ended:
            self._turn_away()
            return
        data = text.encode("utf-8", "replace")
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        replayed = self._next in self._journal
        self.call_now(c.WriteLog(log, stream, digest, len(data)))
        self._run.house.feed_log(log, stream, data, stored=replayed)

    async def until_stored(self) -> None:
        """Wait until what was written is stored. Where that will never be, this process ends."""
        with contextlib.suppress(AwayError):
            await self._run.loop.settle()

    def observe(self, log: int, observer: Callable[[c.Stream, str], None]) -> None:
        """Feed stored lines of a log to an observer. What it raises, the step's next call raises."""

        def guarded(stream: c.Stream, line: str) -> None:
            try:
                observer(stream, line)
            except RAISED as exc:
                self._observer_error = self._observer_error or exc

        if log in self._tapes:  # else it is what the step's code left behind that opens it
            self._tapes[log].observe(guarded)

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
        self._run.house.summary_changed(self.build.buildid, self.number, text)

    def master_path(self, path: str) -> str:
        """A path on the server, absolute; relative ones are below the server's base directory."""
        return self._run.house.path(path)

    async def reveal(self, log: int, tree: Any) -> Any:
        """`tree` with secrets in clear, which the log hides from now on."""
        return await self._run.house.reveal(log, tree)

    def on_interrupt(self, handler: Callable[[str], Awaitable[None]]) -> None:
        """Call `handler(reason)` when the build is stopped; now, if it is being stopped already."""
        self._on_interrupt.append(handler)
        if self._stop_reason is not None:
            self._run.spawn(_awaited(handler(self._stop_reason)))


def _lines_before(result: Any) -> dict[int, int]:
    """How many lines of which logs stand before a call's result: those that a command had written."""
    if isinstance(result, dict) and "rc" in result:
        result = msgspec.convert(result, c.CommandResult)
    return result.lines if isinstance(result, c.CommandResult) else {}


async def _awaited(work: Awaitable[None]) -> None:
    await work
