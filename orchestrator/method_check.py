"""What a method and its generators ask of the teachers and of files, checked before anything is computed."""

from collections.abc import Sequence

import torch

from fusion.batchnorm import bn_layers
from fusion.generator import GeneratorSettings, check_size
from fusion.label_spaces import LabelSpace
from fusion.methods import Nayer, TransferSet
from fusion.networks import build_network
from fusion.noisy import EmbeddingsError, class_embeddings
from fusion.teachers import TeacherCard
from orchestrator.config import RunConfig
from orchestrator.errors import user_error


def check_method(config: RunConfig, teachers: Sequence[TeacherCard], space: LabelSpace) -> None:
    """Nothing, if the method can be used with these teachers.

    Raises:
        UserError: the generators are not for such images. Of `nayer`: a teacher without BatchNorm, of which
        a loss is asked; or `embeddings` is no file with a vector for each class of the student. Of
        `transfer_set`: more classes than there are, or fewer images.
    """
    check_generators(config.generator, teachers)
    method, known = config.method, len(space.classes)
    if isinstance(method, TransferSet) and (method.classes or 0) > known:
        raise user_error(f"method.classes: must be at most {known}, the student's (got {method.classes})")
    if isinstance(method, TransferSet) and method.evenly and method.images < (method.among or known):
        raise user_error(
            f"method.images: must be at least {method.among or known}, an image of each class, or the set be "
            f"taken as it is (method.balanced=false) (got {method.images})"
        )
    if not isinstance(method, Nayer):
        return
    try:
        class_embeddings(method.embeddings, space.classes)
    except EmbeddingsError as error:
        raise user_error(f"method.embeddings: {error}") from error
    for one in teachers if method.bn_weight > 0 else ():
        with torch.device("meta"):
            network = build_network(one.network, one.spec)
        if not bn_layers(network):
            raise user_error(
                f"method.bn_weight: must be 0 for method 'nayer' with {one.name}, whose network "
                f"{one.network} has no BatchNorm (got {method.bn_weight:g})"
            )


def check_generators(settings: GeneratorSettings, teachers: Sequence[TeacherCard]) -> None:
    """Nothing, if there are generators of these settings for the teachers' images.

    Raises:
        UserError: their size is one that the layout is not for.
    """
    for one in teachers:
        try:
            check_size(settings, one.spec.size)
        except ValueError as error:
            raise user_error(f"generator.layout: {error} (those of {one.name})") from error
