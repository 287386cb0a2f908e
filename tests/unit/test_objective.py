"""What each method's generators minimise: Table 1 of the paper, and every objective against NumPy."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.losses import agreeing_adversarial
from fusion.method import Critic
from fusion.methods import (
    METHODS,
    AdaptiveDeepInversion,
    Cmi,
    CmiGa,
    Dafl,
    DeepInversion,
    Dfmf,
    Dfq,
    DfqNoAdv,
    Fast,
    Method,
    Nayer,
    Synthesis,
    Zskt,
)
from fusion.objective import total, unweighted

STREAM = torch.Generator().manual_seed(0)


def unit(vectors: Tensor) -> Tensor:
    """Each of length one."""
    return vectors / vectors.norm(dim=1, keepdim=True)


LOGITS = 3 * torch.randn(6, 4, generator=STREAM)
SYNTHESIS = Synthesis(
    teacher_logits=LOGITS,
    teacher_features=torch.randn(6, 5, 2, 2, generator=STREAM),
    bn_divergences=[torch.tensor([1.0, 3.0]), torch.tensor([0.5])],
    critic_logits=LOGITS + 3 * torch.randn(6, 4, generator=STREAM),
    labels=torch.randint(4, (6,), generator=STREAM),
    inputs=torch.randn(6, 2, 4, 4, generator=STREAM),
    views=(unit(torch.randn(9, 3, generator=STREAM)), unit(torch.randn(9, 3, generator=STREAM))),
)

TABLE_1: dict[str, tuple[set[str], Critic]] = {
    "zskt": ({"adv"}, "student"),
    "dafl": ({"ice", "bce", "act"}, "none"),
    "dfq_no_adv": ({"bn", "ice", "bce"}, "none"),
    "dfq": ({"bn", "ice", "bce", "adv"}, "student"),
    "dfmf": ({"bn", "ice", "bce", "adv"}, "assistant"),
    "cmi": ({"bn", "ice", "adv", "cr"}, "student"),
    "cmi_ga": ({"bn", "ice", "adv", "cr"}, "assistant"),
    "deepinversion": ({"bn", "ice", "tv", "l2"}, "none"),
    "adaptive_deepinversion": ({"bn", "ice", "tv", "l2", "compete"}, "student"),
    "nayer": ({"bn", "ice", "adv"}, "student"),
    "fast": ({"bn", "ice", "adv"}, "student"),
}
"""The paper's ticks; that in the column GA is the critic. The last four are not in its table."""


SYNTHESISING = [name for name, method in METHODS.items() if method.data_free]


@pytest.mark.parametrize("name", SYNTHESISING)
def test_table_1_of_the_paper_names_the_terms_and_the_critic(name: str) -> None:
    method = METHODS[name]()
    terms, critic = TABLE_1[name]
    assert set(method.generator_objective(SYNTHESIS)) == terms
    assert (method.name, method.critic) == (name, critic)
    assert bool(terms & {"adv", "compete"}) == (critic != "none")
    if method.warmup_loss is not None:
        assert set(method.warmup_objective(SYNTHESIS)) == terms - {"adv"}  # Nobody has learnt anything yet.


def test_every_method_of_table_1_that_is_here_is_in_the_table() -> None:
    assert set(SYNTHESISING) == set(TABLE_1)


def test_the_settings_that_decide_a_warm_up_are_the_methods_own() -> None:
    for method in METHODS.values():
        own = {field.name for field in dataclasses.fields(method)}
        assert set(method.warmup_settings) <= own
        assert (method.warmup_loss is None) <= (method.warmup_settings == ())


def test_the_critic_agrees_with_the_teacher_on_some_of_the_images_here() -> None:
    assert SYNTHESIS.critic_logits is not None
    agree = SYNTHESIS.critic_logits.argmax(dim=1) == LOGITS.argmax(dim=1)
    assert 0 < int(agree.sum()) < 6


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def variation(images: NDArray[np.float64]) -> float:
    """R_TV, a pair of neighbours at a time."""
    size, total = images.shape[-1], 0.0
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        squares = 0.0
        for row in range(size):
            for column in range(size):
                if row + down < size and 0 <= column + right < size:
                    pair = images[:, :, row + down, column + right] - images[:, :, row, column]
                    squares += float(np.sum(pair**2))
        total += math.sqrt(squares)
    return total


