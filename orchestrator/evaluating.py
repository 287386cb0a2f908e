"""Measuring a classifier that lies on disk: a run's student, or any other with a card."""

from pathlib import Path
from typing import Any

from fusion.assembly import FusionSettings
from fusion.teachers import Teacher, TeacherError, load_teacher
from orchestrator.config import RunConfig
from orchestrator.errors import UserError, user_error
from orchestrator.label_spaces import order_lines
from orchestrator.loading import load_config
from orchestrator.recording import STUDENT, teacher_hash
from orchestrator.results import measure_references, measure_student
from orchestrator.run_folder import is_folder
from orchestrator.sources import read_classifier
from orchestrator.teachers import GOLD_STANDARD, check_data, read_data


def evaluate(target: str, config: str | None = None, *overrides: str) -> dict[str, Any]:
    """Scores of the classifier at `target`, a run's folder or a .safetensors file.

    The evaluation images are those of `config` (a YAML file or preset), by default of the run's own
    configuration. For a run's folder the teachers, their ensemble and the gold standard are measured too;
    which they are and what they weigh, its own configuration says.

    Raises:
        UserError: nothing to evaluate, or nothing to evaluate on.
    """
    path = Path(target)
    folder = path if is_folder(path) else None
    student = load_classifier(folder / STUDENT if folder else path)
    source = config or (str(folder / "config.yaml") if folder else None)
    if source is None:
        raise UserError(
            f"{target}: --config: name the configuration (or preset) whose data is to be evaluated on"
        )
    loaded = load_config(source, overrides)
    data = read_data(loaded)
    if data is None:
        raise UserError(f"{source}: data: there is nothing to evaluate on")
    own = load_config(str(folder / "config.yaml")) if folder and config else loaded
    teachers, gold = teachers_of(folder, own) if folder else ([student], None)
    settings = FusionSettings(
        student=student.network,
        weights=own.weights if folder else "uniform",
        classes=student.spec.classes,
    )
    try:
        space = settings.space(teachers)
    except ValueError as error:
        raise user_error(f"{target}: the student's classes are not those of its teachers: {error}") from error
    test = check_data([student], space, data[1])
    hashes = {teacher.name: teacher_hash(teacher) for teacher in teachers}
    references = measure_references(teachers, settings, gold, test, hashes)
    entry = measure_student(student, references, test, None, teachers, settings)
    notes = order_lines(space, test)
    result: dict[str, Any] = {"classes": list(test.classes), "notes": notes, "student": entry}
    if folder:
        result |= {"teachers": references.teachers, "ensemble": references.ensemble}
        if references.gold_standard:
            result["gold_standard"] = references.gold_standard
    else:
        entry |= {"agreement": None, "agreement_on": "nothing"}
    return result


def teachers_of(folder: Path, config: RunConfig) -> tuple[list[Teacher], Teacher | None]:
    """The teachers of the run in `folder`, and its gold standard if it has one.

    Raises:
        UserError: one is missing or damaged.
    """
    if config.teachers is not None:
        return [read_classifier(source, "", config.tracking.uri) for source in config.teachers], None
    paths = [folder / "teachers" / f"party-{index}.safetensors" for index in range(config.num_parties)]
    gold = folder / "teachers" / f"{GOLD_STANDARD}.safetensors"
    return [load_classifier(path) for path in paths], load_classifier(gold) if gold.exists() else None


def load_classifier(path: Path, name: str | None = None) -> Teacher:
    """The classifier at `path`, a .safetensors file.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return load_teacher(path, name)
    except TeacherError as error:
        raise UserError(str(error)) from error
