"""Training the whole connectivity in PyTorch: an eager loop over time steps, as one would first write it."""

import numpy as np
import torch

import overlap_learning as ol


class TorchBulkNetwork(torch.nn.Module):
    """A tanh network with `W_in = m`, `W` and `W_out = z / N` as parameters.

    Args:
        network: where they start, `Layout(rank=0)`, in the dtype to compute in.
    """

    def __init__(self, network: ol.BulkNetwork, device: str = "cpu"):
        super().__init__()
        arrays = {"w_in": network.m, "w": network.bulk, "w_out": network.z / network.n_neurons}
        for name, array in arrays.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(np.array(array), device=device)))

    def forward(self, inputs: torch.Tensor, dt: float) -> torch.Tensor:
        h = torch.zeros(len(inputs), len(self.w), dtype=self.w.dtype, device=self.w.device)
        outputs = []
        for t in range(inputs.shape[1]):
            r = torch.tanh(h)
            outputs.append(r @ self.w_out)
            h = (1 - dt) * h + dt * (r @ self.w.T + inputs[:, t] @ self.w_in.T)
        return torch.stack(outputs, dim=1)


def torch_bulk_loop(network: TorchBulkNetwork, task: ol.Task, learning_rate: float, n_steps: int) -> np.ndarray:
    """Train for so many steps of gradient descent, from where the network is.

    Returns:
        W at the end, shape [N, N].
    """
    like = network.w
    inputs, targets, weights = (
        torch.tensor(np.asarray(a), dtype=like.dtype, device=like.device)
        for a in (task.inputs, task.targets, task.weights)
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=learning_rate)
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = (weights * (network(inputs, float(task.dt)) - targets) ** 2).sum()
        loss.backward()
        optimiser.step()
    return network.w.detach().cpu().numpy()
