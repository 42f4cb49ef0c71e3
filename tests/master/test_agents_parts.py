"""Parts of files, lines and secrets, by themselves: what is kept when a server or a connection ends in between."""

import asyncio
import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.core.calls import RunCommand
from lockstep.master.limits import MAX_LINE_BYTES
from lockstep.master.local_workers import file_name
from lockstep.master.logs import LogFile
from lockstep.master.masks import Masks
from lockstep.master.server import url_of
from lockstep.master.transfers import Transfers
from lockstep.storage.batch import Batch

Start = Callable[[], Transfers]
COMMANDS = ("c", "1", "2", "over", "runs")
UP = RunCommand(kind="upload_file", args={}, masterdest="out.bin")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Start]:
    """Starts a server as far as files are concerned, again and again; at the end all commands are over."""
    made: list[Transfers] = []

    def start() -> Transfers:
        made.append(Transfers(str(tmp_path)))
        return made[-1]

    yield start
    for transfers in made:
        for command in COMMANDS:
            transfers.forget(command)


def open_files(folder: Path) -> list[str]:
    """What this process has open there."""
    names = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread has closed it just now
            names.append(each.readlink())
    return sorted(name.name for name in names if name.parent == folder)


def finished(transfers: Transfers, command: str, call: RunCommand) -> tuple[dict[str, object], str]:
    """What comes of a file."""
    return asyncio.run(transfers.finish(command, call, 0))


def test_a_file_is_placed_again_after_a_kill_before_its_end_was_stored(tmp_path: Path, server: Start) -> None:
    before = server()
    before.receive("c", UP, b"precious")
    assert finished(before, "c", UP) == ({}, "")
    after = server()
    after.resume("c", 8)
    after.sweep({"c"})
    assert finished(after, "c", UP) == ({}, "")
    assert (tmp_path / "out.bin").read_bytes() == b"precious"
    after.forget("c")
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_beyond_the_stored_bytes_comes_again(tmp_path: Path, server: Start) -> None:
    before = server()
    before.receive("c", UP, b"precious")
    after = server()
    after.resume("c", 3)
    after.receive("c", UP, b"cious")
    assert finished(after, "c", UP) == ({}, "")
    assert (tmp_path / "out.bin").read_bytes() == b"precious"


@pytest.mark.parametrize(("left", "why"), [(None, "is gone"), (b"pre", "of 8 bytes")])
def test_a_part_that_is_gone_never_replaces_a_file(tmp_path: Path, server: Start, left: bytes | None, why: str) -> None:
    (tmp_path / "out.bin").write_bytes(b"good")
    if left is not None:
        (tmp_path / "transfers").mkdir()
        (tmp_path / "transfers" / "c.part").write_bytes(left)
    transfers = server()
    transfers.resume("c", 8)
    transfers.receive("c", UP, b" more")
    assert transfers.received("c") == 13
    results, problem = finished(transfers, "c", UP)
    assert results == {}
    assert why in problem
    assert (tmp_path / "out.bin").read_bytes() == b"good"


def test_an_end_that_comes_twice_places_the_same_file_twice(tmp_path: Path, server: Start) -> None:
    transfers = server()
    transfers.receive("c", UP, b"precious")

    async def twice() -> None:
        await asyncio.gather(transfers.finish("c", UP, 0), transfers.finish("c", UP, 0))

    asyncio.run(twice())
    assert (tmp_path / "out.bin").read_bytes() == b"precious"


