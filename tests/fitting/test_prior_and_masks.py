"""The prior against scipy, and masks against brute force."""

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from overlap_learning import fitting

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kernel", [fitting.RationalQuadratic(5.0, 0.7), fitting.SquaredExponential(5.0)])
def test_log_density_is_that_of_scipy(kernel):
    ids = np.array([0, 1, 2, 5, 9, 10.0])
    prior = fitting.GaussianProcess(kernel, scale=0.8, noise=0.2)
    means, trials = np.array([1.0, -2.0]), RNG.normal(size=(6, 2))
    normal = [multivariate_normal(np.full(6, mean), prior.covariance(ids)) for mean in means]
    expected = sum(each.logpdf(trials[:, r]) for r, each in enumerate(normal))
    # Condition numbers of some 100.
    np.testing.assert_allclose(prior.log_density(trials, means, ids), expected, rtol=1e-12)
    # What a fit adds to its loss is the same up to the constant.
    whitened = np.linalg.solve(prior.factor(ids), trials - means)
    constant = sum(each.logpdf(np.full(6, mean)) for each, mean in zip(normal, means, strict=True))
    np.testing.assert_allclose(prior.penalty(whitened), constant - expected, rtol=1e-12)
    assert fitting.Reparametrised(kernel).penalty(whitened) == 0


def test_no_entry_within_the_guard_of_one_held_out_is_in_another_part():
    half, guard = (2, 1, 1), (2, 1, 0)
    recordings = fitting.Recordings(RNG.normal(size=(30, 12, 9)), mask=RNG.random((30, 12, 9)) < 0.9)
    masks = fitting.block_masks(recordings, jax.random.key(3), half=half, guard=guard, stop=0.1, report=0.1)
    part = masks.train + 2 * masks.stop + 3 * masks.report
    assert set(np.unique(part)) == {0, 1, 2, 3}
    assert not (part > 0)[~recordings.mask].any()
    for at in np.argwhere(part > 1):
        box = part[tuple(slice(max(0, i - g), i + g + 1) for i, g in zip(at, guard, strict=True))]
        assert set(np.unique(box)) <= {0, part[tuple(at)]}
    # Each numbered block lies in a box of its size.
    assert ((masks.blocks >= 0) == masks.report).all()
    for number in np.unique(masks.blocks[masks.report]):
        where = np.argwhere(masks.blocks == number)
        assert (np.ptp(where, axis=0) <= 2 * np.array(half)).all()


def test_masks_that_leave_nothing_are_refused():
    recordings = fitting.Recordings(RNG.normal(size=(6, 5, 4)))
    with pytest.raises(ValueError, match="use smaller"):
        fitting.block_masks(recordings, jax.random.key(0), half=(3, 3, 2))
    with pytest.raises(ValueError, match="guard must be three numbers"):
        fitting.block_masks(recordings, jax.random.key(0), guard=1)
