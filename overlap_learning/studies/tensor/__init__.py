"""Tensor: the weights of a network through learning as one tensor, its ranks, and what bounds them."""

from overlap_learning.studies.tensor.bounds import RankBounds, factor_bounds, gradient_bounds, span_bounds
from overlap_learning.studies.tensor.components import Components
from overlap_learning.studies.tensor.multilinear import MultilinearRank, Tucker
from overlap_learning.studies.tensor.sources import matrices_tensor, networks_tensor, weight_tensor
from overlap_learning.studies.tensor.weights import Lifted, WeightTensor

__all__ = [
    "Components",
    "Lifted",
    "MultilinearRank",
    "RankBounds",
    "Tucker",
    "WeightTensor",
    "factor_bounds",
    "gradient_bounds",
    "matrices_tensor",
    "networks_tensor",
    "span_bounds",
    "weight_tensor",
]
