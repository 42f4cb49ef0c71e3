"""Questions: fields, filters with operators, order, pages, properties; and what means nothing is said clearly."""

from typing import Any

import pytest

from lockstep.storage.filters import QueryError
from lockstep.web.asking import chosen, parse

from .serving import Running


@pytest.fixture(scope="module")
def builds(ci: Running) -> Running:
    for _ in range(3):
        ci.built(ci.force("hello", properties={"colour": "red"}))
    return ci


def test_fields_and_pages(builds: Running) -> None:
    answer = builds.get("builders/hello/builds", field=["buildid", "number"], order="-number", limit=2, offset=1)
    assert [set(build) for build in answer["builds"]] == [{"buildid", "number"}] * 2
    numbers = [build["number"] for build in answer["builds"]]
    total = answer["meta"]["total"]
    assert numbers == [total - 1, total - 2]


def test_filters(builds: Running) -> None:
    def names(**query: Any) -> list[str]:
        return [builder["name"] for builder in builds.get("builders", field="name", **query)["builders"]]

    assert names(name="hello") == ["hello"]
    assert names(name=["hello", "fails"]) == ["hello", "fails"]
    assert "hello" not in names(name__ne="hello")
    assert names(name__contains="oun") == ["counter"]
    assert names(tags__contains="quick") == ["hello"]
    assert names(builderid__lt=3, order="-name") == ["html", "hello"]
    assert builds.get("builds", complete="yes", results__ge=0)["meta"]["total"] >= 3
    assert builds.get("builds", complete="off", builderid=1)["builds"] == []


def test_properties_come_with_builds_and_requests(builds: Running) -> None:
    build = builds.one("builders/hello/builds/1", property="*")
    assert build["properties"]["answer"] == ["42", "greet"] or build["properties"]["answer"][0] == "42"
    request = builds.one(f"buildrequests/{build['buildrequestid']}", property="colour")
    assert list(request["properties"]) in (["colour"], [])
    assert builds.one("builders/hello/builds/1")["properties"] == {}


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("builds?limit=x", "'limit' must be a whole number"),
        ("builds?offset=-1", "'offset' must be a whole number"),
        ("builds?colour=red", "have no field 'colour'"),
        ("builds?buildidd=1", "did you mean 'buildid'?"),
        ("builds?buildid__like=1", "there is no operator 'like'"),
        ("builds?buildid=one", "no whole number"),
        ("builds?complete=maybe", "no truth value"),
        ("builds?order=nope", "have no field 'nope'"),
        ("builds?field=nope", "have no field 'nope'"),
        ("locks?nope=1", "have no field 'nope'"),
        ("claims?limit=-", "'limit' must be"),
        ("events?kinds=Nope", "there is no event 'Nope'"),
        ("events?after=x", "'after' must be"),
        ("events?after=9999999999999999999", "'after' must be"),
        ("builds?" + "&".join(f"a{i}=1" for i in range(300)), "too many"),
    ],
)
def test_a_question_that_means_nothing(builds: Running, path: str, part: str) -> None:
    assert part in builds.get(path, 400)["error"]


ITEMS = [{"name": "b", "n": 10, "on": True}, {"name": "a", "n": 9, "on": False}, {"name": "c", "n": None, "on": True}]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "bac"),
        ("order=name", "abc"),
        ("order=-name", "cba"),
        ("order=n", "abc"),
        ("on=yes", "bc"),
        ("on__ne=true", "a"),
        ("n__gt=9", "b"),
        ("n__le=9", "a"),
        ("name__contains=a", "a"),
        ("name=a&name=c", "ac"),
        ("limit=1&offset=1", "a"),
    ],
)
def test_short_lists_are_asked_in_the_same_way(query: str, names: str) -> None:
    answer = chosen("things", ITEMS, parse(query))
    assert "".join(item["name"] for item in answer.items) == names


def test_a_short_list_refuses_unknown_fields() -> None:
    with pytest.raises(QueryError, match="no field 'nam'; did you mean 'name'"):
        chosen("things", ITEMS, parse("nam=x"))
