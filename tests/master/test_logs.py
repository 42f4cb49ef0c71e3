"""Logs by themselves: what is kept of them, in which encoding, and the same wherever a server is killed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable

import pytest

from lockstep.master.limits import TAPE_PIECE
from lockstep.master.log_end import size_of
from lockstep.master.logs import Kept, LogFile, Part
from lockstep.master.tape import Tape
from lockstep.storage.batch import LogEnd, LogPart


class Disk:
    """What is stored of one log: its lines, the last pieces, the rests of its writers."""

    def __init__(self, kept: Kept, encoding: str = "", type_: str = "s") -> None:
        self.kept, self.encoding, self.type = kept, encoding, type_
        self.text = ""
        self.ends: dict[int, str] = {}
        self.most = 0

    def write(self, parts: Iterable[Part]) -> None:
        """Store parts."""
        for part in parts:
            if isinstance(part, LogEnd):
                if part.number >= part.first:
                    self.ends[part.number] = part.text
                for number in range(part.gone, part.first):
                    self.ends.pop(number, None)
            else:
                assert part.first_line == self.text.count("\n")
                assert part.lines == part.text.count("\n")
                self.text += part.text
        self.most = max(self.most, sum(len(text) for text in self.ends.values()))

    def open(self) -> LogFile:
        """The log, as a new process has it."""
        size = size_of(self.type, self.text)  # type: ignore[arg-type]
        log = LogFile(1, self.type, kept=self.kept, encoding=self.encoding)  # type: ignore[arg-type]
        log.resume(self.text.count("\n"), size, self.ends or None)
        return log

    def after_a_kill(self, log: LogFile) -> LogFile:
        """The log in a new process, with the rests that were stored in the same transaction."""
        rests = {writer: dict(log.rests(writer)) for writer in ("a", "b")}
        log = self.open()
        for writer, rest in rests.items():
            for key, data in rest.items():
                log.resume_rest(writer, key, data)
        return log


def said(pieces: Iterable[tuple[str, bytes, str]], disk: Disk, kill: Iterable[int] = ()) -> str:
    """What is stored of a log with these pieces, if the server is killed after some of them."""
    log = disk.open()
    for at, (stream, data, writer) in enumerate(pieces):
        disk.write(log.feed(stream, data, writer, decoded=False))  # type: ignore[arg-type]
        if at in kill:
            log = disk.after_a_kill(log)
    disk.write(log.close())
    disk.write(log.close())
    assert not disk.ends
    return disk.text


def stored(log: list[str], reads: list[int]) -> Callable[[int, int], Awaitable[str]]:
    """Reads lines as the store does."""

    async def read(first: int, lines: int) -> str:
        reads.append(lines)
        return "".join(log[first : first + lines])

    return read


def test_a_replay_reads_in_pieces_and_only_for_observers() -> None:
    log, reads, seen = [f"oline {i}\n" for i in range(3 * TAPE_PIECE)], list[int](), list[str]()

    async def play() -> None:
        tape = Tape("s", len(log), stored(log, reads))
        await tape.pass_until(5)
        assert not reads
        tape.observe(lambda stream, line: seen.append(line))
        await tape.pass_until(7)
        assert seen == ["line 5", "line 6"]
        both = asyncio.gather(tape.catch_up(), tape.pass_until(len(log)))
        tape.take(LogPart(1, len(log), 1, "olast\n"))
        log.append("olast\n")
        await both
        tape.take(LogPart(1, len(log), 1, "elive\n"))

    asyncio.run(play())
    assert seen == [*(f"line {i}" for i in range(5, 3 * TAPE_PIECE)), "last", "live"]
    assert max(reads) == TAPE_PIECE


NUMBERS = [("o", f"line {i}\n".encode(), "a") for i in range(1000)]


def test_two_commands_in_one_log_have_their_own_last_lines() -> None:
    log = LogFile(1, "s")
    assert log.feed("o", b"foo", "a") == []
    assert [part.text for part in log.feed("o", b"bar\nbaz", "b")] == ["obar\n"]
    assert [part.text for part in log.finish("a")] == ["ofoo\n"]
    assert log.partial == {("b", "o"): b"baz"}
    assert [part.text for part in log.close()] == ["obaz\n"]


def test_of_a_long_log_the_beginning_is_kept() -> None:
    text = said([("h", b"sh -c ...\n", "a"), *NUMBERS, ("h", b"exit code 0\n", "a")], Disk(Kept(70)))
    assert text == (
        "hsh -c ...\n" + "".join(f"oline {i}\n" for i in range(10)) + "hThe log is longer than 70 bytes; "
        "the rest is not kept.\nhexit code 0\n"
    )


def test_a_log_of_just_the_limit_is_whole() -> None:
    assert said(NUMBERS[:10], Disk(Kept(70))) == "".join(f"oline {i}\n" for i in range(10))


def test_of_a_long_log_beginning_and_end_are_kept() -> None:
    disk = Disk(Kept(21, 18))
    assert said(NUMBERS, disk) == (
        "oline 0\noline 1\noline 2\nhThe log is longer than 21 bytes; of the rest only the last 18 bytes are kept.\n"
        "h... and its end:\noline 998\noline 999\n".replace("18 bytes", "18 bytes")
    )
    assert disk.most < 18 + 2 * len("oline 999\n")


def test_an_endless_line_is_cut_between_characters() -> None:
    text = said([("o", "äöü".encode() * 1000, "a"), ("o", b"!", "a")], Disk(Kept(5, 4)))
    assert text.startswith("oäö\nh")
    assert text.endswith("end:\noü!\n")


@pytest.mark.parametrize("type_", ["s", "t"])
def test_limits_hold_wherever_the_server_is_killed(type_: str) -> None:
    """Random pieces of two commands, random limits: the same is stored with kills as without any."""
    for seed in range(300):
        chance = random.Random(seed)
        pieces = [
            (
                chance.choice("ooeh"),
                bytes(chance.choices(b"ab\n\xc3\xa4", k=chance.randrange(1, 12))),
                chance.choice("ab"),
            )
            for _ in range(chance.randrange(1, 40))
        ]
        kept = Kept(chance.randrange(60), chance.choice((0, 5, 20)))
        kills = set(chance.sample(range(len(pieces)), k=min(len(pieces), 5)))
        whole = said(pieces, Disk(kept, type_=type_))
        assert said(pieces, Disk(kept, type_=type_), kills) == whole, f"seed {seed}"
        lost = said(pieces, Disk(Kept(), type_=type_))
        assert (lost == whole) == (size_of(type_, lost) <= kept.beginning), f"seed {seed}"  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "shift_jis", "utf-8", "gb18030"])
def test_output_is_decoded_wherever_it_is_cut_and_killed(encoding: str) -> None:
    words = {"latin-1": "Käse für Ångström\nend"}.get(encoding, "日本語のテスト\nもう一行\nend")
    data = words.encode(encoding)
    for kill in (False, True):
        pieces = [("o", data[i : i + 1], "a") for i in range(len(data))]
        text = said(pieces, Disk(Kept(), encoding), range(len(data)) if kill else ())
        assert text == "".join(f"o{line}\n" for line in words.split("\n"))


def test_what_cannot_be_decoded_is_replaced() -> None:
    assert said([("o", b"a\xff\nb\x81", "a")], Disk(Kept(), "shift_jis")) == "oa\ufffd\nob\ufffd\n"
    assert said([("o", b"a\xff\n", "a")], Disk(Kept(), "utf-8")) == "oa\ufffd\n"


def test_headers_and_what_a_step_writes_are_texts_already() -> None:
    log = LogFile(1, "s", encoding="latin-1")
    assert [part.text for part in log.feed("h", "Käse\n".encode(), "a", decoded=False)] == ["hKäse\n"]
    assert [part.text for part in log.feed("o", "Käse\n".encode())] == ["oKäse\n"]
