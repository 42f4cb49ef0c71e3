"""A whole server and a worker, with a repository that wants a password: that is in no store, log or page."""

import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from scene import Scene

from lockstep.core.nouns import Result

from ..git_host import git_host

Stage = Callable[..., Scene]


def test_a_password_in_an_address_is_nowhere(stage: Stage, tmp_path: Path) -> None:
    repo = tmp_path / "served" / "repo"
    repo.mkdir(parents=True)
    for words in ("init -q -b main", "-c user.name=a -c user.email=a@x commit -q --allow-empty -m one"):
        subprocess.run(["git", *words.split()], cwd=repo, check=True)
    with git_host(tmp_path / "served", "ann", "hunter/2") as host:
        url = host.url("repo", "ann:hunter%2F2")
        scene = stage(
            f"""
            url = {url!r}
            c['workers'] = workers('w1')
            c['change_source'] = [changes.GitPoller(repourl=url, branches=['main'], pollInterval=1)]
            show = sh('show', 'git config --list; env')
            c['builders'] = [build('one', steps.Git(repourl=url), show),
                             build('two', steps.Git(repourl=url, env={{'GIT_TRACE': '1'}}), show)]
            """,
            "w1",
        )
        for builder in ("one", "two"):
            (brid,) = scene.force(builder)
            assert scene.ended(brid) == [Result.SUCCESS]
            buildid = scene.fact("BuildStarted", brid=brid).buildid
            told = scene.output(buildid, "git", streams="oeh") + scene.output(buildid, "show", streams="oeh")
            assert host.url("repo") in told
            with urllib.request.urlopen(f"{scene.url}/builds/{buildid}") as page:
                told += page.read().decode()
            with urllib.request.urlopen(f"{scene.url}/api/v2/builds/{buildid}/steps") as answer:
                told += answer.read().decode()
            assert "hunter" not in told
        assert set(host.logins) == {"ann:hunter/2"}
        assert scene.stop() == 0
        kept = [path for path in scene.base.rglob("*") if path.is_file() and b"hunter" in path.read_bytes()]
        assert kept == []
        assert "hunter" not in scene.log.read_text()
