"""What commands say: how far each has come, which lines of it have not ended, which secrets it must not show.

The offset of a command, the lines before it and the rest of its last lines go into one batch (HOUSE 2.7). A command is
known here from its start until its end is stored.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lockstep.config.secrets import names_in
from lockstep.core.calls import RunCommand
from lockstep.core.errors import RAISED
from lockstep.core.records import Command
from lockstep.core.state import State
from lockstep.master.limits import REST_LATE, REST_SMALL
from lockstep.master.logs import BEGUN, LogFile, stream_of
from lockstep.master.masks import Masks, look_up, why_missing
from lockstep.master.transfers import Transfers
from lockstep.protocol.messages import FILE, LOG_PREFIX, Output
from lockstep.storage.batch import CommandProgress

if TYPE_CHECKING:
    from lockstep.master.house import House

log = logging.getLogger(__name__)

_NOT_KEPT = "what is said from here on is not kept"

Acknowledge = Callable[[str, str, int], None]


def call_of(state: State, name: str) -> tuple[Command, RunCommand] | None:
    """A command that has not ended, and the call that made it."""
    command = state.commands.get(name)
    if command is None:
        return None
    step = state.step(command.buildid, command.step)
    record = step.calls.get(command.call) if step is not None else None
    if record is None or not isinstance(record.call, RunCommand):
        return None
    return command, record.call


class _Said:
    """How far the output of one command has come; `unmasked` says why it must not be kept, or is empty.

    `decoded`: its worker has made UTF-8 of it. `stored`: the offset that is in the store, or on its way there, with
    `rest` bytes of unfinished lines. `due`: what has come since must be stored with the next commit.
    """

    def __init__(self, worker: str, offset: int = 0) -> None:
        self.worker = worker
        self.offset = offset
        self.masks = Masks({})
        self.unmasked = ""
        self.decoded = False
        self.stored = offset
        self.rest = 0
        self.due = False


class Outputs:
    """The output of all commands that run. `acknowledge(worker, command, offset)` is called when it is stored."""

    def __init__(self, house: "House", transfers: Transfers, acknowledge: Acknowledge) -> None:
        self._house = house
        self._transfers = transfers
        self._acknowledge = acknowledge
        self._said: dict[str, _Said] = {}
        self._dirty: dict[str, None] = {}
        house.loop.before_commit.append(self._flush)

    async def resume(self, progress: Mapping[str, CommandProgress]) -> None:
        """Go on after a restart. `progress`: what is stored of each command's output."""
        calls, begun = {}, list[tuple[str, str, bytes]]()
        for name, command in self._house.loop.state.commands.items():
            stored = progress.get(name)
            self._said[name] = _Said(command.worker, stored.offset if stored is not None else 0)
            for key, rest in stored.tails.items() if stored is not None else ():
                if key.endswith(BEGUN):
                    begun.append((name, key, rest))
                else:
                    self._resume_tail(name, key, rest)
            found = call_of(self._house.loop.state, name)
            if found is not None:
                calls[name] = found[1]
        self._transfers.sweep(self._said)
        for name, call in calls.items():
            try:
                values = await look_up(self._house.config, names_in(call.args))
            except RAISED as exc:
                # Whatever it says now might be the secret.
                self._said[name].unmasked = why_missing(exc)
                log.error("command %s: %s; what it says is not kept", name, why_missing(exc))
            else:
                self.begin(name, self._said[name].worker, call, Masks(values))
        for name, key, rest in begun:
            self._resume_tail(name, key, rest)

    def _resume_tail(self, name: str, key: str, rest: bytes) -> None:
        if key == FILE:
            self._transfers.resume(name, int(rest))
            return
        logid, _, stream = key.partition(".")
        file = self._house.logs.get(int(logid))
        if file is not None:
            file.resume_rest(name, stream, rest)

    def begin(self, name: str, worker: str, call: RunCommand, masks: Masks, *, decoded: bool = False) -> None:
        """A command is sent, or goes on. The secrets that it is given never reach its logs.

        `decoded`: what it says will be UTF-8, whatever the program wrote.
        """
        said = self._said.setdefault(name, _Said(worker))
        said.decoded = decoded
        said.masks = masks
        for _logid, file in self._files(call):
            file.masks |= masks

    def at(self, worker: str) -> dict[str, int]:
        """How far each command of a worker is, of those whose end is not stored."""
        return {name: said.offset for name, said in self._said.items() if said.worker == worker}

    def masks(self, name: str) -> Masks:
        """The secrets that a command was given."""
        said = self._said.get(name)
        return said.masks if said is not None else Masks({})

    # --- as it comes

    def take(self, piece: Output) -> bool:
        """Keep a piece of output. False if nobody wants it: the command's end is stored."""
        said = self._said.get(piece.command)
        if said is None:
            return False
        said.offset = piece.offset + len(piece.data)
        self._dirty[piece.command] = None
        self._house.loop.wanted()
        found = call_of(self._house.loop.state, piece.command)
        if found is None:
            return True
        call = found[1]
        if piece.stream == FILE:
            said.due = True
            self._transfers.receive(piece.command, call, piece.data)
            return True
        followed = piece.stream.startswith(LOG_PREFIX)
        logid = call.logs.get(piece.stream.removeprefix(LOG_PREFIX), 0) if followed else call.stdio
        file = self._house.logs.get(logid)
        if file is not None and said.unmasked:
            if file.hidden != piece.command:
                file.hidden = piece.command
                self._house.loop.write(file.feed("h", f"{said.unmasked}; {_NOT_KEPT}\n".encode()))
        elif file is not None:
            stream = stream_of(piece.stream)
            parts = file.feed(stream, piece.data, piece.command, decoded=said.decoded)
            said.due = said.due or bool(parts)
            self._house.loop.write(parts)
        return True

    def store_all(self, worker: str) -> None:
        """Have all that commands of a worker have said stored with the next commit: it is asked for what is not."""
        for name, said in self._said.items():
            if said.worker == worker and said.offset > said.stored:
                said.due = True
                self._dirty[name] = None

    def _flush(self) -> None:
        """Before a commit: store how far each command is, together with its lines, and acknowledge it afterwards."""
        dirty, self._dirty = self._dirty, {}
        for name in dirty:
            said, found = self._said.get(name), call_of(self._house.loop.state, name)
            if said is not None and found is not None:
                self._store(name, said, found[1])

    def _store(self, name: str, said: _Said, call: RunCommand) -> None:
        """Store how far a command is.

        An unfinished line is stored as a whole. If nothing but such lines has grown, that can wait until they have
        doubled, or what grows for hours (a progress bar) would be stored at each of its steps anew. Until then its
        agent keeps what is new of them.
        """
        files = self._files(call)
        rest = sum(file.unfinished(name) for _, file in files)
        waits = max(REST_SMALL, 2 * said.rest) > rest > REST_SMALL
        if waits and not said.due and said.offset - said.stored < REST_LATE:
            return
        said.stored, said.rest, said.due = said.offset, rest, False
        tails: dict[str, bytes] = {}
        for logid, file in files:
            tails |= {f"{logid}.{key}": text for key, text in file.rests(name)}
        received = self._transfers.received(name)
        if received is not None:
            tails[FILE] = str(received).encode()
        worker, offset = said.worker, said.offset
        self._house.loop.progress(
            CommandProgress(name, offset, tails),
            lambda: self._acknowledge(worker, name, offset),
            self._transfers.sync(name),
        )

    def _files(self, call: RunCommand) -> list[tuple[int, LogFile]]:
        files = ((logid, self._house.logs.get(logid)) for logid in sorted({call.stdio, *call.logs.values()} - {0}))
        return [(logid, file) for logid, file in files if file is not None]

    # --- the end

    def end(self, name: str, call: RunCommand, problem: str = "") -> dict[int, int]:
        """A command says nothing more: its last lines end here. Returns the line counts of its logs.

        `problem` is why the server could not send the command, or keep what came of it: the worker does not know it,
        so the log would not say it. It becomes the last line.
        """
        lines: dict[int, int] = {}
        for logid, file in self._files(call):
            self._house.loop.write(file.finish(name))
            if problem and logid == call.stdio:
                self._house.loop.write(file.feed("h", f"{problem}\n".encode()))
            lines[logid] = file.lines
        return lines

    def forget(self, name: str) -> None:
        """The end of a command is stored."""
        said = self._said.pop(name, None)
        self._dirty.pop(name, None)
        self._transfers.forget(name)
        if said is not None:
            self._acknowledge(said.worker, name, said.offset)
