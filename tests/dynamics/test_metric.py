"""The metric Gbar: its definition by all neurons, its symmetry, the flow that it makes, and its zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    N_TIMES,
    RANK_1,
    RANK_2,
    TWO_BY_TWO,
    gram_of,
    largest,
    make_network,
    make_overlaps,
    make_task,
    simulated_loss,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

N_NEURONS = 10
LAYOUTS = [RANK_1, RANK_2, TWO_BY_TWO]
unequal_rates = st.sampled_from([None, {"m": 0.0}, {"u": 0.5, "z": 2.0}, {"v": 0.0, "m": 3.0}])


def sigma(vectors, layout):
    """The p distinct overlaps of vectors V."""
    return gram_of(vectors)[layout.entry_indices]


@pytest.mark.parametrize("layout", LAYOUTS, ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rates=unequal_rates)
def test_metric_is_N_J_P_J_transposed_with_J_the_derivative_of_the_overlaps_in_the_vectors(layout, seed, rates):
    vectors = np.random.default_rng(seed).standard_normal((N_NEURONS, layout.size))
    J = np.asarray(jax.jacobian(sigma)(vectors, layout)).reshape(layout.n_overlaps, -1)
    P = np.tile(np.asarray(layout.rates(rates)), N_NEURONS)
    expected = N_NEURONS * (J * P) @ J.T
    found = ol.metric(ol.Model(layout, ol.Linear()), ol.Overlaps(gram_of(vectors), layout), rates)
    # Sums over N d products of rounded numbers.
    assert largest(found - expected) <= N_NEURONS * layout.size * EPS * largest(expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rates=unequal_rates)
def test_metric_is_symmetric_and_positive_semi_definite(layout, seed, rates):
    vectors = np.random.default_rng(seed).standard_normal((N_NEURONS, layout.size))
    found = np.asarray(ol.metric(ol.Model(layout, ol.Erf()), ol.Overlaps(gram_of(vectors), layout), rates))
    # Each entry is a sum of d products, and eigenvalues move by at most the norm of the rounding, p times its
    # largest entry.
    rounding = layout.size * EPS * largest(found)
    assert largest(found - found.T) <= rounding
    assert np.linalg.eigvalsh(found).min() >= -layout.n_overlaps * rounding


@pytest.mark.parametrize("layout", [RANK_1, TWO_BY_TWO], ids=repr)
def test_metric_times_the_gradient_is_the_velocity_of_the_overlaps_of_all_neurons(layout):
    model = ol.Model(layout, ol.Linear())
    task = make_task(layout)
    rates = np.asarray(layout.rates({"m": 0.0, "u": 0.5}))
    network = make_network(make_overlaps(layout, scale=0.4), N_NEURONS)
    slope = jax.grad(lambda vectors: simulated_loss(model, vectors, task))(network.vectors)
    _, velocity = jax.jvp(lambda vectors: sigma(vectors, layout), (network.vectors,), (-N_NEURONS * slope * rates,))

    _, S = ol.loss_gradient(model, task, network.overlaps)
    rows, columns = layout.entry_indices
    # The derivative in an overlap as one number: S off the diagonal, half of it on the diagonal.
    derivative = np.where(rows == columns, 0.5, 1.0) * np.asarray(S)[rows, columns]
    found = -ol.metric(model, network.overlaps, rates) @ derivative
    # Backpropagation through T steps of N neurons, forth and back.
    assert largest(found - velocity) <= 2 * N_TIMES * N_NEURONS * EPS * largest(velocity)
    assert largest(velocity) > 1e-2


class TestRankOne:
    """What Fig. 11 of Ger & Barak 2026 draws, and their ten equations."""

    model = ol.Model(RANK_1, ol.Linear())
    overlaps = make_overlaps(RANK_1, scale=0.4)
    names = RANK_1.entry_names

    def entry(self, metric, row, column):
        return float(metric[self.names.index(row), self.names.index(column)])

    def test_overlaps_drive_each_other_exactly_if_they_share_a_vector(self):
        metric = np.asarray(ol.metric(self.model, self.overlaps))
        shared = np.array([[bool(set(a) & set(b)) for b in self.names] for a in self.names])
        assert np.array_equal(metric != 0, shared)

    def test_rows_are_those_of_the_published_equations(self):
        metric = ol.metric(self.model, self.overlaps)
        s = {name: float(value) for name, value in self.overlaps.entries().items()}
        published = {
            "zm": {"zm": s["mm"] + s["zz"], "zu": s["mu"], "vm": s["vz"], "vu": 0.0},
            "zu": {"zm": s["mu"], "zu": s["uu"] + s["zz"], "vm": 0.0, "vu": s["vz"]},
            "vm": {"zm": s["vz"], "zu": 0.0, "vm": s["mm"] + s["vv"], "vu": s["mu"]},
            "vu": {"zm": 0.0, "zu": s["vz"], "vm": s["mu"], "vu": s["uu"] + s["vv"]},
            "mm": {"zm": 2 * s["zm"], "zu": 0.0, "vm": 2 * s["vm"], "vu": 0.0},
            "mu": {"zm": s["zu"], "zu": s["zm"], "vm": s["vu"], "vu": s["vm"]},
            "uu": {"zm": 0.0, "zu": 2 * s["zu"], "vm": 0.0, "vu": 2 * s["vu"]},
            "vv": {"zm": 0.0, "zu": 0.0, "vm": 2 * s["vm"], "vu": 2 * s["vu"]},
            "vz": {"zm": s["vm"], "zu": s["vu"], "vm": s["zm"], "vu": s["zu"]},
            "zz": {"zm": 2 * s["zm"], "zu": 2 * s["zu"], "vm": 0.0, "vu": 0.0},
        }
        for row, columns in published.items():
            for column, expected in columns.items():
                assert self.entry(metric, row, column) == pytest.approx(expected, rel=4 * EPS, abs=0)

    def test_orthonormal_vectors_learn_each_visible_overlap_by_itself(self):
        metric = ol.metric(self.model, ol.Overlaps.from_entries(RANK_1))
        visible = [self.names.index(name) for name in self.model.visible_names]
        assert np.array_equal(np.asarray(metric)[np.ix_(visible, visible)], 2 * np.eye(4))

    def test_a_frozen_vector_keeps_its_norm(self):
        metric = np.asarray(ol.metric(self.model, self.overlaps, {"u": 0.0}))
        assert not metric[self.names.index("uu")].any()
        assert metric[self.names.index("mm")].any()


def test_metric_under_vmap_over_starts_equals_a_loop():
    model = ol.Model(RANK_1, ol.Linear())
    grams = jnp.stack([make_overlaps(RANK_1, seed=seed).gram for seed in range(3)])
    batch = jax.vmap(lambda overlaps: ol.metric(model, overlaps))(ol.Overlaps(grams, RANK_1))
    loop = jnp.stack([ol.metric(model, ol.Overlaps(gram, RANK_1)) for gram in grams])
    assert largest(batch - loop) <= RANK_1.size * EPS * largest(loop)


def test_overlaps_of_another_layout_are_refused():
    with pytest.raises(
        ValueError, match=r"metric: overlaps must be ol.Overlaps with Layout\(n_in=1, rank=1, n_out=1\)"
    ):
        ol.metric(ol.Model(RANK_1, ol.Linear()), make_overlaps(RANK_2))


def test_a_batch_of_overlaps_is_refused_and_vmap_named():
    batch = ol.Overlaps(jnp.stack([jnp.eye(4)] * 2), RANK_1)
    with pytest.raises(ValueError, match=r"metric: overlaps are a batch of shape \[2\].*jax\.vmap"):
        ol.metric(ol.Model(RANK_1, ol.Linear()), batch)


def test_rates_of_an_unknown_vector_are_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"rates must be a mapping with keys from m, u, v, z.*got the key 'w'"):
        ol.metric(ol.Model(RANK_1, ol.Linear()), make_overlaps(RANK_1), {"w": 1.0})
