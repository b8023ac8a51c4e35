"""Fitting: a recurrent network whose weights change from trial to trial in few components, fitted to recordings."""

from overlap_learning.fitting.bootstrap import Bootstrap
from overlap_learning.fitting.decoder import FreeLinear, OneToOne, Orthonormal
from overlap_learning.fitting.files import load
from overlap_learning.fitting.fit import fit_low_tensor_rank
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.likelihood import Gaussian, Poisson
from overlap_learning.fitting.masks import Masks, block_masks
from overlap_learning.fitting.prior import GaussianProcess, RationalQuadratic, Reparametrised, SquaredExponential
from overlap_learning.fitting.ranks import RankComparison, compare_ranks
from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.result import Fit
from overlap_learning.fitting.solver import Diffrax, Euler
from overlap_learning.fitting.tensor_network import TensorNetwork

__all__ = [
    "Bootstrap",
    "Diffrax",
    "Euler",
    "Fit",
    "FreeLinear",
    "Gaussian",
    "GaussianProcess",
    "Inputs",
    "Masks",
    "OneToOne",
    "Orthonormal",
    "Poisson",
    "RankComparison",
    "RationalQuadratic",
    "Recordings",
    "Reparametrised",
    "SquaredExponential",
    "TensorNetwork",
    "block_masks",
    "compare_ranks",
    "fit_low_tensor_rank",
    "load",
]
