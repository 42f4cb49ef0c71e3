"""What master and agent say to each other in `lockstep.1`, as typed records. No behaviour beyond encoding
lives here.

One WebSocket message (binary) is one frame: a msgpack map with a list of messages. So an answer, a first
piece of output and an end can travel together.

    agent  -> master   FromAgent(number, messages)    Hello, Output, Ended, FileRead
    master -> agent    FromMaster(seen, messages)     Welcome or Refused, Start, Interrupt, Ack,
                                                      FileChunk, FileFailed, Shutdown

The rules (`session.py` enforces them):

1. The agent authenticates in the handshake (HTTP Basic: name, password) and speaks first: `Hello`. The
   master answers with `Welcome` or `Refused`; before that nothing else is said by either.
2. Frames of the agent are numbered from 1 in each connection. Each frame of the master says in `seen` the
   highest number it has received; a frame without messages (a heartbeat) is answered at once. The agent's
   lease counts from the moment at which it *sent* the newest frame that was so answered (L61).
3. All output of a command is one sequence of bytes, whatever streams it is made of. `offset` is a place in
   this sequence. Nothing is skipped. `Ack.offset` is what the master has stored; only then does the agent
   let go of it.
4. `Ended` comes after all output of its command; it is said again in each connection until `Ack.ended`.
   With that the agent forgets the command.
5. After a new connection `Hello` lists every command the agent has not forgotten; `Welcome.stored` says for
   each from where to go on. A running one that the master does not want is listed and interrupted; what is
   not listed is ended if it runs, and forgotten. What the agent has let go of (3) it cannot say again: if a
   master's store was restored from an older backup and needs it, the command is ended as `lost`.
6. `Start` with an id that the agent knows has no effect. So an errand may be repeated. An id that it has
   forgotten is a new one to it: only a master that was restored uses it again, for it has forgotten it, too.
7. An agent that is being stopped says `leaving` in each frame from that moment, at once and before it ends its
   commands. The master starts nothing there any more and answers with `Shutdown` when nothing that it has started is
   on its way; with that, and when all ends are acknowledged, the agent goes.

Streams: `stdout`, `stderr`, `header` (what the agent itself remarks), `log:NAME` (a followed log file) and
`file` (the bytes of an upload; for a directory a tar archive).

Reasons in `Ended.reason`: see `Reason`.
"""

from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from lockstep.protocol.errors import Party, ProtocolError
from lockstep.protocol.limits import MAX_FRAME

STDOUT: Final = "stdout"
STDERR: Final = "stderr"
HEADER: Final = "header"
FILE: Final = "file"
LOG_PREFIX: Final = "log:"

CommandState = Literal["running", "ended"]

Reason = Literal[
    "",  # it ended by itself; `rc` is its exit code
    "timeout_without_output",  # `timeout` seconds without output
    "timeout",  # `maxTime` seconds have passed
    "max_lines_failure",  # more than `max_lines` lines
    "interrupted",  # the master's Interrupt, or the master did not want it any more
    "lease",  # the master was not heard for `lease` seconds
    "shutdown",  # the agent was told to stop
    "lost",  # the agent (or its machine) ended while the command ran, or the master's store went back in time
    "refused",  # it was never started: `detail` says why
    "error",  # the worker itself failed while it ran: `detail` says how
]
"""How a command came to its end. The first four besides the empty one are Buildbot's `failure_reason`."""


class Known(Struct, frozen=True, omit_defaults=True):
    """A command the agent has not forgotten: its state, and how many bytes of output it has made so far."""

    command: str
    state: CommandState
    produced: int = 0


class Hello(Struct, frozen=True, tag_field="op", tag="hello", omit_defaults=True):
    """The agent's first message.

    `lease`: seconds, 0 for an agent without lease (`buildbot-worker`). `home` names the agent's directory for
    ever, `boot` the present life of its machine, `life` the present agent process. A command that the
    master sent and that is not in `commands` has never arrived if `home` and `boot` are those of the
    connection it was sent on; otherwise it is lost. `kinds`: what it can run. `info`: facts for people;
    never its environment.
    """

    version: str
    lease: float
    home: str
    boot: str
    life: str
    capabilities: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    commands: tuple[Known, ...] = ()
    info: dict[str, str] = {}


class Output(Struct, frozen=True, tag_field="op", tag="output", omit_defaults=True):
    """A piece of output.

    `offset` is where `data` begins in all output of the command; `at` is the agent's wall time.
    """

    command: str
    offset: int
    stream: str
    data: bytes
    at: float = 0.0


