"""train: theory against every neuron, the gradient and its memory, symmetries, precision, interruptions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol
from overlap_learning.learning.trials import Trials
from overlap_learning.neurons.loss import neuron_loss

# Compilation is what these tests cost: all share one shape of trials, one number of steps and one way to save, so
# that runs that differ in numbers only share a program.
N_TRIALS, N_TIMES, N_STEPS, SAVE_EVERY = 4, 60, 300, 10
EPS = np.finfo(float).eps
RANK_1 = ol.Layout(n_in=1, rank=1, n_out=1)
RANK_2 = ol.Layout(n_in=1, rank=2, n_out=1)
TWO_BY_TWO = ol.Layout(n_in=2, rank=2, n_out=2)
LINEAR = ol.Model(RANK_1, ol.Linear())

# What the theory promises for linear networks in float64. Where it comes from: each of 300 steps adds the rounding of a
# gradient, a chain of 60 time steps forth and back (300 * 2 * 60 * eps = 8e-12), to overlaps of size 1; learning
# towards a solution amplifies it by less than ten.
PROMISED = 1e-10


def make_task(layout, *, n_trials=N_TRIALS, n_times=N_TIMES, dt=0.1, seed=0):
    """Low-pass filter random inputs, with as many channels as the layout has."""
    random = np.random.default_rng(seed)
    inputs = 1.5 * random.standard_normal((n_trials, n_times, layout.n_in))
    mixing = random.uniform(0.5, 1.0, (layout.n_in, layout.n_out))
    targets = np.zeros((n_trials, n_times, layout.n_out))
    for k in range(n_times - 1):
        targets[:, k + 1] = targets[:, k] + dt * (inputs[:, k] @ mixing - 0.5 * targets[:, k])
    return ol.Task(inputs, targets, np.full(targets.shape, dt / n_trials), dt)


TASK = make_task(RANK_1)
START = ol.Overlaps.random(RANK_1, key=jax.random.key(0), scale=0.2)


def noisy(*, key):
    """Trials that compile faster than published ones: those of this file with fresh noise on their inputs."""
    return TASK.replace(inputs=TASK.inputs + 0.3 * jax.random.normal(key, TASK.inputs.shape))


def make_network(n_neurons=12, *, layout=RANK_1, seed=1):
    start = START if layout == RANK_1 else ol.Overlaps.random(layout, key=jax.random.key(0), scale=0.2)
    return ol.Network.sample(start, n_neurons, key=jax.random.key(seed))


def descent(learning_rate=0.02, **settings):
    return ol.GradientDescent(learning_rate, N_STEPS, save_every=SAVE_EVERY, **settings)


def largest(difference):
    return float(np.max(np.abs(np.asarray(difference))))


def simulated_loss(model, vectors, weights, task):
    network = ol.Network(vectors, model.layout, weights)
    return task.loss(ol.simulate(model, network, task))


# -- the promise: linear theory is exact at every N ------------------------------------------------------------------

MOMENTUM = {"momentum": 0.5, "clip_norm": 1e6}
RULES = {
    "plain": {},
    "decay": {"weight_decay": 0.05},
    "frozen": {"rates": {"m": 0.0}},
    "rates": {"rates": {"m": 0.5, "u": 2.0, "z": 0.25}},
    "label noise": {"label_noise": 0.3},
    "momentum": MOMENTUM,
    "momentum, decay": MOMENTUM | {"weight_decay": 0.05},
    "momentum, clipping": MOMENTUM | {"clip_norm": 0.3},
    "momentum, clipping, frozen": MOMENTUM | {"clip_norm": 0.3, "rates": {"u": 0.0, "v": 0.5}},
    "nesterov": MOMENTUM | {"nesterov": True},
    "nesterov, clipping, decay": MOMENTUM | {"nesterov": True, "clip_norm": 0.3, "weight_decay": 0.05},
    "schedule, minibatch, noise": {
        "learning_rate": optax.cosine_decay_schedule(0.04, N_STEPS),
        "batch_size": 2,
        "label_noise": 0.1,
    },
}
HARD = ["momentum", "momentum, clipping, frozen"]
# Label noise is also in the last of the rules.
GRID = [
    *((RANK_1, 12, name) for name in RULES if name != "label noise"),
    *((TWO_BY_TWO, 50, name) for name in HARD),
]


@pytest.mark.parametrize(("layout", "n_neurons", "name"), GRID, ids=lambda value: str(value))
def test_linear_theory_is_the_training_of_all_neurons_to_rounding(layout, n_neurons, name):
    model, task, rule = ol.Model(layout, ol.Linear()), make_task(layout), descent(**RULES[name])
    network, key = make_network(n_neurons, layout=layout), jax.random.key(7)
    full = ol.train(model, task, network, rule, key=key)
    theory = ol.integrate(model, task, network.overlaps, rule, key=key)
    assert largest(full.overlaps.gram - theory.overlaps.gram) <= PROMISED
    assert largest(full.loss - theory.loss) <= PROMISED
    assert np.array_equal(full.time, theory.time)
    assert np.array_equal(full.step, theory.step)
    # Every neuron's vectors too: V = V(0) M.
    assert largest(full.final.vectors - network.vectors @ theory.transfer[-1]) <= PROMISED * n_neurons**0.5
    assert largest(full.overlaps.gram[-1] - full.overlaps.gram[0]) > 0.1


def test_the_rules_of_the_grid_differ_from_each_other():
    """Settings that did nothing would make the grid say less than it seems to."""
    key = jax.random.key(7)
    found = {
        name: ol.integrate(LINEAR, TASK, START, descent(**rule), key=key).final.gram for name, rule in RULES.items()
    }
    for a, b in itertools.combinations(found, 2):
        assert largest(found[a] - found[b]) > 1e-4, (a, b)


def test_theory_and_all_neurons_draw_the_same_trials_from_a_stream():
    trials, rule = ol.tasks.stream(noisy), descent()
    network, key = make_network(), jax.random.key(5)
    full = ol.train(LINEAR, trials, network, rule, key=key)
    theory = ol.integrate(LINEAR, trials, START, rule, key=key)
    assert largest(full.overlaps.gram - theory.overlaps.gram) <= PROMISED
    # Those of the first step, in each step, would have been others.
    first = ol.integrate(LINEAR, Trials(trials, key).sample(jnp.asarray(0)), START, rule)
    assert largest(first.loss[0] - theory.loss[0]) <= PROMISED
    assert largest(first.overlaps.gram - theory.overlaps.gram) > 1e-4
    other = ol.integrate(LINEAR, trials, START, rule, key=jax.random.key(6))
    assert largest(other.overlaps.gram - theory.overlaps.gram) > 1e-4


def test_nonlinear_theory_is_not_exact_at_finite_n():
    """The comparison above can fail: here it has to."""
    model = ol.Model(RANK_1, ol.Erf())
    full = ol.train(model, TASK, make_network(), descent())
    theory = ol.integrate(model, TASK, START, descent())
    assert largest(full.overlaps.gram - theory.overlaps.gram) > 1e-3


# -- against optax ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "nesterov"])
def test_descent_is_optax_sgd_with_decayed_weights_after_clipping_by_global_norm(nesterov):
    """The norm of optax is that of all neurons together, `sqrt(N)` times the root mean square that clip_norm bounds."""
    network, eta, mu, decay, clip = make_network(), 0.02, 0.5, 0.05, 0.3
    optimiser = optax.chain(
        optax.clip_by_global_norm(clip * network.n_neurons**0.5),
        optax.add_decayed_weights(decay),
        optax.sgd(eta, momentum=mu, nesterov=nesterov),
    )
    by_optax = ol.train(LINEAR, TASK, network, ol.Optimiser(optimiser, N_STEPS, save_every=SAVE_EVERY))
    rule = descent(eta, momentum=mu, nesterov=nesterov, weight_decay=decay, clip_norm=clip)
    found = ol.train(LINEAR, TASK, network, rule)
    assert largest(found.final.vectors - by_optax.final.vectors) <= PROMISED
    assert largest(found.overlaps.gram - by_optax.overlaps.gram) <= PROMISED
    # An optimiser's time counts its steps.
    assert np.array_equal(by_optax.time, found.step)


def test_descent_is_a_loop_of_optax_over_gradients_of_the_simulated_network():
    """The gradients here are those of the loss itself, not times N: rate, decay and clipping change by factors of N."""
    network, eta, mu, decay, clip = make_network(), 0.02, 0.5, 0.05, 0.3
    n = network.n_neurons
    optimiser = optax.chain(
        optax.clip_by_global_norm(clip / n**0.5),
        optax.add_decayed_weights(decay / n),
        optax.sgd(n * eta, momentum=mu),
    )

    @jax.jit
    def step(vectors, memory):
        gradient = jax.grad(lambda v: simulated_loss(LINEAR, v, None, TASK))(vectors)
        updates, memory = optimiser.update(gradient, memory, vectors)
        return vectors + updates, memory, jnp.sqrt(jnp.sum(gradient**2)) > clip / n**0.5

    vectors, memory, clipped = network.vectors, optimiser.init(network.vectors), 0
    for _ in range(N_STEPS):
        vectors, memory, was_clipped = step(vectors, memory)
        clipped += int(was_clipped)
    found = ol.train(LINEAR, TASK, network, descent(eta, momentum=mu, weight_decay=decay, clip_norm=clip))
    assert largest(found.final.vectors - vectors) <= PROMISED
    assert 0 < clipped < N_STEPS


# One object: another call of optax.adam makes other functions, which compile anew.
ADAM = optax.adam(1e-2)


def adam(**settings):
    return ol.Optimiser(ADAM, N_STEPS, save_every=SAVE_EVERY, **settings)


def test_adam_trains_all_neurons_and_theory_refuses_it():
    solution = ol.train(LINEAR, TASK, make_network(), adam())
    assert float(solution.loss[-1]) < 0.1 * float(solution.loss[0])
    assert solution.time.tolist() == list(range(0, N_STEPS + 1, SAVE_EVERY))
    with pytest.raises(ValueError, match="does not close in overlap space"):
        ol.integrate(LINEAR, TASK, START, adam())


def test_adam_depends_on_more_than_overlaps():
    """Two networks with the same overlaps, which gradient descent could not tell apart."""
    ends = [ol.train(LINEAR, TASK, make_network(seed=seed), adam()).final.overlaps.gram for seed in (1, 2)]
    assert largest(ends[0] - ends[1]) > 1e-3


def test_rates_multiply_the_updates_of_an_optimiser():
    network = make_network()
    solution = ol.train(LINEAR, TASK, network, adam(rates={"m": 0.0}))
    assert np.array_equal(solution.final.m, network.m)
    assert largest(solution.final.u - network.u) > 1e-3


def test_neurons_of_unequal_gain_are_others_at_rates_of_their_own():
    """`phi(g_i h_i)` of vectors m, u is `phi(h_i)` of `g m, g u`, whose updates are g^2 times as large."""
    network, tanh = make_network(), ol.Model(RANK_1, ol.Tanh())
    n, n_fields = network.n_neurons, RANK_1.n_fields
    gains = jnp.linspace(0.0, 2.0, n)[:, None]
    scale = jnp.concatenate([jnp.broadcast_to(gains, (n, n_fields)), jnp.ones((n, RANK_1.size - n_fields))], axis=1)
    slope = jax.jit(jax.grad(lambda own: simulated_loss(tanh, scale * own, None, TASK)))
    own = network.vectors
    for _ in range(5):
        own = own - 0.1 * n * slope(own)
    rule = ol.GradientDescent(0.1, 5, rates=scale**2)
    found = ol.train(tanh, TASK, ol.Network(scale * network.vectors, RANK_1), rule)
    assert largest(found.final.vectors - scale * own) <= PROMISED
    assert largest(found.final.vectors - scale * network.vectors) > 1e-2
    with pytest.raises(ValueError, match=r"\[12, 4\]\. Rates of single neurons are for ol\.train"):
        ol.integrate(tanh, TASK, START, rule)


def test_neurons_with_time_constants_of_their_own(tmp_path):
    network, n = make_network(), 12
    times = jnp.linspace(0.5, 3.0, n)
    model = ol.Model(RANK_1, ol.Tanh(), time_constants=times)

    def loss(vectors):
        m, u, v, z = vectors.T

        def step(h, x):
            rates = jnp.tanh(h)
            drive = jnp.outer(rates @ v / n, u) + jnp.outer(x[:, 0], m)
            return h + TASK.dt / times * (drive - h), rates @ z[:, None] / n

        _, y = jax.lax.scan(step, jnp.zeros((N_TRIALS, n)), jnp.moveaxis(TASK.inputs, 0, 1))
        return TASK.loss(jnp.moveaxis(y, 0, 1))

    slope, vectors = jax.jit(jax.grad(loss)), network.vectors
    for _ in range(5):
        vectors = vectors - 0.1 * n * slope(vectors)
    rule = ol.GradientDescent(0.1, 5)
    learned = ol.train(model, TASK, network, rule)
    assert largest(learned.final.vectors - vectors) <= PROMISED
    compiled = jax.jit(lambda rate: ol.train(model, TASK, network, ol.GradientDescent(rate, 5)).final.vectors)
    assert largest(compiled(0.1) - vectors) <= PROMISED
    learned.save(tmp_path / "run.nc")
    np.testing.assert_array_equal(ol.load(tmp_path / "run.nc").model.time_constants, times)
    for name, ask in {
        "integrate": lambda: ol.integrate(model, TASK, START, rule),
        # Overlaps that one of them sees are not those that its activity depends on.
        "equivalent": lambda: ol.equivalent(START, model, uu=2.0),
        "feasible": lambda: ol.feasible(START, model, "uu"),
    }.items():
        with pytest.raises(ValueError, match=rf"{name}: the model has time_constants.*full networks.*divide dt"):
            ask()
    for wrong, message in ((times[:5], "5 time_constants, the network 12"), (times / 20, "longer than dt / 2 = 0.05")):
        with pytest.raises(ValueError, match=message):
            ol.train(ol.Model(RANK_1, ol.Tanh(), time_constants=wrong), TASK, network, rule)


# -- the gradient ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "activation"),
    [
        (RANK_1, ol.Linear()),
        (TWO_BY_TWO, ol.Erf()),
        (TWO_BY_TWO, ol.Tanh()),
        (RANK_2, ol.ReLU()),
        (ol.Layout(rank=0), ol.Tanh()),
    ],
    ids=["linear", "erf", "tanh", "relu", "no recurrence"],
)
def test_backpropagation_with_recomputed_fields_is_that_through_the_simulated_network(layout, activation):
    model, task = ol.Model(layout, activation), make_task(layout)
    random = np.random.default_rng(0)
    n_neurons = 12
    vectors = jnp.asarray(random.standard_normal((n_neurons, layout.size)))
    weights = random.uniform(0.5, 1.5, n_neurons)
    weights = jnp.asarray(weights / weights.sum())
    value, gradient = jax.jit(jax.value_and_grad(neuron_loss, argnums=1), static_argnums=0)(
        model, vectors, weights, task
    )
    expected_value, expected = jax.jit(jax.value_and_grad(simulated_loss, argnums=1), static_argnums=0)(
        model, vectors, weights, task
    )
    # Chains of T steps, forth and back, of rounded sums over neurons.
    rounding = 2 * N_TIMES * n_neurons * EPS
    assert abs(float(value - expected_value)) <= rounding * float(expected_value)
    assert largest(gradient - expected) <= rounding * largest(expected)
    assert largest(expected) > 1e-4


def test_the_gradient_needs_memory_for_neurons_and_for_trials_but_not_for_their_product_with_time():
    model = ol.Model(RANK_1, ol.Erf())
    n_neurons, n_trials, n_times, d = 2000, 4, 200, RANK_1.size
    task = make_task(RANK_1, n_trials=n_trials, n_times=n_times)
    vectors, weights = jnp.zeros((n_neurons, d)), jnp.full(n_neurons, 1 / n_neurons)

    def temporary_bytes(loss):
        compiled = jax.jit(jax.grad(loss)).lower(vectors).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    everything = 8 * n_trials * n_times * n_neurons
    # One step holds fields, their phi and phi', and what flows back to each: 8 arrays [N, B] at most. Of the size of
    # V there are V, its transposed and weighted copies, and the running sum of the gradient. Of the trials: inputs,
    # outputs, the stored k, and what flows back to them.
    allowed = 8 * (8 * n_neurons * n_trials + 8 * n_neurons * d + 8 * n_trials * n_times * d)
    assert allowed < everything / 5
    assert temporary_bytes(lambda v: neuron_loss(model, v, weights, task)) <= allowed
    # The measure sees what it should: plain backpropagation stores every state.
    assert temporary_bytes(lambda v: simulated_loss(model, v, None, task)) >= everything


# -- symmetries ------------------------------------------------------------------------------------------------------


def test_splitting_neurons_into_weighted_copies_changes_nothing_in_the_overlaps():
    model = ol.Model(RANK_1, ol.Erf())
    vectors = np.asarray(make_network().vectors)
    random = np.random.default_rng(0)
    weights = random.uniform(0.5, 1.5, 12)
    weights /= weights.sum()
    share = random.uniform(0.2, 0.8, 12)
    whole = ol.Network(vectors, RANK_1, weights)
    parts = np.concatenate([share * weights, (1 - share) * weights])
    split = ol.Network(np.concatenate([vectors, vectors]), RANK_1, parts / parts.sum())
    runs = [ol.train(model, TASK, network, descent(weight_decay=0.05)) for network in (whole, split)]
    assert largest(runs[0].overlaps.gram - runs[1].overlaps.gram) <= PROMISED
    # Copies stay copies, whatever their share.
    copies = np.asarray(runs[1].final.vectors)
    assert largest(copies[:12] - copies[12:]) <= PROMISED
    assert largest(runs[0].overlaps.gram[-1] - runs[0].overlaps.gram[0]) > 0.1


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rotation_of_the_neurons_leaves_linear_learning_unchanged(seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((12, 12)))
    network = make_network()
    rotated = ol.Network(rotation @ network.vectors, RANK_1)
    a, b = (ol.train(LINEAR, TASK, start, descent()) for start in (network, rotated))
    assert largest(a.overlaps.gram - b.overlaps.gram) <= PROMISED
    assert largest(rotation @ a.final.vectors - b.final.vectors) <= PROMISED


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutation_of_the_neurons_leaves_nonlinear_learning_unchanged(seed):
    order = np.random.default_rng(seed).permutation(12)
    model, network = ol.Model(RANK_1, ol.Erf()), make_network()
    a, b = (ol.train(model, TASK, ol.Network(network.vectors[i], RANK_1), descent()) for i in (np.arange(12), order))
    assert largest(a.final.vectors[order] - b.final.vectors) <= PROMISED


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutation_of_ranks_permutes_the_overlaps(seed):
    model, task, rule = ol.Model(RANK_2, ol.Linear()), make_task(RANK_2), descent(**MOMENTUM)
    start = ol.Overlaps.random(RANK_2, key=jax.random.key(seed % 2**31), scale=0.2)
    order = np.array([RANK_2.vector_names.index(name) for name in ("m", "u2", "u1", "v2", "v1", "z")])
    permuted = ol.Overlaps(start.gram[np.ix_(order, order)], RANK_2)
    a, b = (ol.integrate(model, task, overlaps, rule) for overlaps in (start, permuted))
    assert largest(a.overlaps.gram[:, order][:, :, order] - b.overlaps.gram) <= PROMISED
    assert largest(a.loss - b.loss) <= PROMISED


# -- precision -------------------------------------------------------------------------------------------------------


def test_a_network_in_single_precision_stays_so_and_learns_as_in_double_precision():
    network = make_network()
    single = ol.train(LINEAR, TASK, ol.Network(network.vectors.astype(jnp.float32), RANK_1), descent())
    double = ol.train(LINEAR, TASK, network, descent())
    for array in (single.final.vectors, single.final.weights, single.loss, single.overlaps.gram):
        assert array.dtype == jnp.float32
    # Each step rounds V (eps per step at worst); S is off by T eps, which matters in proportion to the way learned,
    # about 3; the overlaps move twice as much as V.
    tolerance = 2 * (N_STEPS + 3 * N_TIMES) * np.finfo(np.float32).eps
    assert tolerance < 2e-4
    assert largest(single.overlaps.gram - double.overlaps.gram) <= tolerance
    # It did run in single precision.
    assert largest(single.overlaps.gram - double.overlaps.gram) > 1e-9


# -- batches and compilation -----------------------------------------------------------------------------------------


def test_training_under_vmap_over_networks_equals_a_loop_and_good_members_survive_a_bad_one():
    networks = [make_network(seed=1), make_network(seed=2), ol.Network(10 * make_network().vectors, RANK_1)]
    vectors = jnp.stack([network.vectors for network in networks])
    batch = jax.vmap(lambda v: ol.train(LINEAR, TASK, ol.Network(v, RANK_1), descent(), throw=False))(vectors)
    assert (batch.result == ol.RESULTS.diverged).tolist() == [False, False, True]
    for i in (0, 1):
        alone = ol.train(LINEAR, TASK, networks[i], descent())
        assert largest(batch.overlaps.gram[i] - alone.overlaps.gram) <= PROMISED
        assert largest(batch.final.vectors[i] - alone.final.vectors) <= PROMISED
    assert np.all(np.isfinite(batch.final.vectors))


def test_training_under_vmap_over_rates_keys_and_tasks_equals_a_loop():
    network = make_network()

    def run(eta, seed, scale):
        task = ol.Task(scale * TASK.inputs, TASK.targets, TASK.weights, TASK.dt)
        rule = descent(eta, label_noise=0.1)
        return ol.train(LINEAR, task, network, rule, key=jax.random.key(seed), throw=False).overlaps.gram

    # Two members that differ in their rates, two in their keys and two in their tasks.
    members = [(0.01, 0, 1.0), (0.02, 0, 1.0), (0.02, 1, 1.0), (0.02, 1, 0.9)]
    batch = jax.vmap(run)(*(jnp.array(values) for values in zip(*members, strict=True)))
    assert all(largest(a - b) > 1e-4 for a, b in itertools.pairwise(batch))
    for found, member in zip(batch, members, strict=True):
        assert largest(found - run(*member)) <= PROMISED


def test_a_second_call_with_other_numbers_compiles_nothing(caplog):
    def run(seed, eta, decay):
        rule = descent(eta, weight_decay=decay, rates={"u": 10 * eta})
        return ol.train(LINEAR, make_task(RANK_1, seed=seed), make_network(seed=seed), rule)

    run(0, 0.02, 0.1)
    caplog.clear()
    with jax.log_compiles():
        run(1, 0.03, 0.2)
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling ")] == []
    with jax.log_compiles():
        jax.jit(lambda x: 1.5 * x + 0.25)(jnp.ones(2))
    assert any(r.getMessage().startswith("Compiling ") for r in caplog.records)


# -- batches ---------------------------------------------------------------------------------------------------------

STARTS = (START, ol.Overlaps.random(RANK_1, key=jax.random.key(5), scale=0.2), ol.Overlaps(100 * START.gram, RANK_1))


@pytest.fixture(scope="module")
def three_networks():
    """Networks of which the third one's gradients are a hundred times those of the others: it diverges."""
    overlaps = ol.Overlaps(jnp.stack([start.gram for start in STARTS]), RANK_1)
    return ol.Network.sample(overlaps, 12, key=jax.random.key(1))


