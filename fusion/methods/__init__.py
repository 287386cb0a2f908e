"""Methods by name."""

from fusion.methods.dfmf import Dfmf, Synthesis

__all__ = ["METHODS", "Dfmf", "Synthesis"]

METHODS = {"dfmf": Dfmf}
