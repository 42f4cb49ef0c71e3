"""How the master runs a step: `prepare` it, claim what it needs, `execute` it.

Everything of the user's that is asked before and after `run()` is asked here, once: `doStepIf`, `locks`, renderables,
`hideStepIf`, summaries. What `prepare` gives is stored (`Prepared` is a plain record); a step that is replayed after a
restart is executed with the stored one. What a step does is in the steps themselves.
"""

import asyncio
import html
import inspect
import traceback
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from lockstep.config.interpolate import NotTold
from lockstep.config.locks import BaseLock, accesses_for, as_accesses
from lockstep.config.properties import has_renderables, is_renderable, render, resolve
from lockstep.config.running import CURRENT
from lockstep.config.secrets import shown
from lockstep.core.errors import RAISED
from lockstep.core.nouns import Access, LockKey, Result
from lockstep.core.values import LockSetup
from lockstep.steps.base import BuildStep, BuildStepCancelled, BuildStepFailed, words
from lockstep.steps.build import Build
from lockstep.steps.context import BuildContext, StepContext

_TROUBLE_SHOWN: Final = 200
"""Characters of what was raised that stand in a summary."""

_EARLY: Final = ("name",)
"""Rendered first, for skipped steps too: pages show it."""


class Prepared(Struct, frozen=True, kw_only=True):
    """What a step said of itself before it ran; evaluated once and stored.

    `args` are the rendered attributes (None: to be rendered after the grant, because the step has locks whose fences
    they may want). `again` names those whose values cannot be stored: they are rendered again on replay. `limits` are
    its locks' limits, for locks that the configuration did not have when it was loaded; `shared` are the locks of its
    `LockedSteps`. `env` is the builder's environment, rendered; `units` what is told of the units that the step and its
    group have, `fences` those of all locks that it runs under. `summary` and `hidden` are those of a skipped step.
    `error` is the traceback where the user's code failed: `execute` ends in EXCEPTION then.
    """

    name: str
    skip: bool = False
    summary: str = ""
    hidden: bool = False
    accesses: tuple[Access, ...] = ()
    limits: tuple[LockSetup, ...] = ()
    shared: tuple[LockKey, ...] = ()
    args: dict[str, Any] | None = None
    again: tuple[str, ...] = ()
    env: dict[str, Any] = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    error: str = ""


class StepOutcome(Struct, frozen=True, kw_only=True):
    """How a step ended. `build_summary` is what it has to say for the build, or None."""

    result: Result
    summary: str
    build_summary: str | None = None
    hidden: bool = False


def encode_prepared(prepared: Prepared) -> bytes:
    """A `Prepared` as it is stored."""
    return msgspec.msgpack.encode(prepared)


def decode_prepared(data: bytes) -> Prepared:
    """What `encode_prepared` stored. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(data, type=Prepared)


async def prepare(step: BuildStep, build_context: BuildContext, opens: bool = False) -> Prepared:
    """Ask a fresh step whether it wants to run, what it must hold, and with which arguments. Does nothing else.

    `opens`: it is the first step of its group that runs (`LockedSteps`), and claims the group's locks with its own.

    What the user's code raises is in `error`, never raised. Cancel it to give up waiting for the user's code.
    """
    build = Build(build_context)
    step.attach(build, None)
    name = words(step.name) if isinstance(step.name, str) else type(step).__name__
    try:
        if has_renderables(step.name):
            name = words(await render(step.name, build.properties))
            step.name = name
        if not await _wants_to_run(step):
            step.results = Result.SKIPPED
            outcome = await _summaries(step)
            return Prepared(name=name, skip=True, summary=outcome.summary, hidden=outcome.hidden)
        locks = await render(step.locks, build.properties)
        what = f"locks of the step {name!r}"
        accesses = accesses_for(build.workername, locks, what, step.place)
        shared: tuple[Access, ...] = ()
        if opens:
            common = await render(step.locked_by.locks, build.properties)
            shared = accesses_for(build.workername, common, "locks of LockedSteps", step.locked_by.place)
            _two_levels(what, step, accesses, shared)
            locks, accesses = [locks, common], accesses + shared
        if accesses:
            used = [one.lock for one in as_accesses(locks) if isinstance(one.lock, BaseLock)]
            limits = tuple(
                LockSetup(lock.key(build.workername), lock.limit(build.workername), lock.maxOvertakes) for lock in used
            )
            return Prepared(name=name, accesses=accesses, limits=limits, shared=tuple(a.lock for a in shared))
        return await _with_arguments(step, build, build_context, Prepared(name=name))
    except RAISED as exc:
        return Prepared(name=name, error=_traceback(exc))


def _two_levels(what: str, step: BuildStep, own: tuple[Access, ...], shared: tuple[Access, ...]) -> None:
    """L25: a lock that the group holds cannot be claimed by its step."""
    both = {access.lock.whole for access in own} & {access.lock.whole for access in shared}
    if both:
        text = f"{what}: lock '{min(both)}' is held by its LockedSteps ({step.locked_by.place}); remove one of the two"
        raise ValueError(text)


async def render_arguments(step: BuildStep, build_context: BuildContext, prepared: Prepared) -> Prepared:
    """Render a prepared step's arguments, after its locks were granted. The answer takes the place of `prepared`."""
    if prepared.args is not None or prepared.skip or prepared.error:
        return prepared
    build = Build(build_context)
    step.attach(build, None)
    return await _with_arguments(step, build, build_context, prepared)


