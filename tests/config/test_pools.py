"""Pools of named units in a configuration: what the core is told of them, and every mistake in its place."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lockstep.cli.supposed import limits
from lockstep.config.config import Config
from lockstep.config.errors import ConfigErrors
from lockstep.config.needs import NeedError
from lockstep.config.pools import ResourcePool
from lockstep.core.nouns import Access, LockKey, Patience, Result
from lockstep.core.values import PoolSetup, UnitSetup

Load = Callable[..., Config]
Mistakes = Callable[..., list[str]]

BOARDS = """\
boards = util.ResourcePool('boards', {
    'pi-1': {'address': '10.0.0.1', 'port': 22, 'labels': ['arm64']},
    'pi-2': {'labels': ('flaky', 'arm64')},
    'nuc': None,
})
c['workers'] = [worker.Worker("w1", "pw")]
def sh(*locks): return steps.ShellCommand(command='x', name='one', locks=locks)
def b(name, *parts, **more): c.setdefault('builders', []).append(util.BuilderConfig(
    name=name, workername='w1', factory=util.BuildFactory(parts), **more))
"""
"""Eleven lines with the prelude's."""


def pool(where: str = "", count: int = 1, mode: str = "counting", **more: object) -> Access:
    return Access(LockKey("pool", "boards", where=where), mode, count, **more)  # type: ignore[arg-type]


def test_the_core_is_told_units_and_their_labels_and_data(load: Load) -> None:
    config = load(BOARDS + "util.ResourcePool('keys', ['a', 'b'], maxOvertakes=0, quarantineAfter=3)\n")
    one, other = config.setup().pools
    assert one == PoolSetup(
        "boards",
        (
            UnitSetup("pi-1", ("arm64",), {"address": "10.0.0.1", "port": 22}),
            UnitSetup("pi-2", ("arm64", "flaky")),
            UnitSetup("nuc"),
        ),
    )
    assert other == PoolSetup("keys", (UnitSetup("a"), UnitSetup("b")), 0, 3)
    assert not any(lock.key.kind == "pool" for lock in config.setup().locks)


def test_accesses_stand_among_others_wherever_locks_may(load: Load) -> None:
    config = load(
        BOARDS
        + "db = util.MasterLock('db')\n"
        + "b('builder', sh(), locks=[db, boards.access(count=2, where=' arm64  and(not flaky or nuc or pi-2)')])\n"
        + "b('step', sh(boards, db.access('exclusive')))\n"
        + "b('group', util.LockedSteps([sh()], locks=boards.access('exclusive', 1, 'arm64', keepAfterFailure='2h')))\n"
        + "b('twice', sh(), locks=[boards.access(where='pi-1 or nuc', waitTimeout=9, onTimeout='skipped')])\n"
        + "b('sum', sh(), locks=[boards, boards.access()])\n"
    )
    found = {
        setup.name: [
            access
            for need in (setup.need, *(stage.need for stage in setup.stages))
            for each in (need.alternatives if need is not None else ())
            for access in each.accesses
            if access.lock.kind == "pool"
        ]
        for setup in config.setup().builders
    }
    assert found == {
        "builder": [pool("arm64 and (not flaky or nuc or pi-2)", 2)],
        "step": [pool()],
        "group": [pool("arm64", mode="exclusive", keep=7200.0)],
        "twice": [pool("pi-1 or nuc", patience=Patience(Result.SKIPPED, 9.0))],
        "sum": [pool(count=2)],
    }


@pytest.mark.parametrize("units", ["{}", "[]", "['a b']", "range(2)"])
def test_a_pool_without_a_good_unit_is_one_mistake_whatever_is_wanted_of_it(mistakes: Mistakes, units: str) -> None:
    wanted = (
        "b('a', sh(boards, boards.access(count=2)))\nb('b', sh(), locks=boards.access('exclusive', where='arm64'))\n"
    )
    found = mistakes(BOARDS + f"boards = util.ResourcePool('empty', {units})\n" + wanted)
    assert len(found) == 1, found
    assert 'pool "empty": ' in found[0]


