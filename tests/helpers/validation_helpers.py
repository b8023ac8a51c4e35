"""A small nonlinear task that training makes non-Gaussian, shared so that it is compiled once per network size."""

import functools

import jax

import overlap_learning as ol

LAYOUT = ol.Layout()
RULE = ol.GradientDescent(learning_rate=0.5, n_steps=50, save_every=5)
ACTIVATIONS = {
    "erf": ol.Erf(),
    "relu": ol.ReLU(),
    "softplus": ol.Activation(jax.nn.softplus, ol.model.Trapezoid(64)),
}


def flip_flop():
    return ol.tasks.flip_flop(key=jax.random.key(0), n_trials=2, duration=5.0, dt=0.1, wait_range=(1.0, 2.0))


def start(scale=0.1):
    return ol.Overlaps.random(LAYOUT, key=jax.random.key(1), scale=scale)


@functools.cache
def erf_report():
    """Theory, limit and networks of erf neurons, over so much learning that the theory is visibly off."""
    nodes = (ol.model.HermiteGrid(4, folded=True), ol.model.HermiteGrid(6, 4, folded=True))
    return ol.closure_error(
        ol.Model(LAYOUT, ol.Erf()), flip_flop(), start(), RULE, key=jax.random.key(2), n_neurons=(32, 512),
        n_seeds=12, tolerance=0.01, nodes=nodes, progress=False,
    )  # fmt: skip
