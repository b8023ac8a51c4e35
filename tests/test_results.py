"""Every result: labelled data, tidy tables, files that are read back to the last bit, and HTML for notebooks."""

import dataclasses
import html.parser
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fit_helpers import invented_fit

import overlap_learning as ol
from overlap_learning import fitting, studies
from overlap_learning.learning.objects import _KINDS, ABOUT
from overlap_learning.learning.result import AbstractResult
from overlap_learning.printed import MOST_LINES, as_html

MODEL, TASK = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=3.0, dt=0.1)
RULE = ol.GradientDescent(5e-3, 20, save_every=10)
START = ol.Overlaps.from_entries(MODEL.layout, zu=0.3, vm=0.2)


@pytest.fixture(scope="module")
def results():
    solution = ol.integrate(MODEL, TASK, START, RULE)
    validation = ol.validate(MODEL, TASK, START, RULE, (10, 20), 2, key=jax.random.key(0), progress=False)
    report = ol.closure_error(MODEL, TASK, START, RULE)
    history = [studies.History(name, tasks, RULE) for name, tasks in (("<B>", [TASK]), ("naive", []))]
    starts = studies.random_starts(MODEL.layout, 2, key=jax.random.key(0))
    ends = ol.Overlaps(jnp.stack([starts.gram] * 2), MODEL.layout)
    points = ol.Overlaps(ends.gram[:, :, None], MODEL.layout)
    phase = studies.Phase(jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1)), points, ends, jnp.ones((2, 2), bool))
    twins = studies.Twins(MODEL, None, starts, phase, phase)
    values = jnp.asarray([2.0, 1.0])
    change = studies.ConnectivityChange(jnp.eye(3)[:, :2], values, jnp.eye(3)[:, 1:])
    cut = studies.RankOfChange(jnp.arange(3), jnp.asarray([1.0, 0.5, 0.1]), None, values[1] / 8, values[0], change)
    spectra = studies.Spectra(values + 1j, values - 2j, values * 1j, values)
    shares = jnp.asarray([0.5, 0.9])
    gates = studies.GateRanks(
        jnp.arange(2), shares, shares / 2, shares[1], 20, {"W": change}, {"W": change}, {"W": values}
    )
    fit = invented_fit(2)
    trials = np.asarray(fit.network.trials)
    found = (
        solution, validation, report, report.limit, validation.finite, twins, change, cut, spectra, gates, fit,
        ol.compare(MODEL, TASK, [START, ol.equivalent(START, MODEL, uu=2.0)], RULE),
        studies.savings(MODEL, history, TASK, START, RULE, criterion=0.1),
        studies.weight_tensor(solution),
        studies.random_connectivity.fixed_point_learning(0.5, 1.0, jnp.linspace(0, 2, 5), order=1),
        fitting.RankComparison((invented_fit(1), fit)),
        fitting.Bootstrap((fit, fit), np.stack([trials, trials]), 0 * trials[:, :], fit.trial_ids),
    )  # fmt: skip
    return {type(result).__name__: result for result in found}


RESULTS = (
    "Solution", "Validation", "ClosureReport", "Limit", "FiniteSize", "Twins", "ConnectivityChange", "RankOfChange",
    "Spectra", "GateRanks", "Fit", "Comparison", "Savings", "WeightTensor", "FixedPointLearning", "RankComparison",
    "Bootstrap",
)  # fmt: skip