class Ended(Struct, frozen=True, tag_field="op", tag="ended", omit_defaults=True):
    """A command's end: `produced` bytes of output in all, exit code (-1 if it has none), reason, seconds.

    `detail` is a sentence for people. `results` holds what commands bring: `files` (listdir, glob), `stat`,
    `utime` (upload with keepstamp: access and modification time), `signal` (the number that ended it),
    `escaped` (process ids that could not be ended).
    """

    command: str
    produced: int
    rc: int
    reason: Reason = ""
    detail: str = ""
    elapsed: float = 0.0
    results: dict[str, Any] = {}


class FileRead(Struct, frozen=True, tag_field="op", tag="file_read", omit_defaults=True):
    """The agent wants up to `length` bytes from `offset` of the file that `command` downloads."""

    command: str
    offset: int
    length: int


class Welcome(Struct, frozen=True, tag_field="op", tag="welcome", omit_defaults=True):
    """The master takes the agent.

    `version`: of what it speaks. `stored`: see rule 5. `window`: bytes that may be unacknowledged.
    """

    version: str
    stored: dict[str, int] = {}
    window: int = 0


class Refused(Struct, frozen=True, tag_field="op", tag="refused"):
    """The master does not take the agent; `reason` is a sentence for the people there. The connection
    closes.
    """

    reason: str


class Start(Struct, frozen=True, tag_field="op", tag="start", omit_defaults=True):
    """Run a command: `kind` and `args` are Buildbot's (`commands.py` has their records)."""

    command: str
    kind: str
    args: dict[str, Any] = {}


class Interrupt(Struct, frozen=True, tag_field="op", tag="interrupt", omit_defaults=True):
    """End a command; its `Ended` follows as always. Without effect if it has ended, or was never known."""

    command: str
    reason: str = ""


class Ack(Struct, frozen=True, tag_field="op", tag="ack", omit_defaults=True):
    """The master has stored all output before `offset`, and with `ended` the end as well."""

    command: str
    offset: int
    ended: bool = False


class FileChunk(Struct, frozen=True, tag_field="op", tag="file_chunk", omit_defaults=True):
    """The answer to `FileRead`. Empty `data` means that the file ends at `offset`."""

    command: str
    offset: int
    data: bytes


class FileFailed(Struct, frozen=True, tag_field="op", tag="file_failed", omit_defaults=True):
    """The answer to `FileRead` when the master cannot read the file (or to an upload it cannot store)."""

    command: str
    reason: str


class Shutdown(Struct, frozen=True, tag_field="op", tag="shutdown", omit_defaults=True):
    """The agent should end its commands and itself; if it said that it is leaving: nothing more will come."""

    reason: str = ""


AgentMessage = Hello | Output | Ended | FileRead
MasterMessage = Welcome | Refused | Start | Interrupt | Ack | FileChunk | FileFailed | Shutdown


class FromAgent(Struct, frozen=True, omit_defaults=True):
    """One frame of the agent: the `number` of it in this connection, from 1; `leaving`: see rule 7."""

    number: int
    messages: tuple[AgentMessage, ...] = ()
    leaving: bool = False


class FromMaster(Struct, frozen=True):
    """One frame of the master: the highest number of the agent's frames it has received."""

    seen: int
    messages: tuple[MasterMessage, ...] = ()


Frame = TypeVar("Frame")

_encoder = msgspec.msgpack.Encoder()
_from_agent = msgspec.msgpack.Decoder(FromAgent)
_from_master = msgspec.msgpack.Decoder(FromMaster)


def encode(frame: FromAgent | FromMaster) -> bytes:
    """Return the bytes of a frame; one that is longer than `MAX_FRAME` is the sender's fault
    (`ProtocolError`).
    """
    data = _encoder.encode(frame)
    if len(data) > MAX_FRAME:
        fault: Party = "agent" if isinstance(frame, FromAgent) else "master"
        raise ProtocolError(fault, f"a frame of {len(data)} bytes (at most {MAX_FRAME} are allowed)")
    return data


def encoded_size(message: AgentMessage | MasterMessage) -> int:
    """Return how many bytes a message takes in a frame."""
    return len(_encoder.encode(message))


def decode_from_agent(data: bytes) -> FromAgent:
    """Return the frame an agent sent; anything else raises a `ProtocolError` with the agent at fault."""
    return _decode(data, _from_agent, "agent")


def decode_from_master(data: bytes) -> FromMaster:
    """Return the frame a master sent; anything else raises a `ProtocolError` with the master at fault."""
    return _decode(data, _from_master, "master")


def _decode(data: bytes, decoder: "msgspec.msgpack.Decoder[Frame]", sender: Party) -> Frame:
    """Decode one frame of `sender`, within the limit of its size."""
    if len(data) > MAX_FRAME:
        raise ProtocolError(sender, f"a frame of {len(data)} bytes (at most {MAX_FRAME} are allowed)")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(sender, f"a frame that cannot be read: {error}") from None
