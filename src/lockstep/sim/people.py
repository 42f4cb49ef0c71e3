"""People and programs outside of Lockstep: they want locks, renew, forget to, give back, steal, keep after failures.

A program renews its lease until it vanishes; what it believes is held against what the master does: no lock is lost
while its owner may still think that it has it (L61).
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec import structs

from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.nouns import Access, Alternative, LockKey, Need
from lockstep.core.state import slot_key
from lockstep.core.values import FOR_EVER, BookingWish
from lockstep.sim.faults import demand
from lockstep.sim.scenario import Act, Builder, Scenario

if TYPE_CHECKING:
    from lockstep.sim.master import Master
    from lockstep.sim.world import World

AGAIN = 45.0
"""Seconds after which somebody who got no answer asks again."""


class Asker:
    """One who wants locks. `ticket` is 0 until it was told, -1 when there is nothing more to do."""

    def __init__(self, people: "People", wish: BookingWish, leaves: float) -> None:
        self.people = people
        self.wish = wish
        self.leaves = leaves
        self.ticket = 0
        self.believes_until = 0.0
        self.gave_back = False

    def ask(self) -> None:
        """Ask until there is an answer; the same wish twice is one booking."""
        if self.ticket:
            return
        sent = self.people.world.timeline.now
        self.people.post(e.BookingAsked(wish=self.wish), lambda value: self._told(value, sent))
        self.people.later(AGAIN, self.ask)

    def _told(self, value: Any, sent: float) -> None:
        if self.ticket:
            return
        if value is self.people.REFUSED:
            self.ticket = -1
            return
        self.ticket = value
        self.people.askers[value] = self
        self.believes_until = sent + self.wish.lease
        if self.people.world.healed and self.is_in_vain():
            self.give_back()
        if self.wish.lease:
            self.people.later(self.wish.lease / 3, self.renew)
        if not self.wish.lease and not self.wish.seconds:
            self.people.later(max(0.0, self.leaves - sent), self.give_back)

    def is_in_vain(self) -> bool:
        """Whether it asked, while a limit was greater, for more than there is of a lock."""
        limits = {lock.key: lock.limit for lock in self.people.world.scenario.locks}
        return any(access.count > limits.get(access.lock, 1) for access in self.wish.accesses)

    def renew(self) -> None:
        """Renew, until this one vanishes without a word."""
        sent = self.people.world.timeline.now
        if self.ticket < 0 or sent > self.leaves:
            return
        event = e.BookingRenewAsked(ticket=self.ticket, key=self.wish.key)
        self.people.post(event, lambda value: self._renewed(value, sent))
        self.people.later(self.wish.lease / 3, self.renew)

    def _renewed(self, value: Any, sent: float) -> None:
        if value is self.people.REFUSED:
            self.people.later(2.0, self.give_back)  # it takes a moment to stop
        else:
            self.believes_until = max(self.believes_until, sent + self.wish.lease)

    def give_back(self) -> None:
        """Give back; again, until it has ended."""
        if self.ticket > 0:
            self.gave_back = True
            self.people.post(e.BookingReleaseAsked(ticket=self.ticket, key=self.wish.key, who="its owner"), None)
            self.people.later(AGAIN, self.give_back)


class People:
    """All of them, in one world."""

    REFUSED = object()

    def __init__(self, world: "World") -> None:
        self.world = world
        self.askers: dict[int, Asker] = {}
        self._asked: dict[tuple[int, int], Callable[[Any], None]] = {}

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something done after so many seconds."""
        self.world.timeline.after(seconds, action)

    def post(self, event: e.Event, told: Callable[[Any], None] | None) -> None:
        """Send an event to the master, if there is one; `told` gets the answer, if that comes."""
        master = self.world.master
        if master is None:
            return
        if told is not None:
            master.tokens += 1
            self._asked[id(master), master.tokens] = told
            event = structs.replace(event, token=master.tokens)
        master.post(event)

    def heal(self) -> None:
        """Limits are what they were again: who wants more would wait for ever, and gives up."""
        for asker in list(self.askers.values()):
            if asker.is_in_vain():
                asker.give_back()

    def answered(self, master: "Master", effect: x.Reply) -> None:
        """The master answers somebody."""
        told = self._asked.pop((id(master), effect.token), None)
        if told is not None:
            told(self.REFUSED if effect.error else effect.value)

    def see(self, fact: f.Fact) -> None:
        """A booking that ends was not needed any more, or was taken away."""
        if not isinstance(fact, f.BookingEnded):
            return
        asker = self.askers.pop(fact.ticket, None)
        if asker is None:
            return
        now = self.world.timeline.now
        sure = not asker.wish.lease or asker.gave_back or now >= asker.believes_until
        until = f"until {asker.believes_until:.1f}"
        demand(sure, f"booking {fact.ticket} has ended ({fact.ending}), and its owner believes in it {until}")
        asker.ticket = -1

    # --- what they do

    def act(self, master: "Master", act: Act) -> None:
        """Something that somebody does."""
        r = Random(f"{self.world.scenario.seed} {act.what} {act.number} {act.at}")
        held = sorted(master.state.allocator.holds)
        bookings = sorted(master.state.bookings)
        if act.what == "book":
            asker = Asker(self, self._wish(r, act.who), self.world.timeline.now + r.uniform(5, 200))
            asker.ask()
        elif act.what == "steal" and held:
            self._steal(master, r, held[act.number % len(held)])
        elif act.what == "extend" and bookings:
            master.tell(e.BookingExtendAsked(ticket=bookings[act.number % len(bookings)], seconds=r.uniform(-5, 60)))
        elif act.what == "lie" and bookings:
            ticket = bookings[act.number % len(bookings)]
            lies: list[e.Event] = [
                e.TimerFired(timer=f"booking:lease.{ticket}.99999"),
                e.TimerFired(timer=f"booking:end.{ticket}"),
                e.TimerFired(timer="booking:end.999999"),
                e.BookingRenewAsked(ticket=ticket, key="another's"),
                e.BookingReleaseAsked(ticket=987654),
                e.StealAsked(ticket=987654, reason="nothing"),
                e.StealAsked(lock=LockKey("master", "nonsense"), reason="nothing", everybody=True),
            ]
            master.post(lies[r.randrange(len(lies))])

    def _wish(self, r: Random, name: str) -> BookingWish:
        locks = [lock for lock in self.world.scenario.locks if lock.key.kind != "builddir"]
        chosen = [r.choice([lock for lock in locks if lock.key.name == name])]
        if r.random() < 0.3:
            chosen.append(r.choice(locks))
        accesses = [
            Access(lock.key, "exclusive") if r.random() < 0.6 else Access(lock.key, "counting", r.randint(1, 3))
            for lock in {lock.key: lock for lock in chosen}.values()
        ]
        if r.random() < 0.15:
            accesses = [Access(slot_key(r.choice(self.world.scenario.machines).setup.name), "exclusive")]
        lease = r.choice((0.0, 0.0, 5.0, 30.0))
        return BookingWish(
            accesses=tuple(accesses),
            who="somebody",
            priority=r.choice((0, 0, 5)),
            after_current=r.random() < 0.4,
            seconds=r.choice((0.0, 20.0, 120.0)),
            lease=lease,
            key=f"key {r.random()}",
        )

    def _steal(self, master: "Master", r: Random, number: int) -> None:
        hold = master.state.allocator.holds[number]
        if not hold.alternative.accesses:
            return
        lock = r.choice(hold.alternative.accesses).lock
        wish = None
        if r.random() < 0.6 and lock.kind != "builddir":
            wish = BookingWish(accesses=(Access(lock, "exclusive"),), seconds=r.uniform(5, 60), after_current=True)
        master.tell(e.StealAsked(lock=lock, hold=number, wish=wish, who="a thief", reason="needs it now"))


