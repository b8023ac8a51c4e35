"""The public functions on whatever they are given: the right numbers, or an error that names the function.

Right means: equal to the few lines of numpy below, which know nothing of the package.
"""

import re

import jax
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import overlap_learning as ol

N_STEPS, N_TRIALS, N_TIMES = 4, 2, 3
# A few layouts and saved points, so that few programs are compiled; all else is drawn.
LAYOUTS = [ol.Layout(1, 0, 1), ol.Layout(1, 1, 1), ol.Layout(2, 2, 1), ol.Layout(1, 4, 2)]
GAINS = {"linear": lambda variance: 1.0, "erf": lambda variance: (1 + np.pi * variance / 2) ** -0.5}
MODELS = [(layout, "linear") for layout in LAYOUTS] + [(LAYOUTS[1], "erf")]
ACTIVATIONS = {"linear": ol.Linear(), "erf": ol.Erf()}
GROWTH_LIMIT = 1e8


# -- the referee -------------------------------------------------------------------------------------------------------


def loss_of(gram, layout, gain, task):
    """Eqs. (3), (4): Euler steps of k = (k_m, k_u), of trials as rows, and the loss of what is read."""
    inputs, targets, weights, dt = task
    n, r = layout.n_fields, layout.rank
    k, loss = np.zeros((len(inputs), n), gram.dtype), 0.0
    for t in range(inputs.shape[1]):
        variance = np.sum(k * (k @ gram[:n, :n]), axis=1, keepdims=True)
        read = gain(variance) * (k @ gram[n:, :n].T)
        loss = loss + np.sum(weights[:, t] * (read[:, r:] - targets[:, t]) ** 2)
        k = k + dt * (np.concatenate([inputs[:, t], read[:, :r]], axis=1) - k)
    return loss


def slope_of(gram, layout, gain, task):
    """S = Gamma + Gamma^T with Gamma = dL/dG, by complex steps: exact to rounding, as nothing is subtracted."""
    gamma, step = np.zeros(gram.shape), 1e-100
    for place in np.ndindex(gram.shape):
        moved = gram.astype(complex)
        moved[place] += 1j * step
        gamma[place] = loss_of(moved, layout, gain, task).imag / step
    return gamma + gamma.T


def learned(gram, layout, gain, task, rate):
    """Eq. (7) from a start: Gram matrices and losses until the first beyond learning, and whether M can tell them.

    The theory's `M^T G(0) M` is a sum of d^2 rounded terms, which may be far larger than it: M also moves along what no
    vector has. Where they are, or M itself is beyond floating point, the theory can't tell what is left.
    """
    _, targets, weights, _ = task
    silent = np.sum(weights * targets**2)
    grams, losses = [gram], [loss_of(gram, layout, gain, task)]
    transfer, is_seen = np.eye(len(gram)), True
    with np.errstate(all="ignore"):
        for _ in range(N_STEPS):
            change = np.eye(len(gram)) - rate * slope_of(grams[-1], layout, gain, task)
            new = change.T @ grams[-1] @ change
            transfer = transfer @ change
            loss = loss_of(new, layout, gain, task)
            good = np.abs(new).max() <= GROWTH_LIMIT * np.abs(gram).max()
            if not (good and loss <= GROWTH_LIMIT * (losses[0] + silent)):
                break
            terms = len(gram) ** 2 * 2.2e-16 * np.abs(transfer).max() ** 2 * max(np.abs(gram).max(), 1e-300)
            is_seen = is_seen and bool(terms <= max(1e-12 * np.abs(new).max(), 1e-290))
            grams.append(new)
            losses.append(loss)
    return np.array(grams), np.array(losses), is_seen


# -- cases -------------------------------------------------------------------------------------------------------------


