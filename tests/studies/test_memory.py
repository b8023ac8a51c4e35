"""Memory: protocols, the drift of invariants, holonomy, and the manifold of solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

MODEL = ol.Model(ol.Layout(), ol.Linear())
N_STEPS, DT = 41, 0.2


def _family(theta):
    """Exponential filters of amplitude theta[0] and decay theta[1]."""
    base = ol.tasks.exponential_filter(duration=(N_STEPS - 1) * DT, dt=DT)
    times = DT * jnp.arange(N_STEPS - 1)
    target = jnp.zeros((1, N_STEPS, 1)).at[0, 1:, 0].set(theta[0] * jnp.exp(-theta[1] * times))
    return ol.Task(base.inputs, target, base.weights, base.dt)


A, B = _family(jnp.array([1.0, 0.2])), _family(jnp.array([1.0, 0.4]))
START = ol.Overlaps.random(MODEL.layout, key=jax.random.key(2), scale=0.1)
# All flows save two points, so that they share a compiled program.
LONG = ol.GradientFlow(100.0, save_at=[0.0, 100.0])


@pytest.fixture(scope="module")
def learned():
    return ol.integrate(MODEL, A, START, LONG).final


def test_a_b_a_under_the_flow_returns_the_function_and_holds_the_invariants():
    accurate = ol.GradientFlow(100.0, save_at=[0.0, 100.0], rtol=1e-11, atol=1e-13)
    phases = ol.protocol(MODEL, [A, B, A], START, accurate)
    first, last = phases[0].final, phases[2].final
    assert jnp.max(jnp.abs(ol.rollout(MODEL, first, A) - ol.rollout(MODEL, last, A))) < 1e-6
    difference = jnp.max(jnp.abs(first.gram - last.gram))
    assert 1e-9 < difference < 2e-3
    # rtol 1e-11 per step of some hundred steps.
    assert jnp.max(jnp.abs(ol.invariants(MODEL, last) - ol.invariants(MODEL, START))) < 1e-8


def test_protocol_at_full_n_is_the_theory_phase_by_phase():
    rule = ol.GradientDescent(5e-3, 60, label_noise=0.1)
    key = jax.random.key(0)
    theory = ol.protocol(MODEL, [A, B], START, rule, key)
    full = ol.protocol(MODEL, [A, B], ol.Network.sample(START, 20, key=key), [rule, rule], key)
    for one, other in zip(theory, full, strict=True):
        # As in `ol.validate`: eps ((T + N) path + n_steps size) is below 1e-12 here.
        assert jnp.max(jnp.abs(one.overlaps.gram - other.overlaps.gram)) < 1e-12


@pytest.mark.parametrize("full_n", [False, True])
def test_protocol_goes_on_from_its_checkpoints_phase_by_phase(full_n, tmp_path):
    rule, key = ol.GradientDescent(5e-3, 60, label_noise=0.1), jax.random.key(0)
    start, checkpoint = ol.Network.sample(START, 20, key=key) if full_n else START, ol.Checkpoint(tmp_path, every=30)
    first = ol.protocol(MODEL, [A], start, rule, key, checkpoint=checkpoint)
    both = ol.protocol(MODEL, [A, B], start, rule, key, checkpoint=checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phase-0", "phase-1"]
    assert np.array_equal(first[0].overlaps.gram, both[0].overlaps.gram)
    # The same steps in compiled calls of other lengths.
    plain = ol.protocol(MODEL, [A, B], start, rule, key)
    np.testing.assert_allclose(plain[1].overlaps.gram, both[1].overlaps.gram, atol=1e-12)
    with pytest.raises(ValueError, match=r"a GradientFlow is one call of its solver"):
        ol.protocol(MODEL, [A], start, LONG, checkpoint=checkpoint)


def test_protocol_names_the_phase_that_does_not_fit():
    two = ol.Task(jnp.zeros((1, 5, 2)), jnp.zeros((1, 5, 1)), jnp.ones((1, 5, 1)), 0.1)
    with pytest.raises(ValueError, match="phase 1: the task has 2 input channels"):
        ol.protocol(MODEL, [A, two], START, LONG)
    with pytest.raises(ValueError, match="2 tasks and 1 rules"):
        ol.protocol(MODEL, [A, B], START, [LONG])


@pytest.fixture(scope="module")
def corner():
    # Off the symmetric networks (B and A mirror images), whose holonomy vanishes.
    start = ol.Overlaps.random(MODEL.layout, key=jax.random.key(1), scale=0.3)
    return ol.integrate(MODEL, A, start, ol.GradientFlow(200.0, save_at=[0.0, 200.0])).final


CORNERS = jnp.array([[1.0, 0.2], [1.0, 0.3], [1.3, 0.3], [1.3, 0.2], [1.0, 0.2]])


def test_slow_transport_is_the_limit_of_small_steps_learned_to_convergence(corner):
    """One side of a loop in n steps: the distance to the transport falls as 1/n."""
    start, end = CORNERS[0], CORNERS[2]
    limit = ol.studies.transport(MODEL, _family, jnp.stack([start, end]), corner).gram
    distance = []
    for n in (2, 4, 8):
        tasks = [_family(start + (end - start) * k / n) for k in range(1, n + 1)]
        stepped = ol.protocol(MODEL, tasks, corner, ol.GradientFlow(20.0, save_at=[0.0, 20.0]))[-1].final.gram
        distance.append(float(jnp.max(jnp.abs(stepped - limit))))
    slopes = np.diff(np.log(distance)) / np.log(2)
    # First order: -1, up to the next order, which is of relative size 1/n.
    assert np.all(np.abs(slopes + 1) < 0.3), (distance, slopes)


def test_loop_leaves_a_residue_of_opposite_sign_backwards_and_the_function_unchanged(corner):
    forward = ol.studies.transport(MODEL, _family, CORNERS, corner)
    backward = ol.studies.transport(MODEL, _family, CORNERS[::-1], corner)
    odd = (forward.gram - backward.gram) / 2
    even = (forward.gram + backward.gram) / 2 - corner.gram
    assert jnp.max(jnp.abs(odd)) > 1e-4
    # What is left of a loop and its reverse is of second order in the residue.
    assert jnp.max(jnp.abs(even)) < 0.2 * jnp.max(jnp.abs(odd))
    # The task is as solved as before: transport stays on the manifold of solutions, to its tolerance times the path.
    before, after = (ol.rollout(MODEL, o, _family(CORNERS[0])) for o in (corner, forward))
    assert jnp.max(jnp.abs(before - after)) < 1e-5


def test_small_loop_leaves_the_curvature_times_its_area(corner):
    form = ol.studies.curvature(MODEL, _family, CORNERS[0], corner)
    np.testing.assert_allclose(form[0, 1], -form[1, 0], atol=1e-12)
    largest = jnp.max(jnp.abs(form[0, 1]))
    assert largest > 1e-3
    errors = []
    for side in (0.04, 0.02):
        steps = jnp.array([[0, 0], [side, 0], [side, side / 2], [0, side / 2], [0, 0]])
        loops = [
            ol.studies.transport(MODEL, _family, path, corner, rtol=1e-10, atol=1e-13).gram
            for path in (CORNERS[0] + steps, CORNERS[0] + steps[::-1])
        ]
        per_area = (loops[0] - loops[1]) / 2 / (side**2 / 2)
        errors.append(float(jnp.max(jnp.abs(per_area - form[0, 1])) / largest))
    # The error is of first order in the side of the loop.
    assert errors[0] < 0.2
    assert 0.35 < errors[1] / errors[0] < 0.65
    # What a loop leaves can be reached by learning, and does the same: it lies within the equivalence class.
    i, j = MODEL.layout.entry_indices
    directions = ol.studies.equivalence_class(MODEL, A, corner).directions[:, i, j]
    residue = np.asarray(form[0, 1])[i, j]
    # Up to the gradient that is left at the corner, 1e-9, over the smallest curvature.
    assert np.max(np.abs(residue - directions.T @ (directions @ residue))) < 1e-6 * largest


def test_the_slowest_relaxation_rate_is_that_of_the_flow(corner):
    slowest, second, _ = ol.studies.relaxation_rates(MODEL, A, corner)
    nudge = jnp.eye(4) + 1e-4 * jax.random.normal(jax.random.key(0), (4, 4))
    moved = ol.Overlaps(nudge.T @ corner.gram @ nudge, MODEL.layout)
    run = ol.integrate(MODEL, A, moved, ol.GradientFlow(3.0, save_at=[2.0, 3.0], rtol=1e-9, atol=1e-12))
    # The loss decays at twice the rate, up to the next mode by then and the nudge.
    found = np.log(run.loss[0] / run.loss[1]) / 2
    assert abs(found / slowest - 1) < np.exp(-2 * 2.0 * (second - slowest)) + 1e-3


def test_what_learning_has_left_does_not_make_flat_directions_curved(corner):
    """Learning ends at some gradient, which bends orbits of equal loss: not what the task pins."""
    direction = jax.random.normal(jax.random.key(0), (4, 4))

    def found(left):
        nudge = jnp.eye(4) + left * direction
        at = ol.Overlaps(nudge.T @ corner.gram @ nudge, MODEL.layout)
        rates = ol.studies.relaxation_rates(MODEL, A, at)
        assert rates.shape == (3,)
        return np.concatenate([rates, np.ravel(ol.studies.connection(MODEL, _family, CORNERS[0], at))])

    exact, size = found(0.0), 1e-4
    slope = np.max(np.abs(found(size) - exact)) / size
    for left in (1e-9, 1e-8, 1e-7, 1e-6, 1e-5):
        # To first order in what is left, and up to the accuracy of the corner.
        assert np.max(np.abs(found(left) - exact)) < 1.1 * slope * left + 1e-6


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e4])
def test_relaxation_rates_are_in_units_of_the_rates_of_learning(corner, unit):
    nudge = jnp.eye(4) + 1e-6 * jax.random.normal(jax.random.key(0), (4, 4))
    moved = ol.Overlaps(nudge.T @ corner.gram @ nudge, MODEL.layout)
    found = ol.studies.relaxation_rates(MODEL, A, moved, rates=np.full(4, unit))
    # What a nudge moves is in both; rounding of the largest is all that differs.
    np.testing.assert_allclose(found / unit, ol.studies.relaxation_rates(MODEL, A, moved), rtol=1e-9)


def test_a_slow_mode_of_a_network_that_began_small_is_no_flat_direction():
    """Small vectors learn slowly, and what is left of the gradient is far smaller still."""
    start = ol.Overlaps(ol.Overlaps.random(MODEL.layout, key=jax.random.key(1), scale=0.3).gram / 900, MODEL.layout)
    learned = ol.integrate(MODEL, A, start, ol.GradientFlow(400.0, save_at=[0.0, 400.0])).final
    found = ol.studies.relaxation_rates(MODEL, A, learned)
    # The task pins three numbers, zm, zu vm and vu.
    assert found.shape == (3,)
    assert found[0] < 1e-3 * found[1]


@pytest.mark.parametrize("same_visible", [False, True], ids=["function", "visible overlaps"])
def test_a_class_of_networks_does_the_same_and_keeps_the_same(same_visible):
    model = ol.Model(ol.Layout(), ol.Erf())
    found = ol.studies.equivalence_class(model, A, START, same_visible=same_visible)
    assert found.dimension == (2 if same_visible else 3)
    for way in found.directions:
        there = ol.studies.moved_within(model, A, START, 0.3 * way, same_visible=same_visible)
        assert np.max(np.abs(there.gram - START.gram)) > 0.05
        assert np.max(np.abs(ol.rollout(model, there, A) - ol.rollout(model, START, A))) < 1e-10
        np.testing.assert_allclose(ol.invariants(model, there), ol.invariants(model, START), atol=1e-12)
        changed = np.abs(there.gram - START.gram)[model.visible].max()
        assert changed < 1e-13 or not same_visible


def test_what_is_no_way_within_a_class_is_refused():
    model = ol.Model(ol.Layout(), ol.Erf())
    out = np.zeros((4, 4))
    out[2, 2] = 1.0
    with pytest.raises(ValueError, match="no part within the equivalence class"):
        ol.studies.moved_within(model, A, START, out, same_visible=True)
    far = np.zeros((4, 4))
    # More than |v| |z|.
    far[2, 3] = far[3, 2] = 9.0
    with pytest.raises(ValueError, match="leads out of the positive semi-definite"):
        ol.studies.moved_within(model, A, START, far, same_visible=True)
    with pytest.raises(ValueError, match=r"direction must be a finite symmetric matrix of shape \[4, 4\]"):
        ol.studies.moved_within(model, A, START, np.ones(3))


def test_symmetric_network_has_no_holonomy():
    """If B and A are mirror images they stay so, and the overlaps are functions of the visible ones."""
    start = ol.Overlaps.from_entries(MODEL.layout, zu=0.1, vm=0.1)
    solved = ol.integrate(MODEL, _family(CORNERS[0]), start, ol.GradientFlow(200.0, save_at=[0.0, 200.0])).final
    form = ol.studies.curvature(MODEL, _family, CORNERS[0], solved)
    # Zero up to how well the start solves its task (gradient 1e-9) over the smallest curvature of the loss.
    assert jnp.max(jnp.abs(form)) < 1e-4


def test_dimension_of_the_solution_manifold():
    found = ol.studies.solution_manifold(MODEL, A, START)
    # Rank 1: the response is s_zm, s_zu s_vm and s_vu, three numbers of ten; five conserved
    # numbers (four eigenvalues, and |u|^2 - |v|^2) leave two.
    assert found == (10, 3, 7, 5, 2, 5)
    nonlinear = ol.studies.solution_manifold(ol.Model(ol.Layout(), ol.Erf()), A, START)
    assert nonlinear.conserved == 1
    assert nonlinear.reachable == 3
    # One impulse response of an erf network depends on the seven visible overlaps up to the rescaling of u against v
    # (one direction), and sees nothing of the three invisible ones.
    assert nonlinear.pinned == 6
