"""Teachers in an MLflow model registry: which version a URI means, and its files, fetched as files.

MLflow's loaders are never called: a model's `MLmodel` can name code that they run. What is fetched is read as
any other file of a stranger.
"""

import contextlib
import dataclasses
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fusion.cards import MAX_CARD_BYTES
from fusion.folders import FOLDER_CONFIG, FOLDER_WEIGHTS
from fusion.stored import MAX_FILE_BYTES
from fusion.teachers import SUFFIX
from fusion.torch_file import SUFFIXES
from fusion.untrusted import Refused, one_line
from orchestrator.secrets import given_again, redact
from orchestrator.shipping import be_quick
from orchestrator.tracking import SQLITE, errors, first_line, made_in_turn

SCHEME = "models:/"
SHOWN = 20
MODEL_NAME = re.compile(r"\w[\w. -]{0,254}", re.ASCII)
MODEL_TAG = "dfmf.model"
"""Names the logged model of a version; MLflow's databases do not keep it."""
_URI = re.compile(rf"models:/({MODEL_NAME.pattern})(?:/([1-9]\d{{0,8}})|@([\w-]{{1,255}}))", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: str
    location: str
    """Where its files lie: a URI that MLflow opens."""
    model_id: str | None
    """Of the logged model that it was made of, for lineage."""
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """What names this version and no other."""
        return f"{SCHEME}{self.name}/{self.number}"


def is_registered(place: str) -> bool:
    """Whether it is in a registry."""
    return place.startswith(SCHEME)


def registry_uri(configured: str | None) -> str:
    """The configured server or database, or that of MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI.

    Raises:
        Refused: there is none, or it is a database that does not exist.
    """
    uri = configured and given_again(configured)
    uri = uri or os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise Refused("which registry? Give tracking.uri, --registry-uri or MLFLOW_TRACKING_URI")
    return uri


@contextlib.contextmanager
def opened_registry(uri: str, make: bool = False) -> Iterator[Any]:
    """An `MlflowClient` of the registry at `uri`, which must be there, unless it is a database to `make`.

    Raises:
        Refused: it is not, or does not answer.
    """
    database = Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None
    if database is not None and not make and not database.is_file():  # MLflow would make it.
        raise Refused(f"the registry {redact(uri)}: no such database")
    be_quick()
    try:
        import mlflow

        with made_in_turn(uri) if make else contextlib.nullcontext():
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            if make:
                client.search_registered_models(max_results=1)
        yield client
    except errors() as error:
        raise Refused(f"the registry {redact(uri)} does not answer ({first_line(error)})") from error


def find(client: Any, place: str) -> Version:
    """The version that ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS`` means by now.

    Raises:
        Refused: there is none; the message lists what there is.
    """
    matched = _URI.fullmatch(place)
    if matched is None:
        raise Refused(f"must be {SCHEME}NAME/VERSION, with a number, or {SCHEME}NAME@ALIAS")
    name, number, alias = matched.groups()
    model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    if model is None:
        known = [one.name for one in client.search_registered_models(max_results=SHOWN + 1)]
        raise Refused(f"the registry has no model {name!r} (it has: {_listed(known)})")
    if alias is not None:
        aliases = client.get_registered_model(name).aliases
        if alias not in aliases:
            raise Refused(f"the model {name!r} has no alias {alias!r} (it has: {_listed(list(aliases))})")
        number = str(aliases[alias])
    versions = {str(one.version): one for one in client.search_model_versions(f"name = '{name}'")}
    if number not in versions:
        known = sorted(versions, key=int)
        raise Refused(f"the model {name!r} has no version {number} (it has: {_listed(known)})")
    return as_version(client, versions[number])


def as_version(client: Any, found: Any) -> Version:
    """What MLflow says of it."""
    location = client.get_model_version_download_uri(found.name, found.version)
    model_id = found.tags.get(MODEL_TAG)
    if is_registered(location):  # Of a logged model, which says where it lies.
        model_id = location.removeprefix(SCHEME)
        location = client.get_logged_model(model_id).artifact_location
    return Version(found.name, str(found.version), location.rstrip("/"), model_id, dict(found.tags))


def fetch(uri: str, version: Version, folder: Path) -> Path:
    """Copy what is read of it into `folder`; the file or folder to read.

    Raises:
        Refused: it holds no classifier in a form that is read, or one larger than what is read.
    """
    from mlflow.artifacts import download_artifacts, list_artifacts

    listed = list_artifacts(artifact_uri=version.location, tracking_uri=uri)
    sizes = {posixpath.basename(one.path): one.file_size or 0 for one in listed if not one.is_dir}
    names = _chosen(list(sizes))
    if not names:
        held = _listed(sorted(posixpath.basename(one.path) for one in listed))
        raise Refused(f"holds no classifier in a form that is read (it holds: {held})")
    target = folder / re.sub(r"[^A-Za-z0-9._-]", "-", version.name)
    target.mkdir()
    for name in names:
        at_most = MAX_CARD_BYTES if name.endswith(".json") else MAX_FILE_BYTES
        if not 0 < sizes[name] <= at_most:  # A pipe or a device has no size, and no end.
            raise Refused(f"{name} has {sizes[name]:,} bytes; what is read has 1 to {at_most:,}")
        download_artifacts(artifact_uri=f"{version.location}/{name}", dst_path=str(target), tracking_uri=uri)
    return target if FOLDER_CONFIG in names else target / names[0]


def _chosen(names: list[str]) -> list[str]:
    """Our own two files, a folder's two, or the only weights."""
    plain = [one for one in names if re.fullmatch(r"\w[\w.-]{0,254}", one, re.ASCII)]
    ours = [one for one in plain if one.endswith(SUFFIX) and f"{one[: -len(SUFFIX)]}.json" in plain]
    if len(ours) == 1:
        return [ours[0], f"{ours[0][: -len(SUFFIX)]}.json"]
    weights = [one for one in FOLDER_WEIGHTS if one in plain]
    if FOLDER_CONFIG in plain and weights:
        return [weights[0], FOLDER_CONFIG]
    files = [one for one in plain if one.endswith((SUFFIX, *SUFFIXES))]
    return files if len(files) == 1 else []


def _listed(names: list[str]) -> str:
    shown = [one_line(one) for one in names[:SHOWN]]
    return ", ".join(shown + ["..."] * (len(names) > SHOWN)) or "nothing"
