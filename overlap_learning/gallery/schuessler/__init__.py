"""The figures of Schuessler et al. 2020."""
