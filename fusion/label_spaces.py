"""Teachers that know different classes: all classes together, and what each teacher says in terms of them.

docs/label-spaces.md derives the formulas.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion.losses import distillation, log_of, mixture_log_probabilities


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """The union of the teachers' classes."""

    classes: tuple[str, ...]
    """In the order of the student's logits."""
    columns: tuple[tuple[int, ...], ...]
    """By teacher: where each of its classes, in its own order, stands among `classes`."""

    @property
    def common(self) -> bool:
        """Whether every teacher knows every class, in whatever order."""
        return all(len(own) == len(self.classes) for own in self.columns)


def label_space(known: Sequence[Sequence[str]], classes: Sequence[str] | None = None) -> LabelSpace:
    """The union of the classes that the teachers know, in the order of `classes` or else of first appearance.

    Raises:
        ValueError: `classes` are not those of the teachers.
    """
    union = tuple(dict.fromkeys(name for own in known for name in own))
    if classes is not None:
        if (twice := first_repeated(classes)) is not None:
            raise ValueError(f"{twice!r} stands twice")
        known_to_some, listed = set(union), set(classes)
        if unknown := [name for name in classes if name not in known_to_some]:
            raise ValueError(f"no teacher knows {unknown[0]!r}")
        if missing := [name for name in union if name not in listed]:
            raise ValueError(f"{missing[0]!r} is missing, which a teacher knows")
        union = tuple(classes)
    position = {name: index for index, name in enumerate(union)}
    return LabelSpace(union, tuple(tuple(position[name] for name in own) for own in known))


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def union_distillation(
    logits: Mapping[int, Tensor],
    student_logits: Tensor,
    weights: Sequence[float | Tensor],
    space: LabelSpace,
    *,
    tau: float,
) -> Tensor:
    """The first term of Eq. (1) for teachers, by index, each of which speaks of its own classes only.

    Teachers that know the same classes C form a group g with the weight w_g, the sum of theirs. The loss is
    sum_g w_g KL(sum_{k in g} (w_k / w_g) T_k || S given C), S given C being the student's probabilities of
    these classes made to sum to one. Of one group this is Eq. (1) itself. `student_logits` are [batch, all
    classes], the weights those of `losses.distillation`.
    """
    groups: dict[tuple[int, ...], list[tuple[Tensor, float | Tensor]]] = {}
    for (index, one), weight in zip(logits.items(), weights, strict=True):
        own = space.columns[index]
        order = sorted(range(len(own)), key=own.__getitem__)
        groups.setdefault(tuple(sorted(own)), []).append((at_columns(one, order), weight))
    if len(groups) == 1:
        ((columns, members),) = groups.items()
        known, shares = zip(*members, strict=True)
        return distillation(known, at_columns(student_logits, columns), shares, tau=tau)
    terms = []
    for columns, members in groups.items():
        known, shares = zip(*members, strict=True)
        whole = sum(shares)
        target = mixture_log_probabilities(known, [share / whole for share in shares], tau=tau)
        learner = F.log_softmax(at_columns(student_logits, columns).float() / tau, dim=1)
        divergence = F.kl_div(learner, target, reduction="none", log_target=True).sum(dim=1, keepdim=True)
        terms.append((whole * divergence).mean())
    return torch.stack(terms).sum()


def mean_of_those_who_know(
    logits: Mapping[int, Tensor],
    mixing: Sequence[float | Tensor],
    weights: Sequence[float],
    space: LabelSpace,
) -> Tensor:
    """The teachers' mean prediction over all classes: log-probabilities [batch, all classes], temperature 1.

    At class c it is proportional to sum_k m_k T_k(c) / sum_k w_k over the teachers that know c, with `mixing`
    m_k (numbers, or [batch, 1] for weights of each sample) and `weights` w_k. All weights are above zero, and
    together the teachers know all classes.
    """
    weighted = [
        widened(F.log_softmax(one.float(), dim=1) + log_of(weight), space, index, -math.inf)
        for (index, one), weight in zip(logits.items(), mixing, strict=True)
    ]
    summed = torch.logsumexp(torch.stack(weighted), dim=0)
    known = summed.new_zeros(len(space.classes))
    for index, weight in zip(logits, weights, strict=True):
        known[list(space.columns[index])] += weight
    return F.log_softmax(summed - known.log(), dim=1)


def widened(values: Tensor, space: LabelSpace, index: int, fill: float) -> Tensor:
    """Values [batch, classes of a teacher] at their columns of [batch, all classes], `fill` at the others."""
    union = values.new_full((len(values), len(space.classes)), fill)
    union[:, list(space.columns[index])] = values
    return union


def at_columns(values: Tensor, columns: Sequence[int]) -> Tensor:
    """`columns` of `values` [batch, classes], in that order; the same tensor if these are all as they are."""
    return values if list(columns) == list(range(values.shape[1])) else values[:, list(columns)]
