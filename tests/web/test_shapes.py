"""Every resource has the fields of BUILDBOT.md section 3, in real answers and in `application.spec`."""

import re
from typing import Any

import pytest

from .serving import Running

TABLE = """
builder | `builderid` int, `description?` str, `masterids[]` int, `name` str, `tags[]` str, `projectid?` int
buildrequest | `buildrequestid` int, `builderid` int, `buildsetid` int, `claimed` bool, `claimed_at?` date, \
`claimed_by_masterid?` int, `complete` bool, `complete_at?` date, `priority` int, `properties?`, `results?` int, \
`submitted_at` date, `waited_for` bool
buildset | `bsid` int, `complete` bool, `complete_at?` int, `external_idstring?` str, `parent_buildid?` int, \
`parent_relationship?` str, `reason` str, `rebuilt_buildid?` int, `results?` int, `sourcestamps[]`, `submitted_at` int
build | `buildid` int, `number` int, `builderid` int, `buildrequestid` int, `workerid` int, `masterid` int, \
`started_at` date, `complete` bool, `complete_at?` date, `locks_duration_s` int, `properties?`, `results?` int, \
`state_string` str
step | `stepid` int, `buildid` int, `complete` bool, `complete_at?` date, `hidden` bool, `name` str, `number` int, \
`results?` int, `started_at?` date, `locks_acquired_at?` date, `state_string` str, `urls[]`
log | `complete` bool, `logid` int, `name` str, `num_lines` int, `slug` str, `stepid` int, `type` str
logchunk | `content` str, `firstline` int, `logid` int
worker | `workerid` int, `configured_on[]`, `connected_to[]`, `name` str, `paused` bool, `pause_reason?` str, \
`graceful` bool, `workerinfo` object
master | `active` bool, `last_active` date, `masterid` int, `name` str
change | `changeid` int, `author` str, `branch?`, `category?`, `codebase` str, `comments` str, `files[]` str, \
`parent_changeids[]` int, `project` str, `properties`, `repository` str, `revision?`, `revlink?`, `sourcestamp`, \
`when_timestamp` int
sourcestamp | `ssid` int, `branch?`, `codebase` str, `created_at` date, `patch?`, `project` str, `repository` str, \
`revision?`
scheduler | `schedulerid` int, `name` str, `master?`, `enabled` bool
changesource | `changesourceid` int, `name` str, `master?`
forcescheduler | `name` str, `label` str, `button_name` str, `builder_names[]` str, `all_fields[]` object
project | `projectid` int, `name` str, `slug` str, `description?` str
"""
KINDS = {"int": int, "date": int, "bool": bool, "str": str, "object": dict}
BEYOND = {
    "builder": {"description_format", "description_html"},
    "forcescheduler": {"enabled"},
    "buildrequest": {"ended_reason"},
    "log": {"deleted_at", "horizon"},
}
"""Fields that Buildbot gives and the table does not name, and our own."""


def table() -> dict[str, dict[str, tuple[str, bool, bool]]]:
    """Resource to field to (kind, may be null, is a list)."""
    found = {}
    for line in TABLE.strip().splitlines():
        name, _, fields = line.partition(" | ")
        parsed = re.findall(r"`(\w+)(\?|\[\])?`(?: (\w+))?", fields)
        found[name] = {field: (kind, mark == "?", mark == "[]") for field, mark, kind in parsed}
    return found


PATHS = {
    "builder": "builders",
    "buildrequest": "buildrequests",
    "buildset": "buildsets",
    "build": "builds",
    "step": "steps",
    "log": "steps/1/logs",
    "logchunk": "logs/1/contents",
    "worker": "workers",
    "master": "masters",
    "sourcestamp": "sourcestamps",
    "scheduler": "schedulers",
    "forcescheduler": "forceschedulers",
}


@pytest.mark.parametrize(("name", "path"), PATHS.items())
def test_answers_have_the_fields_of_the_table(ci: Running, name: str, path: str) -> None:
    answer = ci.get(path)
    kind = f"{name}s"
    assert set(answer) == {kind, "meta"}
    assert answer[kind]
    for item in answer[kind]:
        check(name, item)


def check(name: str, item: dict[str, Any]) -> None:
    fields = table()[name]
    assert set(item) == set(fields) | BEYOND.get(name, set())
    for field, (kind, nullable, many) in fields.items():
        value = item[field]
        if value is None:
            assert nullable, field
        elif many:
            assert isinstance(value, list), field
        elif kind:
            assert isinstance(value, KINDS[kind]), field
            assert kind == "bool" or not isinstance(value, bool), field


def test_application_spec_says_the_same(ci: Running) -> None:
    specs = {spec["type"]: spec["type_spec"]["fields"] for spec in ci.get("application.spec")["specs"]}
    for name, fields in table().items():
        own = BEYOND.get(name, set())
        assert {field["name"] for field in specs[name]} | own == set(fields) | own, name
        for field in (field for field in specs[name] if field["name"] not in own):
            _, nullable, many = fields[field["name"]]
            assert field["nullable"] == nullable, (name, field)
            assert (field["type_spec"]["type"] == "list") == many, (name, field)


