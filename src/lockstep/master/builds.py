"""The builds that run in this process: making their steps, preparing and running them, replaying after a restart.

One `BuildRun` for each running build. What a step may do is in `step_run.py`; what follows from its end the core says.
"""

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from lockstep.core import events as e
from lockstep.core import told_units
from lockstep.core.calls import AddSteps
from lockstep.core.errors import RAISED
from lockstep.core.nouns import Result
from lockstep.core.records import Build, CallRecord, Step
from lockstep.core.values import Change, Properties, SourceStamp
from lockstep.master.health import to_look_at, unfit
from lockstep.master.journal import properties_before
from lockstep.master.limits import REMAKE_PATIENCE
from lockstep.master.loop import Loop
from lockstep.master.step_run import StepRun
from lockstep.master.tape import Tape
from lockstep.sources.programs import NotStartedError
from lockstep.steps.base import BuildStep
from lockstep.steps.execution import decode_prepared, encode_prepared, prepare

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)


class BuildView:
    """A running build as its steps see it (`steps.context.BuildContext`). Reads the core's record."""

    def __init__(self, house: "House", record: Build, basedir: str, env: dict[str, Any]) -> None:
        self._house = house
        self._record = record
        self.buildid = record.buildid
        self.number = record.number
        self.builder = record.builder
        self.worker = record.worker
        self.basedir = basedir
        self.env = env
        self.step = 0
        self.units: dict[str, Any] = {}
        request = house.loop.state.requests[record.brid]
        state = house.loop.state
        buildset = state.buildsets[request.bsid]
        self.sourcestamps: tuple[SourceStamp, ...] = tuple(state.stamps[ssid].stamp for ssid in buildset.ssids)
        self.changes: tuple[Change, ...] = ()
        self.replayed: Properties | None = None
        """On replay, the properties as they were at this point of the step."""

    @property
    def properties(self) -> Properties:
        return self._record.properties if self.replayed is None else self.replayed

    @property
    def result(self) -> Result:
        return self._record.result

    @property
    def worker_info(self) -> dict[str, Any]:
        worker = self._house.loop.state.workers.get(self._record.worker)
        return {"name": self._record.worker, **(worker.info if worker is not None else {})}

    def look_at_units(self) -> None:
        """Find out what is to be told of the units that the current step and its group hold."""
        state = self._house.loop.state
        self.units = {}
        owners = [state.opener(self._record), self._record.steps[self.step - 1] if self.step else None]
        for hold in [state.allocator.holds.get(one.hold) for one in owners if one is not None]:
            if hold is not None:
                self.units |= told_units.properties(hold.units, state.pools)

    @property
    def fences(self) -> dict[str, int]:
        steps = self._record.steps
        step = steps[self.step - 1].fences if self.step else {}
        opener = self._house.loop.state.opener(self._record)
        return {**self._record.fences, **(opener.fences if opener is not None else {}), **step}


