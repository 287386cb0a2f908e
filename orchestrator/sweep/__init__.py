"""Sweeps: many fusions that differ in a few keys, by Ray Tune."""
