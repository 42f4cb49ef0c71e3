"""Takes the configurations out of the three texts that the project began from, and mends their typing errors.

What is mended is listed in `MENDS`; nothing else is changed. Tests that run them use this too.
"""

import re
import textwrap
from pathlib import Path

SEEDS = Path(__file__).parents[2].parent / "shared" / "seeds"

MENDS = (
    (
        r"'slavename': '([\w-]+), builddir='(\w+)'",
        r"'slavename': '\1', 'builddir': '\2'",
        "the quote after a slave's name is missing, and builddir is written as a keyword in a dictionary",
    ),
    (
        r'command="make db-test",\n(?=fast_factory)',
        'command="make db-test", locks=[db_lock]),\n',
        "a line is missing: the fast bots test the database under its lock ('must still be prevented ...')",
    ),
    (r"\),\n(?=\w+ = factory\.BuildFactory)", "),\n]\n", "the list of steps is not closed before the factory"),
    (r"\),\n(?=fast_steps = )", "),\n]\n", "the list of steps is not closed"),
    (r"\bslow_f = ", "slow_factory = ", "slow_f is called slow_factory where it is used"),
)


def examples_2005() -> list[str]:
    """The three examples of 2005, mended."""
    found = _between(_text("001"), r"^ +from buildbot import locks$", r"^ +c\['builders'\] = [^\n]*$")
    return [_mended(one) for one in found]


def example_of_today() -> str:
    """The complete example of today (the excerpts before it are parts of it)."""
    start = r"^from buildbot\.plugins import util, steps$"
    return _between(_text("004"), start, r"^c\['builders'\] = [^\n]*$")[-1]


def _text(number: str) -> str:
    """The text whose file begins with that number."""
    return next(SEEDS.glob(f"{number}_*.txt")).read_text()


def _between(text: str, first: str, last: str) -> list[str]:
    """All stretches of lines from one that matches `first` to one that matches `last`."""
    pattern = re.compile(f"{first}.*?{last}", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(match.group()) + "\n" for match in pattern.finditer(text)]


def _mended(example: str) -> str:
    """An example with its typing errors mended."""
    for pattern, replacement, _ in MENDS:
        example = re.sub(pattern, replacement, example)
    return example
