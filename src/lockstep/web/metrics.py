"""What Prometheus is told at `/metrics`: gauges from the state, counts and histograms of locks from their history.

The library is loaded when somebody asks for the first time. Counts begin with the process: what has happened at locks
since then is read from the store, from where the last asking ended.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, field

from lockstep.core.nouns import UNLIMITED, LockKey
from lockstep.core.state import State
from lockstep.web.door import Door
from lockstep.web.limits import METRICS_EVENTS, METRICS_LOCKS
from lockstep.web.names import known

BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds, of the histograms."""

OTHERS: Final = "(others)"
"""The `lock` of all locks beyond the first so many."""

Samples = dict[tuple[str, ...], float]


class Gauge(Struct):
    """One metric that is read off: its name, what it says, the names of its labels, and a value for each."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    values: Samples = field(default_factory=dict)
    kind: str = "gauge"


class Names:
    """The labels of locks: the first so many by name, all others together."""

    def __init__(self) -> None:
        self._known: set[LockKey] = set()

    def of(self, key: LockKey) -> tuple[str, str]:
        """Name and worker."""
        if key not in self._known:
            if len(self._known) >= METRICS_LOCKS:
                return OTHERS, ""
            self._known.add(key)
        return key.name, key.worker


def gauges(door: Door, names: Names) -> list[Gauge]:
    """What there is now. In the event loop."""
    state = door.state
    running: Samples = {(name,): 0 for name in state.builders}
    waiting: Samples = {(name,): 0 for name in state.builders}
    for request in state.requests.values():
        counts = running if request.state == "building" else waiting
        counts[request.builder,] = counts.get((request.builder,), 0) + 1
    workers: Samples = {(name,): 0 for name in ("connected", "leaving", "absent", "unreachable")}
    for worker in state.workers.values():
        workers[worker.state,] += 1
    return [
        Gauge("lockstep_builds_running", "Builds that run.", ("builder",), running),
        Gauge("lockstep_requests_waiting", "Requests that wait for a worker or locks.", ("builder",), waiting),
        Gauge("lockstep_workers", "Workers by their state.", ("state",), workers),
        Gauge("lockstep_workers_paused", "Workers that get no new builds.", (), {(): _paused(state)}),
        *_locks(door, names),
        *_shares(door, names),
        Gauge("lockstep_pool_quarantined", "Units of the pool that are in quarantine.", ("pool",), _quarantined(state)),
        Gauge("lockstep_facts", "The number of the last fact.", (), {(): state.last_fact}),
        *(Gauge(f"lockstep_{name}", text, (), {(): value}, kind) for name, text, value, kind in door.load()),
    ]


def _quarantined(state: State) -> Samples:
    found: Samples = {(name,): 0 for name in sorted(state.pools)}
    for pool, _ in state.quarantines:
        if (pool,) in found:
            found[pool,] += 1
    return found


def _paused(state: State) -> int:
    return sum(worker.paused for worker in state.workers.values())


def _locks(door: Door, names: Names) -> Iterable[Gauge]:
    """Limit, used, reserved and waiting, of each configured lock; of the others together their sums."""
    reasons = door.state.allocator.reasons
    labels = ("lock", "worker")
    limit = Gauge("lockstep_lock_limit", "Units of the lock.", labels)
    used = Gauge("lockstep_lock_used", "Units that are held; of a lock that is held whole its limit.", labels)
    reserved = Gauge("lockstep_lock_reserved", "Units that are kept free for claims that are next for sure.", labels)
    waiting = Gauge("lockstep_lock_waiting", "Claims that wait for the lock.", labels)
    for key in known(door.state):
        label, units = names.of(key), min(reasons.limit(key), UNLIMITED)
        kept = sum(units if each.exclusive else each.units for each in reasons.reservations(key))
        queue = len(reasons.queue(key))
        for gauge, value in ((limit, units), (used, reasons.used(key)), (reserved, kept), (waiting, queue)):
            gauge.values[label] = gauge.values.get(label, 0) + value
    return limit, used, reserved, waiting


def _shares(door: Door, names: Names) -> Iterable[Gauge]:
    """What projects have of each lock, pool and worker that is shared by weight, and what they are due of it."""
    reasons = door.state.allocator.reasons
    labels = ("lock", "worker", "project")
    used = Gauge("lockstep_share_used", "Units of the lock, which is shared by weight, that the project has.", labels)
    due = Gauge("lockstep_share_due", "Units of it that the project is due by its weight.", labels)
    for key in known(door.state, inner=True) if door.state.setup.shares else ():
        _, parts = reasons.shared(key) or (None, ())
        for part in parts:
            label = (*names.of(key), part.party)
            used.values[label] = used.values.get(label, 0) + part.here
            due.values[label] = due.values.get(label, 0) + part.due_here
    return used, due


class _Counts:
    """The library's registry, with what is counted in it."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge more for each, that nobody asked for
        self.registry = CollectorRegistry()
        labels = ("lock", "worker")

        def counter(name: str, text: str) -> Counter:
            return Counter(f"lockstep_lock_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"lockstep_lock_{name}", text, labels, registry=self.registry, buckets=BUCKETS)

        self.counters = {
            "granted": counter("grants", "How often the lock was granted."),
            "left": counter("left", "Waits for the lock that ended without a grant."),
            "barrier": counter("barriers", "Claims that were passed so often at the lock that they are next for sure."),
            "stolen": counter("stolen", "How often somebody took the lock away."),
        }
        self.seconds = {
            "granted": histogram("wait_seconds", "How long was waited for the lock."),
            "released": histogram("hold_seconds", "How long the lock was held."),
        }
        self.gauges: list[Gauge] = []
        self.registry.register(self)

    def count(self, event: str, labels: tuple[str, str], seconds: float) -> None:
        """Something happened at a lock."""
        if event in self.counters:
            self.counters[event].labels(*labels).inc()
        if event in self.seconds:
            self.seconds[event].labels(*labels).observe(seconds)

    def collect(self) -> Iterable[Any]:
        """What the library asks for beside its own."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for each in self.gauges:
            family: Any = (GaugeMetricFamily if each.kind == "gauge" else CounterMetricFamily)(
                each.name, each.text, labels=each.labels
            )
            for labels, value in each.values.items():
                family.add_metric(labels, value)
            yield family


class Metrics:
    """The metrics of one server since its start."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._number = door.state.last_fact
        self._names = Names()
        self._counts: _Counts | None = None
        self._asking = asyncio.Lock()

    async def text(self) -> tuple[bytes, str]:
        """Everything, in Prometheus's text format, and the name of that."""
        async with self._asking:
            found = gauges(self._door, self._names)
            return await asyncio.to_thread(self._text, found)

    def _text(self, found: list[Gauge]) -> tuple[bytes, str]:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if self._counts is None:
            self._counts = _Counts()
        self._counts.gauges = found
        while rows := self._door.reads.lock_events_after(self._number, METRICS_EVENTS):
            for number, event, kind, name, worker, seconds in rows:
                self._number = number
                self._counts.count(event, self._names.of(LockKey(kind, name, worker)), seconds or 0.0)
        kind = CONTENT_TYPE_LATEST.partition("; charset=")[0]  # whoever answers says the charset
        return generate_latest(self._counts.registry), kind
