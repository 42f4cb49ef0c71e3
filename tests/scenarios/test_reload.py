"""A running server takes another configuration, whole or not at all: `lockstep reload` and SIGHUP (L6, L24)."""

import os
import signal
from collections.abc import Callable

from scene import Scene
from timeline import check_lock, most_at_once, units

from lockstep.core.nouns import Result

Stage = Callable[..., Scene]
OK = Result.SUCCESS


def hup(scene: Scene) -> None:
    """`kill -HUP`."""
    assert scene.process is not None
    os.kill(scene.process.pid, signal.SIGHUP)


def test_limits_a_bad_file_and_a_renamed_lock(stage: Stage) -> None:
    """One server through several configurations, while builds hold and wait."""
    config = """
        lock = util.MasterLock({name!r}, maxCount={limit})
        c['workers'] = workers('w1')
        c['builders'] = [build(f'b{{i}}', gate('in'), locks=[lock]) for i in range({builders})]
    """
    scene = stage(config.format(name="cars", limit=2, builders=5), "w1")
    requests = [scene.force(f"b{i}")[0] for i in range(5)]
    scene.running("b0-1-in")
    scene.running("b1-1-in")
    assert len(scene.facts.builds()) == 2

    # Raised, by SIGHUP: two more start.
    scene.configure(config.format(name="cars", limit=4, builders=5))
    hup(scene)
    scene.running("b2-1-in")
    scene.running("b3-1-in")
    assert scene.lock("cars")["used"] == 4

    # A bad file, both ways: told with file and line; what runs stays.
    scene.configure(config.format(name="cars", limit=9, builders=5) + "    c['bulders'] = []\n")
    told = scene.cli("reload")
    assert told.returncode != 0
    assert "bulders" in told.stderr
    assert "builders" in told.stderr
    assert "master.cfg" in told.stderr
    hup(scene)
    scene.until(lambda: "the running one stays" in scene.log.read_text(), "the answer in the log")
    assert scene.lock("cars")["limit"] == 4
    assert len(scene.facts.builds()) == 4

    # Lowered: nobody is turned out, and nobody enters until it has drained.
    scene.configure(config.format(name="cars", limit=1, builders=5))
    assert scene.cli("reload").returncode == 0
    assert scene.lock("cars")["used"] == 4
    scene.open("b0-1-in", "b1-1-in", "b2-1-in")
    assert scene.ended(*requests[:3]) == [OK, OK, OK]
    assert "cars" in scene.why(requests[4])["sentence"]
    assert len(scene.facts.builds()) == 4

    # Gone while it is held: named with its holder. The new name is a new lock; the waiter wants that one now.
    scene.configure(config.format(name="autos", limit=1, builders=5))
    told = scene.cli("reload")
    assert told.returncode == 0
    assert "'cars'" in told.stderr
    assert "b3 #1" in told.stderr
    scene.running("b4-1-in")
    scene.open("in")
    assert scene.ended(*requests) == [OK] * 5
    spans = scene.facts.holds("cars")
    assert most_at_once(spans, units) == 4
    assert len(check_lock(scene.facts, "autos", 1)) == 1
    tickets = {fact.brid: fact.ticket for fact in scene.facts.of("RequestAdded")}
    assert scene.facts.holds("autos")[0].fact.ticket == tickets[requests[4]]


