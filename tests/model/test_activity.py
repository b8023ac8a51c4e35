"""Activity: reduced rollout and full simulation against each other, plain loops and scipy; and their symmetries."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

EPS = np.finfo(float).eps
N_STEPS, DT = 30, 0.1
PHI = {
    ol.Linear(): lambda h: h,
    ol.Erf(): lambda h: scipy.special.erf(np.sqrt(np.pi) / 2 * h),
    ol.Tanh(): np.tanh,
}


def random_task(layout, seed=0, n_trials=2):
    """Normal inputs of size one; targets do not matter here."""
    rng = np.random.default_rng(seed)
    zeros = np.zeros((n_trials, N_STEPS, layout.n_out))
    return ol.Task(rng.normal(size=(n_trials, N_STEPS, layout.n_in)), zeros, zeros, dt=DT)


def random_network(layout, seed=0, n_neurons=60):
    vectors = np.random.default_rng(seed).normal(size=(n_neurons, layout.size))
    return ol.Network(vectors, layout)


def random_overlaps(layout, seed=0):
    """Those of Gaussian vectors in twice as many dimensions: far from orthonormal."""
    vectors = np.random.default_rng(seed).normal(size=(2 * layout.size, layout.size))
    return ol.Overlaps(vectors.T @ vectors / len(vectors), layout)


def neurons_of(overlaps, n_neurons, seed=0):
    """A network with these overlaps to rounding: a random frame of N neurons times a factor of G."""
    normal = np.random.default_rng(seed).normal(size=(n_neurons, overlaps.layout.size))
    frame = np.sqrt(n_neurons) * np.linalg.qr(normal)[0]
    return ol.Network(frame @ np.linalg.cholesky(overlaps.gram).T, overlaps.layout)


def rounding(overlaps, task, n_neurons=0):
    """How far two ways of computing the same outputs may differ when both are exact but for rounding.

    With l the largest eigenvalue of G: an average over N neurons, such as v^T phi(h)/N, is off by at most N eps times
    sqrt(l D), D the largest field variance (Cauchy and Schwarz; |phi(h)| <= |h|). Errors of the recurrent drive enter
    the state with weight dt sqrt(l) in each of T steps, next to some four roundings of the state itself, and the
    dynamics multiply what is there by at most 1 + dt (|W| - 1) per step, |W|^2 the largest eigenvalue of G_uu G_vv
    (|phi'| <= 1). Twice, for two ways. The field variance of linear neurons serves for all.
    """
    layout = overlaps.layout
    largest = float(np.linalg.eigvalsh(overlaps.gram)[-1])
    variance = float(jnp.max(ol.model.field_variance(ol.Model(layout, ol.Linear()), overlaps, task)))
    gain = np.sqrt(np.max(np.linalg.eigvals(overlaps["u", "u"] @ overlaps["v", "v"]).real, initial=0.0))
    duration = task.n_steps * float(task.dt)
    terms = n_neurons + layout.size
    growth = np.exp(duration * max(gain - 1, 0))
    return 2 * EPS * np.sqrt(largest * variance) * (terms * (1 + duration * largest) + 4 * task.n_steps) * growth


def simulate_by_hand(phi, network, task):
    """Equation (1) with the connectivity matrix written out, one trial and one step at a time."""
    m, u, v, z = (np.asarray(x) for x in (network.m, network.u, network.v, network.z))
    n, dt = len(m), float(task.dt)
    connectivity = u @ v.T / n
    outputs = []
    for trial in np.asarray(task.inputs):
        h = np.zeros(n)
        readings = []
        for x in trial:
            readings.append(z.T @ phi(h) / n)
            h = h + dt * (-h + connectivity @ phi(h) + m @ x)
        outputs.append(readings)
    return np.array(outputs)


def rollout_by_hand(gain, overlaps, task):
    """Equations (3) and (4), one trial and one step at a time."""
    block = {a + b: np.asarray(overlaps[a, b]) for a in "muvz" for b in "mu"}
    outputs = []
    for trial in np.asarray(task.inputs):
        k_m, k_u = np.zeros(overlaps.layout.n_in), np.zeros(overlaps.layout.rank)
        readings = []
        for x in trial:
            variance = k_m @ block["mm"] @ k_m + 2 * k_m @ block["mu"] @ k_u + k_u @ block["uu"] @ k_u
            g = gain(variance)
            readings.append(g * (block["zm"] @ k_m + block["zu"] @ k_u))
            change_u = -k_u + g * (block["vm"] @ k_m + block["vu"] @ k_u)
            k_m = k_m + float(task.dt) * (-k_m + x)
            k_u = k_u + float(task.dt) * change_u
        outputs.append(readings)
    return np.array(outputs)


# -- linear: exact at every N ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 0, 3), (1, 1, 1), (3, 2, 1), (2, 3, 2)])
def test_linear_overlaps_and_neurons_give_the_same_outputs_at_every_number_of_neurons(shape):
    layout = ol.Layout(*shape)
    model, task = ol.Model(layout, ol.Linear()), random_task(layout)
    overlaps = random_overlaps(layout, seed=1)
    expected = ol.rollout(model, overlaps, task)
    assert expected.shape == (2, N_STEPS, layout.n_out)
    assert np.max(np.abs(expected)) > 0.05
    for n in (layout.size, 60):
        network = neurons_of(overlaps, n)
        outputs = ol.simulate(model, network, task)
        # The neurons' own overlaps are off by rounding of size (20 d + N) eps l (see test_network.py), which moves the
        # outputs like the same relative rounding of each average.
        bound = rounding(overlaps, task, n_neurons=2 * n + 20 * layout.size)
        assert np.max(np.abs(outputs - expected)) <= bound < 1e-10


def test_linear_outputs_of_any_network_are_those_of_its_overlaps():
    layout = ol.Layout(2, 2, 1)
    model, task = ol.Model(layout, ol.Linear()), random_task(layout)
    network = random_network(layout)
    difference = ol.simulate(model, network, task) - ol.rollout(model, network.overlaps, task)
    assert np.max(np.abs(difference)) <= rounding(network.overlaps, task, 60)


# -- against independent computations -------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", PHI, ids=lambda a: type(a).__name__)
def test_simulation_equals_a_plain_loop_over_equation_one(activation):
    layout = ol.Layout(2, 2, 1)
    model, task, network = ol.Model(layout, activation), random_task(layout), random_network(layout)
    expected = simulate_by_hand(PHI[activation], network, task)
    assert np.max(np.abs(expected)) > 0.05
    # phi itself is good to a few eps, less than the N eps of an average.
    difference = ol.simulate(model, network, task) - expected
    assert np.max(np.abs(difference)) <= rounding(network.overlaps, task, 60)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (ol.Linear(), lambda variance: 1.0),
        (ol.Erf(), lambda variance: (1 + np.pi * variance / 2) ** -0.5),
        (ol.ReLU(), lambda variance: 0.5),
        (ol.Activation(jnp.sin), lambda variance: np.exp(-variance / 2)),
    ],
    ids=["linear", "erf", "relu", "sine"],
)
def test_rollout_equals_a_plain_loop_over_equations_three_and_four(activation, gain):
    layout = ol.Layout(2, 2, 1)
    model, task = ol.Model(layout, activation), random_task(layout)
    overlaps = random_overlaps(layout, seed=3)
    expected = rollout_by_hand(gain, overlaps, task)
    assert np.max(np.abs(expected)) > 0.05
    # The quadrature of the sine sums 128 nodes.
    assert np.max(np.abs(ol.rollout(model, overlaps, task) - expected)) <= rounding(overlaps, task, 128)


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf()], ids=["linear", "erf"])
def test_euler_steps_converge_to_the_differential_equation_at_first_order(activation):
    layout = ol.Layout(n_in=1, rank=2, n_out=1)
    model = ol.Model(layout, activation)
    overlaps = random_overlaps(layout, seed=4)
    gram = np.asarray(overlaps.gram)
    duration = 2.0

    def slope(t, k):
        variance = k @ gram[:3, :3] @ k
        g = 1.0 if model.is_linear else (1 + np.pi * variance / 2) ** -0.5
        return -k + np.concatenate([[2 * np.cos(3 * t)], g * gram[3:5, :3] @ k])

    def largest_error(dt):
        times = dt * np.arange(round(duration / dt) + 1)
        zeros = np.zeros((1, len(times), 1))
        task = ol.Task(2 * np.cos(3 * times)[None, :, None], zeros, zeros, dt)
        # The reference is far more accurate than the errors of 1e-3 that are measured.
        exact = scipy.integrate.solve_ivp(
            slope, (0, duration + dt), np.zeros(3), t_eval=times, rtol=1e-10, atol=1e-12
        ).y.T
        variance = np.sum(exact @ gram[:3, :3] * exact, axis=1)
        g = np.ones_like(variance) if model.is_linear else (1 + np.pi * variance / 2) ** -0.5
        return np.max(np.abs(ol.rollout(model, overlaps, task)[0, :, 0] - g * (exact @ gram[5, :3])))

    coarse, fine = largest_error(0.02), largest_error(0.01)
    # error = C dt (1 + a dt), a of the order of the fastest rate (3, of the input): the measured order is off by
    # a dt / ln 2.
    assert np.log2(coarse / fine) == pytest.approx(1.0, abs=3 * 0.02 / np.log(2))
    assert fine > 1e-6


def test_erf_neurons_approach_the_gaussian_theory_as_the_root_of_their_number():
    layout, n_networks, sizes = ol.Layout(), 100, (100, 1600)
    model, task = ol.Model(layout, ol.Erf()), random_task(layout, n_trials=1)
    overlaps = ol.Overlaps.from_entries(layout, mm=3.0, zm=0.5, vm=0.8, zu=0.5, vu=0.7, vv=2.0, zz=2.0)
    expected = ol.rollout(model, overlaps, task)

    def deviation(n):
        normal = np.random.default_rng(5).normal(size=(n_networks, n, layout.size))
        networks = ol.Network(normal @ np.linalg.cholesky(overlaps.gram).T, layout)
        outputs = jax.vmap(lambda network: ol.simulate(model, network, task))(networks)
        return float(jnp.sqrt(jnp.mean(jnp.square(outputs - expected))))

    small, large = (deviation(n) for n in sizes)
    exponent = np.log(large / small) / np.log(sizes[1] / sizes[0])
    # A mean square over K networks has a relative standard error of at most sqrt(2/K), its root half that; two of them
    # make the error of the exponent, here 0.036. Four standard errors.
    standard_error = np.sqrt(2) * np.sqrt(2 / n_networks) / 2 / np.log(sizes[1] / sizes[0])
    assert exponent == pytest.approx(-0.5, abs=4 * standard_error)


# -- symmetries -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_rotation_of_neurons_leaves_linear_outputs(seed):
    layout = ol.Layout(2, 2, 1)
    model, task, network = ol.Model(layout, ol.Linear()), random_task(layout, seed), random_network(layout, seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(60, 60)))[0]
    turned = ol.Network(rotation @ network.vectors, layout)
    difference = ol.simulate(model, turned, task) - ol.simulate(model, network, task)
    # The rotated vectors are themselves sums of 60 terms.
    assert np.max(np.abs(difference)) <= rounding(network.overlaps, task, 2 * 60)


def test_a_rotation_of_neurons_changes_nonlinear_outputs():
    layout = ol.Layout(2, 2, 1)
    model, task, network = ol.Model(layout, ol.Erf()), random_task(layout), random_network(layout)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    turned = ol.Network(rotation @ network.vectors, layout)
    assert np.max(np.abs(ol.simulate(model, turned, task) - ol.simulate(model, network, task))) > 1e-3


@pytest.mark.parametrize("activation", PHI, ids=lambda a: type(a).__name__)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_permutation_of_neurons_leaves_outputs(activation, seed):
    layout = ol.Layout(2, 2, 1)
    model, task, network = ol.Model(layout, activation), random_task(layout, seed), random_network(layout, seed)
    shuffled = ol.Network(np.random.default_rng(seed).permutation(network.vectors), layout)
    difference = ol.simulate(model, shuffled, task) - ol.simulate(model, network, task)
    assert np.max(np.abs(difference)) <= rounding(network.overlaps, task, 60)


@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10.0))
@settings(max_examples=15, deadline=None)
def test_stretching_u_and_shrinking_v_leaves_linear_outputs(seed, factor):
    layout = ol.Layout(2, 2, 1)
    model, task, network = ol.Model(layout, ol.Linear()), random_task(layout, seed), random_network(layout, seed)
    scale = np.array([1, 1, factor, factor, 1 / factor, 1 / factor, 1])
    scaled = ol.Network(network.vectors * scale, layout)
    difference = ol.simulate(model, scaled, task) - ol.simulate(model, network, task)
    # Only products of u and v enter, so that the rounding is that of the network before.
    bound = rounding(network.overlaps, task, 60)
    assert np.max(np.abs(difference)) <= bound
    # The overlaps are others and the reduced outputs the same: k_u shrinks as u grows, and its product with s_zu stays.
    reduced = ol.rollout(model, scaled.overlaps, task) - ol.rollout(model, network.overlaps, task)
    assert np.max(np.abs(reduced)) <= bound


@pytest.mark.parametrize("activation", PHI, ids=lambda a: type(a).__name__)
def test_a_neuron_split_into_two_of_half_the_weight_changes_nothing(activation):
    layout, n = ol.Layout(2, 2, 1), 60
    model, task, network = ol.Model(layout, activation), random_task(layout), random_network(layout)
    weights = np.random.default_rng(1).dirichlet(np.ones(n))
    before = ol.Network(network.vectors, layout, weights)
    halves = np.concatenate([weights[:1] / 2, weights[1:], weights[:1] / 2])
    after = ol.Network(np.concatenate([network.vectors, network.vectors[:1]]), layout, halves)
    difference = ol.simulate(model, after, task) - ol.simulate(model, before, task)
    assert np.max(np.abs(difference)) <= rounding(before.overlaps, task, n)
    # The weights matter: equal ones give something else.
    assert np.max(np.abs(ol.simulate(model, before, task) - ol.simulate(model, network, task))) > 1e-3


def test_quadrature_neurons_of_given_weights_are_averaged_as_weighted_sums():
    """A plain loop with weights: the average over neurons is sum_i w_i, also in the connectivity."""
    layout, n = ol.Layout(), 60
    model, task, network = ol.Model(layout, ol.Erf()), random_task(layout), random_network(layout)
    weights = np.random.default_rng(2).dirichlet(np.ones(n))
    # Neurons of weight w are n w neurons of weight 1/n: their v and z count n w times.
    counted = np.asarray(network.vectors) * np.where(np.arange(4) >= 2, n * weights[:, None], 1.0)
    expected = simulate_by_hand(PHI[ol.Erf()], ol.Network(counted, layout), task)
    found = ol.simulate(model, ol.Network(network.vectors, layout, weights), task)
    assert np.max(np.abs(found - expected)) <= rounding(ol.Network(counted, layout).overlaps, task, n)


def test_without_recurrence_the_output_is_the_filtered_input():
    layout = ol.Layout(n_in=1, rank=0, n_out=1)
    task = random_task(layout, n_trials=1)
    overlaps = ol.Overlaps.from_entries(layout, zm=0.5, mm=2.0)
    filtered = [0.0]
    for x in np.asarray(task.inputs)[0, :-1, 0]:
        filtered.append(filtered[-1] + DT * (x - filtered[-1]))
    filtered = np.array(filtered)
    linear = ol.rollout(ol.Model(layout, ol.Linear()), overlaps, task)[0, :, 0]
    erf = ol.rollout(ol.Model(layout, ol.Erf()), overlaps, task)[0, :, 0]
    gain = (1 + np.pi / 2 * 2.0 * filtered**2) ** -0.5
    assert np.max(np.abs(linear - 0.5 * filtered)) <= rounding(overlaps, task)
    assert np.max(np.abs(erf - gain * 0.5 * filtered)) <= rounding(overlaps, task)


# -- when things are read -------------------------------------------------------------------------------------------


def test_an_input_is_first_read_one_step_later():
    layout = ol.Layout()
    inputs = np.zeros((1, N_STEPS, 1))
    inputs[0, 7] = 1.0
    task = ol.Task(inputs, np.zeros_like(inputs), np.zeros_like(inputs), DT)
    overlaps = ol.Overlaps.from_entries(layout, zm=0.5)
    network = neurons_of(overlaps, 60)
    for outputs in (
        ol.rollout(ol.Model(layout, ol.Linear()), overlaps, task),
        ol.simulate(ol.Model(layout, ol.Linear()), network, task),
    ):
        assert np.all(outputs[0, :8, 0] == 0)
        assert float(outputs[0, 8, 0]) == pytest.approx(0.5 * DT, abs=rounding(overlaps, task, 60))


def test_trials_do_not_touch_each_other():
    layout = ol.Layout()
    model, task = ol.Model(layout, ol.Erf()), random_task(layout)
    overlaps = random_overlaps(layout, seed=6)
    swapped = ol.Task(task.inputs[::-1], task.targets, task.weights, task.dt)
    difference = ol.rollout(model, overlaps, task)[::-1] - ol.rollout(model, overlaps, swapped)
    assert np.max(np.abs(difference)) <= rounding(overlaps, task)


def test_field_variance_is_that_of_the_neurons():
    """Linear neurons: the mean square of the simulated field h, computed from the state itself."""
    layout = ol.Layout(2, 2, 1)
    task, network = random_task(layout), random_network(layout)
    found = ol.model.field_variance(ol.Model(layout, ol.Linear()), network.overlaps, task)
    m, u, v = (np.asarray(x) for x in (network.m, network.u, network.v))
    h, expected = np.zeros((2, 60)), []
    for x in np.moveaxis(np.asarray(task.inputs), 1, 0):
        expected.append(np.mean(h**2, axis=1))
        h = h + DT * (-h + h @ v @ u.T / 60 + x @ m.T)
    # A variance is a product of two fields, each of size sqrt(D).
    bound = 2 * rounding(network.overlaps, task, 60) * np.sqrt(np.max(expected))
    assert np.max(np.abs(found - np.transpose(expected))) <= bound


# -- jax ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf(), ol.Tanh()], ids=["linear", "erf", "tanh"])
def test_vmap_over_overlaps_equals_a_loop(activation):
    layout = ol.Layout()
    model, task = ol.Model(layout, activation), random_task(layout)
    starts = [random_overlaps(layout, seed) for seed in range(3)]
    batch = ol.Overlaps(jnp.stack([o.gram for o in starts]), layout)
    mapped = jax.vmap(lambda o: ol.rollout(model, o, task))(batch)
    for outputs, overlaps in zip(mapped, starts, strict=True):
        assert np.max(np.abs(outputs - ol.rollout(model, overlaps, task))) <= rounding(overlaps, task, 128)


def test_vmap_over_networks_equals_a_loop():
    layout = ol.Layout()
    model, task = ol.Model(layout, ol.Erf()), random_task(layout)
    networks = [random_network(layout, seed) for seed in range(2)]
    batch = ol.Network(jnp.stack([n.vectors for n in networks]), layout)
    mapped = jax.vmap(lambda n: ol.simulate(model, n, task))(batch)
    for outputs, network in zip(mapped, networks, strict=True):
        bound = rounding(network.overlaps, task, 60)
        assert np.max(np.abs(outputs - ol.simulate(model, network, task))) <= bound


def test_gradients_of_the_loss_equal_finite_differences_through_a_silent_beginning():
    """With no input yet, the field variance is 0, where the square root in the gain has no derivative."""
    layout, step = ol.Layout(), 1e-5
    model = ol.Model(layout, ol.Tanh())
    inputs = np.zeros((2, N_STEPS, 1))
    inputs[:, 5:] = 1.0
    task = ol.Task(inputs, np.ones_like(inputs), np.ones_like(inputs) / N_STEPS, DT)
    gram = np.asarray(random_overlaps(layout, seed=8).gram)

    @jax.jit
    def loss(values):
        return task.loss(ol.rollout(model, ol.Overlaps(values, layout), task))

    found = np.asarray(jax.grad(loss)(gram))
    assert np.all(np.isfinite(found))
    for i, j in np.ndindex(4, 4):
        change = np.zeros((4, 4))
        change[i, j] = step
        difference = (float(loss(gram + change)) - float(loss(gram - change))) / (2 * step)
        # Left out: step^2/6 of the third derivative (of order 10), and rounding 100 eps of the loss over the step.
        assert found[i, j] == pytest.approx(difference, abs=1e-9)


@contextlib.contextmanager
def counted_compilations():
    events = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("activation", [ol.Linear, ol.Erf, ol.Tanh])
def test_other_values_of_the_same_shapes_do_not_compile_again(activation):
    layout = ol.Layout()
    starts = [random_overlaps(layout, seed=s) for s in (0, 1)]
    networks = [neurons_of(o, 25) for o in starts]
    tasks = [ol.tasks.exponential_filter(decay=0.2, duration=1.0, dt=0.1), ol.tasks.exponential_filter(0.4, 2.0, 0.2)]
    # The model is built anew, as in a script that is called twice.
    with counted_compilations() as first:
        before = ol.rollout(ol.Model(ol.Layout(), activation()), starts[0], tasks[0])
        ol.simulate(ol.Model(ol.Layout(), activation()), networks[0], tasks[0])
    with counted_compilations() as second:
        after = ol.rollout(ol.Model(ol.Layout(), activation()), starts[1], tasks[1])
        ol.simulate(ol.Model(ol.Layout(), activation()), networks[1], tasks[1])
    assert len(first) >= 2
    assert len(second) == 0
    assert not np.array_equal(before, after)


def test_single_precision_is_computed_in_single_precision():
    layout = ol.Layout()
    model, task = ol.Model(layout, ol.Erf()), random_task(layout)
    network = random_network(layout)
    single = ol.Network(network.vectors.astype(np.float32), layout)
    expected = ol.simulate(model, network, task)
    for outputs in (
        ol.simulate(model, single, task),
        ol.simulate(model, single, task.astype(np.float32)),
        ol.rollout(model, single.overlaps, task.astype(np.float32)),
    ):
        assert outputs.dtype == np.float32
    bound = rounding(network.overlaps, task, 60) * float(np.finfo(np.float32).eps) / EPS
    difference = ol.simulate(model, single, task.astype(np.float32)) - expected
    assert 0 < np.max(np.abs(difference)) <= bound


@pytest.mark.parametrize("dt", [0.1, np.float64(0.1), np.float32(0.1)])
def test_the_type_of_dt_does_not_matter_to_single_precision(dt):
    layout = ol.Layout()
    zeros = np.zeros((1, N_STEPS, 1), np.float32)
    task = ol.Task(zeros + 1, zeros, zeros, dt)
    overlaps = ol.Overlaps(np.eye(4, dtype=np.float32), layout)
    assert ol.rollout(ol.Model(layout, ol.Erf()), overlaps, task).dtype == np.float32


# -- errors ---------------------------------------------------------------------------------------------------------


def test_another_layout_is_refused_with_both():
    layout, other = ol.Layout(), ol.Layout(rank=2)
    model, task = ol.Model(layout, ol.Linear()), random_task(layout)
    network = random_network(other)
    for name, call in (
        ("rollout: overlaps", lambda: ol.rollout(model, network.overlaps, task)),
        ("simulate: network", lambda: ol.simulate(model, network, task)),
        ("field_variance: overlaps", lambda: ol.model.field_variance(model, network.overlaps, task)),
    ):
        with pytest.raises(ValueError, match=name) as caught:
            call()
        assert f"has {other}, the model has {layout}" in str(caught.value)


def test_what_has_no_layout_is_refused():
    layout = ol.Layout()
    with pytest.raises(ValueError, match=r"rollout: overlaps must be an ol\.Overlaps, got ndarray"):
        ol.rollout(ol.Model(layout, ol.Linear()), np.eye(4), random_task(layout))


def test_overlaps_in_the_place_of_a_network_are_refused():
    layout = ol.Layout()
    model, task = ol.Model(layout, ol.Linear()), random_task(layout)
    network = random_network(layout)
    with pytest.raises(ValueError, match="simulate: network"):
        ol.simulate(model, network.overlaps, task)
    with pytest.raises(ValueError, match="rollout: overlaps"):
        ol.rollout(model, network, task)


def test_a_task_with_other_inputs_is_refused():
    model = ol.Model(ol.Layout(n_in=2), ol.Linear())
    overlaps = ol.Overlaps.from_entries(model.layout)
    with pytest.raises(ValueError, match="the task has 1 input channels, the model has n_in=2"):
        ol.rollout(model, overlaps, random_task(ol.Layout()))


def test_a_batch_without_vmap_is_refused_with_the_way_to_map():
    layout = ol.Layout()
    model, task = ol.Model(layout, ol.Linear()), random_task(layout)
    batch = ol.Overlaps(np.stack([np.eye(4)] * 3), layout)
    with pytest.raises(ValueError, match=r"overlaps is a batch of shape \[3\]; use jax.vmap .*ol.rollout"):
        ol.rollout(model, batch, task)
    networks = ol.Network(np.ones((3, 5, 4)), layout)
    with pytest.raises(ValueError, match=r"network is a batch of shape \[3\]; use jax.vmap .*ol.simulate"):
        ol.simulate(model, networks, task)


def test_a_derivative_keeps_less_than_one_number_per_node_trial_and_step():
    """It keeps k of each step: what phi is at the nodes of its quadrature is computed again."""
    n_trials, model = 4, ol.Model(ol.Layout(), ol.Tanh())
    task, overlaps = random_task(model.layout, n_trials=n_trials), random_overlaps(model.layout)

    def total(gram):
        return jnp.sum(ol.rollout(model, ol.Overlaps(gram, model.layout), task))

    kept = jax.jit(jax.grad(total)).lower(overlaps.gram).compile().memory_analysis().temp_size_in_bytes
    assert kept < 8 * N_STEPS * n_trials * model.activation.quadrature.order
