"""What the store gives back is what the facts add up to: checked against the core's own state in random worlds."""

import random
from typing import Any

import pytest

from lockstep.core.recovery import state_of
from lockstep.storage.batch import Batch
from lockstep.storage.store import Store

from .farm import Farm, last_grants, remembered


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [f"{key}:\n  {a[key]!r}\n  {b[key]!r}" for key in a if a[key] != b[key]]


@pytest.mark.parametrize("seed", range(8))
def test_rows_equal_the_state_after_every_reopening(url: str, seed: int) -> None:
    chance = random.Random(seed)
    farm = Farm(seed)
    store = Store.open(url)
    farm.state.installation = store.installation
    waiting: list[Batch] = []
    for _ in range(400):
        waiting.append(farm.step())
        if chance.random() < 0.08:
            store.append(waiting)
            waiting = []
            if chance.random() < 0.3:
                store.close()
                store = Store.open(url)
            saved = store.load()
            locks = {lock.key: (lock.fence, lock.memory) for lock in saved.locks if lock.fence}
            assert locks == last_grants(farm.facts)
            assert differences(remembered(farm.state), remembered(state_of(saved))) == []
            offsets = {command: farm.offsets.get(command, 0) for command in farm.state.commands}
            assert {name: progress.offset for name, progress in store.progress().items()} == offsets
    store.close()
