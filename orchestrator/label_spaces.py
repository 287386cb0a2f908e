"""Which classes the teachers know: matched by name, checked, said in a line, and found in labelled images."""

import dataclasses
from collections.abc import Mapping, Sequence

from fusion.assembly import student_spec
from fusion.cards import card_entries
from fusion.data.labelled import DataError, LabelledImages
from fusion.label_spaces import LabelSpace, first_repeated
from fusion.teachers import Teacher, TeacherCard
from fusion.untrusted import Refused, one_line
from orchestrator.config import RunConfig
from orchestrator.errors import user_error

SHOWN = 12


def renamed(teacher: Teacher, label_map: Mapping[str, str], where: str) -> Teacher:
    """The teacher with its classes called as `label_map` says; others keep their names.

    Raises:
        UserError: the map names a class that the teacher has not, or two become one.
    """
    own = teacher.spec.classes
    if unknown := set(label_map).difference(own):
        raise user_error(f"{where}: {teacher.name} has no class {min(unknown)!r} (known: {listed(own)})")
    classes = tuple(label_map.get(name, name) for name in own)
    if (twice := first_repeated(classes)) is not None:
        raise user_error(f"{where}: two classes of {teacher.name} would be called {twice!r}")
    return dataclasses.replace(teacher, spec=dataclasses.replace(teacher.spec, classes=classes))


def check_classes(config: RunConfig, teachers: Sequence[TeacherCard]) -> LabelSpace:
    """All classes that the teachers know.

    Raises:
        UserError: `classes` lists others; a name is one that no card may hold; a teacher shares no class with
        the rest and nobody says that this is meant; or all that know a class have the weight 0.
    """
    try:
        space = config.fusion_settings().space(teachers)
        spec = student_spec(teachers, config.classes)
    except ValueError as error:
        raise user_error(f"classes: {error}") from error
    try:
        card_entries(TeacherCard(name="student", network=config.student, spec=spec))
    except Refused as error:
        raise user_error(f"the student's card could not be written: {error}") from error
    if space.common:
        return space
    declared = config.classes is not None or config.teachers is None
    for index, own in enumerate(space.columns):
        others = {one for other, columns in enumerate(space.columns) if other != index for one in columns}
        if not declared and not others & set(own):
            one = teachers[index]
            raise user_error(
                f"teachers.{index}: no other teacher knows a class of {one.name} "
                f"({listed(one.spec.classes)}); name them alike (teachers.{index}.label_map), or list all "
                f"under 'classes' if that is meant"
            )
    weights = config.fusion_settings().teacher_weights(len(teachers))
    taught = {one for own, weight in zip(space.columns, weights, strict=True) if weight > 0 for one in own}
    if untaught := [name for column, name in enumerate(space.classes) if column not in taught]:
        raise user_error(f"weights: every teacher that knows the class {untaught[0]!r} has the weight 0")
    return space


def describe_classes(space: LabelSpace, teachers: Sequence[TeacherCard]) -> str:
    """One line: the union, and who knows what of it."""
    parts = [
        f"{one.name} {len(own)} ({listed([space.classes[column] for column in sorted(own)])})"
        for one, own in zip(teachers, space.columns, strict=True)
    ]
    return f"the student learns {len(space.classes)} classes; of these know: " + "; ".join(parts)


def class_lines(space: LabelSpace, teachers: Sequence[TeacherCard], test: LabelledImages | None) -> list[str]:
    """What to say of the teachers' classes, and of those of `images_of`, where that is not plain."""
    lines = [describe_classes(space, teachers)] if len(set(space.columns)) > 1 else []
    return lines + ([] if test is None else order_lines(space, test))


def order_lines(space: LabelSpace, test: LabelledImages) -> list[str]:
    """One line where the classes of `images_of` are matched by their order, else none."""
    if test.classes == space.classes:
        return []
    pairs = [f"{theirs} is {ours}" for theirs, ours in zip(test.classes, space.classes, strict=True)]
    return [one_line(f"data: its classes have other names, so they are matched by order: {listed(pairs)}")]


def images_of(test: LabelledImages, space: LabelSpace) -> LabelledImages:
    """The evaluation images with labels in the student's order, matched by the classes' names.

    Images of classes that no teacher knows are left out. Where all teachers and the student know the same
    classes in one order, and the images have as many, of which none has the name of another one, they are
    matched by their order and keep their names.

    Raises:
        UserError: the images have not the student's classes.
    """
    if set(space.classes) <= set(test.classes):
        try:
            return test.only(space.classes)
        except DataError as error:
            raise user_error(f"data: {error}") from error
    if _in_order(space, test.classes):
        return test
    missing = [name for name in space.classes if name not in test.classes]
    raise user_error(
        f"data: it has no class {missing[0]!r}, which the teachers know (its {len(test.classes)}: "
        f"{listed(test.classes)})"
    )


def _in_order(space: LabelSpace, names: Sequence[str]) -> bool:
    order = tuple(range(len(names)))
    if len(space.classes) != len(names) or any(own != order for own in space.columns):
        return False
    position = {name: index for index, name in enumerate(space.classes)}
    return all(position.get(name, index) == index for index, name in enumerate(names))


def listed(names: Sequence[str]) -> str:
    """Names for people, the first dozen of them."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
