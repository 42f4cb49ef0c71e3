"""What every scheduler is: a function of events, with its memory and the time as arguments.

A scheduler object is configuration and nothing else. The master hands it what it remembers (`memory`, plain values),
the event and the time (Unix seconds), and gets a `Move`: build sets to submit, what to remember from now on, and when
to wake it. So a restart loses nothing, and a test needs no clock.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from lockstep.config.errors import check_keywords, here, mistake, named, plain
from lockstep.config.properties import Properties, has_renderables, is_renderable, render_now
from lockstep.core.limits import MAX_PRIORITY
from lockstep.core.nouns import Result
from lockstep.core.values import Change, RequestWish, SourceStamp, Submission
from lockstep.core.values import Properties as PlainProperties


class Move(Struct, frozen=True, kw_only=True):
    """What a scheduler wants. `wake` is when to call `on_timer` (Unix seconds), or None; it replaces the last one."""

    submissions: tuple[Submission, ...] = ()
    memory: Any = None
    wake: float | None = None


class EndedBuildset(Struct, frozen=True, kw_only=True):
    """A build set that has ended."""

    bsid: int
    scheduler: str
    result: Result
    sourcestamps: tuple[SourceStamp, ...] = (SourceStamp(),)


class BaseScheduler:
    """A scheduler: `name`, the builders it asks for, and what it gives to their builds.

    `properties` is a dictionary (values may be renderables), `priority` a number or a function of builder names and
    changes by codebase, `codebases` a list of names or a dictionary of names and defaults (repository, branch,
    revision). What a user's function raises goes through.
    """

    keywords: ClassVar[tuple[str, ...]] = ("name", "builderNames", "properties", "codebases", "priority", "reason")
    not_yet: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: Any = None,
        builderNames: Any = None,
        properties: Mapping[str, Any] | None = None,
        codebases: Any = None,
        priority: Any = None,
        reason: Any = None,
        **unknown: Any,
    ) -> None:
        """Take what all schedulers take, and report the rest."""
        self.place = here()
        what = type(self).__name__
        self.name: str = named(name, what, self.place)
        self.builderNames = self._builders(builderNames)
        self.properties: dict[str, Any] = dict(properties or {})
        for key, value in self.properties.items():
            if not has_renderables(value):
                plain(value, f'scheduler {self.name!r}: properties: the value of "{key}"', self.place)
        self.codebases = self._codebases(codebases)
        self.priority = priority
        self.reason = reason if reason is not None else f"{what} scheduler {self.name!r}"
        if priority is not None and not callable(priority) and not isinstance(priority, int):
            mistake(f"scheduler {self.name!r}: priority must be a number or a function", place=self.place)
            self.priority = None
        elif isinstance(priority, int) and abs(priority) > MAX_PRIORITY:
            text = f"scheduler {self.name!r}: priority must be from -{MAX_PRIORITY} to {MAX_PRIORITY}, not {priority}"
            mistake(text, place=self.place)
            self.priority = None
        known = [keyword for cls in type(self).__mro__ for keyword in vars(cls).get("keywords", ())]
        check_keywords(what, unknown, known, self.not_yet, place=self.place)

    def _builders(self, names: Any) -> list[str]:
        if is_renderable(names) or has_renderables(names):
            mistake(f"scheduler {self.name!r}: builderNames that are rendered are not supported yet", place=self.place)
            return []
        if isinstance(names, str) or not isinstance(names, Iterable):
            hint = f'builderNames=["{names}"]' if isinstance(names, str) else ""
            mistake(f"scheduler {self.name!r}: builderNames must be a list of names", hint, self.place)
            return []
        return [str(getattr(name, "name", name)) for name in names]

    def _codebases(self, codebases: Any) -> dict[str, dict[str, Any]]:
        """Codebases with their defaults, whichever way they were written."""
        if codebases is None:
            return {"": {}}
        if isinstance(codebases, Mapping):
            made = {str(name): dict(about or {}) for name, about in codebases.items()}
        elif isinstance(codebases, Iterable) and not isinstance(codebases, str):
            made = {str(name): {} for name in codebases}
        else:
            mistake(f"scheduler {self.name!r}: codebases must be a list or a dictionary", place=self.place)
            return {"": {}}
        for about in made.values():
            check_keywords("codebases", about_unknown(about), ("repository", "branch", "revision"), place=self.place)
            for field, value in _stamp_fields(about).items():
                if not isinstance(value, str):
                    text = f"scheduler {self.name!r}: {field} of a codebase must be a text, not {value!r}"
                    mistake(text, place=self.place)
        return made

    def listBuilderNames(self) -> list[str]:
        """The names of the builders that it asks for."""
        return list(self.builderNames)

    # What the master calls

    def follows_changes(self) -> bool:
        """Whether it is told of changes."""
        return type(self).on_change is not BaseScheduler.on_change

    def follows_buildsets(self) -> bool:
        """Whether it is told of build sets that have ended."""
        return type(self).on_buildset_ended is not BaseScheduler.on_buildset_ended

    def start(self, memory: Any, now: float) -> Move:
        """The server started, a configuration came into force, or a minute went by: the clock may have been set."""
        return Move(memory=memory)

    def on_change(self, memory: Any, change: Change, now: float) -> Move:
        """A change was noticed."""
        return self.start(memory, now)

    def on_buildset_ended(self, memory: Any, ended: EndedBuildset, now: float) -> Move:
        """A build set has ended."""
        return self.start(memory, now)

    def on_timer(self, memory: Any, now: float) -> Move:
        """The time of `wake` has come."""
        return self.start(memory, now)

    # Making submissions

    def stamps(self, known: Mapping[str, SourceStamp]) -> tuple[SourceStamp, ...]:
        """One source stamp per codebase: the known one, or the codebase's defaults. Unknown codebases are left out."""
        return tuple(
            known[name] if name in known else SourceStamp(codebase=name, **_stamp_fields(about))
            for name, about in sorted(self.codebases.items())
        )

    def submit(
        self,
        stamps: tuple[SourceStamp, ...],
        properties: PlainProperties | None = None,
        changes: tuple[Change, ...] = (),
        reason: Any = None,
    ) -> Submission:
        """A build set for these source stamps; `properties` are added to the scheduler's own and win."""
        own = self._own_properties(stamps, changes)
        props = Properties.of({**own, **(properties or {})}, stamps)
        text = render_now(self.reason if reason is None else reason, props)
        by_codebase: dict[str, list[Change]] = {}
        for change in changes:
            by_codebase.setdefault(change.codebase, []).append(change)
        priority = self.priority
        level = int(priority(self.builderNames, by_codebase)) if callable(priority) else (priority or 0)
        return Submission(
            requests=tuple(RequestWish(builder=name, priority=level) for name in self.builderNames),
            reason=str(text),
            scheduler=self.name,
            sourcestamps=stamps,
            properties={**own, **(properties or {})},
        )

    def _own_properties(self, stamps: tuple[SourceStamp, ...], changes: Iterable[Change]) -> PlainProperties:
        """The changes' properties, then the scheduler's own, rendered."""
        known: PlainProperties = {}
        for change in changes:
            known.update({name: (value, "Change") for name, (value, _) in change.properties.items()})
        props = Properties.of(known, stamps)
        rendered = {name: (render_now(value, props), "Scheduler") for name, value in self.properties.items()}
        for name, (value, _) in rendered.items():
            check_kept(name, value)
        return {**known, **rendered}


def check_kept(name: str, value: Any) -> None:
    """Raise TypeError if the store could not keep a property's value."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError, OverflowError, RecursionError) as exc:
        raise TypeError(f"the property {name!r} cannot have a value of {type(value).__name__}: {exc}") from None


def about_unknown(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is unknown among the defaults of a codebase."""
    return {name: value for name, value in about.items() if name not in ("repository", "branch", "revision")}


def _stamp_fields(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: about[name] for name in ("repository", "branch", "revision") if about.get(name) is not None}


def stamp_of(change: Change) -> SourceStamp:
    """The source stamp of one change."""
    return SourceStamp(
        codebase=change.codebase,
        repository=change.repository,
        project=change.project,
        branch=change.branch,
        revision=change.revision,
        changes=(change.changeid,) if change.changeid else (),
    )
