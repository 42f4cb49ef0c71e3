"""Planted faults about agents that are stopped politely (decision 0034), as `mutants.py` has them about all else."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from lockstep.core import apply, decide, decide_workers
from lockstep.core import events as e
from lockstep.core import facts as f


def leaving_is_taken_for_gone() -> Any:
    """Who says that it is being stopped is taken for stopped: what it runs has not ended yet."""
    right = decide.HANDLERS[e.WorkerLeaving]

    def leaving(draft: Any, event: e.WorkerLeaving) -> None:
        right(draft, event)
        worker = draft.state.workers.get(event.worker)
        if worker is not None and worker.state == "leaving":
            decide_workers._give_up(draft, worker, "it goes")

    return patch.dict(decide.HANDLERS, {e.WorkerLeaving: leaving})


def leaving_worker_gets_builds() -> Any:
    """A worker that is being stopped gets new builds."""
    return patch.dict(apply.APPLY, {f.WorkerLeaving: apply.nothing})


MUTANTS: tuple[Callable[[], Any], ...] = (leaving_is_taken_for_gone, leaving_worker_gets_builds)
