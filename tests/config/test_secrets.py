"""Secrets stand as markers until they are sent; nobody outside can write a marker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lockstep.config.properties import Interpolate, Properties, Property, render_now
from lockstep.config.renderables import Secret
from lockstep.config.secrets import SecretInAFile, disarm, marker, mask, names_in, shown, substitute

TREE: Any = {
    "env": {"T": marker("token")},
    "command": ["curl", f"-H {marker('token')}:{marker('user')}", 5, None, ("x",)],
}


def test_substitute_in_a_tree() -> None:
    sent = substitute(TREE, {"token": "s3cret", "user": "me"}.__getitem__)
    assert sent == {"env": {"T": "s3cret"}, "command": ["curl", "-H s3cret:me", 5, None, ("x",)]}
    assert names_in(TREE) == {"token", "user"}
    assert shown(TREE)["command"][1] == "-H <token>:<user>"


def test_mask_hides_the_longest_first() -> None:
    assert mask("a=abc b=ab", {"short": "ab", "long": "abc", "none": ""}) == "a=<long> b=<short>"


PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


@given(st.text(), st.text(PRINTABLE, min_size=1, max_size=8))
def test_what_comes_from_outside_is_no_marker(text: str, name: str) -> None:
    evil = text + marker(name)
    props = Properties(evil=evil, nested=[{evil: [evil]}])
    props.worker_info = {"os": evil}
    wanted = [Property("evil"), Property("nested"), Interpolate("%(prop:evil)s %(worker:os)s"), disarm(evil)]
    assert names_in(render_now(wanted, props)) == set()
    assert names_in(render_now([Interpolate("%(prop:evil)s %(secret:mine)s"), Secret("own")], props)) == {"mine", "own"}


def test_a_secret_that_nobody_can_have_is_a_mistake(
    mistakes: Callable[..., list[str]], load: Callable[..., Any]
) -> None:
    uses = """\
c['workers'] = [worker.Worker('w', util.Secret('pw'))]
token = util.Interpolate('%(kw:a)s %(secret:token)s', a='x')
"""
    told = "the configuration has no provider of secrets; add one, such as c['secretsProviders'] = [secrets."
    found = mistakes(uses)
    assert [one.partition("configuration has")[0] for one in found] == [
        '3: there is no secret "pw": the ',
        '4: there is no secret "token": the ',
    ]
    assert all(told in one for one in found)
    load(uses + "c['secretsProviders'] = [secrets.SecretInAFile(basedir)]\n")


def test_secret_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(" x \n")
    assert SecretInAFile(str(tmp_path), suffixes=[".txt"]).get("key") == "x"
    assert SecretInAFile(str(tmp_path), False, [".txt"]).get("key") == " x \n"
    assert SecretInAFile(str(tmp_path)).get("../key.txt") is None
