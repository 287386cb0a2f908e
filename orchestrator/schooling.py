"""The pretraining of a run: whatever is not trained yet, in its folder or in the cache that runs share."""

from collections.abc import Callable
from pathlib import Path

from fusion.teachers import Teacher
from orchestrator.config import RunConfig
from orchestrator.engines import Advanced, Course, Engine, Lesson, Weights
from orchestrator.run_folder import write_json
from orchestrator.sharing import claimed, pretraining_key
from orchestrator.teachers import CANARIES, GOLD_STANDARD, canaries_record, trained_already, write_teacher


def pretrained(
    config: RunConfig,
    todo: list[Lesson],
    folder: Path,
    engine: Engine,
    advanced: Advanced,
    say: Callable[[str], None],
) -> tuple[list[Teacher], Teacher | None]:
    """The teachers and the gold standard of the run in `folder`; each is written as soon as it is trained."""
    assert config.pretrain is not None
    if record := canaries_record(todo):
        write_json(folder / CANARIES, record)
    own = folder / "teachers"
    trained = trained_already(todo, own)
    missing = [lesson for lesson in todo if lesson.name not in trained]
    cache = config.checkpoint.cache if missing else None
    key = pretraining_key(config, todo, engine.hardware.lessons) if cache else {}
    with claimed(cache, "teachers", key, say) as shared:

        def taught(lesson: Lesson, weights: Weights) -> None:
            if shared is not None:
                write_teacher(lesson, weights, shared)
            trained[lesson.name] = write_teacher(lesson, weights, own)

        known = trained_already(missing, shared) if shared is not None else {}
        for lesson in missing:
            if lesson.name in known:
                trained[lesson.name] = write_teacher(lesson, known[lesson.name].weights, own)
        missing = [lesson for lesson in missing if lesson.name not in trained]
        if known:
            say(f"{len(known)} classifiers were pretrained before: {shared}")
        if missing:
            recipe, seed = config.pretrain.recipe, config.seed
            engine.pretrain(
                Course(lessons=missing, recipe=recipe, seed=seed, taught=taught, advanced=advanced, said=say)
            )
    everyone = [trained[lesson.name] for lesson in todo]
    gold = everyone.pop() if everyone[-1].name == GOLD_STANDARD else None
    return everyone, gold
