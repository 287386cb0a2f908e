"""Classifiers into an MLflow model registry: weights as safetensors, a card, a signature, and all or
nothing."""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion.cards import NAME_PATTERN
from fusion.teachers import SUFFIX, Teacher, card_path, save_teacher
from fusion.untrusted import Refused
from orchestrator.errors import UserError, user_error
from orchestrator.inspecting import section, surroundings_note
from orchestrator.registry import MODEL_TAG, SCHEME, opened_registry, registry_uri
from orchestrator.sources import read_source
from orchestrator.tracking import SQLITE, errors, experiment_id

EXPERIMENT = "dfmf-teachers"
KIND = "dfmf.kind"
_ALIAS = re.compile(r"(?!(latest|v\d+)$)[\w-]{1,255}", re.ASCII | re.IGNORECASE)


def register(
    source: str, given: Sequence[str], name: str, alias: str | None = None, registry: str | None = None
) -> list[str]:
    """Read and check the classifier at `source`, then make it the next version of the model `name`; returns
    what to say of it. `given` is as in `orchestrator.inspecting.inspect`.

    Raises:
        UserError: as `inspect`; the name is none, the registry has these files under it already, or does not
        take them. The registry is then as it was.
    """
    check_name(name, "--name")
    if alias is not None and not _ALIAS.fullmatch(alias):
        raise user_error(
            f"--alias: must be letters, digits, _ and -, not 'latest' or v and digits (got {alias!r})"
        )
    outside = read_source(section(source, given), "", registry)
    try:
        uri = registry_uri(registry)
        with tempfile.TemporaryDirectory(prefix="dfmf-") as folder, opened_registry(uri, make=True) as client:
            weights = Path(folder) / f"teacher{SUFFIX}"
            save_teacher(outside.teacher, weights, **outside.extra)
            tags = tags_of(outside.teacher, weights, "teacher") | {
                f"dfmf.{key}": value for key, value in outside.extra.items()
            }
            _refuse_twin(client, name, tags)
            number = _publish(client, uri, outside.teacher, weights, name, alias, tags)
    except (Refused, OSError) as error:
        raise user_error(f"{name}: {error}") from error
    place = f"{SCHEME}{name}@{alias}" if alias else f"{SCHEME}{name}/{number}"
    done = f"registered as {SCHEME}{name}/{number}; fuse it with: teachers: [{place}, ...]"
    return [*outside.notes, done, *surroundings_note(outside.teacher)]


def check_name(name: str, where: str) -> None:
    """Of a registered model.

    Raises:
        UserError: it is none; `where` names what gave it.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise user_error(
            f"{where}: must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit "
            f"(got {name!r})"
        )


def tags_of(teacher: Teacher, weights: Path, kind: str) -> dict[str, str]:
    """What the marketplace shows of the classifier at `weights`."""
    spec = teacher.spec
    return {
        KIND: kind,
        "dfmf.party": teacher.name,
        "dfmf.network": teacher.network,
        "dfmf.classes": str(len(spec.classes)),
        "dfmf.image": f"{spec.channels}x{spec.size}x{spec.size}",
        "dfmf.bytes": str(weights.stat().st_size),
        "dfmf.sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "dfmf.card": hashlib.sha256(card_path(weights).read_bytes()).hexdigest(),
    }


def _refuse_twin(client: Any, name: str, tags: Mapping[str, str]) -> None:
    for one in client.search_model_versions(f"name = '{name}'"):
        if all(one.tags.get(key) == tags[key] for key in ("dfmf.sha256", "dfmf.card")):
            raise UserError(f"{SCHEME}{name}/{one.version}: is this classifier already, with this card")


def _publish(
    client: Any,
    uri: str,
    teacher: Teacher,
    weights: Path,
    name: str,
    alias: str | None,
    tags: Mapping[str, str],
) -> str:
    """The version's number. It appears when all its files are there; what came before an error is undone."""
    from mlflow.entities import LoggedModelStatus

    with contextlib.ExitStack() as undo:
        experiment = _experiment(client, uri)
        run_id = client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
        undo.callback(_tried, client.delete_run, run_id)
        model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags=dict(tags))
        undo.callback(_tried, client.delete_logged_model, model.model_id)
        _upload(client, model, weights, teacher)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        number = add_version(client, name, model, run_id, tags, alias)
        undo.pop_all()
    with contextlib.suppress(*errors()):
        client.set_terminated(run_id)
    return number


def add_version(
    client: Any, name: str, model: Any, run_id: str, tags: Mapping[str, str], alias: str | None = None
) -> str:
    """Make a logged model of a run the next version of the model `name`; its number. All or nothing."""
    with contextlib.ExitStack() as undo:
        if not client.search_registered_models(f"name = '{name}'"):
            try:
                client.create_registered_model(name)
                undo.callback(_tried, _delete_if_empty, client, name)
            except errors():  # Another party may have made it meanwhile.
                client.get_registered_model(name)
        version = client.create_model_version(  # Without a run MLflow would ask its global store for one.
            name,
            model.artifact_location,
            run_id,
            tags={**tags, MODEL_TAG: model.model_id},
            model_id=model.model_id,
        )
        undo.callback(_tried, client.delete_model_version, name, version.version)
        if alias is not None:
            client.set_registered_model_alias(name, alias, version.version)
        undo.pop_all()
    return str(version.version)


def _upload(client: Any, model: Any, weights: Path, teacher: Teacher) -> None:
    from mlflow.models import Model

    from orchestrator.flavor import save_model, signature_of

    with tempfile.TemporaryDirectory(prefix="dfmf-") as folder:
        path = Path(folder) / "model"
        described = Model(artifact_path=model.artifact_location, model_id=model.model_id)
        spec = teacher.spec
        signature = signature_of(spec.channels, spec.size, len(spec.classes))
        save_model(str(path), str(weights.parent), described, signature, weights.stem)
        client.log_model_artifacts(model.model_id, str(path))


def _experiment(client: Any, uri: str) -> str:
    place = None
    if uri.startswith(SQLITE):
        place = (Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute().parent / "mlartifacts").as_uri()
    return experiment_id(client, EXPERIMENT, place)


def _delete_if_empty(client: Any, name: str) -> None:
    if not client.search_model_versions(f"name = '{name}'"):
        client.delete_registered_model(name)


def _tried(undo: Callable[..., object], *arguments: object) -> None:
    """A registry that has gone away cannot be tidied up; that it went is what is told."""
    with contextlib.suppress(*errors()):
        undo(*arguments)
