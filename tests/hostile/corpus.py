"""All hostile cases; importing them registers them."""

from tests.hostile import cards, foreign, places, tensors, values, words
from tests.hostile.making import CASES

__all__ = ["CASES", "cards", "foreign", "places", "tensors", "values", "words"]
