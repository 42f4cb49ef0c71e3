"""What a running build reads back from the store: changes and the text of logs. Blocking; call it in a thread."""

from collections.abc import Iterable
from typing import Any

from lockstep.core.calls import LogType, OpenLog
from lockstep.core.records import Step
from lockstep.core.values import Change
from lockstep.master.log_end import size_of
from lockstep.storage.queries import Queries


def stored_changes(reads: Queries, ids: Iterable[int]) -> tuple[Change, ...]:
    """The changes with these ids, in the order of their ids. Raises StoreError."""
    rows = [row for changeid in sorted(ids) if (row := reads.get("changes", changeid)) is not None]
    return tuple(_change(row) for row in rows)


def _change(row: dict[str, Any]) -> Change:
    return Change(
        changeid=row["changeid"],
        author=row["author"],
        comments=row["comments"],
        files=tuple(row["files"]),
        branch=row["branch"],
        revision=row["revision"],
        revlink=row["revlink"] or "",
        repository=row["repository"],
        project=row["project"],
        codebase=row["codebase"],
        category=row["category"],
        properties={name: (value, source) for name, (value, source) in row["properties"].items()},
        when=float(row["when_timestamp"]),
    )


def stored_extent(reads: Queries, logid: int, sized: bool) -> tuple[LogType, int, int]:
    """A log's type, how many lines of it are stored, and with `sized` their bytes, headers aside. Raises StoreError."""
    row = reads.get("logs", logid)
    type_: LogType = row["type"] if row is not None and row["type"] in ("t", "s", "h") else "t"
    size = sum(size_of(type_, text) for _, text in reads.log_lines(logid)) if sized else 0
    return type_, row["num_lines"] if row is not None else 0, size


def stored_text(reads: Queries, logid: int, first: int, lines: int) -> str:
    """Some lines of a log, prefixes included. Raises StoreError."""
    return "".join(text for _, text in reads.log_lines(logid, first, lines))


def opened_logs(step: Step) -> dict[int, OpenLog]:
    """The logs of a step, by their ids, as it opened them."""
    ended = (record for record in step.calls.values() if record.state == "ended")
    return {int(record.result): record.call for record in ended if isinstance(record.call, OpenLog)}
