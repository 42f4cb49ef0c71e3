"""The master's side of `msgpack_experimental_v7`, the language of an unmodified `buildbot-worker`. Pure.

Buildbot's manual documents it ("Master-Worker connection with MessagePack over WebSocket protocol"): one
dictionary in each WebSocket message; a request has `seq_number` and `op`, and is answered by `op: response`
with the same number. BUILDBOT.md section 2 lists what the worker of 4.3.0 does beyond that. The session
translates both ways, so that the master has one interface (`session.py`). What differs for the master:

- There is no lease, no spool and no resume. When the connection breaks, the worker runs on and throws the
  output away. So after a new connection every command of `welcome(stored)` is interrupted, and when the
  worker has answered it is `Absent` with `never_arrived=False`.
- Without `usePTY` its commands share its process group, and an interrupt or a timeout kills only the direct
  process (seen with Twisted 24.11 and 26.10): what a shell has started lives on. With `usePTY` the whole
  session is killed. So the end of a command, and `Absent`, promise less here than with our own agent.
- `ack` sends nothing. Offsets are counted here. The worker ends every partial line with a newline.
- Its whole environment comes with `get_worker_info`, and `logEnviron` would write it into logs: neither is
  kept, and `logEnviron` is always off.
"""

import ntpath
import posixpath
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from lockstep.protocol.commands import (
    KINDS,
    PATHS,
    Shell,
    command_args,
    is_hidden,
    parse_command,
    real_word,
)
from lockstep.protocol.errors import ProtocolError
from lockstep.protocol.limits import MAX_FRAME, MAX_PIECE, MAX_START, MAX_TEXT
from lockstep.protocol.messages import (
    FILE,
    HEADER,
    LOG_PREFIX,
    STDERR,
    STDOUT,
    Ended,
    FileRead,
    Hello,
    Output,
    Reason,
)
from lockstep.protocol.session import Absent, Attached, Event, Session

DIALECT: Final = "msgpack_experimental_v7"

SETTINGS: Final[Mapping[str, Any]] = {
    "buffer_size": 64 * 1024,  # bytes gathered before an update is sent
    "buffer_timeout": 0.1,  # seconds they are held back at most; live logs are late by as much
    "newline_re": r"\r\n",  # what counts as a newline besides \n; the worker replaces it
    "max_line_length": 65536,  # characters; the worker cuts longer lines
}
"""What `set_worker_settings` says. Without that message the worker sends no output at all."""

_FAILURES: Final[Mapping[str, Reason]] = {
    "timeout": "timeout",
    "timeout_without_output": "timeout_without_output",
    "max_lines_failure": "max_lines_failure",
}

_SAFE_INFO: Final = re.compile(r"(admin|host|system|basedir|version|access_uri|os_[a-z_]+)\Z")


class _Running(Struct):
    """One command of this connection, as told by its updates so far."""

    produced: int = 0
    rc: int | None = None
    reason: Reason = ""
    elapsed: float = 0.0
    interrupted: bool = False
    transfer_failed: str = ""
    read_offset: int = 0
    results: dict[str, Any] = {}


