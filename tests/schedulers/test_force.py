"""Forms for builds that a person asks for."""

import json
from typing import Any

import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.core.errors import RefusedError
from lockstep.core.values import SourceStamp
from lockstep.schedulers.force import ForceScheduler, plain_submission
from lockstep.schedulers.parameters import (
    AnyPropertyParameter,
    BooleanParameter,
    ChoiceStringParameter,
    CodebaseParameter,
    FixedParameter,
    IntParameter,
    NestedParameter,
    StringParameter,
    TextParameter,
    UserNameParameter,
)


def form() -> ForceScheduler:
    return ForceScheduler(
        name="force",
        builderNames=["b"],
        buttonName="push",
        codebases=[
            CodebaseParameter(
                "",
                label="Main",
                branch=ChoiceStringParameter(name="branch", choices=["main", "dev"], default="main"),
                revision=FixedParameter(name="revision", default=""),
                project=None,
            ),
            "lib",
        ],
        reason=StringParameter(name="why", label="reason:", required=True, size=80),
        properties=[
            NestedParameter(
                name="options",
                fields=[StringParameter(name="url", regex="http"), BooleanParameter(name="clean", default=False)],
            ),
            NestedParameter(name="", fields=[StringParameter(name="flat", maxsize=3)]),
            IntParameter(name="n", default=2),
            TextParameter(name="text"),
            ChoiceStringParameter(name="tests", choices=["a", "b"], multiple=True),
            FixedParameter(name="fixed", default=7),
            AnyPropertyParameter(name="any"),
        ],
    )


def test_what_is_filled_in_becomes_a_submission() -> None:
    values = {
        "reason": "because",
        "branch": "dev",
        "lib_branch": "x",
        "lib_revision": "abc",
        "options_url": "http://x",
        "options_clean": "on",
        "flat": "f",
        "n": "12",
        "tests": ["a"],
        "fixed": "not this",
        "any_name": "extra",
        "any_value": "v",
        "builderid": 3,
        "priority": "4",
    }
    submission = form().submission(values, "b", "joe")
    assert submission.sourcestamps == (
        SourceStamp(branch="dev"),
        SourceStamp(codebase="lib", branch="x", revision="abc"),
    )
    assert {name: value for name, (value, _) in submission.properties.items()} == {
        "options": {"url": "http://x", "clean": True},
        "flat": "f",
        "n": 12,
        "text": "",
        "tests": ["a"],
        "fixed": 7,
        "extra": "v",
        "owner": "joe",
        "reason": "because",
    }
    assert submission.reason == "A build was forced by 'joe': because"
    assert [(wish.builder, wish.priority) for wish in submission.requests] == [("b", 4)]
    assert submission.scheduler == "force"


def test_defaults_fill_what_is_not_given() -> None:
    submission = ForceScheduler(name="f", builderNames=["b"]).submission({}, "b", "")
    assert submission.sourcestamps == (SourceStamp(),)
    assert submission.properties["owner"][0] == "nobody"
    assert submission.reason == "A build was forced by 'nobody': force build"


def test_every_wrong_field_is_named() -> None:
    values = {
        "branch": "nope",
        "options_url": "ftp://x",
        "options_clean": "perhaps",
        "flat": "too long",
        "n": "many",
        "tests": ["c"],
        "any_name": "a b",
        "mystery": "x",
        "username": "joe",
    }
    with pytest.raises(RefusedError) as caught:
        form().submission(values, "b", "")
    for field in ("branch", "options_url", "options_clean", "flat", "n", "tests", "any_name", "mystery", "reason"):
        assert f"Field '{field}'" in str(caught.value)
    assert "must be filled in" in str(caught.value)
    assert "address" in str(caught.value)
    with pytest.raises(RefusedError, match="does not build on"):
        form().submission({}, "other", "joe")


def test_the_description_has_buildbots_shape() -> None:
    spec: dict[str, Any] = json.loads(json.dumps(form().spec()))
    assert {"name", "label", "button_name", "builder_names", "all_fields"} <= set(spec)
    assert (spec["button_name"], spec["builder_names"]) == ("push", ["b"])
    own, main, lib, options, *_ = spec["all_fields"]
    assert [field["fullName"] for field in own["fields"]] == ["username", "reason", "priority"]
    assert [field["type"] for field in own["fields"]] == ["username", "text", "int"]
    assert [field["fullName"] for field in main["fields"]] == ["branch", "repository", "revision"]
    assert main["fields"][0]["choices"] == ["main", "dev"]
    assert main["fields"][2]["hide"] is True
    assert [field["fullName"] for field in lib["fields"]] == [
        "lib_branch",
        "lib_project",
        "lib_repository",
        "lib_revision",
    ]
    assert (lib["columns"], options["columns"], options["layout"]) == (2, 1, "vertical")
    assert options["fields"][0]["fullName"] == "options_url"
    assert options["fields"][0]["regex"] == "http"


def test_plain_submissions() -> None:
    one = plain_submission("b", branch="main", revision="r", properties={"a": 1}, reason="", who="joe", count=1)
    assert one.sourcestamps == (SourceStamp(branch="main", revision="r"),)
    assert one.collapse
    many = plain_submission("b", count=3)
    assert [wish.builder for wish in many.requests] == ["b", "b", "b"]
    assert not many.collapse
    with pytest.raises(RefusedError):
        plain_submission("b", count=0)


def test_mistakes_are_named() -> None:
    with collecting(Collector()) as found:
        ForceScheduler(name="f", builderNames=["b"], codebases=[])
        ForceScheduler(name="f", builderNames=["b"], properties=["x"])
        ForceScheduler(name="f", builderNames=["b"], button="x")
        StringParameter(name="x", defualt="y")
        StringParameter(name="")
        StringParameter(name="x", regex="(")
        ChoiceStringParameter(name="x", choices="abc")
        UserNameParameter(size=3, need_mail=True)
    texts = [str(one) for one in found.mistakes]
    assert len(texts) == 8
    assert '"buttonName"' in texts[2]
    assert '"default"' in texts[3]
    assert '"need_email"' in texts[7]


def test_whatever_a_form_asks_with_becomes_what_the_server_keeps() -> None:
    choice = ChoiceStringParameter(name="branch", choices=[], strict=False)
    odd = ForceScheduler(
        name="f",
        builderNames=["b"],
        priority=StringParameter(name="priority"),
        codebases=[CodebaseParameter("", branch=choice, revision=IntParameter(name="revision"))],
    )
    made = odd.submission({"priority": "7", "branch": {"a": 1}, "revision": "12"}, "b", "")
    assert [wish.priority for wish in made.requests] == [7]
    assert made.sourcestamps == (SourceStamp(branch="{'a': 1}", revision="12"),)
    assert [wish.priority for wish in odd.submission({}, "b", "").requests] == [0]
    with pytest.raises(RefusedError, match="'much' is no whole number"):
        odd.submission({"priority": "much"}, "b", "")
    unkept = ForceScheduler(name="f", builderNames=["b"], properties=[FixedParameter(name="p", default=object())])
    with pytest.raises(RefusedError, match="'f' cannot be used: the property 'p' cannot have a value of object"):
        unkept.submission({}, "b", "")


def test_a_reasonString_that_cannot_be_filled_in_is_a_mistake() -> None:
    with collecting(Collector()) as found:
        for text in ("%(foo)s", "100%", 5):
            ForceScheduler(name="f", builderNames=["b"], reasonString=text)  # type: ignore[arg-type]
        ForceScheduler(name="f", builderNames=["b"], reasonString="100%% by %(owner)s")
    assert ["reasonString" in str(one) for one in found.mistakes] == [True] * 3
