"""`/metrics`: what Prometheus reads, while builds hold and wait (L72)."""

import re

from prometheus_client.parser import text_string_to_metric_families

from lockstep.core.nouns import LockKey
from lockstep.web.limits import METRICS_LOCKS
from lockstep.web.metrics import OTHERS, Names

from .serving import Running


def metrics(ci: Running) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    answer = ci.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    kind, _, parameters = answer.headers["content-type"].partition("; ")
    assert kind == "text/plain"
    assert re.fullmatch(r"version=[0-9.]+; charset=utf-8", parameters), "each once: some readers refuse others"
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_L72_what_runs_waits_and_is_held_and_what_has_happened_since(ci: Running) -> None:
    before = metrics(ci)
    ci.close_gate("holder")
    holder = ci.force("holder")
    ci.until("BuildStarted", brid=holder)
    wanter = ci.force("wanter")
    now = metrics(ci)
    assert now["lockstep_builds_running", "holder"] == 1
    assert now["lockstep_requests_waiting", "wanter"] == 1
    assert now["lockstep_builds_running", "odd/name & <x> #?"] == 0
    for name, value in {"limit": 1, "used": 1, "reserved": 0, "waiting": 1}.items():
        assert now[f"lockstep_lock_{name}", "database", ""] == value
    assert now["lockstep_lock_limit", "cpu", "w1"] == 1
    assert (now["lockstep_workers", "connected"], now["lockstep_workers", "absent"]) == (2, 1)
    assert now["lockstep_commits_total",] >= 1
    assert ("lockstep_inbox_events",) in now
    assert not [name for name, *_ in now if name.endswith("_created")]
    ci.open_gate("holder")
    for brid in (holder, wanter):
        ci.built(brid)
    after = metrics(ci)

    def more(name: str) -> float:
        return after[name, "database", ""] - before.get((name, "database", ""), 0)

    assert more("lockstep_lock_grants_total") == 2
    assert more("lockstep_lock_wait_seconds_count") == 2
    assert more("lockstep_lock_hold_seconds_count") == 2
    assert more("lockstep_lock_wait_seconds_sum") > 0
    assert after["lockstep_lock_used", "database", ""] == 0


def test_whoever_may_read_pages_may_read_metrics(ci: Running) -> None:
    assert ci.http.get("/metrics", headers={"host": "evil.example"}).status_code == 403
    assert ci.http.post("/metrics").status_code == 405


def test_locks_beyond_a_number_are_told_of_together() -> None:
    names = Names()
    told = {names.of(LockKey("master", f"made {number}")) for number in range(METRICS_LOCKS + 50)}
    assert len(told) == METRICS_LOCKS + 1
    assert names.of(LockKey("master", "made 600")) == (OTHERS, "")
    assert names.of(LockKey("master", "made 7")) == ("made 7", "")
