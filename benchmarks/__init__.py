"""Benchmarks: `python -m benchmarks` times the theory and full networks beside other ways to compute the same."""
