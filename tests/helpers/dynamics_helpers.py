"""Problems, referees and counters that the tests of the learning dynamics share.

Compilation is what such tests cost, so all of them learn on trials of one shape and save alike: runs that differ in
numbers only then share one compiled program.
"""

import contextlib
import logging

import jax
import numpy as np

import overlap_learning as ol

N_TRIALS, N_TIMES = 4, 60
N_STEPS, SAVE_EVERY = 300, 10
EPS = np.finfo(float).eps

RANK_1 = ol.Layout(n_in=1, rank=1, n_out=1)
RANK_2 = ol.Layout(n_in=1, rank=2, n_out=1)
TWO_BY_TWO = ol.Layout(n_in=2, rank=2, n_out=2)


def make_task(layout, *, n_trials=N_TRIALS, n_times=N_TIMES, dt=0.1, seed=0):
    """Low-pass filter random inputs: a task that a network can learn, with as many channels as the layout has."""
    random = np.random.default_rng(seed)
    inputs = 1.5 * random.standard_normal((n_trials, n_times, layout.n_in))
    mixing = random.uniform(0.5, 1.0, (layout.n_in, layout.n_out))
    decays = np.linspace(0.3, 0.8, layout.n_out)
    targets = np.zeros((n_trials, n_times, layout.n_out))
    for k in range(n_times - 1):
        targets[:, k + 1] = targets[:, k] + dt * (inputs[:, k] @ mixing - decays * targets[:, k])
    return ol.Task(inputs, targets, np.full(targets.shape, dt / n_trials), dt)


def make_overlaps(layout, *, seed=0, scale=0.2):
    """Random overlaps without any symmetry."""
    return ol.Overlaps.random(layout, key=jax.random.key(seed), scale=scale)


def make_network(overlaps, n_neurons, *, seed=1):
    return ol.Network.sample(overlaps, n_neurons, key=jax.random.key(seed))


def descent(learning_rate=0.02, **settings):
    """Gradient descent of the length and with the saved points that most tests share."""
    return ol.GradientDescent(learning_rate, N_STEPS, save_every=SAVE_EVERY, **settings)


def gram_of(vectors):
    return vectors.T @ vectors / len(vectors)


def simulated_loss(model, vectors, task):
    """The loss by simulation of every neuron, as a function of V."""
    return task.loss(ol.simulate(model, ol.Network(vectors, model.layout), task))


def largest(difference):
    return float(np.max(np.abs(np.asarray(difference))))


@contextlib.contextmanager
def compilations():
    """The names of the programs that jax compiles inside this block."""
    names = []

    class Listener(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("Compiling "):
                names.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger("jax")
    propagate = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate


def central_difference(function, point, direction, step):
    """The derivative of a function along a direction at a point, and a bound of its error.

    The error of a central difference of step s is c s^2, plus rounding of the function over s. The difference of
    steps 2 s and s is 3 c s^2 up to higher orders, so that it bounds the first.
    """
    values = [function(point + s * step * direction) for s in (-2, -1, 1, 2)]
    fine, coarse = (values[2] - values[1]) / (2 * step), (values[3] - values[0]) / (4 * step)
    # A loss is a sum over trials and times of rounded terms.
    rounding = N_TRIALS * N_TIMES * EPS * max(abs(v) for v in values) / step
    return fine, abs(coarse - fine) + rounding