class Reader(html.parser.HTMLParser):
    """The cells and the text of HTML, whose tags must close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.tags = [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        if tag in ("td", "th", "div"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells[-1] += data


def subclasses(kind):
    return {each for sub in kind.__subclasses__() for each in {sub, *subclasses(sub)}}


def test_these_are_all_results(results):
    public = {each.__name__ for each in subclasses(AbstractResult) if each.__module__.startswith("overlap_learning")}
    assert public == set(RESULTS) == set(results)
    # Files may hold each of them.
    assert public <= set(_KINDS)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_read_back_to_the_last_bit(results, name, tmp_path):
    result = results[name]
    result.save(tmp_path / "result.nc")
    same = type(result).load(tmp_path / "result.nc")
    assert jax.tree.structure(same) == jax.tree.structure(result)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(same), strict=True):
        assert type(a) is type(b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
        np.testing.assert_array_equal(a, b)
    assert list(same.to_xarray().variables) == list(result.to_xarray().variables)
    other = ol.Validation if name != "Validation" else ol.Limit
    with pytest.raises(ValueError, match=rf"{other.__name__}.load: .*its own class loads"):
        other.load(tmp_path / "result.nc")


@pytest.mark.parametrize("name", RESULTS)
def test_a_table_has_one_row_for_each_number_and_its_labels(results, name):
    result = results[name]
    for each, variable in result.to_xarray().data_vars.items():
        table = result.to_pandas(None if each == result.table else each)
        assert len(table) == variable.size
        np.testing.assert_array_equal(table[each], variable.values.ravel())
        assert not table.duplicated([*variable.dims] or [each]).any()
    with pytest.raises(ValueError, match="there is no variable 'nothing'"):
        result.to_pandas("nothing")


@pytest.mark.parametrize("name", [*RESULTS, "Overlaps", "Network"])
def test_a_notebook_shows_the_numbers_that_are_printed(results, name):
    network = ol.Network.sample(START, 20, key=jax.random.key(0))
    result = {**results, "Overlaps": START, "Network": network}[name]
    text = result._repr_html_()
    assert len(text) < 50_000
    read = Reader(text)
    assert read.tags <= {"div", "b", "table", "tr", "th", "td"}
    # Cell by cell what is printed, nothing more, nothing less.
    assert re.sub(r"\s", "", "".join(read.cells)) == re.sub(r"\s", "", repr(result))
    if name in ("Solution", "Validation", "Comparison", "ClosureReport", "Overlaps", "Network", "Savings"):
        assert "table" in read.tags
        assert "0.3" in read.cells or name not in ("Solution", "Comparison", "Overlaps")


def test_html_is_escaped_bounded_and_has_columns_where_text_has():
    rows = [
        "A <result> & more",
        f"  {'':<6}{'start':>10}{'at the end':>14}",
        "  zm        1.5          <2>",
        "  so it is",
    ]
    cells = [cell for cell in Reader(as_html("\n".join(rows))).cells if cell]
    assert cells == ["A <result> & more", "start", "at the end", "zm", "1.5", "<2>", "so it is"]
    many = Reader(as_html("title\n" + "  a   1\n" * 5000))
    assert len(many.cells) < 3 * MOST_LINES
    assert many.cells[-1] == "... and 4,881 more lines"


def test_a_file_with_other_parts_than_those_of_its_kind_is_refused(results, tmp_path):
    from overlap_learning.learning.files import write

    data = results["FiniteSize"].to_file()
    for change, message in (
        (('"FiniteSize"', '"Solution"'), "it holds Solution"),
        (('"schema": 1', '"schema": 7'), "file version 7"),
        (('"loss"', '"los"'), "has the fields"),
        (('"array": "loss"', '"array": "deviation"'), "FiniteSize.load"),
    ):
        changed = data.copy()
        changed.attrs[ABOUT] = data.attrs[ABOUT].replace(*change)
        assert changed.attrs[ABOUT] != data.attrs[ABOUT]
        write(changed, tmp_path / "other.nc")
        with pytest.raises(ValueError, match=message):
            ol.validation.FiniteSize.load(tmp_path / "other.nc")


def test_names_are_read_back_as_they_are_or_refused(results, tmp_path):
    path = tmp_path / "savings.nc"
    for names in (("", "a/b "), ("é <b>&", "nan")):
        named = dataclasses.replace(results["Savings"], names=names)
        named.save(path)
        assert studies.Savings.load(path).names == names
        assert list(studies.Savings.load(path).to_xarray()["history"].values) == list(names)
    for name in ("a\0b", "\ud800"):
        with pytest.raises(ValueError, match=r"save: 'history' has the text .* no file can hold"):
            dataclasses.replace(results["Savings"], names=("naive", name)).save(path)


def test_what_no_file_can_hold_is_asked_for(results, tmp_path):
    own = ol.Model(ol.Layout(), ol.Activation(jnp.tanh))
    eqx.tree_at(lambda twins: twins.model, results["Twins"], own).save(tmp_path / "twins.nc")
    with pytest.raises(ValueError, match="activation of its own"):
        studies.Twins.load(tmp_path / "twins.nc")
    assert studies.Twins.load(tmp_path / "twins.nc", activation=own.activation).model == own
