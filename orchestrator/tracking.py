"""One run in MLflow. Everything here may raise one of `errors`; `orchestrator.shipping` decides what then."""

import contextlib
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from orchestrator.lock import locked_in_turn
from orchestrator.secrets import given_again, redact
from orchestrator.sections import Tracking

# A server that does not answer is asked again by ourselves: MLflow's own defaults wait four minutes a call.
QUICK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # With the password that the URL may hold.
}
SQLITE = "sqlite:///"
MAX_PARAM_LENGTH = 500
MAX_METRICS = 1000
MAX_PARAMS = 100
THUMBNAIL = (256, 256)
OTHER_SCHEMA = re.compile(r"database schema (\(found version \w+, but expected \w+\))")


def tracking_uri(tracking: Tracking, output: Path) -> str:
    """The configured store, or SQLite in the output folder."""
    return given_again(tracking.uri) if tracking.uri else f"{SQLITE}{output.absolute()}/mlflow.db"


def is_gone(uri: str) -> bool:
    """Whether it is a local database that is not there (any more)."""
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists()


@contextlib.contextmanager
def made_in_turn(uri: str) -> Iterator[None]:
    """Within the block no other process makes a local database: several at once would break it."""
    if not uri.startswith(SQLITE):
        yield
        return
    folder = Path(uri.removeprefix(SQLITE)).parent / "mlartifacts"
    folder.mkdir(parents=True, exist_ok=True)
    with locked_in_turn(folder):
        yield


class MlflowRun:
    """A run in the store at `uri`."""

    def __init__(self, uri: str, run_id: str | None = None) -> None:
        import mlflow  # Two seconds; a run without tracking need not pay them.

        self.uri = uri
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self.run_id = run_id

    def create(
        self,
        experiment: str,
        artifacts: Path,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str:
        """Start a new run; a local database gets its artifacts in the folder `artifacts`."""
        from mlflow.entities import Param

        local = self.uri.startswith(SQLITE)
        identifier = experiment_id(self._client, experiment, artifacts.as_uri() if local else None)
        self.run_id = self._client.create_run(identifier, run_name=name, tags=dict(tags)).info.run_id
        entries = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in redact(params).items()]
        for first in range(0, len(entries), MAX_PARAMS):
            self._client.log_batch(self.run_id, params=entries[first : first + MAX_PARAMS])
        return self.run_id

    def log_metrics(self, step: int, metrics: Mapping[str, float], timestamp_ms: int) -> None:
        """At most MAX_METRICS, all at `step`; they arrive together or not at all."""
        from mlflow.entities import Metric

        entries = [Metric(metric_name(name), value, timestamp_ms, step) for name, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=entries, synchronous=True)

    def steps(self, name: str, since_ms: int) -> set[int]:
        """Those that the metric has, since a time."""
        history = self._client.get_metric_history(self.run_id, metric_name(name))
        return {point.step for point in history if point.timestamp >= since_ms}

    def log_pictures(self, pictures: Mapping[str, Image.Image], step: int, timestamp_ms: int) -> None:
        """By name, each with a step, for MLflow's image view.

        As MLflow's own `log_image`, but with names that are the same when the same is sent again.
        """
        if not pictures:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, picture in pictures.items():
                key = "samples~" + re.sub(r"[^\w\-. ]", "_", name, flags=re.ASCII)
                identifier = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id} {key} {step} {timestamp_ms}")
                stem = f"{folder}/{key}+step+{step}+timestamp+{timestamp_ms}+{identifier}"
                picture.save(f"{stem}.png")
                small = picture.copy()
                small.thumbnail(THUMBNAIL)
                small.save(f"{stem}+compressed.webp")
            self._client.log_artifacts(self.run_id, folder, "images")
        self._client.set_tag(self.run_id, "mlflow.loggedImages", True, synchronous=True)

    def log_file(self, path: Path) -> None:
        """A file or folder, if it is there, as an artifact."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        elif path.exists():
            self._client.log_artifact(self.run_id, str(path))

    def log_student(self, folder: Path, channels: int, size: int, classes: int) -> None:
        """The fused student as a model that loads without executing anything it contains."""
        from orchestrator.flavor import log_student

        assert self.run_id is not None
        log_student(self.uri, self.run_id, folder, channels, size, classes)

    def log_teachers(self, teachers: list[dict[str, Any]]) -> None:
        """Those of a summary that came from this store's registry, as inputs of the run."""
        from orchestrator.lineage import log_teachers

        log_teachers(self._client, str(self.run_id), teachers)

    def register_student(self, folder: Path, name: str, teachers: list[dict[str, Any]]) -> str:
        """Make the logged student a version of a registered model, once; the version's URI."""
        from orchestrator.lineage import register_student

        return register_student(self._client, str(self.run_id), folder, name, teachers)

    def set_status(self, status: str) -> None:
        """RUNNING, FINISHED, FAILED or KILLED."""
        if status == "RUNNING":
            self._client.update_run(self.run_id, status=status)
        else:
            self._client.set_terminated(self.run_id, status=status)


def experiment_id(client: Any, name: str, artifacts: str | None) -> str:
    """Of the experiment `name`, which is made, with its artifacts at that URI, if it is not there."""
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name, artifacts))
        except errors():
            known = client.get_experiment_by_name(name)  # Another process may have made it meanwhile.
            if known is None:
                raise
    return str(known.experiment_id)


def errors() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store does not take something."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError, ImportError)


def metric_name(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def unreachable(uri: str, error: Exception) -> str:
    """Why there is nothing to be had from the store at `uri`."""
    return other_schema(uri, error) or f"cannot reach {redact(uri)} ({first_line(error)})"


def other_schema(uri: str, error: Exception) -> str | None:
    """What to do about a database that another MLflow made; None if `error` is something else."""
    versions = OTHER_SCHEMA.search(str(error))
    return versions and (
        f"{redact(uri)} has another schema than the MLflow here {versions[1]}; use the MLflow that wrote it, "
        "or, if the store is the older one, `mlflow db upgrade`"
    )


def first_line(error: Exception) -> str:
    """Of its message."""
    lines = redact(str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
