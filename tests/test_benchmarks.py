"""The benchmarks' baselines compute what the package does, and the table says what was measured."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from benchmarks import bars, results, table, texts
from benchmarks.baselines import scipy_flow
from benchmarks.baselines.filter_loop import filter_loop
from benchmarks.cases import setting, theory_one
from benchmarks.memory import Peak, flip_flop_at
from benchmarks.timing import Comparison, Row, Side, compare

MODEL = ol.Model(ol.Layout(), ol.Linear())
MACHINE = {
    "versions": {"python": "3"}, "platform": "cpu", "device": "cpu", "n_devices": 1, "processor": "P", "cores": 2,
    "load": None, "left_out": ["the C loop"],
    "xla_flags": "", "copy_bytes_per_second": 1e10, "matmul_flops": {"float32": 1e11, "float64": 1e11},
}  # fmt: skip


def _start() -> ol.Overlaps:
    return ol.Overlaps.from_entries(MODEL.layout, zm=0.3, zu=-0.4, vm=0.5, vu=0.2, mu=0.1, vz=0.2)


def test_c_loop_has_the_overlaps_and_losses_of_the_theory_to_rounding():
    # The last saved point comes sooner than the others.
    n_steps, save_every, task = 20, 7, setting.filter_task(100)
    theory = ol.integrate(MODEL, task, _start(), ol.GradientDescent(5e-3, n_steps, save_every=save_every))
    loop = filter_loop(task, np.asarray(_start().gram), 5e-3, n_steps, save_every)
    # In each step, sums of T terms round by T eps of their size, and move overlaps of size 1 by less than that; away
    # from a plateau later steps do not enlarge it.
    allowed = n_steps * task.n_steps * np.finfo(float).eps
    assert loop.gram.shape == theory.overlaps.gram.shape
    np.testing.assert_allclose(loop.gram, theory.overlaps.gram, rtol=0, atol=allowed)
    np.testing.assert_allclose(loop.loss, theory.loss, rtol=0, atol=allowed)
    assert np.max(np.abs(loop.gram[-1] - loop.gram[0])) > 1e8 * allowed


def test_c_loop_refuses_what_it_was_not_written_for():
    with pytest.raises(ValueError, match="one trial, one channel and rank 1"):
        filter_loop(ol.Task(np.ones((2, 9, 1)), np.ones((2, 9, 1)), np.ones((2, 9, 1)), 0.1), np.eye(4), 5e-3, 1, 1)


@pytest.mark.parametrize("slopes", [scipy_flow.slopes_by_loop, scipy_flow.slopes_by_filter])
def test_right_hand_sides_for_scipy_have_the_gradient_of_the_theory(slopes):
    task = setting.filter_task(100)
    _, S = ol.loss_gradient(MODEL, task, _start())
    found = slopes(np.asarray(_start().gram), scipy_flow.Filter(task))
    # Sums of T terms.
    np.testing.assert_allclose(found, S, rtol=0, atol=task.n_steps * np.finfo(float).eps * float(jnp.max(jnp.abs(S))))


def test_sides_run_in_turns_after_a_first_run_that_is_not_counted():
    order = []

    def side(name, units):
        return Side(name, lambda: order.append(name) or jnp.asarray(units), units)

    rows = compare(Comparison("c", "step", [side("a", 1.0), side("b", 2.0)], lambda a, b: b - a), repeats=2, limit=60.0)
    assert order == ["a", "b"] * 3
    assert [row.repeats for row in rows] == [2, 2]
    assert rows[0].baseline is None
    assert rows[1].baseline == "a"
    assert rows[1].deviation == 1.0
    assert rows[1].speedup == rows[0].seconds / rows[1].seconds


def test_a_slow_side_is_counted_once_and_the_others_go_on():
    rows = compare(
        Comparison("c", "run", [Side("slow", lambda: jnp.zeros(())), Side("fast", lambda: jnp.zeros(()))]),
        repeats=4,
        limit=0.0,
    )
    assert [row.repeats for row in rows] == [1, 1]


def _row(case: str, name: str, speedup: float) -> Row:
    return Row(case, name, "run", 1.0, 0.9, 1.1, 3, 1.0, "C loop", speedup, 1e-15)


@pytest.mark.parametrize(("speedup", "met"), [(3.4, True), (3.3, False)])
def test_a_bar_is_met_by_what_was_measured(speedup, met):
    row = _row(theory_one.case(setting.FILTER_STEPS, each_step=False), theory_one.THEORY, speedup)
    judged = {bar.name: bar for bar in bars.judge([row], [], MACHINE)}
    assert judged["ol.integrate, one network, the end saved"].met is met
    assert judged["ol.integrate, one network, each step saved"].met is None


@pytest.mark.parametrize(("gib", "met"), [(7.9, True), (8.1, False)])
def test_the_bar_on_memory_is_on_the_whole_process(gib, met):
    peak = Peak(flip_flop_at(100_000), round(gib * 2**30), 7 * 2**30)
    assert [bar.met for bar in bars.judge([], [peak], MACHINE) if "memory" in bar.name and "GiB" in bar.bar] == [met]


@pytest.mark.parametrize(("power", "met"), [(1.0, True), (1.3, False)])
def test_the_exponent_is_fitted_over_large_networks(power, met):
    from benchmarks.cases import full_n

    rows = [
        dataclasses.replace(
            _row("", full_n.TRAIN, 1.0),
            seconds=float(n) ** power,
            extra={"kind": "erf", "n_neurons": n, "n_times": full_n.SCALING_TIMES},
        )
        for n in (10_000, 100_000, 1_000_000)
    ]
    judged = {bar.name: bar for bar in bars.judge(rows, [], MACHINE)}
    assert judged["full N, erf, cost over N from 10,000"].met is met
    assert judged["full N, erf, cost over N from 10,000"].measured == f"{power:.2f}"


def test_results_read_back_make_the_same_table(tmp_path):
    row = _row(theory_one.case(setting.FILTER_STEPS, each_step=False), theory_one.THEORY, 6.0)
    run = results.Results(MACHINE, quick=False, seconds=2.0, rows=[row], peaks=[Peak("p", 2**31, 2**30)])
    run.write(tmp_path / "new" / "cpu.json")
    again = results.read(tmp_path / "new" / "cpu.json")
    assert again == run
    assert table.markdown(again) == table.markdown(run)
    assert table.about(again)[-1] == "left out: the C loop"
    assert (
        "| ol.integrate, one network, the end saved | at most 0.3 of the C loop's time | 0.167 | met |"
        in table.markdown(run)
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cpu.json"]


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (10.0, "10.0"), (0.1996, "0.200"), (0.00221, "0.00221")]
)
def test_ratios_have_three_digits(value, text):
    assert texts.factor(value) == text


def test_results_of_another_schema_are_refused(tmp_path):
    (tmp_path / "cpu.json").write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="schema 0"):
        results.read(tmp_path / "cpu.json")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(61.0, "61.0 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.50 µs"), (3e-9, "3.00 ns"), (0.1999, "200 ms")],
)
def test_durations_have_three_digits_and_a_unit(seconds, text):
    assert texts.duration(seconds) == text


def test_figure_draws_what_there_is_and_says_what_there_is_not():
    from benchmarks.figure import draw

    figure = draw(results.Results(MACHINE, quick=True))
    assert sum(text.get_text() == "not in this run" for ax in figure.axes for text in ax.texts) == 6
