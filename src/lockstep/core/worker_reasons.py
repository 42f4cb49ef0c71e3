"""What is said of workers that take no builds. See `reasons.py`."""

from lockstep.core.state import State


def away(state: State, name: str) -> str:
    """Why a worker takes no builds now, whatever it is asked for; empty: it does."""
    worker = state.workers.get(name)
    if worker is None or not worker.configured:
        return "is not configured any more"
    if worker.state == "unreachable":
        return "is out of reach; what ran there may still run"
    if worker.state in ("absent", "leaving"):
        return "is not connected" if worker.state == "absent" else "is being stopped"
    if worker.paused:
        return f"is paused ({worker.pause_reason})" if worker.pause_reason else "is paused"
    return ""
