"""The house: what the adapters of one running server share, and who performs which effect.

It joins the loop, the configuration in force, the builds, the logs, the timers and the agents. It decides nothing.
"""

import asyncio
import logging
import ntpath
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from lockstep.config.config import Config
from lockstep.config.secrets import names_in, substitute
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import told_units
from lockstep.core.calls import LogType, OpenLog, Stream
from lockstep.core.facts import Numbered, StepEnded
from lockstep.core.records import Build
from lockstep.core.values import Change, Properties, SourceStamp
from lockstep.master.agents import Agents
from lockstep.master.builds import BuildRun
from lockstep.master.health import Looks
from lockstep.master.hooks import Hooks
from lockstep.master.limits import CLOSE_PATIENCE, MAX_LOG_BYTES
from lockstep.master.logs import Kept, Listener, LogFile
from lockstep.master.loop import Loop
from lockstep.master.masks import Masks, look_up
from lockstep.master.stored import opened_logs, stored_changes, stored_extent, stored_text
from lockstep.steps.base import BuildStep
from lockstep.steps.build import authors
from lockstep.steps.execution import Prepared
from lockstep.storage.batch import LogPart
from lockstep.storage.queries import Queries

log = logging.getLogger(__name__)


class House:
    """Everything that effects reach.

    `reads` answers questions about what is stored; `local_password(name, password)` says whether that is right for a
    worker that this server starts itself.
    """

    def __init__(
        self, loop: Loop, config: Config, agents: Agents, reads: Queries, local_password: Callable[[str, str], bool]
    ) -> None:
        self.loop = loop
        self.config = config
        self.agents = agents
        self.reads = reads
        self.local_password = local_password
        self.builds: dict[int, BuildRun] = {}
        self.logs: dict[int, LogFile] = {}
        self.summaries: dict[tuple[int, int], str] = {}
        self.on_summary: list[Callable[[int, int, str], None]] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.user_code: set[asyncio.Task[None]] = set()
        """What runs for builds, those that have ended too: it may swallow every cancel."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._resuming: list[asyncio.Future[None]] = []
        self._effects: dict[type[x.Effect], Callable[[Any], None]] = {
            x.RenderNeed: lambda effect: self.hooks.render(effect.brid),
            x.BeginBuild: self._begin_build,
            x.ResumeBuild: self._resume_build,
            x.PrepareStep: lambda effect: self._spawn_for(effect.buildid, "prepare", effect.number),
            x.RunStep: self._run_step,
            x.CallDone: self._call_done,
            x.InterruptStep: self._interrupt_step,
            x.DropBuild: self._drop_build,
            x.SendCommand: lambda effect: self.agents.send_command(effect.worker, effect.command),
            x.InterruptCommand: lambda effect: self.agents.interrupt(effect.worker, effect.command, effect.reason),
            x.Welcome: lambda effect: self.agents.welcome(effect.worker, effect.session),
            x.LookAgain: lambda effect: self.spawn(self.looks.again(effect)),
            x.ArmTimer: self._arm,
            x.DisarmTimer: self._disarm,
        }
        self.hooks = Hooks(self)
        self.looks = Looks(self)
        loop.part_listeners.append(self._part_stored)
        loop.listeners.append(self._finish_logs)

    # --- effects

    def perform(self, effect: x.Effect) -> None:
        """Do one errand. A fault in it is logged; it never stops the loop."""
        try:
            self._effects[type(effect)](effect)
        except Exception:
            log.exception("effect %r", effect)

    def spawn(self, work: Any) -> None:
        """Run a coroutine in the background; what it raises is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", exc_info=error)

    def _begin_build(self, effect: x.BeginBuild) -> None:
        run = self.builds[effect.buildid] = BuildRun(self, effect.buildid)
        run.spawn(run.begin())

    def _resume_build(self, effect: x.ResumeBuild) -> None:
        run = self.builds[effect.buildid] = BuildRun(self, effect.buildid)
        self._resuming.append(asyncio.ensure_future(run.guard(run.resume())))

    def _spawn_for(self, buildid: int, what: str, number: int) -> None:
        run = self.builds.get(buildid)
        if run is not None:
            run.spawn(getattr(run, what)(number))

    def _run_step(self, effect: x.RunStep) -> None:
        step = self.loop.state.step(effect.buildid, effect.number)
        if step is not None and not step.plan.replayable:
            # It acts by itself, so it must not start before its facts are stored (HOUSE 2.6).
            self.loop.after_commit(lambda: self._spawn_for(effect.buildid, "run", effect.number))
        else:
            self._spawn_for(effect.buildid, "run", effect.number)

    def _call_done(self, effect: x.CallDone) -> None:
        run = self.builds.get(effect.buildid)
        if run is not None:
            run.call_done(effect.step, effect.number, effect.result)

    def _interrupt_step(self, effect: x.InterruptStep) -> None:
        run = self.builds.get(effect.buildid)
        if run is not None:
            run.interrupt(effect.number, effect.reason)

    def _drop_build(self, effect: x.DropBuild) -> None:
        run = self.builds.pop(effect.buildid, None)
        if run is not None:
            run.drop()
        for key in [key for key in self.summaries if key[0] == effect.buildid]:
            del self.summaries[key]

    async def resumed(self) -> None:
        """Wait until the builds of before the restart have their steps again; only then may agents speak."""
        while self._resuming:
            await self._resuming.pop()

    # --- timers

    def _arm(self, effect: x.ArmTimer) -> None:
        self._disarm(x.DisarmTimer(effect.timer))
        later = asyncio.get_running_loop().call_later
        self._timers[effect.timer] = later(effect.seconds, self._fire, effect.timer)

    def _fire(self, timer: str) -> None:
        self._timers.pop(timer, None)
        self.loop.post(e.TimerFired(timer=timer))

    def _disarm(self, effect: x.DisarmTimer) -> None:
        handle = self._timers.pop(effect.timer, None)
        if handle is not None:
            handle.cancel()

    # --- what builds need of the configuration

    def make_steps(self, builder: str) -> list[BuildStep]:
        """Fresh steps of a builder. Raises KeyError if it is not configured any more."""
        return list(self.config.builders[builder].factory.newSteps())

    def place_of(self, record: Build) -> tuple[str, dict[str, Any]]:
        """The build's folder on its worker, and the builder's environment, not rendered."""
        builder = self.config.builders.get(record.builder)
        if builder is None:
            return record.builder, {}
        return builder.workerbuilddir or builder.builddir, builder.env

    async def properties_of(
        self, record: Build, stamps: Sequence[SourceStamp], changes: Sequence[Change]
    ) -> Properties:
        """A build's properties at its start: the configuration's, the request's, and what Lockstep knows itself."""
        state = self.loop.state
        request = state.requests[record.brid]
        buildset = state.buildsets[request.bsid]
        own = {**buildset.properties, **request.properties}
        properties = self.config.build_properties(record.builder, record.worker, own)
        basedir, _env = self.place_of(record)
        properties["buildnumber"] = (record.number, "Build")
        properties["buildername"] = (record.builder, "Builder")
        properties["workername"] = (record.worker, "Worker")
        properties["builderid"] = (state.builder_ids[record.builder], "Builder")
        home = str(state.workers[record.worker].info.get("basedir") or "")
        join = posixpath.join if home.startswith("/") else ntpath.join
        properties["builddir"] = (join(home, basedir), "Worker")
        if home:
            properties["basedir"] = (home, "Worker")
        for name, value in _source_properties(tuple(stamps)).items():
            properties.setdefault(name, (value, "Build"))
        owner = {str(own["owner"][0])} if "owner" in own else set()
        if changes or owner or any(stamp.patch for stamp in stamps):
            properties.setdefault("owners", (sorted(authors(changes, stamps) | owner), "Build"))
        for lock, fence in record.fences.items():
            properties[f"fence:{lock}"] = (fence, told_units.SOURCE)
        hold = state.allocator.holds.get(record.hold)
        if hold is not None and hold.units:
            told = told_units.properties(hold.units, state.pools)
            properties |= {name: (value, told_units.SOURCE) for name, value in told.items()}
        return properties

    async def changes_of(self, stamps: Iterable[SourceStamp]) -> tuple[Change, ...]:
        """The changes that source stamps name, oldest first."""
        ids = sorted({changeid for stamp in stamps for changeid in stamp.changes})
        if not ids:
            return ()
        return await asyncio.to_thread(stored_changes, self.reads, ids)

    def check_step_locks(self, record: Build | None, prepared: Prepared) -> Prepared:
        """L25: a lock that the build holds cannot be claimed by its step. Tells the core of locks it does not know."""
        if record is None:
            return prepared
        state = self.loop.state
        known = state.locks.keys() | state.removed_locks.keys()  # of a removed one its claim itself reminds (L6)
        unknown = tuple(lock for lock in prepared.limits if lock.key not in known)
        hold = self.loop.state.allocator.holds.get(record.hold)
        held = {access.lock.whole for access in hold.alternative.accesses} if hold is not None else set()
        claimed = [access.lock.whole for access in prepared.accesses if not access.raises]
        both = sorted(str(lock) for lock in claimed if lock in held)
        if both:
            text = (
                f"Lock '{both[0]}' is in locks= of step '{prepared.name}' and is held by its build already "
                f"(locks= of builder '{record.builder}', its factory or worker '{record.worker}'): "
                "the step would wait for itself. Remove one of the two.\n"
            )
            return msgspec.structs.replace(prepared, accesses=(), error=text)
        if unknown:
            self.loop.post(e.LocksSeen(locks=unknown))
        return prepared

    def triggerable(self, name: str) -> Any:
        """The scheduler of that name. Raises KeyError."""
        return self.config.schedulers[name]

    def path(self, path: str) -> str:
        """A path on the server; relative ones are in its base directory."""
        return os.path.join(self.config.basedir, os.path.expanduser(path))

    async def secret(self, name: str) -> str:
        """The value of a secret. Raises KeyError, TimeoutError, and what the provider raises."""
        return (await look_up(self.config, [name]))[name]

    async def reveal(self, logid: int, tree: Any) -> Any:
        """`tree` with secrets in clear. What is written to the log from now on hides them. Raises what providers raise.

        Raises:
            KeyError: nobody knows a secret.
        """
        values = await look_up(self.config, names_in(tree))
        file = self.logs.get(logid)
        if file is not None:
            file.masks |= Masks(values)
        return substitute(tree, values.__getitem__)

    # --- logs

    async def resume_logs(self, ends: Mapping[int, Mapping[int, str]]) -> None:
        """Go on with the logs of before a restart. `ends`: the last pieces of those that are cut."""
        left = dict(ends)
        for build in self.loop.state.builds.values():
            for step in build.steps:
                for logid in sorted(step.open_logs):
                    opened, place = opened_logs(step).get(logid, OpenLog("")), (build.buildid, step.number)
                    await self._resume_log(logid, opened, place, left.pop(logid, None))
        for logid, pieces in left.items():  # its build had ended, and its end was not stored in time
            await self._resume_log(logid, OpenLog(""), (0, 0), pieces)
            self.finish_log(logid)

    async def _resume_log(
        self, logid: int, opened: OpenLog, step: tuple[int, int], end: Mapping[int, str] | None
    ) -> None:
        limited = end is None and self.config.logMaxSize is not None
        type_, lines, size = await asyncio.to_thread(stored_extent, self.reads, logid, limited)
        self.open_log(logid, type_, opened.encoding, step)
        self.logs[logid].resume(lines, size, end)

    def open_log(self, logid: int, type_: LogType, encoding: str, step: tuple[int, int]) -> None:
        """A log that is going to be written by this step (build, number)."""
        if logid not in self.logs:
            size, end = self.config.logMaxSize, self.config.logMaxTailSize
            kept = Kept(MAX_LOG_BYTES if size is None else min(size, MAX_LOG_BYTES), end or 0)
            self.logs[logid] = LogFile(logid, type_, step, kept, encoding)

    def feed_log(self, logid: int, stream: Stream, data: bytes, *, stored: bool = False) -> None:
        """Append to an open log. `stored`: it was before, by the step that is replayed now."""
        file = self.logs.get(logid)
        if file is not None and stored:
            file.skip(stream, data)
            return
        if file is not None:
            self.loop.write(file.feed(stream, data))

    def listen(self, logid: int, listener: Listener) -> None:
        """Tell a listener what is stored from now on."""
        file = self.logs.get(logid)
        if file is not None:
            file.listeners.append(listener)

    def end_log(self, logid: int) -> None:
        """Its step closes a log: what never got its newline is stored together with that."""
        file = self.logs.get(logid)
        if file is not None:
            self.loop.write(file.close())

    def finish_log(self, logid: int) -> int:
        """Nothing more comes: store what never got its newline. Returns the line count."""
        file = self.logs.pop(logid, None)
        if file is None:
            return 0
        self.loop.write(file.close())
        return file.lines

    def _finish_logs(self, facts: Sequence[Numbered]) -> None:
        """Steps have ended: those that could not close their logs themselves were taken from their code."""
        for fact in (numbered.fact for numbered in facts):
            if isinstance(fact, StepEnded):
                step = (fact.buildid, fact.number)
                for logid in [logid for logid, file in self.logs.items() if file.step == step]:
                    self.finish_log(logid)

    def _part_stored(self, part: LogPart) -> None:
        file = self.logs.get(part.logid)
        if file is not None:
            file.tell(part)

    async def stored_lines(self, logid: int) -> tuple[LogType, int]:
        """A log's type, and how many lines of it are stored."""
        type_, lines, _ = await asyncio.to_thread(stored_extent, self.reads, logid, False)
        return type_, lines

    async def stored_text(self, logid: int, first: int, lines: int) -> str:
        """Some stored lines of a log."""
        return await asyncio.to_thread(stored_text, self.reads, logid, first, lines)

    def summary_changed(self, buildid: int, number: int, text: str) -> None:
        """A running step shows another text."""
        self.summaries[buildid, number] = text
        for listener in self.on_summary:
            listener(buildid, number, text)

    async def close(self) -> None:
        """End what runs in this process; nothing of it is lost: the next one goes on."""
        self.loop.closed = True
        for handle in self._timers.values():
            handle.cancel()
        for run in self.builds.values():
            run.drop()
        for task in list(self._tasks):
            task.cancel()
        await _leave_behind(self.user_code)


_ENDLESS: list[asyncio.Task[Any]] = []
"""Code of users' steps that nothing ends."""


async def leave_others_behind() -> None:
    """Cancel all tasks but this one: what the code of steps has begun by itself is among them.

    It is for whoever owns the event loop. `asyncio.run` would wait for ever for what cannot be ended.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await _leave_behind(others)


async def _leave_behind(tasks: Set[asyncio.Task[Any]]) -> None:
    """Wait `CLOSE_PATIENCE` seconds for tasks that are cancelled. Nobody waits any more for those that swallow it."""
    if tasks:
        _, endless = await asyncio.wait(tasks, timeout=CLOSE_PATIENCE)
        for task in endless:
            asyncio.tasks._unregister_task(task)  # the end of the event loop does not wait for it,
        _ENDLESS.extend(endless)  # and Python is not made to end it either


def _source_properties(stamps: tuple[SourceStamp, ...]) -> dict[str, Any]:
    """Properties of the source (manual: common build properties); of several codebases, dictionaries by codebase."""
    if len(stamps) == 1:
        stamp = stamps[0]
        return {name: getattr(stamp, name) for name in ("branch", "revision", "repository", "codebase", "project")}
    return {}
