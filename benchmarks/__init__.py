"""Benchmarks: `python -m benchmarks` times the theory beside full networks, in one run, as ratios."""