class BuildbotSession(Session):
    """One connection of one `buildbot-worker`."""

    dialect = DIALECT

    def __init__(self, name: str) -> None:
        """Begin a session; its first `outgoing` asks the worker who it is."""
        super().__init__(name)
        self._open = False
        self._next = 0
        self._basedir = ""
        self._windows = False
        self._asked: dict[int, tuple[str, str]] = {}
        """Requests without a response yet: number -> (op, command)."""
        self._reads: dict[str, int] = {}
        """Commands that wait for a piece of a file: command -> number of their request."""
        self._commands: dict[str, _Running] = {}
        self._queue: list[bytes] = []
        self._request("get_worker_info")

    # ---- what the worker says

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take one message; see `Session.receive`."""
        if len(data) > MAX_FRAME:
            raise ProtocolError("agent", f"a message of {len(data)} bytes (at most {MAX_FRAME} are allowed)")
        try:
            message = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError("agent", f"a message that cannot be read: {error}") from None
        if not isinstance(message, dict):
            raise ProtocolError("agent", "a message that is not a dictionary")
        self.last_received = now
        op, number = message.get("op"), message.get("seq_number")
        if not isinstance(op, str) or not isinstance(number, int):
            raise ProtocolError("agent", "a message without `op` or `seq_number`")
        if op == "response":
            return self._take_response(number, message)
        return self._take_request(op, number, message)

    def _take_response(self, number: int, message: dict[str, Any]) -> list[Event]:
        """The answer to one of our requests."""
        asked = self._asked.pop(number, None)
        if asked is None:
            raise ProtocolError("agent", f"an answer to request {number}, which was not made")
        op, command = asked
        result, failed = message.get("result"), bool(message.get("is_exception"))
        if op == "get_worker_info" and self.hello is None:
            return self._take_info(result, failed)
        if op == "start_command" and failed:
            return self._fail_start(command, str(result))
        if op == "clear":
            if failed:
                raise ProtocolError("agent", f"it cannot say that it stopped {command}")
            return [Absent(command, never_arrived=False)]
        if op == "set_worker_settings" and failed:
            raise ProtocolError("agent", "it does not take its settings")
        return []

    def _take_info(self, result: Any, failed: bool) -> list[Event]:
        """Who the worker is. Its environment is dropped here."""
        if failed or not isinstance(result, dict) or not isinstance(result.get("basedir"), str):
            raise ProtocolError("agent", "it does not say who it is")
        self._basedir = result["basedir"]
        self._windows = result.get("system") == "nt"
        commands = result.get("worker_commands")
        known = commands if isinstance(commands, dict) else {}
        info = {str(key): str(value)[:MAX_TEXT] for key, value in result.items() if _SAFE_INFO.match(str(key))}
        if isinstance(cpus := result.get("numcpus"), int):
            info["numcpus"] = str(cpus)
        self.hello = Hello(
            version=f"buildbot-worker {result.get('version', '')}"[:MAX_TEXT],
            lease=0.0,
            home="",
            boot="",
            life="",
            kinds=tuple(kind for kind in KINDS if kind in known),
            info=info,
        )
        return [Attached(self.hello)]

    def _fail_start(self, command: str, why: str) -> list[Event]:
        """The worker does not start a command; there will be no `complete`."""
        running = self._commands.pop(command, None)
        if running is None:
            return []
        return [Ended(command, running.produced, -1, "refused", why[:MAX_TEXT])]

    def _take_request(self, op: str, number: int, message: dict[str, Any]) -> list[Event]:
        """A request of the worker; all but reading are answered at once."""
        command = message.get("command_id")
        if not isinstance(command, str):
            raise ProtocolError("agent", f"{op} without a command id")
        if op == "update_read_file":
            return self._take_read(command, number, message.get("length"))
        running = self._commands.get(command)
        if op.endswith("_write") and running is not None and running.transfer_failed:
            self._respond(number, running.transfer_failed, failed=True)
            return []
        self._respond(number, None)
        if running is None:
            return []  # of a former connection: it is being interrupted, or has been
        if op == "update":
            return self._take_updates(command, running, message.get("args"))
        if op == "complete":
            return [self._take_complete(command, running, message.get("args"))]
        if op in {"update_upload_file_write", "update_upload_directory_write"}:
            return self._pieces(command, running, FILE, message.get("args"), 0.0)
        if op == "update_upload_file_utime":
            times = [message.get("access_time"), message.get("modified_time")]
            if all(isinstance(time, int | float) for time in times):
                running.results["utime"] = times
        return []

    def _take_read(self, command: str, number: int, length: Any) -> list[Event]:
        """The worker wants a piece of a file; the response waits for `file_chunk`."""
        running = self._commands.get(command)
        if running is None:
            self._respond(number, "this command is over", failed=True)
            return []
        if not isinstance(length, int) or length < 1:
            raise ProtocolError("agent", f"it wants to read {length!r} bytes")
        if command in self._reads:
            raise ProtocolError("agent", f"it wants two pieces of the file of {command} at once")
        self._reads[command] = number
        return [FileRead(command, running.read_offset, min(length, MAX_PIECE))]

    def _take_updates(self, command: str, running: _Running, pairs: Any) -> list[Event]:
        """A list of names and values, in no particular order (`rc` may stand before output)."""
        if not isinstance(pairs, list):
            raise ProtocolError("agent", "an update that is not a list")
        events: list[Event] = []
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
                raise ProtocolError("agent", "an update that is not a list of names and values")
            events += self._take_update(command, running, pair[0], pair[1])
        return events

    def _take_update(self, command: str, running: _Running, name: str, value: Any) -> list[Event]:
        """One name with its value."""
        if name in {STDOUT, STDERR, HEADER}:
            text, at = _text_and_time(value)
            return self._pieces(command, running, name, text.encode(), at)
        if name == "log" and isinstance(value, list | tuple) and len(value) == 2:
            text, at = _text_and_time(value[1])
            return self._pieces(command, running, f"{LOG_PREFIX}{value[0]}", text.encode(), at)
        if name == "rc" and isinstance(value, int):
            running.rc = int(value)  # of a truth value no store would make a number again
        elif name == "elapsed" and isinstance(value, int | float):
            running.elapsed = float(value)
        elif name == "failure_reason":
            running.reason = _FAILURES.get(str(value), "error")
        elif name in {"files", "stat"}:
            running.results[name] = value
        return []

    def _pieces(self, command: str, running: _Running, stream: str, data: Any, at: float) -> list[Event]:
        """Output, given its offset, in pieces that our own protocol would allow."""
        if not isinstance(data, bytes):
            raise ProtocolError("agent", "file contents that are not bytes")
        events: list[Event] = []
        for begin in range(0, len(data), MAX_PIECE):
            piece = data[begin : begin + MAX_PIECE]
            events.append(Output(command, running.produced, stream, piece, at))
            running.produced += len(piece)
        return events

    def _take_complete(self, command: str, running: _Running, error: Any) -> Ended:
        """The end; everything about it has been said in updates before."""
        del self._commands[command]
        self._reads.pop(command, None)
        reason: Reason = running.reason
        if not reason and running.interrupted:
            reason = "interrupted"
        if error is not None and not reason:
            reason = "error"
        rc = running.rc if running.rc is not None and error is None else -1
        detail = running.transfer_failed or ("" if error is None else str(error)[:MAX_TEXT])
        return Ended(command, running.produced, rc, reason, detail, running.elapsed, running.results)

    # ---- what the master says

    def welcome(self, stored: Mapping[str, int], home: str = "", boot: str = "") -> list[Event]:
        """Take the worker, and end what it may still run of a former connection; see `Session.welcome`."""
        if self.hello is None or self._open:
            raise ProtocolError("master", "it welcomes a worker that has not said who it is")
        self._open = True
        self._request("set_worker_settings", args=dict(SETTINGS))
        for command in stored:
            why = "the connection was lost: the output would be incomplete"
            self._request("interrupt_command", command, "clear", builder_name="", why=why)
        return []

    def refuse(self, reason: str) -> None:
        """Print the reason in the worker's log, then close. The worker will come again every few seconds."""
        self._queue = []
        self._request("print", message=reason[:MAX_TEXT])
        self.closing = True

    def start(self, command: str, kind: str, args: Mapping[str, Any]) -> None:
        """Have a command run; see `Session.start`."""
        self._must_be_open()
        if command in self._commands:
            return
        try:
            kind, record = parse_command(kind, args)
        except ValueError as error:
            raise ProtocolError("master", str(error)) from None
        plain = command_args(record)
        if isinstance(record, Shell):
            plain |= _plain_shell(record)
        for name in PATHS[kind]:
            path = plain[name]
            plain[name] = [self._join(one) for one in path] if isinstance(path, list) else self._join(path)
        if "logEnviron" in plain:
            plain["logEnviron"] = False
        size = len(msgspec.msgpack.encode(plain))
        if size > MAX_START:
            raise ProtocolError("master", f"the command takes {size} bytes; at most {MAX_START} are allowed")
        self._commands[command] = _Running()
        self._request("start_command", command, builder_name="", command_name=kind, args=plain)

    def interrupt(self, command: str, reason: str) -> None:
        """Have a command ended; see `Session.interrupt`."""
        self._must_be_open()
        running = self._commands.get(command)
        if running is not None:
            running.interrupted = True
            self._request("interrupt_command", command, builder_name="", why=reason[:MAX_TEXT])

    def ack(self, command: str, offset: int, ended: bool = False) -> None:
        """Nothing: this worker keeps nothing back."""

    def file_chunk(self, command: str, offset: int, data: bytes) -> None:
        """Answer a read; see `Session.file_chunk`."""
        running, number = self._commands.get(command), self._reads.get(command)
        if running is None or number is None or offset != running.read_offset:
            return
        del self._reads[command]
        running.read_offset += len(data)
        self._respond(number, data)

    def file_failed(self, command: str, reason: str) -> None:
        """Answer a read, or all further writes, with an exception; see `Session.file_failed`."""
        running = self._commands.get(command)
        if running is not None:
            running.transfer_failed = reason[:MAX_TEXT] or "failed"
        number = self._reads.pop(command, None)
        if number is not None:
            self._respond(number, reason[:MAX_TEXT], failed=True)

    def shutdown(self, reason: str) -> None:
        """Ask the worker to end itself."""
        self._must_be_open()
        self._request("shutdown")

    def ask(self) -> None:
        """Ask for a sign of life, unless one is awaited already."""
        if all(op != "keepalive" for op, _ in self._asked.values()):
            self._request("keepalive")

    @property
    def unsent(self) -> int:
        """How many messages wait; see `Session.unsent`."""
        return len(self._queue)

    def outgoing(self) -> list[bytes]:
        """Return the messages to be sent now; see `Session.outgoing`."""
        queue, self._queue = self._queue, []
        return queue

    # ---- helpers

    def _request(self, op: str, command: str = "", meaning: str = "", **rest: Any) -> None:
        """Queue a request; `meaning` is what its response will be taken for, if not for that of `op`."""
        self._next += 1
        self._asked[self._next] = (meaning or op, command)
        about = {"command_id": command} if command else {}
        self._queue.append(msgspec.msgpack.encode({"op": op, "seq_number": self._next, **about, **rest}))

    def _respond(self, number: int, result: Any, failed: bool = False) -> None:
        """Queue a response."""
        message = {"op": "response", "seq_number": number, "result": result}
        if failed:
            message["is_exception"] = True
        self._queue.append(msgspec.msgpack.encode(message))

    def _join(self, path: str) -> str:
        """A path on the worker, made absolute as the worker wants it."""
        if self._windows:
            return ntpath.normpath(ntpath.join(self._basedir, path))
        return posixpath.normpath(posixpath.join(self._basedir, path))

    def _must_be_open(self) -> None:
        """Only a welcomed worker is given work."""
        if not self._open:
            raise ProtocolError("master", f"it speaks to worker {self.name} before welcoming it")


def _text_and_time(value: Any) -> tuple[str, float]:
    """The text and the first line's time of a triple (text, places of newlines, times of lines)."""
    if isinstance(value, str):
        return value, 0.0
    if not isinstance(value, list | tuple) or len(value) != 3 or not isinstance(value[0], str):
        raise ProtocolError("agent", "output that is not text with its newlines and times")
    times = value[2]
    first = times[0] if isinstance(times, list | tuple) and times else 0.0
    return value[0], float(first) if isinstance(first, int | float) else 0.0


def _plain_shell(record: Shell) -> dict[str, Any]:
    """The arguments in which strings may be hidden, unhidden: this worker knows no hiding."""
    command = record.command
    words = command if isinstance(command, str) else [real_word(word) for word in command]
    env = {name: value[1] if is_hidden(value) and value else value for name, value in record.env.items()}
    return {"command": words, "env": env}