def test_a_changed_helper_module_and_new_builders_and_workers_are_seen(stage: Stage) -> None:
    config = """
        import sys
        sys.path.insert(0, here)
        import helper_of_scenario
        c['workers'] = workers('w1', *helper_of_scenario.MORE)
        c['builders'] = [build(name, sh('say', 'echo ' + helper_of_scenario.WORD), on=on)
                         for name, on in helper_of_scenario.BUILDERS]
    """

    def help_with(word: str, more: list[str], builders: list[tuple[str, str]]) -> None:
        text = f"WORD = {word!r}\nMORE = {more!r}\nBUILDERS = {builders!r}\n"
        (scene.folder / "helper_of_scenario.py").write_text(text)

    class Early(Scene):
        def start(self) -> None:
            (self.folder / "helper_of_scenario.py").write_text("WORD = 'old'\nMORE = []\nBUILDERS = [('a', 'w1')]\n")
            super().start()

    scene = stage(config, "w1", kind=Early)
    assert scene.ended(*scene.force("a")) == [OK]
    assert scene.output(1, "say") == "old\n"
    help_with("new", ["w2"], [("a", "w1"), ("b", "w2")])
    assert scene.cli("reload").returncode == 0
    assert scene.ended(*scene.force("a")) == [OK]
    assert scene.output(2, "say") == "new\n"
    scene.agent("w2")
    assert scene.ended(*scene.force("b")) == [OK]
    # A worker that is not configured any more is refused.
    help_with("new", [], [("a", "w1")])
    assert scene.cli("reload").returncode == 0
    scene.agents["w2"].end()
    scene.agents["w2"].ended()
    again = scene.agent("w2", wait=False)
    scene.until(lambda: "no worker 'w2'" in again.log.read_text(), "the refusal")
    assert scene.ended(*scene.force("a")) == [OK]


def test_a_reload_keeps_the_tickets_of_those_who_wait_and_renders_them_anew(stage: Stage) -> None:
    """Claims of requests are rendered again and keep their places; those of running builds' steps are not (L24)."""
    config = """
        old, new = util.MasterLock('old'), util.MasterLock('new')
        @util.renderer
        def wanted(props):
            return [{lock}.access('exclusive')]
        c['workers'] = workers('w1')
        c['builders'] = [build('holder', gate('in'), locks=[old.access('exclusive'), new.access('exclusive')])]
        c['builders'] += [build(f'r{{i}}', sh('s'), locks=wanted) for i in range(3)]
        c['builders'] += [build('stepper', sh('t', locks=wanted))]
    """
    scene = stage(config.format(lock="old"), "w1")
    (holder,) = scene.force("holder")
    scene.running("holder-1-in")
    (stepper,) = scene.force("stepper")
    waiting = scene.fact("StepStarted", name="t")
    requests = [scene.force(f"r{i}")[0] for i in range(3)]
    scene.until(lambda: len(scene.facts.of("NeedSet")) >= 3, "the rendered locks")
    scene.configure(config.format(lock="new"))
    assert scene.cli("reload").returncode == 0
    scene.until(lambda: len([c for c in scene.all("claims") if c["accesses"][-1]["lock"] == "new"]) >= 4, "new claims")
    scene.open("holder-1-in")
    assert set(scene.ended(holder, stepper, *requests)) == {OK}
    tickets = {fact.brid: fact.ticket for fact in scene.facts.of("RequestAdded")}
    assert [s.fact.ticket for s in check_lock(scene.facts, "new", 1)] == [tickets[b] for b in (holder, *requests)]
    assert [s.fact.ticket for s in check_lock(scene.facts, "old", 1)] == [tickets[holder], waiting.ticket]


def test_what_only_a_start_takes_is_named(stage: Stage) -> None:
    config = "c['workers'] = workers('w1')\nc['builders'] = [build('one', sh('s'))]\n"
    scene = stage(config)
    assert scene.cli("reload").stderr == ""
    scene.configure(config + "c['protocols'] = {'msgpack_experimental_v7': {'port': 1}}\nc['db'] = 'sqlite:///x'\n")
    told = scene.cli("reload")
    assert told.returncode == 1  # c['db'] is a dictionary
    scene.configure(
        config + "c['protocols'] = {'msgpack_experimental_v7': {'port': 1}}\nc['db'] = {'db_url': 'sqlite:///x'}\n"
    )
    told = scene.cli("reload")
    assert told.returncode == 0
    assert f"the ports stay (127.0.0.1:{scene.port}) until the server is started again" in told.stderr
    assert "c['db']: the store stays until the server is started again" in told.stderr
    scene.configure(config)
    assert scene.cli("reload").stderr == ""
