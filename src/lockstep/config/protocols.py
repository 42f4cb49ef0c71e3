"""What the configuration expects of the vocabulary that is handed to it: steps, schedulers, change sources, horizons.

Only protocols live here. `steps/`, `schedulers/` and `sources/` fulfil them; nothing here imports them.
"""

from typing import Any, Protocol, runtime_checkable

from lockstep.config.errors import Place


@runtime_checkable
class StepLike(Protocol):
    """A step as configured. `make()` gives a fresh step for one build, from the same class and arguments."""

    name: Any
    locks: Any
    place: Place
    declared_at: Place

    def make(self) -> Any:
        """A new step with the same arguments."""

    def check_arguments(self) -> None:
        """Report each argument that is of a kind that it cannot be."""


@runtime_checkable
class SchedulerLike(Protocol):
    """A scheduler as configured. `builderNames` is a list of names, or a renderable (then nothing is checked)."""

    name: str
    builderNames: Any
    place: Place


@runtime_checkable
class JanitorLike(Protocol):
    """How long logs and builds are kept, in seconds (None: for ever), and when what is older is deleted."""

    logHorizon: float | None
    buildHorizon: float | None
    place: Place

    def after(self, begin: float) -> float | None:
        """The first time after `begin` at which to delete, Unix seconds."""


@runtime_checkable
class SourceLike(Protocol):
    """A change source as configured."""

    name: str
    place: Place