def member(networks, i):
    return jax.tree.map(lambda array: array[i], networks)


class TestBatches:
    trials = ol.tasks.stream(noisy)

    def train(self, network, **arguments):
        return ol.train(
            LINEAR, self.trials, network, descent(label_noise=0.1), jax.random.key(7), throw=False, **arguments
        )

    def test_each_network_learns_as_it_would_alone_and_the_others_survive_one_that_diverges(self, three_networks):
        batch = self.train(three_networks)
        assert (batch.result == ol.RESULTS.successful).tolist() == [True, True, False]
        assert (batch.result == ol.RESULTS.diverged).tolist() == [False, False, True]
        for i, start in enumerate(STARTS):
            alone = self.train(member(three_networks, i))
            n_saved = len(alone.time)
            scale = max(1.0, largest(start.gram))
            assert largest(batch.overlaps.gram[i, :n_saved] - alone.overlaps.gram) <= PROMISED * scale
            assert largest(batch.loss[i, :n_saved] - alone.loss) <= PROMISED * scale
            assert largest(batch.final.vectors[i] - alone.final.vectors) <= PROMISED * scale
            assert np.array_equal(batch.time[i, :n_saved], alone.time)
            assert np.all(np.isnan(batch.time[i, n_saved:]))
            assert int(batch.stats["n_steps"][i]) == int(alone.stats["n_steps"])
        # The two good ones started and ended differently.
        assert largest(batch.final.overlaps.gram[0] - batch.final.overlaps.gram[1]) > 0.1

    def test_every_field_has_the_shape_that_vmap_gives_it(self, three_networks):
        batch, mapped = self.train(three_networks), jax.vmap(self.train)(three_networks)
        assert jax.tree.structure(batch) == jax.tree.structure(mapped)
        for one, other in zip(jax.tree.leaves(batch), jax.tree.leaves(mapped), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            assert np.array_equal(np.isnan(one), np.isnan(other))
            np.testing.assert_allclose(one, other, atol=PROMISED, rtol=PROMISED)

    def test_shapes_are_those_of_the_whole_run_also_if_all_networks_end_early(self, three_networks):
        rule = descent(stop_loss=1e6)
        batch = ol.train(LINEAR, TASK, member(three_networks, slice(0, 2)), rule)
        assert (batch.result == ol.RESULTS.loss_reached).tolist() == [True, True]
        assert batch.time.shape == (2, N_STEPS // SAVE_EVERY + 1)
        assert np.all(np.isnan(batch.time[:, 1:]))
        assert np.all(batch.loss[:, 1:] == batch.loss[:, :1])

    def test_networks_that_ended_badly_are_named(self, three_networks):
        with pytest.raises(ol.LearningError, match=r"train: 1 of 3 networks ended badly: 2\. .*diverged.*throw=False"):
            ol.train(LINEAR, TASK, three_networks, descent())

    def test_a_batch_of_one_is_a_batch(self, three_networks):
        batch = ol.train(LINEAR, TASK, member(three_networks, slice(0, 1)), descent())
        assert batch.overlaps.gram.shape == (1, N_STEPS // SAVE_EVERY + 1, 4, 4)

    def test_a_flow_and_an_optimiser_take_batches(self, three_networks):
        two = member(three_networks, slice(0, 2))
        for rule in (ol.GradientFlow(2.0), adam()):
            batch = ol.train(LINEAR, TASK, two, rule)
            alone = ol.train(LINEAR, TASK, member(two, 1), rule)
            # A flow of a batch takes the steps of each member: the solver's tolerance is the same.
            assert largest(batch.overlaps.gram[1] - alone.overlaps.gram) <= 1e-7
            assert batch.final.vectors.shape == (2, 12, 4)

    def test_ctrl_c_ends_all_that_still_learn(self, three_networks, interrupted_after_second_call):
        with pytest.raises(ol.LearningInterrupted) as caught:
            self.train(three_networks)
        solution = caught.value.solution
        assert (solution.result == ol.RESULTS.interrupted).tolist() == [True, True, False]
        assert (solution.result == ol.RESULTS.diverged).tolist() == [False, False, True]
        assert solution.time.shape[1] < N_STEPS // SAVE_EVERY + 1

    def test_a_batch_can_be_saved_and_loaded(self, three_networks, tmp_path):
        batch = self.train(three_networks)
        batch.save(tmp_path / "batch.nc")
        loaded = ol.load(tmp_path / "batch.nc")
        assert np.array_equal(loaded.final.vectors, batch.final.vectors)
        assert np.array_equal(loaded.overlaps.gram, batch.overlaps.gram)


# -- endings ---------------------------------------------------------------------------------------------------------


def test_a_huge_learning_rate_raises_an_error_that_carries_the_last_good_network():
    with pytest.raises(ol.LearningError, match=r"diverged.*Ended at step \d+") as caught:
        ol.train(LINEAR, TASK, make_network(), descent(20.0))
    solution = caught.value.solution
    assert solution.result == ol.RESULTS.diverged
    assert np.all(np.isfinite(solution.final.vectors))
    assert np.all(np.isfinite(solution.overlaps.gram))
    assert int(solution.step[-1]) == int(solution.stats["n_steps"]) < N_STEPS
    returned = ol.train(LINEAR, TASK, make_network(), descent(20.0), throw=False)
    assert np.array_equal(returned.final.vectors, solution.final.vectors)


@pytest.fixture
def interrupted_after_second_call(monkeypatch):
    """Ctrl-C while the progress bar is drawn for the second time."""
    calls = itertools.count(1)

    def update(self, n=1):
        if next(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.auto.tqdm.update", update)


@pytest.mark.usefixtures("interrupted_after_second_call")
class TestInterruption:
    @pytest.mark.parametrize("throw", [True, False])
    def test_ctrl_c_raises_an_error_that_carries_what_was_learned_so_far(self, throw):
        # Without throw too: it is the user who wants to end the program, or the loop around this run.
        with pytest.raises(ol.LearningInterrupted, match=r"\.solution.*holds what was saved") as caught:
            ol.train(LINEAR, TASK, make_network(), descent(), throw=throw)
        assert isinstance(caught.value, KeyboardInterrupt)
        self.check(caught.value.solution)

    def test_what_was_learned_so_far_can_be_saved_and_loaded(self, tmp_path):
        with pytest.raises(ol.LearningInterrupted) as caught:
            ol.train(LINEAR, TASK, make_network(), descent())
        caught.value.solution.save(tmp_path / "run.nc")
        loaded = ol.load(tmp_path / "run.nc")
        assert loaded.result == ol.RESULTS.interrupted
        assert np.array_equal(loaded.final.vectors, caught.value.solution.final.vectors)

    def check(self, solution):
        assert solution.result == ol.RESULTS.interrupted
        n_steps = int(solution.stats["n_steps"])
        assert 0 < n_steps < N_STEPS
        assert int(solution.step[-1]) == n_steps
        # What was saved is the start of the whole run.
        theory = ol.integrate(LINEAR, TASK, START, descent())
        n_saved = len(solution.time)
        assert 1 < n_saved < len(theory.time)
        assert largest(solution.overlaps.gram - theory.overlaps.gram[:n_saved]) <= PROMISED
        assert largest(solution.final.overlaps.gram - theory.overlaps.gram[n_saved - 1]) <= PROMISED


def test_progress_is_shown_if_asked_for_and_counts_all_steps(capsys):
    ol.train(LINEAR, TASK, make_network(), descent(), progress=True)
    shown = capsys.readouterr().err
    assert "train N=12" in shown
    assert "300/300" in shown


@pytest.mark.parametrize("progress", [None, False])
def test_progress_is_quiet_where_nobody_watches(capsys, progress):
    ol.train(LINEAR, TASK, make_network(), descent(), progress=progress)
    assert capsys.readouterr().err == ""


def test_what_was_passed_in_is_not_changed():
    network = make_network()
    before = np.array(network.vectors)
    ol.train(LINEAR, TASK, network, descent())
    assert np.array_equal(network.vectors, before)


# -- bad input -------------------------------------------------------------------------------------------------------

STREAM = ol.tasks.stream(ol.tasks.decision_making, n_trials=4, dt=0.25)


def refuses(message, *, model=LINEAR, task=TASK, network=None, rule=None, **arguments):
    with pytest.raises(ValueError, match=message):
        ol.train(model, task, make_network() if network is None else network, rule or descent(), **arguments)


class TestBadInput:
    def test_overlaps_for_a_network_and_how_to_make_one_of_them(self):
        refuses(r"train: network must be an ol\.Network, got Overlaps; .*ol\.Network\.sample\(overlaps", network=START)

    def test_a_network_of_another_layout(self):
        refuses(r"train: network has Layout\(n_in=1, rank=2, n_out=1\), the model has Layout\(n_in=1, rank=1",
                network=make_network(layout=RANK_2))  # fmt: skip

    def test_a_batch_of_batches_of_networks(self):
        batch = ol.Network(jnp.stack([make_network().vectors] * 3)[None], RANK_1)
        refuses(r"train: network is a batch of shape \[3\]; use jax\.vmap", network=batch)

    def test_a_batch_of_no_networks(self):
        refuses(
            r"train: network is a batch of no networks, vectors \[0, 12, 4\]",
            network=ol.Network(jnp.zeros((0, 12, 4)), RANK_1),
        )

    def test_a_model_that_is_none(self):
        refuses(r"train: model must be an ol\.Model, got Linear\(\)", model=ol.Linear())

    def test_a_task_with_other_inputs(self):
        refuses(r"train: the task has 2 input channels, the model has n_in=1", task=make_task(ol.Layout(n_in=2)))

    def test_a_task_with_other_outputs(self):
        refuses(r"train: the task has 2 output channels, the model has n_out=1", task=make_task(ol.Layout(n_out=2)))

    def test_a_task_that_is_none(self):
        refuses(r"train: task must be an ol\.Task or an ol\.tasks\.stream\(\.\.\.\), got dict", task={})

    def test_a_rule_that_is_none(self):
        refuses(r"train: rule must be ol\.GradientFlow, .*For example: ol\.GradientDescent\(", rule=optax.adam(1e-3))

    def test_direct_descent_because_it_has_no_neurons(self):
        refuses(
            r"train: DirectDescent moves overlaps without neurons.*use ol\.integrate", rule=ol.DirectDescent(0.1, 5)
        )

    def test_a_stream_for_a_flow(self):
        refuses(
            r"train: GradientFlow needs a fixed batch.*stream\.sample\(key\)",
            task=STREAM, rule=ol.GradientFlow(1.0), key=jax.random.key(0),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("task", "settings", "why"),
        [
            (STREAM, {}, "a task stream"),
            (TASK, {"batch_size": 2}, "batch_size"),
            (TASK, {"label_noise": 0.1}, "label_noise"),
        ],
        ids=["stream", "minibatch", "noise"],
    )
    def test_random_draws_without_a_key(self, task, settings, why):
        refuses(
            rf"train: {why} draws at random and needs a key: ol\.train\(.*key=", task=task, rule=descent(**settings)
        )

    def test_a_batch_size_above_the_number_of_trials(self):
        refuses(
            r"train: batch_size=5 is larger than the task's 4 trials", rule=descent(batch_size=5), key=jax.random.key(0)
        )

    def test_rates_that_do_not_fit_the_layout(self):
        refuses(r"rates must be a mapping with keys from m, u, v, z.*got the key 'w'", rule=descent(rates={"w": 0.0}))
