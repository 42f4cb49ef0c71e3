"""The Python modules that stand beside a configuration: importable, and seen anew at each load (all of them, or none).

What is executed of the configuration itself is in `load.py`.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


class Beside:
    """Knows which modules came from beside a configuration since the process first loaded one."""

    def __init__(self) -> None:
        """Nothing was loaded yet."""
        self._before: frozenset[str] | None = None

    def _found(self, folder: str) -> dict[str, ModuleType]:
        """The modules from below `folder`, but for those that were there before the first load."""
        before = self._before or frozenset()
        modules = [(name, module) for name, module in list(sys.modules.items()) if name not in before]
        return {name: module for name, module in modules if _is_below(module, folder)}

    @contextmanager
    def loading(self, folder: str) -> Iterator[None]:
        """Have the folder importable and its modules loaded anew; if this ends with an exception, all is as before."""
        if self._before is None:
            self._before = frozenset(sys.modules)
        old_path, old_modules = list(sys.path), self._found(folder)
        old_flag, old_folder = sys.dont_write_bytecode, folder
        with contextlib.suppress(FileNotFoundError):  # another may have taken the place of the folder that this was
            old_folder = os.getcwd()
        for name in old_modules:
            del sys.modules[name]
        sys.path[:] = [folder, *(entry for entry in old_path if entry != folder)]
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        with contextlib.suppress(OSError):  # who reads the file says what is wrong
            os.chdir(folder)
        try:
            yield
        except BaseException:
            for name in self._found(folder):
                del sys.modules[name]
            sys.modules.update(old_modules)
            sys.path[:] = old_path
            raise
        finally:
            sys.dont_write_bytecode = old_flag
            with contextlib.suppress(OSError):
                os.chdir(old_folder)


def _is_below(module: ModuleType, folder: str) -> bool:
    """Whether a module's file is below the folder, and is neither ours nor installed."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        paths = list(getattr(module, "__path__", None) or ())
        file = os.path.join(paths[0], "") if paths and isinstance(paths[0], str) else None
    if file is None or file.startswith(_PACKAGE) or any(part in file for part in _INSTALLED):
        return False
    return os.path.abspath(file).startswith(os.path.join(folder, ""))


BESIDE = Beside()
"""The process's one."""
