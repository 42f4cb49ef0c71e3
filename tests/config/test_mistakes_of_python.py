"""Mistakes that Python itself would tell of in its own way, somewhere in our code: they have a line and a sentence."""

import importlib.util
from collections.abc import Callable

import pytest

from lockstep.config.config import Config

Mistakes = Callable[..., list[str]]


def test_what_is_lazy_names_the_users_line_too(mistakes: Mistakes) -> None:
    text = "c['workers'] = (worker.Worker(n, passwords[n]) for n in 'ab')\nc['title'] = 1\nc['builder'] = []\n"
    assert mistakes(text)[0] == "3: NameError: name 'passwords' is not defined"


def test_an_exception_that_cannot_say_what_it_is_has_a_name(mistakes: Mistakes) -> None:
    text = "class Mute(Exception):\n    def __str__(self):\n        return None.words\nraise Mute()\n"
    assert mistakes(text) == ["6: Mute"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("c['logEncoding'] = 'undefined'", "is no encoding that Python knows"),
        ("c['logEncoding'] = 'a\\0b'", "is no encoding that Python knows"),
        ("c['www'] = {'port': '9' * 5000}", "is no port that can be opened"),
    ],
)
def test_values_that_python_refuses_in_ways_of_their_own(mistakes: Mistakes, setting: str, words: str) -> None:
    assert words in mistakes(setting)[0]


def test_a_value_that_has_itself_in_it(mistakes: Mistakes) -> None:
    found = mistakes("x = []; x.append(x)\nc['properties'] = {'a': x}\n")
    words = "has more than 100 lists or dictionaries in each other"
    assert found == [f"4: c['properties']: the value of \"a\" {words}"]


def test_a_name_that_is_too_long(mistakes: Mistakes) -> None:
    words = "the name has 501 characters, and may have 500: 'xxxxxxxxxxxxxxxxxxxx'..."
    assert mistakes("c['workers'] = [worker.Worker('x' * 501, 'pw')]\n") == [f"3: Worker: {words}"]


@pytest.mark.parametrize("builder", ["dict({})", "util.BuilderConfig({})"])
def test_our_own_word_for_where_a_builder_stands_is_no_keyword(mistakes: Mistakes, builder: str) -> None:
    given = builder.format("name='b', workername='w1', factory=f, place=3")
    found = mistakes(
        f"c['workers'] = [worker.Worker('w1', 'pw')]\nf = util.BuildFactory()\nc['builders'] = [{given}]\n"
    )
    assert [one.split(";")[0] for one in found] == ['5: unknown keyword "place" of builder "b"']


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("util.Interpolate('%(prop:x)s')", "must be a text, not Interpolate('%(prop:x)s')"),
        ("'a\\0b'", "must have printable characters only, not 'a\\x00b'"),
    ],
)
@pytest.mark.parametrize("key", ["builddir", "workerbuilddir"])
def test_folders_that_no_worker_can_make(mistakes: Mistakes, key: str, folder: str, words: str) -> None:
    text = "c['workers'] = [worker.Worker('w1', 'pw')]\nc['builders'] = [util.BuilderConfig("
    found = mistakes(f"{text}name='b', workername='w1', factory=util.BuildFactory(), {key}={folder})]\n")
    assert found == [f'4: builder "b": {key} {words}']


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "class W(worker.Worker):\n    def __init__(self):\n        self.name = 'w'\nc['workers'] = [W()]",
            "'W' object",
        ),
        (
            "f.steps.append(3)\nc['builders'] = [util.BuilderConfig(name='b', workername='w', factory=f)]",
            "'int' object",
        ),
    ],
)
def test_what_is_not_what_its_class_promises(mistakes: Mistakes, text: str, words: str) -> None:
    found = mistakes(f"f = util.BuildFactory()\n{text}\n")[-1]
    assert f" cannot be checked: AttributeError: {words} has no attribute 'locks'" in found
    assert "not call super().__init__()" in found


@pytest.mark.skipif(importlib.util.find_spec("twisted") is not None, reason="Twisted is installed here")
def test_what_is_imported_of_twisted_is_noted(load: Callable[..., Config]) -> None:
    text = """\
    from twisted.python import log
    from twisted.internet.defer import succeed
    from twisted.logger import Logger
    """
    told = [
        str(note).partition(" is not supported yet: code that uses it while builds run fails")[0]
        for note in load(text).notes
    ]
    assert [line.rpartition("master.cfg:")[2] for line in told] == [
        "3: twisted.python.log",
        "4: twisted.internet.defer",
        "5: twisted.logger.Logger",
    ]
