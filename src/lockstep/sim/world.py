"""A whole simulated world: it plays a scenario, lets its faults happen, heals, and then everything must end.

The parts are in their own files; what must hold is said by `watch.py` and `checks.py`, which are called from here.
"""

from collections.abc import Callable
from random import Random

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide import Outcome
from lockstep.core.nouns import Access, Result
from lockstep.core.state import State
from lockstep.core.values import Rank, RequestWish, Setup, SourceStamp, Submission
from lockstep.sim import checks, pools
from lockstep.sim.disk import Disk, Group, MemoryDisk
from lockstep.sim.faults import Ledger, Violation, demand
from lockstep.sim.machines import Host
from lockstep.sim.master import START, Master
from lockstep.sim.people import People
from lockstep.sim.scenario import Act, Faults, Scenario
from lockstep.sim.timeline import Timeline
from lockstep.sim.tracing import Tracer
from lockstep.sim.watch import Watch

MAX_STEPS = 20_000
MAX_SECONDS = 200_000.0
LOOK_AGAIN = 0.2
"""How often, per event, everything is looked at again from scratch."""


class World:
    """One world. `play` it; it raises Violation, or whatever the core raises."""

    def __init__(self, scenario: Scenario, disk: Disk | None = None, tracer: Tracer | None = None) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed * 7919 + 1)
        self.timeline = Timeline()
        self.faults = scenario.faults
        self.disk: Disk = disk or MemoryDisk()
        self.tracer = tracer
        limits = {str(lock.key): lock.limit for lock in scenario.locks}
        self.ledger = Ledger(limits)
        self.limits: dict[str, int] = {}
        self.without = ""
        self.healed = False
        self.watch = Watch(self.ledger)
        self.master: Master | None = None
        self.hosts = {
            machine.setup.name: Host(machine, self.timeline, self.random, self.ledger, lambda: self.master)
            for machine in scenario.machines
        }
        self.people = People(self)
        self.decisions = 0
        self.stored_commands: set[str] = set()

    def setup(self) -> Setup:
        """The configuration as it is now."""
        return self.scenario.setup(self.limits, self.without)

    def make_known(self, post: Callable[[e.Event], None], state: State, accesses: tuple[Access, ...]) -> None:
        """A step claims locks that a reload has removed: the core learns their limits anew (L6)."""
        wanted = {access.lock for access in accesses if access.lock not in state.locks}
        locks = tuple(lock for lock in self.scenario.setup(self.limits).locks if lock.key in wanted)
        if locks:
            post(e.LocksSeen(locks=locks))

    def chance(self, fault: str) -> bool:
        """Whether a fault of this kind happens now."""
        return self.random.random() < float(getattr(self.faults, fault))

    # --- playing

    def play(self) -> None:
        """From the first start to the end of the last request."""
        self._start()
        for host in self.hosts.values():
            host.connect()
        for act in self.scenario.acts:
            self.timeline.after(act.at, lambda act=act: self._act(act))  # type: ignore[misc]
        self.timeline.after(self.scenario.heal, self._heal)
        while self.timeline.step():
            if self.healed and self._is_done():
                break
            late = self.timeline.steps > MAX_STEPS or self.timeline.now > MAX_SECONDS
            demand(not late, f"the world does not come to rest: {self._open()}")
        demand(self._is_done(), f"nothing more happens, but {self._open()}")
        checks.at_the_end(self)

    def _is_done(self) -> bool:
        master = self.master
        return (
            master is not None
            and not master.state.requests
            and not master.state.bookings
            and not master.committing
            and not master.groups
            and not self.ledger.running
        )

    def _open(self) -> str:
        master = self.master
        if master is None:
            return "there is no master"
        requests = {r.brid: (r.builder, r.state) for r in master.state.requests.values()}
        bookings = {b.ticket: (b.wish, b.state) for b in master.state.bookings.values()}
        commands = sorted(self.ledger.running)
        return f"these requests are open: {requests}, these bookings: {bookings}, these commands run: {commands}"

    def _start(self) -> None:
        self.master = Master(self)
        checks.after_a_start(self)
        self.master.start()

    def _start_again(self) -> None:
        if self.master is None:
            self._start()

    def _crash(self) -> None:
        master = self.master
        if master is None:
            return
        master.crash()
        self.master = None
        self.watch = Watch(self.ledger)
        for group in self.disk.groups:
            self.watch.see(group, None)
        if self.tracer is not None:
            self.tracer.crash()
        self.timeline.after(self.random.uniform(0.1, 120), self._start_again)

    def _heal(self) -> None:
        """No fault happens from now on, and everything that was taken away is back."""
        self.healed = True
        self.faults = Faults()
        self.limits, self.without = {}, ""
        if self.master is None:
            self._start()
        assert self.master is not None
        for host in self.hosts.values():
            host.revive()
            self.master.post(e.WorkerPauseAsked(worker=host.name, paused=False))
        self.master.post(e.Configured(setup=self.setup()))
        self.master.post(e.RanksFound(ranks={name: Rank() for name in self.master.state.ranks}))
        pools.heal(self)
        self.people.heal()

    # --- what the master tells

    def decided(self, master: Master, event: e.Event | None, outcome: Outcome) -> None:
        """A decision was made; its facts hold in the state already."""
        self.decisions += 1
        if self.tracer is not None:
            self.tracer.decided(master.wall(), event, outcome)
        for one in outcome.facts:
            if isinstance(one.fact, f.BuildStarted):
                here = one.fact.worker in master.greeted
                demand(here, f"build {one.fact.buildid} is given to {one.fact.worker}, who has not come yet (L60)")
        try:
            self.watch.see(outcome.facts, master.state, master.wall())
        except Violation as error:
            raise Violation(f"after {event}: {error}") from None
        master.looks.check()
        if self.random.random() < LOOK_AGAIN:
            checks.second_look(master)
        if self.random.random() < LOOK_AGAIN / 10:
            checks.same_after_restart(self, master)

    def stored(self, master: Master, groups: list[Group]) -> None:
        """A commit."""
        self.disk.append(groups)
        for one in (one for group in groups for one in group):
            self.people.see(one.fact)
            if isinstance(one.fact, f.CallStarted) and one.fact.command:
                self.stored_commands.add(one.fact.command)
        if self.tracer is not None:
            self.tracer.stored()

    def leaves(self, master: Master, effect: x.Effect, needs: int) -> None:
        """An errand is about to leave the house."""
        demand(self.disk.last_fact >= needs, f"{effect} leaves the house before fact {needs} is stored")

    def sends(self, command: str) -> None:
        """A command is about to be told to a worker."""
        demand(command in self.stored_commands, f"command {command} leaves the house before it is stored")

    # --- what happens

    def _act(self, act: Act) -> None:
        if act.what in ("crash", "cut", "restart", "die", "leave", "false", "break"):
            if not self.healed:
                self._fault(act)
        elif self.master is not None:
            self._wish(self.master, act)

    def _fault(self, act: Act) -> None:
        host = self.hosts[act.who]
        if act.what == "crash":
            self._crash()
        elif act.what == "cut":
            if host.link is not None:
                host.link.cut()
        elif act.what == "restart":
            host.crash(self.random.uniform(1, 90))
        elif act.what == "leave":
            host.leave(self.random.uniform(1, 90))
        elif act.what == "die":
            host.crash(None)
            self.timeline.after(self.random.uniform(10, 200), lambda: self._declare(host))
        elif act.what == "break" and self.master is not None:
            builds = sorted(self.master.state.builds)
            if builds:
                result = Result.RETRY if act.number % 3 else Result.EXCEPTION
                broken = e.BuildBroken(buildid=builds[act.number % len(builds)], result=result, reason="it differs")
                self.master.tell(broken)
        elif self.master is not None:
            self._false(self.master, act)

    def _declare(self, host: Host) -> None:
        """A person has looked: the machine is off."""
        if not host.up and self.master is not None:
            self.master.post(e.WorkerDeclaredDead(worker=host.name, who="somebody"))

    def _wish(self, master: Master, act: Act) -> None:
        state = master.state
        requests, builds = sorted(state.requests), sorted(state.builds)
        match act.what:
            case "force":
                self._force(master, act)
            case "cancel" if requests:
                master.tell(e.CancelAsked(brid=requests[act.number % len(requests)], who="somebody"))
            case "stop" if builds:
                master.tell(e.StopAsked(buildid=builds[act.number % len(builds)], who="somebody"))
            case "priority" if requests:
                master.tell(e.PriorityAsked(brid=requests[act.number % len(requests)], priority=act.number % 11))
            case "rank":
                self._rank(master, act)
            case "book" | "steal" | "extend" | "lie":
                self.people.act(master, act)
            case "quarantine" | "lift" | "unit":
                pools.act(self, master, act)
            case "late" if not self.healed:
                master.looks.late(act)
            case "pause" | "unpause":
                paused = act.what == "pause" and not self.healed
                master.tell(e.WorkerPauseAsked(worker=act.who, paused=paused))
            case "limit" if not self.healed:
                self.limits[act.who] = act.number
                for lock in self.scenario.locks:
                    if lock.key.name == act.who:
                        known = self.ledger.limits[str(lock.key)]
                        self.ledger.limits[str(lock.key)] = max(known, act.number)
                master.post(e.Configured(setup=self.setup()))
            case "reload" if not self.healed:
                self.without = act.who
                master.post(e.Configured(setup=self.setup()))

    def _rank(self, master: Master, act: Act) -> None:
        """Hooks give a builder another place in the queue, choose one of its requests, or hold it back."""
        own = [r.brid for r in master.state.requests.values() if r.builder == act.who] or [0]
        if act.number % 4 == 0 and not self.healed:
            master.post(e.RanksFound(ranks={act.who: Rank(held=True)}))  # never again once the world is healed
        else:
            rank = Rank(order=act.number % 3 - 1, chosen=own[act.number % len(own)] if act.number % 2 else 0)
            master.tell(e.RanksFound(ranks={act.who: rank}))

    def _force(self, master: Master, act: Act) -> None:
        stamps = (SourceStamp(branch="main", changes=(1,)),) if act.number else (SourceStamp(),)
        wish = RequestWish(builder=act.who, priority=act.number)
        submission = Submission(requests=(wish,), reason="forced", sourcestamps=stamps, collapse=bool(act.number))
        master.post(e.SchedulerMoved(owner="sim", submissions=(submission,), memory={"at": act.at}, cursor=1))

    def _false(self, master: Master, act: Act) -> None:
        """Something that is not so, or not so any more."""
        state = master.state
        builds = sorted(state.builds) or [1]
        build = builds[act.number % len(builds)]
        current = state.builds[build].current if build in state.builds else 1
        old = sorted(self.ledger.ever - set(state.commands)) or ["nonsense"]
        result = checks.A_RESULT
        lies: list[e.Event] = [
            e.CommandEnded(command=old[act.number % len(old)], result=result),
            e.TimerFired(timer=f"sleep:{build}.{current}.1"),
            e.TimerFired(timer=f"lease:0:{act.who}"),
            e.StepFinished(buildid=build, number=current + 1, result=Result.FAILURE),
            e.StepFinished(buildid=build, number=max(1, current - 1), result=Result.FAILURE),
            e.StepPrepared(buildid=build, number=current + 2, name="never"),
            e.WorkerDisconnected(worker=act.who, session=0),
            e.WorkerDeclaredDead(worker="nobody"),
            e.CancelAsked(brid=987654),
            e.StopAsked(buildid=987654),
            e.PriorityAsked(brid=987654, priority=3),
            e.NeedRendered(brid=987654),
            e.BuildPlanned(buildid=build, plans=(), properties={}),
        ]
        lie = lies[act.number % len(lies)]
        if isinstance(lie, e.TimerFired) and lie.timer.startswith("sleep"):
            step = state.step(build, current)
            if step is not None and any(record.due and record.state == "started" for record in step.calls.values()):
                return  # it would be true
        if isinstance(lie, e.StepFinished) and lie.number == current:
            return
        if isinstance(lie, e.BuildPlanned) and build in state.builds and state.builds[build].state == "starting":
            return
        master.post(lie)


__all__ = ["START", "World"]
