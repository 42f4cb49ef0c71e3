"""Schedulers that follow changes, other schedulers and steps; all with given times."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockstep.config.errors import Collector, collecting
from lockstep.config.properties import Interpolate, renderer
from lockstep.core.nouns import Result
from lockstep.core.values import Change, SourceStamp, Submission
from lockstep.schedulers.base import EndedBuildset, Move
from lockstep.schedulers.basic import AnyBranchScheduler, Dependent, Scheduler, SingleBranchScheduler, Triggerable
from lockstep.schedulers.filters import ChangeFilter, NotABranch


def change(changeid: int, branch: str | None = "main", **kwargs: Any) -> Change:
    return Change(author="a", changeid=changeid, branch=branch, revision=f"r{changeid}", repository="repo", **kwargs)


class Run:
    """A scheduler with what the server keeps for it; memory goes through the store's form each time."""

    def __init__(self, scheduler: Any, memory: Any = None, now: float = 0.0) -> None:
        self.scheduler = scheduler
        self.submitted: list[Submission] = []
        self.memory = memory
        self.wake: float | None = None
        self._take(scheduler.start(memory, now))

    def _take(self, move: Move) -> list[Submission]:
        self.memory = msgspec.json.decode(msgspec.json.encode(move.memory))
        self.wake = move.wake
        self.submitted += move.submissions
        return list(move.submissions)

    def change(self, one: Change, now: float) -> list[Submission]:
        return self._take(self.scheduler.on_change(self.memory, one, now))

    def ended(self, ended: EndedBuildset) -> list[Submission]:
        return self._take(self.scheduler.on_buildset_ended(self.memory, ended, 0.0))

    def until(self, now: float) -> list[Submission]:
        """Let time pass: the timer fires if its time has come."""
        found: list[Submission] = []
        while self.wake is not None and self.wake <= now:
            found += self._take(self.scheduler.on_timer(self.memory, self.wake))
        return found


def test_every_change_is_built_at_once_without_a_timer() -> None:
    run = Run(SingleBranchScheduler(name="s", builderNames=["x", "y"], priority=3, properties={"p": 1}))
    (submission,) = run.change(change(1, properties={"q": (2, "z")}), 10)
    assert [(wish.builder, wish.priority) for wish in submission.requests] == [("x", 3), ("y", 3)]
    assert submission.sourcestamps == (SourceStamp(branch="main", revision="r1", repository="repo", changes=(1,)),)
    assert submission.properties == {"q": (2, "Change"), "p": (1, "Scheduler")}
    assert submission.scheduler == "s"
    assert run.wake is None


def test_the_tree_stable_timer_gathers_changes_and_survives_a_restart() -> None:
    scheduler = SingleBranchScheduler(
        name="s", builderNames=["x"], treeStableTimer=60, fileIsImportant=lambda c: "doc" not in c.files
    )
    run = Run(scheduler)
    assert run.change(change(1, files=("doc",)), 0) == []
    assert run.wake is None
    run.change(change(2), 10)
    assert run.wake == 70
    run.change(change(3, files=("doc",)), 30)
    assert run.wake == 90
    run = Run(scheduler, run.memory, now=40)
    assert run.wake == 90
    run.change(change(3, files=("doc",)), 40)
    (submission,) = run.until(100)
    assert submission.sourcestamps[0].changes == (1, 2, 3)
    assert submission.sourcestamps[0].revision == "r3"
    assert run.wake is None
    assert run.memory == {}


def test_nobody_waits_longer_than_the_timer_of_today() -> None:
    """A clock that was ahead was set back, or another configuration came into force."""

    def scheduler(timer: float | None) -> SingleBranchScheduler:
        return SingleBranchScheduler(name="s", builderNames=["x"], treeStableTimer=timer)

    run = Run(scheduler(60))
    run.change(change(1), 1_000_000)
    assert run.wake == 1_000_060
    assert Run(scheduler(60), run.memory, now=1_000_030).wake == 1_000_060
    back = Run(scheduler(60), run.memory, now=500)
    assert back.wake == 560
    assert Run(scheduler(60), back.memory, now=530).wake == 560
    assert Run(scheduler(10), back.memory, now=530).wake == 540
    assert len(Run(scheduler(None), back.memory, now=530).until(530)) == 1


