"""Every learner of the package, and one that it has never heard of, held by the same tests."""

import functools
import tempfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import SYSTEMS, batch_of, every, moved

import overlap_learning as ol
from overlap_learning.learning import checkpoint
from overlap_learning.learning.driver import learn

EPS = np.finfo(float).eps
N_STEPS = 6
SYSTEM = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)


def rule(**settings):
    return ol.GradientDescent(0.05, N_STEPS, save_every=2, **settings)


# Each kind of run of a learner compiles its programs: all tests share the learner, this rule and its runs.
HEAVY_BALL = rule(momentum=0.5)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_close(a, b, tolerance):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.shape == y.shape
        assert np.max(np.abs(x - y), initial=0.0) <= tolerance * max(1.0, np.max(np.abs(y), initial=0.0))


@functools.cache
def made(system):
    """The learner, two positions, and the task; and what a learner says of a position, in one program."""
    learners, positions, task = batch_of(system)

    def say(learner, position):
        loss, gradient = learner.gradient(position, task)
        square = learner.square(jax.tree.map(lambda g, p: g * (p > 0), gradient, learner.rates))
        return {
            "loss of gradient": loss, "loss": learner.loss(position, task), "gradient": gradient, "square": square,
            "observed": learner.observe(position), "final": learner.final(position),
        }  # fmt: skip

    one = every(tuple(getattr(learners, name) for name in system.per_member), 0)
    learner = eqx.tree_at(lambda t: [getattr(t, name) for name in system.per_member], learners, list(one))
    return learner, [every(positions, i) for i in range(2)], task, functools.partial(eqx.filter_jit(say), learner)


def learned(system, i, folder):
    """What the learner learns from one of the two positions, written down every two steps."""
    learner, positions, task, _ = made(system)
    return learn(learner, task, positions[i], HEAVY_BALL, progress=False, checkpoint=ol.Checkpoint(folder, every=2))


@functools.cache
def alone(system, i):
    with tempfile.TemporaryDirectory() as folder:
        return learned(system, i, folder)


@SYSTEM
def test_the_gradient_is_that_of_the_loss(system):
    """Along its own gradient the loss rises by the squared norm of the gradient, whatever that is for a learner."""
    learner, (position, _), _, say = made(system)
    said = say(position)
    loss, gradient, expected = float(said["loss of gradient"]), said["gradient"], float(said["square"])
    assert abs(loss - float(said["loss"])) <= 100 * EPS * loss
    assert expected > 1e-6

    def along(size):
        return float(say(moved(position, gradient, size, learner.rates))["loss"])

    # Central differences of fourth order: the error of step s is c s^4, so that halving s tells 15/16 of it.
    def slope(s):
        return (8 * (along(s) - along(-s)) - (along(2 * s) - along(-2 * s))) / (12 * s)

    fine, coarse = slope(1e-3), slope(2e-3)
    rounding = 1000 * EPS * loss / 1e-3
    assert abs(fine - expected) <= abs(fine - coarse) + rounding


@SYSTEM
def test_a_run_learns_and_what_it_saves_and_ends_with_are_of_its_position(system):
    learner, (position, _), _, say = made(system)
    solution = alone(system, 0)
    assert solution.result == ol.RESULTS.successful
    assert float(solution.loss[-1]) < float(solution.loss[0])
    assert solution.step.tolist() == [0, 2, 4, 6]
    assert_close(jax.tree.map(lambda a: np.asarray(a)[0], solution.saved), say(position)["observed"], 20 * EPS)
    for leaf in jax.tree.leaves(solution.saved):
        assert len(leaf) == 4
    # Steps by hand: position minus rate times gradient and half of what moved it before, for each leaf.
    by_hand, memory = position, jax.tree.map(lambda x: np.zeros(x.shape), position)
    for _ in range(N_STEPS):
        gradient = say(by_hand)["gradient"]
        memory = jax.tree.map(lambda q, g: 0.5 * q + np.asarray(g), memory, gradient)
        by_hand = moved(by_hand, memory, -0.05, learner.rates, scaled=True)
    assert_close(solution.final, say(by_hand)["final"], N_STEPS * 100 * EPS)


@SYSTEM
def test_members_of_a_batch_are_runs_alone(system):
    learners, positions, task = batch_of(system)
    batch = learn(learners, task, positions, HEAVY_BALL, fields=system.per_member, progress=False)
    for i in range(2):
        single = alone(system, i)
        assert_close(every((batch.loss, batch.saved, batch.final), i), (single.loss, single.saved, single.final),
                     N_STEPS * 200 * EPS)  # fmt: skip


@SYSTEM
def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(system, tmp_path, monkeypatch):
    whole, kept = alone(system, 0), checkpoint.Store.write

    def killed(self, step, *rest):
        kept(self, step, *rest)
        if step == 4:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Store, "write", killed)
        with pytest.raises(SystemExit):
            learned(system, 0, tmp_path)
    resumed = learned(system, 0, tmp_path)
    for a, b in zip(leaves((whole.saved, whole.final)), leaves((resumed.saved, resumed.final)), strict=True):
        assert a.tobytes() == b.tobytes()