def by_hand(tau: float) -> dict[str, float]:
    """All terms of `SYNTHESIS` in NumPy."""
    assert SYNTHESIS.teacher_features is not None
    assert SYNTHESIS.critic_logits is not None
    logits, critic = (one.double().numpy() for one in (SYNTHESIS.teacher_logits, SYNTHESIS.critic_logits))
    p = softmax(logits)
    soft_teacher, soft_critic = softmax(logits / tau), softmax(critic / tau)
    pooled = SYNTHESIS.teacher_features.double().numpy().mean(axis=(2, 3))
    mean = p.mean(axis=0)
    assert SYNTHESIS.labels is not None
    assert SYNTHESIS.inputs is not None
    x = SYNTHESIS.inputs.double().numpy()
    divergences = np.sum(soft_teacher * np.log(soft_teacher / soft_critic), axis=1)
    middle = (soft_teacher + soft_critic) / 2
    to_middle = [np.sum(one * np.log(one / middle), axis=1) for one in (soft_teacher, soft_critic)]
    assert SYNTHESIS.views is not None
    local, whole = (one.double().numpy() for one in SYNTHESIS.views)
    told = -np.log(np.diag(softmax(local @ whole.T / 0.5)))
    return {
        "label": float(np.mean(-np.log(p[np.arange(6), SYNTHESIS.labels.numpy()]))),
        "agreeing": -float(np.mean(divergences * (logits.argmax(axis=1) == critic.argmax(axis=1)))),
        "cr": float(np.mean(told[:6]) + np.mean(told[6:])),
        "tv": variation(x),
        "l2": math.sqrt(float(np.sum(x**2))),
        "adv": -float(np.mean(divergences)),
        "compete": 1 - float(np.mean(0.5 * (to_middle[0] + to_middle[1]))),
        "ice": float(np.mean(-np.sum(p * np.log(p), axis=1))),
        "one_hot": float(np.mean(-np.log(p.max(axis=1)))),
        "bce": float(np.sum(mean * np.log(mean))),
        "bn": 4.5,
        "act": -float(np.mean(np.abs(pooled))),
    }


def test_every_methods_objective_is_its_equation() -> None:
    terms = by_hand(tau=2.0)
    fidelity = terms["bn"] + terms["ice"] + terms["bce"]
    expected: dict[Method, float] = {
        Dfmf(alpha=0.3, tau=2.0): terms["adv"] + 0.3 * fidelity,
        Dfq(alpha=0.3, tau=2.0): terms["adv"] + 0.3 * fidelity,
        DfqNoAdv(tau=2.0): fidelity,
        Dafl(tau=2.0): terms["one_hot"] + 5.0 * terms["bce"] + 0.1 * terms["act"],
        Dafl(instance_loss="entropy", batch_entropy_weight=2.0, activation_weight=0.0): (
            terms["ice"] + 2.0 * terms["bce"]
        ),
        Zskt(tau=2.0): terms["adv"],
        Fast(tau=2.0): 10 * terms["bn"] + 0.5 * terms["label"] + 1.33 * terms["agreeing"],
        Nayer(tau=2.0): 10 * terms["bn"] + 0.5 * terms["label"] + 1.33 * terms["agreeing"],
        DeepInversion(): terms["label"] + 100 * terms["bn"] + 2.5e-5 * terms["tv"] + 3e-8 * terms["l2"],
        DeepInversion(bn_weight=0.5, tv_weight=2.0, l2_weight=3.0): (
            terms["label"] + 0.5 * terms["bn"] + 2.0 * terms["tv"] + 3.0 * terms["l2"]
        ),
        AdaptiveDeepInversion(tau=2.0, bn_weight=0.5, tv_weight=2.0, l2_weight=3.0, compete_weight=7.0): (
            terms["label"]
            + 0.5 * terms["bn"]
            + 2.0 * terms["tv"]
            + 3.0 * terms["l2"]
            + 7.0 * terms["compete"]
        ),
        AdaptiveDeepInversion(compete_weight=0.0): float(
            total(DeepInversion().generator_objective(SYNTHESIS))
        ),
    }
    contrasting: list[Method] = [one(tau=2.0, contrast_temperature=0.5) for one in (Cmi, CmiGa)]
    inverted = terms["bn"] + 0.5 * terms["label"] + 0.5 * terms["agreeing"] + 0.8 * terms["cr"]
    expected |= dict.fromkeys(contrasting, inverted)
    for method, value in expected.items():
        assert float(total(method.generator_objective(SYNTHESIS))) == pytest.approx(value, rel=1e-5), method
    warm = {Dfmf(): fidelity, Dfq(): fidelity, DfqNoAdv(): fidelity}
    for method, value in warm.items():
        assert float(total(method.warmup_objective(SYNTHESIS))) == pytest.approx(value, rel=1e-5), method


