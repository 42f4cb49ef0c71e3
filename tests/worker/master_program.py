"""A master as a program, to be killed: PORT STORE. It runs the commands of STORE/commands.json on one worker.

All output of a command goes into NAME.out (its length is the stored offset), that of stdout also into
NAME.stdout, the end into NAME.end. An end that is not stored yet is waited for; nothing else is remembered.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import msgspec
from websockets.asyncio.server import ServerConnection, serve

from lockstep.protocol.limits import MAX_FRAME, SUBPROTOCOL
from lockstep.protocol.messages import Ended, Output
from lockstep.protocol.session import Absent, Attached, Session, open_session

STORE = Path(sys.argv[2])
COMMANDS: dict[str, str] = json.loads((STORE / "commands.json").read_text())


def stored(name: str) -> int:
    """The stored offset of a command. What was torn from NAME.stdout by a kill is cut off here."""
    journal = STORE / f"{name}.out"
    offset = 0
    visible = 0
    if journal.exists():
        for line in journal.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            record = json.loads(line)
            offset = record["upto"]
            visible = record["visible"]
        whole = b"".join(x for x in journal.read_bytes().splitlines(keepends=True) if x.endswith(b"\n"))
        journal.write_bytes(whole)
        with (STORE / f"{name}.stdout").open("ab") as file:
            file.truncate(visible)
    return offset


def take_output(session: Session, piece: Output) -> None:
    """Store, then acknowledge."""
    out = STORE / f"{piece.command}.stdout"
    with out.open("ab") as file:
        if piece.stream == "stdout":
            file.write(piece.data)
            file.flush()
        visible = file.seek(0, 2)
    upto = piece.offset + len(piece.data)
    with (STORE / f"{piece.command}.out").open("a") as journal:
        journal.write(json.dumps({"upto": upto, "visible": visible}) + "\n")
    session.ack(piece.command, upto)


async def handle(websocket: ServerConnection) -> None:
    """One connection."""
    session = open_session(websocket.subprotocol, "bot")
    async for data in websocket:
        assert isinstance(data, bytes)
        for event in session.receive(data, time.monotonic()):
            if isinstance(event, Attached):
                open_ones = {name: stored(name) for name in COMMANDS if not (STORE / f"{name}.end").exists()}
                for absent in session.welcome(open_ones, event.hello.home, event.hello.boot):
                    assert isinstance(absent, Absent)
                    session.start(absent.command, "shell", {"command": COMMANDS[absent.command]})
            elif isinstance(event, Output):
                take_output(session, event)
            elif isinstance(event, Ended):
                fresh = STORE / f"{event.command}.new"
                fresh.write_bytes(msgspec.json.encode(event))
                fresh.replace(STORE / f"{event.command}.end")
                session.ack(event.command, event.produced, ended=True)
        for frame in session.outgoing():
            await websocket.send(frame)


async def main() -> None:
    """Serve until killed."""
    chosen = [SUBPROTOCOL]
    async with serve(
        handle,
        "127.0.0.1",
        int(sys.argv[1]),
        subprotocols=chosen,
        compression=None,
        max_size=MAX_FRAME,  # type: ignore[arg-type]
    ):
        await asyncio.Future()


asyncio.run(main())
