"""Writes the pages of the manual that are drawn from the code: states, limits, commands, steps, schedulers, names.

`python tools/reference.py` writes them; `tests/test_documented.py` fails while one is not current. What a person must
explain is in the other pages.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from lockstep.cli.main import GROUPS, program
from lockstep.compat import names
from lockstep.config import keys
from lockstep.core.tables import TABLES, Table
from lockstep.steps.base import BuildStep
from lockstep.steps.shell import SHELL_KEYWORDS

ROOT = Path(__file__).parent.parent
NOTE = "<!-- Written by tools/reference.py from the code. Change the code, then run it again. -->\n"


def states() -> str:
    """The state machines of the core."""
    parts = [
        "# State machines",
        "What may happen to each kind of thing, drawn from `core/tables.py`. Whatever is not drawn here is refused by "
        "`core.tables.move`, with the thing, its state and the event in the message: it would be a fault of Lockstep.",
    ]
    for kind, table in TABLES.items():
        parts += [f"## {kind.capitalize()}", "```mermaid\n" + _diagram(kind, table) + "\n```"]
    return "\n\n".join(parts) + "\n"


STARTS: dict[str, tuple[str, ...]] = {
    "build set": ("pending",),
    "request": ("rendering", "waiting"),
    "build": ("starting",),
    "step": ("planned",),
    "call": ("started",),
    "command": ("asked",),
    "worker": ("absent",),
    "booking": ("waiting",),
}
"""Where each kind of thing begins."""


def _diagram(kind: str, table: Table) -> str:
    sources = {state for state, _ in table}
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in STARTS[kind])]
    lines += [f"    {state} --> {target}: {event}" for (state, event), target in table.items()]
    lines += [f"    {target} --> [*]" for target in sorted(set(table.values()) - sources)]
    return "\n".join(lines)


def limits() -> str:
    """Every `limits.py`."""
    parts = [
        "# Limits",
        "Everything has a limit, and each is refused politely when it is reached. They are constants in the file "
        "`limits.py` of each room; none is a setting yet.",
    ]
    for path in sorted((ROOT / "src" / "lockstep").glob("*/limits.py")):
        rows = [f"| `{name}` | `{value}` | {_cell(text)} |" for name, value, text in _constants(path)]
        parts += [f"## {path.parent.name}", "| name | value | what it limits |\n|---|---|---|\n" + "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _constants(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, value and the text below it, of each constant in a file."""
    body = ast.parse(path.read_text()).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = inspect.cleandoc(str(after.value.value)) if said else ""  # type: ignore[union-attr]
            yield node.target.id, ast.unparse(node.value), text


def commands() -> str:
    """The command line."""
    parts = [
        "# Command line",
        "What `lockstep COMMAND --help` says. How a server is found, how builds are named and what exit codes mean is "
        "in [The command line: addresses, names, exit codes](exit-codes.md).",
    ]
    context = click.Context(program, info_name="lockstep")
    for title, group in GROUPS.items():
        parts.append(f"## {title}")
        for name in group:
            command = program.get_command(context, name)
            assert command is not None
            inner = click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
            parts += [f"### `lockstep {name}`", "```text\n" + command.get_help(inner) + "\n```"]
    return "\n\n".join(parts) + "\n"


def steps() -> str:
    """The steps."""
    common = sorted(BuildStep.parms)
    parts = [
        "# Steps",
        "`from lockstep.plugins import steps`, or `from buildbot.plugins import steps`. A keyword that is not listed "
        "is a mistake that `lockstep check` names, with the nearest one that is. What a step of your own may do is in "
        "[Write your own step](../how-to/write-a-step.md).",
        "## Keywords of every step\n\n" + _words(common),
        "## Keywords of every step that runs a program on the worker\n\n" + _words(SHELL_KEYWORDS),
    ]
    for name, thing in sorted(names.there("steps").items()):
        parts.append(_entry(name, thing, set(common), set(SHELL_KEYWORDS)))
    return "\n\n".join(parts) + "\n"


