"""The student: distils all teachers on the union of all parties' images."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusion.augmentation import Augmentation, augment
from fusion.compute import Compute
from fusion.critics import Critics, Weights
from fusion.label_spaces import LabelSpace, at_columns, union_distillation
from fusion.labelling import label
from fusion.losses import confidence_weights, disagreements
from fusion.meter import Meter
from fusion.method import Method
from fusion.networks import Classifier, Prediction, frozen
from fusion.objective import Term, total, unweighted
from fusion.schedule import Optimisation, Schedule, cosine_lr, set_lr
from fusion.seeding import random_stream
from fusion.state import State, put_state, take_state
from fusion.vid import Vid, vid_losses


class Student:
    """Lines 23-29 of Algorithm 1.

    `teachers` label the union batch in `update`; without them somebody else has to, and `learn` is called.
    """

    def __init__(
        self,
        *,
        classifier: Classifier,
        teachers: Sequence[Classifier],
        names: Sequence[str],
        weights: Sequence[float],
        confident: bool,
        space: LabelSpace,
        vids: Sequence[Vid],
        method: Method,
        schedule: Schedule,
        optimisation: Optimisation,
        augmentation: Augmentation,
        compute: Compute,
        seed: int,
        device: torch.device,
    ) -> None:
        self.compute = compute
        self.learner = Learner(classifier, vids, method, space, confident)
        self.space = space
        self.teachers = [frozen(teacher) for teacher in teachers]
        self.names = list(names)
        self.weights = list(weights)
        for module in (classifier, self.learner.vids, *self.teachers):
            compute.place(module, device)
        self.method = method
        self.critics = Critics(method.lag or 0)
        self.schedule = schedule
        self.augmentation = augmentation
        self.seed = seed
        self.device = device
        self.meter = Meter()
        self.lr = optimisation.student_lr
        self.optimiser = optimisation.learner(self.learner.parameters(), self.lr)
        self.forward: nn.Module = self.learner
        """`learner`, or what shares its work out over processes (`fusion.data_parallel`)."""
        self.seen: Tensor | None = None
        """The last union batch as the parties gave it."""
        self._view = self.view(0)

    @property
    def classifier(self) -> Classifier:
        """The student itself."""
        return self.learner.classifier

    def view(self, iteration: int) -> "View":
        """How the union batches of `iteration` (from 0) are looked at; does not depend on what was learnt."""
        return View(self, iteration)

    def begin_iteration(self, iteration: int) -> None:
        """Set the learning rate of `iteration` (from 0) of the main phase, and how its images are seen; keep
        what a critic that lags behind will need."""
        self.learner.train()
        self.critics.keep(iteration, self.classifier.network)
        self._view = self.view(iteration)
        set_lr(self.optimiser, cosine_lr(self.lr, iteration, self.schedule.iterations))

    def update(self, images: Tensor) -> None:
        """Line 28 on a union batch, the parties' images one after the other: [K share, channels, size,
        size]."""
        self.seen = images
        images, chosen = self._view.look(images)
        self.learn(images, {index: label(self.teachers[index], images, self.compute) for index in chosen})

    def learn(self, images: Tensor, targets: Mapping[int, Prediction]) -> None:
        """Eq. (1) on augmented images and what the teachers, by index, say of them.

        The weights w_k of the teachers that were asked are made to sum to one.
        """
        total_weight = sum(self.weights[index] for index in targets)
        weights = {index: self.weights[index] / total_weight for index in targets}
        with self.compute.autocast(self.device):
            values, logits = self.forward(images, targets, weights)
        objective = {"distill": Term(self.method.distill_weight, values["distill"])}
        for index, weight in weights.items():
            if index in values:
                objective[f"{self.names[index]}/vid"] = Term(self.method.beta * weight, values[index])
        self.optimiser.zero_grad(set_to_none=True)
        total(objective).backward()
        self.optimiser.step()
        self.meter.add(unweighted(objective), "student/")
        self._note_disagreement(targets, logits.detach())
        if self.learner.confident:
            self._note_weights(targets, weights)

    def as_critic(self, iteration: int) -> Weights | None:
        """The state of the network that judges the generators in `iteration` (from 0), where the method has
        the student do that; not copied. To be called when all iterations before it are learnt."""
        if self.method.lag is None:
            return None
        return self.critics.of(iteration, self.classifier.network)

    def modules(self) -> dict[str, nn.Module]:
        """What the student trains, by role."""
        return {"student": self.classifier.network, "vids": self.learner.vids}

    def state(self) -> State:
        """Everything that training has changed; between two iterations it decides all that follows."""
        own = take_state({"learner": self.learner}, {"optimiser": self.optimiser})
        return own | self.critics.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Be as the student was whose `state` this is.

        Raises:
            ValueError: it was another student's.
        """
        own = self.critics.restore(state)
        put_state(own, {"learner": self.learner}, {"optimiser": self.optimiser})

    def _note_disagreement(self, targets: Mapping[int, Prediction], student_logits: Tensor) -> None:
        """Eq. (5) with the student as critic, on each party's own images and classes; only for the log (the
        paper's Fig. 4)."""
        share = len(student_logits) // len(self.names)
        alike: dict[tuple[int, ...], list[int]] = {}
        for index in targets:
            alike.setdefault(self.space.columns[index], []).append(index)
        for columns, members in alike.items():
            said = [targets[index].logits.narrow(0, index * share, share) for index in members]
            critic = at_columns(student_logits, columns).split(share)
            judged = [critic[index] for index in members]
            values = disagreements(torch.stack(said), torch.stack(judged), tau=self.method.tau)
            for index, value in zip(members, values, strict=True):
                self.meter.add({f"student/{self.names[index]}/adv": value})

    def _note_weights(self, targets: Mapping[int, Prediction], weights: Mapping[int, float]) -> None:
        """The batch's mean of each teacher's weights; only for the log."""
        mixing = confidence_weights([one.logits for one in targets.values()], list(weights.values()))
        for index, weight in zip(targets, mixing, strict=True):
            self.meter.add({f"student/{self.names[index]}/weight": weight.mean()})


