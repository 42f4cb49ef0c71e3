"""The same server on a real PostgreSQL: builds, kills, a second server on the same database, a full disk."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fault_tools import Disk, why_no_disk
from scene import DEADLINE, PROGRAM, Scene
from test_crash import GUARDED, kill_at_random
from timeline import check_lock

Stage = Callable[..., Scene]


def test_kills_at_random_moments_on_postgresql(stage: Stage, new_database: Callable[[], str]) -> None:
    url = new_database()
    kill_at_random(stage(f"    c['db'] = {{'db_url': {url!r}}}\n{GUARDED}", "w1", "w2", store=url), 3)


def test_a_second_server_on_the_same_database_is_refused(stage: Stage, new_database: Callable[[], str]) -> None:
    url = new_database()
    scene = stage(f"    c['db'] = {{'db_url': {url!r}}}\n{GUARDED}", "w1", store=url)
    elsewhere = scene.folder / "elsewhere"
    elsewhere.mkdir()
    words = [PROGRAM, "run", str(scene.file), "--basedir", str(elsewhere), "--port", "0"]
    second = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 5
    assert "is in use by another process" in second.stderr
    assert "Traceback" not in second.stderr
    assert set(scene.ended(*scene.force("free"))) == {0}


@pytest.fixture
def cramped(postgres: str, new_database: Callable[[], str]) -> Iterator[tuple[str, Disk]]:
    """The address of a database that lies on a small disk of its own, and that disk."""
    import psycopg

    url = new_database()
    name = urlsplit(url).path.strip("/")
    folder = Path(tempfile.mkdtemp(prefix="lockstep-pg-disk-"))
    folder.chmod(0o755)
    disk = Disk(folder / "disk")
    try:
        with psycopg.connect(postgres, autocommit=True) as connection:
            (home,) = connection.execute("SHOW data_directory").fetchone() or ("",)
            (folder / "disk" / "space").mkdir()
            owner = os.stat(home)
            os.chown(folder / "disk" / "space", owner.st_uid, owner.st_gid)
            connection.execute(f"CREATE TABLESPACE small_{name} LOCATION '{folder / 'disk' / 'space'}'")
            connection.execute(f"ALTER DATABASE {name} SET TABLESPACE small_{name}")
        yield url, disk
        disk.empty()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"DROP TABLESPACE small_{name}")
    finally:
        disk.close()
        shutil.rmtree(folder)


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
def test_a_full_disk_of_the_database_is_said_and_nothing_is_lost(cramped: tuple[str, Disk], stage: Stage) -> None:
    url, disk = cramped
    talk = "build('talk', gate('go'), sh('say', 'seq 300000'), sh('then'), locks=[db.access('exclusive')])"
    scene = stage(
        f"""
        c['db'] = {{'db_url': {url!r}}}
        db = util.MasterLock('db')
        c['workers'] = workers('w1')
        c['builders'] = [{talk}]
        """,
        "w1",
        store=url,
    )
    (brid,) = scene.force("talk")
    scene.running("talk-1-go")
    disk.fill()
    scene.open("talk-1-go")
    assert scene.process is not None
    assert scene.process.wait(DEADLINE) != 0
    log = scene.log.read_text()
    assert "the disk is full; make room and start again" in log
    assert "Traceback" not in log, log
    disk.empty()
    scene.start()
    assert scene.ended(brid) == [0]
    build = scene.fact("BuildStarted", brid=brid).buildid
    assert scene.output(build, "say") == "".join(f"{n}\n" for n in range(1, 300001))
    check_lock(scene.facts, "db", 1)
