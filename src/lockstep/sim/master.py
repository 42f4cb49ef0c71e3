"""The simulated master process: the core's decisions, the disk, and the errands after the commit (HOUSE section 1).

One object is one process: it ends with a crash, and the next one starts from the disk. It decides nothing itself.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core.calls import CommandResult, RunCommand
from lockstep.core.decide import Outcome, decide
from lockstep.core.nouns import Result
from lockstep.core.recovery import resume, state_of
from lockstep.sim import pools
from lockstep.sim.coder import StepRun
from lockstep.sim.looks import Looks
from lockstep.sim.machines import STOPPED, Link
from lockstep.sim.scenario import Builder

if TYPE_CHECKING:
    from lockstep.sim.world import World

START = 1_000_000.0
"""The wall time at which every world begins."""


class Master:
    """One process. `alive` is False once it has crashed."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.timeline = world.timeline
        self.random: Random = world.random
        self.alive = True
        self.state = state_of(world.disk.load())
        self.inbox: deque[e.Event] = deque()
        self.busy = False
        self.groups: list[Any] = []
        self.effects: list[tuple[x.Effect, int]] = []
        self.committing = False
        self.links: dict[str, Link] = {}
        self.all_links: list[Link] = []
        self.hellos: dict[int, Link] = {}
        self.tokens = 0
        self.timers: dict[str, int] = {}
        self.runs: dict[tuple[int, int], StepRun] = {}
        self.looked: dict[int, tuple[tuple[str, str, str], ...]] = {}
        self.looks = Looks(self)
        self.interrupts: set[tuple[int, int]] = set()
        self.acks: list[tuple[Link, str]] = []
        self.dismissals: list[Link] = []
        self.greeted: set[str] = set()

    def start(self) -> None:
        """Recovery comes before everything else (L60)."""
        self.busy = True
        self._take(resume(self.state, self.wall()), None)
        self.busy = False
        self.post(e.Configured(setup=self.world.setup()))

    def wall(self) -> float:
        """Unix seconds."""
        return START + self.timeline.now

    def crash(self) -> None:
        """Everything in memory is gone; connections break."""
        self.alive = False
        for link in self.all_links:
            link.cut()

    # --- events

    def post(self, event: e.Event) -> None:
        """Handle an event now, or after the one that is being handled."""
        if not self.alive:
            return
        self.inbox.append(event)
        if self.busy:
            return
        self.busy = True
        while self.inbox:
            event = self.inbox.popleft()
            self._take(decide(self.state, event, self.wall()), event)
        self.busy = False

    def _take(self, outcome: Outcome, event: e.Event | None) -> None:
        self.world.decided(self, event, outcome)
        if outcome.facts:
            self.groups.append(outcome.facts)
        for effect in outcome.effects:
            if effect.inner:
                self.perform(effect)
            else:
                self.effects.append((effect, self.state.last_fact))
        self._schedule()

    def _schedule(self) -> None:
        if not self.committing and (self.groups or self.effects or self.acks or self.dismissals):
            self.committing = True
            slow = self.random.random() < self.world.faults.slow_disk
            self.timeline.after(self.random.uniform(0, 10 if slow else 0.05), self._commit)

    def _commit(self) -> None:
        if not self.alive:
            return
        groups, self.groups = self.groups, []
        effects, self.effects = self.effects, []
        acks, self.acks = self.acks, []
        dismissals, self.dismissals = self.dismissals, []
        if groups:
            self.world.stored(self, groups)
        # The process may end between the commit and the errands.
        self.timeline.after(self.random.uniform(0, 0.2), lambda: self._errands(effects, acks, dismissals))

    def _errands(
        self, effects: list[tuple[x.Effect, int]], acks: list[tuple[Link, str]], dismissals: list[Link]
    ) -> None:
        if not self.alive:
            return
        self.committing = False
        for link, command in acks:
            link.to_host(lambda link=link, command=command: link.host.acknowledged(command))  # type: ignore[misc]
        for effect, needs in effects:
            self.leave(effect, needs)
        for link in dismissals:
            link.to_host(link.host.dismiss)
        self._schedule()

    def leave(self, effect: x.Effect, needs: int) -> None:
        """An errand leaves the house; it is told to the checkers first."""
        if not self.alive:
            return
        self.world.leaves(self, effect, needs)
        self.perform(effect)
        if not isinstance(effect, x.Reply | x.Welcome | x.ResumeBuild) and self.world.chance("again"):
            self.timeline.after(self.random.uniform(0, 20), lambda: self._perform_again(effect))

    def _perform_again(self, effect: x.Effect) -> None:
        if self.alive:
            self.perform(effect)

    # --- errands

    def perform(self, effect: x.Effect) -> None:
        """Do what an effect asks for."""
        match effect:
            case x.Reply():
                self._reply(effect)
            case x.RenderNeed(brid):
                self.later(lambda: self._render(brid))
            case x.BeginBuild(buildid):
                self.later(lambda: self._plan(buildid))
            case x.PrepareStep(buildid, number):
                self.later(lambda: self._prepare(buildid, number))
            case x.RunStep(buildid, number):
                self._run(buildid, number)
            case x.CallDone():
                run = self.runs.get((effect.buildid, effect.step))
                if run is not None:
                    run.done(effect.number, effect.result)
            case x.InterruptStep(buildid, number):
                run = self.runs.get((buildid, number))
                if run is not None:
                    run.interrupt()
            case x.DropBuild(buildid):
                for key in [key for key in self.runs if key[0] == buildid]:
                    self.runs.pop(key).over = True
            case x.SendCommand():
                self._send(effect)
            case x.InterruptCommand():
                link = self.links.get(effect.worker)
                if link is not None:
                    link.to_host(lambda: link.host.interrupt(effect.command, effect.forget))
            case x.LookAgain():
                self.looks.again(effect)
            case x.ArmTimer(timer, seconds):
                self._disarm(timer)
                self.timers[timer] = self.timeline.after(seconds, lambda: self._fire(timer))
            case x.DisarmTimer(timer):
                self._disarm(timer)

    def later(self, action: Callable[[], object]) -> None:
        """User code runs outside the decision; it takes its time."""
        slow = self.random.random() < self.world.faults.slow_render
        self.timeline.after(self.random.uniform(0, 20) if slow else 0.0, lambda: self.alive and action())

    def tell(self, event: e.Event) -> None:
        """An event of the house or the world, which may come doubled."""
        self.post(event)
        if self.world.chance("doubled"):
            self.timeline.after(self.random.uniform(0, 60), lambda: self.post(event))

    def _render(self, brid: int) -> None:
        request = self.state.requests.get(brid)
        if request is not None:
            builder = self.world.scenario.builder(request.builder)
            need = self.world.scenario.need(request.builder, self.world.without) if builder.rendered else None
            self.tell(e.NeedRendered(brid=brid, need=need, merge=self._merge(builder, brid)))

    def _merge(self, builder: Builder, brid: int) -> tuple[int, ...]:
        """What a hook wants merged into a new request: each of the others or not, and some that cannot be."""
        if not builder.setup.collapse_asked:
            return ()
        return tuple(other for other in sorted(self.state.requests) if other != brid and self.random.random() < 0.5)

    def _plan(self, buildid: int) -> None:
        build = self.state.builds.get(buildid)
        if build is None:
            return
        if build.steps or not (
            self.looks.waits(build.hold, lambda: self._plan(buildid)) or self._unfit(buildid, 0, build.hold)
        ):
            scripts = self.world.scenario.scripts
            plans = tuple(scripts[name].plan for name in self.world.scenario.builder(build.builder).steps)
            self.tell(e.BuildPlanned(buildid=buildid, plans=plans, properties={}))

    def _prepare(self, buildid: int, number: int) -> None:
        step = self.state.step(buildid, number)
        if step is not None:
            script = self.world.scenario.scripts[step.plan.step_class]
            result = Result.SKIPPED if script.ending == "skip" else None
            build = self.state.builds[buildid]
            opens = step.plan.group and self.state.opener(build) is None
            locked = self.world.scenario.builder(build.builder).locked if opens else ()
            prepared = e.StepPrepared(
                buildid=buildid,
                number=number,
                name=step.plan.name,
                accesses=script.accesses + locked,
                shared=tuple(access.lock for access in locked),
                result=result,
            )
            self.world.make_known(self.post, self.state, prepared.accesses)
            self.tell(prepared)

    def _unfit(self, buildid: int, step: int, hold: int) -> bool:
        """Whether a unit of this hold is ill, which is said after a while. A hold's units are looked at once."""
        if hold not in self.looked:
            self.looked[hold] = pools.unfit(self.world, self.state, hold)
            if sick := self.looked[hold]:
                event = e.UnitsFailed(buildid=buildid, step=step, hold=hold, units=sick)
                self.later(lambda: self.tell(event))
        return bool(self.looked[hold])

    def _run(self, buildid: int, number: int) -> None:
        step = self.state.step(buildid, number)
        if step is None or step.state != "running" or (buildid, number) in self.runs:
            return
        if step.ticket and not step.calls:
            if self.looks.waits(step.hold, lambda: self._run(buildid, number)):
                return
            if self._unfit(buildid, number, step.hold):
                return
        run = StepRun(self.world, self.state, buildid, number, self.tell)
        self.runs[buildid, number] = run
        run.start()

    def _send(self, effect: x.SendCommand) -> None:
        self.world.sends(effect.command)
        link = self.links.get(effect.worker)
        command = self.state.commands.get(effect.command)
        if link is None or command is None:
            return
        step = self.state.builds[command.buildid].steps[command.step - 1]
        call = step.calls[command.call].call
        assert isinstance(call, RunCommand)
        if link.leaving and effect.command not in link.sent:
            if link.up:
                self.tell(e.CommandEnded(command=effect.command, result=STOPPED))
            return
        link.sent.add(effect.command)
        link.to_host(lambda: link.host.start(effect.command, command.buildid, command.step, call.args))

    def _fire(self, timer: str) -> None:
        if not self.alive:
            return
        self.timers.pop(timer, None)
        if self.world.chance("late"):
            self.timeline.after(self.random.uniform(0, 60), lambda: self.tell(e.TimerFired(timer=timer)))
        else:
            self.tell(e.TimerFired(timer=timer))

    def _disarm(self, timer: str) -> None:
        handle = self.timers.pop(timer, None)
        if handle is not None:
            self.timeline.cancel(handle)

    # --- connections

    def hello(self, link: Link, known: tuple[str, ...], gone: tuple[str, ...]) -> None:
        """A machine says what it runs."""
        self.tokens += 1
        self.hellos[self.tokens] = link
        host = link.host
        self.greeted.add(host.name)
        self.post(
            e.WorkerConnected(
                worker=host.name, resumes=bool(host.lease), lease=host.lease, known=known, gone=gone, token=self.tokens
            )
        )

    def _reply(self, effect: x.Reply) -> None:
        link = self.hellos.pop(effect.token, None)
        if link is None:
            self.world.people.answered(self, effect)
            return
        if effect.error:
            link.to_host(lambda: link.host.refused(link))
            return
        link.session = effect.value
        self.links[link.host.name] = link
        if link.up:
            link.to_host(lambda: link.host.welcome(link))
            if link.leaving:
                self.heard_leaving(link)
        else:
            self.link_lost(link)

    def link_lost(self, link: Link) -> None:
        """We have noticed that a connection is gone; if it has no session yet, it is told when it has."""
        if link.session and self.alive:
            silent = self.world.timeline.now - link.heard if link.host.lease else 0.0
            self.tell(e.WorkerDisconnected(worker=link.host.name, session=link.session, silent=silent))

    def heard_leaving(self, link: Link) -> None:
        """An agent is being stopped: it gets nothing new, and may go when all that was decided has been sent."""
        link.leaving = True
        if link.session:
            self.tell(e.WorkerLeaving(worker=link.host.name, session=link.session))
            self.dismissals.append(link)
            self._schedule()

    def closed(self, link: Link) -> None:
        """An agent has closed its connection: nothing of it is on its way, and nothing can be."""
        link.up = False
        link.heard = self.timeline.now
        self.link_lost(link)

    def heard_end(self, link: Link, command: str, result: CommandResult) -> None:
        """A machine says how a command ended; it is acknowledged when that is stored."""
        self.tell(e.CommandEnded(command=command, result=result))
        self.acks.append((link, command))
        self._schedule()
