"""Decisions that end a wait without a grant: too many wait for a lock, too long, or who waits does not want to (L33).

They are taken when the allocator has granted all that it can, so nobody is ended who could have been served. See
`decide.py`; of which claims the rules speak is known in `waiting.py`. When starts come back to a lock is in
`decide_rates.py`.
"""

from collections.abc import Sequence
from typing import Final

from lockstep.core import decide_builds, decide_requests
from lockstep.core import effects as x
from lockstep.core import facts as f
from lockstep.core.alloc_facts import Obstacle
from lockstep.core.answers import span
from lockstep.core.draft import Draft
from lockstep.core.facts import Numbered
from lockstep.core.nouns import LockKey, Result
from lockstep.core.reasons import Reasons
from lockstep.core.state import locks_of
from lockstep.core.waiting import Sort, terms_of

EARLY: Final = 1.0
"""A timer may fire so many seconds before its wall time; it is not set anew for that."""

_HARMLESS: Final = (f.CallEnded, f.PropertySet, f.LogOpened, f.LogClosed, f.UrlAdded, f.CommandKnown, f.CommandOver)
"""Facts after which no lock is busier than before."""

_BEGINNINGS: Final = frozenset(
    (
        f.RequestAdded,
        f.NeedSet,
        f.RequestPutBack,
        f.StepStarted,
        f.StepPutBack,
        f.SetupChanged,
        f.BuilderRanked,
        f.ClaimGranted,
    )
)
"""Facts with which a wait begins, or may change, or ends well."""


def enforce(draft: Draft) -> bool:
    """End the waits that no longer may be, and watch the time of those that began. True if somebody's has ended."""
    new = draft.facts[draft.looked :]
    draft.looked = len(draft.facts)
    if not new:
        return False
    ruled = draft.state.ruled
    ended = [_thin_out(draft, sort) for sort in sorted(ruled.crowds)]
    if ruled.unwilling and _may_be_busier(draft, new):
        ended += [_skip_if_busy(draft, ticket) for ticket in sorted(ruled.unwilling)]
    for ticket in _begun(draft, new):
        watch(draft, ticket)
    return any(ended)


def _end(draft: Draft, ticket: int, result: Result, text: str) -> None:
    """End whoever waits with this ticket."""
    kind, subject, number, _ = draft.state.claims[ticket]
    if kind == "request":
        decide_requests.end_waiting(draft, draft.state.requests[subject], result, text)
    elif kind == "step":
        build = draft.state.builds[subject]
        decide_builds.end_step(draft, build, build.steps[number - 1], result, text)
        decide_builds.go_on(draft, build)


# --- too many (maxWaiting)


def _thin_out(draft: Draft, sort: Sort) -> bool:
    """Cancel those that are too many, in the order in which they were asked for."""
    state, rule = draft.state, draft.state.ruled.rules[sort]
    crowd = state.ruled.crowds[sort]
    if len(crowd) <= rule.most:
        return False
    brids = sorted(state.claims[ticket][1] for ticket in crowd)
    surplus = brids[rule.most :] if rule.newest else brids[: len(brids) - rule.most]
    many = f"at most {rule.most} may wait for lock '{rule.name}' (maxWaiting)"
    why = "the others came before it" if rule.newest else f"request {brids[-1]} came after it"
    for brid in surplus:
        request = state.requests.get(brid)
        if request is not None and request.state == "waiting":
            decide_requests.end_waiting(draft, request, Result.CANCELLED, f"{many}, and {why}" if rule.most else many)
    return True


# --- not at all (skipIfBusy)


def _may_be_busier(draft: Draft, new: Sequence[Numbered]) -> bool:
    """Whether a lock that somebody does not want to wait for may be less free than it was, or somebody new asks."""
    if draft.state.allocator.board.withheld:
        return True
    watched = frozenset[LockKey]().union(*draft.state.ruled.unwilling.values())
    for fact in (one.fact for one in new):
        if isinstance(fact, f.ClaimGranted | f.HoldPassed):
            if any(access.lock in watched for access in fact.alternative.accesses):
                return True
        elif not isinstance(fact, _HARMLESS):
            return True
    return False


