"""Task: the loss that it states, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

B, T, N_IN, N_OUT = 2, 5, 3, 2


def arrays(**changed):
    """Arguments of a valid task, some of them changed."""
    rng = np.random.default_rng(0)
    valid = {
        "inputs": rng.normal(size=(B, T, N_IN)),
        "targets": rng.normal(size=(B, T, N_OUT)),
        "weights": rng.uniform(size=(B, T, N_OUT)),
        "dt": 0.1,
    }
    return valid | changed


def test_the_loss_is_the_weighted_sum_of_squared_errors():
    given = arrays()
    task = ol.Task(**given)
    outputs = np.random.default_rng(1).normal(size=(B, T, N_OUT))
    expected = 0.0
    for index in np.ndindex(B, T, N_OUT):
        expected += given["weights"][index] * (outputs[index] - given["targets"][index]) ** 2
    # A sum of 20 positive terms.
    assert float(task.loss(outputs)) == pytest.approx(expected, rel=20 * np.finfo(float).eps)


def test_the_loss_ignores_what_has_no_weight():
    task = ol.Task(**arrays(weights=np.zeros((B, T, N_OUT))))
    assert float(task.loss(jnp.ones((B, T, N_OUT)))) == 0.0


def test_a_weight_of_zero_has_a_derivative_and_an_output_that_is_nan_a_loss_that_is():
    weights = jnp.array([1.0, 0.0, 2.0])[None, :, None]
    task = ol.Task(jnp.ones((1, 3, 1)), jnp.ones((1, 3, 1)), weights, 0.5)
    outputs = jnp.array([0.0, 4.0, 1.5])[None, :, None]
    slope = jax.grad(lambda weights: task.replace(weights=weights).loss(outputs))(weights)
    # (y - y*)^2, of numbers that binary fractions hold exactly.
    np.testing.assert_array_equal(slope[0, :, 0], [1.0, 9.0, 0.25])
    assert jnp.isnan(task.loss(outputs.at[0, 1, 0].set(jnp.nan)))


def test_sizes_and_times_are_those_of_the_arrays():
    task = ol.Task(**arrays(dt=0.25))
    assert (task.n_trials, task.n_steps) == (B, T)
    assert task.times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_lists_and_integers_become_arrays_of_floats():
    task = ol.Task([[[1], [0]]], [[[0], [1]]], [[[1], [1]]], 1)
    assert task.inputs.dtype == task.targets.dtype == task.weights.dtype == task.dt.dtype == np.float64


def test_astype_changes_every_array():
    task = ol.Task(**arrays()).astype(np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(task)} == {np.dtype(np.float32)}


def test_a_task_passes_through_jit_and_vmap():
    task = ol.Task(**arrays())
    outputs = jnp.zeros((B, T, N_OUT))
    # The same sum of 20 positive terms in another order.
    assert float(jax.jit(lambda t: t.loss(outputs))(task)) == pytest.approx(float(task.loss(outputs)), rel=1e-14)

    def loss_at(dt):
        return ol.Task(**arrays(dt=dt)).times[-1]

    assert jax.vmap(loss_at)(jnp.array([0.1, 0.5])).tolist() == pytest.approx([0.4, 2.0], rel=1e-15)


def test_a_mask_is_a_mean_over_what_it_lets_through_and_hides_targets_that_are_not_there():
    mask = np.zeros((B, T), bool)
    mask[:, -2:] = True
    given = arrays(weights=mask)
    wanted = ol.Task(**arrays(weights=np.repeat(mask[..., None], N_OUT, axis=2) / (2 * B * N_OUT)))
    # A quotient of the same numbers.
    assert np.array_equal(ol.Task(**given).weights, wanted.weights)
    hidden = np.where(mask[..., None], given["targets"], np.nan)
    task = ol.Task(**given | {"targets": hidden, "weights": mask.tolist()})
    assert float(task.loss(jnp.zeros((B, T, N_OUT)))) == float(wanted.loss(jnp.zeros((B, T, N_OUT))))
    with pytest.raises(ValueError, match="targets must be finite"):
        ol.Task(**given | {"targets": hidden, "weights": np.ones((B, T), bool)})
    with pytest.raises(ValueError, match="a mask that lets nothing through"):
        ol.Task(**given | {"weights": np.zeros((B, T), bool)})


def test_the_axis_of_a_single_channel_may_be_left_out_where_another_array_has_all_three():
    given = arrays()
    single = given | {"targets": given["targets"][..., :1], "weights": given["weights"][..., :1]}
    short = single | {name: single[name][..., 0] for name in ("targets", "weights")}
    for a, b in zip(jax.tree.leaves(ol.Task(**single)), jax.tree.leaves(ol.Task(**short)), strict=True):
        assert np.array_equal(a, b)
    # All three without an axis could be one trial of several channels.
    with pytest.raises(ValueError, match=r"inputs must have shape \[B, T, n_in\]"):
        ol.Task(**short | {"inputs": given["inputs"][..., 0]})


def cross_entropy(outputs, targets):
    """One error for all outputs."""
    return -(targets * jax.nn.log_softmax(outputs)).sum(axis=-1, keepdims=True)


def hinge(outputs, targets):
    """One error for each output."""
    return jnp.maximum(0.0, 1.0 - targets * outputs)


def test_another_error_is_weighted_and_summed_as_squares_are():
    rng = np.random.default_rng(1)
    outputs = rng.normal(size=(B, T, N_OUT))
    given = arrays()
    signs = np.sign(given["targets"])
    task = ol.Task(**given | {"targets": signs}, loss=hinge)
    wanted = sum(given["weights"][i] * max(0.0, 1 - signs[i] * outputs[i]) for i in np.ndindex(B, T, N_OUT))
    # Of B T N_OUT terms of order 1.
    assert abs(float(task.loss(outputs)) - wanted) <= B * T * N_OUT * np.finfo(float).eps * wanted
    assert float(task.silent_loss()) == pytest.approx(given["weights"].sum(), rel=1e-14)
    one = ol.Task(**given | {"targets": np.eye(N_OUT)[np.zeros((B, T), int)], "weights": np.ones((B, T), bool)},
                  loss=cross_entropy)  # fmt: skip
    chances = np.exp(outputs) / np.exp(outputs).sum(axis=-1, keepdims=True)
    assert float(one.loss(outputs)) == pytest.approx(-np.log(chances[..., 0]).mean(), rel=1e-14)
    # Other trials keep the error.
    assert one.replace(dt=0.2).error is cross_entropy


@pytest.mark.parametrize("error", [hinge, cross_entropy])
def test_learning_of_another_error_is_that_of_full_linear_networks(error):
    model = ol.Model(ol.Layout(2, 1, 2), ol.Linear())
    rng = np.random.default_rng(2)
    targets = np.eye(2)[[0, 1, 0]][:, None].repeat(6, axis=1) * (2 if error is hinge else 1) - (error is hinge)
    task = ol.Task(rng.normal(size=(3, 6, 2)), targets, np.ones((3, 6), bool), 0.2, loss=error)
    start = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.5)
    # A part of the trials at each step, which must keep the error.
    rule, key = ol.GradientDescent(0.1, 30, batch_size=2), jax.random.key(1)
    theory = ol.integrate(model, task, start, rule, key)
    full = ol.train(model, task, ol.Network.sample(start, 40, key=key), rule, key)
    # 30 steps whose gradients sum over 40 neurons, 6 times and 3 trials of order 1.
    assert np.abs(theory.overlaps.gram - full.overlaps.gram).max() <= 30 * (40 + 18) * np.finfo(float).eps
    assert float(theory.loss[-1]) < 0.97 * float(theory.loss[0])


def relative(outputs, targets):
    return jnp.square(outputs / targets - 1)


def test_targets_that_do_not_count_may_be_nan_for_an_error_that_is_infinite_at_0():
    targets, mask = np.array([[[np.nan, np.nan], [2.0, np.nan], [np.nan, 4.0]]]), np.array([[[0, 0], [1, 0], [0, 1]]])
    task = ol.Task(np.ones((1, 3, 1)), targets, mask.astype(bool), dt=0.5, loss=relative)
    value, slope = jax.value_and_grad(task.loss)(jnp.ones((1, 3, 2)))
    # (1/2 - 1)^2 and (1/4 - 1)^2, a half of each; slopes (y / t - 1) / t. All of them are binary fractions.
    assert float(value) == (0.25 + 0.5625) / 2
    assert slope[0].tolist() == [[0, 0], [-0.25, 0], [0, -0.1875]]
    # Nor is the step that goes before the others infinite.
    for later in (task.read_after_update(), task.starting_from([1.0])):
        assert float(later.loss(jnp.ones((1, 4, 2)))) == float(value)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (3.0, "loss must be a function of outputs and targets"),
        (jnp.sin, "it failed"),
        (lambda y, t: (y - t).sum(), r"for shape \[2, 5, 2\] it gave \(\)"),
        (lambda y, t: np.abs(y - t), "by jax operations; it failed"),
        (lambda y, t: y > t, "a real number; it gave bool"),
    ],
)
def test_an_error_that_is_none_is_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        ol.Task(**arrays(), loss=loss)


def test_what_holds_of_squares_alone_refuses_another_error():
    model = ol.Model(ol.Layout(N_IN, 1, N_OUT), ol.Linear())
    start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
    with pytest.raises(ValueError, match="solution_manifold: holds for squared errors"):
        ol.studies.solution_manifold(model, ol.Task(**arrays(), loss=hinge), start)


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inputs", "targets", "weights"])
@pytest.mark.parametrize("shape", [(T,), (T, 1), (0, T, 1), (B, T, 0), (1, B, T, 1)])
def test_an_array_of_wrong_rank_or_empty_is_refused_with_the_right_shape(name, shape):
    with pytest.raises(ValueError, match=f"Task: {name} must have shape") as caught:
        ol.Task(**arrays(**{name: np.zeros(shape)}))
    message = str(caught.value)
    assert f"[B, T, {'n_in' if name == 'inputs' else 'n_out'}]" in message
    assert f"got {list(shape)}." in message
    assert f"{name}[None, :, None]" in message


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inputs", (B, T + 1, N_IN)),
        ("inputs", (B + 1, T, N_IN)),
        ("targets", (B, T + 1, N_OUT)),
        ("targets", (B, T, N_OUT + 1)),
        ("weights", (B, T, 1)),
        ("weights", (1, T, N_OUT)),
    ],
)
def test_arrays_that_do_not_agree_are_refused_with_all_shapes(name, shape):
    given = arrays(**{name: np.zeros(shape)})
    with pytest.raises(ValueError, match="must agree; got") as caught:
        ol.Task(**given)
    for part in ("inputs", "targets", "weights"):
        assert f"{part} {list(given[part].shape)}" in str(caught.value)


@pytest.mark.parametrize("name", ["inputs", "targets", "weights"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_the_place_of_the_first(name, bad):
    given = arrays()
    given[name][1, 3, 1] = given[name][1, 4, 0] = bad
    with pytest.raises(ValueError, match=f"Task: {name} must be finite; 2 values are not") as caught:
        ol.Task(**given)
    assert "the first at trial 1, step 3, channel 1." in str(caught.value)


def test_negative_weights_are_refused_with_the_smallest():
    given = arrays()
    given["weights"][0, 2, 1] = -0.25
    with pytest.raises(ValueError, match=r"Task: weights must not be negative; the smallest is -0\.25\."):
        ol.Task(**given)


@pytest.mark.parametrize("dt", [0.0, -0.1, 2.0, 5.0, np.nan, np.inf])
def test_a_step_that_makes_euler_unstable_is_refused(dt):
    with pytest.raises(ValueError, match=r"Task: dt must be above 0 and below 2 .*Euler's leak 1 - dt") as caught:
        ol.Task(**arrays(dt=dt))
    assert str(caught.value).endswith(f"got {dt:g}.")


def test_a_step_just_below_the_limit_is_accepted_and_the_leak_alone_then_decays():
    task = ol.Task(np.ones((1, 400, 1)), np.zeros((1, 400, 1)), np.ones((1, 400, 1)), dt=1.9)
    model = ol.Model(ol.Layout(rank=0), ol.Linear())
    outputs = ol.rollout(model, ol.Overlaps.from_entries(model.layout, zm=1.0), task)
    # k -> x with the factor 1 - dt = -0.9 per step: 0.9^399 is 5e-19.
    assert float(outputs[0, -1, 0]) == pytest.approx(1.0, abs=1e-14)


def test_several_steps_are_refused_with_the_way_to_map():
    with pytest.raises(ValueError, match=r"Task: dt must be one number, .*got shape \[2\]; use jax.vmap for several"):
        ol.Task(**arrays(dt=[0.1, 0.2]))


def test_what_is_no_number_is_refused_by_name():
    with pytest.raises(ValueError, match="Task: inputs must hold real numbers, got dtype complex128"):
        ol.Task(**arrays(inputs=np.zeros((B, T, N_IN), complex)))
    with pytest.raises(ValueError, match="Task: targets must be an array of real numbers"):
        ol.Task(**arrays(targets=None))


def test_steps_in_front_of_a_trial_leave_its_readings_loss_and_penalty_as_they_are():
    task = ol.Task(**arrays(activity_penalty=0.7))
    model = ol.Model(ol.Layout(N_IN, 1, N_OUT), ol.Linear())
    start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
    # From h = 0 nothing changes, but for rounding of sums of some tens of numbers of order 1.
    same = task.starting_from(np.zeros(N_IN))
    assert float(ol.loss(model, same, start)) == pytest.approx(float(ol.loss(model, task, start)), rel=1e-13)
    # Read one step later, outputs are those of the trial itself, and its last one is new.
    outputs = ol.rollout(model, start, task.read_after_update())
    assert np.array_equal(outputs[:, :T], ol.rollout(model, start, task))
    assert outputs.shape[1] == T + 1


def test_a_bias_is_an_input_vector():
    """By hand: `h <- h + dt (-h + m x + b)` for every neuron, with a readout of a nonlinear function."""
    task = ol.Task(**arrays()).with_bias()
    layout = ol.Layout(N_IN + 1, 0, N_OUT)
    vectors = np.random.default_rng(3).normal(size=(7, layout.size))
    h, outputs = np.zeros((B, 7)), []
    for x in np.moveaxis(arrays()["inputs"], 1, 0):
        outputs.append(np.tanh(h) @ vectors[:, -N_OUT:] / 7)
        h = h + 0.1 * (-h + x @ vectors[:, :N_IN].T + vectors[:, N_IN])
    found = ol.simulate(ol.Model(layout, ol.Tanh()), ol.Network(vectors, layout), task)
    np.testing.assert_allclose(found, np.moveaxis(outputs, 0, 1), rtol=0, atol=1e-14)
