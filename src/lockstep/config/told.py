"""Texts that tell of locks, units and secrets, checked when all is known: what they name must be there.

What only a running build knows (whether it has the lock or a unit) is said when a text is rendered (`interpolate.py`).
"""

from collections.abc import Iterable, Sequence

from lockstep.config.errors import mistake, nearest
from lockstep.config.interpolate import Interpolate
from lockstep.config.lock_table import LockTable
from lockstep.config.locks import WorkerLock
from lockstep.config.pools import ResourcePool
from lockstep.config.renderables import Secret


def check_told(texts: Iterable[Interpolate], table: LockTable, workers: Sequence[str], *, rendered: bool) -> None:
    """Report texts that name a pool, a lock, or something of units that nobody has. Those that say what stands for it
    then are right. `rendered`: a `locks=` is worked out for each build, so locks may come of which nobody knows yet.
    """
    locks = [*table.pools, *(lock.name for lock in table.all())]
    locks += [f"{lock.name} on {name}" for lock in table.all() if isinstance(lock, WorkerLock) for name in workers]
    for text in texts:
        for selector, name, key in text.of_locks():
            if selector == "unit":
                _unit(text, name, key, table.pools)
            elif name not in locks and not rendered:
                hint = nearest(name, locks) or f"there are: {', '.join(locks) or 'none'}"
                mistake(f'Interpolate: "%(fence:{name})s": there is no lock and no pool "{name}"', hint, text.place)


def check_secrets(made: Iterable[Interpolate | Secret]) -> None:
    """Report whatever needs a secret, in a configuration in which nobody has any."""
    for thing in made:
        names = thing.secrets() if isinstance(thing, Interpolate) else [thing.secret_name]
        for name in names:
            text = f'there is no secret "{name}": the configuration has no provider of secrets'
            mistake(text, "add one, such as c['secretsProviders'] = [secrets.SecretInAFile(DIR)]", thing.place)


def _unit(text: Interpolate, name: str, key: str, pools: dict[str, ResourcePool]) -> None:
    what = f'Interpolate: "%(unit:{name}{":" + key if key else ""})s"'
    pool = pools.get(name)
    if pool is None:
        hint = nearest(name, pools) or f"pools are: {', '.join(pools) or 'none'}"
        mistake(f'{what}: there is no pool "{name}"', hint, text.place)
        return
    known = sorted({known for unit in pool.setup.units for known in unit.data})
    if key and pool.setup.units and key not in known:
        hint = nearest(key, known) or f"of its units are known: {', '.join(known) or 'only their names'}"
        mistake(f'{what}: no unit of pool "{name}" has "{key}"', hint, text.place)
