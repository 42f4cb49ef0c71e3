"""Worlds with pools of named units, some of which fall ill; and what must hold there, from facts alone.

No unit is had twice but by who lends it, only such units are given as were asked for and are in use, and who has a unit
has it until the end. Sets of names, counted anew each time.
"""

import re
from collections.abc import Collection
from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import DEFAULT_MAX_OVERTAKES, Access, Alternative, LockKey, Need, Result
from lockstep.core.state import State
from lockstep.core.values import BookingWish, PoolSetup, UnitSetup
from lockstep.sim.faults import demand
from lockstep.sim.people import Asker
from lockstep.sim.scenario import Act, Builder, Call, Command, Give, Scenario, Script, Take

if TYPE_CHECKING:
    from lockstep.sim.master import Master
    from lockstep.sim.world import World

Names = frozenset[str]

UNFIT: Final = "health check: it does not answer"


def is_pool(access: Access) -> bool:
    """Whether it asks for units."""
    return access.lock.kind == "pool"


def _admits(where: str, words: Collection[str]) -> bool:
    """The words of a `where`, each answered by itself, are Python as they stand."""
    asked = re.sub(r"[^\s()]+", lambda m: m[0] if m[0] in ("and", "or", "not") else str(m[0] in words), where)
    return not where or bool(eval(asked, {"__builtins__": {}}))


class Sick(Struct, frozen=True):
    """Since when a unit is in quarantine, and whether that is because it was `unfit` when it was looked at."""

    since: float
    unfit: bool


