"""From a commit to builds, on real repositories: pollers, schedulers, checkouts, triggers, timers, merged requests.

The tests share one server; each has its own repository, builders and schedulers.
"""

import itertools
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scene import PRELUDE, Scene
from timeline import check_lock

from lockstep.core.nouns import Result

OK = Result.SUCCESS
HAS_SVN = shutil.which("svnadmin") is not None
IDENTITY = ("-c", "user.name=Ann", "-c", "user.email=ann@x", "-c", "init.defaultBranch=main")
CONFIG = """
    ones = [util.MasterLock('one').access('exclusive')]
    c['workers'] = workers('w1', 'w2')
    c['builders'] = b = []
    c['schedulers'] = s = []
    c['change_source'] = [changes.GitPoller(repourl=GIT, branches=['main'], pollInterval=1)]

    git = steps.Git(repourl=GIT, branch='main', mode='full', method='fresh')
    b += [build('git-fast', git, sh('test', 'cat hello'), collapseRequests=True),
          build('git-slow', git, sh('test', 'cat hello', locks=ones), on='w2', collapseRequests=True),
          build('git-pack', steps.Git(repourl=GIT, mode='incremental'), sh('pack', 'cat hello; git rev-parse HEAD'))]
    after_git = schedulers.SingleBranchScheduler(
        name='commits', treeStableTimer=None, builderNames=['git-fast', 'git-slow'],
        change_filter=util.ChangeFilter(branch='main', repository=GIT))
    s += [after_git, schedulers.Dependent(name='pack', upstream=after_git, builderNames=['git-pack'])]

    if SVN:
        c['change_source'].append(changes.SVNPoller(repourl=SVN, pollInterval=1))
        b.append(build('svn', steps.SVN(repourl=SVN), sh('test', 'cat hello')))
        s.append(schedulers.SingleBranchScheduler(name='revisions', treeStableTimer=None, builderNames=['svn'],
                                                  change_filter=util.ChangeFilter(repository=SVN)))

    b += [build('child-ok', gate('in'), on='w2'), build('child-bad', sh('s', 'exit 3'), on='w2')]
    s += [schedulers.Triggerable(name='ok', builderNames=['child-ok']),
          schedulers.Triggerable(name='bad', builderNames=['child-bad'])]
    def trigger(name, **more):
        more.setdefault('set_properties', {'asked': 'by parent'})
        return steps.Trigger(name=f'trigger {name}', schedulerNames=[name], waitForFinish=True, **more)
    b += [build('parent', trigger('ok'), sh('after', 'echo after')),
          build('unlucky', trigger('bad', haltOnFailure=True), sh('never'))]
    b += [build('each', sh('s')), build('night', sh('s'))]
    s += [schedulers.Periodic(name='often', periodicBuildTimer=1, builderNames=['each']),
          schedulers.Nightly(name='nightly', minute='*', builderNames=['night'])]

    b += [build('holder', gate('in'), locks=ones), build('merge', sh('s'), locks=ones, collapseRequests=True),
          build('each-alone', sh('s'), locks=ones), build('merge2', sh('s'), locks=ones, collapseRequests=True)]
    s += [schedulers.ForceScheduler(name='force', builderNames=['merge', 'each-alone'],
                                    properties=[util.StringParameter(name='flavour', default='')])]
"""


def run(*words: str, where: Path) -> str:
    """Run a program."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C.UTF-8"}
    return subprocess.run(words, cwd=where, check=True, capture_output=True, text=True, env=env).stdout.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories: `git` and `tree` (its checkout), `svn` and `copy`."""
    folder = tmp_path_factory.mktemp("repositories")
    (folder / "tree").mkdir()
    run("git", *IDENTITY, "init", "--quiet", where=folder / "tree")
    commit(folder, "first")
    run("git", "clone", "--quiet", "--bare", "tree", "git", where=folder)
    run("git", "remote", "add", "origin", str(folder / "git"), where=folder / "tree")
    if HAS_SVN:
        run("svnadmin", "create", "svn", where=folder)
        run("svn", "checkout", "--quiet", svn_of(folder), "copy", where=folder)
        (folder / "copy" / "hello").write_text("first\n")
        run("svn", "add", "--quiet", "hello", where=folder / "copy")
        run("svn", "commit", "--quiet", "-m", "first", where=folder / "copy")
    return folder


