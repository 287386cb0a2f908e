import torch

from fusion.methods import METHODS, Dfmf, Synthesis
from fusion.objective import total, unweighted

SYNTHESIS = Synthesis(
    teacher_logits=torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
    bn_divergences=[torch.tensor([1.0, 3.0])],
    critic_logits=torch.tensor([[1.0, 0.0], [0.0, 3.0]]),
)


def test_table_1_of_the_paper_names_dfmfs_terms() -> None:
    assert set(METHODS["dfmf"]().generator_objective(SYNTHESIS)) == {"bn", "ice", "bce", "adv"}
    assert set(METHODS["dfmf"]().warmup_objective(SYNTHESIS)) == {"bn", "ice", "bce"}


def test_equation_6_weighs_fidelity_with_alpha_and_the_log_does_not() -> None:
    method = Dfmf(alpha=0.3)
    fidelity = total(method.warmup_objective(SYNTHESIS))
    objective = method.generator_objective(SYNTHESIS)
    torch.testing.assert_close(total(objective), objective["adv"].value + 0.3 * fidelity)
    assert unweighted(objective)["bn"] == 4.0


def test_a_teacher_without_batch_norm_has_no_bn_term() -> None:
    bare = Synthesis(
        teacher_logits=SYNTHESIS.teacher_logits, bn_divergences=[], critic_logits=SYNTHESIS.critic_logits
    )
    assert set(Dfmf().generator_objective(bare)) == {"ice", "bce", "adv"}


def test_tau_squared_scales_the_learners_divergence() -> None:
    assert Dfmf(tau=3.0, distill_scale="tau_squared").distill_weight == 9.0
    assert Dfmf(tau=3.0, distill_scale="one").distill_weight == 1.0
