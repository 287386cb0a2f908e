"""Which synthesiser a method needs, put together from its settings."""

from collections.abc import Sequence

from fusion.bank import ImageBank
from fusion.contrast import ContrastiveInversion, ProjectionHead
from fusion.dreaming import Dreaming
from fusion.generator import build_generator
from fusion.inversion import Finished, PixelInversion
from fusion.meta import MetaInversion
from fusion.method import Contrasting, Method
from fusion.methods import Fast, Nayer
from fusion.networks import Classifier, ImageSpec
from fusion.noisy import NoisyInversion, class_embeddings
from fusion.synthesiser import Generative, Means, Synthesiser
from fusion.transferring import Transferring


def build_synthesiser(
    method: Method, spec: ImageSpec, teacher: Classifier, known: Sequence[str], means: Means
) -> Synthesiser:
    """A freshly initialised one for images of `spec`, drawing from PyTorch's global stream (see
    `fusion.seeding`); `known` are the classes that the student knows."""
    if isinstance(method, Transferring):
        return Finished(ImageBank(method.share(means.num_parties), spec), spec, means)
    if isinstance(method, Dreaming):
        return PixelInversion(
            ImageBank(method.bank_images, spec),
            spec,
            means,
            steps=method.inversion_steps,
            lr=method.image_lr * means.taming,
            jitter=method.jitter,
        )
    generator = build_generator(means.generator, spec)
    if isinstance(method, Contrasting):
        channels = teacher.network.feature_channels
        return ContrastiveInversion(
            ImageBank(method.bank_images, spec, (2, channels)),
            spec,
            means,
            teacher=teacher,
            head=ProjectionHead(channels, method.embedding_dim),
            generator=generator,
            steps=method.inversion_steps,
            contrasted=method.contrast_images,
        )
    if isinstance(method, Nayer):
        rows = [list(known).index(name) for name in spec.classes]
        return NoisyInversion(
            ImageBank(method.bank_images, spec),
            spec,
            means,
            embeddings=class_embeddings(method.embeddings, known)[rows],
            generator=generator,
            kind=method.noisy_layer,
            steps=method.inversion_steps,
            restart_every=method.restart_every,
        )
    if isinstance(method, Fast):
        return MetaInversion(
            ImageBank(method.bank_images, spec),
            spec,
            means,
            generator=generator,
            steps=method.inversion_steps,
            noise_lr=method.noise_lr * means.taming,
            meta_gradient=method.meta_gradient,
        )
    return Generative(generator, means)
