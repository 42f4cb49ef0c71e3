"""Which changes are deleted, and which are still wanted. What else is deleted is in `test_deleting.py`."""

from lockstep.core import events as e
from lockstep.core.values import Change, RequestWish, SourceStamp, Submission
from lockstep.storage.deleting import Horizons

from .test_deleting import DAY, delete, numbers, opened


def test_the_newest_changes_and_those_that_builds_or_schedulers_have_stay(url: str) -> None:
    store, farm = opened(url)
    changes = tuple(Change(author="a", revision=str(n), when=farm.at) for n in range(10))
    store.append([farm.happen(e.ChangesFound(source="poller", changes=changes, memory=1))])
    stamp = SourceStamp(revision="2", changes=(3,))
    submission = Submission(requests=(RequestWish(builder="b0"),), sourcestamps=(stamp,))
    waiting = {"groups": [{"changes": [{"changeid": 5}]}]}
    store.append([farm.happen(e.Submitted(submission=submission))])
    store.append([farm.happen(e.Remembered(owner="nightly", memory=waiting, cursor=None))])
    delete(store, farm.at, changes=4)
    assert numbers(store, "changes", "changeid") == {3, 5, 7, 8, 9, 10}
    delete(store, farm.at + 10 * DAY, builds=DAY, changes=4)
    assert numbers(store, "changes", "changeid") == {3, 5, 7, 8, 9, 10}  # the number counts alone where it is given
    store.delete(Horizons(builds=DAY), farm.at + 10 * DAY, lambda _deleted: None, change=7)
    while store.tidy():
        pass
    assert numbers(store, "changes", "changeid") == {3, 5, 8, 9, 10}  # those that schedulers may not have seen stay
    delete(store, farm.at + 10 * DAY, builds=DAY)
    assert numbers(store, "changes", "changeid") == {3, 5}
    store.close()
