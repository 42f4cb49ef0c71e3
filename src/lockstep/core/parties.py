"""Who somebody is that holds or waits: requests, builds and steps, in words and as data."""

from lockstep.core.answers import Party
from lockstep.core.records import Build, Request, Step


def request_party(request: Request) -> Party:
    """A request that has no build."""
    text = f"request {request.brid} of {request.builder}"
    return Party(kind="request", text=text, builder=request.builder, requestid=request.brid)


def build_party(build: Build) -> Party:
    """A running build."""
    return Party(
        kind="build",
        text=build.told,
        builder=build.builder,
        requestid=build.brid,
        buildid=build.buildid,
        number=build.number,
    )


def step_party(build: Build, step: Step) -> Party:
    """A step of a running build."""
    named = f"the steps from '{step.name}' on" if step.state == "ended" else f"step '{step.name}'"
    return Party(
        kind="step",
        text=f"{named} of {build.told}",
        builder=build.builder,
        requestid=build.brid,
        buildid=build.buildid,
        number=build.number,
        step=step.number,
        step_name=step.name,
    )
