"""Savings and the speed of learning: what history and invisible overlaps do to learning again."""

import jax
import numpy as np
import pytest

import overlap_learning as ol

LINEAR, ERF = ol.Model(ol.Layout(), ol.Linear()), ol.Model(ol.Layout(), ol.Erf())
A = ol.tasks.exponential_filter(decay=0.2, duration=8.0, dt=0.1)
B = ol.tasks.exponential_filter(decay=0.4, duration=8.0, dt=0.1)
START = ol.Overlaps.random(LINEAR.layout, key=jax.random.key(0), scale=0.3)
# As many saved points and the same rates, given alike, so that all flows share a compiled program.
EQUAL = {"m": 1.0, "z": 1.0}
PROBE, LONG = (ol.GradientFlow(t, rates=EQUAL, save_at=t * np.arange(121) / 120) for t in (6.0, 200.0))


@pytest.mark.parametrize("model", [LINEAR, ERF], ids=["linear", "erf"])
@pytest.mark.parametrize("rates", [{}, {"m": 0.0, "z": 2.0}], ids=["equal", "unequal rates"])
def test_learning_speed_is_minus_the_slope_of_the_loss_along_the_flow(model, rates):
    duration = 1e-5
    # The solver's tolerance bounds the error of the loss; the slope over `duration` carries it divided by that.
    run = ol.integrate(
        model,
        A,
        START,
        ol.GradientFlow(duration, rates=EQUAL | rates, rtol=1e-13, atol=1e-15, save_at=duration * np.arange(121) / 120),
    )
    slope = -(float(run.loss[-1]) - float(ol.loss(model, A, START))) / duration
    found = ol.studies.learning_speed(model, A, START, rates or None)
    # One-sided difference: of first order in the duration, with |d2L/dtau2| / speed at most some 100 per unit time
    # here; and the rounding of two losses.
    tolerance = 100 * duration + 4 * np.finfo(float).eps * float(run.loss[0]) / duration / float(found.total)
    assert abs(slope / float(found.total) - 1) < tolerance
    np.testing.assert_allclose(sum(found.parts.values()), found.total, rtol=1e-12)


def test_only_invisible_overlaps_carry_the_speed_of_linear_networks():
    parts = ol.studies.learning_speed(LINEAR, A, START).parts
    assert all(parts[name] == 0 for name in LINEAR.visible_names)
    assert sum(abs(parts[name]) for name in LINEAR.invisible_names) > 1
    hidden = ol.studies.learning_speed(ERF, A, START).parts
    assert all(hidden[name] != 0 for name in ("vv", "zz", "vz"))


def test_a_linear_network_under_the_flow_saves_nothing_over_one_that_never_learned_a():
    histories = [
        ol.studies.History("B", [B], LONG),
        ol.studies.History("A, B", [A, B], LONG),
        ol.studies.History("naive", [], LONG),
    ]
    found = ol.studies.savings(LINEAR, histories, A, START, PROBE, criterion=1e-3)
    # B's solutions after "B" and after "A, B" differ by what A-B-A leaves: below 1e-2 of the overlaps here.
    assert abs(found.share[1]) < 0.01
    assert found.share[2] < -1
    assert "A, B" in repr(found)
    np.testing.assert_allclose(found.before.gram[2], START.gram)


def test_an_erf_network_keeps_a_trace_of_a_in_its_learning_speed():
    histories = [ol.studies.History("B", [B], LONG), ol.studies.History("A, B", [A, B], [LONG, LONG])]
    linear, erf = (ol.studies.savings(model, histories, A, START, PROBE, criterion=1e-3) for model in (LINEAR, ERF))

    def gain(found):
        return float(found.speed[1].total / found.speed[0].total - 1)

    assert abs(gain(linear)) < 0.005
    assert gain(erf) > 0.05


def test_savings_at_full_n_are_those_of_the_theory():
    rule = ol.GradientDescent(5e-3, 60, save_every=2)
    histories = [ol.studies.History("naive", [], rule), ol.studies.History("B", [B], rule)]
    network = ol.Network.sample(START, 20, key=jax.random.key(0))
    theory, full = (ol.studies.savings(LINEAR, histories, A, start, rule, criterion=1.5) for start in (START, network))
    assert np.all(np.isfinite(theory.time))
    # Losses agree to rounding of 120 steps; the crossing time divides that by the slope of the loss, of order 1.
    np.testing.assert_allclose(full.time, theory.time, rtol=1e-9)


def test_a_criterion_that_is_never_or_already_met():
    histories = [ol.studies.History("naive", [], LONG)]
    for criterion, expected in ((1e-30, np.inf), (1e3, 0.0)):
        assert ol.studies.savings(LINEAR, histories, A, START, PROBE, criterion=criterion).time[0] == expected


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"ol\.studies\.History"):
        ol.studies.savings(LINEAR, [("B", [B])], A, START, PROBE, criterion=1e-3)
    with pytest.raises(ValueError, match="criterion must be positive"):
        ol.studies.savings(LINEAR, [ol.studies.History("", [], LONG)], A, START, PROBE, criterion=0.0)
    with pytest.raises(ValueError, match="must not have a stop_loss"):
        ol.studies.savings(
            LINEAR, [ol.studies.History("", [], LONG)], A, START, ol.GradientFlow(1.0, stop_loss=0.1), criterion=1e-3
        )