def test_accesses_may_be_rendered_and_what_is_wrong_then_has_its_place(load: Load) -> None:
    config = load(
        BOARDS
        + "@util.renderer\n"
        + "def some(props):\n"
        + "    return [boards.access(where=props['arch'])]\n"
        + "b('some', sh(), locks=some)\n"
    )
    rendered = asyncio.run(config.need_for("some", {"arch": ("arm64", "test")}))
    assert rendered.need.alternatives[0].accesses[-1] == pool("arm64")
    assert rendered.unknown == ()
    with pytest.raises(NeedError, match=r'master\.cfg:14: pool "boards" has no unit and no label "amd"'):
        asyncio.run(config.need_for("some", {"arch": ("amd", "test")}))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("boards.access(where='arm65')", 'pool "boards" has no unit and no label "arm65"; did you mean "arm64"?'),
        ("boards.access(where='x86')", 'no label "x86"; it has: arm64, flaky, nuc, pi-1, pi-2'),
        (
            "boards.access(where='arm64 an flaky')",
            "where='arm64 an flaky' cannot be read: 'and' or 'or' is missing before 'an' (character 7); write labels",
        ),
        ("boards.access(where='arm64 == 1')", "'=' means nothing (character 7)"),
        ("boards.access(where=4)", "where must be a text, not 4; write it as where='arm64"),
        ("boards.access(where=util.Property('arch'))", "not Property('arch'); let a renderer return all of locks="),
        ("boards.access(count=4)", 'pool "boards" has 3 units: 4 can never be had; lower the count or add units'),
        (
            "b('b', sh(), locks=boards.access(where='nuc and pi-1'))",
            'pool "boards" has 0 units where nuc and pi-1: 1 can',
        ),
        ("boards.access(count=2, where='flaky')", 'pool "boards" has 1 unit where flaky: 2 can never be had'),
        ("boards.access('exclusive', where='flaky and nuc')", '"boards" has 0 units where flaky and nuc: 1 can never'),
        ("boards.access('exclusive', count=2)", "exclusive access has the count 1, not 2"),
        ("boards.access('some')", "unknown mode 'some' of access"),
        ("boards.access('exclusive', raises=True)", "raises= is for locks; what a build has of a pool cannot be"),
        ("boards.access(keepAfterFailure='x')", 'pool "boards": keepAfterFailure must be a time'),
        ("boards.access(were='nuc')", 'unknown keyword "were" of access() of a pool; did you mean "where"?'),
        ("util.ResourcePool('boards', ['x'])", 'two pools have the name "boards"; the first is at master.cfg:3'),
        (
            "util.MasterLock('p'); util.ResourcePool('p', ['x'])",
            '"p" has the name of a lock (made at master.cfg:12)',
        ),
        (
            "util.WorkerLock('p'); util.ResourcePool('p', ['x'])",
            '"p" has the name of a lock (made at master.cfg:12)',
        ),
        (
            "util.ResourcePool('p', ['x'], maxCount=2)",
            'pool "p": a pool cannot have maxCount=; its units are its',
        ),
        ("util.ResourcePool('p', ['x'], rate='6/hour')", 'pool "p": a pool cannot have rate=; a lock beside it'),
        ("util.ResourcePool('p', ['x'], order='fifo')", 'pool "p": a pool cannot have order=; whoever waits'),
        ("util.ResourcePool('p', ['x'], lease=9)", 'pool "p": a pool cannot have lease=; give it to the workers'),
        (
            "util.ResourcePool('p', ['x'], maxWaiting=1)",
            'pool "p": a pool cannot have maxWaiting=; say skipIfBusy',
        ),
        ("util.ResourcePool('p', ['x'], maxOvertakes=-1)", 'pool "p": maxOvertakes must be a whole number'),
        ("util.ResourcePool('p', ['x'], unit=1)", 'unknown keyword "unit" of ResourcePool; did you mean "units"?'),
        (
            "util.ResourcePool('p')",
            '"p": units must be a dictionary of names and data, or a list of names, not None',
        ),
        ("util.ResourcePool('p', [])", 'pool "p": it has no units; name one at least'),
        ("util.ResourcePool('p', range(9))", "or a list of names, not range(0, 9)"),
        ("util.ResourcePool('p', ['x%d' % n for n in range(1001)])", 'pool "p": it has 1001 units, and may have 1000'),
        ("util.ResourcePool('p:q', ['x'])", "ResourcePool \"p:q\": the name of a pool cannot have ':' in it"),
        ("util.ResourcePool('', ['x'])", "ResourcePool: the name must be a text that is not empty, not ''"),
        ("util.ResourcePool('p', ['x', 'x'])", 'pool "p": two units have the name "x"'),
        ("util.ResourcePool('p', ['a b'])", "pool \"p\": 'a b' is no name of a unit; write letters, digits and any of"),
        ("util.ResourcePool('p', ['a/b'])", "pool \"p\": 'a/b' is no name of a unit; write"),
        ("util.ResourcePool('p', ['..'])", "pool \"p\": '..' is no name of a unit: in addresses of pages it means"),
        ("util.ResourcePool('p', {'x': {'a': 'b\\0c'}})", '"a" of unit "x" has a NUL in it: \'b\\x00c\'; builds are'),
        ("util.ResourcePool('p', {'x': {'a': {1: 2}}})", '"a" of unit "x" must have texts as keys, not 1'),
        ("util.ResourcePool('p', ['or'])", "pool \"p\": 'or' is no name of a unit: it joins the words of a where="),
        ("util.ResourcePool('p', [boards])", "is no name of a unit; write"),
        ("util.ResourcePool('p', {'x': 3})", "pool \"p\": what is known of unit 'x' must be a dictionary, not 3"),
        ("util.ResourcePool('p', {'x': {'labels': 'a'}})", "labels of unit \"x\" must be a list of words, not 'a'"),
        ("util.ResourcePool('p', {'x': {'labels': ['not']}})", "'not' is no label of unit \"x\": it joins the words"),
        ("util.ResourcePool('p', {'x': {'labels': [1]}})", '1 is no label of unit "x"; write'),
        (
            "util.ResourcePool('p', {'x': {}, 'y': {'labels': ['x']}})",
            'label "x" of unit "y" is the name of another unit; rename one',
        ),
        ("util.ResourcePool('p', {'x': {'a b': 1}})", "what is known of unit \"x\" cannot have the key 'a b'; write"),
        (
            "util.ResourcePool('p', {'x': {'a': 'y' * 9999}})",
            "has 10007 bytes as JSON, and may have 10000; name a file",
        ),
        ("util.ResourcePool('p', {'x': {'a': util}})", '"a" of unit "x" must be a number, a text, a list or'),
        (
            "c['secretsProviders'] = [secrets.SecretInAFile(basedir)]; "
            "util.ResourcePool('p', {'x': {'a': util.Secret('s')}})",
            '"a" of unit "x" cannot be rendered: Secret(\'s\'); unit data is stored and shown; name a secret where',
        ),
        (
            "p = util.ResourcePool('p', ['x%d' % i for i in range(65)])\nfor i in range(65): p.access(where='x%d' % i)",
            'pool "p": there are more than 64 different where=; give units that are used alike a label',
        ),
        (
            "util.ResourcePool('p', ['x'], healthCheck='ping')",
            'pool "p": healthCheck must be a program and its arguments',
        ),
        (
            "util.ResourcePool('p', ['x'], healthCheck=[])",
            "not []; write a list of texts, as in ['ping', '-c1',",
        ),
        ("util.ResourcePool('p', ['x'], healthCheck=['ping', 1])", "not ['ping', 1]; write a list of texts"),
        (
            "util.ResourcePool('p', {'x': {'a': 1}, 'y': {'b': 2}}, healthCheck=['ping', '%(unit:a)s'])",
            'healthCheck: there is no "unit:a" of unit "y"; of it are known: unit, unit:b',
        ),
        (
            "util.ResourcePool('p', ['x'], healthCheck=['%(unit)'])",
            "'%(unit)' has no name in parentheses with an s",
        ),
        ("util.ResourcePool('p', ['x'], healthCheck=[''])", "healthCheck: [''] of unit \"x\" is no program; write"),
        (
            "util.ResourcePool('p', ['x'], healthCheckRetry='10m')",
            'pool "p": healthCheckRetry says nothing without healthCheck; say how a unit is looked at',
        ),
        (
            "util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry=-1)",
            'pool "p": healthCheckRetry must be a time from 1 s to 366 days, not -1; write it as 90, 30s,',
        ),
        ("util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry=0)", "366 days, not 0; write"),
        ("util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry='soon')", "not 'soon'; write"),
        ("util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry=True)", "not True; write"),
        ("util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry=['1m'])", "not ['1m']; write"),
        (
            "util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRety='1m')",
            'unknown keyword "healthCheckRety" of ResourcePool; did you mean "healthCheckRetry"?',
        ),
        ("b('x', sh(boards), locks=[boards.access(where='nuc')])", 'claims pool "boards", which the build holds'),
        ("b('x', util.LockedSteps([sh(boards)], locks=boards))", 'claims pool "boards", which its LockedSteps hold'),
        (
            "b('x', sh(boards, boards.access(where='nuc')))",
            '"boards" is there twice, with different where=; name it',
        ),
        ("b('x', sh(boards, boards.access('exclusive')))", 'pool "boards" is there twice, and once exclusive'),
        (
            "b('x', sh(), locks=[boards] * 4)",
            'builder "x" can never start: it wants 4 units of pool "boards", which has 3; add units or lower the count',
        ),
    ],
)
def test_what_a_pool_and_an_access_cannot_be(mistakes: Mistakes, line: str, expected: str) -> None:
    found = mistakes(f"{BOARDS}{line}\n")
    assert len(found) == 1, found
    assert found[0].startswith(("12: ", "13: ", "9: ", "10: "))
    assert expected in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%(unit:bords)s", 'Interpolate: "%(unit:bords)s": there is no pool "bords"; did you mean "boards"?'),
        ("%(unit:zz:dir)s", '"%(unit:zz:dir)s": there is no pool "zz"; pools are: boards, lonely'),
        ("%(unit:db)s", '"%(unit:db)s": there is no pool "db"; pools are: boards, lonely'),
        (
            "%(unit:boards:adress)s",
            '"%(unit:boards:adress)s": no unit of pool "boards" has "adress"; did you mean "address"?',
        ),
        ("%(unit:boards:nix)s", 'no unit of pool "boards" has "nix"; of its units are known: address'),
        ("%(unit:lonely:nix)s", 'no unit of pool "lonely" has "nix"; of its units are known: only their names'),
        ("%(fence:dbb)s", '"%(fence:dbb)s": there is no lock and no pool "dbb"; did you mean "db"?'),
        ("%(fence:nix)s", 'there is no lock and no pool "nix"; there are: boards, lonely, db, cpu, cpu on w1'),
        ("%(kw:a:-%(unit:zz)s)s", '"%(unit:zz)s": there is no pool "zz"'),
        ("%(unit:boards:address)s %(unit:lonely)s %(fence:db)s %(fence:cpu)s %(fence:cpu on w1)s %(fence:boards)s", ""),
        ("%(unit:zz:-none)s %(unit:boards:nix:-none)s %(unit:zz:nix:~none)s %(unit:zz:+x)s %(fence:nix:-0)s", ""),
    ],
)
def test_a_text_names_what_is_there(load: Load, mistakes: Mistakes, text: str, expected: str) -> None:
    config = (
        "c['workers'] = [worker.Worker('w1', 'pw')]\n"
        "boards = util.ResourcePool('boards', {'a': {'address': 1}, 'b': {}})\n"
        "util.ResourcePool('lonely', ['x'])\n"
        "util.MasterLock('db'), util.WorkerLock('cpu')\n"
        f"steps.ShellCommand(command=['rm', '-rf', util.Interpolate('{text}')])\n"
    )
    if expected:
        (found,) = mistakes(config)
        assert found.startswith("7: ")
        assert expected in found
    else:
        load(config)


