"""Training: gradient descent on every neuron of a full network."""

from overlap_learning.neurons.arrays import Arrays
from overlap_learning.training.lstm import LSTM, LSTMLearner
from overlap_learning.training.traffic import memory_traffic
from overlap_learning.training.train import train

__all__ = ["LSTM", "Arrays", "LSTMLearner", "memory_traffic", "train"]
