"""What the pages of a build and of a log show: steps with their logs, and lines with their colours."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from lockstep.core.records import Build, Step
from lockstep.storage.filters import Filter
from lockstep.storage.queries import Queries
from lockstep.web import rest
from lockstep.web.ages import deleted
from lockstep.web.asking import Item, equals
from lockstep.web.door import Door
from lockstep.web.limits import SHOWN_LINES, TAIL_LINES
from lockstep.web.views import Ids, View, build_rows, builder_path, names_of, why_of

_ESCAPES: Final = re.compile(
    r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1a\x1c-\x1f]"
)
_COLOURS: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


# --- lines


def line_html(line: str, type_: str) -> Markup:
    """One line of a log. Where a stdio line came from is its class; colours of terminals become classes too."""
    stream = "o"
    if type_ == "s" and line[:1] in ("o", "e", "h"):
        stream, line = line[0], line[1:]
    return Markup('<span class="{}">{}\n</span>').format(stream, _coloured(line))


def lines_html(text: str, type_: str) -> Markup:
    """Stored text of a log, line by line."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return Markup("").join(line_html(line, type_) for line in lines)


def fresh_html(text: str, type_: str) -> Markup:
    """Lines that have just come; of very many only the last."""
    lines = text.count("\n")
    if lines <= SHOWN_LINES:
        return lines_html(text, type_)
    gap = Markup('<span class="gap">… {} lines are not shown here …\n</span>').format(lines - SHOWN_LINES)
    return gap + lines_html(text.split("\n", lines - SHOWN_LINES)[-1], type_)


def _coloured(line: str) -> Markup:
    if "\x1b" not in line and "\r" not in line:
        return escape(line)
    line = line.rsplit("\r", 1)[-1]  # what a terminal would show last
    parts: list[Markup] = []
    classes: tuple[str, ...] = ()
    at = 0
    for found in _ESCAPES.finditer(line):
        parts.append(_span(line[at : found.start()], classes))
        at = found.end()
        if found.group(2) == "m":
            classes = _sgr(found.group(1), classes)
    parts.append(_span(line[at:], classes))
    return Markup("").join(parts)


def _span(text: str, classes: tuple[str, ...]) -> Markup:
    if not text or not classes:
        return escape(text)
    return Markup('<span class="{}">{}</span>').format(" ".join(classes), text)


