"""The loss gradient S: against finite differences, against backpropagation through every neuron, and its zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    N_TIMES,
    central_difference,
    gram_of,
    largest,
    make_network,
    make_overlaps,
    make_task,
    simulated_loss,
)

import overlap_learning as ol

N_NEURONS = 9
CASES = [
    ((1, 1, 1), ol.Linear()),
    ((1, 1, 1), ol.Erf()),
    ((1, 1, 1), ol.Tanh()),
    ((1, 2, 1), ol.Linear()),
    ((1, 3, 1), ol.Tanh()),
    ((2, 1, 1), ol.Erf()),
    ((1, 1, 2), ol.Linear()),
    ((2, 2, 2), ol.Erf()),
]


class Case:
    """A model on a task, the vectors of a network, and S at its overlaps."""

    def __init__(self, sizes, activation):
        self.model = ol.Model(ol.Layout(*sizes), activation)
        self.task = make_task(self.model.layout)
        self.network = make_network(make_overlaps(self.model.layout, scale=0.4), N_NEURONS)
        self.overlaps = self.network.overlaps
        # One compiled program gives S here and the losses that its finite differences need.
        self.compiled = jax.jit(
            lambda gram: ol.loss_gradient(self.model, self.task, ol.Overlaps(gram, self.model.layout))
        )
        self.value, self.S = self.compiled(self.overlaps.gram)

    def loss_of_gram(self, gram):
        return float(self.compiled(gram)[0])

    def loss_of_vectors(self, vectors):
        return self.loss_of_gram(gram_of(vectors))


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{'-'.join(map(str, c[0]))}-{type(c[1]).__name__}")
def case(request):
    return Case(*request.param)


# The largest third derivatives here are of order 1, so truncation (1e-10) and rounding (1e-11) are about equal at
# this step.
STEP = 1e-5


def test_gradient_in_the_vectors_is_V_S_over_N(case):
    vectors = np.asarray(case.network.vectors)
    gradient = vectors @ np.asarray(case.S) / N_NEURONS
    for i, a in np.ndindex(vectors.shape):
        direction = np.zeros_like(vectors)
        direction[i, a] = 1.0
        slope, error = central_difference(case.loss_of_vectors, vectors, direction, STEP)
        assert abs(gradient[i, a] - slope) <= error
    # The check can fail: the gradient is far above the error of its referee.
    assert largest(gradient) > 1e4 * error


def test_gradient_in_an_overlap_is_S_off_the_diagonal_and_half_of_it_on_the_diagonal(case):
    gram, S = np.asarray(case.overlaps.gram), np.asarray(case.S)
    for i, j in zip(*case.model.layout.entry_indices, strict=True):
        direction = np.zeros_like(gram)
        direction[i, j] = direction[j, i] = 1.0
        slope, error = central_difference(case.loss_of_gram, gram, direction, STEP)
        assert abs((S[i, j] if i != j else S[i, i] / 2) - slope) <= error


def test_S_is_symmetric_zero_exactly_on_invisible_overlaps_and_nowhere_else(case):
    S = np.asarray(case.S)
    assert np.array_equal(S, S.T)
    assert np.array_equal(S == 0, case.model.invisible)


def test_the_value_beside_S_is_the_loss_of_the_reduced_outputs():
    model = ol.Model(ol.Layout(), ol.Erf())
    task, overlaps = make_task(model.layout), make_overlaps(model.layout)
    value = float(ol.loss_gradient(model, task, overlaps)[0])
    outputs = np.asarray(ol.rollout(model, overlaps, task))
    expected = np.sum(np.asarray(task.weights) * (outputs - np.asarray(task.targets)) ** 2)
    # The same sums, in an order that the compiler may change.
    assert abs(value - expected) <= N_TIMES * EPS * value
    assert abs(float(ol.loss(model, task, overlaps)) - expected) <= N_TIMES * EPS * value


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
def test_linear_gradient_equals_backpropagation_through_every_simulated_neuron(sizes):
    linear = Case(sizes, ol.Linear())
    by_simulation = jax.jit(jax.grad(lambda vectors: simulated_loss(linear.model, vectors, linear.task)))
    expected = by_simulation(linear.network.vectors)
    found = linear.network.vectors @ linear.S / N_NEURONS
    # Both are chains of T steps, forth and back, of rounded sums over neurons.
    assert largest(found - expected) <= 2 * N_TIMES * N_NEURONS * EPS * largest(expected)


@pytest.mark.parametrize("activation", [ol.Erf(), ol.Tanh()], ids=["Erf", "Tanh"])
def test_nonlinear_gradient_is_that_of_many_gaussian_neurons_on_average(activation):
    """Stein's lemma: for Gaussian neurons `V^T dL/dV` of the simulated network tends to `G S`, each to N^-1/2."""
    model = ol.Model(ol.Layout(), activation)
    task = make_task(model.layout)
    overlaps = make_overlaps(model.layout, scale=0.4)
    n_networks, n_neurons = 40, 1000

    def projected(key):
        network = ol.Network.sample(overlaps, n_neurons, key=key)
        gradient = jax.grad(lambda vectors: simulated_loss(model, vectors, task))(network.vectors)
        return network.vectors.T @ gradient

    found = np.asarray(jax.lax.map(projected, jax.random.split(jax.random.key(2), n_networks)))
    error = found.std(0, ddof=1) / np.sqrt(n_networks)
    expected = np.asarray(overlaps.gram @ ol.loss_gradient(model, task, overlaps)[1])
    # Five standard errors on each of d^2 = 16 entries, plus the bias of order 1/N.
    assert np.all(np.abs(found.mean(0) - expected) <= 5 * error + 10 / n_neurons * np.abs(expected).max())
    assert error.max() < 0.02 * np.abs(expected).max()


