"""A party: a frozen teacher, the generator that learns to imitate its data, and the critic that the
method gives the generator: in DFMF the assistant that mimics the teacher."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.batchnorm import BnWatch
from fusion.compute import Compute
from fusion.generator import Generator, GeneratorSettings
from fusion.label_spaces import at_columns
from fusion.labelling import label
from fusion.losses import soft_label_kl
from fusion.meter import Meter
from fusion.method import Judged, Method, Synthesis
from fusion.networks import Classifier, Prediction, frozen
from fusion.objective import Objective, Term, total, unweighted
from fusion.schedule import Optimisation, Schedule, cosine_lr, set_lr
from fusion.seeding import random_stream
from fusion.state import State, put_state, take_state
from fusion.vid import Vid


class Party:
    """Lines 4-9 and 13-22 of Algorithm 1 for one k, and its share of lines 24-27.

    Nothing here looks at another party or, unless the method's critic is the student, at the student: the
    images are a function of the teacher, the settings and the seed. The noise of an iteration comes from a
    stream of its own, so an iteration can be drawn again.
    """

    def __init__(
        self,
        *,
        index: int,
        share: int,
        teacher: Classifier,
        critic: Classifier | None,
        columns: Sequence[int],
        vid: Vid | None,
        generator: Generator,
        method: Method,
        schedule: Schedule,
        optimisation: Optimisation,
        generator_settings: GeneratorSettings,
        compute: Compute,
        seed: int,
        device: torch.device,
    ) -> None:
        """`critic` is the assistant, with its `vid`, or room for the student's weights, or nobody, as the
        method says; `columns` are the places of the teacher's classes among the critic's."""
        self.index = index
        self.share = share
        self.compute = compute
        self.teacher, self.critic, self.vid, self.generator = frozen(teacher), critic, vid, generator
        self.watched_teacher = BnWatch(self.teacher)
        for module in (self.teacher, self.watched_teacher, critic, vid, generator):
            if module is not None:
                compute.place(module, device)
        self.columns = list(columns)
        self.method = method
        self.schedule = schedule
        self.settings = generator_settings
        self.seed = seed
        self.device = device
        self.meter = Meter()
        self.updates = 0
        """Of any of its networks, so far."""
        self.assistant_lr = optimisation.assistant_lr
        self.generator_optimiser = optimisation.generator(self.generator.parameters())
        self.assistant_optimiser: Optimizer | None = None
        if vid is not None:
            self.assistant_optimiser = optimisation.learner(
                [*self.assistant.parameters(), *vid.parameters()], self.assistant_lr
            )
        self._noise = random_stream(device, seed, "noise", index)

    @property
    def assistant(self) -> Classifier:
        """The critic of a method with assistants."""
        assert self.critic is not None
        assert self.method.critic == "assistant"
        return self.critic

    def warm_up_step(self, step: int) -> None:
        """Lines 6-7 for the `step`-th time, from 0."""
        self._noise = random_stream(self.device, self.seed, "warm-up", self.index, step)
        with self.compute.autocast(self.device):
            prediction, divergences = self.watched_teacher(self._images_to_train_on())
        objective = self.method.warmup_objective(_synthesis(prediction, divergences))
        self._minimise(objective, self.generator_optimiser, "warmup/")

    def begin_iteration(self, iteration: int, student: Mapping[str, Tensor] | None = None) -> None:
        """Set the noise stream and the assistant's learning rate of `iteration` (from 0) of the main phase.

        `student` is the state of the student's network that is to judge in `iteration`, where the student is
        the critic (`Student.as_critic`).
        """
        self._noise = random_stream(self.device, self.seed, "noise", self.index, iteration)
        if self.assistant_optimiser is not None:
            lr = cosine_lr(self.assistant_lr, iteration, self.schedule.iterations)
            set_lr(self.assistant_optimiser, lr)
        if self.method.critic == "student":
            assert self.critic is not None
            assert student is not None
            self.critic.network.load_state_dict(student)

    def update_generator(self) -> None:
        """Lines 14-15, of a method that trains generators here. The gradient flows to the images through the
        teacher and through the critic."""
        if not self.method.trains_generators:
            return
        with self.compute.autocast(self.device):
            images = self._images_to_train_on()
            prediction, divergences = self.watched_teacher(images)
            critic_logits = self._judge(images)
        objective = self.method.generator_objective(_synthesis(prediction, divergences, critic_logits))
        self._minimise(objective, self.generator_optimiser, "generator/")

    def update_assistant(self) -> None:
        """Lines 19-20: Eq. (2) on a fresh batch of the party's own images, of a method with assistants."""
        if self.vid is None or self.assistant_optimiser is None:
            return
        self.assistant.train()
        with torch.no_grad():
            images = self._synthesize(self.schedule.batch_size)
        target = self.label(images)
        with self.compute.autocast(self.device):
            prediction = self.assistant(images)
            divergence = soft_label_kl(target.logits, prediction.logits, tau=self.method.tau)
            objective = {"distill": Term(self.method.distill_weight, divergence)}
            if self.method.beta > 0:
                objective["vid"] = Term(self.method.beta, self.vid(prediction.features, target.features))
        self._minimise(objective, self.assistant_optimiser, "assistant/")

    def label(self, images: Tensor) -> Prediction:
        """What the teacher says of images [batch, channels, size, size]: its part of Eqs. (1) and (2)."""
        return label(self.teacher, images.to(self.device), self.compute)

    @torch.no_grad()
    def synthesize(self) -> Tensor:
        """Lines 25-26: this party's images [share, channels, size, size] for one union batch."""
        # Which of PyTorch's kernels run depends on strides, so images that travel have them in one way only.
        return self._synthesize(self.share).clone(memory_format=torch.contiguous_format)

    def step(self, iteration: int, student: Mapping[str, Tensor] | None = None) -> Tensor:
        """Everything that Algorithm 1 asks of this party in one iteration: lines 13-22, then its lines 25-26.

        `student` is as in `begin_iteration`. Returns the images of the M_S union batches, [M_S, share,
        channels, size, size].
        """
        self.begin_iteration(iteration, student)
        self.update_generator()
        for _ in range(self.schedule.m_ga):
            self.update_assistant()
        return torch.stack([self.synthesize() for _ in range(self.schedule.m_s)])

    @torch.no_grad()
    def preview(self, count: int = 64) -> Tensor:
        """Images to look at, always of the same noise; the generator's state and its streams stay as they
        are."""
        noise = torch.randn(
            count,
            self.settings.latent_dim,
            generator=random_stream(self.device, self.seed, "preview", self.index),
            device=self.device,
        )
        generator = copy.deepcopy(self.generator).train(self.settings.sampling == "batch")
        return generator(noise)  # type: ignore[no-any-return]

    def modules(self) -> dict[str, nn.Module]:
        """What this party trains, by role."""
        if self.vid is None:
            return {"generator": self.generator}
        return {"generator": self.generator, "assistant": self.assistant.network, "vid": self.vid}

    def state(self) -> State:
        """Everything that training has changed; between two iterations it decides all that follows."""
        return take_state(self.modules(), self._optimisers())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Be as the party was whose `state` this is.

        Raises:
            ValueError: it was another party's.
        """
        put_state(state, self.modules(), self._optimisers())

    def _optimisers(self) -> dict[str, Optimizer]:
        if self.assistant_optimiser is None:
            return {"generator_optimiser": self.generator_optimiser}
        return {
            "generator_optimiser": self.generator_optimiser,
            "assistant_optimiser": self.assistant_optimiser,
        }

    def _judge(self, images: Tensor) -> Tensor | None:
        """The critic's logits of the teacher's classes; gradients flow to the images alone."""
        if self.critic is None:
            return None
        assert isinstance(self.method, Judged)
        self.critic.train(self.method.critic_mode == "train").requires_grad_(False)
        logits = self.critic(images).logits
        self.critic.requires_grad_(True)
        return at_columns(logits, self.columns)

    def _draw(self, count: int) -> Tensor:
        return torch.randn(count, self.settings.latent_dim, generator=self._noise, device=self.device)

    def _images_to_train_on(self) -> Tensor:
        self.generator.train()
        return self.generator(self._draw(self.schedule.batch_size))  # type: ignore[no-any-return]

    def _synthesize(self, count: int) -> Tensor:
        self.generator.train(self.settings.sampling == "batch")
        with self.compute.autocast(self.device):
            return self.generator(self._draw(count))  # type: ignore[no-any-return]

    def _minimise(self, objective: Objective, optimiser: Optimizer, prefix: str) -> None:
        optimiser.zero_grad(set_to_none=True)
        total(objective).backward()
        optimiser.step()
        self.updates += 1
        self.meter.add(unweighted(objective), prefix)


def _synthesis(
    prediction: Prediction, divergences: list[Tensor], critic_logits: Tensor | None = None
) -> Synthesis:
    return Synthesis(
        teacher_logits=prediction.logits,
        teacher_features=prediction.features,
        bn_divergences=divergences,
        critic_logits=critic_logits,
    )
