"""`/metrics`: what Prometheus reads, while builds hold and wait (L72)."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from lockstep.core.nouns import LockKey
from lockstep.web.limits import METRICS_LOCKS
from lockstep.web.metrics import OTHERS, Names

from .serving import Running, running


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


def test_L93_what_projects_have_of_what_is_shared_is_measured_and_shown(tmp_path: Path) -> None:
    with running(tmp_path) as ci:
        text = ci.file.read_text().replace(
            "name='counter', workernames", "name='counter', project='tools', workernames"
        )
        ci.file.write_text(text + "c['shares'] = [util.Shares({'tools': 3}, locks=[memory, boards], workers=['w2'])]\n")
        ci.call("control", "reload")
        brid = ci.force("counter")
        ci.until("BuildStarted", brid=brid)
        now = metrics(ci)
        assert now["lockstep_share_used", "memory", "tools", ""] == 3
        assert now["lockstep_share_due", "memory", "tools", ""] == 3
        assert now["lockstep_share_used", "", "tools", "w2"] == 1
        assert now["lockstep_share_due", "", "*", "w2"] == 0.5
        assert now["lockstep_share_used", "boards", "tools", ""] == 0
        assert not [key for key in now if key[0].startswith("lockstep_share") and key[1] == "database"]
        shared = ci.one("locks/memory")["shared"]
        assert shared["together"] == ["lock 'memory'", "pool 'boards'", "worker w2"]
        (tools,) = [part for part in shared["parts"] if part["project"] == "tools"]
        assert (tools["used"], tools["here"], tools["due"], tools["borrowed"]) == (4, 3, 6.75, 0)
        assert ci.one("locks/database")["shared"] is None
        page = ci.http.get("/locks/memory").text
        assert 'aria-label="Shares of memory"' in page
        assert "pool &#39;boards&#39;, worker w2 together" in page
        ci.open_gate("counter")
        ci.built(brid)
