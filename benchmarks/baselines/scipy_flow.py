"""Gradient flow of the overlaps by `scipy.integrate.solve_ivp`, with a right-hand side in numpy."""

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp
from scipy.signal import lfilter

import overlap_learning as ol

Slopes = Callable[[np.ndarray, "Filter"], np.ndarray]


class Filter:
    """A task of one trial, one input and one output in numpy, with the activity on m, which does not learn."""

    def __init__(self, task: ol.Task):
        self.dt = float(task.dt)
        self.target, self.weight = (np.asarray(a)[0, :, 0] for a in (task.targets, task.weights))
        inputs = np.asarray(task.inputs)[0, :, 0]
        self.km = np.zeros(len(inputs))
        for t in range(len(inputs) - 1):
            self.km[t + 1] = self.km[t] + self.dt * (inputs[t] - self.km[t])


def slopes_by_loop(gram: np.ndarray, task: Filter) -> np.ndarray:
    """S of a linear network of rank 1: Euler steps and backpropagation written out, as one would first do."""
    zm, zu, vm, vu = gram[3, 0], gram[3, 1], gram[2, 0], gram[2, 1]
    dt, km = task.dt, task.km
    ku = np.zeros(len(km))
    for t in range(len(km) - 1):
        ku[t + 1] = ku[t] + dt * (-ku[t] + vm * km[t] + vu * ku[t])
    error = 2 * task.weight * (zm * km + zu * ku - task.target)
    # after[t]: the derivative of the loss with respect to ku[t + 1].
    after = np.zeros(len(km))
    for t in range(len(km) - 1, 0, -1):
        after[t - 1] = (1 - dt + dt * vu) * after[t] + zu * error[t]
    return _slopes(task, ku, error, after)


def slopes_by_filter(gram: np.ndarray, task: Filter) -> np.ndarray:
    """The same with both recurrences in compiled code, `scipy.signal.lfilter`."""
    zm, zu, vm, vu = gram[3, 0], gram[3, 1], gram[2, 0], gram[2, 1]
    recursion = [1.0, -(1 - task.dt + task.dt * vu)]
    ku = lfilter([0.0, task.dt * vm], recursion, task.km)
    error = 2 * task.weight * (zm * task.km + zu * ku - task.target)
    after = lfilter([0.0, zu], recursion, error[::-1])[::-1]
    return _slopes(task, ku, error, after)


def _slopes(task: Filter, ku: np.ndarray, error: np.ndarray, after: np.ndarray) -> np.ndarray:
    S = np.zeros((4, 4))
    S[3, 0], S[3, 1] = error @ task.km, error @ ku
    S[2, 0], S[2, 1] = task.dt * (after @ task.km), task.dt * (after @ ku)
    return S + S.T


def scipy_flow(
    task: Filter, gram: np.ndarray, times: np.ndarray, *, slopes: Slopes, method: str, rtol: float, atol: float
) -> np.ndarray:
    """The overlaps [S, 4, 4] at the given times, by integrating `dG/dtau = -(S G + G S)`.

    Raises:
        RuntimeError: if the solver fails.
    """

    def velocity(time, flat):
        G = flat.reshape(4, 4)
        GS = G @ slopes(G, task)
        return -(GS + GS.T).ravel()

    # A trial step that was too long overflows, and is rejected.
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve_ivp(
            velocity, (0.0, times[-1]), np.ravel(gram), method=method, t_eval=times, rtol=rtol, atol=atol
        )
    if not solution.success:
        raise RuntimeError(f"scipy_flow: {solution.message}")
    return solution.y.T.reshape(-1, 4, 4)
