"""Trials of other packages: objects with their published interfaces, written here."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

KEY = jax.random.key(0)


class Discrimination:
    """As `psychrnn.tasks.task.Task`: draws of numpy's shared generator, targets and masks in time."""

    N_in, N_out, N_steps, N_batch, dt, tau = 2, 1, 6, 4, 20, 100

    def generate_trial_params(self, batch, trial):
        return {"sign": np.random.choice([-1, 1]), "onset": np.random.uniform(10, 50)}  # noqa: NPY002

    def trial_function(self, time, params):
        inputs = 0.1 * np.random.randn(2)  # noqa: NPY002
        inputs[0] += params["sign"] * (time > params["onset"])
        return inputs, params["sign"], 0.0 if time < 60 else 2.0


class GoNogo:
    """As `neurogym.TrialEnv`: observations `ob` and ground truth `gt` of one trial, of a length of its own."""

    dt = 20
    action_space = types.SimpleNamespace(n=3, start=0)

    def __init__(self, has_truth=True):
        self.rng, self.has_truth = np.random.default_rng(), has_truth

    @property
    def unwrapped(self):
        return self

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def new_trial(self):
        n_steps = self.rng.integers(3, 9)
        self.ob = self.rng.normal(size=(n_steps, 2)).astype(np.float32)
        if self.has_truth:
            self.gt = np.where(np.arange(n_steps) < 2, 0, self.rng.integers(1, 3))


class Wrapped:
    """As a wrapper of gymnasium, which hands on no attribute but what it wraps."""

    def __init__(self, env):
        self.env = env

    @property
    def unwrapped(self):
        return self.env.unwrapped


def test_psychrnn_trials_have_its_loss_and_leave_numpys_generator_as_it_was():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    task = ol.tasks.from_psychrnn(Discrimination(), key=KEY)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    # Read after the update: outputs one step later than inputs.
    assert task.inputs.shape == (4, 7, 2)
    assert float(task.dt) == 0.2
    outputs = np.random.default_rng(1).normal(size=(4, 7, 1))
    sign = np.asarray(task.targets)[:, -1:]
    mask = np.where(np.arange(6) < 3, 0.0, 2.0)[:, None]
    # Its mean, of 24 terms.
    expected = np.mean((mask * (outputs[:, 1:] - sign)) ** 2)
    assert float(task.loss(jnp.asarray(outputs))) == pytest.approx(expected, rel=1e-14)
    # The sign of a target is that of its input, whose noise is ten times smaller.
    assert np.array_equal(np.sign(task.inputs[:, 5, 0]), sign[:, 0, 0])
    assert not np.array_equal(task.inputs, ol.tasks.from_psychrnn(Discrimination(), key=jax.random.key(1)).inputs)


@pytest.mark.parametrize("wrap", [lambda env: env, Wrapped])
def test_neurogym_trials_of_any_length_count_as_long_as_they_last(wrap):
    task = ol.tasks.from_neurogym(wrap(GoNogo()), n_trials=5, tau=100.0, key=KEY)
    env = GoNogo()
    env.seed(int(jax.random.randint(KEY, (), 0, 2**31 - 1)))
    trials = []
    for _ in range(5):
        env.new_trial()
        trials.append((env.ob, env.gt))
    lengths = [len(ob) for ob, _ in trials]
    assert task.inputs.shape == (5, 1 + max(lengths), 2)
    for trial, (ob, gt) in enumerate(trials):
        assert np.array_equal(task.inputs[trial, : len(ob)], ob)
        assert np.array_equal(np.argmax(task.targets[trial, 1 : 1 + len(gt)], axis=-1), gt)
        assert np.array_equal(np.flatnonzero(task.weights[trial, :, 0]), 1 + np.arange(len(gt)))
    # A mean over steps that count and outputs.
    assert float(task.weights.sum()) == pytest.approx(1.0, rel=1e-14)


def cross_entropy(outputs, targets):
    return -(targets * jax.nn.log_softmax(outputs)).sum(axis=-1, keepdims=True)


def test_choices_may_be_learned_by_cross_entropy():
    task = ol.tasks.from_neurogym(GoNogo(), n_trials=5, tau=100.0, key=KEY, loss=cross_entropy)
    # Of three choices that are equally likely at every step.
    assert float(task.silent_loss()) == pytest.approx(np.log(3), rel=1e-14)


def test_what_can_not_be_drawn_is_refused_by_name():
    class Own(Discrimination):
        def generate_trial_params(self, batch, trial):
            return {"sign": np.random.default_rng().normal(), "onset": 0}

    with pytest.raises(ValueError, match=r"from_psychrnn: the same seed gave other trials.*ol\.Task\(inputs"):
        ol.tasks.from_psychrnn(Own(), key=KEY)
    with pytest.raises(ValueError, match=r"from_psychrnn: task must have N_in.*str has no N_in, N_out"):
        ol.tasks.from_psychrnn("task", key=KEY)
    with pytest.raises(ValueError, match="GoNogo has no ground truth to learn from"):
        ol.tasks.from_neurogym(GoNogo(has_truth=False), n_trials=2, tau=100.0, key=KEY)
    with pytest.raises(ValueError, match=r"from_neurogym: env must be an environment of trials, such as.*got str"):
        ol.tasks.from_neurogym("GoNogo-v0", n_trials=2, tau=100.0, key=KEY)
    with pytest.raises(ValueError, match=r"tau must be above 0"):
        ol.tasks.from_neurogym(GoNogo(), n_trials=2, tau=0.0, key=KEY)
