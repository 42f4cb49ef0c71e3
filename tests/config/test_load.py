"""What a right configuration becomes."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockstep.compat.loading import load_config
from lockstep.config.config import Config
from lockstep.config.errors import ConfigErrors
from lockstep.config.needs import NeedError
from lockstep.core.nouns import UNLIMITED, Access, LockKey

Load = Callable[..., Config]


def needs(config: Config, builder: str) -> dict[str, set[str]]:
    """Per worker, a builder's accesses as text, less its slot and build directory."""
    setup = next(one for one in config.setup().builders if one.name == builder)
    assert setup.need is not None
    found = {}
    for alternative in setup.need.alternatives:
        slot, builddir, *locks = alternative.accesses
        assert (slot.lock.kind, slot.mode, builddir.lock.kind, builddir.mode) == (
            "slot",
            "counting",
            "builddir",
            "exclusive",
        )
        found[alternative.worker] = {f"{a.lock} {a.mode} {a.count}" for a in locks}
    return found


def test_basedir_file_and_own_folder(load: Load, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("w1\n")
    (tmp_path / "helper_of_mine.py").write_text("TITLE = 'Mine'\n")
    config = load("""\
    import os, helper_of_mine
    assert os.path.dirname(__file__) == basedir
    c['title'] = helper_of_mine.TITLE
    with open("names.txt") as names:
        c['workers'] = [worker.Worker(n.strip(), "pw") for n in names]
    """)
    assert (config.title, list(config.workers)) == ("Mine", ["w1"])


def test_a_reload_sees_changed_modules_and_a_failed_one_changes_nothing(load: Load, tmp_path: Path) -> None:
    (tmp_path / "settings_of_mine.py").write_text("TITLE = 'one'\n")
    text = "import settings_of_mine\nc['title'] = settings_of_mine.TITLE\n"
    assert load(text).title == "one"
    (tmp_path / "settings_of_mine.py").write_text("TITLE = 'two'\n")
    assert load(text).title == "two"
    kept = sys.modules["settings_of_mine"]
    (tmp_path / "settings_of_mine.py").write_text("TITLE = nothing\n")
    with pytest.raises(ConfigErrors, match=r"settings_of_mine\.py:1: NameError: name 'nothing' is not defined"):
        load(text)
    assert sys.modules["settings_of_mine"] is kept
    assert kept.TITLE == "two"


def test_L21_L22_L23_one_claim_for_slot_directory_and_all_locks(load: Load) -> None:
    config = load("""\
    db = util.MasterLock("db", maxCount=4)
    cpu = util.WorkerLock("cpu", maxCount=2, maxCountForWorker={'fast': 8})
    disk = util.WorkerLock("disk")
    c['workers'] = [worker.Worker("fast", "pw", max_builds=3, locks=[cpu.access('counting', 2)]),
                    worker.Worker("slow", "pw")]
    f = util.BuildFactory([steps.ShellCommand(command="make")], locks=[disk.access('exclusive')])
    c['builders'] = [util.BuilderConfig(name="full", workernames=["slow", "fast"], factory=f, builddir="f1",
                                        locks=[db.access('counting', 2), cpu])]
    """)
    assert needs(config, "full") == {
        "slow": {"db counting 2", "cpu on slow counting 1", "disk on slow exclusive 1"},
        "fast": {"db counting 2", "cpu on fast counting 3", "disk on fast exclusive 1"},
    }
    limits = {str(one.key): one.limit for one in config.setup().locks}
    assert limits == {
        "db": 4,
        "cpu on fast": 8,
        "cpu on slow": 2,
        "disk on fast": 1,
        "disk on slow": 1,
        "worker fast": 3,
        "worker slow": UNLIMITED,
        "build directory f1 on fast": 1,
        "build directory f1 on slow": 1,
    }


def test_L26_alternatives_keep_the_order_of_the_configuration(load: Load) -> None:
    config = load("""\
    c['workers'] = [worker.Worker(n, "pw") for n in "abc"]
    c['builders'] = [util.BuilderConfig(name="b", workernames=["c", "a", "b"], factory=util.BuildFactory())]
    """)
    assert list(needs(config, "b")) == ["c", "a", "b"]


def test_L03_a_count_of_0_is_not_claimed(load: Load) -> None:
    config = load("""\
    closed = util.MasterLock("closed", maxCount=0)
    c['workers'] = [worker.Worker("w", "pw")]
    c['builders'] = [util.BuilderConfig(name="b", workername="w", factory=util.BuildFactory(),
                                        locks=[closed.access('counting', 0)])]
    """)
    assert needs(config, "b") == {"w": set()}


def test_L05_workers_whose_limit_is_too_small_are_no_candidates(load: Load) -> None:
    config = load("""\
    cpu = util.WorkerLock("cpu", maxCountForWorker={'big': 4})
    c['workers'] = [worker.Worker("small", "pw"), worker.Worker("big", "pw")]
    f = util.BuildFactory([steps.ShellCommand(command="x", locks=[cpu.access('counting', 2)])])
    c['builders'] = [
        util.BuilderConfig(name="b", workernames=["small", "big"], factory=util.BuildFactory(),
                           locks=[cpu.access('counting', 3)]),
        util.BuilderConfig(name="in step", workernames=["small", "big"], factory=f)]
    """)
    assert needs(config, "b") == {"big": {"cpu on big counting 3"}}
    assert needs(config, "in step") == {"big": set()}


def test_L07_one_lock_made_twice_has_the_smaller_limit(load: Load) -> None:
    config = load("""\
    a = util.MasterLock("db", maxCount=5)
    b = util.MasterLock("db", maxCount=2)
    same = util.WorkerLock("db", maxCount=9)
    c['workers'] = [worker.Worker("w", "pw")]
    """)
    assert {str(one.key): one.limit for one in config.setup().locks if one.key.kind == "master"} == {"db": 2}
    assert [str(one) for one in config.warnings] == [
        'master.cfg:4: master lock "db" was made with other limits at master.cfg:3; the smaller one holds; '
        "maxCount=5 there, maxCount=2 here: make it once"
    ]


def test_L12_one_lock_twice_in_one_list_is_added_and_warned_of(load: Load) -> None:
    config = load("""\
    a, cpu = util.MasterLock("a", maxCount=4), util.WorkerLock("cpu", maxCount=9)
    c['workers'] = [worker.Worker("w", "pw", locks=[cpu])]
    step = steps.ShellCommand(command="x", name="s", locks=[cpu.access("counting", 0), cpu.access("counting", 2)])
    f = util.BuildFactory([step])
    c['builders'] = [
        util.BuilderConfig(name="b", workername="w", factory=util.BuildFactory(), locks=[a, cpu, [a]]),
    ]
    """)
    assert needs(config, "b") == {"w": {"a counting 2", "cpu on w counting 2"}}
    assert [str(one) for one in config.warnings] == [
        'master.cfg:8: locks of builder "b": lock "a" is there 2 times, so 2 units of it are claimed; '
        "name it once; if that many are meant, with count=2"
    ]


def test_L62_names_that_differ_in_signs_only_have_one_variable(load: Load) -> None:
    config = load("""\
    a = util.MasterLock("x-y")
    b = util.WorkerLock("X.y")
    same = util.WorkerLock("x-y")
    c['workers'] = [worker.Worker("w", "pw")]
    """)
    assert [str(one) for one in config.warnings] == [
        'master.cfg:4: the fences of locks "x-y" (made at master.cfg:3) and "X.y" have one variable; who holds both '
        "finds the second in LOCKSTEP_FENCE_X_Y_2 instead of LOCKSTEP_FENCE_X_Y: rename one of them"
    ]


def test_L24_renderable_locks_are_rendered_for_each_worker(load: Load) -> None:
    config = load("""\
    import asyncio
    cpu = {n: util.MasterLock("cpu " + n) for n in ("a", "b")}
    more = util.MasterLock("more", maxCount=3)
    @util.renderer
    async def pick(props, extra):
        await asyncio.sleep(0)
        return [cpu[props.getProperty('workername')].access('exclusive'), more.access('counting', extra)]
    c['workers'] = [worker.Worker(n, "pw", properties={'n': i + 1}) for i, n in enumerate("ab")]
    c['builders'] = [util.BuilderConfig(name="x", workernames=["a", "b"], factory=util.BuildFactory(),
                                        locks=pick.withArgs(util.Property('n'))),
                     util.BuilderConfig(name="y", workernames=["a"], factory=util.BuildFactory(),
                                        locks=[util.renderer(lambda p: util.MasterLock("new", maxCount=7)),
                                               util.renderer(lambda p: util.MasterLock("more", maxCount=2))])]
    """)
    assert [one.need for one in config.setup().builders] == [None, None]
    rendered = asyncio.run(config.need_for("x", {"branch": ("trunk", "Change")}))
    assert rendered.unknown == ()
    found = {one.worker: one.accesses[2:] for one in rendered.need.alternatives}
    assert found == {
        "a": (Access(LockKey("master", "cpu a"), "exclusive"), Access(LockKey("master", "more"), "counting", 1)),
        "b": (Access(LockKey("master", "cpu b"), "exclusive"), Access(LockKey("master", "more"), "counting", 2)),
    }
    chosen = asyncio.run(config.need_for("x", {}, workers=["b"]))
    assert [one.worker for one in chosen.need.alternatives] == ["b"]
    late = asyncio.run(config.need_for("y", {}))
    assert [(str(one.key), one.limit) for one in late.unknown] == [("new", 7), ("more", 2)], "L7: the smaller limit"


def test_L24_an_exception_in_a_renderable_names_the_place(load: Load) -> None:
    config = load("""\
    c['workers'] = [worker.Worker("w", "pw")]
    c['builders'] = [util.BuilderConfig(name="x", workername="w", factory=util.BuildFactory(),
                                        locks=util.renderer(lambda props: [props['flavour']]))]
    """)
    with pytest.raises(NeedError) as caught:
        asyncio.run(config.need_for("x", {}))
    assert str(caught.value) == 'locks of builder "x" (master.cfg:4) for worker "w": KeyError: \'flavour\''
    with pytest.raises(NeedError, match=r"master\.cfg:4.*holds 'vanilla', which is no lock"):
        asyncio.run(config.need_for("x", {"flavour": ("vanilla", "Force")}))


def test_L24a_hooks_make_a_need_that_is_asked_for(load: Load) -> None:
    config = load("""\
    c['workers'] = [worker.Worker("w", "pw")]
    c['builders'] = [util.BuilderConfig(name="x", workername="w", factory=util.BuildFactory(),
                                        nextWorker=lambda b, ws, r: ws[0]),
                     util.BuilderConfig(name="y", workername="w", factory=util.BuildFactory())]
    """)
    x, y = config.setup().builders
    assert x.need is None
    assert y.need is not None
    assert callable(config.next_worker("x"))


def test_hooks_that_order_and_merge(load: Load) -> None:
    config = load("""\
    c['workers'] = [worker.Worker("w", "pw")]
    c['builders'] = [util.BuilderConfig(name="x", workername="w", factory=util.BuildFactory(),
                                        nextBuild=lambda b, requests: requests[0]),
                     util.BuilderConfig(name="y", workername="w", factory=util.BuildFactory(),
                                        collapseRequests=lambda master, builder, one, other: True),
                     util.BuilderConfig(name="z", workername="w", factory=util.BuildFactory())]
    """)
    found = [(b.asked, b.collapse, b.collapse_asked, b.need is None) for b in config.setup().builders]
    assert found == [(True, True, False, False), (True, True, True, False), (False, True, False, False)]
    assert [config.orders(name) for name in "xyz"] == [True, False, False]


def test_ports_keys_and_notes(load: Load) -> None:
    config = load("""\
    c['title'] = "T"; c['titleURL'] = "http://t/"; c['buildbotURL'] = "http://b/"
    c['www'] = dict(port="tcp:8010:interface=127.0.0.1", plugins={})
    c['protocols'] = {'pb': {'port': 9989}, 'msgpack_experimental_v7': {'port': 'tcp:9990'}}
    c['caches'] = {}; c['buildbotNetUsageData'] = None
    c['collapseRequests'] = False
    c['properties'] = {'a': 1}
    c['db'] = {'db_url': 'sqlite:///state.sqlite'}
    """)
    assert [(p.port, p.host) for p in config.www_ports] == [(8010, "127.0.0.1")]
    assert [(p.port, p.protocol) for p in config.protocol_ports] == [(9989, "pb"), (9990, "msgpack_experimental_v7")]
    assert (config.title, config.db_url) == ("T", "sqlite:///state.sqlite")
    assert [one.text for one in config.notes] == [
        "c['www']['plugins'] has no effect",
        "c['caches'] has no effect",
        "c['buildbotNetUsageData'] has no effect",
    ]
    assert [one.place.line for one in config.warnings] == [5]


def test_properties_of_a_build(load: Load) -> None:
    config = load("""\
    c['properties'] = {'a': 'global', 'b': 'global', 'c': 'global'}
    c['workers'] = [worker.Worker("w", "pw", properties={'os': 'linux'}, defaultProperties={'a': 'x', 'd': 'worker'})]
    c['builders'] = [util.BuilderConfig(name="x", workername="w", factory=util.BuildFactory(),
                                        properties={'c': 'builder'}, defaultProperties={'b': 'no', 'e': 'builder'})]
    """)
    assert config.build_properties("x", "w", {"b": ("asked", "Force")}) == {
        "a": ("global", "global"),
        "b": ("asked", "Force"),
        "c": ("builder", "Builder"),
        "d": ("worker", "Worker"),
        "e": ("builder", "Builder"),
        "os": ("linux", "Worker"),
        "buildername": ("x", "Builder"),
        "workername": ("w", "Worker"),
    }


def test_the_older_spelling(load: Load) -> None:
    config = load(
        """\
    from buildbot.buildslave import BuildSlave
    from buildbot.config import BuilderConfig
    from buildbot.process.factory import BuildFactory
    from buildbot.steps.shell import ShellCommand
    from buildbot.locks import SlaveLock, LockAccess
    c['slaves'] = [BuildSlave("bot1", "pw", max_builds=1)]
    c['bots'] = [("bot2", "pw")]
    c['slavePortnum'] = "tcp:9989"
    c['projectName'] = "Old"
    cpu = SlaveLock("cpu", maxCount=1, maxCountForSlave={"bot1": 3})
    f = BuildFactory([(ShellCommand, {'command': 'make'})])
    f.addStep(ShellCommand, command="make test")
    c['builders'] = [BuilderConfig(name="a", slavename="bot1", slavebuilddir="x", category="slow", factory=f,
                                   mergeRequests=False),
                     dict(name="b", slavenames=["bot1", "bot2"], builddir="b", factory=f,
                          locks=[LockAccess(cpu, 'counting')])]
    """,
        prelude="c = BuildmasterConfig = {}\n",
    )
    assert any("c['slavePortnum']: PB is not spoken" in str(warning) for warning in config.warnings)
    assert config.title == "Old"
    assert len(config.builders["a"].factory.newSteps()) == 2
    assert config.builders["a"].tags == ("slow",)
    assert [one.collapse for one in config.setup().builders] == [False, True]
    assert needs(config, "b") == {"bot1": {"cpu on bot1 counting 1"}, "bot2": {"cpu on bot2 counting 1"}}
    assert {str(one.key): one.limit for one in config.setup().locks}["cpu on bot1"] == 3


def test_2004_a_lock_and_the_builders_that_subscribe_to_it(load: Load) -> None:
    config = load("""\
    from buildbot.process.lock import Lock
    c['workers'] = [worker.Worker("w", "pw")]
    c['builders'] = [util.BuilderConfig(name=n, workername="w", factory=util.BuildFactory()) for n in "abcd"]
    c['locks'] = [("host", ["a", "b"]), Lock("disk", builders=["b", "c"])]
    """)
    assert [needs(config, n)["w"] for n in "abcd"] == [
        {"host counting 1"},
        {"host counting 1", "disk counting 1"},
        {"disk counting 1"},
        set(),
    ]


def test_passwords_are_checked_and_shown_nowhere(load: Load) -> None:
    config = load("""
        c['secretsProviders'] = [secrets.SecretInAFile(basedir)]
        c['workers'] = [worker.Worker('w', 'hunter2'), worker.Worker('s', util.Secret('pw'))]
    """)
    assert "hunter2" not in repr(config) + repr(config.workers["w"]) + repr(config.setup())
    assert config.workers["w"].check_password("hunter2", str)
    assert not config.workers["w"].check_password("hunter3", str)
    assert config.workers["s"].check_password("x", lambda name: {"pw": "x"}[name])


def test_secrets_in_files(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "token").write_text("abc\n")
    (tmp_path / "s" / "token").chmod(0o600)
    config = load("c['secretsProviders'] = [secrets.SecretInAFile(dirname='s')]\n")
    assert asyncio.run(config.secret("token")) == "abc"
    with pytest.raises(KeyError):
        asyncio.run(config.secret("../master.cfg"))


def test_classes_of_the_configuration_can_be_dataclasses_and_steps(load: Load) -> None:
    config = load(
        """\
    from dataclasses import dataclass
    import buildbot
    @dataclass
    class Box:
        name: str
    class Mine(buildbot.process.buildstep.BuildStep):
        def __init__(self, box, **kwargs):
            self.box = box
            super().__init__(**kwargs)
        async def run(self):
            return buildbot.process.results.SUCCESS
    class Factory(util.BuildFactory):
        def __init__(self):
            super().__init__()
            self.addStep(Mine(Box("x"), name="mine"))
    c['workers'] = [worker.LocalWorker("w")]
    c['builders'] = [util.BuilderConfig(name="a", workernames="w", factory=Factory())]
    """,
        prelude="from __future__ import annotations\nfrom buildbot.plugins import *; c = BuildmasterConfig = {}\n",
    )
    one, two = (config.builders["a"].factory.newSteps()[0] for _ in range(2))
    assert (one.name, one.box.name, one is two) == ("mine", "x", False)


def test_a_load_leaves_path_and_folder_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "bad.cfg").write_text("import sys; sys.path.append('/nowhere'); 1/0\n")
    before = list(sys.path)
    with pytest.raises(ConfigErrors, match="ZeroDivisionError"):
        load_config(str(tmp_path / "bad.cfg"))
    assert sys.path == before


