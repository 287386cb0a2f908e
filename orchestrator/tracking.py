"""MLflow, from the driver only: one run a fusion, one batch an epoch."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from orchestrator.config import Tracking
from orchestrator.errors import UserError

# A server that does not answer must not hold up a run: MLflow's own defaults wait four minutes a call.
QUICK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
MAX_PARAM_LENGTH = 500


def tracking_uri(tracking: Tracking, output: Path) -> str:
    """The configured store, or SQLite in the output folder."""
    return tracking.uri or f"sqlite:///{output.absolute()}/mlflow.db"


class Tracker:
    """One MLflow run. What MLflow cannot take is said once and does not stop the work."""

    def __init__(
        self, tracking: Tracking, output: Path, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ):
        """Start the run.

        Raises:
            UserError: the store cannot be reached.
        """
        for variable, value in QUICK.items():
            os.environ.setdefault(variable, value)
        import mlflow  # Two seconds; a run without tracking need not pay them.
        from mlflow.exceptions import MlflowException

        self._errors: tuple[type[Exception], ...] = (MlflowException, OSError)
        self.uri = tracking_uri(tracking, output)
        self.trouble: str | None = None
        try:
            self._client = mlflow.MlflowClient(tracking_uri=self.uri)
            experiment = self._client.get_experiment_by_name(tracking.experiment)
            local = self.uri.startswith("sqlite:")
            identifier = (
                experiment.experiment_id
                if experiment
                else self._client.create_experiment(
                    tracking.experiment, (output.absolute() / "mlartifacts").as_uri() if local else None
                )
            )
            self.run_id: str = self._client.create_run(identifier, run_name=name, tags=dict(tags)).info.run_id
        except (*self._errors, ImportError) as error:
            raise UserError(f"tracking.uri: cannot reach {self.uri} ({_first_line(error)})") from error
        self._log_params(params)

    def log_epoch(self, step: int, metrics: Mapping[str, float], timestamp_ms: int) -> None:
        """One batch of metrics at `step`."""
        from mlflow.entities import Metric

        entries = [Metric(metric_name(name), value, timestamp_ms, step) for name, value in metrics.items()]
        self._attempt(lambda: self._client.log_batch(self.run_id, metrics=entries))

    def log_image(self, key: str, image: Image.Image, step: int) -> None:
        """A picture with a step, for MLflow's image view."""
        self._attempt(lambda: self._client.log_image(self.run_id, image, key=key, step=step))

    def log_folder(self, folder: Path, names: list[str]) -> None:
        """Files or folders of the run's folder as artifacts."""
        for name in names:
            path = folder / name
            if path.is_dir():
                self._attempt(
                    lambda path=path, name=name: self._client.log_artifacts(self.run_id, str(path), name)
                )  # type: ignore[misc]
            elif path.exists():
                self._attempt(lambda path=path: self._client.log_artifact(self.run_id, str(path)))  # type: ignore[misc]

    def log_student(self, folder: Path, channels: int, size: int, classes: int) -> None:
        """The fused student as a model that loads without executing anything it contains."""
        from orchestrator.flavor import log_student

        self._attempt(lambda: log_student(self.uri, self.run_id, folder, channels, size, classes))

    def finish(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self._attempt(lambda: self._client.set_terminated(self.run_id, status=status))

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:MAX_PARAM_LENGTH]) for name, value in params.items()]
        for first in range(0, len(entries), 100):
            self._attempt(
                lambda first=first: self._client.log_batch(self.run_id, params=entries[first : first + 100])
            )  # type: ignore[misc]

    def _attempt(self, call: Any) -> None:
        if self.trouble is not None:
            return
        try:
            call()
        except self._errors as error:
            self.trouble = (
                f"tracking stopped: {self.uri}: {_first_line(error)}; the run goes on and its folder has "
                f"everything"
            )


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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
