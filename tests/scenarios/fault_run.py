"""Carries out a plan of faults on a farm that is at work, heals everything, and judges what the programs noted."""

import contextlib
import heapq
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from fault_farm import AWAY, LIMITS, OPEN, Farm, send
from fault_plan import CLOCKS, LONG, MASTER, UNDISTURBED, WORKERS, Fault
from scene import DEADLINE
from stays import Key, Stay, faults, stays
from timeline import check_lock

from lockstep.core.nouns import Result

LOOK = 0.05
"""Seconds between two looks at what is due."""

Mend = Callable[[], None]


def boottime() -> float:
    """The clock of the programs under the locks."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Run:
    """One run. `broken`: who is hit by a fault now; `excused`: see `stays.faults`.

    Each fault waits until it can hit somebody who has no other trouble, and the later ones wait for it.
    """

    def __init__(self, farm: Farm, plan: Sequence[Fault]) -> None:
        self.farm = farm
        self.plan = plan
        self.broken: set[str] = set()
        self.excused: dict[Key, float] = {}
        self.weak_disks = False
        self._undisturbed = 0
        self._full_disks = 0
        self._ends: list[tuple[float, int, Mend]] = []
        self._begun = time.monotonic()

    def go(self) -> None:
        """Everything, and the judgement."""
        number, last = 0, 0.0
        try:
            while number < len(self.plan) or self._ends:
                self._look_around()
                self._more_work()
                while self._ends and self._ends[0][0] <= self._now():
                    heapq.heappop(self._ends)[2]()
                due = number < len(self.plan) and self._now() >= last + self.plan[number].gap
                if due and self._begin(number):
                    number, last = number + 1, self._now()
                time.sleep(LOOK)  # when a fault comes, and how long it lasts, is what it is
            self._heal()
        finally:
            for lock in LIMITS:
                print(f"{lock}: {len(stays(self.farm.folder, lock))} stays, {len(self.excused)} excused")
        self._judge()

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _look_around(self) -> None:
        """Nobody may end who was not told to; but a server that has met a full disk, perhaps a while ago."""
        farm = self.farm
        assert farm.process is not None
        if farm.process.poll() is not None and MASTER not in self.broken and self._blames_its_disk():
            farm.launch()
        ended = [MASTER] if farm.process.poll() is not None else []
        ended += [name for name in WORKERS if farm.agents[name].popen.poll() is not None]
        assert set(ended) <= self.broken, f"{ended} ended\n{farm.log.read_text()[-3000:]}"

    def _blames_its_disk(self) -> bool:
        """Whether the server has ended as it must when it cannot store (and not with a traceback)."""
        last = self.farm.log.read_text()[-1500:]
        if "disk is full" not in last or self._full_disks == 0:
            return False
        self._full_disks -= 1
        print(f"{self._now():6.2f} the server had ended: {last.splitlines()[-1]}")
        return True

    def _more_work(self) -> None:
        """There is always something to do."""
        if MASTER in self.broken:
            return
        facts = self.farm.facts
        ended = {fact.brid for fact in facts.of("RequestEnded")}
        busy = Counter(fact.builder for fact in facts.of("RequestAdded") if fact.brid not in ended)
        with contextlib.suppress(*AWAY):
            for builder, wanted in OPEN.items():
                if busy[builder] < wanted:
                    self.farm.call(f"builders/{builder}", "force", count=wanted - busy[builder])

    # --- faults

    def _begin(self, number: int) -> bool:
        """Let it happen, if there is a victim for it."""
        fault = self.plan[number]
        victims = self._victims(fault)
        lingering = [file for name in victims if name in WORKERS for file in self.farm.linger(name)]
        if not victims or (fault.kind in LONG and not lingering):
            return False
        self.broken |= set(victims)
        self._undisturbed += fault.kind in UNDISTURBED
        inside = " ".join(file.name for file in lingering)
        print(f"{self._now():6.2f} {number}: {fault.kind} hits {', '.join(victims)} {inside}", flush=True)
        mend = self._do(fault, victims[-1])

        def over() -> None:
            mend()
            for file in lingering:
                file.unlink()
            self.broken -= set(victims)
            self._undisturbed -= fault.kind in UNDISTURBED

        heapq.heappush(self._ends, (self._now() + fault.seconds, number, over))
        return True

    def _victims(self, fault: Fault) -> list[str]:
        """Who is hit; nobody, if that must wait."""
        free = [name for name in fault.workers if name not in self.broken and self.farm.own(name).serves()]
        if fault.kind in CLOCKS:
            clock = MASTER if fault.kind.endswith(MASTER) else fault.workers[0]
            return [f"clock of {clock}"] if f"clock of {clock}" not in self.broken else []
        if MASTER in fault.kind:
            if MASTER in self.broken or self._undisturbed:
                return []
            return [MASTER] if "agent" not in fault.kind else [MASTER, free[0]] if free else []
        holders = [name for name in free if any(self.farm.inside(lock, name) for lock in LIMITS)]
        if fault.kind in LONG:
            return holders[:1] if MASTER not in self.broken else []  # it would be no loss to the others
        return (holders or free)[:1]

    def _do(self, fault: Fault, victim: str) -> Mend:
        """Do it, and return how it is mended."""
        if fault.kind.startswith("kill"):
            return self._kill(fault.kind, victim)
        if fault.kind.startswith("stop"):
            return self._stop(fault.kind, victim)
        if "disk" in fault.kind:
            return self._fill(victim)
        if fault.kind in CLOCKS:
            clock = self.farm.clocks[victim.removeprefix("clock of ")]
            clock.step(fault.amount)
            return lambda: clock.step(0.0)
        cable = self.farm.cables[victim]
        how, _, where = fault.kind.partition(" ")
        if how == "cut":
            cable.cut()
        else:
            cable.silence(*(("up", "down") if where == "both" else (where,)), late=how == "late")
        return cable.mend

    def _kill(self, kind: str, victim: str) -> Mend:
        """`kill -9`."""
        farm = self.farm
        if "master" in kind:
            farm.kill()
        if victim == MASTER:
            return farm.launch
        guardian = farm.own(victim).popen
        itself = farm.agent_itself(victim)
        if "guardian" in kind:
            guardian.kill()
        if "agent" in kind:
            send(itself, signal.SIGKILL)

        def mend() -> None:
            guardian.wait(DEADLINE)
            farm.until(lambda: not _alive(itself), "the end of an agent without its guardian")
            if "master" in kind:
                farm.launch()
            farm.person(victim)

        return mend

    def _stop(self, kind: str, victim: str) -> Mend:
        """SIGSTOP. What is stopped for long is out of touch too."""
        farm = self.farm
        if victim == MASTER:
            assert farm.process is not None
            pids = [farm.process.pid]
        else:
            whom = {"agent": farm.agent_itself, "commands": farm.commands, "machine": farm.machine}[kind.split()[1]]
            pids = whom(victim)
        # Whoever starts processes is stopped first, then what it had started until then.
        send(reversed(pids), signal.SIGSTOP)
        if "machine" in kind or "commands" in kind:
            pids = [*whom(victim), *pids]
            send(pids, signal.SIGSTOP)
        since = boottime()
        if kind in LONG:
            farm.cables[victim].cut()

        def mend() -> None:
            if "machine" in kind:
                self._ask_for_fences(victim, since)
            send(pids, signal.SIGCONT)
            if kind in LONG:
                farm.cables[victim].mend()

        return mend

    def _ask_for_fences(self, victim: str, since: float) -> None:
        """Of the programs that stand still on a machine that does, those whose fence is good no longer are excused."""
        for lock in LIMITS:
            for stay in self.farm.inside(lock, victim):
                current = self.farm.is_current(lock, stay.fence, ask=MASTER not in self.broken)
                print(f"{self._now():6.2f} fence {stay.fence} of {lock} is {'' if current else 'not '}current")
                if not current:
                    self.excused[stay.key] = since

    def _fill(self, victim: str) -> Mend:
        """The disk is full. A server that cannot store says so, and ends; an agent does not end."""
        farm = self.farm
        self.weak_disks |= victim != MASTER
        farm.disks[victim].fill()

        self._full_disks += victim == MASTER
        return farm.disks[victim].empty

    # --- the end

    def _heal(self) -> None:
        """Nothing is wrong any more: every request must end."""
        farm = self.farm

        def quiet() -> bool:
            self._look_around()
            ended = {fact.brid for fact in farm.facts.of("RequestEnded")}
            if {fact.brid for fact in farm.facts.of("RequestAdded")} - ended:
                return False
            with contextlib.suppress(*AWAY):
                return not farm.all("claims")
            return False

        farm.until(quiet, "the end of all requests")

    def _judge(self) -> None:
        """What the programs noted, and what is stored."""
        farm = self.farm
        judged = (faults(stays(farm.folder, lock), limit, self.excused) for lock, limit in LIMITS.items())
        wrong = [sentence for sentences in judged for sentence in sentences]
        named = [stay for lock in LIMITS for stay in stays(farm.folder, lock) if f"{stay.name}" in " ".join(wrong)]
        wrong += [f"{stay} {self._story(stay)}" for stay in named]
        assert not wrong, "\n".join(wrong)
        for lock, limit in LIMITS.items():
            check_lock(farm.facts, lock, limit)
        for log in (farm.log, *(farm.own(name).log for name in WORKERS)):
            text = log.read_text()
            assert "Traceback" not in text, text[max(0, text.index("Traceback") - 500) :][:4000]
        results = {Result(fact.result) for fact in farm.facts.of("RequestEnded")}
        allowed = {Result.SUCCESS, *((Result.FAILURE, Result.EXCEPTION) if self.weak_disks else ())}
        assert results <= allowed, results

    def _story(self, stay: Stay) -> str:
        """What is stored of whoever had that fence."""
        facts = self.farm.facts
        spans = [span for span in facts.holds(stay.lock) if stay.fence in span.fences]
        ends = facts.numbered("HoldEnded", hold=spans[0].fact.hold) if spans else []
        command = stay.command.rpartition("/")[2]
        over = facts.numbered("CommandOver", command=command)
        return f"on {spans[0].fact.alternative.worker if spans else '?'}: {spans} {ends} {over}"


def _alive(pids: Sequence[int]) -> bool:
    from lockstep.worker.trees import look

    return any((proc := look(pid)) is not None and proc.state not in "ZX" for pid in pids)
