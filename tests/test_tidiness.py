"""The house rules hold in this tree; and each is seen to fail in a small planted tree that breaks it.

The rules are in `tidiness.py`; that everything is documented is in `test_documented.py`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from . import tidiness

ROOT = Path(__file__).parent.parent
Rule = Callable[[Path], list[str]]
RULES: list[Rule] = [
    tidiness.arrows,
    tidiness.actions,
    tidiness.clocks,
    tidiness.sizes,
    tidiness.openings,
    tidiness.dead,
    tidiness.elsewhere,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    violations = rule(ROOT)
    assert not violations, "\n" + "\n".join(violations)


LONG = "def f():\n" + "    x = 1\n" * 60
HOME = "/".join(["", "home", "somebody", "x"])
REGISTRY = ".".join(["https://files", "pythonhosted", "org"])
PLANTED = [
    (tidiness.arrows, {"core/a.py": "from lockstep.storage.store import Store"}, "core may not import storage"),
    (tidiness.arrows, {"core/a.py": "def f():\n    import asyncio"}, "core/a.py:2: core may not import asyncio"),
    (tidiness.arrows, {"core/a.py": "import random"}, "core may not import random"),
    (tidiness.arrows, {"config/a.py": "from ..master import loop", "master/loop.py": ""}, "config may not import"),
    (
        tidiness.arrows,
        {"web/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lockstep.master import x"},
        "web/a.py:3: web may not import master",
    ),
    (tidiness.arrows, {"worker/a.py": "import httpx"}, "worker may not import httpx"),
    (tidiness.arrows, {"worker/a.py": "from lockstep.core import nouns"}, "worker may not import core"),
    (tidiness.arrows, {"protocol/a.py": "import socket"}, "protocol may not import socket"),
    (tidiness.arrows, {"steps/a.py": "import lockstep.plugins", "plugins.py": ""}, "steps may not import plugins"),
    (tidiness.arrows, {"cellar/a.py": ""}, "there is no room 'cellar'"),
    (tidiness.actions, {"core/a.py": "def f():\n    return open('x')"}, "core may not call open()"),
    (tidiness.clocks, {"master/a.py": "import time\nx = time.time()"}, "master/a.py:2: time.time() reads a clock"),
    (tidiness.clocks, {"web/a.py": "from datetime import datetime\nx = datetime.now()"}, "datetime.now() reads"),
    (tidiness.clocks, {"master/a.py": "import asyncio\nx = asyncio.get_running_loop().time()"}, "reads a clock"),
    (tidiness.sizes, {"core/a.py": LONG}, "f() has 61 lines"),
    (tidiness.sizes, {"web/static/a.css": "x\n" * 501}, "a.css: 501 lines"),
    (tidiness.openings, {"core/a.py": "x = 1"}, "does not open with a sentence"),
    (tidiness.openings, {"web/a.js": "let x = 1"}, "a.js: does not open"),
    (tidiness.dead, {"core/a.py": "", "core/b.py": "from lockstep.core import a"}, "core/b.py: nobody imports it"),
    (tidiness.dead, {"core/a.py": "import lockstep.core.a"}, "core/a.py: nobody imports it"),
    (tidiness.elsewhere, {"core/a.py": f"x = '{HOME}'"}, "core/a.py:1: "),
    (tidiness.elsewhere, {"cli/a.txt": f"see {REGISTRY}/x"}, "cli/a.txt:1: "),
]


def plant(root: Path, files: dict[str, str]) -> None:
    """Make a small tree with rooms."""
    for room in ("core", "storage", "master", "web", "worker", "protocol"):
        (root / "src" / "lockstep" / room).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / "src" / "lockstep" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(("rule", "files", "expected"), PLANTED)
def test_a_tree_that_breaks_a_rule_is_found_out(
    rule: Rule, files: dict[str, str], expected: str, tmp_path: Path
) -> None:
    plant(tmp_path, files)
    assert any(expected in violation for violation in rule(tmp_path)), rule(tmp_path)


def test_a_tidy_tree_has_no_violations(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "core/a.py": '"""Decides."""\n\nimport heapq\n',
            "master/b.py": '"""Does."""\n\nfrom lockstep.core import a\n\nNAME = "lockstep.master.b"\n',
            "cli/run.py": '"""Runs."""\n\nfrom lockstep.master import b\n\n\n@click.command()\ndef command(): ...\n',
            "web/static/vendor/x.js": "x\n" * 1000,
        },
    )
    assert [violation for rule in RULES for violation in rule(tmp_path)] == []
