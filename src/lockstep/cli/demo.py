"""`lockstep demo`: a farm to look at: repositories, four workers, locks, and builds that run and wait.

Everything is made in a folder of its own. The configuration is `templates/demo.cfg`; how a server runs is in
`serving.py`.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockstep.cli import configs, serving
from lockstep.cli.codes import CANNOT_RUN, CliError

if TYPE_CHECKING:
    from lockstep.master.server import Server

PORT: Final = 8010
FORCED: Final = (
    *("full-fast", "full-new", "full-old", "full-other", "full-fast", "full-old"),
    *("python-3.11", "python-3.12", "python-3.13", "deliver", "deliver", "upkeep", "deliver"),
)
_IDENTITY: Final = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main")


@click.command("demo", short_help="Run a farm to look at, with locks and builds.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"[default: {PORT}, or any that is free]")
@click.option("--basedir", help="A folder to keep. [default: a new one, removed at the end]")
@click.option("-v", "--verbose", is_flag=True, help="Show the server's log.")
def command(port: int | None, basedir: str | None, verbose: bool) -> int:
    """Run a farm to look at: a Subversion and a git repository, four workers, locks, and builds that run and wait.

    It needs git; where Subversion is not installed, git is used alone. Nothing outside of its folder is touched.
    Ctrl-C stops the server and the workers.

    \b
    Examples:
      lockstep demo
      lockstep demo --port 9000 --basedir farm
    """
    folder = Path(basedir).absolute() if basedir else Path(tempfile.mkdtemp(prefix="lockstep-demo-"))

    def leave() -> None:
        if not basedir:
            shutil.rmtree(folder, ignore_errors=True)

    try:
        _prepare(folder)
        serving.start_log(quiet=not verbose)

        def started(server: "Server") -> None:
            _tell(server, folder)
            server.house.spawn(_force(serving.address(server)))

        chosen = _port() if port is None else port
        file = str(folder / configs.NAME)
        farewell = f"The farm is kept in {folder}." if basedir else "The demo's folder is removed."
        return serving.run_server(
            file, str(folder), "127.0.0.1", chosen, started, stop_workers=True, leave=leave, farewell=farewell
        )
    finally:
        leave()


def _prepare(folder: Path) -> None:
    """Make what is not there yet: repositories and configuration."""
    if shutil.which("git") is None:
        raise CliError(CANNOT_RUN, "The demo needs git, which is not installed here.")
    repositories = folder / "repositories"
    try:
        repositories.mkdir(parents=True, exist_ok=True)
        if not (folder / configs.NAME).exists():
            (folder / configs.NAME).write_text(_template("demo.cfg"))
        if not (repositories / "project.git").exists():
            click.echo("Making a git repository ...")
            _make_git(repositories)
        if shutil.which("svnadmin") is None or shutil.which("svn") is None:
            click.echo("Subversion is not installed here: the demo uses git alone.")
        elif not (repositories / "project-svn").exists():
            click.echo("Making a Subversion repository ...")
            _make_svn(repositories)
    except OSError as exc:
        raise CliError(CANNOT_RUN, f"The demo cannot be made in '{folder}': {exc.strerror or exc}.") from exc


def _template(name: str) -> str:
    return (files("lockstep.cli") / "templates" / name).read_text()


def _make_git(repositories: Path) -> None:
    """A bare repository, and a checkout to commit in."""
    work = repositories / "project"
    work.mkdir(exist_ok=True)
    (work / "build.sh").write_text(_template("build.sh"))
    _run("git", *_IDENTITY, "init", "--quiet", str(work))
    _run("git", "-C", str(work), *_IDENTITY, "add", ".")
    _run("git", "-C", str(work), *_IDENTITY, "commit", "--quiet", "-m", "The project")
    _run("git", "clone", "--quiet", "--bare", str(work), str(repositories / "project.git"))
    _run("git", "-C", str(work), "remote", "add", "origin", str(repositories / "project.git"))
    _run("git", "-C", str(work), "push", "--quiet", "--set-upstream", "origin", "main")


def _make_svn(repositories: Path) -> None:
    """A repository with `trunk`."""
    with tempfile.TemporaryDirectory() as made:
        trunk = Path(made) / "trunk"
        trunk.mkdir()
        (trunk / "build.sh").write_text(_template("build.sh"))
        _run("svnadmin", "create", str(repositories / "project-svn"))
        address = (repositories / "project-svn").as_uri()
        _run("svn", "--non-interactive", "--username", "demo", "import", "--quiet", "-m", "The project", made, address)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CliError(CANNOT_RUN, f"'{words[0]}' failed: {done.stderr.strip() or done.returncode}")


def _port() -> int:
    """The usual port; 0, for any, if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            click.echo(f"Port {PORT} is in use; another one is chosen.")
            return 0
    return PORT


async def _force(url: str) -> None:
    """Ask for some builds, as `lockstep force` does."""
    import asyncio

    from lockstep.cli.client import Client
    from lockstep.cli.force import ask

    client = Client(url)
    builders = await asyncio.to_thread(client.all, "builders")
    ids = {builder["name"]: builder["builderid"] for builder in builders}
    for name in FORCED:
        if name in ids:
            await asyncio.to_thread(ask, client, ids[name], reason="the demo's own")


def _tell(server: "Server", folder: Path) -> None:
    """Where to look, and what to try."""
    url = serving.address(server)
    me = "lockstep" if shutil.which("lockstep") else os.path.relpath(sys.argv[0])
    if server.port != PORT:
        me = f"LOCKSTEP_URL={url.rstrip('/')} {me}"
    lines = [
        f"\nLockstep runs at {url}  <- open this in a browser",
        f"  {configs.contents(server.house.config)}",
        "\nWho holds what, and who waits; why request 6 waits; another build:",
        f"  {me} locks",
        f"  {me} why 6",
        f"  {me} force full-old --wait",
        "\nBuild a change: commit and push in",
        f"  {folder / 'repositories' / 'project'}",
        "\nCtrl-C stops everything.",
    ]
    click.echo("\n".join(lines))
