"""The spool against a list in memory, through reloads, torn tails and full disks."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.protocol.limits import MAX_PIECE
from lockstep.protocol.messages import Ended
from lockstep.worker import spool as spool_file
from lockstep.worker.spool import Process, Spool, spools


def created(path: Path, command: str = "1") -> Spool:
    spool = Spool(str(path), command, "boot")
    spool.create()
    return spool


def all_from(spool: Spool, offset: int, limit: int = 1000) -> bytes:
    """Everything from an offset on, read in portions."""
    data = b""
    while pieces := spool.read(offset, limit):
        for piece in pieces:
            assert piece.offset == offset
            data += piece.data
            offset += len(piece.data)
    return data


Act = tuple[str, int]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "read", "ack", "reload", "seek", "rewind"]), st.integers(0, 400)),
        max_size=60,
    )
)
def test_like_a_list(acts: list[Act]) -> None:
    original, spool_file.SEGMENT = spool_file.SEGMENT, 500
    try:
        with tempfile.TemporaryDirectory() as folder:
            _play(Path(folder, "s"), acts)
    finally:
        spool_file.SEGMENT = original


def _play(path: Path, acts: list[Act]) -> None:
    spool, said, acked, cursor = created(path), b"", 0, 0
    for what, size in acts:
        if what == "write":
            data = bytes([65 + size % 26]) * (size + 1)
            spool.append("stdout" if size % 2 else "stderr", data, 1.0)
            said += data
        elif what == "read":
            for piece in spool.read(cursor, size + 1):
                assert piece.data == said[piece.offset : piece.offset + len(piece.data)]
                assert piece.offset == cursor
                cursor += len(piece.data)
        elif what == "ack":
            acked = min(max(acked, size * 10), cursor)
            spool.ack(acked)
        elif what == "seek":
            cursor = acked
        elif what == "rewind" and size * 10 >= spool.whole_from:
            assert all_from(spool, min(size * 10, spool.produced)) == said[size * 10 :]
        elif what == "rewind":
            acked = cursor = size * 10
            spool.rewind(acked)
            said = said[:acked]
        else:
            spool.close()
            loaded = Spool.load(str(path))
            assert loaded is not None
            spool, cursor = loaded, acked
        assert spool.produced == len(said)
    assert all_from(spool, acked) == said[acked:]
    assert len(os.listdir(path.parent)) <= (len(said) - acked) // 400 + 4
    spool.remove()
    assert os.listdir(path.parent) == []


def test_pieces_of_one_stream_are_joined(tmp_path: Path) -> None:
    spool = created(tmp_path / "s")
    for word in [b"a", b"b", b"c"]:
        spool.append("stdout", word, 1.0)
    spool.append("stderr", b"d", 2.0)
    spool.append("stdout", b"e" * (MAX_PIECE + 5), 3.0)
    pieces = spool.read(0, 1 << 20)
    assert [(p.stream, p.data[:3], len(p.data)) for p in pieces] == [
        ("stdout", b"abc", 3),
        ("stderr", b"d", 1),
        ("stdout", b"eee", MAX_PIECE),
        ("stdout", b"eee", 5),
    ]


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    spool = created(tmp_path / "s", "with/odd id")
    spool.note_process(Process(12, 34))
    spool.append("stdout", b"whole", 1.0)
    spool.append("stdout", b"torn", 1.0)
    spool.close()
    file = tmp_path / "s.0"
    os.truncate(file, file.stat().st_size - 2)
    loaded = Spool.load(str(tmp_path / "s"))
    assert loaded is not None
    assert (loaded.beginning.command, loaded.process, loaded.produced) == ("with/odd id", Process(12, 34), 5)
    loaded.append("stdout", b"!", 1.0)
    loaded.finish(Ended("with/odd id", 6, -1, "lost"))
    loaded.close()
    again = Spool.load(str(tmp_path / "s"))
    assert again is not None
    assert again.end == Ended("with/odd id", 6, -1, "lost")
    assert all_from(again, 0) == b"whole!"
    assert spools(str(tmp_path)) == [str(tmp_path / "s")]


@pytest.mark.parametrize("lost", range(4))
def test_content_that_a_power_cut_has_lost_is_cut_off(tmp_path: Path, lost: int) -> None:
    """The file has its length, and zeros at its end; no agent may stumble over that for ever."""
    spool = created(tmp_path / "s", "1")
    file = tmp_path / "s.0"
    ends = [file.stat().st_size]
    spool.append("stdout", b"whole", 1.0)
    ends.append(file.stat().st_size)
    spool.append("stdout", b"lost", 1.0)
    ends.append(file.stat().st_size)
    spool.finish(Ended("1", 9, 0))
    data = file.read_bytes()
    head = ([0, *ends][lost]) + 5
    file.write_bytes(data[:head] + b"\0" * (len(data) - head))
    (tmp_path / "s.backup").write_text("not ours")
    loaded = [Spool.load(path) for path in spools(str(tmp_path))]
    assert [one.produced for one in loaded if one is not None] == [[], [0], [5], [9]][lost]
    assert all(one.end is None for one in loaded if one is not None)


def test_without_a_start_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "s.0").write_bytes(b"\0" * 50)
    assert Spool.load(str(tmp_path / "s")) is None
    assert os.listdir(tmp_path) == []


def test_a_full_disk(tmp_path: Path) -> None:
    """A file size limit stands for the disk: what does not fit is refused whole, and the rest stays
    readable.
    """
    import resource
    import signal

    spool = created(tmp_path / "s")
    spool.append("stdout", b"fits", 1.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match=r"."):
            spool.append("stdout", b"x" * 5000, 1.0)
        assert all_from(spool, 0) == b"fits"
        spool.finish(Ended("1", 4, -1, "error"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    spool.close()
    loaded = Spool.load(str(tmp_path / "s"))
    assert loaded is not None
    assert loaded.end == Ended("1", 4, -1, "error")


def test_given_back_output_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_file, "SEGMENT", 100)
    spool = created(tmp_path / "s")
    for _ in range(10):
        spool.append("stdout", b"x" * 90, 1.0)
    spool.ack(800)
    with pytest.raises(ValueError, match="given back"):
        all_from(spool, 200)
