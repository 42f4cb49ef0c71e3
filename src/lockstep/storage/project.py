"""Which rows follow from each fact: the configuration, changes, requests, claims and workers.

Builds, steps, calls and logs are in `project_builds.py`, bookings in `project_bookings.py`. A projection
is never read from here; nothing is decided.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from lockstep.core import facts as f
from lockstep.core.nouns import LockKey
from lockstep.storage import project_bookings as bookings
from lockstep.storage import project_builds as builds
from lockstep.storage import project_locks as locks
from lockstep.storage import project_pools as pools
from lockstep.storage.codec import clean, clean_or_none, pack, to_json
from lockstep.storage.errors import StoreError
from lockstep.storage.project_setup import forget_worker, setup_changed
from lockstep.storage.projection import LiveWait, Projection

Envelope = f.Numbered


def limit_changed(p: Projection, fact: f.LimitChanged, n: Envelope, _body: bytes) -> None:
    row = {"units": fact.limit, "max_overtakes": fact.max_overtakes, "removed": fact.removed}
    p.changes.upsert("locks", (fact.key.kind, fact.key.name, fact.key.worker), row)
    locks.limit_changed(p, fact, n)


def memory_kept(p: Projection, fact: f.MemoryKept, _n: Envelope, _body: bytes) -> None:
    row: dict[str, Any] = {}
    if fact.memory is not None:
        row["memory"] = pack(fact.memory)
    if fact.cursor is not None:
        row["cursor"] = fact.cursor
    if row:
        p.changes.upsert("cursors", fact.owner, row)


def change_added(p: Projection, fact: f.ChangeAdded, _n: Envelope, _body: bytes) -> None:
    change = fact.change
    p.changes.insert(
        "changes",
        change.changeid,
        {
            "changeid": change.changeid,
            "author": clean(change.author),
            "comments": clean(change.comments),
            "files": to_json(change.files),
            "branch": clean_or_none(change.branch),
            "revision": clean_or_none(change.revision),
            "revlink": clean(change.revlink),
            "repository": clean(change.repository),
            "project": clean(change.project),
            "codebase": clean(change.codebase),
            "category": clean_or_none(change.category),
            "properties": to_json(change.properties),
            "when_timestamp": change.when,
            "source": clean(change.source),
        },
    )


def stamp_added(p: Projection, fact: f.StampAdded, n: Envelope, _body: bytes) -> None:
    stamp = fact.stamp
    p.changes.insert(
        "source_stamps",
        fact.ssid,
        {
            "ssid": fact.ssid,
            "created_at": n.at,
            "codebase": clean(stamp.codebase),
            "repository": clean(stamp.repository),
            "project": clean(stamp.project),
            "branch": clean_or_none(stamp.branch),
            "revision": clean_or_none(stamp.revision),
            "patch": None if stamp.patch is None else pack(stamp.patch),
            "changes": to_json(stamp.changes),
        },
    )
    for changeid in set(stamp.changes):
        p.changes.insert("stamp_changes", (fact.ssid, changeid), {"ssid": fact.ssid, "changeid": changeid})


# --- build sets and requests


def buildset_added(p: Projection, fact: f.BuildsetAdded, n: Envelope, _body: bytes) -> None:
    submission = fact.submission
    parent = fact.parent_call or (None, None, None)
    p.changes.insert(
        "buildsets",
        fact.bsid,
        {
            "bsid": fact.bsid,
            "reason": clean(submission.reason),
            "scheduler": clean(submission.scheduler),
            "ssids": to_json(fact.ssids),
            "properties": to_json(submission.properties),
            "submitted_at": n.at,
            "external_idstring": clean_or_none(submission.external_id),
            "rebuilt_buildid": submission.rebuilt_buildid,
            "parent_buildid": parent[0],
            "parent_step": parent[1],
            "parent_call": parent[2],
            "waited_for": fact.waited_for,
        },
    )


def request_added(p: Projection, fact: f.RequestAdded, n: Envelope, _body: bytes) -> None:
    p.counters.clock = max(p.counters.clock, fact.ticket)
    p.changes.insert(
        "requests",
        fact.brid,
        {
            "brid": fact.brid,
            "bsid": fact.bsid,
            "builderid": p.builder_ids[fact.builder],
            "priority": fact.priority,
            "ticket": fact.ticket,
            "since": fact.ticket,
            "submitted_at": n.at,
            "waiting_since": n.at,
            "properties": to_json(fact.properties),
            "collapse_key": None if fact.collapse_key is None else pack(fact.collapse_key),
            "parent": fact.parent,
            "waited_for": fact.parent != 0,
            "state": "rendering" if fact.render else "waiting",
        },
    )
    wait = LiveWait(fact.ticket, n.at, fact.brid, builder=fact.builder)
    p.asked[fact.brid] = p.waits[fact.ticket] = wait


def need_set(p: Projection, fact: f.NeedSet, _n: Envelope, _body: bytes) -> None:
    need = None if fact.need is None else pack(fact.need)
    p.changes.update("requests", fact.brid, {"need": need, "state": "waiting"})
    p.asked[fact.brid].need = fact.need


def priority_set(p: Projection, fact: f.PrioritySet, _n: Envelope, _body: bytes) -> None:
    p.changes.update("requests", fact.brid, {"priority": fact.priority})


def place_taken(p: Projection, fact: f.PlaceTaken, _n: Envelope, _body: bytes) -> None:
    row = {"ticket": fact.ticket, "since": fact.ticket, "priority": fact.priority}
    p.changes.update("requests", fact.brid, row)
    wait = p.asked[fact.brid]
    p.waits.pop(wait.ticket, None)
    wait.ticket = fact.ticket
    p.waits[fact.ticket] = wait


def builder_ranked(p: Projection, fact: f.BuilderRanked, _n: Envelope, _body: bytes) -> None:
    p.changes.upsert("builders", p.builder_ids[fact.builder], {"name": clean(fact.builder), "rank": pack(fact.rank)})


def request_put_back(p: Projection, fact: f.RequestPutBack, n: Envelope, _body: bytes) -> None:
    p.counters.clock = max(p.counters.clock, fact.since)
    row = {
        "state": "waiting",
        "since": fact.since,
        "put_back": True,
        "buildid": 0,
        "claimed": False,
        "claimed_at": None,
        "waiting_since": n.at,
    }
    p.changes.update("requests", fact.brid, row)
    wait = p.asked[fact.brid]
    wait.at = n.at
    p.waits[wait.ticket] = wait


def place_regained(p: Projection, fact: f.PlaceRegained, _n: Envelope, _body: bytes) -> None:
    p.changes.update("requests", fact.brid, {"put_back": False})


def request_ended(p: Projection, fact: f.RequestEnded, n: Envelope, _body: bytes) -> None:
    row = {
        "state": "complete",
        "complete": True,
        "complete_at": n.at,
        "results": int(fact.result),
        "reason": clean(fact.reason) or None,
        "merged_into": fact.into,
    }
    p.changes.update("requests", fact.brid, row)
    wait = p.asked.pop(fact.brid)
    if p.waits.get(wait.ticket) is wait:
        del p.waits[wait.ticket]
        locks.left(p, n, wait, fact.reason or (f"merged into request {fact.into}" if fact.into else ""))


def buildset_ended(p: Projection, fact: f.BuildsetEnded, n: Envelope, _body: bytes) -> None:
    row = {"complete": True, "complete_at": n.at, "results": int(fact.result)}
    p.changes.update("buildsets", fact.bsid, row)


# --- claims: rows of what is held or pinned


def claim_granted(p: Projection, fact: f.ClaimGranted, n: Envelope, _body: bytes) -> None:
    p.last_hold = max(p.last_hold, fact.hold)
    put_claim(
        p,
        fact.ticket,
        {
            "owner": fact.owner,
            "hold": fact.hold,
            "alternative": pack(fact.alternative),
            "fences": pack(fact.fences),
            "units": pack(fact.units) if fact.units else None,
            "pin": -1,
        },
    )
    for position, (access, fence) in enumerate(zip(fact.alternative.accesses, fact.fences, strict=True)):
        if access.lock.kind == "pool":
            if access.lock not in fact.lent:
                pools.fenced(p, access, fence)
            continue
        row: dict[str, Any] = {} if access.lock in fact.lent else {"fence": fence}
        if fact.memories:
            row["memory"] = pack(fact.memories[position])
        if row:
            p.changes.upsert("locks", (access.lock.kind, access.lock.name, access.lock.worker), row)
    if fact.pools:
        pools.granted(p, fact)
    for memory in fact.shares:
        p.changes.upsert("shares", clean(memory.name), {"memory": pack(memory)})
    for key, starts in fact.starts:
        _put_starts(p, key, starts)
    if fact.ticket in p.bookings:
        bookings.granted(p, fact.ticket, fact.hold, n.at)
    wait = p.waits.pop(fact.ticket)
    if wait.step:
        builds.claim_of_step_granted(p, fact, n, (wait.buildid, wait.step, wait.call))
    if any(access.lock.kind in locks.KINDS for access in fact.alternative.accesses):
        locks.granted(p, fact, n, wait)


def _put_starts(p: Projection, key: LockKey, starts: tuple[float, ...]) -> None:
    p.changes.upsert("locks", (key.kind, key.name, key.worker), {"starts": pack(starts) if starts else None})


def starts_returned(p: Projection, fact: f.StartsReturned, _n: Envelope, _body: bytes) -> None:
    _put_starts(p, fact.key, fact.starts)


def put_claim(p: Projection, ticket: int, row: dict[str, Any]) -> None:
    """The whole row of a claim."""
    p.changes.upsert("claims", ticket, row)


def claim_pinned(p: Projection, fact: f.ClaimPinned, n: Envelope, _body: bytes) -> None:
    row = {"owner": 0, "hold": 0, "alternative": None, "fences": None, "units": None, "pin": fact.alternative}
    put_claim(p, fact.ticket, row)
    locks.pinned(p, fact, n)


def barrier_raised(p: Projection, fact: f.BarrierRaised, n: Envelope, _body: bytes) -> None:
    locks.barrier(p, fact, n)


def claim_dropped(p: Projection, fact: f.ClaimDropped, n: Envelope, _body: bytes) -> None:
    end_claim(p, fact.ticket, 0)
    wait = p.waits[fact.ticket]
    if not wait.brid:  # what becomes of a request is told when it ends
        del p.waits[fact.ticket]
        locks.left(p, n, wait, fact.reason)


def hold_ended(p: Projection, fact: f.HoldEnded, n: Envelope, _body: bytes) -> None:
    end_claim(p, fact.ticket, fact.hold)
    held = p.holds.pop(fact.hold, None)
    if held is not None:
        locks.released(p, fact, n, held)


def locks_returned(p: Projection, fact: f.LocksReturned, n: Envelope, _body: bytes) -> None:
    claim: dict[str, Any] = {"owner": fact.owner, "hold": fact.hold, "pin": -1}
    claim |= {"alternative": pack(fact.alternative), "fences": pack(fact.fences)}
    claim["units"] = pack(fact.units) if fact.units else None
    put_claim(p, fact.ticket, claim)
    builds.locks_returned(p, fact)
    held = p.holds.get(fact.hold)
    if held is not None:
        locks.returned(p, fact, n, held)


def end_claim(p: Projection, ticket: int, hold: int) -> None:
    """Take a claim's row away, if it is (still) that of this hold (0: it waits)."""
    put = p.changes.put.get("claims")
    if put is not None and ticket in put:
        if put[ticket]["hold"] == hold:
            del put[ticket]
            p.changes.delete("claim", ticket, 0)  # the row of its pin, if it had one
    else:
        p.changes.delete("claim", ticket, hold)