def test_only_important_changes_count_where_that_is_asked() -> None:
    scheduler = SingleBranchScheduler(
        name="s", builderNames=["x"], treeStableTimer=60, onlyImportant=True, fileIsImportant=lambda c: not c.files
    )
    run = Run(scheduler)
    run.change(change(1, files=("doc",)), 0)
    run.change(change(2), 0)
    assert run.until(60)[0].sourcestamps[0].changes == (2,)


def test_branches_wait_for_themselves_in_an_any_branch_scheduler() -> None:
    run = Run(AnyBranchScheduler(name="s", builderNames=["x"], treeStableTimer=60))
    run.change(change(1, "a"), 0)
    run.change(change(2, "b"), 30)
    run.change(change(3, None), 30)
    run.change(change(4, "a"), 40)
    assert run.wake == 90
    assert {(s.sourcestamps[0].branch, s.sourcestamps[0].changes) for s in run.until(200)} == {
        ("a", (1, 4)),
        ("b", (2,)),
        (None, (3,)),
    }


def test_codebases_are_filled_in_and_others_ignored() -> None:
    codebases = {"app": {"branch": "stable", "repository": "r-app"}, "lib": {}}
    run = Run(SingleBranchScheduler(name="s", builderNames=["x"], codebases=codebases))
    assert run.change(change(1), 0) == []
    (submission,) = run.change(change(2, codebase="lib"), 0)
    app, lib = submission.sourcestamps
    assert (app.codebase, app.branch, app.repository, app.revision) == ("app", "stable", "r-app", None)
    assert (lib.codebase, lib.changes) == ("lib", (2,))


def test_dependent_follows_success_and_warnings_only() -> None:
    upstream = SingleBranchScheduler(name="up", builderNames=["x"])
    run = Run(Dependent(name="down", upstream=upstream, builderNames=["y"]))
    stamps = (SourceStamp(revision="r1", changes=(1,)),)
    ended = EndedBuildset(bsid=1, scheduler="up", result=Result.SUCCESS, sourcestamps=stamps)
    assert run.ended(ended)[0].sourcestamps == stamps
    assert run.ended(msgspec.structs.replace(ended, result=Result.WARNINGS)) != []
    assert run.ended(msgspec.structs.replace(ended, result=Result.FAILURE)) == []
    assert run.ended(msgspec.structs.replace(ended, scheduler="other")) == []


def test_triggerable_leaves_out_unknown_codebases_and_its_properties_lose() -> None:
    scheduler = Triggerable(
        name="t", builderNames=["x"], codebases=["a", "b"], properties={"p": Interpolate("<%(src:a:branch)s>"), "q": 1}
    )
    stamps = (SourceStamp(codebase="a", branch="main"), SourceStamp(codebase="z"))
    submission = scheduler.trigger(stamps, {"q": (2, "Trigger")})
    assert [stamp.codebase for stamp in submission.sourcestamps] == ["a", "b"]
    assert submission.properties == {"p": ("<main>", "Scheduler"), "q": (2, "Trigger")}
    assert Triggerable(name="u", builderNames=["x"]).trigger((), {}).sourcestamps == (SourceStamp(),)


def test_priority_may_be_a_function() -> None:
    def priority(builders: list[str], changes: dict[str, list[Change]]) -> int:
        return 7 if changes[""][0].branch == "main" else 0

    run = Run(AnyBranchScheduler(name="s", builderNames=["x"], priority=priority))
    assert run.change(change(1), 0)[0].requests[0].priority == 7
    assert run.change(change(2, "b"), 0)[0].requests[0].priority == 0


