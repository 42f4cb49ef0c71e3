"""What commands say and send, when the server is killed in between; secrets; local workers that come and go."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from scene import DEADLINE, PRELUDE, Scene, end_local_worker

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]

SECRETS = (
    PRELUDE
    + """\
os.makedirs(os.path.join(here, 'secrets'), mode=0o700, exist_ok=True)
with open(os.path.join(here, 'secrets', 'pw'), 'w', opener=lambda p, f: os.open(p, f, 0o600)) as file:
    file.write('hunter2hunter2')
from lockstep.config.secrets import SecretProviderBase
class Later(SecretProviderBase):
    async def get(self, entry):
        return {'key': 'begin of key\\nend of key'}.get(entry)
c['secretsProviders'] = [secrets.SecretInAFile(os.path.join(here, 'secrets')), Later()]
env = {'PW': util.Secret('pw'), 'KEY': util.Secret('key')}
"""
)


def in_store(scene: Scene, text: bytes) -> bool:
    """Whether the store, with all that is deleted in it, has a text."""
    return any(text in path.read_bytes() for path in scene.base.glob("lockstep.sqlite*"))


def test_secrets_stay_hidden_when_the_server_is_killed(stage: Stage) -> None:
    scene = stage(
        """
        text = 'echo before $PW; printf "prompt $PW"; echo "$KEY" >&2; echo $$ > "$AT.runs"; '
        text += 'until [ -e "$AT" ]; do sleep 0.02; done; echo; echo after $PW; echo "$KEY"; exit 3'
        env['AT'] = os.path.join(here, 'gates', 'it')
        c['workers'] = workers('w1')
        c['builders'] = [build('one', sh('it', ['sh', '-c', text], env=env))]
        """,
        "w1",
        prelude=SECRETS,
    )
    (brid,) = scene.force("one")
    buildid = scene.fact("BuildStarted", brid=brid).buildid
    scene.running("it")
    scene.until(lambda: "before" in scene.output(buildid, "it"), "its first line")
    scene.kill()
    scene.start()
    scene.until(lambda: len(scene.facts.of("WorkerUp")) >= 2, "the agent to be back")
    scene.open("it")
    assert scene.ended(brid) == [Result.FAILURE]
    assert scene.output(buildid, "it") == "before <pw>\nprompt <pw>\nafter <pw>\n<key>\n"
    assert scene.stop() == 0
    assert not in_store(scene, b"hunter2")
    assert not in_store(scene, b"end of key")


def test_programs_on_the_server_do_not_tell_secrets(stage: Stage) -> None:
    scene = stage(
        """
        it = steps.MasterShellCommand(name='it', command='echo "word $PW"; echo "$KEY"', env=env)
        c['workers'] = workers('w1')
        c['builders'] = [build('one', it)]
        """,
        "w1",
        prelude=SECRETS,
    )
    (brid,) = scene.force("one")
    assert scene.ended(brid) == [Result.SUCCESS]
    buildid = scene.fact("BuildStarted", brid=brid).buildid
    assert scene.output(buildid, "it") in ("word <pw>\n<key>\n", "word <pw>\n<key>\n<key>\n")  # as it was read
    assert not in_store(scene, b"hunter2")
    assert not in_store(scene, b"end of key")


def test_a_file_is_whole_when_the_server_is_killed_before_its_end_is_stored(stage: Stage) -> None:
    scene = stage(
        """
        up = steps.FileUpload(workersrc=os.path.join(here, 'big'), masterdest='got', name='up', keepstamp=True)
        c['workers'] = workers('w1')
        c['builders'] = [build('one', gate('first'), up)]
        """,
        "w1",
    )
    content = os.urandom(300_000)
    (scene.folder / "big").write_bytes(content)
    os.utime(scene.folder / "big", (1.4e9, 1.4e9))
    (brid,) = scene.force("one")
    scene.running("one-1-first")
    scene.open("first")
    scene.until((scene.base / "transfers").exists, "the file to come")
    other = sqlite3.connect(scene.base / "lockstep.sqlite", isolation_level=None, timeout=DEADLINE)
    other.execute("BEGIN IMMEDIATE")  # nothing is stored from here on
    try:
        scene.until((scene.base / "got").exists, "the file to be in its place")
        scene.kill()
    finally:
        other.execute("ROLLBACK")
        other.close()
    scene.start()
    assert scene.ended(brid) == [Result.SUCCESS]
    assert (scene.base / "got").read_bytes() == content
    assert (scene.base / "got").stat().st_mtime == 1.4e9
    scene.until(lambda: not list((scene.base / "transfers").iterdir()), "the part to be removed")


def test_local_workers_end_when_they_are_not_configured_any_more(stage: Stage) -> None:
    config = """
        c['workers'] = [worker.LocalWorker(name) for name in NAMES]
        c['builders'] = [build('one', sh('it'), on=NAMES)]
    """
    scene = stage(config.replace("NAMES", "['a/b', 'a_b']"))
    scene.fact("WorkerUp", worker="a/b")
    scene.fact("WorkerUp", worker="a_b")
    lock = scene.base / "workers" / "a_b" / ".lockstep" / "lock"
    agent = Path("/proc", lock.read_text().strip())
    assert agent.exists()
    scene.configure(config.replace("NAMES", "['a/b']"))
    assert scene.cli("reload").returncode == 0
    scene.until(lambda: not agent.exists(), "the local worker to end")
    scene.until(lambda: not list((scene.base / "workers").glob("a_b.*[!g]")), "its record to be gone")
    (brid,) = scene.force("one")
    assert scene.ended(brid) == [Result.SUCCESS]


def test_local_workers_that_were_removed_while_the_server_was_down_end(stage: Stage) -> None:
    config = """
        c['workers'] = [worker.LocalWorker(name) for name in NAMES]
        c['builders'] = [build('one', sh('it'), on='near')]
    """
    scene = stage(config.replace("NAMES", "['near', '.far']"))
    agents = {}
    for name, folder in (("near", "near"), (".far", "%2Efar")):
        scene.fact("WorkerUp", worker=name)
        agents[name] = Path("/proc", (scene.base / "workers" / folder / ".lockstep" / "lock").read_text().strip())
    scene.kill()
    scene.configure(config.replace("NAMES", "['near']"))
    scene.start()
    scene.until(lambda: not agents[".far"].exists(), "the local worker to end")
    assert agents["near"].exists()
    (brid,) = scene.force("one")
    assert scene.ended(brid) == [Result.SUCCESS]


def test_a_local_worker_that_cannot_be_started_is_tried_again_and_hinders_no_other(stage: Stage) -> None:
    config = """
        open(here + '/file', 'w')
        c['workers'] = [worker.LocalWorker('bad', workdir=here + '/file/below'), worker.LocalWorker('good')]
        c['builders'] = [build('one', sh('it'), on='bad')]
    """
    scene = stage(config)
    scene.fact("WorkerUp", worker="good")
    assert "local worker bad cannot be started" in scene.log.read_text()
    (scene.folder / "file").unlink()
    (brid,) = scene.force("one")
    assert scene.ended(brid) == [Result.SUCCESS]
    lock = scene.folder / "file" / "below" / ".lockstep" / "lock"
    end_local_worker(lock)