class PoolWatch:
    """Which units there are, which of them are out of use, and who has which."""

    def __init__(self) -> None:
        self.pools: dict[str, PoolSetup] = {}
        self.sick: dict[tuple[str, str], Sick] = {}
        self.passed: dict[tuple[str, str], float] = {}
        self.had: dict[int, tuple[int, dict[str, Names]]] = {}
        self.views: set[LockKey] = set()
        self.owners: dict[int, int] = {}
        self.calls: set[int] = set()
        self.tried: dict[int, set[tuple[str, str]]] = {}
        self.failures: dict[tuple[str, str], int] = {}
        self.due: set[tuple[str, str]] = set()

    def see(self, one: f.Numbered) -> None:
        """A fact. A grant is looked at before (`granted`)."""
        match fact := one.fact:
            case f.PoolChanged(name=name):
                self.pools[name] = fact.setup
            case f.UnitQuarantined(pool=pool, unit=unit):
                self._quarantined(fact, one.at)
            case f.QuarantineLifted(pool=pool, unit=unit):
                if not fact.who:
                    self._healed(pool, unit)
                del self.sick[pool, unit]
                self.failures.pop((pool, unit), None)
            case f.BuildStarted(buildid=buildid, ticket=ticket):
                self.owners[buildid] = ticket
            case f.BuildEnded(buildid=buildid, result=result):
                self._tried(self.tried.pop(self.owners.pop(buildid), set()), result)
            case f.ClaimGranted(hold=hold, owner=owner) if fact.units:
                self.had[hold] = (owner, {name: frozenset(names) for name, names in fact.units})
                if fact.ticket in self.calls:
                    self._uses(owner)
            case f.BuildPlanKept(buildid=buildid):
                self._uses(self.owners[buildid])
            case f.CallStarted(buildid=buildid, ticket=ticket):
                self.calls.add(ticket)
                self._uses(self.owners[buildid])
            case f.HoldEnded(hold=hold):
                self.had.pop(hold, None)
            case f.LocksReturned(hold=hold) if hold in self.had:
                owner, had = self.had[hold]
                gone = {key.name for key in fact.locks if key.kind == "pool"}
                left = {name: names for name, names in had.items() if name not in gone}
                told = {name: frozenset(names) for name, names in fact.units}
                demand(told == left, f"hold {hold} keeps units {told}, not {left}")
                self.had[hold] = (owner, left)
            case f.HoldPassed(of_hold=old, hold=hold) if fact.units:
                self._passed(fact, old, hold)

    def _quarantined(self, fact: f.UnitQuarantined, at: float) -> None:
        """A person says so, a check, or builds that failed; and of what a check has said a person may say it, too."""
        unit, unfit = (fact.pool, fact.unit), fact.reason == UNFIT
        known = self.sick.get(unit)
        theirs = known is not None and known.unfit and bool(fact.who)
        demand(known is None or theirs, f"{unit} is in quarantine already")
        demand(bool(fact.who) or unfit or unit in self.due, f"{unit} goes into quarantine by itself")
        self.sick[unit] = Sick(at, unfit)
        self.due.discard(unit)

    def _healed(self, pool: str, unit: str) -> None:
        """A check lifts a quarantine: only one that a check began, and that it was begun in."""
        began = self.sick[pool, unit].since
        demand(self.heals(pool, unit), f"the quarantine of {pool}/{unit} is lifted, and no check is to do that")
        demand(self.passed.get((pool, unit), 0.0) >= began, f"{pool}/{unit} is had again, and was not looked at")

    def heals(self, pool: str, unit: str) -> bool:
        """Whether a unit is in quarantine until a check says that it is well."""
        setup, known = self.pools.get(pool), self.sick.get((pool, unit))
        here = setup is not None and bool(setup.retry) and unit in {each.name for each in setup.units}
        return here and known is not None and known.unfit

    def is_held(self, pool: str, unit: str) -> bool:
        """Whether somebody has it."""
        return unit in self._taken(pool, set(), {})

    def _uses(self, owner: int) -> None:
        """A build does something, so with what it has by now."""
        had = [each for mine, each in self.had.values() if mine == owner]
        if had:
            found = ((name, unit) for each in had for name, names in each.items() for unit in names)
            self.tried.setdefault(owner, set()).update(found)

    def _tried(self, units: set[tuple[str, str]], result: Result) -> None:
        """A build that had these has ended: how many in a row have failed with each."""
        for each in units if result in (Result.SUCCESS, Result.WARNINGS, Result.FAILURE, Result.EXCEPTION) else ():
            pool = self.pools[each[0]]
            counts = pool.quarantine_after and each not in self.sick and each[1] in {unit.name for unit in pool.units}
            failed = counts and result in (Result.FAILURE, Result.EXCEPTION)
            self.failures[each] = self.failures.get(each, 0) + 1 if failed else 0
            if failed and self.failures[each] >= pool.quarantine_after:
                self.due.add(each)

    def _passed(self, fact: f.HoldPassed, old: int, hold: int) -> None:
        owner, had = self.had[old]
        for name, names in fact.units:
            demand(had.get(name) == frozenset(names), f"hold {old} passes {names} of {name} on, and has {had}")
            demand(len(names) == len(set(names)) > 0, f"hold {old} passes nothing on, or something twice: {names}")
        given = {name: frozenset(names) for name, names in fact.units}
        self.had[old] = (owner, {name: names for name, names in had.items() if name not in given})
        for name, mine in given.items():
            others = self._taken(name, set(), {})
            demand(not mine & others, f"hold {old} passes {set(mine)} on, and others have {set(others)}")
        self.had[hold] = (fact.ticket, given)

    def granted(self, fact: f.ClaimGranted, kin: set[int]) -> None:
        """A grant: of each pool so many units as were asked for, each admitted, in use, and nobody's but kin's."""
        units = dict(fact.units)
        asked = {a.lock.name: a for a in fact.alternative.accesses if is_pool(a)}
        demand(set(units) == set(asked), f"claim {fact.ticket} wants {list(asked)} and has units of {list(units)}")
        for name, access in asked.items():
            names = set(units[name])
            usable, everybody = self.usable(access.lock), self._taken(name, set(), {})
            wanted = len(usable) if access.mode == "exclusive" else access.count
            demand(
                len(units[name]) == len(names) == wanted, f"claim {fact.ticket} wants {access} and has {units[name]}"
            )
            demand(names <= usable, f"claim {fact.ticket} has {names - usable}: not admitted, or not in use")
            strange = self._taken(name, kin, {})
            demand(not names & strange, f"claim {fact.ticket} has {names & strange}, which others have")
            demand((access.lock in fact.lent) == (names <= everybody), f"claim {fact.ticket}: of {names} all is lent?")

    def _taken(self, pool: str, kin: Collection[int], free: Collection[int]) -> Names:
        """The units that are held by others than these owners, but for the holds in `free`."""
        held = (had.get(pool, frozenset()) for hold, (o, had) in self.had.items() if o not in kin and hold not in free)
        return frozenset[str]().union(*held)

    def _admitted(self, key: LockKey) -> Names:
        pool = self.pools.get(key.name)
        units = pool.units if pool is not None else ()
        return frozenset(unit.name for unit in units if _admits(key.where, {unit.name, *unit.labels}))

    def usable(self, key: LockKey) -> Names:
        """The units that `where` admits and that are in use."""
        return frozenset(name for name in self._admitted(key) if (key.name, name) not in self.sick)

    def used(self, key: LockKey) -> int:
        """How many of those are held."""
        return len(self.usable(key) & self._taken(key.name, set(), {}))

    def max_overtakes(self, key: LockKey) -> int:
        """How often who waits for this may be passed."""
        return self.pools[key.name].max_overtakes if key.name in self.pools else DEFAULT_MAX_OVERTAKES

    def has_room(self, access: Access, kin: Collection[int], free: Collection[int]) -> bool:
        """Whether enough units are left beside what is held, but for the holds in `free`."""
        usable = self.usable(access.lock)
        left = usable - self._taken(access.lock.name, kin, free)
        return bool(usable) and left == usable if access.mode == "exclusive" else len(left) >= access.count

    def touched(self, fact: f.ClaimGranted, name: str) -> list[LockKey]:
        """The views of a pool that somebody has waited for and that have one of the units that are granted."""
        names = set(dict(fact.units)[name])
        return [key for key in self.views if key.name == name and names & self._admitted(key)]

    def leaves(self, fact: f.ClaimGranted, wanted: Access) -> bool:
        """Whether what is granted leaves an access as many units as it needs."""
        names = set(dict(fact.units)[wanted.lock.name])
        left = self.usable(wanted.lock) - self._taken(wanted.lock.name, set(), {}) - names
        return wanted.mode == "counting" and len(left) >= wanted.count

    def agrees(self, state: State) -> None:
        """The core knows the same: no unit of a hold is another one now, and no more and no fewer are in use."""
        known = {hold.id: {n: set(u) for n, u in hold.units if u} for hold in state.allocator.holds.values()}
        for hold, units in known.items():
            had = {name: set(names) for name, names in self.had.get(hold, (0, {}))[1].items()}
            demand(units == had, f"hold {hold} had {had}, and has {units}")
        demand(not self.due, f"{self.due} should have gone into quarantine")
        sick = {unit: Sick(each.since, each.unfit) for unit, each in state.quarantines.items()}
        demand(sick == self.sick, f"in quarantine are {sick}, not {self.sick}")
        for pool in state.allocator.board.pools.values():
            for key in pool.views:
                used, limit = state.allocator.reasons.used(key), state.allocator.reasons.limit(key)
                demand(limit == len(self.usable(key)), f"{limit} units of {key} may be used, not {self.usable(key)}")
                demand(used == self.used(key), f"{used} units of {key} are used, not {self.used(key)}")