@pytest.mark.parametrize(
    ("conditions", "accepted"),
    [
        ({}, True),
        ({"branch": "main"}, True),
        ({"branch": ["a", "main"]}, True),
        ({"branch": None}, False),
        ({"branch": NotABranch}, True),
        ({"branch_re": "ma"}, True),
        ({"branch_re": "ain"}, False),
        ({"branch_not_re": ["x", "m"]}, False),
        ({"branch_not_eq": "main"}, False),
        ({"branch_fn": lambda b: b.endswith("n")}, True),
        ({"project": ["p"], "category": "c"}, True),
        ({"project": ["p"], "category": "d"}, False),
        ({"category": None}, True),
        ({"repository_re": "re.o$"}, True),
        ({"codebase": ""}, True),
        ({"property_eq": {"k": ["v", "w"]}}, True),
        ({"property_not_eq": {"k": "v"}}, False),
        ({"property_re": {"k": "^v", "none": "x"}}, False),
        ({"property_not_re": {"none": "x"}}, True),
        ({"filter_fn": lambda c: c.revision == "r1"}, True),
    ],
)
def test_change_filters(conditions: dict[str, Any], accepted: bool) -> None:
    one = change(1, project="p", category="c", properties={"k": ("v", "s")})
    assert ChangeFilter(**conditions).filter_change(one) is accepted


def test_a_filter_or_a_branch_keeps_changes_out() -> None:
    run = Run(SingleBranchScheduler(name="s", builderNames=["x"], change_filter=ChangeFilter(branch="main")))
    assert run.change(change(1, "other"), 0) == []
    run = Run(Scheduler("old", None, None, ["x"]))
    assert run.change(change(1, "main"), 0) == []
    assert run.change(change(2, None), 0) != []
    run = Run(AnyBranchScheduler(name="s", builderNames=["x"], branches=["a"], categories=["c"]))
    assert run.change(change(1, "a"), 0) == []
    # branch and category are both asked for
    assert run.change(change(1, "a", category="c"), 0) != []


def test_memory_of_another_kind_of_scheduler_is_ignored() -> None:
    run = Run(SingleBranchScheduler(name="s", builderNames=["x"], treeStableTimer=5), {"last": 3.0, "built": True})
    run.change(change(1), 0)
    assert len(run.until(10)) == 1


def test_mistakes_are_named() -> None:
    with collecting(Collector()) as found:
        SingleBranchScheduler(name="s", builderNames="x")
        SingleBranchScheduler(name="s", builderNames=renderer(lambda props: []))
        SingleBranchScheduler(name="", builderNames=[])
        SingleBranchScheduler(name="s", builderNames=["x"], treeStableTime=3)
        SingleBranchScheduler(name="s", builderNames=["x"], branch="a", change_filter=ChangeFilter())
        Dependent(name="d", upstream="s", builderNames=["x"])
        ChangeFilter(brunch="x")
        ChangeFilter(branch_re="(")
        AnyBranchScheduler(name="s", builderNames=["x"], codebases={"a": {"brunch": 1}})
    texts = [str(one) for one in found.mistakes]
    assert len(texts) == 9
    assert 'builderNames=["x"]' in texts[0]
    assert "not supported yet" in texts[1]
    assert '"treeStableTimer"' in texts[3]
    assert "give the object" in texts[5]
    assert '"branch"' in texts[6]
    assert '"branch"' in texts[8]
    assert all("test_changes.py:" in text for text in texts)


def test_what_the_store_could_not_keep_is_a_mistake_or_fails_the_scheduler() -> None:
    with collecting(Collector()) as found:
        AnyBranchScheduler(name="s", builderNames=["b"], properties={"p": Path("/x")})
        AnyBranchScheduler(name="s", builderNames=["b"], codebases={"": {"repository": "r", "revision": 12}})
    assert "PosixPath" in str(found.mistakes[0])
    assert "revision of a codebase must be a text, not 12" in str(found.mistakes[1])
    rendered = AnyBranchScheduler(name="s", builderNames=["b"], properties={"p": renderer(lambda props: Path("/x"))})
    with pytest.raises(TypeError, match="the property 'p' cannot have a value of PosixPath"):
        rendered.on_change(None, change(1), 0.0)
