"""The rows of `benchmarks.faults`, by what is hit."""
