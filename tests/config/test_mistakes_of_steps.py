"""Classes of steps that nobody could run: each with file, line, and what to write instead."""

from collections.abc import Callable

import pytest

from lockstep.config.config import Config

Mistakes = Callable[..., list[str]]
Loader = Callable[..., Config]


@pytest.mark.parametrize(
    ("base", "method", "expected"),
    [
        ("BuildStep", "start", "Mine has start() in place of run(): steps of the old style are not supported"),
        ("ShellCommand", "start", "Mine has start() in place of run(): steps of the old style are not supported"),
        ("BuildStep", "rum", "Mine has no run()"),
    ],
)
def test_a_step_that_nobody_could_run_is_refused(mistakes: Mistakes, base: str, method: str, expected: str) -> None:
    text = f"""\
    class Mine(steps.{base}):
        def {method}(self):
            pass
    Mine()
    """
    assert f"6: {expected}; write `async def run(self)` that returns a result" in mistakes(text)


def test_a_step_with_run_may_call_its_methods_as_it_likes(load: Loader) -> None:
    text = """\
    class Mine(steps.BuildStep):
        def start(self):
            pass
        async def run(self):
            self.start()
    class More(Mine):
        pass
    step = More()
    """
    assert load(text).warnings == ()


def test_a_method_of_the_old_style_is_a_warning(load: Loader) -> None:
    text = """\
    class Mine(steps.ShellCommand):
        def createSummary(self, log):
            pass
    Mine(command="x")
    """
    (found,) = load(text).warnings
    assert "createSummary() of Mine is never called" in str(found)
