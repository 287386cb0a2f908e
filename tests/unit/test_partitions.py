import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.data import partitions


def labels(per_class: int = 210, classes: int = 10) -> partitions.Indices:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), per_class))


def counts(parts: list[partitions.Indices], of: partitions.Indices) -> np.ndarray:
    return np.array([np.bincount(of[part], minlength=of.max() + 1) for part in parts])


def test_the_papers_examples_of_shares() -> None:
    # Section 4.1: K = 2, r = 3 gives 75 % and 25 %; K = 4, r = 10 gives 76.9 % and 7.69 %.
    two = counts(partitions.imbalanced(labels(100), 2, r=3, seed=0), labels(100))
    assert two[0].tolist() == [75] * 5 + [25] * 5
    assert two[1].tolist() == [25] * 5 + [75] * 5
    four = counts(partitions.imbalanced(labels(1300, 8), 4, r=10, seed=0), labels(1300, 8))
    assert four[0].tolist() == [1000] * 2 + [100] * 6
    assert four[2].tolist() == [100] * 4 + [1000] * 2 + [100] * 2


@given(
    st.integers(1, 6),
    st.floats(1, 30),
    st.lists(st.integers(0, 5), min_size=30, max_size=200),
    st.integers(0, 9),
)
def test_no_overlap_nothing_missing_and_exact_counts_up_to_rounding(
    num_parties: int, r: float, values: list[int], seed: int
) -> None:
    of = np.array([*range(6), *values])
    parts = partitions.imbalanced(of, num_parties, r=r, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(of)))
    q = 1 / (r + num_parties - 1)
    frequent = partitions.frequent_party(6, num_parties)
    share = np.where(frequent[None, :] == np.arange(num_parties)[:, None], r * q, q)
    assert np.all(np.abs(counts(parts, of) - share * np.bincount(of)) <= 1 + 1e-9)


def test_a_balanced_split_differs_by_at_most_one_image_a_class() -> None:
    dealt = counts(partitions.balanced(labels(101), 3, seed=0), labels(101))
    assert np.ptp(dealt, axis=0).max() <= 1


def test_a_class_is_shared_out_among_those_who_know_it() -> None:
    known = np.zeros((10, 2), dtype=np.bool_)
    known[:6, 0], known[4:9, 1] = True, True  # Nobody knows class 9.
    dealt = counts(partitions.imbalanced(labels(100), 2, r=3, seed=0, known=known), labels(100))
    assert dealt[0].tolist() == [100] * 4 + [75, 25] + [0] * 4
    assert dealt[1].tolist() == [0] * 4 + [25, 75] + [100] * 3 + [0]
    parts = partitions.dirichlet(labels(100), 2, concentration=1.0, seed=0, known=known)
    dealt = counts(parts, labels(100))
    assert ((dealt > 0) <= known.T).all()
    assert dealt.sum(axis=0).tolist() == [100] * 9 + [0]
    everybody = partitions.imbalanced(labels(), 2, r=3, seed=0, known=np.ones((10, 2), dtype=np.bool_))
    for part, same in zip(everybody, partitions.imbalanced(labels(), 2, r=3, seed=0), strict=True):
        assert part.tolist() == same.tolist()


def test_a_share_of_a_part_is_drawn_from_it() -> None:
    part = partitions.balanced(labels(), 2, seed=0)[1]
    few = partitions.thinned(part, 0.05, seed=0, party=1)
    assert len(few) == round(0.05 * len(part))
    assert set(few.tolist()) < set(part.tolist())
    assert few.tolist() == sorted(few.tolist())
    assert partitions.thinned(part, 1.0, seed=0, party=1) is part
    assert len(partitions.thinned(part, 1e-9, seed=0, party=1)) == 2


def test_the_seed_decides_the_split() -> None:
    first, again, other = (partitions.balanced(labels(), 2, seed=seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_dirichlet_holds_every_image_once_and_gets_even_with_concentration() -> None:
    spread = {}
    for concentration in (0.3, 1000.0):
        parts = partitions.dirichlet(labels(), 3, concentration=concentration, seed=0)
        assert sorted(np.concatenate(parts).tolist()) == list(range(2100))
        spread[concentration] = np.ptp(counts(parts, labels()), axis=0).mean()
    assert spread[1000.0] < 20 < spread[0.3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: partitions.imbalanced(labels(), 2, r=0.5, seed=0), "r must be at least 1"),
        (lambda: partitions.imbalanced(labels(), 0, r=2, seed=0), "at least one party"),
        (lambda: partitions.imbalanced(labels(5, 3), 4, r=2, seed=0), "cannot each have frequent classes"),
        (lambda: partitions.dirichlet(labels(), 2, concentration=0, seed=0), "above 0"),
        (lambda: partitions.dirichlet(labels(2, 2), 40, concentration=0.1, seed=0), "without images"),
    ],
)
def test_what_cannot_be_split_is_refused(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