RULES = {
    "flow": ol.GradientFlow(0.3),
    "descent": rule(),
    "everything": rule(momentum=0.5, nesterov=True, clip_norm=0.5, weight_decay=0.1, label_noise=0.1, batch_size=2),
    "schedule": ol.GradientDescent(ol.LossSchedule(0.05, below=1e3, factor=0.5), N_STEPS),
    "noise": rule(parameter_noise=0.01),
    "direct": ol.DirectDescent(0.05, N_STEPS),
    "adam": ol.Optimiser(optax.adam(0.05), N_STEPS),
    "chain": ol.Optimiser(optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.05, momentum=0.9)), N_STEPS),
}


class TestAPlainPytree:
    """Regression: what the engine does with a learner of which no line of it knows, against closed forms."""

    @pytest.fixture
    def made(self):
        return SYSTEMS[0].make()

    @staticmethod
    def bowl(task):
        """The loss as `(x - x*)^T H (x - x*) / 2 + c`: H and x*, of x = (bias, weights)."""
        design = np.concatenate([np.ones((15, 1)), np.asarray(task.inputs).reshape(15, 2)], axis=1)
        H = 2 * design.T @ design / 15
        return H, np.linalg.solve(H, 2 * design.T @ np.asarray(task.targets).reshape(15) / 15)

    @staticmethod
    def flat(position):
        return np.concatenate([np.ravel(position["bias"]), np.ravel(position["layer"]["weights"])])

    @pytest.mark.parametrize("name", RULES)
    def test_it_learns_by_every_rule_and_its_files_give_it_back(self, made, name):
        learner, position, task = made
        solution = learn(learner, task, position, RULES[name], jax.random.key(0), progress=False)
        assert np.all(np.isfinite(solution.loss))
        assert set(solution.saved) == {"bias", "layer"}
        with tempfile.TemporaryDirectory() as folder:
            solution.save(f"{folder}/run.nc")
            loaded = ol.load(f"{folder}/run.nc")
        for a, b in zip(leaves((solution.saved, solution.final)), leaves((loaded.saved, loaded.final)), strict=True):
            assert a.tobytes() == b.tobytes()
        with pytest.raises(ValueError, match=r"saved no overlaps.*\.saved"):
            _ = solution.overlaps

    def test_descent_is_the_power_of_a_matrix(self, made):
        learner, position, task = made
        H, best = self.bowl(task)
        solution = learn(learner, task, position, ol.GradientDescent(0.1, 50, save_every=50), progress=False)
        expected = best + np.linalg.matrix_power(np.eye(3) - 0.1 * H, 50) @ (self.flat(position) - best)
        np.testing.assert_allclose(self.flat(solution.final), expected, atol=50 * 10 * EPS)

    def test_a_start_at_0_learns(self, made):
        learner, position, task = made
        nothing = jax.tree.map(jnp.zeros_like, position)
        solution = learn(learner, task, nothing, ol.GradientDescent(0.1, 200), progress=False)
        np.testing.assert_allclose(self.flat(solution.final), self.bowl(task)[1], atol=0.1)

    def test_momentum_decay_and_nesterov_are_linear_recursions(self, made):
        learner, position, task = made
        H, best = self.bowl(task)
        given = ol.GradientDescent(0.1, 40, momentum=0.8, nesterov=True, weight_decay=0.2)
        solution = learn(learner, task, position, given, progress=False)
        x, q = self.flat(position), np.zeros(3)
        for _ in range(40):
            g = H @ (x - best) + 0.2 * x
            q = 0.8 * q + g
            x = x - 0.1 * (g + 0.8 * q)
        np.testing.assert_allclose(self.flat(solution.final), x, atol=40 * 20 * EPS)

    def test_flow_is_the_exponential_of_a_matrix(self, made):
        from scipy.linalg import expm

        learner, position, task = made
        H, best = self.bowl(task)
        solution = learn(learner, task, position, ol.GradientFlow(2.0, rtol=1e-10, atol=1e-12), progress=False)
        expected = best + expm(-2.0 * H) @ (self.flat(position) - best)
        # Steps of error 1e-10 each, of which some ten are taken.
        np.testing.assert_allclose(self.flat(solution.final), expected, atol=1e-8)

    def test_an_optax_optimiser_gets_the_gradient_that_it_would_get_without_us(self, made):
        learner, position, task = made
        solution = learn(learner, task, position, RULES["adam"], progress=False)
        adam = optax.adam(0.05)

        @jax.jit
        def step(x, memory):
            updates, memory = adam.update(jax.grad(learner.loss)(x, task), memory, x)
            return optax.apply_updates(x, updates), memory

        x, memory = position, adam.init(position)
        for _ in range(N_STEPS):
            x, memory = step(x, memory)
        np.testing.assert_allclose(self.flat(solution.final), self.flat(x), atol=N_STEPS * 100 * EPS)

    def test_rates_are_of_each_leaf(self, made):
        learner, position, task = made
        frozen = eqx.tree_at(lambda t: t.rates["bias"], learner, jnp.zeros(1))
        for name in ("everything", "noise", "adam", "flow"):
            solution = learn(frozen, task, position, RULES[name], jax.random.key(0), progress=False)
            # Decay moves what is frozen no more than gradients do.
            assert np.array_equal(solution.final["bias"], position["bias"])
            assert not np.array_equal(solution.final["layer"]["weights"], position["layer"]["weights"])

    def test_divergence_is_told_with_the_last_good_state(self, made):
        learner, position, task = made
        with pytest.raises(ol.LearningError, match="diverged") as caught:
            learn(learner, task, position, ol.GradientDescent(1e3, 50, save_every=50), progress=False)
        assert all(np.all(np.isfinite(leaf)) for leaf in leaves(caught.value.solution.final))