# --- workers


def worker_up(p: Projection, fact: f.WorkerUp, _n: Envelope, _body: bytes) -> None:
    p.counters.session = max(p.counters.session, fact.session)
    row = {
        "state": "connected",
        "session": fact.session,
        "resumes": fact.resumes,
        "lease": fact.lease,
        "info": to_json(fact.info),
    }
    _worker(p, fact.worker, row)


def worker_leaving(p: Projection, fact: f.WorkerLeaving, _n: Envelope, _body: bytes) -> None:
    _worker(p, fact.worker, {"state": "leaving"})


def worker_down(p: Projection, fact: f.WorkerDown, _n: Envelope, _body: bytes) -> None:
    _worker(p, fact.worker, {"state": "unreachable" if fact.busy else "absent"})


def worker_given_up(p: Projection, fact: f.WorkerGivenUp, _n: Envelope, _body: bytes) -> None:
    _worker(p, fact.worker, {"state": "absent"})


def worker_paused(p: Projection, fact: f.WorkerPaused, _n: Envelope, _body: bytes) -> None:
    _worker(p, fact.worker, {"paused": fact.paused, "pause_reason": clean(fact.reason)})


def _worker(p: Projection, name: str, row: dict[str, Any]) -> None:
    """New values for a worker's row."""
    p.changes.upsert("workers", p.worker_ids[name], {"name": clean(name)} | row)
    if "state" in row:
        p.workers[name].state = row["state"]
        forget_worker(p, name)


