"""What faults of disks and clocks need: a small disk that can be filled, a clock that can be stepped for one process.

Where a machine cannot give them, `why_no_disk` and `why_no_clock` say why.
"""

import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_step.c")


@cache
def why_no_disk() -> str:
    """Why no small disk can be made here, or nothing."""
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    with tempfile.TemporaryDirectory() as folder:
        try:
            Disk(Path(folder)).close()
        except (OSError, subprocess.CalledProcessError) as error:
            return f"a small disk cannot be mounted here ({error})"
    return ""


@cache
def why_no_clock() -> str:
    """Why no clock can be stepped here, or nothing."""
    return "" if shutil.which("cc") else "there is no C compiler (cc), which makes the clock that is stepped"


class Disk:
    """A small disk in memory, mounted at a folder."""

    def __init__(self, folder: Path, size: str = "48m") -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "lockstep-test", str(folder)]
        subprocess.run(words, check=True, capture_output=True)

    def fill(self) -> None:
        """Leave no room on it."""
        size = os.sysconf("SC_PAGESIZE")
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for piece in (bytes(1 << 20), bytes(size)):
                while os.write(fd, piece) == len(piece):
                    pass
        except OSError:
            pass
        finally:
            os.close(fd)

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "-l", str(self._folder)], check=True, capture_output=True)


class Clock:
    """The wall clock of a process (and of what it starts), which has `env` in its environment."""

    def __init__(self, folder: Path, name: str) -> None:
        library = folder / "clock_step.so"
        if not library.exists():
            words = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
            subprocess.run(words, check=True, capture_output=True)
        self._file = folder / f"clock-{name}"
        self.step(0.0)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(self._file)}

    def step(self, seconds: float) -> None:
        """Have it so many seconds off."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))
