"""Finds the line where a configuration speaks of something that has no place of its own: a key, a name in a dictionary.

It reads the syntax tree of the configuration file; where that says nothing, the place is the file as a whole.
"""

import ast

from lockstep.config.errors import Place


class Locator:
    """Places in one configuration file."""

    def __init__(self, file: str, source: str) -> None:
        """Parse the file once; a file that cannot be parsed has no places."""
        self.file = file
        self._keys: dict[str, int] = {}
        self._names: dict[str, list[int]] = {}
        try:
            tree = ast.parse(source, file)
        except (SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            self._note_keys(node)
            self._note_names(node)

    def _note_keys(self, node: ast.AST) -> None:
        """`c['key'] = ...`, `c['key'] += ...`, `c['key'].append(...)` and `{'key': ...}`."""
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            self._note_key(node.slice.value, node.lineno)
        elif isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant):
                    self._note_key(key.value, key.lineno)

    def _note_key(self, key: object, line: int) -> None:
        """The first line where a key stands is its place."""
        if isinstance(key, str) and line < self._keys.get(key, line + 1):
            self._keys[key] = line

    def _note_names(self, node: ast.AST) -> None:
        """`{'name': 'x', ...}` and `dict(name='x', ...)`."""
        pairs: list[tuple[object, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = [(k.value, v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        for key, value in pairs:
            if key == "name" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                self._names.setdefault(value.value, []).append(node.lineno)  # type: ignore[attr-defined]

    def key(self, key: str) -> Place:
        """Where a key of the configuration's dictionary is set."""
        return Place(self.file, self._keys.get(key, 0))

    def name(self, name: object, occurrence: int = 0, otherwise: str = "") -> Place:
        """Where a dictionary of that name is written (the so-and-so-many-th); else where the key `otherwise` is."""
        lines = sorted(self._names.get(name, [])) if isinstance(name, str) else []
        if not lines:
            return self.key(otherwise) if otherwise else Place(self.file)
        return Place(self.file, lines[min(occurrence, len(lines) - 1)])
