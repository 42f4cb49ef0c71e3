"""Which rows follow from the facts about pools. See `project.py`."""

from lockstep.core import facts as f
from lockstep.core.alloc_facts import together
from lockstep.core.nouns import Access
from lockstep.storage import project_locks as locks
from lockstep.storage.codec import clean, pack
from lockstep.storage.projection import Projection


def pool_changed(p: Projection, fact: f.PoolChanged, n: f.Numbered, _body: bytes) -> None:
    p.changes.upsert("pools", clean(fact.name), {"setup": pack(fact.setup), "removed": fact.removed})
    locks.pool_changed(p, fact, n)


def unit_quarantined(p: Projection, fact: f.UnitQuarantined, n: f.Numbered, _body: bytes) -> None:
    locks.quarantined(p, fact, n)
    row = {"quarantined": True, "who": clean(fact.who), "reason": clean(fact.reason), "since": n.at}
    p.changes.upsert("units", (clean(fact.pool), clean(fact.unit)), {**row, "unfit": fact.unfit})


def quarantine_lifted(p: Projection, fact: f.QuarantineLifted, n: f.Numbered, _body: bytes) -> None:
    locks.quarantined(p, fact, n)
    row = {"quarantined": False, "who": clean(fact.who), "reason": "", "since": None, "failed": None}
    p.changes.upsert("units", (clean(fact.pool), clean(fact.unit)), {**row, "unfit": False})


def unit_tried(p: Projection, fact: f.UnitTried, _n: f.Numbered, _body: bytes) -> None:
    row = {"failed": pack(fact.failed) if fact.failed else None}
    p.changes.upsert("units", (clean(fact.pool), clean(fact.unit)), row)


def units_used(p: Projection, fact: f.UnitsUsed, _n: f.Numbered, _body: bytes) -> None:
    build = p.builds[fact.buildid]
    build.units = together(build.units, fact.units)
    p.changes.update("builds", fact.buildid, {"units": pack(build.units)})


def granted(p: Projection, fact: f.ClaimGranted) -> None:
    """What is kept of the pools that a claim got units of."""
    for memory in fact.pools:
        p.changes.upsert("pools", clean(memory.name), {"memory": pack(memory)})


def fenced(p: Projection, access: Access, fence: int) -> None:
    """The last fence of a pool."""
    p.changes.upsert("pools", clean(access.lock.name), {"fence": fence})
