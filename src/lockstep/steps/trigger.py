"""`Trigger`: builds that a build asks for, and may wait for."""

from collections.abc import Mapping
from typing import Any, ClassVar

from lockstep.config.errors import missing, mistake, note
from lockstep.config.properties import has_renderables, resolve
from lockstep.core.calls import StartBuilds, Triggered
from lockstep.core.nouns import Result, worse
from lockstep.core.values import Patch, Properties, SourceStamp, Submission
from lockstep.steps import kinds
from lockstep.steps.base import BuildStep


class Trigger(BuildStep):
    """Submit build sets to `Triggerable` schedulers, named in `schedulerNames`.

    With `waitForFinish` the step ends when their builds have, with the worst of their results (those of
    `unimportantSchedulerNames` do not count). The source stamps are the build's own; with `updateSourceStamp` with the
    revisions that were really checked out, with `alwaysUseLatest` without revisions, or those in `sourceStamps`.
    `set_properties` is a dictionary; `copy_properties` a list of names. Subclasses may override
    `getSchedulersAndProperties`.
    """

    name: Any = "trigger"
    renderables: ClassVar[Any] = (
        "set_properties",
        "schedulerNames",
        "unimportantSchedulerNames",
        "sourceStamps",
        "updateSourceStamp",
        "alwaysUseLatest",
        "parent_relationship",
        "waitForFinish",
    )
    argument_kinds: ClassVar[Mapping[str, kinds.Kind]] = {
        "set_properties": kinds.mapping,
        "copy_properties": kinds.words,
        "waitForFinish": kinds.flag,
        "alwaysUseLatest": kinds.flag,
        "updateSourceStamp": kinds.flag,
    }
    flunkOnFailure: Any = True

    def __init__(
        self,
        schedulerNames: Any = None,
        sourceStamp: Any = None,
        sourceStamps: Any = None,
        updateSourceStamp: Any = None,
        alwaysUseLatest: Any = False,
        waitForFinish: Any = False,
        set_properties: Any = None,
        copy_properties: Any = None,
        parent_relationship: Any = "Triggered from",
        unimportantSchedulerNames: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take what is named above."""
        self.schedulerNames = schedulerNames
        self.sourceStamps = [sourceStamp] if sourceStamp is not None else (sourceStamps or [])
        given_stamps = sourceStamp is not None or bool(sourceStamps)
        if updateSourceStamp is None:
            updateSourceStamp = not (alwaysUseLatest or given_stamps)
        self.updateSourceStamp = updateSourceStamp
        self.alwaysUseLatest = alwaysUseLatest
        self.waitForFinish = waitForFinish
        self.set_properties = dict(set_properties) if isinstance(set_properties, Mapping) else (set_properties or {})
        self.copy_properties = copy_properties or ()
        self.parent_relationship = parent_relationship
        self.unimportantSchedulerNames = unimportantSchedulerNames or []
        super().__init__(**kwargs)
        self.triggered: list[Triggered] = []
        self.triggeredNames: list[str] = []
        if parent_relationship != "Triggered from":
            note("parent_relationship has no effect: build sets say 'Triggered from'", place=self.place)
        self._check(given_stamps, sourceStamp is not None and sourceStamps is not None)

    def _check(self, given_stamps: bool, both: bool) -> None:
        overridden = type(self).getSchedulersAndProperties is not Trigger.getSchedulersAndProperties
        if not self.schedulerNames and not overridden:
            missing("schedulerNames", "Trigger needs schedulerNames=", place=self.place)
        if isinstance(self.schedulerNames, str):
            mistake("schedulerNames must be a list of names", f'["{self.schedulerNames}"]', self.place)
        if both:
            mistake("Trigger takes one of sourceStamp and sourceStamps", place=self.place)
        chosen = [given_stamps, self.updateSourceStamp is True, self.alwaysUseLatest is True]
        if sum(chosen) > 1:
            mistake("Trigger takes one of sourceStamps, updateSourceStamp and alwaysUseLatest", place=self.place)
        if isinstance(self.unimportantSchedulerNames, list) and isinstance(self.schedulerNames, list):
            for name in self.unimportantSchedulerNames:
                if not has_renderables(self.schedulerNames) and name not in self.schedulerNames:
                    text = f"unimportantSchedulerNames names {name!r}, which is not in schedulerNames"
                    mistake(text, place=self.place)

    def awaited_schedulers(self) -> tuple[list[str], bool]:
        if not self.waitForFinish:
            return [], False
        overridden = type(self).getSchedulersAndProperties is not Trigger.getSchedulersAndProperties
        named = self.schedulerNames if isinstance(self.schedulerNames, list | tuple) else []
        known = [name for name in named if isinstance(name, str)]
        return known, overridden or len(known) < len(named) or has_renderables(self.schedulerNames)

    # What is asked for

    def getSchedulersAndProperties(self) -> Any:
        """What to trigger: a list of `{"sched_name", "props_to_set", "unimportant"}`. May be a coroutine."""
        return [
            {
                "sched_name": name,
                "props_to_set": self.set_properties,
                "unimportant": name in self.unimportantSchedulerNames,
            }
            for name in self.schedulerNames
        ]

    def _stamps(self) -> tuple[SourceStamp, ...]:
        """The source stamps of the triggered builds. Empty where the latest of everything is wanted."""
        if self.sourceStamps:
            return tuple(_stamp(one) for one in self.sourceStamps)
        if self.alwaysUseLatest:
            return ()
        stamps = self.build.getAllSourceStamps()
        if not self.updateSourceStamp:
            return tuple(stamps)
        got = self.getProperty("got_revision")
        return tuple(_with_revision(stamp, got) for stamp in stamps)

    def _properties(self, wanted: Mapping[str, Any]) -> Properties:
        props: Properties = {name: (value, "Trigger") for name, value in wanted.items()}
        for name in self.copy_properties:
            if self.hasProperty(name):
                props.setdefault(name, (self.getProperty(name), self.build.getProperties().getPropertySource(name)))
        return props

    def _submission(self, wanted: Any, stamps: tuple[SourceStamp, ...]) -> tuple[Submission, bool]:
        """One build set, and whether its result counts."""
        if isinstance(wanted, Mapping):
            name, props = wanted["sched_name"], wanted.get("props_to_set") or {}
            important = not wanted.get("unimportant", False)
        else:
            name, props, *rest = wanted
            important = not (rest and rest[0])
        try:
            scheduler = self.doors.submission(name)
        except KeyError:
            raise LookupError(f"there is no Triggerable scheduler {name!r}") from None
        return scheduler.trigger(stamps, self._properties(props)), important

    async def run(self) -> int:
        stamps = self._stamps()
        wanted = [self._submission(one, stamps) for one in await resolve(self.getSchedulersAndProperties()) or ()]
        if not wanted:
            return Result.SUCCESS
        self.triggeredNames = [submission.scheduler for submission, _ in wanted]
        call = StartBuilds(tuple(submission for submission, _ in wanted), wait=bool(self.waitForFinish))
        self.triggered = await self.doors.call(call)
        total = Result.SUCCESS
        for done, (submission, important) in zip(self.triggered, wanted, strict=True):
            for builder, brid in done.requests.items():  # (builds that are waited for are linked when they start)
                self.addURL(f"{submission.scheduler}: {builder}", f"/requests/{brid}")
            if done.result is not None and important:
                total = worse(total, Result(done.result))
        return total

    # What people read

    def getCurrentSummary(self) -> Any:
        """What is triggered."""
        if self.description or not isinstance(self.schedulerNames, list | tuple):
            return super().getCurrentSummary()
        return {"step": f"triggering {', '.join(map(str, self.schedulerNames))}"}

    def getResultSummary(self) -> Any:
        """What was triggered, and how it ended."""
        if self.description or self.descriptionDone or not self.triggered:
            return super().getResultSummary()
        results: dict[str, int] = {}
        for done in self.triggered:
            for *_, result in done.builds:
                name = Result(result).name.lower()
                results[name] = results.get(name, 0) + 1
        counted = ", ".join(f"{number} {name}" for name, number in results.items())
        names = ", ".join(dict.fromkeys(self.triggeredNames))
        return {"step": self.with_result(f"triggered {names}" + (f", {counted}" if counted else ""))}


def _with_revision(stamp: SourceStamp, got: Any) -> SourceStamp:
    """The stamp with the revision that was checked out for its codebase."""
    revision = got.get(stamp.codebase) if isinstance(got, Mapping) else (got if not stamp.codebase else None)
    if revision is None:
        return stamp
    return SourceStamp(
        codebase=stamp.codebase,
        repository=stamp.repository,
        project=stamp.project,
        branch=stamp.branch,
        revision=str(revision),
        patch=stamp.patch,
        changes=stamp.changes,
    )


def _stamp(given: Any) -> SourceStamp:
    """A source stamp from a dictionary of a configuration. Raises TypeError for an unknown key."""
    if isinstance(given, SourceStamp):
        return given
    known = dict(given)
    body = known.pop("patch_body", None)
    patch = None
    if body is not None:
        patch = Patch(
            body=body.encode() if isinstance(body, str) else body,
            level=int(known.pop("patch_level", 0)),
            subdir=known.pop("patch_subdir", ""),
            author=known.pop("patch_author", ""),
            comment=known.pop("patch_comment", ""),
        )
    return SourceStamp(patch=patch, **{name: value for name, value in known.items() if value is not None})
