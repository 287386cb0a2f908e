"""Which synthesiser a method needs, put together from its settings."""

import dataclasses
from collections.abc import Sequence

import torch

from fusion.bank import ImageBank
from fusion.compute import Compute
from fusion.contrast import ContrastiveInversion, ProjectionHead
from fusion.dreaming import Dreaming
from fusion.generator import Generator, GeneratorSettings
from fusion.inversion import Finished, PixelInversion
from fusion.meta import MetaInversion
from fusion.method import Contrasting, Method
from fusion.methods import Fast, Nayer
from fusion.networks import Classifier, ImageSpec
from fusion.noisy import NoisyInversion, class_embeddings
from fusion.schedule import Optimisation
from fusion.synthesiser import Generative, Synthesiser
from fusion.transferring import Transferring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Means:
    """What all of them are made with."""

    generator: GeneratorSettings
    batch_size: int
    num_parties: int
    optimisation: Optimisation
    taming: float
    """What learning rates that are a method's own are multiplied with."""
    compute: Compute
    device: torch.device


def build_synthesiser(
    method: Method, spec: ImageSpec, teacher: Classifier, known: Sequence[str], means: Means
) -> Synthesiser:
    """A freshly initialised one for images of `spec`, drawing from PyTorch's global stream (see
    `fusion.seeding`); `known` are the classes that the student knows."""
    batch_size, device = means.batch_size, means.device
    if isinstance(method, Transferring):
        return Finished(ImageBank(method.share(means.num_parties), spec), spec, batch_size, device)
    if isinstance(method, Dreaming):
        return PixelInversion(
            ImageBank(method.bank_images, spec),
            spec,
            steps=method.inversion_steps,
            lr=method.image_lr * means.taming,
            jitter=method.jitter,
            batch_size=batch_size,
            device=device,
        )
    generator = Generator(means.generator, spec)
    if isinstance(method, Contrasting):
        channels = teacher.network.feature_channels
        return ContrastiveInversion(
            ImageBank(method.bank_images, spec, (2, channels)),
            spec,
            teacher=teacher,
            head=ProjectionHead(channels, method.embedding_dim),
            generator=generator,
            settings=means.generator,
            steps=method.inversion_steps,
            contrasted=method.contrast_images,
            batch_size=batch_size,
            optimisation=means.optimisation,
            compute=means.compute,
            device=device,
        )
    if isinstance(method, Nayer):
        rows = [list(known).index(name) for name in spec.classes]
        return NoisyInversion(
            ImageBank(method.bank_images, spec),
            spec,
            embeddings=class_embeddings(method.embeddings, known)[rows],
            generator=generator,
            settings=means.generator,
            kind=method.noisy_layer,
            steps=method.inversion_steps,
            restart_every=method.restart_every,
            batch_size=batch_size,
            optimisation=means.optimisation,
            compute=means.compute,
            device=device,
        )
    if isinstance(method, Fast):
        return MetaInversion(
            ImageBank(method.bank_images, spec),
            spec,
            generator=generator,
            settings=means.generator,
            steps=method.inversion_steps,
            noise_lr=method.noise_lr * means.taming,
            meta_gradient=method.meta_gradient,
            batch_size=batch_size,
            optimisation=means.optimisation,
            compute=means.compute,
            device=device,
        )
    return Generative(
        generator,
        means.generator,
        batch_size=batch_size,
        optimisation=means.optimisation,
        compute=means.compute,
        device=device,
    )
