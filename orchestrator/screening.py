"""`dfmf teachers check`: what looks wrong with teachers before they are fused."""

from collections.abc import Sequence

from fusion.disagreement import disagreement
from fusion.screening import Found, screen
from fusion.teachers import Teacher
from orchestrator.errors import UserError
from orchestrator.inspecting import section
from orchestrator.sources import read_classifier
from orchestrator.teacher_source import TeacherSource
from orchestrator.teachers import check_teachers


def read_all(arguments: Sequence[str], registry: str | None = None) -> list[Teacher]:
    """The classifiers that the arguments name: each a source, and after it KEY=VALUE of what has to be said
    of it.

    Raises:
        UserError: one is none, or they could not be fused with each other.
    """
    asked: list[tuple[str, list[str]]] = []
    for one in arguments:
        if one.partition("=")[0] not in TeacherSource.model_fields:
            asked.append((one, []))
        elif asked:
            asked[-1][1].append(one)
        else:
            raise UserError(f"{one}: comes before the source that it is said of")
    teachers = [
        read_classifier(section(source, given), f"{source}: " if len(asked) > 1 else "", registry)
        for source, given in asked
    ]
    check_teachers(teachers)
    return teachers


def check(teachers: Sequence[Teacher]) -> list[Found]:
    """What looks wrong with each, and with one among the others."""
    return [found for one in teachers for found in screen(one)] + disagreement(teachers)


def lines(teachers: Sequence[Teacher], found: Sequence[Found]) -> list[str]:
    """For people."""
    said = [
        f"{one.teacher}: {one.check}: {one.message} ({one.value:.3g}; limit {one.limit:.3g})" for one in found
    ]
    sound = [one.name for one in teachers if one.name not in {each.teacher for each in found}]
    said += [f"{name}: nothing looks wrong" for name in sound]
    return [*said, "what looks right can still be poisoned: fuse only what you would also use by itself"]
