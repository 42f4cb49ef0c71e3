"""Random worlds in which steps take for themselves what their builds share, as they said before."""

from lockstep.core.nouns import Access, Alternative, Need
from lockstep.core.values import BuilderSetup, Stage

from .planned import PlannedWorld


class RaisingWorld(PlannedWorld):
    """A world of a few builders, most of which raise a lock."""

    def plan(self, name: str) -> BuilderSetup:
        made = super().plan(name)
        shared = [access for access in made.planned.alternatives[0].accesses if access.lock.kind == "master"]
        shared = [access for access in shared if access.mode == "counting"]
        if not shared or self.random.random() < 0.3:
            return made
        number = self.random.randint(1, 3)
        need = Need((Alternative("", (Access(self.random.choice(shared).lock, "exclusive", raises=True),)),))
        stages = [stage for stage in made.stages if stage.number != number]
        stages.append(Stage(number=number, name=f"{name}.{number}", need=need))
        return BuilderSetup(
            name=name, workers=made.workers, need=made.need, stages=tuple(sorted(stages, key=lambda s: s.number))
        )
