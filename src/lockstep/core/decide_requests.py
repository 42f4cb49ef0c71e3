"""Decisions about build sets and requests: taking them in, merging, cancelling, ending them.

See `decide.py`. How a request becomes a build is in `grants.py`.
"""

from typing import Any, Final

import msgspec

from lockstep.core import decide_builds
from lockstep.core import effects as x
from lockstep.core import events as e
from lockstep.core import facts as f
from lockstep.core.decide_setup import keep
from lockstep.core.draft import Draft
from lockstep.core.limits import MAX_DEPTH, MAX_PRIORITY, MAX_RANK, MAX_REQUESTS_PER_SUBMISSION, MAX_WHOLE
from lockstep.core.nouns import Result
from lockstep.core.records import Buildset, Request
from lockstep.core.values import Properties, RequestWish, SourceStamp, Submission, storable

BAD_PRIORITY: Final = f"Priorities are from -{MAX_PRIORITY} to {MAX_PRIORITY}."


def submitted(draft: Draft, event: e.Submitted) -> None:
    """Take a submission in. Replies `(bsid, {builder: brid})`."""
    error = refusal(draft, event.submission)
    if error:
        draft.reply(event.token, error=error)
        return
    draft.reply(event.token, submit(draft, event.submission))


def scheduler_moved(draft: Draft, event: e.SchedulerMoved) -> None:
    """Take what a scheduler wants, and keep how far it has read with it: nothing is asked for twice, nothing lost.

    Replies a sentence for each submission that cannot be taken, and for each builder that is gone: a reload came before
    the scheduler knew of it. The others get what was wanted of them.
    """
    problems = []
    for wanted in event.submissions:
        gone = [wish.builder for wish in wanted.requests if wish.builder not in draft.state.builders]
        problems += [f"There is no builder '{builder}'." for builder in gone]
        rest = tuple(wish for wish in wanted.requests if wish.builder not in gone)
        if gone and not rest:
            continue
        submission = msgspec.structs.replace(wanted, requests=rest)
        error = refusal(draft, submission)
        if error:
            problems.append(error)
        else:
            submit(draft, submission)
    keep(draft, event.owner, event.memory, event.cursor)
    draft.reply(event.token, problems)


def refusal(draft: Draft, submission: Submission) -> str:
    """Why a submission cannot be taken, or an empty string."""
    for wish in submission.requests:
        if wish.builder not in draft.state.builders:
            return f"There is no builder '{wish.builder}'."
        if abs(wish.priority) > MAX_PRIORITY:
            return BAD_PRIORITY
    if len(submission.requests) > MAX_REQUESTS_PER_SUBMISSION:
        return f"At most {MAX_REQUESTS_PER_SUBMISSION} builds can be asked for at once."
    for properties in (submission.properties, *(wish.properties for wish in submission.requests)):
        for name, (value, _source) in properties.items():
            if not storable(value):
                bounds = f"a number in it is not finite, or not from -{MAX_WHOLE} to {MAX_WHOLE}"
                nested = f"it has more than {MAX_DEPTH} lists or dictionaries in each other"
                return f"Property '{name}' cannot be kept: {bounds}; or {nested}."
    return ""


def submit(
    draft: Draft, submission: Submission, parent_call: tuple[int, int, int] | None = None, waited_for: bool = False
) -> tuple[int, dict[str, int]]:
    """Emit a build set and its requests. Returns its id and the request id of each builder (the last one's)."""
    state = draft.state
    if submission.scheduler:
        own = {**submission.properties, "scheduler": (submission.scheduler, "Scheduler")}
        submission = msgspec.structs.replace(submission, properties=own)
    ssids = tuple(_stamp(draft, stamp) for stamp in submission.sourcestamps)
    bsid = state.counters.bsid + 1
    draft.emit(
        f.BuildsetAdded(bsid=bsid, submission=submission, ssids=ssids, parent_call=parent_call, waited_for=waited_for)
    )
    parent = state.builds[parent_call[0]].ticket if parent_call is not None and waited_for else 0
    brids = {}
    for wish in submission.requests:
        brids[wish.builder] = _request(draft, bsid, submission, wish, parent)
    if not submission.requests:
        _end_buildset(draft, state.buildsets[bsid])
    return bsid, brids


def _stamp(draft: Draft, stamp: SourceStamp) -> int:
    known = draft.state.stamp_ids.get(stamp)
    if known is not None:
        return known
    ssid = draft.state.counters.ssid + 1
    draft.emit(f.StampAdded(ssid=ssid, stamp=stamp))
    return ssid


def _request(draft: Draft, bsid: int, submission: Submission, wish: RequestWish, parent: int) -> int:
    state = draft.state
    builder = state.builders[wish.builder]
    brid = state.counters.brid + 1
    ask = builder.need is None or builder.asked
    key: tuple[Any, ...] | None = None
    if submission.collapse and builder.collapse and not parent:
        key = ("asked", brid) if builder.collapse_asked else _collapse_key(submission, wish)
    ticket, priority = state.counters.clock + 1, wish.priority
    merged = state.requests.get(state.collapsible.get(key, 0)) if key is not None else None
    mergeable = merged is not None and merged.bsid != bsid and not merged.put_back
    if merged is not None and mergeable and merged.state in ("rendering", "waiting"):
        # The newer request takes the place of the older one, or a stream of changes would starve the builder.
        ticket, priority = merged.ticket, max(priority, merged.priority)
        end_waiting(draft, merged, Result.SKIPPED, f"merged into request {brid}", into=brid)
    draft.emit(
        f.RequestAdded(
            brid=brid,
            bsid=bsid,
            builder=wish.builder,
            priority=priority,
            ticket=ticket,
            properties=wish.properties,
            render=ask,
            parent=parent,
            collapse_key=key,
        )
    )
    if ask:
        draft.effect(x.RenderNeed(brid))
    return brid


