"""The house rules as functions: each takes the root of a tree and returns its violations, one sentence each.

`test_tidiness.py` applies them to this tree, and to small planted trees that break them. Nothing else lives here.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ACTING = {"config", "core"}
_VOCABULARY = {"steps", "schedulers", "sources", "reporters"}
_BELOW_DOOR = {"config", "core", *_VOCABULARY}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "protocol": set(),
    "worker": {"protocol"},
    "config": {"core"},
    "steps": _ACTING,
    "schedulers": _ACTING,
    "sources": _ACTING,
    "reporters": _ACTING | {"storage"},
    "plugins": _BELOW_DOOR | {"compat"},
    "compat": _BELOW_DOOR | {"plugins"},
    "storage": {"core"},
    "web": {"core", "storage"},
    "master": _BELOW_DOOR | {"plugins", "compat", "protocol", "storage", "web"},
    "sim": {"core", "protocol", "storage", "config"},
    "cli": _BELOW_DOOR | {"plugins", "compat", "protocol", "storage", "web", "master", "worker", "sim"},
    "__main__": {"cli"},
}
"""HOUSE section 4: which room may import which others. `master` fulfils `web.door` (docs/decisions/0003)."""

_PURE = {
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "enum", "fnmatch"),
    *("fractions", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "keyword", "math", "ntpath"),
    *("operator", "posixpath", "re", "string", "textwrap", "types", "typing"),
}
"""Of the standard library, what neither waits nor surprises."""
THIRD_PARTY: dict[str, set[str]] = {
    "core": {"msgspec", *_PURE},
    "protocol": {"msgspec", "signal", *_PURE},
    "worker": {"msgspec", "websockets", *sys.stdlib_module_names},
}
"""Rooms that may use only these modules from elsewhere."""
_ACTIONS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
_CLOCK_CALLS = re.compile(
    r"(?:time\.(?:time|monotonic|perf_counter|process_time|clock_gettime)(?:_ns)?"
    r"|(?:datetime\.)?(?:datetime|date)\.(?:now|utcnow|today)|(?:\w+\.)*(?:loop|get_running_loop\(\))\.time)"
)
CLOCKS = {"master/clock.py", "worker/clock.py"}
MAX_FILE = 500
MAX_FUNCTION = 60
_OPENINGS = {".html": ("{#", "<!--"), ".css": ("/*",), ".js": ("/*", "//"), ".sh": ("#",)}
_ELSEWHERE = re.compile(
    r"""(?<![\w.])/(?:root|work|Users/\w+|home/\w+)/|pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|artifactor[y]
    |proxy\.golang\.org|(?:extra-)?index[-]url""",
    re.VERBOSE,
)
_TEXT = {
    ".py",
    ".md",
    ".toml",
    ".cfg",
    ".txt",
    ".sh",
    ".json",
    ".html",
    ".css",
    ".js",
    ".yml",
    ".yaml",
    ".ini",
    ".mako",
    "",
}


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return _parsed(path.read_text())


def sources(root: Path) -> list[Path]:
    """The package's Python files."""
    return sorted((root / "src" / "lockstep").rglob("*.py"))


def written(root: Path, *suffixes: str) -> Iterator[Path]:
    """Every file of the tree that somebody wrote, of these kinds; with git's help, what it ignores is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and (root / ".git").exists():
        paths = [root / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for path in root.rglob("*") if path.is_file()]
    for path in sorted(paths):
        if path.suffix in suffixes and path.is_file() and "vendor" not in path.parts:
            yield path


def room_of(root: Path, path: Path) -> str:
    """The room that a file is in; the empty one for `lockstep/__init__.py`."""
    first = path.relative_to(root / "src" / "lockstep").parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file with its line, also a late one or one for types; relative ones made absolute."""
    package = ["lockstep", *path.relative_to(root / "src" / "lockstep").parts[:-1]]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def arrows(root: Path) -> list[str]:
    """Imports that go against the arrows between the rooms, and foreign modules where only few are allowed."""
    found = []
    for path in sources(root):
        room, name = room_of(root, path), path.relative_to(root)
        if room and room not in MAY_IMPORT:
            found.append(f"{name}: there is no room '{room}'")
            continue
        for line, module in imports(root, path):
            parts = module.split(".")
            if parts[0] == "lockstep":
                target = parts[1] if len(parts) > 1 else ""
                inside = not (root / "src" / "lockstep" / target).is_dir() and target != "plugins"
                if not inside and target != room and target not in MAY_IMPORT.get(room, set()):
                    found.append(f"{name}:{line}: {room or 'lockstep'} may not import {target} ({module})")
            elif room in THIRD_PARTY and parts[0] not in THIRD_PARTY[room]:
                found.append(f"{name}:{line}: {room} may not import {parts[0]}")
    return found


