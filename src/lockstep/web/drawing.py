"""Drawing: templates, filters for people, and the files that pages need. What is shown comes from the views."""

import hashlib
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from msgspec import Struct

from lockstep.core.answers import span
from lockstep.core.nouns import Result
from lockstep.web.door import Door

HERE: Final = Path(__file__).parent
VENDOR: Final = ("vendor/htmx.min.js",)
"""What the build hook brings; without them pages are not live."""


class Asset(Struct, frozen=True):
    """A file that pages need. `version` changes with its content."""

    content: bytes
    type: str
    version: str


def load_assets(folder: Path = HERE / "static") -> dict[str, Asset]:
    """All files below a folder by their relative name."""
    assets = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            version = hashlib.sha256(content).hexdigest()[:12]
            assets[path.relative_to(folder).as_posix()] = Asset(content, kind, version)
    return assets


class Painter:
    """Draws pages with one server's assets."""

    def __init__(self, door: Door, assets: Mapping[str, Asset]) -> None:
        self._door = door
        self.assets = assets
        self.alive = all(name in assets for name in VENDOR)
        self._jinja = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self._jinja.filters.update(
            when=_when,
            result=_result,
            dur=_dur,
            span=span,
            plural=_plural,
            quoted=lambda text: quote(str(text), safe=""),
        )
        self._jinja.globals.update(asset=self._asset, ago=self._ago)

    def page(self, template: str, shown: Mapping[str, Any]) -> str:
        """A whole page."""
        return self._jinja.get_template(template).render(self._context(shown))

    def main(self, template: str, shown: Mapping[str, Any]) -> str:
        """Only what changes of a page: its block `main`."""
        found = self._jinja.get_template(template)
        context = found.new_context(self._context(shown))
        return "".join(found.blocks["main"](context))

    def _context(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        return {"site": self._door.site, "alive": self.alive, "now": self._door.now(), **shown}

    def _asset(self, name: str) -> str:
        asset = self.assets.get(name)
        return f"/static/{name}?v={asset.version}" if asset is not None else ""

    def _ago(self, at: float) -> Markup:
        """How long something has lasted; the page counts on."""
        text = span(self._door.now() - at)
        return Markup('<time data-since="{}" datetime="{}">{}</time>').format(round(at, 1), _iso(at), text)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _when(at: float | None) -> Markup:
    """A moment: with scripts in the reader's own time."""
    if not at:
        return Markup("")
    text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time data-at="{}" datetime="{}">{}</time>').format(int(at), _iso(at), text)


def _dur(start: float | None, end: float | None) -> str:
    """How long something took."""
    return span(end - start) if start and end else ""


def _result(number: int | None) -> str:
    """A result's name, as a class too."""
    if number is None:
        return "running"
    try:
        return Result(number).name.lower()
    except ValueError:
        return "unknown"


def _plural(count: int, one: str, many: str = "") -> str:
    """`1 build`, `2 builds`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
