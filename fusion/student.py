"""The student: distils all teachers on the union of all parties' images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion.augmentation import Augmentation, augment
from fusion.compute import Compute
from fusion.labelling import label
from fusion.losses import adversarial, distillation
from fusion.meter import Meter
from fusion.methods import Dfmf
from fusion.networks import Classifier, Prediction, frozen
from fusion.objective import Term, total, unweighted
from fusion.schedule import Optimisation, Schedule, cosine_lr, set_lr
from fusion.seeding import random_stream
from fusion.vid import Vid


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
        vids: Sequence[Vid],
        method: Dfmf,
        schedule: Schedule,
        optimisation: Optimisation,
        augmentation: Augmentation,
        compute: Compute,
        seed: int,
        device: torch.device,
    ) -> None:
        self.compute = compute
        self.classifier = classifier
        self.teachers = [frozen(teacher) for teacher in teachers]
        self.names = list(names)
        self.weights = list(weights)
        self.vids = nn.ModuleList(vids)
        for module in (classifier, self.vids, *self.teachers):
            compute.place(module, device)
        self.method = method
        self.schedule = schedule
        self.augmentation = augmentation
        self.seed = seed
        self.device = device
        self.meter = Meter()
        self.lr = optimisation.student_lr
        self.optimiser = optimisation.learner(
            [*self.classifier.parameters(), *self.vids.parameters()], self.lr
        )
        self.seen: Tensor | None = None
        """The last union batch as the parties gave it."""
        self._draws = random_stream(device, seed, "augmentation")

    def begin_iteration(self, iteration: int) -> None:
        """Set the augmentation's stream and the learning rate of `iteration` (from 0) of the main phase."""
        self._draws = random_stream(self.device, self.seed, "augmentation", iteration)
        set_lr(self.optimiser, cosine_lr(self.lr, iteration, self.schedule.iterations))

    def update(self, images: Tensor) -> None:
        """Line 28 on a union batch, the parties' images one after the other: [K share, channels, size,
        size]."""
        images = self.augment(images)
        self.learn(images, [label(teacher, images, self.compute) for teacher in self.teachers])

    @torch.no_grad()
    def augment(self, images: Tensor) -> Tensor:
        """A union batch as the teachers and the student look at it."""
        self.seen = images
        return augment(images.to(self.device), self.augmentation, self._draws)

    def learn(self, images: Tensor, targets: Sequence[Prediction]) -> None:
        """Eq. (1) on augmented images and what each teacher says of them."""
        self.classifier.train()
        logits = [target.logits for target in targets]
        with self.compute.autocast(self.device):
            prediction = self.classifier(images)
            divergence = distillation(logits, prediction.logits, self.weights, tau=self.method.tau)
            objective = {"distill": Term(self.method.distill_weight, divergence)}
            if self.method.beta > 0:
                for name, weight, vid, target in zip(
                    self.names, self.weights, self.vids, targets, strict=True
                ):
                    value = vid(prediction.features, target.features)
                    objective[f"{name}/vid"] = Term(self.method.beta * weight, value)
        self.optimiser.zero_grad(set_to_none=True)
        total(objective).backward()
        self.optimiser.step()
        self.meter.add(unweighted(objective), "student/")
        self._note_disagreement(logits, prediction.logits.detach())

    def modules(self) -> dict[str, nn.Module]:
        """What the student trains, by role."""
        return {"student": self.classifier.network, "vids": self.vids}

    def _note_disagreement(self, teacher_logits: Sequence[Tensor], student_logits: Tensor) -> None:
        """Eq. (5) with the student as critic, on each party's own images; only for the log (the paper's Fig.
        4)."""
        num_parties = len(self.names)
        for name, own, logits in zip(self.names, range(num_parties), teacher_logits, strict=True):
            share = logits.chunk(num_parties)[own], student_logits.chunk(num_parties)[own]
            self.meter.add({f"student/{name}/adv": adversarial(*share, tau=self.method.tau)})
