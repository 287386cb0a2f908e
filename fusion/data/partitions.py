"""Splitting a training set over parties: balanced, imbalanced by class (Section 4.1), or Dirichlet.

Each function returns one sorted int64 index array a party. Together they hold every index exactly once.
Where `known` [classes, parties] says which party knows which class, a class is shared out among those that
know it, in the proportions that they would have among all; a class that no party knows is left out.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
Known: TypeAlias = NDArray[np.bool_]


def imbalanced(
    labels: Indices, num_parties: int, *, r: float, seed: int, known: Known | None = None
) -> list[Indices]:
    """Party k gets the share p of each class in the k-th block of classes and q of every other, p / q = r.

    p + (K - 1) q = 1. A class's counts differ from the exact shares by at most one. Blocks are runs of
    classes of equal length up to one; r = 1 is a balanced split.

    Raises:
        ValueError: r < 1, or fewer classes than parties while r > 1.
    """
    _check_parties(labels, num_parties)
    num_classes = int(labels.max()) + 1
    if r < 1:
        raise ValueError(f"r must be at least 1 (got {r:g})")
    if r > 1 and num_parties > num_classes:
        raise ValueError(f"{num_parties} parties cannot each have frequent classes among {num_classes}")
    q = 1 / (r + num_parties - 1)
    shares = np.full((num_classes, num_parties), q)
    shares[np.arange(num_classes), frequent_party(num_classes, num_parties)] = r * q
    return _deal(labels, _among(shares, known), seed)


def balanced(labels: Indices, num_parties: int, *, seed: int) -> list[Indices]:
    """Every party gets the same share of every class, up to one image a class."""
    return imbalanced(labels, num_parties, r=1.0, seed=seed)


def dirichlet(
    labels: Indices, num_parties: int, *, concentration: float, seed: int, known: Known | None = None
) -> list[Indices]:
    """Each class is shared out by a draw from a symmetric Dirichlet distribution, as in one-shot federated
    learning.

    Raises:
        ValueError: concentration <= 0, or the draw left a party without two images.
    """
    _check_parties(labels, num_parties)
    if concentration <= 0:
        raise ValueError(f"concentration must be above 0 (got {concentration:g})")
    num_classes = int(labels.max()) + 1
    shares = np.random.default_rng([seed, 1]).dirichlet([concentration] * num_parties, size=num_classes)
    parts = _deal(labels, _among(shares, known), seed)
    if min(len(part) for part in parts) < 2:
        raise ValueError(
            f"concentration {concentration:g} leaves a party without images; use a larger one or a seed"
        )
    return parts


def frequent_party(num_classes: int, num_parties: int) -> Indices:
    """[num_classes]: the party that has each class as a frequent one, by blocks of classes."""
    return (np.arange(num_classes, dtype=np.int64) * num_parties) // num_classes


def thinned(part: Indices, share: float, *, seed: int, party: int) -> Indices:
    """A random `share` of a party's images, at least two; all of them for 1."""
    if share == 1:
        return part
    count = max(2, round(share * len(part)))
    return np.sort(np.random.default_rng([seed, 4, party]).permutation(part)[:count])


def _among(shares: NDArray[np.float64], known: Known | None) -> NDArray[np.float64]:
    """The shares of those that know a class, made to sum to one; 0 where nobody does."""
    if known is None:
        return shares
    own = shares * known[: len(shares)]
    total = own.sum(axis=1, keepdims=True)
    summed_to_one: NDArray[np.float64] = np.divide(own, total, out=np.zeros_like(own), where=total > 0)
    return summed_to_one


def _deal(labels: Indices, shares: NDArray[np.float64], seed: int) -> list[Indices]:
    """Shuffle each class and cut it at the rounded cumulative shares."""
    random = np.random.default_rng([seed, 0])
    parts: list[list[Indices]] = [[] for _ in range(shares.shape[1])]
    for label, share in enumerate(shares):
        members = random.permutation(np.flatnonzero(labels == label))
        if not share.any():
            continue
        cuts = np.rint(np.cumsum(share)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def _check_parties(labels: Indices, num_parties: int) -> None:
    if num_parties < 1:
        raise ValueError(f"there must be at least one party (got {num_parties})")
    if len(labels) == 0:
        raise ValueError("there is nothing to split")
