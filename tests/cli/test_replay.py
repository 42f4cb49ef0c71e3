"""`lockstep run --record` and `lockstep replay`: what a real server decided is decided again. Real processes."""

import json
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lockstep.core import events as e
from lockstep.core.decide import decide
from lockstep.core.saved import Saved
from lockstep.core.state import State
from lockstep.sim.recording import Recording
from lockstep.sim.tracing import Replay, first_difference, saved_of, text_of
from lockstep.storage.store import Store

from .lockstep_command import CONFIG, Running, lockstep, until

TRACES = Path(__file__).parent.parent / "traces"
SECRET = "never-to-be-written-9b2f"
SECRETIVE = (
    CONFIG
    + f"""
c["workers"].append(worker.Worker("away", "{SECRET}"))
from lockstep.plugins import secrets
c["secretsProviders"] = [secrets.SecretInAFile(dirname=basedir + "/secrets")]
waits = util.BuilderConfig(name="merged", workernames=["local"], factory=quick, locks=[database.access("counting")])
c["builders"].append(waits)
told = util.BuildFactory([steps.ShellCommand(name="told", command=["echo", util.Secret("pass")])])
c["builders"].append(util.BuilderConfig(name="secretive", workernames=["local"], factory=told))
"""
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of a server that was killed while one build held a lock and another waited, and went on."""
    folder = tmp_path_factory.mktemp("recorded")
    file, gate = folder / "server.trace", folder / "gate"
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "pass").write_text(SECRET)
    (folder / "secrets" / "pass").chmod(0o600)
    server = Running(folder, SECRETIVE, "run", "--record", str(file))
    try:
        assert server("force", "secretive", "--wait").returncode == 0
        for name in ("gated", "gated-too"):
            assert server("force", name, "--property", f"gate={gate}").returncode == 0
        until((folder / "gate.began").exists, "the build under the lock")
        until(lambda: len(server.json("builds")) >= 3, "both builds")
        assert server("force", "merged").returncode == 0
        server.stop(signal.SIGKILL)
        server = Running(folder, SECRETIVE, "run", "--record", str(file))
        assert server("force", "merged").returncode == 0
        gate.touch()
        assert server("force", "failing", "--wait").returncode == 1
        until(lambda: all(b["complete"] for b in server.json("builds")), "the end of all builds")
        assert server("hold", "database", "--for", "1h", "--reason", "a look").returncode == 0
        assert server("force", "merged").returncode == 0
    finally:
        server.stop()
    return file


def test_what_a_server_decided_is_decided_again(recorded: Path) -> None:
    done = lockstep("replay", str(recorded))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything is decided as it was" in done.stdout
    lines = recorded.read_text().splitlines()
    assert [line[:8] for line in lines if line.startswith("> ")].count("> Saved ") == 2
    assert '"builds":[' in [line for line in lines if line.startswith("> Saved ")][1]
    for wanted in ("Submitted", "BuildPlanned", "CommandEnded", "WorkerConnected", "BookingAsked"):
        assert any(line.startswith(f"> {wanted} ") for line in lines)


def test_what_a_store_gives_back_comes_back_from_its_line(recorded: Path) -> None:
    store = Store.open("sqlite:///lockstep.sqlite", recorded.parent)
    saved = store.load()
    store.close()
    assert any(request.collapse_key for request in saved.requests)
    assert any(lock.memory for lock in saved.locks)
    assert saved.bookings
    assert saved_of(text_of(saved)) == saved


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("update locks set fence = fence + 7 where name = 'database'", "lock database: fence is 8 and 1"),
        ("update requests set priority = 5", "requests.1.'priority' is 5 and 0"),
        ("delete from claims where hold", "the allocator: holds"),
    ],
)
def test_a_store_that_gives_back_what_was_not_decided_is_told(tmp_path: Path, fault: str, told: str) -> None:
    file = tmp_path / "server.trace"
    server = Running(tmp_path, CONFIG, "run", "--record", str(file))
    try:
        assert server("hold", "database").returncode == 0
        assert server("force", "gated", "--property", "gate=x").returncode == 0
        until(lambda: server.json("locks", "database")[0]["waiting"], "the step to wait")
    finally:
        server.stop()
    with closing(sqlite3.connect(tmp_path / "lockstep.sqlite")) as store, store:
        assert store.execute(fault).rowcount > 0
    Running(tmp_path, CONFIG, "run", "--record", str(file)).stop()
    done = lockstep("replay", str(file))
    assert done.returncode == 1
    _, place = (n for n, line in enumerate(file.read_text().splitlines(), 1) if line.startswith("> Saved "))
    assert f"{file} line {place}:\n  what the store gave back, and what had been decided: " in done.stdout
    assert told in done.stdout


def test_a_recording_is_for_its_owner_and_has_no_secrets(recorded: Path) -> None:
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert SECRET not in recorded.read_text()


def test_the_first_difference_is_told_with_its_place(recorded: Path, tmp_path: Path) -> None:
    lines = recorded.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("    BuildStarted "))
    was = lines[place]
    lines[place] = was.replace('"worker":"local"', '"worker":"other"')
    assert lines[place] != was
    changed = tmp_path / "changed.trace"
    changed.write_text("\n".join(lines) + "\n")
    done = lockstep("replay", str(changed))
    assert done.returncode == 1
    assert f"{changed} line {place + 1}:\n  it was {lines[place].strip()}\n  now it is {was.strip()}" in done.stdout
    event = max(n for n in range(place) if lines[n].startswith("> "))
    assert f"That is what follows from line {event + 1}" in done.stdout
    told = json.loads(lockstep("replay", str(changed), "--json").stdout)["difference"]
    assert (told["line"], told["event_line"], told["event"]) == (place + 1, event + 1, lines[event][2:])


@pytest.mark.parametrize(("take", "give"), [(True, ""), (False, '    ClaimDropped {"ticket":99}')])
def test_a_fact_too_few_or_too_many_is_a_difference(take: bool, give: str, tmp_path: Path) -> None:
    lines = (TRACES / "ring.trace").read_text().splitlines()
    place = max(n for n, line in enumerate(lines[:-3]) if line.startswith("    ") and lines[n + 1].startswith("@"))
    lines[place : place + take] = [lines[place], give] if give else []
    changed = tmp_path / "changed.trace"
    changed.write_text("\n".join(lines) + "\n")
    done = lockstep("replay", str(changed))
    assert done.returncode == 1
    assert "no more facts" in done.stdout


def test_where_a_recording_was_cut_off_is_no_difference(recorded: Path) -> None:
    data = recorded.read_bytes()
    for place in [*random.Random(1).sample(range(data.index(b"\n> Sub"), len(data)), 40), len(data)]:
        lines = data[:place].decode(errors="ignore").splitlines()
        assert first_difference(lines, Replay()) is None, place
    first = data[: data.index(b"CommandEnded") + 3].decode() + "\n"
    assert first_difference((first + data.decode()).splitlines(), Replay()) is None


def test_what_is_recorded_behind_a_line_that_was_cut_off_is_read(recorded: Path, tmp_path: Path) -> None:
    file, data = tmp_path / "server.trace", recorded.read_bytes()
    file.write_bytes(data[: data.index(b"CommandEnded") + 3])
    recording = Recording(str(file))
    recording.began(Saved(installation="x"), 1.0)
    recording.close()
    replay = Replay()
    assert first_difference(file.read_text().splitlines(), replay) is None
    assert (replay.state.installation, replay.at) == ("x", 1.0)


def test_a_trace_of_the_simulation_is_played_too() -> None:
    done = lockstep("replay", str(TRACES / "lease.trace"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_decision_that_failed_fails_again_and_is_told_if_it_does_not(tmp_path: Path) -> None:
    file = tmp_path / "fault.trace"
    recording = Recording(str(file))
    recording.began(Saved(installation="x"), 1.0)
    event = e.TimerFired(timer="sleep:no number")
    recording.event(event, 2.0)
    with pytest.raises(ValueError, match="invalid literal") as raised:
        decide(State("x"), event, 2.0)
    recording.failed(raised.value)
    recording.close()
    assert lockstep("replay", str(file)).returncode == 0
    file.write_text(file.read_text().replace("sleep:no number", "sleep:1.1.1"))
    done = lockstep("replay", str(file))
    assert done.returncode == 1
    assert "it was ! ValueError: invalid literal" in done.stdout


def test_a_recording_ends_at_its_limit_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "short.trace"
    for _ in range(2):
        recording, state = Recording(str(file), 1000), State("x")
        recording.began(Saved(installation="x"), 1.0)
        for at in range(100):
            event = e.TimerFired(timer="lease:1:bot")
            recording.event(event, float(at))
            recording.facts(decide(state, event, float(at)).facts)
        recording.close()
    text = file.read_text()
    assert len(text) < 1300
    assert text.splitlines()[-1] == "# The limit of 1000 bytes is reached: the recording ends here."
    assert "has reached its limit" in caplog.text
    assert lockstep("replay", str(file)).returncode == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "There is no trace"),
        ("", "it holds no events"),
        ("hello\n", "line 1 is no line of a trace: hello"),
        ("> Nothing {}\n", "line 1 cannot be read: there is no event 'Nothing'"),
        ('> TimerFired {"timer":1}\n', "line 1 cannot be read: Expected `str`, got `int`"),
        ("@ now\n", "line 1 cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_no_trace_is_refused_with_a_sentence(text: str | bytes | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "file.trace"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    done = lockstep("replay", str(file))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_that_cannot_be_written_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "master.cfg").write_text(CONFIG)
    done = lockstep("run", str(tmp_path), "--port", "0", "--record", str(tmp_path / "no" / "file"))
    assert done.returncode == 5
    assert "cannot be written: No such file or directory." in done.stderr
