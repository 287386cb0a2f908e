"""How often what is updated (Algorithm 1), and with which optimiser (Section 4.1)."""

import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import nn

from fusion.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Settings):
    """The counts of Algorithm 1. The defaults are the paper's."""

    warmup_epochs: int = setting(
        50, "N_warm-up: epochs that train the generators alone, without a critic.", at_least=0
    )
    epochs: int = setting(200, "N: epochs of the main phase.", at_least=1)
    iterations_per_epoch: int = setting(400, "M: iterations in an epoch.", at_least=1)
    m_ga: int = setting(
        5, "M_GA: assistant updates in an iteration, of a method with assistants.", at_least=1
    )
    m_s: int = setting(10, "M_S: student updates in an iteration.", at_least=1)
    batch_size: int = setting(
        256,
        "B: images in a generator's and an assistant's batch; the student's union batch takes floor(B / K) "
        "from each of the K parties.",
        at_least=2,
    )
    teachers_per_batch: int | None = setting(
        None,
        "How many teachers, drawn anew for each batch, label it for the student; empty: all K, as in the "
        "paper. For many parties.",
        at_least=1,
    )

    @property
    def warmup_steps(self) -> int:
        """Generator updates in the warm-up."""
        return self.warmup_epochs * self.iterations_per_epoch

    @property
    def iterations(self) -> int:
        """Iterations of the main phase."""
        return self.epochs * self.iterations_per_epoch

    def share(self, num_parties: int) -> int:
        """b, Algorithm 1, line 2: images of one party in the student's batch.

        Raises:
            ValueError: the batch cannot be split over so many parties.
        """
        if self.batch_size < num_parties:
            raise ValueError(f"batch_size {self.batch_size} cannot be split over {num_parties} parties")
        return self.batch_size // num_parties

    def labellers(self, num_parties: int) -> int:
        """Teachers that label a batch."""
        return min(num_parties, self.teachers_per_batch or num_parties)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimisation(Settings):
    """Learning rates and momenta. The defaults are the paper's."""

    student_lr: float = setting(
        0.05, "Initial learning rate of the student: SGD, Nesterov, cosine to zero.", above=0
    )
    assistant_lr: float = setting(
        0.05, "Initial learning rate of the assistants: SGD, Nesterov, cosine to zero.", above=0
    )
    momentum: float = setting(0.9, "Nesterov momentum of the student and the assistants.", above=0, below=1)
    generator_lr: float = setting(1e-3, "Learning rate of the generators: Adam, constant.", above=0)
    generator_beta1: float = setting(0.5, "Adam's first momentum for the generators.", at_least=0, below=1)
    weight_decay: float = setting(
        0.0, "Weight decay of the student and the assistants; the paper names none.", at_least=0
    )

    def learner(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.SGD:
        """The optimiser of a student or an assistant."""
        optimiser = torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            fused=True,
        )
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                # What the first step would make of nothing; the fused kernel wants all or none, but the
                # regressors of teachers that a batch does not ask have no gradient yet.
                optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimiser

    def generator(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """The optimiser of a generator."""
        return torch.optim.Adam(
            parameters, lr=self.generator_lr, betas=(self.generator_beta1, 0.999), fused=True
        )


def cosine_lr(initial: float, iteration: int, iterations: int) -> float:
    """The learning rate in `iteration` (from 0) of `iterations`: from `initial` towards zero along half a
    cosine."""
    return 0.5 * initial * (1.0 + math.cos(math.pi * iteration / iterations))


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from the next update on."""
    for group in optimiser.param_groups:
        group["lr"] = lr
