"""A classifier, a fused student or a party's, as an MLflow model: weights as safetensors, a card, a
signature, and no pickle.

``mlflow.pyfunc.load_model`` and ``load_student`` both read it; the former runs this module's `_load_pyfunc`
and no code from the model.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
import yaml
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from fusion.networks import Classifier
from fusion.teachers import SUFFIX, load_teacher

FLAVOR = "dfmf"
NAME = "student"
STEMS = (NAME, "teacher")


def save_model(
    path: str, folder: str, mlflow_model: Model, signature: ModelSignature, stem: str = NAME
) -> None:
    """Called by MLflow: copy the classifier called `stem` in a folder into the model at `path`."""
    mlflow_model.signature = signature
    target = Path(path)
    target.mkdir(parents=True, exist_ok=True)
    weights, card = f"{stem}{SUFFIX}", f"{stem}.json"
    for name in (weights, card):
        (target / name).write_bytes((Path(folder) / name).read_bytes())
    mlflow_model.add_flavor(FLAVOR, weights=weights, card=card)
    add_to_model(mlflow_model, loader_module="orchestrator.flavor")
    (target / "MLmodel").write_text(yaml.safe_dump(mlflow_model.to_dict(), sort_keys=False), encoding="utf-8")


def signature_of(channels: int, size: int, classes: int) -> ModelSignature:
    """Float images [N, channels, size, size] to logits [N, classes]."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, channels, size, size), "images")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )


def log_student(uri: str, run_id: str, folder: Path, channels: int, size: int, classes: int) -> None:
    """Log the student of a run's folder as the run's model `student`, with its signature.

    An attempt that broke off is completed.
    """
    mlflow.set_tracking_uri(uri)
    import orchestrator.flavor as flavor

    begun = logged_student(mlflow.MlflowClient(uri), run_id)
    if begun is not None and begun.status == LoggedModelStatus.READY:
        return
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        Model.log(
            artifact_path=None,
            name=NAME,
            flavor=flavor,
            folder=str(folder),
            signature=signature_of(channels, size, classes),
            model_id=begun.model_id if begun else None,
        )


def logged_student(client: Any, run_id: str) -> Any:
    """The run's model `student` as it is by now, if there is one."""
    experiment = client.get_run(run_id).info.experiment_id
    query = f"source_run_id = '{run_id}' AND name = '{NAME}'"
    found = client.search_logged_models([experiment], filter_string=query)
    return min(found, key=lambda one: one.status != LoggedModelStatus.READY, default=None)


def load_student(model_uri: str) -> Classifier:
    """The classifier of a logged model, such as ``models:/m-…`` or ``runs:/…/student``, in evaluation
    mode."""
    return _classifier_in(mlflow.artifacts.download_artifacts(model_uri))


def _classifier_in(path: str) -> Classifier:
    files = [Path(path) / f"{stem}{SUFFIX}" for stem in STEMS]
    return load_teacher(next((one for one in files if one.exists()), files[0])).build()


class _Predictor:
    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @torch.no_grad()
    def predict(self, images: Any, params: dict[str, Any] | None = None) -> NDArray[np.float32]:  # noqa: ARG002 - MLflow passes it
        array = images["images"] if isinstance(images, dict) else images
        logits = self._classifier(torch.from_numpy(np.array(array, dtype=np.float32))).logits
        return logits.numpy()  # type: ignore[no-any-return]


def _load_pyfunc(path: str) -> _Predictor:
    return _Predictor(_classifier_in(path))