def archive() -> bytes:
    """A compressed archive of some size."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("a")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    return gzip.compress(packed.getvalue())


def test_two_builds_that_bring_the_same_file_at_once_bring_it_whole(tmp_path: Path, server: Start) -> None:
    transfers = server()
    call = RunCommand(kind="upload_file", args={"path": "x"}, masterdest="out/latest")
    size = 1 << 24
    for name in ("1", "2"):
        transfers.receive(name, call, name.encode() * size)

    async def finish() -> list[Any]:
        return await asyncio.gather(*(transfers.finish(name, call, 0) for name in ("1", "2")))

    assert asyncio.run(finish()) == [({}, ""), ({}, "")]
    assert (tmp_path / "out" / "latest").read_bytes() in (b"1" * size, b"2" * size)
    assert os.listdir(tmp_path / "out") == ["latest"]


@pytest.mark.parametrize(
    ("times", "changed", "problem"),
    [([1.5e9, 1.4e9], 1.4e9, ""), ([1.5e9], None, "ValueError"), ([1e300, 1e300], None, "OverflowError")],
)
def test_a_file_keeps_its_times(tmp_path: Path, server: Start, times: Any, changed: float | None, problem: str) -> None:
    transfers = server()
    transfers.receive("c", UP, b"it")
    _, wrong = asyncio.run(transfers.finish("c", UP, 0, times))
    assert problem in wrong
    assert bool(problem) == bool(wrong)
    assert [path.stat().st_mtime for path in tmp_path.glob("out.bin")] == ([] if changed is None else [changed])


def test_a_file_that_is_replaced_while_a_worker_fetches_it_comes_whole(tmp_path: Path, server: Start) -> None:
    transfers = server()
    call = RunCommand(kind="download_file", args={}, mastersrc="latest")

    def fetch(command: str, offset: int) -> bytes:
        return asyncio.run(transfers.read(command, call, offset, 4))

    (tmp_path / "latest").write_text("old file")
    begun = fetch("1", 0)
    (tmp_path / "new").write_text("NEW CONTENT")
    (tmp_path / "new").replace(tmp_path / "latest")
    assert (begun + fetch("1", 4), fetch("1", 8)) == (b"old file", b"")
    assert fetch("2", 0) + fetch("2", 4) == b"NEW CONT"
    assert open_files(tmp_path) == ["latest", "latest (deleted)"]
    transfers.forget("1")
    assert open_files(tmp_path) == ["latest"]
    assert fetch("1", 4) == b"CONT"


@pytest.mark.parametrize("compress", [None, "gz", "bz2"])
def test_a_torn_archive_is_a_problem_and_no_fault_of_the_server(server: Start, compress: str | None) -> None:
    call = RunCommand(kind="upload_directory", args={"compress": compress}, masterdest="got")
    transfers = server()
    transfers.receive("c", call, archive()[:-60_000])
    assert "cannot store got" in finished(transfers, "c", call)[1]


def links(
    *links: tuple[str, str], folders: tuple[str, ...] = (), file: str = "", kind: bytes = tarfile.SYMTYPE
) -> bytes:
    """An archive with folders, then links (name and where it leads), then a file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, what, target in [*((f, tarfile.DIRTYPE, "") for f in folders), *((n, kind, t) for n, t in links)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = what, target
            tar.addfile(info)
        if file:
            tar.addfile(tarfile.TarInfo(file))
    return packed.getvalue()


def astray() -> bytes:
    """An archive whose links take each other beyond the longest path that is looked at (CVE-2025-4517)."""
    long, letters = "d" * 247, "abcdefghijklmnop"
    folders = tuple("/".join([long] * (depth + 1)) for depth in range(len(letters)))
    short = tuple(("/".join([*[long] * depth, letter]), long) for depth, letter in enumerate(letters))
    way = "/".join([*letters, "l" * 254])
    return links(*short, (way, "../" * len(letters)), ("out", f"{way}/../.."), folders=folders, file="out/astray")


@pytest.mark.parametrize(
    "packed",
    [
        astray(),
        links(("b", "a/../.."), folders=("a",), file="x"),
        links(("a", "p/q"), ("b", "a/../.."), ("a", "."), folders=("p/q",), file="x"),
        links(("p/up", "../.."), folders=("p",), file="x"),
        links(("here", "p"), folders=("p",), file="here/x"),
        links(("b", "p/../../x"), kind=tarfile.LNKTYPE, file="x"),
        links(file="p/../../x"),
    ],
)
def test_an_archive_puts_nothing_and_leads_nowhere_outside(tmp_path: Path, server: Start, packed: bytes) -> None:
    call = RunCommand(kind="upload_directory", args={}, masterdest="one/two/got")
    transfers = server()
    transfers.receive("c", call, packed)
    _, problem = finished(transfers, "c", call)
    assert "cannot store one/two/got: " in problem
    assert [path.name for path in tmp_path.iterdir()] == ["transfers"]


def test_links_that_stay_inside_come_along_again_and_again(tmp_path: Path, server: Start) -> None:
    packed = links(("a", "p/q"), ("p/b", "../p/./q"), ("./p/q/up", "../.."), folders=("p", "p/q"), file="p/q/x")
    call = RunCommand(kind="upload_directory", args={}, masterdest="got")
    for command in ("1", "2"):
        transfers = server()
        transfers.receive(command, call, packed)
        assert finished(transfers, command, call) == ({}, "")
    assert (tmp_path / "got" / "a" / "x").exists()
    assert (tmp_path / "got" / "p" / "b" / "up" / "a" / "x").exists()


def packed(*entries: tuple[str, int], compress: str = "gz") -> bytes:
    """An archive of files with so many zeros; folders have none, and a slash at their end."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{compress}") as tar:  # type: ignore[call-overload]
        for name, size in entries:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.size, info.type = size, tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(bytes(size)))
    return made.getvalue()


def raw(kind: bytes, size: int, data: bytes = b"") -> bytes:
    """One entry that says that it has so many bytes."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    return gzip.compress(bytes(head) + data + bytes(-len(data) % 512) + bytes(1024))


BIG = 1 << 20
UP_TREE = RunCommand(kind="upload_directory", args={"compress": "gz", "maxsize": BIG}, masterdest="one/got")


@pytest.mark.parametrize(
    ("archived", "why"),
    [
        (packed(("first", BIG), ("second", 1)), f"unpacked, it has more than the {BIG} bytes that are allowed"),
        (packed(("vast", 16 * BIG)), f"unpacked, it has more than the {BIG} bytes that are allowed"),
        (packed(*((f"{number}/", 0) for number in range(102))), "more than the 101 files and folders"),
        (packed(("d/" * 300, 0)), "more than 256 folders deep"),
        (raw(tarfile.XHDTYPE, BIG, bytes(BIG)), f"a header of {BIG} bytes"),
        (raw(tarfile.GNUTYPE_LONGNAME, BIG, bytes(BIG)), f"a header of {BIG} bytes"),
        (raw(tarfile.REGTYPE, -512), "-512 bytes"),
        (raw(tarfile.REGTYPE, 4096), "unexpected end of data"),
    ],
    ids=["files", "file", "entries", "deep", "header", "name", "negative", "torn"],
)
def test_an_archive_that_is_a_bomb_leaves_nothing(
    tmp_path: Path, server: Start, monkeypatch: pytest.MonkeyPatch, archived: bytes, why: str
) -> None:
    monkeypatch.setattr("lockstep.master.unpacking.MAX_UPLOADED_ENTRIES", 101)
    transfers = server()
    transfers.receive("c", UP_TREE, archived)
    _, problem = finished(transfers, "c", UP_TREE)
    assert problem.startswith("cannot store one/got: ")
    assert why in problem
    assert "\n" not in problem
    transfers.forget("c")
    assert [path.name for path in tmp_path.rglob("*")] == ["transfers"]


def test_a_bomb_replaces_nothing(tmp_path: Path, server: Start) -> None:
    got = tmp_path / "one" / "got"
    (got / "sub").mkdir(parents=True)
    (got / "sub" / "kept").write_text("before")
    for number, archived in enumerate([packed(("sub/kept", 1), ("big", BIG)), packed(("a", 1), ("sub", 1))]):
        transfers = server()
        transfers.receive(f"{number}", UP_TREE, archived)
        assert "cannot store one/got" in finished(transfers, f"{number}", UP_TREE)[1]
        assert [str(path.relative_to(got)) for path in sorted(got.rglob("*"))] == ["sub", "sub/kept"]
        assert (got / "sub" / "kept").read_text() == "before"


@pytest.mark.parametrize("compress", ["", "gz", "bz2"])
def test_a_directory_of_just_the_size_comes_beside_what_is_there(tmp_path: Path, server: Start, compress: str) -> None:
    got = tmp_path / "one" / "got"
    (got / "sub").mkdir(parents=True)
    (got / "sub" / "kept").write_text("before")
    (got / "old").write_text("before")
    (got / "c.part").mkdir()
    (got / ".c.part").mkdir()  # left by a server that was killed
    (got / ".c.part" / "half").write_text("of it")
    call = RunCommand(kind="upload_directory", args={"compress": compress, "maxsize": BIG}, masterdest="one/got")
    transfers = server()
    sizes = (("old", BIG // 2), ("sub/", 0), ("sub/new", 1), ("fresh/", 0), ("fresh/x", 1000))
    transfers.receive("c", RunCommand(kind="", args={}, masterdest="x"), packed(*sizes, compress=compress))
    assert finished(transfers, "c", call) == ({}, "")
    found = {str(path.relative_to(got)): path.stat().st_size for path in got.rglob("*") if path.is_file()}
    assert found == {"old": BIG // 2, "sub/kept": 6, "sub/new": 1, "fresh/x": 1000}
    assert not (got / ".c.part").exists()


def test_what_is_on_its_way_is_for_the_server_alone(tmp_path: Path, server: Start) -> None:
    server().receive("c", UP, b"a secret")
    assert (tmp_path / "transfers").stat().st_mode & 0o077 == 0


def test_no_more_is_kept_than_is_allowed(tmp_path: Path, server: Start) -> None:
    call = RunCommand(kind="upload_file", args={"maxsize": 10}, masterdest="out.bin")
    transfers = server()
    for _ in range(3):
        transfers.receive("c", call, b"1234")
    assert "10 bytes" in finished(transfers, "c", call)[1]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.part")) <= 10


def test_bytes_are_on_the_disk_before_they_are_told_to_be_there(
    tmp_path: Path, server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a part that is closed meanwhile is no fault."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    transfers = server()
    assert transfers.sync("c") is None
    transfers.receive("c", UP, b"precious")
    batch = Batch(first=[sync]) if (sync := transfers.sync("c")) else Batch()
    for first in batch.first:
        first()
    assert synced == [str(tmp_path / "transfers" / "c.part")]
    assert finished(transfers, "c", UP) == ({}, "")
    assert synced[1:] == [str(tmp_path / ".c.part")]
    transfers.forget("c")
    for first in batch.first:
        first()
    assert len(synced) == 2


def test_parts_whose_commands_are_over_are_swept(tmp_path: Path, server: Start) -> None:
    before = server()
    before.receive("over", UP, b"x")
    before.receive("runs", UP, b"x")
    server().sweep({"runs"})
    assert [path.name for path in tmp_path.rglob("*.part")] == ["runs.part"]


def test_a_secret_is_hidden_where_a_long_line_is_cut() -> None:
    log = LogFile(1, "t")
    log.masks = Masks({"pw": "hunter2hunter2"})
    said = ""
    for piece in (b"x" * (MAX_LINE_BYTES - 5), b"hunter2", b"hunter2 y\n"):
        said += "".join(part.text for part in log.feed("o", piece))
    assert "hunter2" not in said
    assert said.replace("\n", "").endswith("x<pw> y")


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("hunter2", "a hunter2 b", "a <pw> b"),
        ("first\nsecond", "first\nsecond", "<pw>"),
        ("first\nsecond", "first\r\nsecond", "<pw>"),
        ("first\nsecond", "only second", "only <pw>"),
        ("{\n  key: abc\n}", "a {} of key: abc", "a {} of <pw>"),
        (" padded\n", "it is padded", "it is <pw>"),
        ("", "nothing", "nothing"),
    ],
)
def test_secrets_are_hidden_however_they_come_back(value: str, text: str, shown: str) -> None:
    masks = Masks({"pw": value})
    assert masks.hide(text.encode()).decode() == shown
    assert masks.hide_in({"a": [text, 1, b"bytes"]}) == {"a": [shown, 1, b"bytes"]}


def test_the_longest_secret_is_hidden_first() -> None:
    assert (Masks({"short": "abcd"}) | Masks({"long": "abcdef"})).hide(b"abcdef abcd") == b"<long> <short>"


def test_two_local_workers_never_share_a_file() -> None:
    names = ["a/b", "a_b", "a%2Fb", "a", "a.log", "a.password", ".", "..", ".a", "a b", "\u00e4"]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any(name.startswith(".") or "/" in name for name in map(file_name, names))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "ws://127.0.0.1:8010/"),
        ("0.0.0.0", "ws://127.0.0.1:8010/"),
        ("::", "ws://[::1]:8010/"),
        ("fe80::1", "ws://[fe80::1]:8010/"),
        ("ci.example", "ws://ci.example:8010/"),
    ],
)
def test_local_workers_find_the_server(host: str, url: str) -> None:
    assert url_of(host, 8010) == url
