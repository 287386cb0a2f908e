"""The BN statistics of earlier batches, told from FastDFKD's published definition, and whose they are."""

import pytest
import torch
from torch import Tensor, nn

from fusion.assembly import build_party, build_student, student_spec
from fusion.batchnorm import BnMemory, BnWatch
from fusion.methods import DeepInversion, Dfmf, Fast, Method, Nayer
from fusion.networks import frozen
from fusion.party import Party
from tests.tiny import CPU, teacher, without_warmup


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def party_of(method: Method, network: str = "resnet8-w8") -> Party:
    given = teacher(0) if network == "resnet8-w8" else teacher(0, network)
    return build_party(0, 1, given, without_warmup(method), CPU, student_spec([given]))


def moments(classifier: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and biased variance of each layer's input."""
    found: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, inputs: tuple[Tensor]) -> None:
        flat = inputs[0].detach().double().transpose(0, 1).flatten(1)
        found.append((flat.mean(1), flat.var(1, correction=0)))

    layers = [one for one in classifier.modules() if isinstance(one, nn.BatchNorm2d)]
    hooks = [one.register_forward_pre_hook(note) for one in layers]  # type: ignore[arg-type]
    classifier(images)
    for hook in hooks:
        hook.remove()
    return found


def test_distances_are_those_of_the_published_definition() -> None:
    momentum, classifier = 0.7, frozen(teacher().build())
    watch = BnWatch(classifier, "distance", momentum)
    assert watch.memory is not None
    earlier: list[tuple[Tensor, Tensor]] | None = None
    layers = [one for one in classifier.modules() if isinstance(one, nn.BatchNorm2d)]
    for batch in range(3):
        # Two updates of a batch: only what the last of them saw is remembered.
        for update in range(2):
            images = torch.rand(12, 1, 8, 8, generator=stream(2 * batch + update))
            now, (_, divergences) = moments(classifier, images), watch(images)
            expected = []
            for index, layer in enumerate(layers):
                mean, variance = now[index]
                if earlier is not None:
                    mean = (1 - momentum) * mean + momentum * earlier[index][0]
                    variance = (1 - momentum) * variance + momentum * earlier[index][1]
                assert layer.running_mean is not None
                assert layer.running_var is not None
                expected.append((mean - layer.running_mean).norm() + (variance - layer.running_var).norm())
            torch.testing.assert_close(torch.cat(divergences), torch.stack(expected).float())
        watch.memory.end_batch()
        if earlier is None:
            earlier = now
        else:
            earlier = [
                (momentum * old[0] + (1 - momentum) * new[0], momentum * old[1] + (1 - momentum) * new[1])
                for old, new in zip(earlier, now, strict=True)
            ]
    assert int(watch.memory.batches) == 3


def test_a_batch_pulls_by_its_own_part_of_the_statistics() -> None:
    memory, mean = BnMemory(3, 0.9), torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    first, _ = memory.mixed(mean, mean)
    assert torch.equal(first, mean)
    memory.end_batch()
    second, _ = memory.mixed(mean + 1, mean)
    torch.testing.assert_close(second, mean + 0.1)
    second.sum().backward()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, torch.full((3,), 0.1))


@pytest.mark.parametrize("kind", [Fast, Nayer])
def test_a_party_remembers_the_last_update_of_each_finished_batch(kind: type[Method]) -> None:
    method = kind(inversion_steps=3, inversion_every=2, bank_images=30, bn_momentum=0.5)  # type: ignore[call-arg]
    party = party_of(method)
    student = build_student([teacher(0)], without_warmup(method), CPU).as_critic(0)
    memory, seen = party.watched_teacher.memory, list[Tensor]()
    assert memory is not None
    mixed = memory.mixed

    def note(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(mean.detach().clone())
        return mixed(mean, variance)

    memory.mixed = note  # type: ignore[method-assign]
    for iteration in range(4):
        party.step(iteration, student)
    assert len(seen) == 2 * 3
    torch.testing.assert_close(memory.mean, 0.5 * seen[2] + 0.5 * seen[5])
    assert int(memory.batches) == 2


def test_only_a_method_that_looks_back_on_a_teacher_with_batch_norm_keeps_a_memory() -> None:
    without: list[tuple[Method, str]] = [
        (Dfmf(), "resnet8-w8"),
        (DeepInversion(bank_images=20), "resnet8-w8"),
        (Fast(bn_momentum=0.0, bank_images=20), "resnet8-w8"),
        (Fast(bank_images=20), "alexnet"),
    ]
    for method, network in without:
        assert "bn_memory" not in party_of(method, network).modules()
    assert "bn_memory" in party_of(Fast(bank_images=20)).modules()
    images = torch.rand(6, 1, 8, 8, generator=stream(0))
    plain = BnWatch(frozen(teacher().build()), "distance")(images)[1]
    first = BnWatch(frozen(teacher().build()), "distance", 0.9)(images)[1]
    assert all(torch.equal(one, other) for one, other in zip(plain, first, strict=True))
