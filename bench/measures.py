"""What is measured: each function takes a kind of system and how big the work is, and returns named numbers.

Processor time is the master's alone. How the systems are driven is in `systems.py`.
"""

import http.client
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from processes import memory, processor, quiet, until
from systems import Buildbot, Builder, System

Kind = type[System]
Numbers = dict[str, float]


class Size(Struct, frozen=True):
    """How big the work is."""

    builds: int = 200
    handoffs: int = 60
    lines: int = 2_640_000
    waiting: int = 1_000
    builders: int = 500
    thousands: int = 4
    seconds: float = 4.0


QUICK = Size(builds=24, handoffs=10, lines=140_000, waiting=50, builders=30, thousands=1, seconds=1.0)


def names(count: int) -> list[str]:
    """Names of so many workers."""
    return [f"w{number}" for number in range(count)]


# --- start


def _start(kind: Kind, builders: int) -> Numbers:
    made: list[Builder] = [(f"b{number}", ["w0"], "", ["true"]) for number in range(builders)]
    with kind(made, ["w0"]) as system:
        first = system.start()
        system.halt()
        again = system.start()
        return {"first": first, "again": again, "processor": processor(system.pid)}


def start_one(kind: Kind, _size: Size) -> Numbers:
    """Seconds until a master with one builder answers, in a new folder and in one that was used."""
    return _start(kind, 1)


def start_many(kind: Kind, size: Size) -> Numbers:
    """The same with many builders."""
    return _start(kind, size.builders)


# --- builds


def _builds(kind: Kind, workers: int, count: int) -> Numbers:
    with kind([("b", names(workers), "", ["true"])], names(workers)) as system:
        system.start()
        system.attach()
        used, began = processor(system.pid), time.perf_counter()
        system.order("b", count)
        system.finish(count)
        took = time.perf_counter() - began
        return {"per_minute": count / took * 60, "processor_ms": (processor(system.pid) - used) / count * 1000}


def builds_1(kind: Kind, size: Size) -> Numbers:
    """Builds a minute with one worker, and the master's processor time for each."""
    return _builds(kind, 1, size.builds)


def builds_8(kind: Kind, size: Size) -> Numbers:
    """The same with eight."""
    return _builds(kind, 8, size.builds)


# --- from holder to holder


def _gaps(stamps: Path) -> list[float]:
    """Seconds from each end to the next beginning. Two inside at once are a fault."""
    events = sorted((float(at), what) for what, at in (line.split() for line in stamps.read_text().splitlines()))
    gaps = []
    for (before, first), (after, second) in itertools.pairwise(events):
        assert first != second, "two were inside an exclusive lock at once"
        if second == "B":
            gaps.append(after - before)
    return gaps


def _handoff(kind: Kind, place: str, count: int) -> Numbers:
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        stamps = Path(folder, "stamps")
        script = f'echo "B $EPOCHREALTIME" >> {stamps}; echo "E $EPOCHREALTIME" >> {stamps}'
        with kind([("b", names(8), place, ["bash", "-c", script])], names(8)) as system:
            system.start()
            system.attach()
            system.order("b", count)
            system.finish(count)
        return {"gap_ms": statistics.median(_gaps(stamps)) * 1000}


def handoff_build(kind: Kind, size: Size) -> Numbers:
    """Milliseconds from the end of one holder's command to the beginning of the next's, under a build's lock."""
    return _handoff(kind, "build", size.handoffs)


def handoff_step(kind: Kind, size: Size) -> Numbers:
    """The same under a step's lock."""
    return _handoff(kind, "step", size.handoffs)


# --- output


def output(kind: Kind, size: Size) -> Numbers:
    """Seconds for one build whose step says 20 MB."""
    with kind([("b", ["w0"], "", ["seq", "1", str(size.lines)])], ["w0"]) as system:
        system.start()
        system.attach()
        used, began = processor(system.pid), time.perf_counter()
        system.force("b")
        system.finish(1)
        return {"seconds": time.perf_counter() - began, "processor": processor(system.pid) - used}


# --- a long queue


def queue(kind: Kind, size: Size) -> Numbers:
    """Milliseconds of the master's processor for one more request while many wait for a lock that is held."""
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        gate = Path(folder, "gate")
        script = f"touch {gate}.began; while [ ! -e {gate} ]; do sleep 0.05; done"
        waits: Builder = ("b", ["w0"], "build", ["true"])
        holds: Builder = ("holder", ["h0"], "build", ["sh", "-c", script])
        with kind([waits, holds], ["w0", "h0"]) as system:
            system.start()
            system.attach(["w0"])
            system.force("b")
            system.finish(1)
            system.agents.pop().stop()
            until(lambda: not system.connected(), "the worker's end", every=0.1)
            system.fill("b", size.waiting)
            system.attach(["h0"])
            system.force("holder")
            until(Path(f"{gate}.began").exists, "the holder")
            system.attach(["w0"])
            quiet(system.pid)
            # One request of Lockstep's costs less than the clock of /proc can show.
            times = 1 if kind is Buildbot else 200
            used = processor(system.pid)
            for _ in range(times):
                system.force("b")
            quiet(system.pid)
            cost = (processor(system.pid) - used) / times * 1000
            gate.touch()
            return {"processor_ms": cost}


# --- memory


def memory_idle(kind: Kind, size: Size) -> Numbers:
    """MiB of a master at rest with one worker; of Lockstep also after each thousand builds."""
    with kind([("b", names(4), "", ["true"])], names(4)) as system:
        system.start()
        system.attach(["w0"])
        quiet(system.pid, idle=3.0)
        numbers = {"idle": memory(system.pid)}
        if kind is Buildbot:
            return numbers
        system.attach(names(4)[1:])
        for thousand in range(1, size.thousands + 1):
            system.order("b", 1000)
            system.finish(1000 * thousand)
            quiet(system.pid)
            numbers[f"after_{thousand}000"] = memory(system.pid)
        return numbers


# --- the API


def rest(kind: Kind, size: Size) -> Numbers:
    """`GET builds?limit=50` a second, over one connection that is kept."""
    with kind([("b", ["w0"], "", ["true"])], ["w0"]) as system:
        system.start()
        system.attach()
        system.order("b", 50)
        system.finish(50)
        connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=3)
        good, began = 0, time.perf_counter()
        while time.perf_counter() - began < size.seconds:
            try:
                connection.request("GET", "/api/v2/builds?limit=50&order=-buildid")
                connection.getresponse().read()
                good += 1
            except (OSError, http.client.HTTPException):  # Buildbot's issue 9065: the end of an answer never comes
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=3)
        connection.close()
        return {"per_second": good / (time.perf_counter() - began)}


MEASURES = {
    "start-1": start_one,
    "start-500": start_many,
    "builds-1": builds_1,
    "builds-8": builds_8,
    "handoff-build": handoff_build,
    "handoff-step": handoff_step,
    "output": output,
    "queue": queue,
    "memory": memory_idle,
    "rest": rest,
}
"""Name for `--only` to function."""
