"""Model: which overlaps the loss can see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUTS = [ol.Layout(1, 0, 1), ol.Layout(1, 1, 1), ol.Layout(2, 2, 1)]
ACTIVATIONS = [ol.Linear(), ol.Erf()]


def test_names_of_rank_one_linear_are_the_published_four_and_six():
    model = ol.Model(ol.Layout(), ol.Linear())
    assert set(model.visible_names) == {"zm", "zu", "vm", "vu"}
    assert set(model.invisible_names) == {"mm", "mu", "uu", "vv", "vz", "zz"}


@pytest.mark.parametrize("activation", [ol.Erf(), ol.Tanh(), ol.ReLU(), ol.Activation(jnp.sin)])
def test_names_of_rank_one_nonlinear_are_the_published_seven_and_three(activation):
    model = ol.Model(ol.Layout(), activation)
    assert set(model.visible_names) == {"zm", "zu", "vm", "vu", "mm", "mu", "uu"}
    assert set(model.invisible_names) == {"vv", "vz", "zz"}
    assert not model.is_linear


def test_rank_two_linear_has_nine_visible_and_twelve_invisible_overlaps():
    model = ol.Model(ol.Layout(rank=2), ol.Linear())
    assert (len(model.visible_names), len(model.invisible_names)) == (9, 12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_depend_on_the_visible_overlaps_and_on_no_other(layout, activation):
    """The masks are written down from theory; here the derivative of the activity itself decides."""
    model = ol.Model(layout, activation)
    rng = np.random.default_rng(0)
    zeros = np.zeros((2, 8, layout.n_out))
    task = ol.Task(rng.normal(size=(2, 8, layout.n_in)), zeros, zeros + 1, dt=0.3)
    vectors = rng.normal(size=(2 * layout.size, layout.size))

    def total(gram):
        return task.loss(ol.rollout(model, ol.Overlaps(gram, layout), task))

    slope = np.asarray(jax.jit(jax.grad(total))(vectors.T @ vectors / len(vectors)))
    # A symmetric change of G moves an entry and its mirror image.
    depends = np.abs(slope + slope.T) > 0
    assert np.array_equal(depends, model.visible)
    assert np.array_equal(model.invisible, ~model.visible)


def test_a_model_of_wrong_parts_is_refused():
    with pytest.raises(ValueError, match=r"layout must be an ol.Layout, got \(1, 1, 1\)"):
        ol.Model((1, 1, 1), ol.Linear())
    with pytest.raises(ValueError, match=r"activation must be ol.Linear\(\), ol.Erf\(\)") as caught:
        ol.Model(ol.Layout(), jnp.tanh)
    assert repr(jnp.tanh) in str(caught.value)
