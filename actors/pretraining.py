"""Pretraining as Ray actors, so that the parties' classifiers are trained side by side and can be watched."""

import ray

from actors.process import Arrays, to_arrays, use_device
from fusion.data.labelled import LabelledImages
from fusion.networks import ImageSpec
from fusion.pretraining import Recipe, train_classifier


class PretrainingWorker:
    """Trains one classifier."""

    def __init__(self, device: str, threads: int) -> None:
        self._device = use_device(device, threads)
        self._epochs = 0

    def train(
        self, name: str, network: str, spec: ImageSpec, train: LabelledImages, recipe: Recipe, seed: int
    ) -> Arrays:
        """The weights of `network`, trained on `train`."""
        images, labels = train.images, train.labels
        classifier = train_classifier(
            network,
            spec,
            images,
            labels,
            recipe,
            seed=seed,
            name=name,
            device=self._device,
            observe=self._note,
        )
        return to_arrays({"network": classifier.network})["network"]

    @ray.method(concurrency_group="control")
    def pulse(self) -> tuple[int, bool]:
        """Epochs that are over; answers at any time. How long one may take is not for it to say."""
        return self._epochs, False

    def _note(self, epoch: int) -> None:
        self._epochs = epoch + 1


PretrainingActor = ray.remote(concurrency_groups={"control": 1})(PretrainingWorker)
