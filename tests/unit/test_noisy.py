"""NAYER's noisy layers and embeddings, its inversion, and what it refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusion.assembly import build_party, build_student, student_spec
from fusion.label_spaces import label_space
from fusion.methods import Nayer
from fusion.noisy import EmbeddingsError, NoisyInversion, NoisyLayer, NoisyLayers, class_embeddings
from fusion.party import Party
from fusion.teachers import Teacher
from orchestrator.errors import UserError
from orchestrator.identity import run_identity
from orchestrator.loading import parse_config
from orchestrator.method_check import check_method
from tests.tiny import CPU, SPEC, teacher, tiny_run, without_warmup


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def party_of(method: Nayer, teachers: list[Teacher], index: int = 0) -> Party:
    party = build_party(
        index, len(teachers), teachers[index], without_warmup(method), CPU, student_spec(teachers)
    )
    student = build_student(teachers, without_warmup(method), CPU)
    party.begin_iteration(0, student.as_critic(0))
    return party


def maker(party: Party) -> NoisyInversion:
    assert isinstance(party.synthesiser, NoisyInversion)
    return party.synthesiser


ACTIVATIONS: dict[str, nn.Module] = {"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU()}


@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "linear-linear",
        "batchnorm-linear",
        "batchnorm-linear-linear",
        "batchnorm-linear-sigmoid",
        "batchnorm-linear-tanh",
        "batchnorm-linear-relu",
    ],
)
def test_noisy_layers_are_those_of_torch_a_group_at_a_time(kind: NoisyLayer) -> None:
    layers = NoisyLayers(kind, 8, 3, 5, 4, stream())
    embeddings = torch.randn(8, 5, generator=stream(1))  # Groups of 3, 3 and 2.
    x = nn.BatchNorm1d(5, affine=False)(embeddings) if kind.startswith("batchnorm") else embeddings
    expected = []
    for group, part in enumerate(x.split(3)):
        for weights in layers.weights:
            linear = nn.Linear(*weights.shape[1:])
            linear.weight.data, linear.bias.data = weights[group].T, torch.zeros(4)
            part = linear(part)
        expected.append(ACTIVATIONS.get(kind.rsplit("-", 1)[-1], nn.Identity())(part))
    torch.testing.assert_close(layers(embeddings), torch.cat(expected))
    assert len(layers.weights) == kind.count("linear")


def test_dropout_is_that_of_torch_with_masks_of_the_stream() -> None:
    layers, plain = (
        NoisyLayers(kind, 300, 30, 5, 40, stream(3))
        for kind in ("batchnorm-linear-dropout", "batchnorm-linear")
    )
    embeddings = torch.randn(300, 5, generator=stream(1))
    before = torch.random.get_rng_state()
    first, second = layers(embeddings), layers(embeddings)
    assert torch.equal(torch.random.get_rng_state(), before)
    kept = first != 0
    torch.testing.assert_close(first, torch.where(kept, 2 * plain(embeddings), 0.0))
    assert abs(float(kept.float().mean()) - 0.5) < 0.02
    assert abs(float((kept == (second != 0)).float().mean()) - 0.5) < 0.02  # Drawn anew in each pass.
    again = NoisyLayers("batchnorm-linear-dropout", 300, 30, 5, 40, stream(3))
    assert torch.equal(again(embeddings), first)
    assert torch.equal(again(embeddings), second)


def test_noisy_layers_are_standard_normal_with_no_bias_and_functions_of_the_stream() -> None:
    layers, again = (NoisyLayers("linear", 6, 4, 50, 60, stream(3)) for _ in range(2))
    weights, biases = layers.weights[0].detach(), layers.biases[0].detach()
    assert abs(float(weights.mean())) < 0.05
    assert abs(float(weights.std()) - 1) < 0.05
    assert not biases.any()
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights, again.weights[0])


def test_a_batch_has_each_class_once_a_noisy_layer() -> None:
    party = party_of(Nayer(inversion_steps=1, bank_images=20), [teacher(0)])
    narrow = party_of(
        Nayer(inversion_steps=1, bank_images=20),
        [teacher(0, spec=dataclasses.replace(SPEC, classes=("a", "b", "c", "d", "e")))],
    )
    assert maker(party).draw_labels(stream()).tolist() == [0, 1, 2, 3] * 3
    labels = maker(narrow).draw_labels(stream()).tolist()
    assert labels[:10] == [0, 1, 2, 3, 4] * 2
    assert len(set(labels[10:])) == 2


def test_each_noisy_layer_of_a_batch_has_as_many_images_as_there_are_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[NoisyLayers] = []

    class Noted(NoisyLayers):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr("fusion.noisy.NoisyLayers", Noted)
    party_of(Nayer(inversion_steps=1, bank_images=20), [teacher(0)]).update_generator()
    party_of(Nayer(inversion_steps=1, inversion_batch=5, bank_images=20), [teacher(0)]).update_generator()
    assert [one.weights[0].shape for one in made] == [(3, 4, 8), (2, 4, 8)]


def test_images_of_one_class_differ_because_their_noisy_layers_do() -> None:
    layers = NoisyLayers("batchnorm-linear", 12, 5, 5, 8, stream())
    labels = torch.tensor([0, 1, 2, 3, 4] * 2 + [3, 1])
    inputs = layers(class_embeddings(None, tuple("abcde"))[labels])
    assert torch.cdist(inputs, inputs).fill_diagonal_(torch.inf).min() > 0.1


def test_embeddings_are_one_hot_or_the_rows_of_a_file(tmp_path: Path) -> None:
    assert torch.equal(class_embeddings(None, ("a", "b")), torch.eye(2))
    rows = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "rows.npy", rows)
    assert class_embeddings(str(tmp_path / "rows.npy"), ("a", "b")).tolist() == rows.tolist()


def test_a_teacher_of_some_classes_takes_their_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(5) * np.arange(1, 6))
    method = Nayer(inversion_steps=1, bank_images=20, embeddings=str(tmp_path / "rows.npy"))
    known = [
        teacher(index, spec=dataclasses.replace(SPEC, classes=tuple(classes)))
        for index, classes in enumerate(("abcd", "deb"))
    ]
    party = party_of(method, known, index=1)
    assert maker(party).embeddings.max(dim=1).values.tolist() == [4, 5, 2]


def test_a_checkpoint_knows_the_content_of_the_embeddings_and_not_where_they_lie(tmp_path: Path) -> None:
    def identity(name: str, rows: object) -> dict[str, object]:
        np.save(tmp_path / name, rows)  # type: ignore[arg-type]
        method = {"name": "nayer", "embeddings": str(tmp_path / name)}
        return run_identity(parse_config(tiny_run(method=method, schedule={"warmup_epochs": 0}), "run"), [])

    first = identity("a.npy", np.eye(4))
    assert identity("b.npy", np.eye(4)) == first
    assert identity("a.npy", np.ones((4, 4))) != first


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.zeros((3, 5)), "3 vectors for 4 classes"),
        (np.zeros((4, 0)), "vectors must have at least 1 number, all of them finite"),
        (np.full((4, 2), np.nan), "vectors must have at least 1 number, all of them finite"),
        (np.full((4, 2), 1e39), "vectors must have at least 1 number, all of them finite in float32"),
        (np.zeros(4), r"must be one array of numbers, \[classes, width\]"),
        (np.array(["a", "b"]), "must be one array of numbers"),
        (np.array([{}, None]), r"not a NumPy file \(.npy\) of numbers"),
        (b"nonsense", r"not a NumPy file \(.npy\) of numbers"),
        (b"", r"not a NumPy file \(.npy\) of numbers"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_of_embeddings_is_one_line(tmp_path: Path, content: object, expected: str) -> None:
    path = tmp_path / "rows.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(EmbeddingsError, match=f"rows.npy: {expected}"):
        class_embeddings(str(path), tuple("abcd"))
    config = parse_config(
        tiny_run(method={"name": "nayer", "embeddings": str(path)}, schedule={"warmup_epochs": 0}), "run"
    )
    cards = [teacher(0), teacher(1)]
    with pytest.raises(UserError, match=f"^method.embeddings: .*rows.npy: {expected}") as caught:
        check_method(config, cards, label_space([one.spec.classes for one in cards]))
    assert "\n" not in str(caught.value)


def test_a_teacher_without_batch_norm_needs_no_bn_loss() -> None:
    cards = [teacher(0), teacher(1, "alexnet")]
    space = label_space([one.spec.classes for one in cards])

    def check(weight: float) -> None:
        method = {"name": "nayer", "bn_weight": weight}
        config = parse_config(tiny_run(method=method, schedule={"warmup_epochs": 0}), "run")
        check_method(config, cards, space)

    check(0.0)
    expected = (
        r"^method.bn_weight: must be 0 for method 'nayer' with party-1, whose network alexnet has no "
        r"BatchNorm \(got 10\)$"
    )
    with pytest.raises(UserError, match=expected):
        check(10.0)


@pytest.mark.parametrize("batch", [None, 7])
def test_the_generator_learns_on_until_it_starts_afresh_and_noise_is_always_new(batch: int | None) -> None:
    method = Nayer(
        inversion_steps=1, inversion_every=1, inversion_batch=batch, bank_images=20, restart_every=2
    )
    party = party_of(method, [teacher(0)])
    inner = maker(party).generator
    student = build_student([teacher(0)], without_warmup(Nayer()), CPU).as_critic(0)
    starts: list[Tensor] = []
    inner.register_forward_pre_hook(lambda *_: starts.append(inner.linear.weight.detach().clone()))
    ends = []
    for iteration in range(3):
        party.begin_iteration(iteration, student)
        party.update_generator()
        ends.append(inner.linear.weight.detach().clone())
    assert torch.equal(starts[1], ends[0])
    assert not torch.equal(starts[2], ends[1])
    assert (starts[2] - ends[1]).abs().max() > 0.01  # No update of one step goes so far.


def test_the_teacher_takes_the_images_for_the_classes_of_their_embeddings() -> None:
    method = Nayer(inversion_steps=60, bank_images=20, bn_weight=0, adv_weight=0)
    party = party_of(method, [teacher(0)])
    seen: list[float] = []
    original = party.meter.add

    def add(values: dict[str, Tensor], prefix: str = "") -> None:
        seen.append(float(values["ice"]))
        original(values, prefix)

    party.meter.add = add  # type: ignore[assignment, method-assign]
    party.update_generator()
    assert len(seen) == 60
    assert seen[-1] < seen[0]
    assert maker(party).bank.filled() == 12
