"""Which rows follow from the facts about pools. See `project.py`."""

from lockstep.core import facts as f
from lockstep.core.nouns import Access
from lockstep.core.values import PoolSetup
from lockstep.storage.codec import clean, pack
from lockstep.storage.projection import Projection


def pool_changed(p: Projection, fact: f.PoolChanged, _n: f.Numbered, _body: bytes) -> None:
    setup = PoolSetup(fact.name, fact.units, fact.max_overtakes)
    p.changes.upsert("pools", clean(fact.name), {"setup": pack(setup), "removed": fact.removed})


def unit_quarantined(p: Projection, fact: f.UnitQuarantined, n: f.Numbered, _body: bytes) -> None:
    row = {"quarantined": True, "who": clean(fact.who), "reason": clean(fact.reason), "since": n.at}
    p.changes.upsert("units", (clean(fact.pool), clean(fact.unit)), row)


def quarantine_lifted(p: Projection, fact: f.QuarantineLifted, _n: f.Numbered, _body: bytes) -> None:
    row = {"quarantined": False, "who": clean(fact.who), "reason": "", "since": None}
    p.changes.upsert("units", (clean(fact.pool), clean(fact.unit)), row)


def granted(p: Projection, fact: f.ClaimGranted) -> None:
    """What is kept of the pools that a claim got units of."""
    for memory in fact.pools:
        p.changes.upsert("pools", clean(memory.name), {"memory": pack(memory)})


def fenced(p: Projection, access: Access, fence: int) -> None:
    """The last fence of a pool."""
    p.changes.upsert("pools", clean(access.lock.name), {"fence": fence})