def schedulers() -> str:
    """Schedulers and change sources."""
    parts = [
        "# Schedulers and change sources",
        "Schedulers say when something is built (`c['schedulers']`), change sources notice what is new in a repository "
        "(`c['change_source']`). `lockstep force` needs no scheduler.",
    ]
    for title, space in (("Schedulers", "schedulers"), ("Change sources", "changes")):
        parts.append(f"# {title}")
        parts += [_entry(name, thing, set(), set()) for name, thing in sorted(names.there(space).items())]
    return "\n\n".join(parts) + "\n"


def vocabulary() -> str:
    """The names of `util`, `worker` and `secrets`."""
    parts = [
        "# Names of util, worker and secrets",
        "What `from lockstep.plugins import util, worker, secrets` gives. What Buildbot has there and Lockstep has not "
        "yet is refused by its name.",
    ]
    for space in ("util", "worker", "secrets"):
        rows = []
        for name, thing in sorted(names.there(space).items()):
            rows.append(f"| `{name}` | {_cell(_first(thing))} | {_words(_own_keywords(thing)) or ' '} |")
        parts += [f"## {space}", "| name | what it is | keywords |\n|---|---|---|\n" + "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def idle_keys() -> str:
    """Keys of a configuration that do nothing, or that are refused."""
    refused = [*keys.NOT_YET, *(f"www: {name}" for name in keys._WWW_NOT_YET)]
    rows = [f"| `{name}` | {why} |" for name, why in keys.NO_EFFECT.items()]
    parts = [
        "# Keys that do nothing, and keys that are refused",
        "Keys of `BuildmasterConfig` that Buildbot knows and that are not in [Configuration](configuration.md).",
        "## Accepted, without effect",
        "`lockstep check` notes each of them.",
        "| key | why |\n|---|---|\n" + "\n".join(rows),
        "In `c['www']`: " + _words(keys._WWW_NO_EFFECT),
        "## Refused",
        "They would change what the server does, and are not there yet: " + _words(refused),
    ]
    return "\n\n".join(parts) + "\n"


def _entry(name: str, thing: Any, common: set[str], program_words: set[str]) -> str:
    words = set(_own_keywords(thing))
    of_programs = bool(program_words) and program_words - {"workdir"} <= words
    own = sorted(words - common - (program_words if of_programs else set()))
    told = [f"## `{name}`", inspect.getdoc(thing) or ""]
    if said := [text for text in (_words(own), "those of programs" if of_programs else "") if text]:
        told.append("Keywords: " + ", and ".join(said))
    later = sorted(getattr(thing, "not_yet", ()))
    if later:
        told.append("Not there yet, and refused: " + _words(later))
    return "\n\n".join(told)


def _own_keywords(thing: Any) -> list[str]:
    """The keywords that a class takes, its own and its bases'."""
    if not inspect.isclass(thing):
        return []
    found: dict[str, None] = {}
    for base in thing.__mro__:
        made = vars(base).get("__init__")
        for parameter in inspect.signature(made).parameters.values() if inspect.isfunction(made) else ():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != "self":
                found[parameter.name] = None
        listed = vars(base).get("keywords", vars(base).get("_keywords", ()))
        found |= dict.fromkeys(listed if isinstance(listed, tuple) else ())
    return [name for name in found if not name.startswith("_")]


def _first(thing: Any) -> str:
    if isinstance(thing, int) or not (inspect.isclass(thing) or callable(thing)):
        return f"the result {int(thing)}" if isinstance(thing, int) else ""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _words(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "docs/explanation/state-machines.md": states,
    "docs/reference/limits.md": limits,
    "docs/reference/command-line.md": commands,
    "docs/reference/steps.md": steps,
    "docs/reference/schedulers-and-sources.md": schedulers,
    "docs/reference/names.md": vocabulary,
    "docs/reference/keys-without-effect.md": idle_keys,
}


def page(path: str) -> str:
    """What a page should hold now."""
    return NOTE + "\n" + PAGES[path]()


def main() -> int:
    """Write all pages that are not current."""
    for path in PAGES:
        text, file = page(path), ROOT / path
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
