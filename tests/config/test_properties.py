"""Rendering of properties and texts: what the manual says, and a simple oracle for what stands in a text."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.config.errors import ConfigErrors
from lockstep.config.interpolate import NotTold
from lockstep.config.properties import (
    FlattenList,
    Interpolate,
    NeedsToWaitError,
    Properties,
    Property,
    Transform,
    WithProperties,
    render,
    render_now,
    renderer,
)
from lockstep.core.values import SourceStamp


def props() -> Properties:
    made = Properties(a="A", empty="", none=None, number=5, items=[1, 2])
    made.sourcestamps = (SourceStamp(branch="trunk"), SourceStamp(codebase="lib", branch="old", revision="7"))
    made.worker_info = {"os": "linux"}
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%(prop:a)s", "A"),
        ("%(prop:no)s", ""),
        ("%(prop:none)s", ""),
        ("%(prop:empty:-x)s", ""),
        ("%(prop:no:-x)s", "x"),
        ("%(prop:no:-)s", ""),
        ("%(prop:empty:~x)s", "x"),
        ("%(prop:a:~x)s", "A"),
        ("%(prop:a:+x)s", "x"),
        ("%(prop:no:+x)s", ""),
        ("%(prop:empty:?|there|missing)s", "there"),
        ("%(prop:no:?:there:missing)s", "missing"),
        ("%(prop:empty:#?|true|false)s", "false"),
        ("%(prop:a:#?|true|false)s", "true"),
        ("%(prop:no:-%(src::revision:-%(prop:a)s)s)s", ""),
        ("%(prop:no:-%(src:lib:revision:-%(prop:a)s)s)s", "7"),
        ("%(prop:a:?|%(prop:number)s%%|no)s", "5%"),
        ("%(src::branch)s-%(src:lib:branch)s-%(src:other:branch:-none)s", "trunk-old-none"),
        ("%(worker:os)s %(worker:cpus:-1)s", "linux 1"),
        ("%(prop:number)03d|%(prop:a)-3s|", "005|A  |"),
        ("%(secret:token)s", "\x02secret:token\x03"),
        ("100%%", "100%"),
    ],
)
def test_interpolate(text: str, expected: str) -> None:
    assert render_now(Interpolate(text), props()) == expected


def test_interpolate_knows_units_of_pools() -> None:
    told = {"unit:boards": "pi-1", "unit:boards:at": "10.0.0.1", "unit:pair": ["a", "b"], "unit:pair:n": [1, None]}
    made = Properties(**told)
    text = "%(unit:boards)s %(unit:boards:at)s %(unit:boards:no:-22)s %(unit:pair)s %(unit:pair:n)s %(unit:no:-x)s"
    assert render_now(Interpolate(text), made) == "pi-1 10.0.0.1 22 a,b 1, x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "rm -rf x/%(unit:q:dir)s",
            "no unit of 'q' here; claim it with locks=, or say what stands for it: %(unit:q:dir:-none)s",
        ),
        ("%(unit:q)s", "have no unit of 'q' here"),
        ("%(fence:db)s", "have no lock 'db' here; claim it with locks=, or say what stands for it: %(fence:db:-none)s"),
    ],
)
def test_what_a_build_has_nothing_of_is_never_empty(text: str, expected: str) -> None:
    with pytest.raises(NotTold, match=r"\(.*test_properties\.py:\d+\)$") as raised:
        render_now(Interpolate(text), props())
    assert expected in str(raised.value)


def test_what_only_one_unit_lacks_is_empty() -> None:
    made = Properties(**{"unit:q": "x", "unit:q:a": None})
    assert render_now(Interpolate("%(unit:q)s,%(unit:q:a)s,%(unit:q:b)s."), made) == "x,,."


def test_interpolate_with_arguments() -> None:
    text = Interpolate(
        "%(kw:one)s %(kw:two:~none)s %(kw:three)s", one=Property("a"), two="", three=lambda p: p["number"]
    )
    assert render_now(text, props()) == "A none 5"
    assert render_now(Interpolate("%s %d", Property("a"), Property("number")), props()) == "A 5"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interpolate("%(prop:a"), "incomplete format key"),
        (lambda: Interpolate("%(prob:a)s"), 'unknown selector "prob"; did you mean "prop"?'),
        (lambda: Interpolate("%(src:branch)s"), 'needs a codebase and an attribute, as in "%(src::branch)s"'),
        (lambda: Interpolate("%(prop:fence:db)s"), 'did you mean "%(fence:db)s"?'),
        (lambda: Interpolate("%(prop:a:=x)s"), 'unknown replacement ":=x"'),
        (lambda: Interpolate("%(prop:a:?|x)s"), "must give two texts"),
        (lambda: Interpolate("%(prop:no:-%(pro:a)s)s"), 'unknown selector "pro"'),
        (lambda: Interpolate("%(secret:a:-x)s"), "can have no replacement"),
        (lambda: Interpolate("%s"), 'there is a "%s" and no argument for it'),
        (lambda: Interpolate("%s", 1, a=2), "by position or by keyword, not both"),
        (lambda: WithProperties("%s", "a", b=len), "by position or by keyword, not both"),
    ],
)
def test_wrong_texts_are_mistakes_when_they_are_made(make: Any, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        make()
    assert message in str(caught.value)
    assert caught.value.mistakes[0].place.file == __file__


def test_withproperties() -> None:
    assert render_now(WithProperties("%s-%s", "a", "none"), props()) == "A-"
    text = WithProperties("%(a)s %(no:-x)s %(empty:~y)s %(a:+z)s %(f)s", f=lambda p: p["number"] + 1)
    assert render_now(text, props()) == "A x y z 6"
    with pytest.raises(KeyError):
        render_now(WithProperties("%(no)s"), props())


def test_property() -> None:
    rendered = [
        Property("a"),
        Property("no"),
        Property("no", default=Property("a")),
        Property("empty", default="x"),
        Property("empty", default="x", defaultWhenFalse=False),
    ]
    assert render_now(rendered, props()) == ["A", None, "A", "x", ""]


def test_calculating_with_renderables() -> None:
    number = Property("number")
    wanted = [
        number == 5,
        number != 5,
        number + 1,
        number * 2,
        number > 4,
        number.in_([5]),
        Interpolate("%(prop:a)s") == "A",
    ]
    assert render_now(wanted, props()) == [True, False, 6, 10, True, True, True]
    assert len({number, Property("number")}) == 2


def test_renderer_and_transform() -> None:
    @renderer
    def command(p: Any, *args: Any, **kwargs: Any) -> Any:
        return ["make", Interpolate("%(prop:a)s"), list(args), kwargs]

    assert render_now(command, props()) == ["make", "A", [], {}]
    more = command.withArgs(Property("a")).withArgs(1, x=Property("number"))
    assert render_now(more, props()) == ["make", "A", ["A", 1], {"x": 5}]
    assert render_now(command, props()) == ["make", "A", [], {}]
    assert render_now(Transform(lambda *a, **k: (a, k), Property("a"), k=[Property("number")]), props()) == (
        ("A",),
        {"k": [5]},
    )
    assert render_now(FlattenList(["x", [Property("items"), ["y"]]]), props()) == ["x", 1, 2, "y"]


def test_what_must_be_waited_for() -> None:
    class Custom:
        def getRenderingFor(self, p: Properties) -> Any:
            return later(p)

    async def later(p: Properties) -> Any:
        await asyncio.sleep(0)
        return p["a"]

    nested = {"k": (Custom(), renderer(later))}
    assert asyncio.run(render(nested, props())) == {"k": ("A", "A")}
    with pytest.raises(NeedsToWaitError):
        render_now(nested, props())


def test_an_error_of_a_users_renderer_goes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        render_now([renderer(lambda p: 1 / 0)], props())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_plain_values_stay_as_they_are(value: Any) -> None:
    assert render_now(value, Properties()) == value


@given(plain)
def test_a_property_is_found_in_any_container(value: Any) -> None:
    clean = Properties(v=value)["v"]
    nested = {"a": [Property("v", defaultWhenFalse=False), (value, [Transform(lambda x: x, value)])]}
    assert render_now(nested, Properties(v=value)) == {"a": [clean, (value, [value])]}


names = st.text("abcxyz_.-", min_size=1, max_size=4)
texts = st.text("ab |?~+", max_size=4)


@given(st.dictionaries(names, st.sampled_from(["", "v", None, 0, 3]), max_size=3), names, st.sampled_from("-~+"), texts)
def test_replacements_against_an_oracle(known: dict[str, Any], name: str, kind: str, text: str) -> None:
    made = Properties(**known)
    there, value = name in known, known.get(name)
    expected = {"-": value if there else text, "~": value if value else text, "+": text if there else ""}[kind]
    rendered = render_now(Interpolate(f"%(prop:{name}:{kind}{text})s"), made)
    assert rendered == ("" if expected is None else str(expected))