@st.composite
def problems(draw):
    """A layout, the name of an activation, a Gram matrix of any rank and size, and a task."""
    layout, name = draw(st.sampled_from(MODELS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Of fewer vectors than there are, G is singular: on the edge of what networks have.
    n_rows = draw(st.sampled_from([1, 2, layout.size, 3 * layout.size]))
    vectors = random.standard_normal((n_rows, layout.size)) * draw(st.sampled_from([0.0, 1e-3, 0.3, 1.0, 30.0]))
    gram = vectors.T @ vectors / n_rows
    shape = (N_TRIALS, N_TIMES)
    inputs = random.standard_normal((*shape, layout.n_in)) * draw(st.sampled_from([0.0, 1.0, 100.0]))
    targets = random.standard_normal((*shape, layout.n_out)) * draw(st.sampled_from([0.0, 1.0]))
    weights = random.uniform(size=targets.shape) * draw(st.sampled_from([0.0, 1.0]))
    dt = draw(st.sampled_from([1e-12, 0.1, 1.0, 1.999]))
    return layout, name, gram, (inputs, targets, weights, dt)


def check_learning(problem, rate, save_every):
    """Learning must be the referee's, and end where it ends; how it ended."""
    layout, name, gram, task = problem
    model, gain = ol.Model(layout, ACTIVATIONS[name]), GAINS[name]
    rule = ol.GradientDescent(rate, N_STEPS, save_every=save_every)
    found = ol.integrate(model, ol.Task(*task), ol.Overlaps(gram, layout), rule, throw=False)
    saved = np.asarray(found.step)
    for ours in (found.overlaps.gram, found.loss, found.transfer):
        assert np.all(np.isfinite(ours))
    successful = bool(found.result == ol.RESULTS.successful)
    assert successful or bool(found.result == ol.RESULTS.diverged)
    grams, losses, is_seen = learned(gram, layout, gain, task, rate)
    # How far rounding can lead: relative changes of the start by 1e-12 (some thousand roundings of 2e-16), of which
    # learning and its growth make as much as they make of any other.
    nudge = 1 + 1e-12 * np.random.default_rng(0).standard_normal(layout.size)
    nudged, nudged_losses, _ = learned(gram * nudge * nudge[:, None], layout, gain, task, rate)
    ended = len(grams) - 1
    if len(nudged) != len(grams) or not is_seen:
        # On the edge of divergence, or of what M can tell, rounding decides.
        return "decided by rounding"
    assert successful == (ended == N_STEPS)
    # Within a step of where it happened.
    assert int(found.stats["n_steps"]) == ended
    assert saved[0] == 0
    assert saved[-1] == ended
    for ours, referee, moved in ((found.overlaps.gram, grams, nudged), (found.loss, losses, nudged_losses)):
        ours = np.asarray(ours)
        size = np.abs(referee).reshape(len(referee), -1).max(axis=1)
        allowed = np.abs(moved - referee).reshape(len(referee), -1).max(axis=1) + 1e-12 * size
        error = np.abs(ours - referee[saved]).reshape(len(ours), -1).max(axis=1)
        assert np.all(error <= 10 * allowed[saved]), (error, allowed[saved])
    return "ran to its end" if ended == N_STEPS else "diverged"


@settings(max_examples=50, deadline=None)
@given(problem=problems(), rate=st.sampled_from([1e-300, 1e-3, 0.1, 10.0, 1e6, 1e300]), is_saved=st.booleans())
def test_learning_is_that_of_the_equations_or_ends_at_the_last_good_step(problem, rate, is_saved):
    # Steps between saved points are learned alike in all layouts: those of one are enough.
    event(check_learning(problem, rate, 1 if is_saved or problem[0] != LAYOUTS[1] else 9))


@pytest.mark.parametrize("save_every", [1, 9])
def test_a_step_to_overlaps_that_are_small_but_a_loss_that_is_not_is_taken_back(save_every):
    """The loss of where a step led is known only with the next gradient; it grows as a higher power of the step."""
    layout, random = LAYOUTS[1], np.random.default_rng(0)
    inputs, targets = random.standard_normal((2, N_TRIALS, N_TIMES, 1))
    task = (inputs, targets, np.ones_like(targets), 0.5)
    gram = np.eye(4) + 0.25 * (1 - np.eye(4))
    taken_back = 0
    for rate in np.logspace(0, 4, 13):
        check_learning((layout, "linear", gram, task), rate, save_every)
        grams, _, _ = learned(gram, layout, GAINS["linear"], task, rate)
        change = np.eye(4) - rate * slope_of(grams[-1], layout, GAINS["linear"], task)
        small = np.abs(change.T @ grams[-1] @ change).max() <= GROWTH_LIMIT * np.abs(gram).max()
        taken_back += len(grams) <= N_STEPS and small
    assert taken_back > 0


@settings(max_examples=25, deadline=None)
@given(problem=problems(), amount=st.floats(1e-9, 1.0), place=st.integers(0, 10**6))
def test_overlaps_that_no_network_has_are_refused(problem, amount, place):
    layout, _, gram, _ = problem
    d = layout.size
    scale = max(np.abs(gram).max(), 1e-3)
    # Beyond the edge: the smallest eigenvalue becomes -amount times the largest, far more than rounding leaves.
    values, axes = np.linalg.eigh(gram + scale * np.eye(d))
    values[0] = -amount * values[-1]
    i, j = divmod(place % d**2, d)
    single = np.zeros((d, d))
    single[i, j] = 1.0
    cases = [
        ((axes * values) @ axes.T, "must be positive semi-definite"),
        (np.where(single, np.nan, gram), "must be finite"),
        (np.where(single, -np.inf, gram), "must be finite"),
        (gram[:-1], "must have shape"),
    ]
    if i != j:
        cases.append((gram + scale * amount * single, "must be symmetric"))
    for bad, message in cases:
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=rf"^Overlaps: gram {message}"):
            ol.Overlaps(bad, layout)


def reals(kind):
    """The same small numbers as another kind of input."""
    values = np.array([[[1.0], [0.0], [2.0]], [[0.0], [1.0], [3.0]]])
    return {
        "list": values.tolist(),
        "integers": values.astype(int),
        "float32": values.astype(np.float32),
        "jax": jax.numpy.asarray(values),
        "numpy": values,
    }[kind]


@pytest.mark.filterwarnings("ignore:.*is float32")
@pytest.mark.parametrize("kind", ["list", "integers", "float32", "jax"])
def test_every_kind_of_numbers_gives_the_numbers_of_float64(kind):
    layout = LAYOUTS[1]
    model, rule = ol.Model(layout, ol.Linear()), ol.GradientDescent(0.1, N_STEPS, save_every=1)
    gram = np.eye(4) + 0.25 * (1 - np.eye(4))

    def run(kind):
        # 0.5 and 0.25 are the same number in every precision.
        task = ol.Task(reals(kind), reals(kind), reals(kind), 0.5)
        start = ol.Overlaps(
            gram.tolist() if kind == "list" else gram.astype("f4" if kind == "float32" else "f8"), layout
        )
        return ol.integrate(model, task, start, rule)

    ours, referee = run(kind), run("numpy")
    assert ours.overlaps.gram.dtype == np.float64
    np.testing.assert_allclose(ours.overlaps.gram, referee.overlaps.gram, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_times", [1, 2])
def test_a_trial_of_one_step_reads_nothing_and_learns_nothing(n_times):
    """The first reading comes before the first update: a trial of one step is silent, whatever the input."""
    layout = LAYOUTS[1]
    ones = np.ones((1, n_times, 1))
    start = ol.Overlaps.from_entries(layout, zm=0.5, vm=0.2)
    found = ol.integrate(
        ol.Model(layout, ol.Linear()), ol.Task(ones, ones, ones, 0.5), start, ol.GradientDescent(0.1, 2, save_every=1)
    )
    moved = bool(np.any(found.final.gram != start.gram))
    assert moved == (n_times == 2)
    assert float(found.loss[0]) == (1.0 if n_times == 1 else 1.0 + (0.5 * 0.5 - 1.0) ** 2)


# -- what makes no sense -----------------------------------------------------------------------------------------------

LAYOUT = ol.Layout()
MODEL = ol.Model(LAYOUT, ol.Linear())
START = ol.Overlaps.from_entries(LAYOUT, zu=0.1, vm=0.1)
TASK = ol.Task(*(np.ones((1, 2, 1)) for _ in range(3)), 0.5)
RULE = ol.GradientDescent(0.01, 2)
KEY = jax.random.key(0)
NETWORK = ol.Network(np.ones((6, 4)), LAYOUT)
OTHER = ol.Layout(rank=2)
JUNK = [
    None, "text", 3, -1, 0.5, float("nan"), float("inf"), 10**30, [], [1, 2], {}, np.full((4, 4), np.nan), 1j,
    np.eye(3), object(), LAYOUT, MODEL, START, TASK, RULE, NETWORK, KEY, ol.Model(OTHER, ol.Linear()), True, len,
]  # fmt: skip
#: Each public function with arguments that are right.
CALLS = {
    "Layout": (ol.Layout, [1, 1, 1]),
    "Model": (ol.Model, [LAYOUT, ol.Linear()]),
    "Overlaps": (ol.Overlaps, [np.eye(4), LAYOUT]),
    "Overlaps.random": (lambda layout, key, size: ol.Overlaps.random(layout, key=key, scale=size), [LAYOUT, KEY, 0.1]),
    "Overlaps.from_entries": (lambda layout, zm: ol.Overlaps.from_entries(layout, zm=zm), [LAYOUT, 0.1]),
    "Network": (ol.Network, [np.ones((2, 4)), LAYOUT, [0.5, 0.5]]),
    "Network.sample": (lambda overlaps, n, key: ol.Network.sample(overlaps, n, key=key), [START, 6, KEY]),
    "Task": (ol.Task, [*(np.ones((1, 2, 1)) for _ in range(3)), 0.5]),
    "rollout": (ol.rollout, [MODEL, START, TASK]),
    "simulate": (ol.simulate, [MODEL, NETWORK, TASK]),
    "loss": (ol.loss, [MODEL, TASK, START]),
    "loss_gradient": (ol.loss_gradient, [MODEL, TASK, START]),
    "metric": (ol.metric, [MODEL, START]),
    "invariants": (ol.invariants, [MODEL, START]),
    "feasible": (ol.feasible, [START, MODEL, "uu"]),
    "equivalent": (lambda start, model, uu: ol.equivalent(start, model, uu=uu), [START, MODEL, 1.5]),
    "integrate": (ol.integrate, [MODEL, TASK, START, RULE, KEY]),
    "train": (ol.train, [MODEL, TASK, NETWORK, RULE, KEY]),
    "protocol": (ol.protocol, [MODEL, [TASK], START, RULE, KEY]),
    "GradientDescent": (
        lambda rate, n_steps, momentum, decay, noise, clip, batch, stride, stop: ol.GradientDescent(
            rate, n_steps, momentum=momentum, weight_decay=decay, label_noise=noise, clip_norm=clip, batch_size=batch,
            save_every=stride, stop_loss=stop,
        ),
        [0.1, 2, 0.0, 0.0, 0.0, None, None, None, None],
    ),
    "GradientFlow": (
        lambda duration, solver, rtol, stride, times, steps: ol.GradientFlow(
            duration, solver=solver, rtol=rtol, save_every=stride, save_at=times, max_steps=steps
        ),
        [0.1, None, 1e-8, None, None, 100],
    ),
    "flip_flop": (
        lambda key, n, duration, dt, wait: ol.tasks.flip_flop(
            key=key, n_trials=n, duration=duration, dt=dt, wait_range=wait
        ),
        [KEY, 2, 4.0, 0.5, (1.0, 2.0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_argument_is_named_and_never_breaks_something_inside(name):
    function, good = CALLS[name]
    # Overlaps are known by their own names too: "Overlap 'zm' must ...", "There is no overlap ...".
    owner = re.compile(rf"{name.partition('.')[0]}|Overlap|There is no overlap|Learning diverged")
    messages = {
        (i, j): message_of(function, [*good[:i], junk, *good[i + 1 :]])
        for i in range(len(good))
        for j, junk in enumerate(JUNK)
    }
    refused = {place: message for place, message in messages.items() if message is not None}
    assert len(refused) > len(messages) // 3
    assert {place: message for place, message in refused.items() if not owner.match(message)} == {}


def message_of(function, arguments):
    """What a call is refused with; None if it is not."""
    try:
        function(*arguments)
    except (ValueError, ol.LearningError) as error:
        return str(error)
    return None
