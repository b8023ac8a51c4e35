"""Training every neuron in PyTorch: an eager loop over time steps, as one would first write it."""

import math

import numpy as np
import torch

import overlap_learning as ol


class TorchNetwork(torch.nn.Module):
    """A low-rank network with its vectors as parameters.

    Args:
        vectors: V, shape [N, d], in the dtype to compute in.
        layout: the `Layout` of its columns.
        linear: linear phi; False: `erf(sqrt(pi)/2 h)`.
    """

    def __init__(self, vectors: np.ndarray, layout: ol.Layout, *, linear: bool, device: str = "cpu"):
        super().__init__()
        ends = np.cumsum([layout.n_in, layout.rank, layout.rank])
        for name, block in zip("muvz", np.split(np.array(vectors), ends, axis=1), strict=True):
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(block, device=device)))
        self.linear = linear

    def phi(self, h: torch.Tensor) -> torch.Tensor:
        return h if self.linear else torch.erf(math.sqrt(math.pi) / 2 * h)

    def forward(self, inputs: torch.Tensor, dt: float) -> torch.Tensor:
        n_neurons = len(self.m)
        h = torch.zeros(inputs.shape[0], n_neurons, dtype=self.m.dtype, device=self.m.device)
        outputs = []
        for t in range(inputs.shape[1]):
            r = self.phi(h)
            outputs.append(r @ self.z / n_neurons)
            h = h + dt * (-h + (r @ self.v) @ self.u.T / n_neurons + inputs[:, t] @ self.m.T)
        return torch.stack(outputs, dim=1)

    def gram(self) -> np.ndarray:
        """The overlaps, shape [d, d]."""
        V = torch.cat([self.m, self.u, self.v, self.z], dim=1).detach().double()
        return (V.T @ V / len(V)).cpu().numpy()


def torch_loop(network: TorchNetwork, task: ol.Task, learning_rate: float, n_steps: int) -> np.ndarray:
    """Train for so many steps of gradient descent, from where the network is.

    Returns:
        The loss before each step.
    """
    like = network.m
    inputs, targets, weights = (
        torch.tensor(np.asarray(a), dtype=like.dtype, device=like.device)
        for a in (task.inputs, task.targets, task.weights)
    )
    # Learning rates are those of the gradient times N, so that they do not depend on N.
    optimiser = torch.optim.SGD(network.parameters(), lr=learning_rate * len(like))
    losses = []
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = (weights * (network(inputs, float(task.dt)) - targets) ** 2).sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)
