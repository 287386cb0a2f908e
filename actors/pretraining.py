"""Pretraining as a Ray task, so that the parties' classifiers are trained side by side."""

import ray

from actors.process import Arrays, to_arrays, use_device
from fusion.data.labelled import LabelledImages
from fusion.networks import ImageSpec
from fusion.pretraining import Recipe, train_classifier


def pretrain(
    name: str,
    network: str,
    spec: ImageSpec,
    train: LabelledImages,
    recipe: Recipe,
    seed: int,
    device: str,
    threads: int,
) -> Arrays:
    """The weights of one classifier, trained on `train`."""
    classifier = train_classifier(
        network,
        spec,
        train.images,
        train.labels,
        recipe,
        seed=seed,
        name=name,
        device=use_device(device, threads),
    )
    return to_arrays({"network": classifier.network})["network"]


pretrain_task = ray.remote(pretrain)