def test_our_own_resources_say_what_they_have(ci: Running) -> None:
    specs = {spec["type"]: spec["type_spec"]["fields"] for spec in ci.get("application.spec")["specs"]}
    for lock in ci.get("locks")["locks"]:
        assert set(lock) == {field["name"] for field in specs["lock"]}
    why = ci.one("builds/1/why")
    assert set(why) == {field["name"] for field in specs["why"]}


NESTED = [
    ("builders/hello", "builders"),
    ("builders/hello/builds", "builds"),
    ("builders/1/builds/1", "builds"),
    ("builders/hello/builds/1/steps", "steps"),
    ("builders/hello/builds/1/steps/greet", "steps"),
    ("builders/hello/builds/1/steps/1/logs", "logs"),
    ("builders/hello/builds/1/steps/1/logs/stdio", "logs"),
    ("builders/hello/builds/1/steps/1/logs/stdio/contents", "logchunks"),
    ("builders/hello/builds/1/properties", "properties"),
    ("builders/hello/builds/1/changes", "changes"),
    ("builders/hello/builds/1/data", "build_data"),
    ("builders/hello/buildrequests", "buildrequests"),
    ("builders/hello/forceschedulers", "forceschedulers"),
    ("builders/hello/workers", "workers"),
    ("builders/hello/workers/w1", "workers"),
    ("builders/hello/masters", "masters"),
    ("builds/1/steps/greet/logs/stdio/contents", "logchunks"),
    ("builds/1/triggered_builds", "builds"),
    ("buildrequests/1/builds", "builds"),
    ("buildsets/1/properties", "properties"),
    ("changes", "changes"),
    ("changesources", "changesources"),
    ("forceschedulers/force", "forceschedulers"),
    ("masters/1/builders", "builders"),
    ("projects", "projects"),
    ("schedulers/force", "schedulers"),
    ("sourcestamps/1/changes", "changes"),
    ("steps/1/logs", "logs"),
    ("workers/w1", "workers"),
    ("workers/1", "workers"),
    ("test_result_sets", "test_result_sets"),
]


@pytest.mark.parametrize(("path", "kind"), NESTED)
def test_nested_paths(ci: Running, path: str, kind: str) -> None:
    assert kind in ci.get(path)


@pytest.mark.parametrize(
    "path",
    [
        "builders/nope",
        "builders/999",
        "builders/hello/builds/999",
        "builders/hello/builds/x",
        "builders/hello/workers/w2",
        "builds/99999999999999999999",
        "builds/-1",
        "builds/1/steps/nope",
        "builds/1/steps/1/logs/nope",
        "buildrequests/999",
        "forceschedulers/nope",
        "masters/2",
        "locks/nope",
        "nonsense",
        "builds/1/nonsense",
    ],
)
def test_what_does_not_exist_is_said_in_a_sentence(ci: Running, path: str) -> None:
    assert set(ci.get(path, 404)) == {"error"}


def test_a_name_with_a_slash_is_one_part_of_a_path(ci: Running) -> None:
    odd = "odd%2Fname%20%26%20%3Cx%3E%20%23%3F"
    (found,) = ci.get(f"builders/{odd}")["builders"]
    assert found["name"] == "odd/name & <x> #?"
    assert all(build["builderid"] == found["builderid"] for build in ci.get(f"builders/{odd}/builds")["builds"])
    assert ci.http.get(f"/builders/{odd}").status_code == 200
    assert "'odd%2Fname'" in ci.get("builders/odd%252Fname", 404)["error"]


def test_slots_of_configured_workers_are_there_and_have_a_limit_only_where_one_is_set(ci: Running) -> None:
    slots = {lock["worker"]: lock for lock in ci.get("locks", kind="slot")["locks"]}
    assert {name: (lock["limit"], lock["removed"]) for name, lock in slots.items()} == {
        "w1": (None, False),
        "w2": (2, False),
        "away": (0, False),
    }


def test_whoever_runs_a_scheduler_is_told_whole(ci: Running) -> None:
    (master,) = ci.get("masters")["masters"]
    for path in ("schedulers", "schedulers/1", "masters/1/schedulers"):
        for scheduler in ci.get(path)["schedulers"]:
            assert set(scheduler["master"]) == set(master)
            check("master", scheduler["master"])


def test_properties_name_scheduler_builder_and_folders(ci: Running) -> None:
    form = {"builderNames": ["hello"], "reason": "r"}
    bsid, brids = ci.call("forceschedulers/force", "force", **form)
    (brid,) = brids.values()
    ci.built(brid)
    assert ci.get(f"buildsets/{bsid}/properties")["properties"][0]["scheduler"] == ["force", "Scheduler"]
    (build,) = ci.get(f"buildrequests/{brid}/builds")["builds"]
    (found,) = ci.get(f"builds/{build['buildid']}/properties")["properties"]
    assert found["scheduler"] == ["force", "Scheduler"]
    assert found["builderid"] == [build["builderid"], "Builder"]
    home = found["basedir"][0]
    assert found["builddir"] == [f"{home}/hello", "Worker"]
