"""Stored traces are played again: the same events give the same facts. The format is told in `lockstep/sim/tracing.py`.

When a change of behaviour is wanted: `LOCKSTEP_TRACES=write pytest tests/sim/test_traces.py`, then read the difference.
"""

import os
from pathlib import Path

import pytest

from lockstep.sim.faults import Violation
from lockstep.sim.tracing import Replay, check_trace

TRACES = sorted((Path(__file__).parent.parent / "traces").glob("*.trace"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path) -> None:
    if os.environ.get("LOCKSTEP_TRACES") == "write":
        path.write_text(Replay().play(path.read_text()))
    check_trace(path)


def test_a_trace_that_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.trace"
    path.write_text(TRACES[0].read_text().replace('"priority":0', '"priority":1', 1))
    with pytest.raises(Violation, match=r"wrong\.trace line \d+"):
        check_trace(path)