def svn_of(folder: Path) -> str:
    """The Subversion repository's address."""
    return (folder / "svn").as_uri() if HAS_SVN else ""


def commit(folder: Path, text: str) -> str:
    """A commit in the git checkout; returns its revision."""
    (folder / "tree" / "hello").write_text(f"{text}\n")
    run("git", "add", ".", where=folder / "tree")
    run("git", *IDENTITY, "commit", "--quiet", "-m", text, where=folder / "tree")
    return run("git", "rev-parse", "HEAD", where=folder / "tree")


@pytest.fixture(scope="module")
def ci(shared_stage: Callable[..., Scene], place: Path) -> Scene:
    """The server that these tests share. Its pollers have seen the repositories as they are."""
    names = f"GIT = {(place / 'git').as_uri()!r}\nSVN = {svn_of(place)!r}\n"
    scene = shared_stage(CONFIG, "w1", "w2", prelude=PRELUDE + names)
    wanted = 2 if HAS_SVN else 1
    scene.until(
        lambda: len({f.owner for f in scene.facts.of("MemoryKept") if f.owner.startswith("source")}) >= wanted, "polls"
    )
    return scene


def build_of(ci: Scene, builder: str, number: int = 1) -> int:
    """Wait for the end of a build. Returns its id."""
    buildid: int = ci.fact("BuildStarted", builder=builder, number=number).buildid
    ci.fact("BuildEnded", buildid=buildid)
    return buildid


def test_a_commit_in_git_is_built_and_then_what_depends_on_it(ci: Scene, place: Path) -> None:
    revision = commit(place, "second")
    run("git", "push", "--quiet", "origin", "main", where=place / "tree")
    change = ci.fact("ChangeAdded").change
    assert (change.revision, change.branch, change.author, change.files) == (
        revision,
        "main",
        "Ann <ann@x>",
        ("hello",),
    )
    for builder in ("git-fast", "git-slow"):
        buildid = build_of(ci, builder)
        assert ci.output(buildid, "test") == "second\n"
        assert ci.reads.properties_of_build(buildid)["got_revision"][0] == revision
        assert [c["revision"] for c in ci.reads.changes_of_build(buildid)] == [revision]
        assert ci.reads.properties_of_build(buildid)["owners"] == [["Ann <ann@x>"], "Build"]
    packed = build_of(ci, "git-pack")
    assert ci.output(packed, "pack").splitlines() == ["second", revision]
    first = [ci.facts.numbered("BuildEnded", buildid=build_of(ci, name))[0].number for name in ("git-fast", "git-slow")]
    assert ci.facts.numbered("BuildStarted", buildid=packed)[0].number > max(first)


def test_commits_while_the_server_is_down_are_found_once(ci: Scene, place: Path) -> None:
    before = len(ci.facts.of("ChangeAdded"))
    ci.kill()
    revisions = [commit(place, "third"), commit(place, "fourth")]
    run("git", "push", "--quiet", "origin", "main", where=place / "tree")
    ci.start()
    ci.until(lambda: len(ci.facts.of("ChangeAdded")) >= before + 2, "the changes")
    assert [f.change.revision for f in ci.facts.of("ChangeAdded")[before:]] == revisions

    def last() -> Any:
        return [s.fact for s in ci.facts.builds("git-pack") if s.end <= ci.facts.last]

    ci.until(lambda: any("fourth" in ci.output(fact.buildid, "pack") for fact in last()), "the pack of the last commit")
    commit_again = [f.change.revision for f in ci.facts.of("ChangeAdded")]
    assert len(commit_again) == len(set(commit_again))