def _sgr(codes: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes after a terminal's colour command; only the simple ones are known."""
    found = list(classes)
    for code in (int(part) if part.isdigit() else 0 for part in codes.split(";")):
        if code == 0:
            found = []
        elif code == 1:
            found.append("ansi-bold")
        elif 30 <= code <= 37 or 90 <= code <= 97:
            found = [each for each in found if each == "ansi-bold"]
            found.append(f"ansi-{_COLOURS[code % 10]}")
        elif code == 39:
            found = [each for each in found if each == "ansi-bold"]
    return tuple(dict.fromkeys(found))


# --- a build


async def build(door: Door, ids: Ids) -> View:
    """One build with its steps; the last lines of what runs or failed are shown with them."""
    finder = rest.build_of_builder if "number" in ids else rest.build
    item = await asyncio.to_thread(finder, door.reads, ids)
    expected = await door.forecasts.expected() if item["buildid"] in door.state.builds else {}
    running = door.state.builds.get(item["buildid"])
    why = why_of(door, running, expected)
    planned = _planned(running) if running is not None else []
    live = _live_steps(door, running) if running is not None else {}
    stored = await asyncio.to_thread(_Stored.read, door.reads, item)
    for step in stored.steps:
        step.update(live.get(step["stepid"], {}))
    row = build_rows(door, [stored.build])[0]
    shown = {
        "build": row,
        "request": stored.request,
        "buildset": stored.buildset,
        "steps": stored.steps,
        "planned": planned,
        "changes": stored.changes,
        "properties": stored.properties,
        "running": running is not None,
        "stopping": running is not None and running.stop_result is not None,
        "stop_reason": running.stop_reason if running is not None else "",
        "why": why,
        "waits": why is not None and why.kind not in ("running", "preparing"),
        "fences": running.fences if running is not None else {},
        "units": _units(door, running) if running is not None else {},
    }
    writing = [log["logid"] for step in stored.steps for log in step["logs"] if not log["complete"]]
    live_still = running is not None or not row["complete"]  # the state may run ahead of the store
    return View("build.html", f"{row['builder']} #{row['number']}", shown, live=live_still, logs=writing)


def _units(door: Door, build: Build) -> dict[str, tuple[str, ...]]:
    """The units that a build has itself, by pool."""
    held = door.state.allocator.holds.get(build.hold)
    return dict(held.units) if held is not None else {}


def _planned(build: Build) -> list[Item]:
    """The steps that have not begun."""
    return [{"number": s.number, "name": s.name} for s in build.steps[build.current :] if s.state == "planned"]


def _live_steps(door: Door, build: Build) -> dict[int, Item]:
    """What is known only of steps that run: their state and what they say."""
    found: dict[int, Item] = {}
    for step in build.steps[: build.current]:
        if step.state in ("waiting", "running"):
            said = door.step_summary(build.buildid, step.number) if step.state == "running" else ""
            found[step.stepid] = {"state": step.state, **_said(step, said)}
    return found


def _said(step: Step, said: str) -> Item:
    if step.state == "waiting":
        return {"state_string": "waits for its locks"}
    return {"state_string": said} if said else {}


class _Stored:
    """What the store knows of one build."""

    build: Item
    steps: list[Item]
    request: Item
    buildset: Item
    changes: list[Item]
    properties: dict[str, Any]

    @classmethod
    def read(cls, reads: Queries, item: Item) -> "_Stored":
        """All of it."""
        self = cls()
        buildid = item["buildid"]
        self.build = reads.get("builds", buildid) or item
        self.steps = reads.page("steps", [equals("buildid", buildid)], ["number"]).items
        self.request = reads.get("buildrequests", item["buildrequestid"]) or {}
        self.buildset = reads.get("buildsets", self.request.get("buildsetid", 0)) or {}
        self.changes = reads.changes_of_build(buildid)
        self.properties = dict(sorted(reads.properties_of_build(buildid).items()))
        ids = [step["stepid"] for step in self.steps]
        logs = _logs_of(reads, ids)
        for step in self.steps:
            step["logs"] = logs.get(step["stepid"], [])
            step["deleted"] = next((told for log in step["logs"] if (told := deleted(log))), "")
            step["tail"] = Markup("")
            step["state"] = "ended" if step["complete"] else "running"
        self._tails(reads)
        return self

    def _tails(self, reads: Queries) -> None:
        """The last lines of the steps that run, and of the first that failed."""
        failed = [step for step in self.steps if step["complete"] and step["results"] in (2, 4)][:1]
        for step in [*failed, *(step for step in self.steps if not step["complete"])]:
            if step["logs"]:
                step["tail"] = _tail(reads, step["logs"][0])


def _logs_of(reads: Queries, stepids: Sequence[int]) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = {}
    for start in range(0, len(stepids), 500):
        some = tuple(stepids[start : start + 500])
        for log in reads.page("logs", [Filter("stepid", "eq", some)], ["logid"]).items:
            found.setdefault(log["stepid"], []).append(log)
    return found


def _tail(reads: Queries, log: Item) -> Markup:
    if log["type"] == "h":
        return Markup("")
    first = max(0, log["num_lines"] - TAIL_LINES)
    text = "".join(piece for _, piece in reads.log_lines(log["logid"], first, TAIL_LINES * 2))
    return lines_html(text, log["type"])


# --- a log


async def log(door: Door, ids: Ids) -> View:
    """One log: its last lines, and those that come."""
    item, step, build_item, text = await asyncio.to_thread(_log, door.reads, ids)
    name = names_of(door.state.builder_ids).get(build_item["builderid"], "?")
    first = max(0, item["num_lines"] - SHOWN_LINES)
    shown = {
        "log": item,
        "step": step,
        "build": build_item,
        "builder": name,
        "path": builder_path(door, name),
        "deleted": deleted(item),
        "first": first,
        "next": first + text.count("\n"),
        "lines": lines_html(text, item["type"]) if item["type"] != "h" else Markup(""),
    }
    title = f"{item['name']} of {step['name']}, {name} #{build_item['number']}"
    return View("log.html", title, shown, live=False)


def _log(reads: Queries, ids: Ids) -> tuple[Item, Item, Item, str]:
    item = rest.log(reads, ids)
    step = reads.get("steps", item["stepid"]) or {}
    build_item = reads.get("builds", step["buildid"]) or {}
    first = max(0, item["num_lines"] - SHOWN_LINES)
    text = ""
    if item["type"] != "h":
        text = "".join(piece for _, piece in reads.log_lines(item["logid"], first, SHOWN_LINES * 2))
    return item, step, build_item, text