# --- what happens


def act(world: "World", master: "Master", what: Act) -> None:
    """Somebody takes a unit out of use, lets it be had again, or wants to have it.

    Where none is named: one that is not fit, or all.
    """
    pool, _, unit = what.who.partition("/")
    if not unit and what.what == "quarantine":
        unit = next((name for (of, name), sick in world.watch.pools.sick.items() if of == pool and sick.unfit), "")
    if what.what == "unit":
        wish = BookingWish(
            accesses=(Access(LockKey("pool", pool, where=unit)),),
            who="somebody",
            seconds=(0.0, 30.0, 120.0)[what.number % 3],
            after_current=what.number % 2 == 0,
            key=f"key {what.at}",
        )
        Asker(world.people, wish, world.timeline.now + what.number).ask()
    elif what.what == "lift" or not world.healed:
        master.post(e.QuarantineAsked(pool=pool, unit=unit, lift=what.what == "lift", who="somebody", reason="it hums"))


def unfit(world: "World", state: State, hold: int) -> tuple[tuple[str, str, str], ...]:
    """The units of a hold that are ill now, of those that nobody has lent. It is drawn apart from all else."""
    if not world.scenario.looks or world.healed:
        return ()
    return tuple((name, unit, UNFIT) for name, unit in to_look_at(state, hold) if is_ill(world, name, unit))


def to_look_at(state: State, hold: int) -> list[tuple[str, str]]:
    """The units of a hold that nobody has lent."""
    held = state.allocator.holds.get(hold)
    lent = {(n, u) for other in state.allocator.holds.values() if other.id != hold for n, us in other.units for u in us}
    mine = [(name, unit) for name, units in held.units for unit in units] if held is not None else []
    return [each for each in mine if each not in lent]