@pytest.mark.skipif(not HAS_SVN, reason="Subversion is not installed")
def test_a_revision_in_subversion_is_built(ci: Scene, place: Path) -> None:
    (place / "copy" / "hello").write_text("changed\n")
    run("svn", "commit", "--quiet", "-m", "changed", where=place / "copy")
    buildid = build_of(ci, "svn")
    assert ci.output(buildid, "test") == "changed\n"
    assert [c["comments"] for c in ci.reads.changes_of_build(buildid)] == ["changed"]
    assert ci.reads.properties_of_build(buildid)["got_revision"][0] == "2"


def test_a_trigger_waits_for_its_children_also_through_a_kill(ci: Scene) -> None:
    (parent,) = ci.force("parent")
    ci.running("child-ok-1-in")
    ci.kill()
    ci.start()
    assert ci.runs("child-ok-1-in")
    [asking] = [s for s in ci.all("steps", "builders/parent/builds/1/steps") if s["name"] == "trigger ok"]
    child = ci.fact("BuildStarted", builder="child-ok", number=1).buildid
    assert [(u["name"], u["url"]) for u in asking["urls"]] == [("child-ok #1", f"/builds/{child}")]
    ci.open("child-ok-1-in")
    assert ci.ended(parent) == [OK]
    [asked] = [s for s in ci.all("steps", "builders/parent/builds/1/steps") if s["name"] == "trigger ok"]
    assert asked["state_string"] == "triggered ok, 1 success"
    assert asked["urls"] == asking["urls"]
    assert ci.reads.properties_of_build(child)["asked"][0] == "by parent"
    after = ci.facts.steps("after", "parent")[0]
    assert ci.facts.numbered("BuildEnded", buildid=child)[0].number < after.start
    assert len(ci.facts.builds("child-ok")) == 1
    (unlucky,) = ci.force("unlucky")
    assert ci.ended(unlucky) == [Result.FAILURE]
    assert not ci.facts.steps("never", "unlucky")


def test_requests_that_wait_are_merged_where_buildbot_merges_them_and_count_makes_builds(ci: Scene) -> None:
    (holder,) = ci.force("holder")
    ci.running("holder-1-in")

    def asked(builder: str, **params: Any) -> int:
        found = ci.call("forceschedulers/force", "force", builderNames=[builder], **params)[1]
        return int(next(iter(found.values())))

    merged = [asked("merge") for _ in range(3)]
    other = asked("merge", flavour="sweet")
    apart = [asked("each-alone") for _ in range(2)]
    assert ci.ended(*merged[:2]) == [Result.SKIPPED] * 2
    counted = ci.cli("force", "merge2", "--count", "3", "--json")
    assert counted.returncode == 0
    ci.open("holder-1-in")
    assert ci.ended(holder, merged[2], other, *apart) == [OK] * 5
    build_of(ci, "merge2", 3)
    assert len(ci.facts.builds("merge")) == 2
    assert len(ci.facts.builds("each-alone")) == 2
    assert len(ci.facts.builds("merge2")) == 3
    check_lock(ci.facts, "one", 1)


def test_a_periodic_scheduler_goes_on_by_itself(ci: Scene) -> None:
    for number in (1, 2, 3, 4):
        build_of(ci, "each", number)
    times = [fact.at for fact in ci.facts.numbered("RequestAdded", builder="each")]
    # One of them may be late, and the next one not.
    assert statistics.median(later - earlier for earlier, later in itertools.pairwise(times)) > 0.9


@pytest.mark.soak
def test_a_nightly_scheduler_starts_on_its_minute(ci: Scene) -> None:
    """It takes up to a minute."""
    ci.until(lambda: ci.facts.of("RequestAdded", builder="night"), "the full minute")
    assert ci.facts.numbered("RequestAdded", builder="night")[0].at % 60 < 10
    build_of(ci, "night")