def _skip_if_busy(draft: Draft, ticket: int) -> bool:
    """End a claim that would wait for a lock that it does not want to wait for; for a worker it does wait."""
    state = draft.state
    claim, skips = state.allocator.waiting.get(ticket), state.ruled.unwilling.get(ticket)
    if claim is None or skips is None:
        return False  # what was ended before has ended it
    found: dict[int, list[Obstacle]] = {}
    for obstacle in state.allocator.reasons.obstacles(ticket):
        found.setdefault(obstacle.index, []).append(obstacle)
    busy: dict[LockKey, Obstacle] = {}
    for index in range(len(claim.need.alternatives)):
        obstacles = found.get(index, [])
        if any(each.kind == "limit" and each.lock not in skips for each in obstacles):
            continue  # its worker is away
        own = {each.lock: each for each in obstacles if each.lock in skips}
        if not obstacles:
            keys = (access.lock for access in claim.need.alternatives[index].accesses)
            own = {key: Obstacle(index, key, "withheld") for key in keys if key in skips & _contested(draft, ticket)}
        if not own:
            return False
        busy |= own
    if not busy:
        return False
    told = Reasons(state, draft.at).lacking(claim, tuple(busy.values()))
    _end(draft, ticket, Result.SKIPPED, f"not run, because it does not wait (skipIfBusy) for {told}")
    return True


def _contested(draft: Draft, ticket: int) -> set[LockKey]:
    """The locks for which a claim that fits is withheld (L51): what the builds have or may claim because of which."""
    allocator = draft.state.allocator
    found: set[LockKey] = set()
    for other in allocator.reasons.withheld_for(ticket):
        plan = allocator.safety.plans.get(allocator.board.courses[other][0])
        needs = (plan.need, plan.known, *(stage.need for stage in plan.stages)) if plan is not None else ()
        found.update(key for need in needs if need is not None for key in locks_of(need))
        holds = (allocator.holds[hold] for hold in allocator.board.holds_of[other])
        found.update(access.lock for hold in holds for access in hold.alternative.accesses)
    return found


# --- too long (waitTimeout)


def _begun(draft: Draft, new: Sequence[Numbered]) -> list[int]:
    """The claims that began to wait, or may wait for something else."""
    state = draft.state
    tickets: set[int] = set()
    for fact in (one.fact for one in new if type(one.fact) in _BEGINNINGS):
        match fact:
            case f.RequestAdded() | f.NeedSet() | f.RequestPutBack():
                request = state.requests.get(fact.brid)
                tickets |= {request.ticket} if request is not None else set()
            case f.StepStarted(ticket=ticket) | f.StepPutBack(ticket=ticket):
                tickets.add(ticket)
            case f.SetupChanged() | f.BuilderRanked():
                tickets |= {request.ticket for request in state.requests.values()}
            case f.ClaimGranted() if any(access.patience for access in fact.alternative.accesses):
                draft.effect(x.DisarmTimer(_timer(fact.ticket)))
    return sorted(tickets)


def _timer(ticket: int) -> str:
    return f"wait:{ticket}"


def watch(draft: Draft, ticket: int) -> None:
    """Let a claim be looked at when it gives up."""
    until = draft.state.gives_up_at(ticket)
    if until is not None:
        draft.effect(x.ArmTimer(_timer(ticket), max(0.0, until - draft.at)))


def time_is_up(draft: Draft, ticket: int) -> None:
    """A claim may have waited too long. What was heard late says nothing about a later wait."""
    until = draft.state.gives_up_at(ticket)
    if until is None:
        return
    if until > draft.at + EARLY:
        watch(draft, ticket)
        return
    terms = terms_of(draft.state.allocator.waiting[ticket].need)
    why = Reasons(draft.state, draft.at).claim(ticket).sentence
    _end(draft, ticket, terms.result, f"gave up after {span(terms.seconds)} (waitTimeout). {why}")
