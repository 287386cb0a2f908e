"""Parties whose generators have NAYER's layout: they learn, and all of their state is in snapshots and
files."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusion import algorithm
from fusion.assembly import FusionSettings, build_party, build_student, student_spec
from fusion.compute import Compute
from fusion.generator import GeneratorSettings
from fusion.meta import MetaInversion
from fusion.methods import Cmi, Dfmf, Fast, Method, Nayer
from fusion.noisy import NoisyLayer
from fusion.party import Party
from fusion.student import Student
from fusion.synthesis import held_out_images
from tests.tiny import CPU, SPEC, settings, teacher, without_warmup

TINY = GeneratorSettings(layout="nayer", latent_dim=8)
TEACHERS = [teacher(0), teacher(1)]
METHODS: list[Method] = [
    Dfmf(),
    Cmi(inversion_steps=2, inversion_every=2, bank_images=20, contrast_images=16),
    Nayer(inversion_steps=2, inversion_every=1, bank_images=20, restart_every=3),
    Fast(inversion_steps=2, inversion_every=1, bank_images=20),
]


class Stop(Exception): ...


def chosen(method: Method, **changes: object) -> FusionSettings:
    made = settings if method.warmup_loss else without_warmup
    return made(method=method, **{"generator": TINY, **changes})  # type: ignore[operator, no-any-return]


def built(method: Method, **changes: object) -> tuple[list[Party], Student]:
    wanted, given = chosen(method, **changes), student_spec(TEACHERS)
    parties = [build_party(index, 2, one, wanted, CPU, given) for index, one in enumerate(TEACHERS)]
    return parties, build_student(TEACHERS, wanted, CPU)


def ended(method: Method, stopped: int | None = None, forget: str = "") -> dict[str, Tensor]:
    """The state of everybody after a run; of one that was `stopped` after so many iterations and went on with
    new objects, which were not told what `forget` names."""
    plan, (parties, student) = chosen(method).schedule, built(method)

    def stop(now: int) -> None:
        if now == stopped:
            raise Stop

    algorithm.warm_up(parties, plan)
    if stopped is None:
        algorithm.fuse(parties, student, plan)
    else:
        with pytest.raises(Stop):
            algorithm.fuse(parties, student, plan, stop)
        former, (parties, student) = [*parties, student], built(method)
        for old, new in zip(former, [*parties, student], strict=True):
            begun = new.state()
            state = {
                name: begun[name] if forget and forget in name else one for name, one in old.state().items()
            }
            new.restore(state)
        algorithm.fuse(parties, student, plan, first=stopped)
    states = {str(index): one.state() for index, one in enumerate([*parties, student])}
    return {f"{who}/{name}": value for who, state in states.items() for name, value in state.items()}


def different(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


@pytest.mark.parametrize("method", METHODS, ids=[one.name for one in METHODS])
def test_a_run_stays_finite_and_goes_on_from_a_snapshot_to_the_same_bits(method: Method) -> None:
    whole = ended(method)
    assert all(bool(one.isfinite().all()) for one in whole.values())
    assert different(ended(method, stopped=2), whole) == []


@pytest.mark.parametrize("method", [METHODS[0], METHODS[2]], ids=["dfmf", "nayer"])
def test_without_its_singular_vectors_a_generator_would_go_on_to_other_weights(method: Method) -> None:
    weights = {f"{index}/generator/linear.weight" for index in (0, 1)}
    assert weights <= set(different(ended(method, stopped=2, forget="weight.0._v"), ended(method)))


def test_after_an_inversion_a_start_has_the_singular_vectors_of_its_copy() -> None:
    (party, _), student = built(METHODS[3])
    maker = party.synthesiser
    assert isinstance(maker, MetaInversion)
    before = {name: one.clone() for name, one in maker.generator.named_buffers()}
    party.begin_iteration(0, student.as_critic(0))
    party.update_generator()
    copied = dict(maker._copy.named_buffers())
    vectors = [name for name in before if name.endswith(("._u", "._v"))]
    assert len(vectors) == 6
    for name, one in maker.generator.named_buffers():
        assert torch.equal(one, copied[name] if name in vectors else before[name])
    assert all(not torch.equal(copied[name], before[name]) for name in vectors if name.endswith("._v"))


@pytest.mark.parametrize("kind", ["linear", "batchnorm-linear"])
def test_behind_a_noisy_layer_the_teacher_takes_its_images_for_the_classes_of_their_embeddings(
    kind: NoisyLayer,
) -> None:
    method = Nayer(inversion_steps=60, bank_images=20, bn_weight=0, adv_weight=0, noisy_layer=kind)
    (party, _), student = built(method)
    party.begin_iteration(0, student.as_critic(0))
    seen: list[float] = []
    original = party.meter.add

    def add(values: dict[str, Tensor], prefix: str = "") -> None:
        seen.append(float(values["ice"]))
        original(values, prefix)

    party.meter.add = add  # type: ignore[assignment, method-assign]
    party.update_generator()
    assert len(seen) == 60
    assert all(math.isfinite(one) for one in seen)
    assert sum(seen[-10:]) < sum(seen[:10]) - 0.5


@pytest.mark.parametrize("sampling", ["batch", "running"])
def test_a_file_of_the_generator_holds_all_that_decides_its_images(tmp_path: Path, sampling: str) -> None:
    layout = GeneratorSettings(layout="nayer", latent_dim=8, sampling=sampling)  # type: ignore[arg-type]
    (party, _), _ = built(Dfmf(), generator=layout)
    for step in range(3):
        party.warm_up_step(step)
    state = {name: one.contiguous() for name, one in party.generator.state_dict().items()}
    save_file(state, tmp_path / "generator.safetensors")
    read = load_file(tmp_path / "generator.safetensors")
    assert sum(name.endswith(("._u", "._v")) for name in read) == 6
    made = settings(generator=layout)
    whole, again = (held_out_images([one], [SPEC], made) for one in (state, read))
    assert torch.equal(whole, again)
    assert len(whole.unique(dim=0)) > 256


def test_a_preview_changes_nothing() -> None:
    (party, _), _ = built(Dfmf())
    party.warm_up_step(0)
    before = party.state()
    first, second = party.preview(), party.preview()
    assert torch.equal(first, second)
    assert different(party.state(), before) == []


def test_it_learns_in_bfloat16() -> None:
    (party, _), _ = built(Dfmf(), compute=Compute(precision="bfloat16"))
    party.warm_up_step(0)
    party.begin_iteration(0)
    images = party.synthesize()
    assert images.dtype == torch.float32
    assert bool(images.isfinite().all())
    assert {one.dtype for one in party.generator.buffers()} == {torch.float32, torch.int64}