def test_loss_gradient_under_vmap_over_starts_equals_a_loop():
    model = ol.Model(ol.Layout(), ol.Erf())
    task = make_task(model.layout)
    starts = [make_overlaps(model.layout, seed=seed) for seed in range(3)]
    batch = ol.Overlaps(jnp.stack([start.gram for start in starts]), model.layout)
    values, slopes = jax.vmap(lambda overlaps: ol.loss_gradient(model, task, overlaps))(batch)
    for i, start in enumerate(starts):
        value, S = ol.loss_gradient(model, task, start)
        assert abs(float(values[i] - value)) <= N_TIMES * EPS * float(value)
        assert largest(slopes[i] - S) <= 2 * N_TIMES * EPS * largest(S)


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [ol.loss, ol.loss_gradient], ids=["loss", "loss_gradient"])
class TestBadInput:
    model = ol.Model(ol.Layout(), ol.Linear())

    def raises(self, function, task, overlaps, *words):
        with pytest.raises(ValueError, match=f"^{function.__name__}: ") as caught:
            function(self.model, task, overlaps)
        for word in words:
            assert word in str(caught.value)

    def test_a_stream_is_refused_and_the_way_to_a_batch_given(self, function):
        trials = ol.tasks.stream(ol.tasks.decision_making, n_trials=2)
        self.raises(function, trials, make_overlaps(self.model.layout), "TaskStream", "stream.sample(key)")

    def test_a_task_with_other_outputs_is_refused(self, function):
        task = make_task(ol.Layout(n_out=2))
        self.raises(function, task, make_overlaps(self.model.layout), "2 output channels", "n_out=1")

    def test_a_task_with_other_inputs_is_refused(self, function):
        task = make_task(ol.Layout(n_in=2))
        self.raises(function, task, make_overlaps(self.model.layout), "2 input channels", "n_in=1")

    def test_overlaps_of_another_layout_are_refused(self, function):
        other = make_overlaps(ol.Layout(rank=2))
        self.raises(function, make_task(self.model.layout), other, "rank=2", "rank=1")

    def test_a_batch_of_overlaps_is_refused_and_vmap_named(self, function):
        batch = ol.Overlaps(jnp.stack([jnp.eye(4)] * 3), self.model.layout)
        self.raises(function, make_task(self.model.layout), batch, "[3]", "jax.vmap")

    def test_something_that_is_not_overlaps_is_refused(self, function):
        self.raises(function, make_task(self.model.layout), jnp.eye(4), "overlaps")