# --- worlds with people


def with_people(scenario: Scenario, heal: float) -> Scenario:
    """The world with people in it, and with builds that keep locks after a failure. All else is as without them."""
    r = Random(f"people {scenario.seed}")
    builders = [_keeping(r, builder) for builder in scenario.builders]
    names = sorted({lock.key.name for lock in scenario.locks if lock.key.kind != "builddir"})
    acts = list(scenario.acts)
    for what, most in (("book", 8), ("steal", 4), ("extend", 3), ("lie", 4)):
        for _ in range(r.randint(1, most) if r.random() < 0.7 else 0):
            at = round(r.uniform(1, heal * r.choice((0.1, 0.9))), 1)
            acts.append(Act(at, what, r.choice(names), r.randint(0, 99)))
    scripts = dict(scenario.scripts)
    for name, script in scripts.items():
        if r.random() < 0.3:
            kept = tuple(structs.replace(a, keep=r.uniform(5, 90)) for a in script.accesses)
            scripts[name] = structs.replace(script, accesses=kept)
    machines = tuple(
        structs.replace(each, setup=structs.replace(each.setup, patience=r.choice((0.0, 0.0, 5.0, 90.0, FOR_EVER))))
        for each in scenario.machines
    )
    acts.sort(key=lambda act: act.at)
    return structs.replace(scenario, builders=tuple(builders), acts=tuple(acts), scripts=scripts, machines=machines)


def with_keeping(scenario: Scenario) -> Scenario:
    """The world with builds that keep after a failure what they have, lent or not. Nobody ends that but time."""
    r = Random(f"keeping {scenario.seed}")
    return structs.replace(scenario, builders=tuple(_keeping(r, builder) for builder in scenario.builders))


def _keeping(r: Random, builder: Builder) -> Builder:
    if r.random() < 0.6:
        return builder
    seconds = r.uniform(5, 90)

    def kept(need: Need) -> Need:
        return Need(
            tuple(
                Alternative(
                    each.worker,
                    tuple(
                        structs.replace(a, keep=seconds) if a.lock.kind in ("master", "worker", "pool") else a
                        for a in each.accesses
                    ),
                )
                for each in need.alternatives
            )
        )

    setup = builder.setup
    if setup.need is not None:
        setup = structs.replace(setup, need=kept(setup.need))
    return structs.replace(builder, setup=setup, need=kept(builder.need))
