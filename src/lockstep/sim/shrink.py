"""A failing world made smaller: fewer faults, fewer wishes, fewer builders, as long as it still fails.

Nothing is checked here; a world fails if it raises.
"""

import re
import traceback
from collections.abc import Iterator

from msgspec.structs import replace

from lockstep.sim.disk import Disk
from lockstep.sim.scenario import Act, Faults, Scenario
from lockstep.sim.world import World

MAX_TRIES = 400


def failure(scenario: Scenario, disk: Disk | None = None) -> str:
    """Play a world. Returns how it failed (the kind of the error, its message and its place), or nothing."""
    world = World(scenario, disk)
    try:
        world.play()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {world.timeline.now:.1f} s: {error} ({place.name}, line {place.lineno})"
    finally:
        world.disk.close()
    return ""


def shrink(scenario: Scenario) -> Scenario:
    """The smallest failing world that is found by leaving things out."""
    tries = 0
    kind = _kind(failure(scenario))
    moved = True
    while moved:
        moved = False
        for smaller in _smaller(scenario):
            tries += 1
            if tries > MAX_TRIES:
                return scenario
            if _kind(failure(smaller)) == kind:
                scenario, moved = smaller, True
                break
    return scenario


def _kind(told: str) -> str:
    """What a failure has in common with those of smaller worlds: its words, without numbers and names."""
    _, _, text = told.partition(" s: ")
    return re.sub(r"[\d-]+", "", text)[:40] if text else ""


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    acts = scenario.acts
    size = len(acts) // 2
    while size:
        for start in range(0, len(acts), size):
            yield replace(scenario, acts=acts[:start] + acts[start + size :])
        size //= 2
    for name in Faults.__struct_fields__:
        if getattr(scenario.faults, name):
            yield replace(scenario, faults=replace(scenario.faults, **{name: 0.0}))
    for index, builder in enumerate(scenario.builders):
        if len(builder.steps) > 1:
            fewer = replace(builder, steps=builder.steps[:-1])
            yield replace(scenario, builders=(*scenario.builders[:index], fewer, *scenario.builders[index + 1 :]))
    for name, script in scenario.scripts.items():
        for drop in range(len(script.ops)):
            smaller = replace(script, ops=script.ops[:drop] + script.ops[drop + 1 :])
            yield replace(scenario, scripts={**scenario.scripts, name: smaller})


def told(scenario: Scenario) -> str:
    """A world in words."""
    lines = [f"seed {scenario.seed}, faults {scenario.faults}"]
    lines += [
        f"worker {machine.setup.name}: max_builds {machine.setup.max_builds}, lease {machine.lease:g}"
        for machine in scenario.machines
    ]
    lines += [
        f"lock {lock.key}: limit {lock.limit}, K {lock.max_overtakes}"
        for lock in scenario.locks
        if lock.key.kind != "builddir"
    ]
    for builder in scenario.builders:
        for each in builder.need.alternatives:
            own = [access for access in each.accesses if access.lock.kind in ("master", "worker")]
            uses = ", ".join(f"{a.lock} {a.mode} {a.count}" for a in own)
            lines.append(f"builder {builder.setup.name} on {each.worker}: {uses or 'no locks'}")
        for name in builder.steps:
            script = scenario.scripts[name]
            uses = ", ".join(f"{a.lock} {a.mode} {a.count}" for a in script.accesses)
            lines.append(f"  step {name} [{uses}] {script.ops} -> {script.ending}")
    lines += [_act(act) for act in scenario.acts]
    return "\n".join(lines)


def _act(act: Act) -> str:
    return f"at {act.at:g}: {act.what} {act.who} {act.number}"