def actions(root: Path) -> list[str]:
    """Calls in the core of what does something in the world."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: core may not call {node.func.id}()"
        for path in sources(root)
        if room_of(root, path) == "core"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ACTIONS
    ]


def clocks(root: Path) -> list[str]:
    """Clocks that are read elsewhere than in the one place."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {text}() reads a clock; use clock.py"
        for path in sources(root)
        if path.relative_to(root / "src" / "lockstep").as_posix() not in CLOCKS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and _CLOCK_CALLS.fullmatch(text := ast.unparse(node.func))
    ]


def sizes(root: Path) -> list[str]:
    """Files and functions that are too long."""
    found = []
    for path in written(root, ".py", ".html", ".css", ".js"):
        text, name = path.read_text(), path.relative_to(root)
        if (lines := len(text.splitlines())) > MAX_FILE:
            found.append(f"{name}: {lines} lines, more than {MAX_FILE}")
        for node in ast.walk(_parsed(text)) if path.suffix == ".py" else ():
            frozen = "migrations" in path.parts  # a list of statements that nobody may touch any more
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not frozen:
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    found.append(f"{name}:{node.lineno}: {node.name}() has {length} lines, more than {MAX_FUNCTION}")
    return found


def openings(root: Path) -> list[str]:
    """Files that do not open with what lives in them."""
    found = []
    for path in written(root, ".py", *_OPENINGS):
        text = path.read_text()
        if path.suffix == ".py":
            good = bool((ast.get_docstring(_parsed(text)) or "").strip())
        else:
            good = text.lstrip().startswith(_OPENINGS[path.suffix])
        if not good:
            found.append(f"{path.relative_to(root)}: does not open with a sentence that says what lives there")
    return found


def dead(root: Path) -> list[str]:
    """Modules that nobody imports or names, and that are no entry point."""
    package = root / "src" / "lockstep"
    used: set[str] = set()
    for path in [*sources(root), *(root / "tests").rglob("*.py"), *(root / "bench").rglob("*.py")]:
        inside = package in path.parents
        mine = _module(package, path) if inside else ""
        base = root if inside else None
        tree = parsed(path)
        named = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        named |= {module for _, module in imports(base, path)} if base else _plain_imports(tree)
        for name in named:
            if name.startswith("lockstep") and (inside or name.startswith("lockstep.sim")):
                used |= {name, name.rpartition(".")[0]} - {mine}
    found = []
    for path in sources(root):
        name = _module(package, path)
        if name not in used and not _is_entry(root, path, name):
            found.append(f"{path.relative_to(root)}: nobody imports it")
    return found


def _module(package: Path, path: Path) -> str:
    parts = ["lockstep", *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _plain_imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _is_entry(root: Path, path: Path, name: str) -> bool:
    """Packages, programs, what pyproject.toml names, the vocabulary, migrations, and the files of commands."""
    if path.name in ("__init__.py", "__main__.py") or "migrations" in path.parts:
        return True
    project = root / "pyproject.toml"
    if project.exists() and f"{name}:" in project.read_text():
        return True
    room = room_of(root, path)
    return room in (*_VOCABULARY, "plugins") or (room == "cli" and "@click.command" in path.read_text())


def elsewhere(root: Path) -> list[str]:
    """Paths of somebody's machine, and hosts of package registries."""
    found = []
    for path in written(root, *_TEXT):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := _ELSEWHERE.search(line):
                found.append(f"{path.relative_to(root)}:{number}: '{match[0]}' belongs to one machine")
    return found
