"""What a configuration that raised had still before it: which of its lists might yet have grown.

What stands in such a list can be checked; what is not there may stand in the part that was never executed.
"""

import ast
from collections.abc import Iterable, Mapping
from typing import Any

_ANYTHING = frozenset({"exec", "eval", "globals", "locals", "vars"})
"""Functions through which a file can reach everything that it has."""


def growing(source: str, line: int, names: Mapping[str, Any], config: Mapping[str, Any]) -> frozenset[str]:
    """The keys of `config` that the statement at `line` and those after it may change.

    `names` are the module's. A key counts if it is spoken of there, or a name of its value is, also in functions of the
    file that are used there; all keys do if the dictionary itself is handed to somebody.
    """
    ours = {name for name, value in names.items() if value is config}
    words: set[str] = set()
    handed = False
    for node in _ahead(ast.parse(source), line):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
        handed = handed or any(isinstance(child, ast.Name) and child.id in ours for child in _bare(node))
    if handed or words & _ANYTHING:
        return frozenset(config)
    grown = {key for key, value in config.items() if any(names.get(word) is value for word in words)}
    return frozenset(grown | {key for key in config if key in words})


def _ahead(tree: ast.Module, line: int) -> Iterable[ast.AST]:
    """Every node of the statements from `line` on, and of the file's functions and classes that they use."""
    defined = {
        one.name: one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    waiting: list[ast.AST] = [statement for statement in tree.body if (statement.end_lineno or 0) >= line]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Name) and node.id in defined:
            waiting.append(defined.pop(node.id))


def _bare(node: ast.AST) -> Iterable[ast.AST]:
    """The children of a node, but for what a constant key is looked up in (`c` of `c['workers']`)."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return ()
    return ast.iter_child_nodes(node)
