"""The tables of states: closed, reachable, and nothing leaves an end."""

import pytest

from lockstep.core import records
from lockstep.core.tables import TABLES, IllegalMoveError, Table, move

FIRST = {"build set": "pending", "request": "rendering", "build": "starting", "step": "planned", "call": "started"}
FIRST |= {"command": "asked", "worker": "absent", "booking": "waiting"}
LAST = {"complete", "ended"}
NAMED = {
    "build set": records.BuildsetState,
    "request": records.RequestState,
    "build": records.BuildState,
    "step": records.StepState,
    "call": records.CallState,
    "command": records.CommandState,
    "worker": records.WorkerState,
    "booking": records.BookingState,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_is_named_and_can_be_reached(name: str) -> None:
    table: Table = TABLES[name]
    states = {state for state, _ in table} | set(table.values())
    assert states == set(NAMED[name].__args__)
    reached, before = {FIRST[name]}, set()
    while reached != before:
        before = set(reached)
        reached |= {target for (state, _), target in table.items() if state in reached}
    assert reached == states


@pytest.mark.parametrize("name", TABLES)
def test_nothing_leaves_an_end_and_everything_else_can_end(name: str) -> None:
    table: Table = TABLES[name]
    assert not [state for state, _ in table if state in LAST]
    if name != "worker":
        for state in {state for state, _ in table}:
            seen, before = {state}, set()
            while seen != before:
                before = set(seen)
                seen |= {target for (source, _), target in table.items() if source in seen}
            assert seen & LAST


@pytest.mark.parametrize("name", TABLES)
def test_what_no_table_allows_is_refused(name: str) -> None:
    for state in NAMED[name].__args__:
        with pytest.raises(IllegalMoveError) as caught:
            move(name, "it", state, "dance")
        assert (caught.value.state, caught.value.event) == (state, "dance")
