"""The import name `buildbot`: every spelling leads to the same things, and nothing of that name is installed."""

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep import plugins
from lockstep.compat import alias, names
from lockstep.compat.known import KNOWN, MODULES
from lockstep.compat.loading import load_config
from lockstep.config import builders, errors, factory, locks, properties
from lockstep.core.nouns import Result


@pytest.fixture(autouse=True)
def _installed() -> None:
    alias.install()


def test_nothing_called_buildbot_is_installed() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("buildbot")


def test_one_thing_under_all_its_names() -> None:
    from buildbot import locks as old_locks  # type: ignore[import-not-found]
    from buildbot.config import BuilderConfig, ConfigErrors, error  # type: ignore[import-not-found]
    from buildbot.plugins import steps, util  # type: ignore[import-not-found]
    from buildbot.process import factory as old_factory  # type: ignore[import-not-found]
    from buildbot.process.properties import Interpolate, Property  # type: ignore[import-not-found]
    from buildbot.process.results import FAILURE, SUCCESS  # type: ignore[import-not-found]
    from buildbot.steps.shell import ShellCommand  # type: ignore[import-not-found]

    assert old_locks.MasterLock is util.MasterLock is locks.MasterLock
    assert BuilderConfig is util.BuilderConfig is builders.BuilderConfig
    assert old_factory.BuildFactory is util.BuildFactory is factory.BuildFactory
    assert (Interpolate, Property) == (properties.Interpolate, util.Property)
    assert ShellCommand is steps.ShellCommand is plugins.steps.ShellCommand
    assert (SUCCESS, FAILURE) == (util.SUCCESS, Result.FAILURE) == (0, 2)
    assert (ConfigErrors, error) == (errors.ConfigErrors, errors.error)


def test_submodules_are_there_without_an_import() -> None:
    code = (
        "from lockstep.compat import alias; alias.install(); import buildbot;"
        "print(buildbot.process.buildstep.BuildStep.__name__, buildbot.process.results.SKIPPED, buildbot.version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["BuildStep", "3", alias.VERSION]


def test_star_imports() -> None:
    everything: dict[str, object] = {}
    exec("from buildbot.plugins import *\nfrom buildbot.process.results import *", everything)
    assert set(KNOWN) <= set(everything)
    assert everything["EXCEPTION"] == 4


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_of_buildbot_can_be_imported(module: str) -> None:
    assert importlib.import_module(f"buildbot.{module}").__name__.endswith(module)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match='util has no "MastrLock"; did you mean "MasterLock"'):
        plugins.util.MastrLock  # noqa: B018
    assert not hasattr(plugins.util, "svn_of_mine")
    with pytest.raises(ModuleNotFoundError, match=r'did you mean "buildbot.steps"\?'):
        importlib.import_module("buildbot.step")


IN_USE = {
    "key": """
        c['configurators'] c['services'] c['codebaseGenerator'] c['revlink'] c['status']
        c['manhole'] c['caches'] c['buildbotNetUsageData'] c['logCompressionMethod']
    """,
    "www": """
        auth authz change_hook_dialects change_hook_auth plugins avatar_methods allowed_origins ui_default_config
        custom_templates_dir
    """,
    "import": """
        util.Authz util.AnyControlEndpointMatcher reporters.GitHubStatusPush reporters.Prometheus
        util.EqConnectionPool steps.MTR worker.DockerLatentWorker util.JanitorConfigurator
        buildbot.process.buildstep.CommandMixin buildbot.steps.worker.CompositeStepMixin
        buildbot.worker.AbstractWorker buildbot.util.logger.Logger buildbot.master.BuildMaster
        buildbot.data.resultspec.Filter buildbot.www.hooks.github.GitHubEventHandler
        buildbot.schedulers.forcesched.ValidationError buildbot.process.builder.Builder
        buildbot.steps.source.github.GitHub buildbot.steps.mtrlogobserver.MTR
        buildbot.reporters.utils.getDetailsForBuild buildbot.util.httpclientservice.HTTPClientService
        buildbot.interfaces.LatentWorkerFailedToSubstantiate buildbot.www.oauth2.OAuth2Auth
        buildbot.process.workerforbuilder.AbstractWorkerForBuilder buildbot.www.authz.roles.RolesFromGroups
    """,
}
"""What three or more public configurations use, of the less usual."""


@pytest.mark.parametrize(("kind", "name"), [(kind, one) for kind, text in IN_USE.items() for one in text.split()])
def test_what_people_use_is_there_or_refused_by_its_name(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "key":
        text = f"{name} = [1]"
    elif kind == "www":
        text = f"c['www'] = {{'{name}': 'x'}}"
    else:
        module, _, thing = name.rpartition(".")
        module = module if module.startswith("buildbot.") else f"buildbot.plugins.{module}"
        text = f"import {module}; from {module} import {thing}\nclass Mine({thing}): pass"
    (tmp_path / "master.cfg").write_text(f"c = BuildmasterConfig = {{}}\n{text}\n")
    try:
        config = load_config("master.cfg")
    except errors.ConfigErrors as exc:
        assert [name in one.text for one in exc.mistakes] == [True]  # noqa: PT017
        assert "not supported yet" in str(exc)  # noqa: PT017
    else:
        assert kind == "import" or any(name in one.text for one in config.notes)


def test_a_typing_error_in_an_import_leads_to_a_public_name() -> None:
    with pytest.raises(ImportError):
        from buildbot.process.buildstep import command_text  # noqa: F401
    with pytest.raises(ImportError):
        from buildbot.plugins import utill  # noqa: F401
    assert "command_text" not in dir(importlib.import_module("buildbot.process.buildstep"))


def test_using_what_is_not_there_outside_of_a_load_says_so() -> None:
    with pytest.raises(errors.ConfigErrors, match=r"steps\.CMake is not supported yet"):
        plugins.steps.CMake(path=".")


@pytest.mark.parametrize("space", sorted(KNOWN))
def test_every_known_name_answers(space: str) -> None:
    for name in KNOWN[space]:
        assert getattr(getattr(plugins, space), name) is names.find(space, name)
    assert set(names.there(space)) <= set(dir(getattr(plugins, space)))