def is_ill(world: "World", pool: str, unit: str) -> bool:
    """Whether a unit is ill now."""
    if not world.scenario.looks or world.healed:
        return False
    now = int(world.timeline.now // 50)
    return Random(f"{world.scenario.seed} {pool}/{unit} {now}").random() < world.scenario.looks


def heal(world: "World") -> None:
    """Every unit is let be had again, but for those that are looked at; and again, as more may fall ill."""
    master = world.master
    for pool in world.scenario.pools if master is not None else ():
        for unit in pool.units:
            if not world.watch.pools.heals(pool.name, unit.name):
                master.post(e.QuarantineAsked(pool=pool.name, unit=unit.name, lift=True, who="somebody"))  # type: ignore[union-attr]
    if world.scenario.pools:
        world.timeline.after(100.0, lambda: heal(world))


# --- drawing

_LABELS = ("arm", "fast", "odd")
_WHERES = ("", "", "arm", "fast", "not arm", "arm and not fast", "odd or (arm and fast)", "not (odd or fast)")


def with_pools(scenario: Scenario) -> Scenario:
    """The world with pools, one for each family. They are drawn apart: all else is as without them."""
    r = Random(f"pools {scenario.seed}")
    families = sorted({builder.setup.name[0] for builder in scenario.builders})
    pools = {family: _pool(r, f"{family}-boards") for family in families}
    scripts = dict(scenario.scripts)
    builders = [_builder(r, builder, pools, scripts) for builder in scenario.builders]
    acts = list(scenario.acts)
    for pool in pools.values():
        units = [f"{pool.name}/{unit.name}" for unit in pool.units]
        for what in ("quarantine", "unit", "reload"):
            for _ in range(r.randint(1, 6) if r.random() < 0.6 else 0):
                unit, at = r.choice(units), round(r.uniform(1, scenario.heal * r.choice((0.1, 0.8))), 1)
                acts.append(Act(at, what, unit.partition("/")[2] if what == "reload" else unit, r.randint(1, 99)))
                if what != "unit":
                    acts.append(Act(at + r.uniform(5, 200), "lift" if what == "quarantine" else what, unit))
    acts.sort(key=lambda each: each.at)
    looks = r.choice((0.0, 0.0, 0.1, 0.3))
    made, built = tuple(pools.values()), tuple(builders)
    return structs.replace(scenario, pools=made, looks=looks, builders=built, scripts=scripts, acts=tuple(acts))


def _pool(r: Random, name: str) -> PoolSetup:
    units = tuple(
        UnitSetup(f"{name[0]}-u{number}", tuple(label for label in _LABELS if r.random() < 0.5))
        for number in range(r.randint(2, 5))
    )
    return PoolSetup(name, units, r.choice((0, 1, 2, 8)), r.choice((0, 0, 1, 3)))


def _access(r: Random, pool: PoolSetup) -> Access:
    """Some units: of all, of those with some labels, or a particular one."""
    wheres = [*_WHERES, r.choice(pool.units).name]
    counts = {w: sum(_admits(w, {unit.name, *unit.labels}) for unit in pool.units) for w in wheres}
    where = r.choice([each for each in wheres if counts[each]])
    key = LockKey("pool", pool.name, where=where)
    return (
        Access(key, "exclusive") if r.random() < 0.2 else Access(key, "counting", r.randint(1, min(2, counts[where])))
    )


def _builder(r: Random, builder: Builder, pools: dict[str, PoolSetup], scripts: dict[str, Script]) -> Builder:
    """The builder with units for its builds, or for some of their steps."""
    family = builder.setup.name[0]
    own: tuple[Access, ...] = ()
    if r.random() < 0.6:
        own = (_access(r, pools[family]),)
        if family == "c" and "p" in pools and r.random() < 0.5:
            own = (*own, _access(r, pools["p"]))  # which builds that wait for it may lend
    for name in builder.steps:
        script = scripts[name]
        if (own and r.random() < 0.9) or r.random() < 0.3 or any(isinstance(op, Call) for op in script.ops):
            continue
        access = _access(r, pools[family])
        if r.random() < 0.7:
            scripts[name] = structs.replace(script, accesses=(*script.accesses, access))
        else:
            more = (Take((access,)), Command((round(r.uniform(1, 30), 1),)), Give())
            scripts[name] = structs.replace(script, ops=(*script.ops, *more))
    need = _with(builder.need, own)
    setup = builder.setup
    if setup.need is not None:
        setup = structs.replace(setup, need=need)
    return structs.replace(builder, setup=setup, need=need)


def _with(need: Need, more: tuple[Access, ...]) -> Need:
    return Need(tuple(Alternative(each.worker, (*each.accesses, *more)) for each in need.alternatives))
