"""What a rehearsal means: waits, use, worst cases, and what to be warned of. Values and arithmetic only."""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from lockstep.core.nouns import UNLIMITED, LockKey
from lockstep.sim.rehearsal import Played, Story, Use

SHOWN_WORST = 5
STARVING = 5.0
"""A builder starves whose requests wait so many times as long as all do on average, and longer than its builds take."""
PARTS = 240
RARELY = 0.01
"""A unit is idle that is in use for less than this part of the time."""


class Waits(Struct, frozen=True):
    """How long requests waited until their builds began, in seconds, and how many there were."""

    count: int
    mean: float
    median: float
    most: float
    """95 of 100 waited at most so long."""
    worst: float
    in_steps: float
    """What a build waited for locks of its steps, on average."""
    took: float
    """From request to end, on average."""


class Used(Struct, frozen=True):
    """How a lock or worker was used: the share of its units (0 to 1; None: it has no limit), and the most at once."""

    key: LockKey
    limit: int | None
    share: float | None
    average: float
    peak: int
    idle: int
    """So many units were hardly ever in use."""


class Worst(Struct, frozen=True):
    """A request that waited long, and how many came later and began before it."""

    builder: str
    at: float
    waited: float
    in_steps: float
    passed: int


class Figures(Struct, frozen=True):
    """All that is told of a rehearsal."""

    requests: int
    total: Waits
    builders: dict[str, Waits]
    uses: tuple[Used, ...]
    worst: tuple[Worst, ...]
    merged: int
    gave_up: dict[str, int]
    """Builder to how many of its requests ended without a build: `maxWaiting`, `waitTimeout`, `skipIfBusy`."""
    put_back: int
    backlog: int
    stuck: dict[str, tuple[int, str]]
    rings: int
    starving: tuple[str, ...]
    queue: tuple[int, ...]
    """How many requests waited at most, in each of so many equal parts of the time in which requests came."""


def figures(played: Played) -> Figures:
    """Work out what a rehearsal means."""
    built = [story for story in played.stories if story.started >= 0]
    by_builder: dict[str, list[Story]] = {}
    for story in built:
        by_builder.setdefault(story.ask.builder, []).append(story)
    total = waits(built)
    builders = {name: waits(stories) for name, stories in sorted(by_builder.items())}
    return Figures(
        requests=len(played.stories),
        total=total,
        builders=builders,
        uses=tuple(_used(key, use, played.span) for key, use in sorted(played.uses.items())),
        worst=_worst(built),
        merged=sum(story.merged for story in played.stories),
        gave_up=dict(Counter(story.ask.builder for story in played.stories if story.gave_up)),
        put_back=sum(story.put_back for story in played.stories),
        backlog=played.backlog,
        stuck=played.stuck,
        rings=len(played.rings),
        starving=tuple(name for name, own in builders.items() if _starves(own, total)),
        queue=_queue(played),
    )


def waits(stories: Sequence[Story]) -> Waits:
    """The waits of some requests whose builds have begun."""
    if not stories:
        return Waits(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    found = sorted(story.waited for story in stories)
    ended = [story.ended - story.at for story in stories if story.ended >= 0]
    count = len(found)
    return Waits(
        count=count,
        mean=sum(found) / count,
        median=found[count // 2],
        most=found[min(count - 1, count * 95 // 100)],
        worst=found[-1],
        in_steps=sum(story.step_waits for story in stories) / count,
        took=sum(ended) / len(ended) if ended else 0.0,
    )


def _starves(own: Waits, total: Waits) -> bool:
    builds = own.took - own.mean
    return own.mean > STARVING * total.mean and own.mean > builds


def _used(key: LockKey, use: Use, span: float) -> Used:
    limit = None if use.limit >= UNLIMITED else use.limit
    spent = sum(units * seconds for units, seconds in use.levels.items())
    average = spent / span if span else 0.0
    peak = max((units for units, seconds in use.levels.items() if units), default=0)
    return Used(
        key=key,
        limit=limit,
        share=None if limit is None else (average / limit if limit else 0.0),
        average=average,
        peak=peak,
        idle=0 if limit is None else limit - _often(use, limit, RARELY * span),
    )


def _often(use: Use, limit: int, least: float) -> int:
    """How many units are in use at once for longer than `least` seconds in all."""
    seconds = 0.0
    for units in sorted(use.levels, reverse=True):
        seconds += use.levels[units]
        if seconds > least or not units:
            return min(units, limit)
    return 0


def _worst(built: Iterable[Story]) -> tuple[Worst, ...]:
    stories = list(built)
    longest = sorted(stories, key=lambda story: (-story.waited - story.step_waits, story.at))[:SHOWN_WORST]
    return tuple(
        Worst(
            builder=story.ask.builder,
            at=story.at,
            waited=story.waited,
            in_steps=story.step_waits,
            passed=sum(story.at < other.at and 0 <= other.started < story.started for other in stories),
        )
        for story in longest
        if story.waited + story.step_waits > 0
    )


def _queue(played: Played) -> tuple[int, ...]:
    moments = []
    for story in played.stories:
        if not story.merged and story.started != story.at:
            moments.append((story.at, 1))
            if story.started >= 0 or story.ended >= 0:
                moments.append((story.started if story.started >= 0 else story.ended, -1))
    most, waiting = [0] * PARTS, 0
    place = 0
    for at, step in sorted(moments, key=lambda moment: moment[0]):
        part = min(PARTS, int(at / played.span * PARTS)) if played.span else 0
        while place < part:
            place += 1
            if place < PARTS:
                most[place] = waiting
        if part >= PARTS:
            break
        waiting += step
        most[part] = max(most[part], waiting)
    return tuple(most)
