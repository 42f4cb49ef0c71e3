"""Random worlds for the allocator: one seed gives a world and its events, to be fed to any number of allocators.

A world is closed: it looks at what the first of them decided to know which holds and claims there are. Builds with
step locks under build locks, triggers, cancels, put-backs, changed limits and priorities, alternatives, removed locks.
"""

import random
from collections.abc import Callable
from typing import Any

from lockstep.core.alloc_facts import Granted, Sentenced
from lockstep.core.alloc_part import give_back
from lockstep.core.allocation import Allocator
from lockstep.core.nouns import STEP_LEVEL, Access, Alternative, Claim, LockKey, Need

Event = tuple[str, tuple[Any, ...]]

SPECIES = ("plain", "workers", "steps", "triggers", "limits", "priorities", "retries", "replaced", "locks", "rendered")


class World:
    """Makes events out of a seed. `seen` is the allocator whose decisions say what exists."""

    def __init__(self, seed: int, events: int = 60) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.left = events
        self.retryable = 0.9
        self.counter = 0
        self.has = {each: self.random.random() < 0.5 for each in SPECIES}
        self.locks = [LockKey("master", f"l{n}") for n in range(self.random.randint(1, 3))]
        most = self.random.randint(3, 5) if self.has["rendered"] else self.random.randint(1, 3)
        self.workers = [f"w{n}" for n in range(most)] if self.has["workers"] or self.has["rendered"] else []
        self.per_worker = self.random.random() < 0.5
        self.max_overtakes = self.random.choice((0, 1, 1, 2, 3, 8))
        self.needs = [self.need() for _ in range(self.random.randint(1, 5))]
        self.step_needs = [self.step_need() for _ in range(self.random.randint(1, 3))]
        self.claims: dict[int, Claim] = {}
        self.waiting: dict[int, Claim] = {}
        self.builds: dict[int, tuple[int, str]] = {}
        self.extra: dict[int, int] = {}
        self.busy: set[int] = set()
        self.children: dict[int, int] = {}
        self.kin: dict[int, set[int]] = {}

    def number(self) -> int:
        self.counter += 1
        return self.counter

    def access(self, key: LockKey) -> Access:
        if self.random.random() < 0.4:
            return Access(key, "exclusive")
        return Access(key, "counting", self.random.choice((1, 1, 1, 2, 3)))

    def on_worker(self, worker: str, shared: tuple[Access, ...]) -> Alternative:
        accesses = [*shared, Access(LockKey("slot", "", worker))]
        if self.per_worker and self.random.random() < 0.5:
            accesses.append(self.access(LockKey("worker", "disk", worker)))
        return Alternative(worker, tuple(accesses))

    def some(self, least: int) -> tuple[Access, ...]:
        keys = self.random.sample(self.locks, self.random.randint(min(least, len(self.locks)), len(self.locks)))
        return tuple(self.access(key) for key in keys)

    def need(self) -> Need:
        if self.workers:
            workers = self.random.sample(self.workers, self.random.randint(1, len(self.workers)))
            # Rendered for each worker (L24), the locks may differ.
            shared = (self.some(1), self.some(1), ()) if self.has["rendered"] else (self.some(0),)
            return Need(tuple(self.on_worker(worker, self.random.choice(shared)) for worker in workers))
        ways = self.random.choice((1, 1, 1, 2))
        return Need(tuple(Alternative("", self.some(1)) for _ in range(ways)))

    def step_need(self) -> Need:
        return Need((Alternative("", self.some(1)),))

    # --- events

    def begin(self) -> list[Event]:
        """The locks of the world."""
        most, slots = (1, 1) if self.has["rendered"] else (4, 2)
        limits = [(key, self.random.randint(1, most)) for key in self.locks]
        limits += [(LockKey("slot", "", worker), self.random.randint(1, slots)) for worker in self.workers]
        events: list[Event] = [("set_lock", (key, limit, self.max_overtakes)) for key, limit in limits]
        disks = [LockKey("worker", "disk", worker) for worker in self.workers]
        return [*events, *(("set_lock", (disk, self.random.randint(1, 3), 8)) for disk in disks)]

    def heal(self) -> list[Event]:
        """Limits with which everybody can be served."""
        ways = [way for need in (*self.needs, *self.step_needs) for way in need.alternatives]
        named = [access.lock for way in ways for access in way.accesses if access.lock.kind != "pool"]
        slots = [LockKey("slot", "", worker) for worker in self.workers]
        disks = [LockKey("worker", "disk", worker) for worker in self.workers]
        keys = dict.fromkeys((*self.locks, *slots, *disks, *named))
        return [("set_lock", (key, 3, self.max_overtakes)) for key in keys]

    def next(self) -> list[Event]:
        """Some events between two decisions."""
        self.left -= 1
        makers: list[tuple[float, Callable[[], list[Event]]]] = [
            (6, self.arrive),
            (6, self.finish),
            (1, self.cancel),
            (4 if self.has["steps"] else 0, self.step),
            (2 if self.has["triggers"] else 0, self.trigger),
            (1 if self.has["limits"] else 0, self.change_limit),
            (1 if self.has["priorities"] else 0, self.change_level),
            (1 if self.has["replaced"] else 0, self.change_need),
            (0.3 if self.has["locks"] else 0, self.change_lock),
        ]
        events = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            maker = self.random.choices([m for _, m in makers], [w for w, _ in makers])[0]
            events += maker()
        return events

    def submitted(self, claim: Claim) -> list[Event]:
        self.waiting[claim.ticket] = self.claims[claim.ticket] = claim
        return [("submit", (claim,))]

    def level(self) -> int:
        return self.random.choice((0, 0, 5, -3)) if self.has["priorities"] else 0

    def arrive(self) -> list[Event]:
        if len(self.waiting) > 25:
            return self.finish()
        ticket = self.number()
        retryable = self.random.random() < self.retryable
        need = self.random.choice(self.needs)
        return self.submitted(Claim(ticket, need, ticket, self.level(), ticket, retryable=retryable))

    def finish(self) -> list[Event]:
        steps = [hold for hold, owner in self.extra.items()]
        if steps and self.random.random() < 0.5:
            hold = self.random.choice(steps)
            owner = self.extra.pop(hold)
            self.rest(owner)
            return [("release", (hold,))]
        free = [owner for owner in self.builds if owner not in self.busy]
        return self.end_build(self.random.choice(free)) if free else []

    def rest(self, owner: int) -> None:
        """A build goes on, unless it waits for a child or for a second claim."""
        asks = any(claim.owner == owner for claim in self.waiting.values())
        if owner not in self.children.values() and not asks and owner not in self.extra.values():
            self.busy.discard(owner)

    def let_go(self, owner: int) -> list[Event]:
        """A build gives up all that it holds."""
        hold, _ = self.builds.pop(owner)
        self.busy.discard(owner)
        return [("release", (hold,)), *self.let_go_of_steps(owner)]

    def let_go_of_steps(self, owner: int) -> list[Event]:
        """An owner gives up what its steps hold."""
        extras = [extra for extra, of in self.extra.items() if of == owner]
        for extra in extras:
            del self.extra[extra]
        return [("release", (extra,)) for extra in extras]

    def end_build(self, owner: int) -> list[Event]:
        events = self.let_go(owner)
        parent = self.children.pop(owner, 0)
        if parent:
            events.append(("forget_parent", (owner,)))
            self.rest(parent)
        if self.has["retries"] and self.random.random() < 0.4:
            old = self.claims[owner]
            events += self.submitted(
                Claim(owner, old.need, owner, old.level, self.number(), put_back=True, retryable=old.retryable)
            )
        return events

    def cancel(self) -> list[Event]:
        if not self.waiting:
            return [("cancel", (10_000,)), ("release", (10_000,))]
        ticket = self.random.choice(list(self.waiting))
        claim = self.waiting.pop(ticket)
        events: list[Event] = [("cancel", (ticket,))]
        if claim.owner != ticket:
            self.rest(claim.owner)
        elif claim.owner in self.children:
            parent = self.children.pop(claim.owner)
            events.append(("forget_parent", (claim.owner,)))
            self.rest(parent)
        return events

    def step(self) -> list[Event]:
        free = [owner for owner in self.builds if owner not in self.busy]
        if self.random.random() < 0.2:  # a step that does two things at once
            free = [owner for owner in self.builds if owner in self.children.values()]
        if not free:
            return []
        owner = self.random.choice(free)
        self.busy.add(owner)
        ticket = self.number()
        return self.submitted(Claim(ticket, self.random.choice(self.step_needs), owner, STEP_LEVEL, ticket))

    def trigger(self) -> list[Event]:
        free = [owner for owner in self.builds if owner not in self.busy]
        if not free:
            return []
        owner = self.random.choice(free)
        self.busy.add(owner)
        events: list[Event] = []
        others = [each for each in self.builds if each not in self.children and not self.above(owner, each)]
        if others and self.random.random() < 0.2:
            child = self.random.choice(others)
            self.children[child] = owner
            self.kin.setdefault(child, set()).add(owner)
            return [("child_waits", (owner, child))]
        for _ in range(self.random.choice((1, 1, 2))):
            ticket = self.number()
            self.children[ticket] = owner
            self.kin.setdefault(ticket, set()).add(owner)
            claim = Claim(ticket, self.random.choice(self.needs), ticket, self.level(), ticket, parent=owner)
            if self.random.random() < 0.2:
                events += self.submitted(Claim(ticket, claim.need, ticket, claim.level, ticket))
                events.append(("child_waits", (owner, ticket)))
            else:
                events += self.submitted(claim)
        return events

    def above(self, owner: int, other: int) -> bool:
        """Whether `other` is this build or one that waits for it."""
        return owner == other or (owner in self.children and self.above(self.children[owner], other))

    def change_limit(self) -> list[Event]:
        keys = self.locks + [LockKey("slot", "", worker) for worker in self.workers]
        key = self.random.choice(keys)
        return [("set_lock", (key, self.random.choice((0, 1, 2, 3, 4)), self.max_overtakes))]

    def change_level(self) -> list[Event]:
        tickets = [ticket for ticket, claim in self.waiting.items() if claim.owner == ticket]
        return [("set_level", (self.random.choice(tickets), self.level()))] if tickets else []

    def change_need(self) -> list[Event]:
        tickets = [ticket for ticket, claim in self.waiting.items() if claim.owner == ticket]
        if not tickets:
            return []
        ticket = self.random.choice(tickets)
        need = self.random.choice(self.needs)
        if self.random.random() < 0.3:
            need = Need(tuple(reversed(self.claims[ticket].need.alternatives)))
        return [("replace", (ticket, need))]

    def change_lock(self) -> list[Event]:
        key = self.random.choice(self.locks)
        if self.random.random() < 0.5:
            return [("forget_lock", (key,))]
        if self.random.random() < 0.5:
            other = LockKey("worker", key.name, "w0") if key.kind == "master" else LockKey("master", key.name)
            return [("forget_lock", (key,)), ("set_lock", (other, 2, self.max_overtakes))]
        return [("set_lock", (key, self.random.randint(1, 3), self.max_overtakes))]

    # --- what was decided

    def note(self, decisions: list[Any]) -> list[Event]:
        """Take in what the allocator decided; a sentenced build gives up its holds."""
        events = []
        for decision in decisions:
            if isinstance(decision, Granted):
                self.waiting.pop(decision.ticket)
                if decision.owner == decision.ticket:
                    self.builds[decision.owner] = (decision.hold, decision.alternative.worker)
                else:
                    self.extra[decision.hold] = decision.owner
            elif isinstance(decision, Sentenced):
                for ticket in decision.claims:
                    self.waiting.pop(ticket)
                for child in [child for child, parent in self.children.items() if parent == decision.ticket]:
                    del self.children[child]
                if decision.ticket in self.builds:
                    events += self.end_build(decision.ticket)
                else:
                    events += self.let_go_of_steps(decision.ticket)
        return events

    @property
    def running(self) -> bool:
        """Whether a step or a build is there that could end."""
        return bool(self.extra) or any(owner not in self.busy for owner in self.builds)


def feed(allocator: Any, events: list[Event]) -> None:
    """Give events to an allocator."""
    for name, arguments in events:
        if name == "give_back" and isinstance(allocator, Allocator):
            give_back(allocator, *arguments)
            continue
        getattr(allocator, name)(*arguments)
