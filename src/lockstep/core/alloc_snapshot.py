"""The allocator as values, and the board back from them. What can be computed from holds and claims is not in it."""

from lockstep.core.alloc_board import Board
from lockstep.core.alloc_facts import UNRATED, AllocatorSnapshot, Hold, ShareMemory
from lockstep.core.alloc_items import WHOLE
from lockstep.core.alloc_pools import Pool
from lockstep.core.nouns import LockKey
from lockstep.core.values import BuilderSetup


def take_apart(board: Board, plans: tuple[BuilderSetup, ...], turns: tuple[ShareMemory, ...]) -> AllocatorSnapshot:
    """Everything that the future hangs on."""
    pins = {c.ticket: c.pin for c in board.classes if c.pin >= 0}
    for ticket, alternative in board.carried.items():
        alternatives = board.waiting[ticket].need.alternatives
        pins[ticket] = alternatives.index(alternative) if alternative in alternatives else -1
    return AllocatorSnapshot(
        locks=tuple(lock.state() for lock in board.locks.values() if lock.pool is None),
        holds=tuple(board.holds.values()),
        waiting=tuple(board.waiting.values()),
        pins=tuple(sorted(pins.items())),
        parents=tuple(sorted(board.parent_of.items())),
        gone=tuple(board.gone.values()),
        plans=plans,
        courses=tuple((owner, *course) for owner, course in board.courses.items()),
        sentenced=tuple(board.sentenced),
        shares=tuple(share.rule for share in board.shares.values()),
        turns=turns,
        projects=tuple(sorted(board.project_of.items())),
        pools=tuple(pool.state() for pool in board.pools.values()),
        next_hold=board.next_hold,
        clock=board.clock,
    )


def put_back_together(board: Board, snapshot: AllocatorSnapshot) -> None:
    """Locks and holds of a snapshot; the claims are submitted afterwards like any others."""
    board.clock = snapshot.clock
    board.next_hold = snapshot.next_hold
    for pool in snapshot.pools:
        board.pools[pool.name] = Pool.from_state(pool, board.series_of(LockKey("pool", pool.name)))
        board.locks.update(board.pools[pool.name].views)
        for view in board.pools[pool.name].views.values():
            board.note_name(view)
    for state in snapshot.gone:
        board.gone[state.key] = state
        board.series_of(state.key).reached(state.fence)
    for state in snapshot.locks:
        lock = board.add_lock(state.key, min(state.limit, WHOLE - 1), state.max_overtakes)
        lock.remember(state)
        lock.removed = state.removed
        lock.left = state.left
        if state.left < UNRATED:
            board.rated[lock] = None
            lock.limit = lock.limit if state.left > 0 else 0
        if state.removed:
            board.leaving[lock] = None
    for hold in snapshot.holds:
        _hold_again(board, hold)
    for name, known in board.pools.items():
        whole = board.lock(LockKey("pool", name))
        if whole.removed and known.held:
            board.leaving[whole] = None


def _hold_again(board: Board, hold: Hold) -> None:
    locks = []
    names = dict(hold.units)
    for access, fence in zip(hold.alternative.accesses, hold.fences, strict=True):
        lock = board.lock(access.lock)
        units = WHOLE if access.mode == "exclusive" else access.count
        if lock.pool is not None:
            lock.pool.put(hold.id, hold.owner, lock.pool.bits(names[access.lock.name]), fence)
            lock.pool.fence = max(lock.pool.fence, fence)
            lock.series.reached(fence)
            locks.append((lock, units))
            continue
        lock.used += units
        lock.holds[hold.id] = units
        lock.fence = max(lock.fence, fence)
        lock.series.reached(fence)
        locks.append((lock, units))
    board.holds[hold.id] = hold
    board.hold_locks[hold.id] = tuple(locks)
    board.holds_of.setdefault(hold.owner, {})[hold.id] = None
