"""The trip of a build stays short (HOUSE section 4): from its event to its command, in functions, files and statements.

What counts: every function of the package `lockstep` that is entered in a live server with a real agent, in whatever
thread, from the moment in which the `Submitted` event is posted until the session takes the command. Each counts once;
properties count; lambdas and comprehensions do not. Buildbot 4.3: 348 functions, 62 files, 88 statements.
`python -m tests.trip` shows the list.
"""

import pytest

from .trip import Trip, follow

# Wanted are 40 functions in 12 files with 12 statements, and 4 commits. Functions and files are what there is: they
# may only become fewer (decision 0016).
FUNCTIONS = 249
FILES = 52
STATEMENTS = 10
COMMITS = 3


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Trip:
    """A build that was followed."""
    return follow(tmp_path_factory.mktemp("trip"))


def test_few_functions_in_few_files(trip: Trip) -> None:
    assert len(trip.functions) <= FUNCTIONS, trip
    assert len(trip.files) <= FILES, trip


def test_few_statements(trip: Trip) -> None:
    assert trip.statements <= STATEMENTS, trip


def test_few_commits_wait_for_each_other(trip: Trip) -> None:
    """Of one build alone each commit waits for the one before it, so all of them count. Wanted: at most 4."""
    kinds = [kind for commit in trip.commits for kind in commit]
    assert kinds[0] in ("StampAdded", "BuildsetAdded")
    assert kinds[-1] == "BuildsetEnded"
    assert len(trip.commits) <= COMMITS, trip