def _collapse_key(submission: Submission, wish: RequestWish) -> tuple[Any, ...] | None:
    """What two requests must have in common to be merged (manual: collapsing requests), or None: never."""
    stamps = []
    for stamp in submission.sourcestamps:
        if stamp.patch is not None:
            return None
        wanted = "" if stamp.changes else stamp.revision
        what = (stamp.codebase, stamp.repository, stamp.project, stamp.branch, bool(stamp.changes), wanted)
        stamps.append(what)
    return (wish.builder, tuple(sorted(stamps, key=repr)), _told(submission.properties), _told(wish.properties))


def _told(properties: Properties) -> str:
    """Properties that somebody chose, in one order; what a scheduler says of itself does not count."""
    return repr(sorted((k, v) for k, (v, source) in properties.items() if source != "Scheduler"))


def need_rendered(draft: Draft, event: e.NeedRendered) -> None:
    """A request's alternatives are known, or known anew (L24)."""
    request = draft.state.requests.get(event.brid)
    if request is None or request.state not in ("rendering", "waiting"):
        return
    if event.error:
        end_waiting(draft, request, Result.EXCEPTION, event.error)
        return
    if request.state == "rendering":
        _merge(draft, request, event.merge)
    if request.state == "rendering" or request.need != event.need:
        draft.emit(f.NeedSet(brid=event.brid, need=event.need))


def _merge(draft: Draft, request: Request, brids: tuple[int, ...]) -> None:
    """Let a new request take the place of waiting ones, as a hook says (decision 0006)."""
    ticket, priority = request.ticket, request.priority
    for brid in sorted(set(brids)):
        other = draft.state.requests.get(brid)
        if other is None or not may_merge(request, other):
            continue
        ticket, priority = min(ticket, other.ticket), max(priority, other.priority)
        end_waiting(draft, other, Result.SKIPPED, f"merged into request {request.brid}", into=request.brid)
    if ticket != request.ticket:
        draft.emit(f.PlaceTaken(brid=request.brid, ticket=ticket, priority=priority))


def may_merge(request: Request, other: Request) -> bool:
    """Whether a hook may merge `other`, which came first, into a new request of the same builder."""
    return (
        request.collapse_key is not None
        and other.collapse_key is not None
        and other.builder == request.builder
        and other.bsid != request.bsid
        and other.brid < request.brid
        and not other.put_back
        and other.state in ("rendering", "waiting")
    )


def ranks_found(draft: Draft, event: e.RanksFound) -> None:
    """Take the order that hooks give builders and requests (L24a)."""
    for name, said in event.ranks.items():
        rank = msgspec.structs.replace(said, order=max(-MAX_RANK, min(said.order, MAX_RANK)))
        if name in draft.state.builders and draft.state.rank(name) != rank:
            draft.emit(f.BuilderRanked(builder=name, rank=rank))


def cancel_asked(draft: Draft, event: e.CancelAsked) -> None:
    """Cancel a request, or stop the build that it has become."""
    request = draft.state.requests.get(event.brid)
    if request is None:
        draft.reply(event.token, error=f"Request {event.brid} is not waiting or running.")
        return
    cancel(draft, request, event.reason or "cancelled", event.who)
    draft.reply(event.token)


def cancel(draft: Draft, request: Request, reason: str, who: str) -> None:
    """End a waiting request, or stop its build (L33)."""
    if request.state == "building":
        build = draft.state.builds.get(request.buildid)
        if build is not None:
            decide_builds.stop_build(draft, build, reason, who)
        else:  # it was about to go back to the queue
            end(draft, request, Result.CANCELLED, reason)
    else:
        end_waiting(draft, request, Result.CANCELLED, reason)


def end_waiting(draft: Draft, request: Request, result: Result, reason: str, into: int = 0) -> None:
    """End a request that has no build: its claim goes, nobody else's place changes (L33)."""
    if request.state == "waiting":
        draft.emit(f.ClaimDropped(ticket=request.ticket))
    end(draft, request, result, reason, into)


def end(draft: Draft, request: Request, result: Result, reason: str = "", into: int = 0) -> None:
    """End a request, and its build set with the last of them."""
    state = draft.state
    draft.emit(f.RequestEnded(brid=request.brid, result=result, reason=reason, into=into))
    buildset = state.buildsets[request.bsid]
    if buildset.open_requests:
        return
    _end_buildset(draft, buildset)
    if buildset.waited_for and buildset.parent_call is not None:
        decide_builds.child_ended(draft, buildset.parent_call)


def _end_buildset(draft: Draft, buildset: Buildset) -> None:
    draft.emit(
        f.BuildsetEnded(bsid=buildset.bsid, result=buildset.result, scheduler=buildset.scheduler, ssids=buildset.ssids)
    )


def priority_asked(draft: Draft, event: e.PriorityAsked) -> None:
    """Change a waiting request's priority."""
    request = draft.state.requests.get(event.brid)
    if request is None or request.state == "building":
        draft.reply(event.token, error=f"Request {event.brid} does not wait.")
        return
    if abs(event.priority) > MAX_PRIORITY:
        draft.reply(event.token, error=BAD_PRIORITY)
        return
    draft.emit(f.PrioritySet(brid=event.brid, priority=event.priority))
    draft.reply(event.token)
