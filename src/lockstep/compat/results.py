"""Results under Buildbot's names (`buildbot.process.results`)."""

from lockstep.core.nouns import Result, worse

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = Result
ALL_RESULTS = list(Result)
Results = [result.name.lower() for result in Result]
"""The names of the results, by number."""


def statusToString(status: int | None, count: int = 1) -> str:
    """The name of a result as people read it."""
    if status is None:
        return "not finished"
    return Results[status] if 0 <= status < len(Results) else "Invalid status"


def worst_status(a: int, b: int) -> Result:
    """The worse of two results."""
    return worse(Result(a), Result(b))


def statusToColor(status: int | None) -> str:
    """A colour for a result."""
    colours = ("green", "orange", "red", "blue", "purple", "purple", "pink")
    return "yellow" if status is None else colours[status]
