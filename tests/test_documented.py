"""Undocumented is unfinished (law 9): every command, option, key, step, scheduler, name and endpoint has a page.

The pages that are drawn from the code (`tools/reference.py`) are current.
"""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from lockstep.cli.main import GROUPS, program
from lockstep.compat import names
from lockstep.compat.loading import load_config
from lockstep.config import keys

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"


@cache
def drawing() -> ModuleType:
    """`tools/reference.py`."""
    spec = importlib.util.spec_from_file_location("lockstep_reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def reference(name: str = "") -> str:
    """The text of one page of the reference, or of all of them."""
    if name:
        return (REFERENCE / name).read_text()
    return "\n".join(path.read_text() for path in sorted(REFERENCE.glob("*.md")))


def missing(wanted: list[str], text: str) -> list[str]:
    """What is named nowhere as code."""
    return [name for name in wanted if not re.search(rf"`[^`\n]*(?<![\w.]){re.escape(name)}(?!\w)[^`\n]*`", text)]


@pytest.mark.parametrize("path", drawing().PAGES)
def test_a_page_that_is_drawn_from_the_code_is_current(path: str) -> None:
    assert (ROOT / path).read_text() == drawing().page(path), "run: python tools/reference.py"


def test_a_page_that_is_not_current_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from lockstep.core import tables

    monkeypatch.setitem(tables.CALL, ("ended", "again"), "started")
    path = "docs/explanation/state-machines.md"
    assert (ROOT / path).read_text() != drawing().page(path)


def test_every_command_and_option_has_its_page() -> None:
    text = reference("command-line.md")
    context = click.Context(program)
    for group in GROUPS.values():
        for name in group:
            assert f"### `lockstep {name}`" in text
            command = program.get_command(context, name)
            assert command is not None
            for parameter in command.params:
                assert not isinstance(parameter, click.Option) or parameter.opts[0] in text


def test_every_exit_code_is_explained() -> None:
    from lockstep.cli import codes

    text = reference("exit-codes.md")
    values = [value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)]
    assert len(values) >= 7
    assert [value for value in values if f"\n| {value} | " not in text] == []


def test_every_key_of_the_configuration_has_a_line() -> None:
    text = reference("configuration.md") + reference("keys-without-effect.md")
    assert missing([*keys.READERS, *keys.NO_EFFECT, *keys.NOT_YET], text) == []


@pytest.mark.parametrize("space", ["steps", "schedulers", "changes", "util", "worker", "secrets"])
def test_every_name_of_the_vocabulary_has_a_line(space: str) -> None:
    assert missing(sorted(names.there(space)), reference()) == []


def test_every_endpoint_has_a_line() -> None:
    from lockstep.web import api, rpc

    nothing: Any = None  # routes are only made, not asked
    paths = {path for route in api.routes(nothing, nothing) for path in route.paths}
    assert len(paths) > 60
    words = {word for path in paths for word in path.split("/") if word and not word.startswith("{")}
    methods = {method for methods in rpc.METHODS.values() for method in methods}
    assert missing(sorted(words | methods), reference("api.md")) == []


def test_what_is_not_mentioned_is_found() -> None:
    assert missing(["buildrs", "force"], "Use `force`, and builders.") == ["buildrs"]


def test_the_example_on_the_first_screen_is_right(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "master.cfg").write_text(example)
    config = load_config(str(tmp_path / "master.cfg"))
    assert (config.warnings, config.notes) == ((), ())
    assert list(config.builders) == ["full-fast", "full-old"]
    assert len([line for line in example.splitlines() if line]) <= 16


def test_the_step_of_the_how_to_is_accepted(tmp_path: Path) -> None:
    [step] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/write-a-step.md").read_text(), re.DOTALL)
    (tmp_path / "master.cfg").write_text(
        "from lockstep.plugins import util, worker\n"
        + step
        + "board = util.MasterLock('board')\n"
        + "c = BuildmasterConfig = {'workers': [worker.LocalWorker('w')]}\n"
        + "step = Flash(util.Interpolate('%(prop:image)s'), name='flash', locks=[board.access('exclusive')])\n"
        + "factory = util.BuildFactory([step])\n"
        + "c['builders'] = [util.BuilderConfig(name='b', workernames=['w'], factory=factory)]\n"
    )
    assert load_config(str(tmp_path / "master.cfg")).builders["b"].factory.newSteps()[0].name == "flash"


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []
