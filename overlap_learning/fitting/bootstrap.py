"""Bootstrap: how much fits differ of recordings that a fitted network would have made."""

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import check_key, count
from overlap_learning.fitting.fit import fit_low_tensor_rank
from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.result import Fit, seen_components
from overlap_learning.fitting.tensor_network import TensorNetwork
from overlap_learning.learning.result import AbstractResult
from overlap_learning.studies.tensor.components import congruence

if TYPE_CHECKING:
    import xarray

CALLER = "Fit.bootstrap"


class Bootstrap(AbstractResult):
    """Fits of recordings that a fitted network would have made, with fresh noise, from fresh starts.

    Attributes:
        fits: the refits. Their components are in an order of their own.
        trials: trial factors of the refits, in the order, with the signs and at the sizes of those of the fit that they
            are most similar to: data do not determine a size. Shape [n, K, R].
        trial_widths: the root mean square distance of `trials` to the trial factors of the fit, shape [K, R].
        trial_ids: shape [K].
    """

    table: ClassVar[str] = "trials"

    fits: tuple[Fit, ...]
    trials: np.ndarray
    trial_widths: np.ndarray
    trial_ids: np.ndarray

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset of trial factors and their widths (the fits have their own)."""
        import xarray

        variables: dict[str, Any] = {
            "trials": (("refit", "trial", "component"), self.trials),
            "trial_widths": (("trial", "component"), self.trial_widths),
        }
        return xarray.Dataset(variables, coords={"trial_id": ("trial", self.trial_ids)})


def bootstrap(fit: Fit, key: jax.Array, n_refits: int, settings: dict[str, Any]) -> Bootstrap:
    """`Fit.bootstrap`."""
    check_key(key, CALLER)
    n_refits = count(n_refits, f"{CALLER}: n_refits", least=2)
    network, signal = fit.network, fit.network.signal()
    noise = jnp.asarray(fit.deviance["train"][fit.best], signal.dtype)
    names = [fit.condition_names[number] for number in np.asarray(network.conditions)]
    expected = Recordings(
        fit.predictions, times=network.times, conditions=names, epochs=fit.epochs, trial_ids=fit.trial_ids
    )
    refits = []
    for each in jax.random.split(key, n_refits):
        noise_key, fit_key = jax.random.split(each)
        activity = np.asarray(fit.likelihood.sample(noise_key, signal, noise))
        refits.append(
            fit_low_tensor_rank(
                eqx.tree_at(lambda recordings: recordings.activity, expected, activity),
                fit.rank,
                fit_key,
                masks=fit.masks,
                n_units=network.n_units,
                time_constant=float(network.time_constant),
                inputs=fit.inputs,
                prior=fit.prior,
                likelihood=fit.likelihood,
                decoder=network.decoder,
                activation=network.activation,
                level=fit.level,
                solver=network.solver,
                **settings,
            )
        )
    trials = np.asarray(network.trials)
    found = np.stack([_matched(refit.network, network) for refit in refits])
    found = found * (np.sum(found * trials, axis=1) / np.sum(found**2, axis=1))[:, None]
    return Bootstrap(tuple(refits), found, np.sqrt(np.mean((found - trials) ** 2, axis=0)), fit.trial_ids)


def _matched(refit: TensorNetwork, network: TensorNetwork) -> np.ndarray:
    """The trial factors of a network in the order of the components of another that are most similar."""
    from scipy.optimize import linear_sum_assignment

    order = linear_sum_assignment(-np.abs(congruence(seen_components(network), seen_components(refit))))[1]
    return np.asarray(refit.trials)[:, order]
