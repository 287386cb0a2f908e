"""A party: a frozen teacher, what synthesises images that imitate its data, and the critic that the method
gives that: in DFMF a generator, and the assistant that mimics the teacher."""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fusion.batchnorm import BnWatch
from fusion.compute import Compute
from fusion.generator import Generator
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
from fusion.synthesiser import Generative, Synthesiser
from fusion.vid import Vid

METER = "meter/"
"""What the names of loss terms begin with that a state within an epoch of the warm-up holds."""


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
        synthesiser: Synthesiser,
        method: Method,
        schedule: Schedule,
        optimisation: Optimisation,
        compute: Compute,
        seed: int,
        device: torch.device,
    ) -> None:
        """`critic` is the assistant, with its `vid`, or room for the student's weights, or nobody, as the
        method says; `columns` are the places of the teacher's classes among the critic's."""
        self.index = index
        self.share = share
        self.compute = compute
        self.teacher, self.critic, self.vid, self.synthesiser = frozen(teacher), critic, vid, synthesiser
        self.watched_teacher = BnWatch(self.teacher, method.bn_divergence, method.bn_memory)
        for module in (self.teacher, self.watched_teacher, critic, vid):
            if module is not None:
                compute.place(module, device)
        self.columns = list(columns)
        self.method = method
        self.schedule = schedule
        self.seed = seed
        self.device = device
        self.meter = Meter()
        self.updates = 0
        """Of any of its networks, so far."""
        self.assistant_lr = optimisation.assistant_lr
        self.assistant_optimiser: Optimizer | None = None
        if vid is not None:
            self.assistant_optimiser = optimisation.learner(
                [*self.assistant.parameters(), *vid.parameters()], self.assistant_lr
            )
        self._noise = random_stream(device, seed, "noise", index)
        self._trains = False

    @property
    def generator(self) -> Generator:
        """That of a method that trains one all along."""
        assert isinstance(self.synthesiser, Generative)
        return self.synthesiser.generator

    @property
    def assistant(self) -> Classifier:
        """The critic of a method with assistants."""
        assert self.critic is not None
        assert self.method.critic == "assistant"
        return self.critic

    def warm_up_step(self, step: int) -> None:
        """Lines 6-7 for the `step`-th time, from 0."""
        self._noise = random_stream(self.device, self.seed, "warm-up", self.index, step)

        def minimise(synthesis: Synthesis, *optimisers: Optimizer) -> Tensor:
            return self._minimise(self.method.warmup_objective(synthesis), optimisers, "warmup/")

        self.synthesiser.update(self._noise, self._examine_unjudged, minimise)

    def begin_iteration(self, iteration: int, student: Mapping[str, Tensor] | None = None) -> None:
        """Set the noise stream and the assistant's learning rate of `iteration` (from 0) of the main phase.

        `student` is the state of the student's network that is to judge in `iteration`, where the student is
        the critic (`Student.as_critic`).
        """
        self._noise = random_stream(self.device, self.seed, "noise", self.index, iteration)
        self._trains = self.method.trains_in(iteration)
        if self.assistant_optimiser is not None:
            lr = cosine_lr(self.assistant_lr, iteration, self.schedule.iterations)
            set_lr(self.assistant_optimiser, lr)
        if self.method.critic == "student":
            assert self.critic is not None
            assert student is not None
            self.critic.network.load_state_dict(student)

    def update_generator(self) -> None:
        """Lines 14-15, of a method that trains generators in this iteration. The gradient flows to the
        images through the teacher and through the critic."""

        def minimise(synthesis: Synthesis, *optimisers: Optimizer) -> Tensor:
            return self._minimise(self.method.generator_objective(synthesis), optimisers, "generator/")

        if self._trains:
            self.synthesiser.update(self._noise, self._examine, minimise)
            if self.watched_teacher.memory is not None:
                self.watched_teacher.memory.end_batch()

    def update_assistant(self) -> None:
        """Lines 19-20: Eq. (2) on a fresh batch of the party's own images, of a method with assistants."""
        if self.vid is None or self.assistant_optimiser is None:
            return
        self.assistant.train()
        with torch.no_grad():
            images = self.synthesiser.sample(self.schedule.batch_size, self._noise)
        target = self.label(images)
        with self.compute.autocast(self.device):
            prediction = self.assistant(images)
            divergence = soft_label_kl(target.logits, prediction.logits, tau=self.method.tau)
            objective = {"distill": Term(self.method.distill_weight, divergence)}
            if self.method.beta > 0:
                objective["vid"] = Term(self.method.beta, self.vid(prediction.features, target.features))
        self._minimise(objective, [self.assistant_optimiser], "assistant/")

    def label(self, images: Tensor) -> Prediction:
        """What the teacher says of images [batch, channels, size, size]: its part of Eqs. (1) and (2)."""
        return label(self.teacher, images.to(self.device), self.compute)

    @torch.no_grad()
    def synthesize(self) -> Tensor:
        """Lines 25-26: this party's images [share, channels, size, size] for one union batch."""
        # Which of PyTorch's kernels run depends on strides, so images that travel have them in one way only.
        images = self.synthesiser.sample(self.share, self._noise)
        return images.clone(memory_format=torch.contiguous_format)

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
        """Images to look at, always of the same draws; the party's state and its streams stay as they are."""
        return self.synthesiser.preview(count, random_stream(self.device, self.seed, "preview", self.index))

    def modules(self) -> dict[str, nn.Module]:
        """What this party trains, by role."""
        own = self.synthesiser.modules()
        if self.watched_teacher.memory is not None:
            own = own | {"bn_memory": self.watched_teacher.memory}
        return own if self.vid is None else own | {"assistant": self.assistant.network, "vid": self.vid}

    def state(self) -> State:
        """Everything that training has changed; between two iterations it decides all that follows."""
        meter = {METER + name: values for name, values in self.meter.state().items()}
        return take_state(self.modules(), self._optimisers()) | meter

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Be as the party was whose `state` this is.

        Raises:
            ValueError: it was another party's.
        """
        own = {name: value for name, value in state.items() if not name.startswith(METER)}
        put_state(own, self.modules(), self._optimisers())
        meter = {name.removeprefix(METER): state[name] for name in state.keys() - own.keys()}
        self.meter.restore(meter, self.device)

    def _optimisers(self) -> dict[str, Optimizer]:
        own = self.synthesiser.optimisers()
        assistant = self.assistant_optimiser
        return own if assistant is None else own | {"assistant_optimiser": assistant}

    def _examine_unjudged(self, images: Tensor) -> Synthesis:
        """What the teacher says of images; gradients flow to them."""
        with self.compute.autocast(self.device):
            prediction, divergences = self.watched_teacher(images)
        return Synthesis(
            teacher_logits=prediction.logits,
            teacher_features=prediction.features,
            bn_divergences=divergences,
        )

    def _examine(self, images: Tensor) -> Synthesis:
        """What the teacher and the critic say of images; gradients flow to them."""
        synthesis = self._examine_unjudged(images)
        with self.compute.autocast(self.device):
            return dataclasses.replace(synthesis, critic_logits=self._judge(images))

    def _judge(self, images: Tensor) -> Tensor | None:
        """The critic's logits of the teacher's classes; gradients flow to the images alone."""
        if self.critic is None:
            return None
        assert isinstance(self.method, Judged)
        self.critic.train(self.method.critic_mode == "train")
        trained = [one for one in self.critic.parameters() if one.requires_grad]  # Some networks fix some.
        for parameter in trained:
            parameter.requires_grad_(False)
        logits = self.critic(images).logits
        for parameter in trained:
            parameter.requires_grad_(True)
        return at_columns(logits, self.columns)

    def _minimise(self, objective: Objective, optimisers: Sequence[Optimizer], prefix: str) -> Tensor:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss = total(objective)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        self.updates += 1
        self.meter.add(unweighted(objective), prefix)
        return loss.detach()
