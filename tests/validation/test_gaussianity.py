"""How far neurons are from Gaussian ones."""

import numpy as np
import pytest

import overlap_learning as ol


def test_excess_kurtosis_of_known_distributions():
    layout = ol.Layout()
    signs = np.tile([[1.0], [-1.0]], (10, 1))
    rare = np.zeros((20, 1))
    rare[0] = 1.0
    found = ol.validation.excess_kurtosis(ol.Network(np.concatenate([signs, 3 * signs, rare, signs], axis=1), layout))
    # +-1: 1 - 3. One of 20: 20 - 3.
    assert found == pytest.approx({"m": -2.0, "u": -2.0, "v": 17.0, "z": -2.0})


def test_the_error_of_the_kurtosis_is_that_of_gaussian_samples():
    samples = np.random.default_rng(0).standard_normal((4000, 1000))
    values = (samples**4).mean(axis=1) / (samples**2).mean(axis=1) ** 2 - 3
    # The standard deviation of 4,000 samples is known to 1 / sqrt(8000) = 1.1 %; sqrt(24 / N) is the leading order in
    # 1 / N, so some 1 % more.
    assert values.std() == pytest.approx(ol.validation.kurtosis_error(1000), rel=0.05)
