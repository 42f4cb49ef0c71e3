"""From the allocator's decisions to facts and effects: who starts because a claim was granted.

The allocator decides about locks; here its grants become builds, running steps and ended calls.
"""

from collections.abc import Sequence

from lockstep.core import decide_bookings, decide_builds, decide_pools, decide_rates, decide_waits
from lockstep.core import effects as x
from lockstep.core import facts as f
from lockstep.core.alloc_facts import BecameBarrier, Decision, Granted, Pinned, Sentenced, ShareMemory, Unpinned
from lockstep.core.apply import fences_of
from lockstep.core.draft import Draft
from lockstep.core.records import Build


def settle(draft: Draft) -> None:
    """Grant until nothing moves (L43), and end the waits that no longer may be.

    Who goes back to the queue joins it after those have been served whom its build kept waiting: with its old ticket it
    could come before them, and close the same ring again (L52).
    """
    while True:
        while decisions := draft.state.allocator.decide():
            record(draft, decisions)
        if not draft.put_back and not (draft.state.ruled.used and decide_waits.enforce(draft)):
            return
        for brid, reason in draft.put_back:
            if brid in draft.state.requests:
                _put_back(draft, brid, reason)
        draft.put_back.clear()


def _put_back(draft: Draft, brid: int, reason: str) -> None:
    """Let a request wait again. What it needed may be of a former configuration: it is found out anew (L24)."""
    state = draft.state
    request = state.requests[brid]
    draft.emit(f.RequestPutBack(brid=brid, since=state.counters.clock + 1, reason=reason))
    if request.need is not None:
        draft.emit(f.NeedSet(brid=brid, need=None))
    builder = state.builders.get(request.builder)
    if builder is not None and builder.need is None:
        draft.effect(x.RenderNeed(brid))


def record(draft: Draft, decisions: Sequence[Decision]) -> None:
    """Write down what the allocator has decided, and what follows from each of it."""
    doomed: list[tuple[int, str]] = []
    for decision in decisions:
        match decision:
            case Granted():
                _granted(draft, decision)
            case Pinned():
                draft.emit(f.ClaimPinned(ticket=decision.ticket, alternative=decision.index))
            case Unpinned():
                draft.emit(f.ClaimPinned(ticket=decision.ticket, alternative=-1))
            case BecameBarrier():
                draft.emit(f.BarrierRaised(ticket=decision.ticket, locks=decision.locks))
            case Sentenced():
                doomed.append((decision.ticket, _sentenced(draft, decision)))
    # Only now, when everything that was decided is written: what ends with a build may have been granted meanwhile.
    for ticket, text in doomed:
        for build in [build for build in draft.state.builds.values() if build.ticket == ticket]:
            decide_builds.sentence_build(draft, build, text)


def _granted(draft: Draft, grant: Granted) -> None:
    kind, subject, number, call = draft.state.claims[grant.ticket]
    fact = f.ClaimGranted(
        ticket=grant.ticket,
        owner=grant.owner,
        hold=grant.hold,
        alternative=grant.alternative,
        fences=grant.fences,
        lent=grant.lent,
        memories=tuple(draft.state.allocator.reasons.memory(access.lock) for access in grant.alternative.accesses),
        starts=decide_rates.starts_with(draft, grant) if draft.state.lock_rules.rates else (),
        units=grant.units,
        pools=decide_pools.memories(draft, grant) if grant.units else (),
        shares=_turns(draft, grant) if draft.state.setup.shares else (),
    )
    draft.emit(fact)
    for key, _ in fact.starts:
        decide_rates.watch(draft, key)
    if kind == "request":
        _start_build(draft, subject, fact)
    elif kind == "step":
        draft.effect(x.RunStep(subject, number))
    elif kind == "booking":
        decide_bookings.begun(draft, draft.state.bookings[subject])
    else:
        if fact.units:
            decide_pools.used(draft, draft.state.builds[subject], fact.hold)
        decide_builds.end_call(draft, subject, number, call, fences_of(fact))


def _turns(draft: Draft, grant: Granted) -> tuple[ShareMemory, ...]:
    """Whose turn it is now at the shares in which the granted locks are."""
    shares = draft.state.allocator.reasons.shares
    return shares.memories_of(access.lock for access in grant.alternative.accesses)


def _start_build(draft: Draft, brid: int, grant: f.ClaimGranted) -> None:
    state = draft.state
    request = state.requests[brid]
    buildid = state.counters.buildid + 1
    draft.emit(
        f.BuildStarted(
            buildid=buildid,
            number=state.build_numbers.get(request.builder, 0) + 1,
            brid=brid,
            builder=request.builder,
            worker=grant.alternative.worker,
            ticket=grant.ticket,
            hold=grant.hold,
            fences=fences_of(grant),
        )
    )
    draft.effect(x.BeginBuild(buildid))
    call = state.buildsets[request.bsid].parent_call
    if call is not None and state.call_waits(call):
        _show_to_parent(draft, state.builds[buildid], call)


def _show_to_parent(draft: Draft, build: Build, call: tuple[int, int, int]) -> None:
    """Link the build from the step that waits for it."""
    step = draft.state.step(call[0], call[1])
    if step is not None:
        name, url = build.told, f"/builds/{build.buildid}"
        draft.emit(f.UrlAdded(buildid=call[0], step=step.number, stepid=step.stepid, name=name, url=url))


def _sentenced(draft: Draft, sentence: Sentenced) -> str:
    """Write a ring and the end of the waits that it ends (L52). Returns it as a sentence."""
    by_ticket = {build.ticket: build for build in draft.state.builds.values()}
    links = []
    for link in sentence.ring:
        build = by_ticket.get(link.owner)
        name = build.told if build else f"claim {link.owner}"
        waits = " and ".join(lock.told for lock in link.locks) or "a build that it triggered"
        links.append(f"{name} waits for {waits}")
    text = f"Deadlock: {'; '.join(links)}. The youngest of them is put back."
    ring = tuple(link.owner for link in sentence.ring)
    draft.emit(f.RingBroken(ticket=sentence.ticket, ring=ring, text=text))
    for ticket in sentence.claims:
        draft.emit(f.ClaimDropped(ticket=ticket, reason=text))
    for ticket in sentence.regained:
        draft.emit(f.PlaceRegained(brid=draft.state.claims[ticket][1]))
    return text
