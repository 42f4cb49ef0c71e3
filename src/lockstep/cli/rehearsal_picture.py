"""A rehearsal as an SVG picture: how many waited, how long, and what was in use, today beside the change.

What is said in words is in `rehearsal_told.py`.
"""

from lockstep.cli import rehearsal_told as told
from lockstep.cli import show
from lockstep.cli.configs import counted
from lockstep.cli.picture import xml_text
from lockstep.sim.figures import PARTS, Used, Waits

_WIDTH, _MARGIN, _NAMES, _BARS = 1040, 24, 190, 420
_COLOURS = ("#8b949e", "#0969da")
_MOST_ROWS = 60
"""Rows of one table that are drawn; the rest is in the text."""
_STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328} .small{font-size:11px;fill:#59636e} .title{font-size:17px}
.head{font-size:14px;font-weight:600} .end{text-anchor:end} .warn{fill:#9a6700} .grid{stroke:#d1d9e0;stroke-width:1}
.back{fill:#eff2f5}"""


class _Sheet:
    """What is drawn, from the top to the bottom."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = float(_MARGIN)

    def text(self, x: float, text: str, style: str = "", longest: int = 150) -> None:
        self.parts.append(f'<text class="{style}" x="{x:.0f}" y="{self.y:.0f}">{xml_text(text, longest)}</text>')

    def line(self, text: str, style: str = "", height: float = 18) -> None:
        """A line of text, broken where it would be too long."""
        left = ""
        for word in text.split(" "):
            if len(left) + len(word) > 140 and left:
                self.y += height
                self.text(_MARGIN, left, style)
                left = "   "
            left += f"{word} "
        self.y += height
        self.text(_MARGIN, left, style)

    def head(self, text: str) -> None:
        """The title of a part."""
        self.y += 36
        self.text(_MARGIN, text, "head")
        self.y += 10

    def bar(self, x: float, width: float, height: float, y: float, colour: str) -> None:
        """A bar at a distance from the present line."""
        at = self.y + y
        self.parts.append(
            f'<rect x="{x:.1f}" y="{at:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" fill="{colour}"/>'
        )


def draw(story: told.Told) -> str:
    """The picture."""
    sheet = _Sheet()
    sheet.y += 10
    sheet.text(_MARGIN, "A rehearsal", "title")
    sheet.line(f"Load: {told.load(story)}.", height=24)
    for change in story.changes:
        sheet.line(f"Change: {change}.")
    if len(story.sides) > 1:
        _legend(sheet, story)
    _queue(sheet, story)
    _waits(sheet, story)
    _use(sheet, story)
    for side in story.sides:
        if side.figures.worst:
            sheet.head("Worst cases" + (f", {side.name}" if len(story.sides) > 1 else ""))
        for number, one in enumerate(side.figures.worst, 1):
            sheet.line(f"{number}. {told.worst(one)}")
    found = told.warnings(story)
    if found:
        sheet.head("Warnings")
    for text in found:
        sheet.line(text, "warn")
    return _document(sheet)


def _legend(sheet: _Sheet, story: told.Told) -> None:
    sheet.y += 24
    x = float(_MARGIN)
    for side, colour in zip(story.sides, _COLOURS, strict=False):
        sheet.bar(x, 12, 12, -10, colour)
        sheet.text(x + 18, side.name)
        x += 110


def _queue(sheet: _Sheet, story: told.Told) -> None:
    """How many requests waited, over the time."""
    sheet.head("Requests that waited, over the time in which they came")
    left, width, height = _MARGIN + 40, _WIDTH - 2 * _MARGIN - 40, 120
    most = max(1, *(max(side.figures.queue) for side in story.sides))
    top = sheet.y
    for share in (0.0, 0.5, 1.0):
        y = top + height * (1 - share)
        sheet.parts.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f'<text class="small end" x="{left - 6}" y="{y + 4:.1f}">{most * share:.0f}</text>'
        sheet.parts.append(label)
    for side, colour in zip(story.sides, _COLOURS, strict=False):
        step = width / PARTS
        d = f"M{left} {top + height:.1f}"
        for place, count in enumerate(side.figures.queue):
            y = top + height * (1 - count / most)
            d += f" L{left + place * step:.1f} {y:.1f} H{left + (place + 1) * step:.1f}"
        d += f" V{top + height:.1f} Z"
        sheet.parts.append(f'<path d="{d}" fill="{colour}" fill-opacity="0.35" stroke="{colour}"/>')
    sheet.y = top + height + 16
    sheet.text(left, "begin", "small")
    end = f'<text class="small end" x="{left + width}" y="{sheet.y:.0f}">'
    sheet.parts.append(f"{end}{xml_text(told.days(story.made.span))}</text>")


def _waits(sheet: _Sheet, story: told.Told) -> None:
    """Bars to the mean, ticks where 95 of 100 had begun, lines to the worst."""
    sheet.head("Waits until builds begin: bar to the mean, tick at 95 of 100, line to the worst")
    figures = [side.figures for side in story.sides]
    names = sorted({name for one in figures for name in one.builders})
    rows: list[tuple[str, list[Waits | None]]] = [("all", [one.total for one in figures])]
    rows += [(name, [one.builders.get(name) for one in figures]) for name in names]
    longest = max([1.0, *(one.worst for _, row in rows for one in row if one is not None)])
    for name, waits in rows[:_MOST_ROWS]:
        sheet.y += 8 + 16 * len(waits)
        sheet.parts.append(_name(name, sheet.y - 8 * len(waits) + 2))
        for place, one in enumerate(waits):
            if one is not None:
                _wait(sheet, one, longest, 16 * (place - len(waits)), _COLOURS[place])
    _left_out(sheet, len(rows))


def _wait(sheet: _Sheet, waits: Waits, longest: float, y: float, colour: str) -> None:
    left, scale = _MARGIN + _NAMES, _BARS / longest
    sheet.bar(left, waits.worst * scale, 1.5, y + 5.5, colour)
    sheet.bar(left, waits.mean * scale, 11, y + 1, colour)
    sheet.bar(left + waits.most * scale - 1, 2, 11, y + 1, colour)
    texts = (show.duration(one) for one in (waits.mean, waits.most, waits.worst))
    x = left + _BARS + 12
    told_of = f"{' / '.join(texts)} of {counted(waits.count, 'build')}"
    sheet.parts.append(f'<text class="small" x="{x}" y="{sheet.y + y + 10:.1f}">{xml_text(told_of, 80)}</text>')


def _use(sheet: _Sheet, story: told.Told) -> None:
    """The share of each lock and worker that was in use; a light bar for what was the most at once."""
    sheet.head("In use while requests came (light: the most at once)")
    sides = [{used.key: used for used in side.figures.uses} for side in story.sides]
    keys = sorted({key for side in sides for key in side}, key=lambda key: (key.kind == "slot", key))
    for key in keys[:_MOST_ROWS]:
        used = [side.get(key) for side in sides]
        sheet.y += 8 + 16 * len(used)
        sheet.parts.append(_name(str(key), sheet.y - 8 * len(used) + 2))
        for place, one in enumerate(used):
            if one is not None:
                _used(sheet, one, 16 * (place - len(used)), _COLOURS[place])
    _left_out(sheet, len(keys))


def _used(sheet: _Sheet, used: Used, y: float, colour: str) -> None:
    left = _MARGIN + _NAMES
    if used.limit:
        sheet.parts.append(
            f'<rect class="back" x="{left}" y="{sheet.y + y + 1:.1f}" width="{_BARS}" height="11"/>'
            f'<rect x="{left}" y="{sheet.y + y + 1:.1f}" width="{_BARS * min(1.0, used.peak / used.limit):.1f}" '
            f'height="11" fill="{colour}" fill-opacity="0.3"/>'
        )
        sheet.bar(left, _BARS * min(1.0, used.share or 0.0), 11, y + 1, colour)
    units = f" of {used.limit}" if used.limit is not None else ""
    text = f"{told.share(used)}; at most {used.peak}{units}"
    sheet.parts.append(
        f'<text class="small" x="{left + _BARS + 12}" y="{sheet.y + y + 10:.1f}">{xml_text(text)}</text>'
    )


def _name(text: str, y: float) -> str:
    return f'<text class="end" x="{_MARGIN + _NAMES - 10}" y="{y:.1f}">{xml_text(text, 25)}</text>'


def _left_out(sheet: _Sheet, rows: int) -> None:
    if rows > _MOST_ROWS:
        sheet.line(f"{rows - _MOST_ROWS} more are in the text.", "small")


def _document(sheet: _Sheet) -> str:
    height = sheet.y + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}"'
        f' viewBox="0 0 {_WIDTH} {height:.0f}">\n<style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(sheet.parts) + "\n</svg>\n"
    )
