"""Neurons that learn: those of a full network, or a few weighted ones that stand for infinitely many."""
