"""A low-tensor-rank network with all its weights, [K, n, n], in PyTorch: as one would first write it."""

from collections.abc import Mapping

import numpy as np
import torch


class DenseTensor(torch.nn.Module):
    """The network of `ol.fitting`, whose weights of every trial are made, and multiplied as a batch of matrices.

    Args:
        position: what learns, of one fit of `ol.fitting` with an orthonormal decoder.
        factor: L of the prior, shape [K, K].
        conditions: of each trial.
        times: shape [T].
        time_constant: tau.
        heun: None: one Euler step between two times; else so many steps of Heun's method through the trial, each of two
            evaluations.
    """

    def __init__(
        self, position: Mapping, factor: np.ndarray, conditions: np.ndarray, times: np.ndarray, time_constant: float,
        heun: int | None = None,
    ):  # fmt: skip
        super().__init__()
        arrays = {**{k: v for k, v in position.items() if k != "decoder"}, **position["decoder"]}
        for name, array in arrays.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(np.array(array))))
        self.factor = torch.tensor(np.array(factor))
        self.conditions = torch.tensor(np.array(conditions, np.int64))
        self.times, self.tau, self.heun = np.array(times, float), float(time_constant), heun

    def signal(self) -> torch.Tensor:
        n = len(self.columns)
        a, b = (side / torch.linalg.norm(side, dim=0) for side in (self.columns, self.rows))
        c = self.means + self.factor @ self.deviations
        W = torch.einsum("kr,ir,jr->kij", c, a, b)
        drive = np.sqrt(n) * (self.inputs @ a.T)[self.conditions]
        x = np.sqrt(n) * (self.start @ a.T)[self.conditions]
        states = [x]

        def slope(x, u):
            return (torch.bmm(W, torch.tanh(x)[:, :, None])[:, :, 0] + u - x) / self.tau

        n_times = len(self.times)
        per_interval = 1 if self.heun is None else max(1, round(self.heun / (n_times - 1)))
        for t in range(n_times - 1):
            h = (self.times[t + 1] - self.times[t]) / per_interval
            for i in range(per_interval):
                at = [drive[:, t] + (i + j) / per_interval * (drive[:, t + 1] - drive[:, t]) for j in (0, 1)]
                first = slope(x, at[0])
                x = x + h * (first if self.heun is None else (first + slope(x + h * first, at[1])) / 2)
            states.append(x)
        Q, corner = torch.linalg.qr(self.matrix)
        D = torch.exp(self.log_gain) * Q * torch.sign(torch.diagonal(corner))
        return torch.tanh(torch.stack(states, dim=1)) @ D.T + self.offset

    def loss(self, activity: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
        """The loss of `ol.fitting`."""
        n = train.sum()
        mean = (train * (self.signal() - activity) ** 2).sum() / n
        penalty = (self.deviations**2).sum() / 2 + (self.inputs**2).sum() / 2
        return torch.log(mean) / 2 + penalty / n


def dense_steps(network: DenseTensor, activity: np.ndarray, train: np.ndarray, n_steps: int) -> float:
    """So many steps of Adam; the loss before the last."""
    data, weights = torch.tensor(np.array(activity)), torch.tensor(np.array(train))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-6)
    loss = torch.zeros(())
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = network.loss(data, weights)
        loss.backward()
        optimiser.step()
    return loss.item()


def adaptive_steps(network: DenseTensor, rtol: float = 1e-5, atol: float = 1e-4, first: float = 1e-3) -> int:
    """Accepted steps of Heun's method through the trial with the public program's tolerances and step doubling.

    Its step sizes are chosen for all trials and units together, from the root mean square of the difference between one
    step and two of half the size.
    """
    with torch.no_grad():
        n = len(network.columns)
        a, b = (side / torch.linalg.norm(side, dim=0) for side in (network.columns, network.rows))
        c = network.means + network.factor @ network.deviations
        drive = np.sqrt(n) * (network.inputs @ a.T)[network.conditions]
        x = np.sqrt(n) * (network.start @ a.T)[network.conditions]

        def slope(t, x):
            i = min(int(np.searchsorted(network.times, t, side="right")) - 1, len(network.times) - 2)
            share = (t - network.times[i]) / (network.times[i + 1] - network.times[i])
            u = drive[:, i] + share * (drive[:, i + 1] - drive[:, i])
            return ((c * (torch.tanh(x) @ b)) @ a.T + u - x) / network.tau

        def step(t, x, h):
            k = slope(t, x)
            return x + h / 2 * (k + slope(t + h, x + h * k))

        t, end, h, accepted = float(network.times[0]), float(network.times[-1]), first, 0
        while t < end - 1e-12:
            h = min(h, end - t)
            whole, half = step(t, x, h), step(t + h / 2, step(t, x, h / 2), h / 2)
            tolerance = atol + rtol * torch.maximum(whole.abs(), half.abs())
            error = float(torch.sqrt(torch.mean(((whole - half) / tolerance) ** 2)))
            if error <= 1:
                t, x, accepted = t + h, half, accepted + 1
            h *= float(np.clip(0.9 * (1 / max(error, 1e-12)) ** (1 / 3), 0.2, 1.4))
        return accepted
