"""Labelled images from disk, and their partitions over parties."""