async def _with_arguments(step: BuildStep, build: Build, context: BuildContext, prepared: Prepared) -> Prepared:
    args: dict[str, Any] = {}
    again: list[str] = []
    try:
        if context.units:
            build.take_units(context.units)
        for attribute in step.rendered_names():
            value = getattr(step, attribute, None)
            if not has_renderables(value):
                continue
            rendered = await render(value, build.properties)
            if _storable(rendered):
                args[attribute] = rendered
            else:
                again.append(attribute)
        env = await render(context.env, build.properties)
    except RAISED as exc:
        return msgspec.structs.replace(prepared, error=_traceback(exc))
    return msgspec.structs.replace(
        prepared, args=args, again=tuple(again), env=env, units=context.units, fences=build.fences
    )


def _storable(value: Any) -> bool:
    """Whether a value comes back from the store as it was."""
    try:
        return bool(msgspec.msgpack.decode(msgspec.msgpack.encode(value)) == value)
    except (TypeError, ValueError, msgspec.MsgspecError, OverflowError, RecursionError):
        return False


async def _wants_to_run(step: BuildStep) -> bool:
    wanted = step.doStepIf
    if is_renderable(wanted):
        wanted = await render(wanted, step.build.properties)
    elif callable(wanted):
        wanted = await resolve(_call(wanted, step, step))
    return bool(wanted)


def _call(function: Any, step: BuildStep, *args: Any) -> Any:
    """Call a user's hook; one that was written as a method of the step does not get the step twice."""
    if inspect.ismethod(function) and function.__self__ is step:
        args = tuple(arg for arg in args if arg is not step)
    return function(*args)


async def execute(step: BuildStep, context: StepContext, prepared: Prepared) -> StepOutcome:
    """Run a prepared step (a fresh one, if it is replayed) with its arguments to its end, and say how it ended.

    What logs it left open the master closes. Raises `asyncio.CancelledError`, and whatever else is no `Exception`, if
    the doors do while nobody has stopped the build: then the step has not ended, and may be replayed.
    """
    step.attach(Build(context.build, context), context)
    token = CURRENT.set(step)
    try:
        if prepared.skip:
            step.results = Result.SKIPPED
        else:
            context.on_interrupt(lambda reason: _interrupt(step, reason))
            step.results = await _result(step, prepared)
        return await _outcome(step)
    finally:
        CURRENT.reset(token)


async def _interrupt(step: BuildStep, reason: str) -> None:
    """Tell the step that somebody stopped the build."""
    step.stopped = True
    await resolve(step.interrupt(reason))


async def _result(step: BuildStep, prepared: Prepared) -> Result:
    """Run the step's own code."""
    if prepared.error:
        _log_error(step, prepared.error)
        return Result.EXCEPTION
    try:
        await _apply(step, prepared)
        step.updateSummary()
        given = await resolve(step.run())
        if isinstance(given, bool) or given not in list(Result):
            raise TypeError(
                f"run() of {type(step).__name__} returned {given!r}; it must return a result, such as SUCCESS"
            )
        result = Result(given)
    except BuildStepFailed:
        result = Result.FAILURE
    except BuildStepCancelled:
        result = Result.CANCELLED
    except asyncio.CancelledError:
        if not step.stopped:
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        result = Result.CANCELLED
    except RAISED as exc:
        _log_error(step, _traceback(exc))
        result = Result.EXCEPTION
    return Result.CANCELLED if step.stopped and result != Result.RETRY else result


async def _apply(step: BuildStep, prepared: Prepared) -> None:
    """Give the step its rendered attributes, and its build what is told of the step's units."""
    step.build.fences = dict(prepared.fences)
    if prepared.units:
        step.build.take_units(prepared.units)
    for attribute, value in (prepared.args or {}).items():
        setattr(step, attribute, value)
    for attribute in prepared.again:
        setattr(step, attribute, await render(getattr(step, attribute), step.build.properties))
    step.name = prepared.name
    step.build.env = prepared.env


async def _outcome(step: BuildStep) -> StepOutcome:
    """How the step ended; what the user's code raises makes it EXCEPTION."""
    try:
        step.finish_observers()
        return await _summaries(step)
    except RAISED as exc:
        _log_error(step, _traceback(exc))
        step.results = Result.EXCEPTION
        text = _with_trouble(step, step.with_result("finished"))
        return StepOutcome(result=Result.EXCEPTION, summary=text, build_summary=text)


async def _summaries(step: BuildStep) -> StepOutcome:
    """The summary of a step that has its result, and `hideStepIf`."""
    summary = await resolve(step.getResultSummary())
    hidden = step.hideStepIf
    if is_renderable(hidden):
        hidden = await render(hidden, step.build.properties)
    elif callable(hidden):
        hidden = await resolve(_call(hidden, step, step.results, step))
    text = _with_trouble(step, words(summary.get("step")) or step.with_result("finished"))
    build_text = summary.get("build")
    if build_text is None and step.wants_build_summary(step.results):
        build_text = text
    return StepOutcome(
        result=Result(step.results),
        summary=text,
        build_summary=words(build_text) if build_text is not None else None,
        hidden=bool(hidden),
    )


def _with_trouble(step: BuildStep, text: str) -> str:
    """A summary, with what was raised if that was the step's end."""
    return f"{text}: {step.trouble}" if step.trouble and step.results == Result.EXCEPTION else text


def _log_error(step: BuildStep, text: str) -> None:
    """Show a traceback with the step; its last line is the step's trouble."""
    step.trouble = shown(text).rstrip().rpartition("\n")[2][:_TROUBLE_SHOWN]
    step.addCompleteLog("err.text", text)
    step.addHTMLLog("err.html", f"<pre>{html.escape(text)}</pre>\n")


def _traceback(exc: BaseException) -> str:
    """The traceback of what the user's code raised, without our own frames around it; or one sentence."""
    if isinstance(exc, NotTold):
        return f"{exc}\n"
    frames = exc.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(exc), exc, frames))
