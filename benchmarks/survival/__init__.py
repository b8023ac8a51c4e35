"""Survival: how often what must not happen to a person's results happens; `python -m benchmarks.survival` counts."""
