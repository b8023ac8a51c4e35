"""The sheets of the tensor of weights: what their numbers claim, at small sizes."""

import numpy as np

from overlap_learning.gallery.pellegrino import washout


def test_the_tensor_of_a_reach_learned_and_washed_out():
    # Phases of one length share their programs.
    settings = washout.Settings(
        duration=3.0, dt=0.3, n_steps=(60, 60, 60, 60), n_neurons=16, n_terms=2, n_restarts=0, learning_rate=3e-2
    )
    result = washout.figure_washout(settings, progress=False)
    numbers = {number.name: number for number in result.numbers}
    assert numbers["rank of W, largest"].value == 2
    assert numbers["rank of the change of W, largest"].value == 4
    # Rounding of some hundred steps.
    assert max(n.value for name, n in numbers.items() if name.startswith("core against full N")) < 1e-12
    assert numbers["full: share of the change outside the span of the start"].value < 1e-25
    for control in ("adam", "tanh"):
        assert numbers[f"{control}: share of the change outside the span of the start"].value > 1e-3
        assert numbers[f"{control}: rank by postsynaptic neurons at 1e-10"].value > 8
    for name in ("W", "change"):
        assert np.all(np.diff(result.data[f"unexplained_{name}"].values) < 0)
    assert numbers["twin / first: norm of the change at the end of the rotated phase"].value != 1
