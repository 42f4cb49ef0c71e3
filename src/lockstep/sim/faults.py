"""What a checker raises, and the ledger of what the machines really do. Machines write into it; nothing here acts."""

from msgspec import Struct


class Violation(Exception):  # noqa: N818 - it is said as it is
    """A rule does not hold. The message says which, and where."""


def demand(holds: bool, message: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(message)


LockUse = tuple[str, str, int]
"""A lock as text, "counting" or "exclusive", and the units."""


class Running(Struct, frozen=True):
    """A process tree on a machine."""

    command: str
    machine: str
    buildid: int
    step: int
    locks: tuple[LockUse, ...]


class Ledger:
    """What runs on which machine, and what ever ran: the world as it is, not as the master believes."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.running: dict[str, Running] = {}
        self.ever: set[str] = set()
        self.codes: dict[str, int] = {}
        """How the commands that came to their own end have ended."""
        self.limits = limits
        self.passed: dict[tuple[str, str], float] = {}
        """Units that were looked at in quarantine and were well, and when the last such look began (Unix time)."""

    def begin(self, tree: Running) -> None:
        """A command starts. No command runs twice, and what it was promised is its own (L61)."""
        demand(tree.command not in self.ever, f"command {tree.command} runs twice")
        self.ever.add(tree.command)
        others = [other for other in self.running.values() if other.buildid != tree.buildid]
        for name, mode, _ in tree.locks:
            users = {other.buildid: use for other in others for use in other.locks if use[0] == name}
            for buildid, use in users.items():
                demand(
                    mode == "counting" and use[1] == "counting",
                    f"builds {tree.buildid} and {buildid} run commands together under {name}, held exclusively",
                )
            units = sum(use[2] for use in users.values()) + sum(u for n, _, u in tree.locks if n == name)
            demand(units <= self.limits.get(name, units), f"{units} units of {name} are used on the machines")
        self.running[tree.command] = tree

    def end(self, command: str) -> None:
        """A command's whole process tree has ended."""
        self.running.pop(command, None)

    def of_step(self, buildid: int, step: int) -> list[str]:
        """The commands of a step that really run (step 0: of the whole build)."""
        return [
            tree.command
            for tree in self.running.values()
            if tree.buildid == buildid and (not step or tree.step == step)
        ]