def nothing(_p: Projection, _fact: f.Fact, _n: Envelope, _body: bytes) -> None:
    """For facts that only tell: they are in the table of facts."""


Rule = Callable[[Projection, Any, Envelope, bytes], None]

# fact: its rule, the field that says what it is about, and what that is called
RULES: Final[dict[type[f.Fact], tuple[Rule, str, str]]] = {
    f.SetupChanged: (setup_changed, "", "setup"),
    f.LimitChanged: (limit_changed, "key", "lock "),
    f.PoolChanged: (pools.pool_changed, "name", "pool "),
    f.UnitQuarantined: (pools.unit_quarantined, "pool", "pool "),
    f.UnitTried: (pools.unit_tried, "pool", "pool "),
    f.UnitsUsed: (pools.units_used, "buildid", "build "),
    f.QuarantineLifted: (pools.quarantine_lifted, "pool", "pool "),
    f.MemoryKept: (memory_kept, "owner", ""),
    f.ChangeAdded: (change_added, "", "change"),
    f.StampAdded: (stamp_added, "ssid", "source stamp "),
    f.BuildsetAdded: (buildset_added, "bsid", "build set "),
    f.RequestAdded: (request_added, "brid", "request "),
    f.NeedSet: (need_set, "brid", "request "),
    f.PrioritySet: (priority_set, "brid", "request "),
    f.PlaceTaken: (place_taken, "brid", "request "),
    f.BuilderRanked: (builder_ranked, "builder", "builder "),
    f.RequestPutBack: (request_put_back, "brid", "request "),
    f.PlaceRegained: (place_regained, "brid", "request "),
    f.RequestEnded: (request_ended, "brid", "request "),
    f.BuildsetEnded: (buildset_ended, "bsid", "build set "),
    f.ClaimGranted: (claim_granted, "ticket", "claim "),
    f.StartsReturned: (starts_returned, "key", "lock "),
    f.ClaimPinned: (claim_pinned, "ticket", "claim "),
    f.BarrierRaised: (barrier_raised, "ticket", "claim "),
    f.ClaimDropped: (claim_dropped, "ticket", "claim "),
    f.HoldEnded: (hold_ended, "ticket", "claim "),
    f.LocksReturned: (locks_returned, "ticket", "claim "),
    f.RingBroken: (nothing, "ticket", "claim "),
    f.BookingAdded: (bookings.booking_added, "ticket", "booking "),
    f.BookingRenewed: (bookings.booking_renewed, "ticket", "booking "),
    f.BookingExtended: (bookings.booking_extended, "ticket", "booking "),
    f.BookingLeaving: (bookings.booking_leaving, "ticket", "booking "),
    f.HoldPassed: (bookings.hold_passed, "ticket", "booking "),
    f.NotKept: (bookings.not_kept, "ticket", "claim "),
    f.HoldStolen: (bookings.hold_stolen, "ticket", "claim "),
    f.BookingEnded: (bookings.booking_ended, "ticket", "booking "),
    f.BuildStarted: (builds.build_started, "buildid", "build "),
    f.BuildPlanKept: (builds.build_plan_kept, "buildid", "build "),
    f.StepsAdded: (builds.steps_added, "buildid", "build "),
    f.BuildStopping: (builds.build_stopping, "buildid", "build "),
    f.BuildEnded: (builds.build_ended, "buildid", "build "),
    f.StepStarted: (builds.step_started, "buildid", "build "),
    f.StepPutBack: (builds.step_put_back, "buildid", "build "),
    f.StepEnded: (builds.step_ended, "buildid", "build "),
    f.CallStarted: (builds.call_started, "buildid", "build "),
    f.CallEnded: (builds.call_ended, "buildid", "build "),
    f.PropertySet: (builds.property_set, "buildid", "build "),
    f.LogOpened: (builds.log_opened, "buildid", "build "),
    f.LogClosed: (builds.log_closed, "buildid", "build "),
    f.UrlAdded: (builds.url_added, "buildid", "build "),
    f.CommandKnown: (builds.command_known, "command", "command "),
    f.CommandInterrupted: (builds.command_interrupted, "command", "command "),
    f.CommandOver: (builds.command_over, "command", "command "),
    f.WorkerUp: (worker_up, "worker", "worker "),
    f.WorkerLeaving: (worker_leaving, "worker", "worker "),
    f.WorkerDown: (worker_down, "worker", "worker "),
    f.WorkerGivenUp: (worker_given_up, "worker", "worker "),
    f.WorkerPaused: (worker_paused, "worker", "worker "),
}


def project(p: Projection, numbered: Iterable[f.Numbered]) -> None:
    """Gather the rows of some facts, and the facts themselves, in `p.changes`.

    Raises:
        StoreError: their numbers do not follow those of the stored ones: a fault of Lockstep itself.
    """
    rows: dict[int, dict[str, Any]] = p.changes.new.setdefault("facts", {})
    row: dict[str, Any] | None = None
    for one in numbered:
        fact = one.fact
        if one.number != p.last_fact + 1:
            raise StoreError(f"a fault of Lockstep itself: fact {one.number} cannot follow fact {p.last_fact}")
        p.last_fact = one.number
        rule, about, kind = RULES[type(fact)]
        body = pack(fact)
        row = {
            "number": one.number,
            "at": one.at,
            "kind": type(fact).__name__,
            "subject": clean(f"{kind}{getattr(fact, about)}") if about else kind,
            "body": body,
            "counters": None,
        }
        rows[one.number] = row
        rule(p, fact, one, body)
    if row is not None:
        row["counters"] = pack(p.told())
