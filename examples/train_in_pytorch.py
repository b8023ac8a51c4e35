"""A network of rank 1, trained by PyTorch: the one of the documentation's page on networks of your own.

Run with PyTorch 2.5 or newer, which nothing else here needs; it takes a minute and writes the vectors and the trials:

    python examples/train_in_pytorch.py docs/how-to/trained_in_pytorch.npz
"""

import sys

import numpy as np
import torch

N, DT, N_STEPS, N_TRIALS = 500, 0.2, 40, 16


class LowRank(torch.nn.Module):
    """dh/dt = -h + m n^T tanh(h) / N + I x, read out as w^T tanh(h) / N before each step of Euler's method."""

    def __init__(self):
        super().__init__()
        self.I, self.m, self.n, self.w = (torch.nn.Parameter(torch.randn(N, 1)) for _ in range(4))

    def forward(self, inputs):
        """Outputs of trials, both of shape [trials, steps, 1]."""
        h, outputs = torch.zeros(len(inputs), N), []
        for x in inputs.unbind(1):
            phi = torch.tanh(h)
            outputs.append(phi @ self.w / N)
            h = h + DT * (-h + phi @ self.n @ self.m.T / N + x @ self.I.T)
        return torch.stack(outputs, 1)


def trials(n):
    """A noisy input, whose sign is to be kept: inputs and targets."""
    sign = torch.sign(torch.randn(n, 1, 1))
    is_shown = (torch.arange(N_STEPS) < N_STEPS // 4)[:, None]
    return is_shown * (sign + 0.5 * torch.randn(n, N_STEPS, 1)), sign.expand(n, N_STEPS, 1)


def main(path):
    """Train by Adam on fresh trials; targets count in the second half."""
    torch.manual_seed(0)
    network = LowRank()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(401):
        inputs, targets = trials(N_TRIALS)
        loss = ((network(inputs) - targets)[:, N_STEPS // 2 :] ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step:>4}   loss {loss.item():.4f}")
    inputs, targets = trials(N_TRIALS)
    arrays = {name: value.detach().numpy() for name, value in network.named_parameters()}
    arrays |= {"inputs": inputs.numpy(), "targets": targets.numpy(), "outputs": network(inputs).detach().numpy()}
    np.savez_compressed(path, **arrays, made_with=f"PyTorch {torch.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
