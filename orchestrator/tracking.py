"""One run in MLflow. Everything here may raise one of `ERRORS`; `orchestrator.shipping` decides what then."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from orchestrator.secrets import given_again, redact
from orchestrator.sections import Tracking

# A server that does not answer is asked again by ourselves: MLflow's own defaults wait four minutes a call.
QUICK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # With the password that the URL may hold.
}
MAX_PARAM_LENGTH = 500
MAX_METRICS = 1000
MAX_PARAMS = 100


def tracking_uri(tracking: Tracking, output: Path) -> str:
    """The configured store, or SQLite in the output folder."""
    return given_again(tracking.uri) if tracking.uri else f"sqlite:///{output.absolute()}/mlflow.db"


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

        known = self._client.get_experiment_by_name(experiment)
        local = self.uri.startswith("sqlite:")
        identifier = (
            known.experiment_id
            if known
            else self._client.create_experiment(experiment, artifacts.as_uri() if local else None)
        )
        self.run_id = self._client.create_run(identifier, run_name=name, tags=dict(tags)).info.run_id
        entries = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in redact(params).items()]
        for first in range(0, len(entries), MAX_PARAMS):
            self._client.log_batch(self.run_id, params=entries[first : first + MAX_PARAMS])
        return self.run_id

    def log_metrics(self, step: int, metrics: Mapping[str, float], timestamp_ms: int, again: bool) -> None:
        """All at `step`; `again`: some may be there from an attempt that broke off."""
        from mlflow.entities import Metric

        entries = [Metric(metric_name(name), value, timestamp_ms, step) for name, value in metrics.items()]
        for first in range(0, len(entries), MAX_METRICS):
            batch = entries[first : first + MAX_METRICS]
            if not (again and self._has(batch[0].key, step)):
                self._client.log_batch(self.run_id, metrics=batch)

    def log_image(self, key: str, image: Image.Image, step: int) -> None:
        """A picture with a step, for MLflow's image view."""
        self._client.log_image(self.run_id, image, key=key, step=step)

    def log_files(self, folder: Path, names: Sequence[str]) -> None:
        """Files or folders of the run's folder as artifacts."""
        for name in names:
            path = folder / name
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), name)
            elif path.exists():
                self._client.log_artifact(self.run_id, str(path))

    def log_student(self, folder: Path, channels: int, size: int, classes: int) -> None:
        """The fused student as a model that loads without executing anything it contains."""
        from orchestrator.flavor import log_student

        assert self.run_id is not None
        log_student(self.uri, self.run_id, folder, channels, size, classes)

    def set_status(self, status: str) -> None:
        """RUNNING, FINISHED, FAILED or KILLED."""
        if status == "RUNNING":
            self._client.update_run(self.run_id, status=status)
        else:
            self._client.set_terminated(self.run_id, status=status)

    def _has(self, key: str, step: int) -> bool:
        return any(point.step == step for point in self._client.get_metric_history(self.run_id, key))


def errors() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store does not take something."""
    from mlflow.exceptions import MlflowException

    return (MlflowException, OSError, ImportError)


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


def first_line(error: Exception) -> str:
    """Of its message."""
    lines = redact(str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
