"""The program `lockstep`: finds the command and hands over. What a command does is in the file of its name."""

import importlib
import sys

import click

from lockstep import __version__
from lockstep.cli.codes import INTERRUPTED, CliError

GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("demo", "init", "check", "run", "worker"),
    "Ask a running server": ("builders", "builds", "requests", "workers", "locks", "why", "log", "fence"),
    "Act on a running server": ("force", "cancel", "reload"),
    "What if": ("rehearse", "replay"),
    "Locks for people and other programs": ("hold", "release", "extend", "steal", "exec", "quarantine"),
}
"""The commands, as the help shows them. `X` is `command` in `cli/X.py`."""


class Commands(click.Group):
    """The commands, each loaded when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order of the help."""
        return [name for names in GROUPS.values() for name in names]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load a command; None if there is none of that name."""
        if name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"lockstep.cli.{name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for a wrong one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else " 'lockstep --help' lists all."
            ctx.fail(f"There is no command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their groups."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(name, c.get_short_help_str(80)) for name, c in commands if c is not None])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="'lockstep COMMAND --help' says more, with examples. Exit codes: 0 done, 1 what was asked for failed, "
    "2 wrong use, 3 no server answers, 4 the server refused, 5 server or worker cannot run.",
)
@click.version_option(__version__, prog_name="lockstep", message="%(prog)s %(version)s")
def program() -> None:
    """Lockstep: a continuous integration server whose heart is locks.

    It reads Buildbot's configuration language. Begin with 'lockstep demo', or 'lockstep init DIR'.
    """


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    try:
        code = program.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CliError as error:
        error.show()
        sys.exit(error.code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