class BuildRun:
    """One build in this process: its step objects, in the order of the core's records, and the step that runs."""

    def __init__(self, house: "House", buildid: int) -> None:
        self.house = house
        self.loop: Loop = house.loop
        self.buildid = buildid
        self.steps: list[BuildStep] = []
        self.view: BuildView | None = None
        self.running: StepRun | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._made = asyncio.Event()
        self._preparing = 0
        self._looked_at = 0
        self._looking: asyncio.Future[Any] | None = None
        self._stopped = False
        self._tapes: dict[int, Tape] = {}

    @property
    def record(self) -> Build | None:
        """The core's record, or None once the build has ended."""
        return self.loop.state.builds.get(self.buildid)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for this build; what it raises breaks the build, never the server."""
        task = asyncio.create_task(self.guard(work))
        for tasks in (self._tasks, self.house.user_code):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work for this build; what it raises breaks the build."""
        try:
            await work
        except asyncio.CancelledError:
            pass
        except RAISED as exc:
            log.exception("build %s", self.buildid)
            text = "".join(traceback.format_exception_only(exc)).strip()
            self.loop.post(e.BuildBroken(buildid=self.buildid, result=Result.EXCEPTION, reason=text))

    # --- making the steps

    async def begin(self) -> None:
        """A new build: its properties and steps."""
        record = self.record
        if record is None:
            return
        if record.builder not in self.house.config.builders:
            self._put_back(f"builder '{record.builder}' is not in the configuration any more")
            return
        view = await self._look(record)
        self.steps = self.house.make_steps(record.builder)
        plans = self.house.config.raising(record.builder, record.worker, [step.plan() for step in self.steps])
        if self.loop.state.allocator.board.pools and not await self._fit(record.hold, 0):
            return
        properties = await self.house.properties_of(record, view.sourcestamps, view.changes)
        self._made.set()
        self.loop.post(e.BuildPlanned(buildid=self.buildid, plans=plans, properties=properties))

    async def _fit(self, hold: int, step: int) -> bool:
        """Whether the units of a hold are fit, before anything is done with them. If not, the core says what follows.

        `step` is 0 for what the build itself holds. After a restart they are looked at again, if nothing was done yet.
        """
        if self._looked_at == hold:
            return False  # an errand may come twice
        self._looked_at = hold
        wanted = to_look_at(self.house, hold)
        if not wanted:
            return True
        if step:
            self.house.summary_changed(self.buildid, step, "looking at its units")
        self._stopped = False
        self._looking = asyncio.ensure_future(unfit(self.house, wanted))
        try:
            failed = await self._looking
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            return True  # the step is run, and stopped in the same breath
        except NotStartedError as exc:
            self.loop.post(e.BuildBroken(buildid=self.buildid, result=Result.EXCEPTION, reason=str(exc)))
            return False
        for pool, unit, why in failed:
            log.warning("unit %s of pool %s is not fit: %s", unit, pool, why)
        if failed:
            self.loop.post(e.UnitsFailed(buildid=self.buildid, step=step, hold=hold, units=failed))
        return not failed and self.record is not None

    def _put_back(self, problem: str) -> None:
        reason = f"{problem}; the build is tried again"
        self.loop.post(e.BuildBroken(buildid=self.buildid, result=Result.RETRY, reason=reason))

    async def resume(self) -> None:
        """A build of before the restart: make its steps again, those added on the way too (HOUSE 2.5)."""
        record = self.record
        if record is None:
            return
        if record.builder not in self.house.config.builders:
            self._put_back(f"builder '{record.builder}' is not in the configuration any more")
            return
        await self._look(record)
        self.steps = self.house.make_steps(record.builder)
        try:
            problem = await asyncio.wait_for(self._remake_added(record), REMAKE_PATIENCE)
        except TimeoutError:
            problem = "the steps that its steps had added could not be made again"
        problem = problem or self._changed(record)
        if problem:
            self._put_back(problem)
            return
        self.view_live()
        step = record.steps[record.current - 1] if record.current else None
        if step is not None and step.state == "running":
            self._tapes = await self._stored_tapes(step)
        self._made.set()

    def _changed(self, record: Build) -> str:
        """Whether the steps are other ones than when the build began. The running step adds its own by itself."""
        running = record.steps[record.current - 1] if record.current else None
        own: set[int] = set()
        if running is not None and running.state == "running":
            own = {number for call in running.calls.values() for number in _added(call)}
        expected = [step.plan.step_class for step in record.steps if step.number not in own]
        if [step.plan().step_class for step in self.steps] != expected:
            return f"the steps of builder '{record.builder}' have changed since build {record.number} began"
        return ""

    async def _stored_tapes(self, step: Step) -> dict[int, Tape]:
        """The stored lines of a step's logs, for its observers."""
        tapes = {}
        for logid in sorted(step.logs):
            type_, lines = await self.house.stored_lines(logid)
            tapes[logid] = Tape(type_, lines, partial(self.house.stored_text, logid))
        return tapes

    async def _remake_added(self, record: Build) -> str:
        """Run the ended steps that added others again, without effect, to have the added ones (HOUSE 2.5)."""
        for step in record.steps:
            if step.state != "ended" or not any(_added(call) for call in step.calls.values()):
                continue
            if step.number > len(self.steps):
                return self._changed(record)
            run = self._step_run(step, await self._stored_tapes(step), replay_only=True)
            await run.execute(decode_prepared(step.rendered))
            if run.difference:
                return run.difference
        return ""

    async def _look(self, record: Build) -> BuildView:
        basedir, env = self.house.place_of(record)
        view = self.view = BuildView(self.house, record, basedir, env)
        view.changes = await self.house.changes_of(view.sourcestamps)
        return view

    # --- steps

    async def prepare(self, number: int) -> None:
        """Evaluate what a step needs before it runs, once (L20)."""
        if self._preparing == number:
            return  # a stop asks again for a step that always runs
        self._preparing = number
        await self._made.wait()
        assert self.view is not None
        self.view.step = 0
        if self.loop.state.allocator.board.pools:
            self.view.look_at_units()
        opens = bool(self.steps[number - 1].locked_group) and self._opens(self.steps[number - 1])
        prepared = await prepare(self.steps[number - 1], self.view, opens)
        result = Result.SKIPPED if prepared.skip else None
        accesses = () if prepared.error else prepared.accesses
        if not prepared.error and accesses:
            prepared = self.house.check_step_locks(self.record, prepared)
            accesses = () if prepared.error else accesses
        self.loop.post(
            e.StepPrepared(
                buildid=self.buildid,
                number=number,
                name=prepared.name,
                accesses=accesses,
                shared=prepared.shared if accesses else (),
                rendered=encode_prepared(prepared),
                result=result,
                summary=prepared.summary,
                hidden=prepared.hidden,
            )
        )

    def _opens(self, step: BuildStep) -> bool:
        """Whether a step would be the first of its group to run: nobody has claimed the group's locks yet."""
        record = self.record
        opener = self.loop.state.opener(record) if record is not None else None
        return opener is None or opener.plan.group != step.locked_group

    def _step_run(self, step: Step, tapes: dict[int, Tape], replay_only: bool = False) -> StepRun:
        assert self.view is not None
        record = self.record
        self.view.step = step.number
        if self.loop.state.allocator.board.pools:
            self.view.look_at_units()
        self.view.replayed = properties_before(record, step.number) if record is not None and step.calls else None
        return StepRun(self, self.view, step, self.steps[step.number - 1], tapes, replay_only)

    async def run(self, number: int) -> None:
        """Run a step to its end and say how it ended."""
        await self._made.wait()
        record = self.record
        if record is None or self.running is not None:
            return
        step = record.steps[number - 1]
        if step.state != "running":
            return
        pooled = step.ticket and not step.calls and self.loop.state.allocator.board.pools
        if pooled and not await self._fit(step.hold, number):
            return
        tapes, self._tapes = self._tapes, {}
        self.running = run = self._step_run(step, tapes)
        if step.interrupted:
            self.spawn(run.interrupt(record.stop_reason))
        try:
            outcome = await run.execute(decode_prepared(step.rendered))
        finally:
            self.running = None
            self.view_live()
        if run.difference:
            self.loop.post(e.BuildBroken(buildid=self.buildid, result=Result.RETRY, reason=run.difference))
        elif outcome is not None:
            self.loop.post(
                e.StepFinished(
                    buildid=self.buildid,
                    number=number,
                    result=outcome.result,
                    summary=outcome.summary,
                    hidden=outcome.hidden,
                    build_summary=outcome.build_summary,
                    lines=run.finish_logs(),
                )
            )

    def view_live(self) -> None:
        """No step is replayed any more."""
        if self.view is not None:
            self.view.replayed = None

    def call_done(self, step: int, number: int, result: Any) -> None:
        """A call's result is stored."""
        if self.running is not None and self.running.number == step:
            self.running.deliver(number, result)

    def interrupt(self, step: int, reason: str) -> None:
        """The build is being stopped while this step runs."""
        if self.running is not None and self.running.number == step:
            self.spawn(self.running.interrupt(reason))
        elif self._looking is not None:
            self._stopped = True
            self._looking.cancel()

    def add_steps(self, at: int, steps: list[BuildStep]) -> None:
        """Steps that a running step has added; `at` is the first one's number."""
        self.steps[at - 1 : at - 1] = steps

    def drop(self) -> None:
        """The build has ended: whatever still runs of it here is cancelled."""
        for task in list(self._tasks):
            task.cancel()


def _added(record: CallRecord) -> list[int]:
    """The numbers of the steps that a call has added."""
    if isinstance(record.call, AddSteps) and record.state == "ended":
        return [int(number) for number in record.result or ()]
    return []