def test_500_builders_load_quickly_enough_to_count_needs_once(load: Load) -> None:
    config = load("""\
    locks = [util.MasterLock(f"l{i}", maxCount=3) for i in range(50)]
    c['workers'] = [worker.Worker(f"w{i}", "pw") for i in range(10)]
    f = util.BuildFactory([steps.ShellCommand(command="x", locks=[locks[0]])])
    c['builders'] = [util.BuilderConfig(name=f"b{i}", workernames=list(f"w{j}" for j in range(10)), factory=f,
                                        locks=[locks[i % 49 + 1]]) for i in range(500)]
    """)
    first: Any = config.setup()
    assert len(first.builders) == 500
    assert config.setup() is first


def test_a_lease_is_written_as_any_other_time(load: Load) -> None:
    config = load("""\
    board = util.MasterLock("board", lease="10m")
    c["workers"] = [worker.Worker("w1", "pw", lease="1h30m"), worker.Worker("w2", "pw", lease=90)]
    steps_ = [steps.ShellCommand(command="x", locks=[board.access("exclusive")])]
    c["builders"] = [util.BuilderConfig(name="b", workername="w1", factory=util.BuildFactory(steps_))]
    """)
    assert [each.seconds for each in config.setup().leases] == [600]
    assert [each.patience for each in config.setup().workers] == [5400, 90]


def test_a_folder_that_is_gone_is_a_mistake_and_one_that_was_made_anew_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a running server is in may have been replaced."""
    folder = tmp_path / "farm"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigErrors, match="cannot be read"):
        load_config(str(folder / "master.cfg"), str(tmp_path))
    folder.mkdir()
    (folder / "master.cfg").write_text("c = BuildmasterConfig = {'workers': [], 'builders': []}")
    assert load_config(str(folder / "master.cfg"), str(tmp_path)).file == str(folder / "master.cfg")
    assert Path.cwd() == folder