def test_where_locks_are_worked_out_for_each_build_a_lock_may_come_later(load: Load) -> None:
    load(
        "c['workers'] = [worker.Worker('w1', 'pw')]\n"
        "@util.renderer\n"
        "def each(props):\n"
        "    return [util.MasterLock(props['branch']).access('exclusive')]\n"
        "run = steps.ShellCommand(command=['x', util.Interpolate('%(fence:main)s')])\n"
        "c['builders'] = [util.BuilderConfig('b', workername='w1', factory=util.BuildFactory([run]), locks=each)]\n"
    )


def test_the_example_in_the_manual_is_a_configuration(load: Load) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "named-units.md"
    example = page.read_text().partition("```python\n")[2].partition("```")[0]
    config = load(example, "")
    assert (len(config.builders), config.warnings) == (3, ())


def test_the_words_of_a_health_check_are_filled_in_for_each_unit(load: Load) -> None:
    config = load(
        "c['workers'] = [worker.Worker('w1', 'pw')]\n"
        "util.ResourcePool('p', {'x': {'a': '::1', 'n': [1]}, 'y': {'a': None, 'n': 2}},\n"
        "                  healthCheck=('look', '-%(unit)s-', '%(unit:a)s', '%(unit:n)s', '100%', '+%s'))\n"
    )
    pool = config.table.pools["p"]
    assert pool.healthCheck is not None
    assert [pool.healthCheck.of(unit) for unit in pool.setup.units] == [
        ["look", "-x-", "::1", "[1]", "100%", "+%s"],
        ["look", "-y-", "", "2", "100%", "+%s"],
    ]