class Learner(nn.Module):
    """What the student trains, as one module: the classifier and a VID part for every teacher.

    With `confident` the teachers' weights in the first term of Eq. (1) are those of `confidence_weights`.
    """

    def __init__(
        self,
        classifier: Classifier,
        vids: Sequence[Vid],
        method: Method,
        space: LabelSpace,
        confident: bool,
    ) -> None:
        super().__init__()
        self.space, self.confident = space, confident
        self.classifier = classifier
        self.vids = nn.ModuleList(vids)
        self.tau, self.with_vid = method.tau, method.beta > 0

    def forward(
        self, images: Tensor, targets: Mapping[int, Prediction], weights: Mapping[int, float]
    ) -> tuple[dict[int | str, Tensor], Tensor]:
        """The terms of Eq. (1), `distill` and by index each teacher's VID, and the student's logits."""
        prediction = self.classifier(images)
        logits = {index: target.logits for index, target in targets.items()}
        mixing: Sequence[float | Tensor] = list(weights.values())
        if self.confident:
            mixing = confidence_weights(list(logits.values()), list(weights.values()))
        distill = union_distillation(logits, prediction.logits, mixing, self.space, tau=self.tau)
        values: dict[int | str, Tensor] = {"distill": distill}
        if self.with_vid:
            vids: list[Any] = [self.vids[index] for index in targets]
            maps = [target.features for target in targets.values()]
            values.update(zip(targets, vid_losses(vids, prediction.features, maps), strict=True))
        return values, prediction.logits


class View:
    """How the student looks at the union batches of one iteration: augmentation, and which teachers it asks.

    Drawn from the iteration's own streams, so it can be known before the iteration before is learnt.
    """

    def __init__(self, student: Student, iteration: int) -> None:
        self._device = student.device
        self._augmentation = student.augmentation
        self._draws = random_stream(student.device, student.seed, "augmentation", iteration)
        self._teachers = [index for index, weight in enumerate(student.weights) if weight > 0]
        self._asked = student.schedule.labellers(len(self._teachers))
        self._choice = random_stream(torch.device("cpu"), student.seed, "teachers", iteration)

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[Tensor, list[int]]:
        """The next union batch, augmented, and the indices of the teachers that are to label it."""
        images = augment(images.to(self._device), self._augmentation, self._draws)
        images = images.clone(memory_format=torch.contiguous_format)  # As they are when others label them.
        if self._asked == len(self._teachers):
            return images, self._teachers
        order = torch.randperm(len(self._teachers), generator=self._choice)[: self._asked]
        return images, sorted(self._teachers[position] for position in order.tolist())
