"""How git gets the user and password of a repository: through its environment.

Every user of a machine can read the arguments of programs, and git writes the address it was given into `.git/config`.
"""

from typing import Final

from msgspec import Struct

from lockstep.config.addresses import login, place_of_login, without_login
from lockstep.config.secrets import names_in, when_sent

VARIABLE: Final = "LOCKSTEP_GIT_LOGIN"
"""The environment variable that git's helper reads: only the same user of the machine can."""

_HELPER: Final = f"""!f() {{ test "$1" = get && printf 'url=%s\\n' "${VARIABLE}"; }}; f"""
"""What git runs, through the shell that it brings, when a host wants a login (git-credential(1), `url`).

An address, because what is special to the shell, to that protocol, or in a worker's environment (`${{NAME}}`) is
encoded there.
"""


class GitLogin(Struct, frozen=True):
    """The repository's address without its login, what stands before git's command, and what is in its environment."""

    url: str
    words: tuple[str, ...] = ()
    env: dict[str, str] = {}


def git_login(url: str, user: str = "", password: str = "") -> GitLogin:
    """What lets git log in at the host of an address, and nowhere else: not where it is sent on to.

    `user` and `password` come before those in the address. All three may have markers of secrets in them. Helpers of
    the machine's own are not asked for that host (nor told the password, to keep it), for others they are.
    """
    given = (url, user, password)
    if not names_in(given) and not login(*given):
        return GitLogin(url)
    place = when_sent(place_of_login, *given)
    words = ("-c", f"{place}.helper=", "-c", f"{place}.helper={_HELPER}")
    return GitLogin(when_sent(without_login, *given), words, {VARIABLE: when_sent(login, *given)})