def test_names_that_would_be_one_variable_are_warned_of(load: Load) -> None:
    config = load(
        "c['workers'] = [worker.Worker('w1', 'pw')]\n"
        "util.ResourcePool('a-b', {'x': {'c-d': 1, 'c_d': 2}, 'y': {'c_d': 2, 'e': 3}})\n"
        "util.ResourcePool('a.b', {'x': {'e': 1}})\n"
        "util.MasterLock('a/b')\n"
    )
    assert [f"{one.place.line}: {one.text}" for one in config.warnings] == [
        '4: the fences of locks "a/b" (made at master.cfg:6) and "a-b" have one variable',
        '5: the fences of locks "a/b" (made at master.cfg:6) and "a.b" have one variable',
        '4: "c-d" of pool "a-b" and "c_d" of pool "a-b" have one variable',
        '5: "e" of pool "a-b" and "e" of pool "a.b" have one variable',
    ]


def test_a_pool_is_made_while_the_configuration_is_loaded_and_never_after() -> None:
    with pytest.raises(ConfigErrors, match="can be made only while the configuration is loaded; make it outside of"):
        ResourcePool("boards", ["a"])


def test_a_pool_that_was_made_for_the_load_before_is_still_one(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(BOARDS)
    kept = ModuleType("kept")
    kept.__dict__["boards"] = first.table.pools["boards"]
    monkeypatch.setitem(sys.modules, "kept", kept)
    second = load("from kept import boards\nc['workers'] = [worker.Worker('w1', 'pw')]\nc['locks'] = [boards]\n")
    assert second.setup().pools == first.setup().pools


def test_rehearse_refuses_another_limit_of_a_pool(load: Load) -> None:
    config = load(BOARDS)
    with pytest.raises(Exception, match="--limit boards=9: 'boards' is a pool: its units have names"):
        limits(config.table, ["w1"], ["boards=9"])


def test_units_are_looked_at_again_after_the_time_that_is_given(load: Load) -> None:
    config = load(
        "c['workers'] = [worker.Worker('w1', 'pw')]\n"
        "util.ResourcePool('p', ['x'], healthCheck=['ping'], healthCheckRetry='10m')\n"
        "util.ResourcePool('q', ['x'], healthCheck=['ping'])\n"
    )
    assert [(name, pool.setup.retry) for name, pool in config.table.pools.items()] == [("p", 600.0), ("q", 0.0)]