def test_an_adversary_gains_by_disagreement_and_nothing_by_agreement() -> None:
    for method in (Dfmf(), Dfq(), Zskt(), Cmi(), CmiGa(), Nayer(), Fast()):
        agreeing = dataclasses.replace(SYNTHESIS, critic_logits=SYNTHESIS.teacher_logits)
        assert method.generator_objective(agreeing)["adv"].value == pytest.approx(0.0, abs=1e-6)
        assert method.generator_objective(SYNTHESIS)["adv"].value < -0.01


def test_the_adversary_of_cmi_may_have_a_temperature_of_its_own() -> None:
    assert SYNTHESIS.critic_logits is not None
    for method in (Cmi(tau=20.0, adv_tau=1.5), CmiGa(tau=20.0, adv_tau=1.5)):
        expected = agreeing_adversarial(SYNTHESIS.teacher_logits, SYNTHESIS.critic_logits, tau=1.5)
        assert expected < -0.01
        torch.testing.assert_close(method.generator_objective(SYNTHESIS)["adv"].value, expected)


def test_a_competition_gains_by_disagreement_and_nothing_by_agreement() -> None:
    agreeing = dataclasses.replace(SYNTHESIS, critic_logits=SYNTHESIS.teacher_logits)
    method = AdaptiveDeepInversion()
    assert method.generator_objective(agreeing)["compete"].value == pytest.approx(1.0, abs=1e-6)
    assert method.generator_objective(SYNTHESIS)["compete"].value < 0.99


def test_equation_6_weighs_fidelity_with_alpha_and_the_log_does_not() -> None:
    for method in (Dfmf(alpha=0.3), Dfq(alpha=0.3)):
        fidelity = total(method.warmup_objective(SYNTHESIS))
        objective = method.generator_objective(SYNTHESIS)
        torch.testing.assert_close(total(objective), objective["adv"].value + 0.3 * fidelity)
        assert unweighted(objective)["bn"] == 4.5


def test_a_teacher_without_batch_norm_has_no_bn_term() -> None:
    bare = dataclasses.replace(SYNTHESIS, bn_divergences=[])
    assert set(Dfmf().generator_objective(bare)) == {"ice", "bce", "adv"}
    assert set(DfqNoAdv().warmup_objective(bare)) == {"ice", "bce"}
    assert set(DeepInversion().generator_objective(bare)) == {"ice", "tv", "l2"}


def test_tau_squared_scales_the_learners_divergence() -> None:
    for method in METHODS.values():
        assert method(tau=3.0, distill_scale="tau_squared").distill_weight == 9.0
        assert method(tau=3.0, distill_scale="one").distill_weight == 1.0


def test_dafls_published_code_has_its_batch_entropy_in_decimal_logarithms() -> None:
    mean = torch.softmax(SYNTHESIS.teacher_logits, dim=1).mean(dim=0)
    published = 5.0 * (mean * torch.log10(mean)).sum()
    term = Dafl(batch_entropy_weight=5.0 / math.log(10)).generator_objective(SYNTHESIS)["bce"]
    torch.testing.assert_close(term.weight * term.value, published)
