"""What is read back in Buildbot's shape: against a dumb filter over everything, and against the farm's own state."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.core import facts as f
from lockstep.core.nouns import Result
from lockstep.storage.codec import pack
from lockstep.storage.errors import StoreError
from lockstep.storage.filters import OPERATORS, Filter, QueryError
from lockstep.storage.queries import Queries
from lockstep.storage.resources import RESOURCES
from lockstep.storage.store import Store

from .farm import Farm


@pytest.fixture(scope="module")
def world(shared_url: str) -> Iterator[tuple[Farm, Queries]]:
    """A farm that has lived for a while, and its store to ask."""
    store = Store.open(shared_url)
    farm = Farm(7)
    farm.state.installation = store.installation
    store.append([farm.step() for _ in range(1500)])
    queries = Queries(shared_url)
    yield farm, queries
    queries.close()
    store.close()


FIELDS = {
    "builders": "builderid description masterids name tags projectid",
    "buildrequests": "buildrequestid builderid buildsetid claimed claimed_at claimed_by_masterid complete complete_at "
    "priority properties results submitted_at waited_for",
    "buildsets": "bsid complete complete_at external_idstring parent_buildid parent_relationship reason "
    "rebuilt_buildid results sourcestamps submitted_at",
    "builds": "buildid number builderid buildrequestid workerid masterid started_at complete complete_at "
    "locks_duration_s properties results state_string",
    "steps": "stepid buildid complete complete_at hidden name number results started_at locks_acquired_at "
    "state_string urls",
    "logs": "complete logid name num_lines slug stepid type",
    "workers": "workerid configured_on connected_to name paused pause_reason graceful workerinfo",
    "changes": "changeid author branch category codebase comments files parent_changeids project properties "
    "repository revision revlink sourcestamp when_timestamp",
    "sourcestamps": "ssid branch codebase created_at patch project repository revision",
    "schedulers": "schedulerid name master enabled",
    "changesources": "changesourceid name master",
    "projects": "projectid name slug description",
}


def test_everything_has_the_fields_of_buildbots_rest(world: tuple[Farm, Queries]) -> None:
    _, queries = world
    for resource, names in FIELDS.items():
        page = queries.page(resource)
        assert page.items, resource
        assert page.total == len(page.items)
        for item in page.items:
            assert set(names.split()) <= set(item), resource
            for name, value in item.items():
                assert value is None or isinstance(value, int | str | list | dict), (resource, name)
                assert not name.endswith("_at") or isinstance(value, int | None), (resource, name)


def holds(item: dict[str, Any], one: Filter) -> bool:
    """The dumb filter."""
    value = item[one.field]
    match one.op:
        case "eq":
            return any(value == v or (isinstance(value, list) and v in value) for v in one.values)
        case "ne":
            return not any(value == v or (isinstance(value, list) and v in value) for v in one.values)
        case "contains":
            return value is not None and any(v in value for v in one.values)
        case _:
            return value is not None and getattr(value, f"__{one.op}__")(one.values[0]) is True


def questions(chance: random.Random, every: list[dict[str, Any]], name: str, kind: str) -> Iterator[Filter]:
    """One filter for each operator that makes sense for a field."""
    for op in OPERATORS:
        value = chance.choice(every)[name]
        value = (value or ["none"])[0] if isinstance(value, list) else value
        ordered = isinstance(value, int | str) and not isinstance(value, bool) and kind != "list"
        if op in ("eq", "ne"):
            yield Filter(name, op, (value, chance.choice(every)[name]) if kind == "int" else (value,))
        elif op == "contains":
            if kind in ("str", "list") and value:
                yield Filter(name, op, (value[-2:] if kind == "str" else value,))
        elif ordered and kind != "str":
            yield Filter(name, op, (value,))


def test_filters_orders_and_pages_agree_with_a_dumb_filter(world: tuple[Farm, Queries]) -> None:
    _, queries = world
    chance = random.Random(1)
    for resource, spec in RESOURCES.items():
        every = queries.page(resource).items
        for name, field in spec.fields.items():
            if name not in every[0] or (isinstance(every[0][name], list) and field.kind != "list"):
                continue
            for one in questions(chance, every, name, field.kind):
                expected = [item for item in every if holds(item, one)]
                assert queries.page(resource, [one]).items == expected, (resource, one)
                page = queries.page(resource, [one], limit=3, offset=1)
                assert (page.items, page.total) == (expected[1:4], len(expected)), (resource, one)


def test_order_is_by_several_fields_and_pages_do_not_overlap(world: tuple[Farm, Queries]) -> None:
    _, queries = world
    every = queries.page("builds").items
    expected = sorted(every, key=lambda b: (-b["builderid"], b["number"]))
    assert queries.page("builds", order=["-builderid", "number"]).items == expected
    newest = [b["buildid"] for b in queries.page("builds", order=["-buildid"], limit=2).items]
    assert newest == [len(every), len(every) - 1]
    seen = [
        b["buildid"] for n in range(0, len(every), 4) for b in queries.page("builds", (), ["builderid"], 4, n).items
    ]
    assert sorted(seen) == list(range(1, len(every) + 1))
    assert queries.page("builds", limit=0).total == len(every)


def test_the_total_grows_with_the_rows(url: str) -> None:
    store = Store.open(url)
    farm = Farm(3)
    queries = Queries(url)
    for _ in range(8):
        store.append([farm.step() for _ in range(60)])
        assert queries.page("steps", limit=1).total == farm.state.counters.stepid
        assert queries.page("builds", limit=1).total == farm.state.counters.buildid
    queries.close()
    store.close()


@pytest.mark.parametrize(
    ("resource", "one", "words"),
    [
        ("builds", Filter("buidid", "eq", ("1",)), "no field 'buidid'; did you mean 'buildid'"),
        ("builds", Filter("buildid", "like", ("1",)), "no operator 'like'"),
        ("builds", Filter("buildid", "eq", ("one",)), "'one' is no whole number"),
        ("builds", Filter("buildid", "gt", ("9223372036854775808",)), "more than any 'buildid' can be"),
        ("builds", Filter("started_at", "gt", ("9223372036854775807",)), "more than any 'started_at' can be"),
        ("builds", Filter("complete", "eq", ("maybe",)), "'maybe' is no truth value"),
        ("builds", Filter("buildid", "contains", ("1",)), "for texts and lists only"),
        ("biulds", Filter("buildid", "eq", ("1",)), "no resource 'biulds'"),
    ],
)
def test_wrong_questions_are_answered_with_a_sentence(
    world: tuple[Farm, Queries], resource: str, one: Filter, words: str
) -> None:
    with pytest.raises(QueryError, match=words):
        world[1].page(resource, [one])
    with pytest.raises(QueryError, match="no field"):
        world[1].page("builds", order=["x"])


def test_a_value_never_becomes_part_of_the_sql(world: tuple[Farm, Queries]) -> None:
    nasty = "'; DROP TABLE builds; -- %s ? \" \\"
    assert world[1].page("builders", [Filter("name", "eq", (nasty,))]).items == []
    assert world[1].page("builders", [Filter("name", "contains", (nasty,))]).items == []
    assert world[1].page("builders", [Filter("name", "contains", ("%",))]).items == []
    for unstorable in ("\0", "\ud800"):
        assert world[1].page("builders", [Filter("name", "eq", (unstorable,))]).items == []
        assert world[1].page("builders", [Filter("tags", "contains", (unstorable,))]).items == []
    assert len(world[1].page("builders", [Filter("name", "contains", ("b",))]).items) == 4


def test_what_hangs_on_a_build(world: tuple[Farm, Queries]) -> None:
    farm, queries = world
    for build in farm.state.builds.values():
        item = queries.get("builds", build.buildid, properties=["*"])
        assert item is not None
        expected = {name: [value, source] for name, (value, source) in build.properties.items()}
        assert item["properties"] == queries.properties_of_build(build.buildid) == expected
        assert item["complete"] is False
        steps = queries.page("steps", [Filter("buildid", "eq", (build.buildid,))], order=["number"]).items
        assert [step["stepid"] for step in steps] == [step.stepid for step in build.steps if step.stepid]
        changes = queries.changes_of_build(build.buildid)
        assert {change["changeid"] for change in changes} <= {1, 2}
    some = queries.page("buildrequests", properties=["n"], limit=5).items
    assert all(list(item["properties"]) == ["n"] for item in some)
    child = queries.page("buildsets", [Filter("parent_buildid", "gt", (0,))]).items[0]
    assert child["parent_relationship"] == "Triggered from"
    assert queries.properties_of_buildset(child["bsid"])["deep"] == [{"a": [1, None, "ü"]}, "test"]
    triggered = queries.page("builds", [Filter("parent_buildid", "eq", (child["parent_buildid"],))]).items
    assert all(queries.get("buildrequests", build["buildrequestid"]) is not None for build in triggered)
    assert [m["name"] for m in queries.masters(5.5)] == ["lockstep"]
    assert {s["patch"]["body"] for s in queries.page("sourcestamps").items if s["patch"]} == {"\x00\ufffd"}


def test_facts_by_cursor_come_in_order_and_by_kind(world: tuple[Farm, Queries]) -> None:
    farm, queries = world
    assert queries.last_fact() == len(farm.facts)
    assert [pack(n) for n in queries.facts_after(0, limit=10**6)] == [pack(n) for n in farm.facts]
    ended = [n.number for n in farm.facts if isinstance(n.fact, f.BuildEnded | f.BuildStarted)]
    found = queries.facts_after(ended[1], (f.BuildEnded, f.BuildStarted), limit=4)
    assert [n.number for n in found] == ended[2:6]
    assert queries.facts_after(len(farm.facts)) == []
    assert [n.number for n in queries.follow(ended[1], (f.BuildEnded, f.BuildStarted), 4)[0]] == ended[2:6]
    assert queries.follow(ended[1], (f.BuildEnded, f.BuildStarted), 4)[1] == ended[5]
    assert queries.follow(ended[-1], (f.BuildEnded, f.BuildStarted), 4) == ([], len(farm.facts))


def test_logs_come_back_whole_and_by_range(world: tuple[Farm, Queries]) -> None:
    farm, queries = world
    assert len(farm.texts) > 5
    for logid, text in farm.texts.items():
        lines = [line + "\n" for line in text.split("\n")[:-1]]
        item = queries.get("logs", logid)
        assert item is not None
        assert item["num_lines"] == len(lines)
        assert queries.log_contents(logid) == {"logid": logid, "firstline": 0, "content": text}
        assert "".join(queries.log_raw(logid, "s")) == "".join(line[1:] for line in lines)
        for first in range(0, len(lines) + 1, 2):
            for limit in (0, 1, 3, None):
                end = None if limit is None else first + limit
                assert queries.log_contents(logid, first, limit)["content"] == "".join(lines[first:end])


def test_no_question_can_write(world: tuple[Farm, Queries]) -> None:
    with pytest.raises(StoreError, match=r"may not be written to|read-only"), world[1]._reader() as reader:
        reader.rows("DELETE FROM builds WHERE buildid = ?", (1,))


def test_a_question_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Queries(f"sqlite:///{tmp_path}/none.sqlite").get("builds", 1)
    assert list(tmp_path.iterdir()) == []


def test_results_of_builds_are_buildbots_numbers(world: tuple[Farm, Queries]) -> None:
    farm, queries = world
    ended = {n.fact.buildid: n.fact.result for n in farm.facts if isinstance(n.fact, f.BuildEnded)}
    found = {b["buildid"]: Result(b["results"]) for b in queries.page("builds").items if b["complete"]}
    assert found == ended
