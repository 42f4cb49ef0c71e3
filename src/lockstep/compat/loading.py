"""The way into a configuration, for the server and the command line: with the import name `buildbot`."""

from lockstep.compat import alias, foreign
from lockstep.config.config import Config
from lockstep.config.load import load


def load_config(path: str, basedir: str | None = None) -> Config:
    """Load a `master.cfg`. `basedir` (default: its folder) is what the file sees under that name.

    Raises `lockstep.config.errors.ConfigErrors` with every mistake; what ran before is then untouched.
    """
    alias.install()
    with foreign.standing_in():
        return load(path, basedir)
