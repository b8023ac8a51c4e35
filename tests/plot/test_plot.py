"""Pictures: what they show is what the solutions hold, they draw where they are told to, and nothing overlaps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.special import ndtri

import overlap_learning as ol
from overlap_learning.plot.overlaps import overlap_colours
from overlap_learning.plot.style import COLOURS, MANY_COLOURS, spread, symbol
from overlap_learning.validation import FiniteSize


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def course(layout, activation, *, seed, final=None, has_transfer=True, n_points=41):
    """A solution with an invented course of learning: pictures show what it holds, wherever it comes from."""
    random = np.random.default_rng(seed)
    model = ol.Model(layout, activation)
    vectors = random.normal(size=(30, layout.size)) + np.linspace(0, 1, n_points)[:, None, None]
    overlaps = ol.Overlaps(jnp.asarray(np.swapaxes(vectors, 1, 2) @ vectors / 30), layout)
    steps = jnp.arange(n_points)
    return ol.Solution(
        model=model,
        time=0.05 * steps,
        step=steps,
        loss=jnp.asarray(np.exp(-0.1 * np.arange(n_points) + 0.1 * random.normal(size=n_points))),
        saved={"gram": overlaps.gram}
        | ({"transfer": jnp.zeros((n_points, layout.size, layout.size))} if has_transfer else {}),
        final=jax.tree.map(lambda a: a[-1], overlaps) if final is None else final,
        stats={},
        result=ol.RESULTS.successful,
    )


def invented_validation(activation):
    """A validation with deviations that have an invented spread."""
    theory = course(ol.Layout(), activation, seed=0)
    random = np.random.default_rng(1)
    shape = (3, 4, len(theory.time))
    return ol.Validation(
        theory=theory,
        n_neurons=(10, 20, 80),
        deviation=1e-2 * random.normal(size=(*shape, 10)),
        loss=np.ones(shape),
        early=4,
        tolerance=np.array([1.0, 1.1, 1.2]),
    )


def invented_report(activation, *, networks=True):
    """A closure report with an invented theory, limit and spread of networks."""
    random = np.random.default_rng(2)
    exact = isinstance(activation, ol.Linear)
    network = ol.Network(random.normal(size=(7, 4)), ol.Layout())
    fine, coarse = (course(ol.Layout(), activation, seed=seed, final=network) for seed in (3, 3 if exact else 4))
    theory = course(ol.Layout(), activation, seed=3 if exact else 5)
    shape = (2, 3, len(theory.time))
    return ol.ClosureReport(
        theory=theory,
        limit=ol.Limit(
            solution=fine, coarse=coarse, start=network, start_error=jnp.zeros(10), folded=True, exact=exact
        ),
        tolerance=jnp.asarray(0.4),
        theory_output=jnp.zeros((1, 5, 1)),
        limit_output=jnp.zeros((1, 5, 1)),
        networks=FiniteSize((10, 1000), random.normal(size=(*shape, 10)), np.ones(shape)) if networks else None,
    )


@pytest.fixture(scope="module")
def model():
    return ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())


@pytest.fixture(scope="module")
def task():
    return ol.tasks.exponential_filter(decay=0.2, duration=3.0, dt=0.1)


@pytest.fixture(scope="module")
def start(model):
    return ol.Overlaps.from_entries(model.layout, zm=0.1, zu=0.2, vm=0.3, vu=0.1)


@pytest.fixture(scope="module")
def theory(model, start):
    return course(model.layout, ol.Linear(), seed=0, final=start)


@pytest.fixture(scope="module")
def full(model, start):
    network = ol.Network.sample(start, 20, key=jax.random.key(0), exact=False)
    return course(model.layout, ol.Linear(), seed=1, final=network, has_transfer=False)


@pytest.fixture(scope="module")
def direct(model):
    return course(model.layout, ol.Linear(), seed=2, has_transfer=False)


@pytest.fixture(scope="module")
def found():
    return invented_validation(ol.Erf())


def new_axes():
    return Figure(layout="constrained").subplots()


def lines(ax):
    """The drawn lines by label."""
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.fixture
def pictures(model, task, start, theory, full, direct, found):
    """Every picture, as a function of ax."""
    return {
        "loss": lambda ax: ol.plot.loss(theory, full, direct, ax=ax),
        "overlaps": lambda ax: ol.plot.overlaps(theory, full, direct, ax=ax),
        "final_overlaps": lambda ax: ol.plot.final_overlaps(theory, full, direct, ax=ax),
        "output": lambda ax: ol.plot.output(model, task, theory.final, full.final, start, ax=ax),
        "deviation": lambda ax: ol.plot.deviation(full, theory, direct, ax=ax),
        "quantiles": lambda ax: ol.plot.quantiles(full.final, ax=ax),
        "validation": lambda ax: ol.plot.validation(found, ax=ax),
        "closure": lambda ax: ol.plot.closure(invented_report(ol.Erf()), ax=ax),
    }


def test_the_list_of_pictures_here_is_complete(pictures):
    # Those of fits are drawn where there is one (test_plot_fits).
    of_fits = {
        "activity_trajectories", "fit_course", "initial_states", "inputs", "latent_trajectories", "neuron_activity",
        "projections", "rank_scores", "sorted_activity", "trial_factors", "trial_factors_in_space", "vector_field",
        "weight_eigenvalues",
    }  # fmt: skip
    # Those of the geometry have a file of their own (test_plot_geometry).
    of_geometry = {
        "feasible_region", "feasible_region_in_space", "gram", "learning_animation", "learning_plane",
        "phase_portrait", "phase_portraits", "trials",
    }  # fmt: skip
    assert set(pictures) | of_fits | of_geometry == set(ol.plot.__all__)


def test_every_picture_draws_on_the_given_axes_and_leaves_global_state_alone(pictures):
    before = dict(mpl.rcParams)
    for name, draw in pictures.items():
        ax = new_axes()
        assert draw(ax) is ax, name
        assert ax.has_data(), name
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_without_axes_every_picture_makes_one_figure(pictures):
    for i, (name, draw) in enumerate(pictures.items()):
        ax = draw(None)
        assert len(plt.get_fignums()) == i + 1, name
        assert ax.figure is plt.gcf(), name


def test_every_axis_has_a_label_and_times_their_unit(pictures):
    labels = {name: (ax.get_xlabel(), ax.get_ylabel()) for name, draw in pictures.items() for ax in [draw(new_axes())]}
    for name, (x, y) in labels.items():
        assert y, name
        # The overlaps at the end stand over their own names.
        assert x or name == "final_overlaps", name
    for name in ("loss", "overlaps", "deviation", "closure"):
        assert labels[name][0] == r"learning time $\tau$ (sum of learning rates)"
    assert labels["output"][0] == "time (neuronal time constants)"


def test_no_legend_covers_the_axes_where_data_are(pictures):
    for name, draw in pictures.items():
        figure = Figure(figsize=(4.4, 3.9), layout="constrained")
        ax = draw(figure.subplots())
        figure.draw_without_rendering()
        legend, area = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert legend.y0 >= area.y1, name
        # And it is on the page.
        assert legend.y1 <= figure.bbox.y1, name


def test_loss_shows_the_losses_of_all_solutions_by_name(theory, full, direct):
    drawn = lines(ol.plot.loss(theory, full, direct, ax=new_axes()))
    for label, solution in (("theory", theory), ("full N = 20", full), ("direct descent", direct)):
        np.testing.assert_array_equal(drawn[label].get_xdata(), solution.time)
        np.testing.assert_array_equal(drawn[label].get_ydata(), solution.loss)


def test_theory_is_a_line_and_full_network_is_marks_in_whatever_order(theory, full):
    for order in ((theory, full), (full, theory)):
        drawn = lines(ol.plot.loss(*order, ax=new_axes()))
        assert drawn["theory"].get_linestyle() == "-"
        assert drawn["theory"].get_marker() == "None"
        assert drawn["full N = 20"].get_linestyle() == "None"
        assert drawn["full N = 20"].get_marker() == "o"


def test_compared_solutions_of_one_kind_differ_in_name_and_look(theory):
    drawn = ol.plot.loss(theory, theory, theory, ax=new_axes()).get_lines()
    assert [line.get_label() for line in drawn] == ["theory (1)", "theory (2)", "theory (3)"]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn}) == 3


def test_compared_networks_of_one_kind_differ_in_name_and_look(model, task, start):
    drawn = ol.plot.output(model, task, start, start, ax=new_axes()).get_lines()[1:]
    assert [line.get_label() for line in drawn] == ["theory (1)", "theory (2)"]
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 2


def test_given_labels_replace_the_names(theory, full):
    assert list(lines(ol.plot.loss(theory, full, labels=["a", "b"], ax=new_axes()))) == ["a", "b"]


def test_overlaps_shows_every_series_visible_solid_and_invisible_dashed(theory):
    drawn = lines(ol.plot.overlaps(theory, ax=new_axes()))
    assert set(drawn) == set(theory.model.layout.entry_names)
    for kind, style in ((theory.visible, "-"), (theory.invisible, "--")):
        for name, series in kind.items():
            np.testing.assert_array_equal(drawn[name].get_ydata(), series)
            assert drawn[name].get_linestyle() == style


def test_overlaps_explains_visible_and_invisible_and_the_solutions_in_its_legend(theory, full):
    texts = [text.get_text() for text in ol.plot.overlaps(theory, full, ax=new_axes()).get_legend().get_texts()]
    assert texts == ["visible", "invisible", "theory", "full N = 20"]


def test_overlaps_of_full_network_are_marks_in_the_colours_of_the_theory(theory, full):
    drawn = lines(ol.plot.overlaps(theory, full, ax=new_axes()))
    for name in theory.model.layout.entry_names:
        marks = drawn[f"_{name}"]
        np.testing.assert_array_equal(marks.get_ydata(), full.overlaps.entries()[name])
        assert marks.get_color() == drawn[name].get_color()
        assert marks.get_marker() == ("o" if name in theory.model.visible_names else "s")


def test_every_overlap_is_named_at_its_end_and_no_two_names_touch():
    # 21 names on a small page, many of them at the same height.
    layout = ol.Layout(n_in=1, rank=2, n_out=1)
    figure = Figure(figsize=(4.4, 3.9), layout="constrained")
    ax = ol.plot.overlaps(course(layout, ol.Linear(), seed=0), ax=figure.subplots())
    figure.draw_without_rendering()
    assert [text.get_text() for text in ax.texts] == [symbol(name) for name in layout.entry_names]
    positions = ax.transAxes.transform([text.xyann for text in ax.texts])
    # Names are apart if their baselines are, by at least the height of a letter: some 6 of the font's 10 points.
    assert np.diff(np.sort(positions[:, 1])).min() > 6 * figure.dpi / 72
    assert positions[:, 0].min() > ax.get_window_extent().x1
    assert max(text.get_window_extent().x1 for text in ax.texts) <= figure.bbox.x1


def test_of_many_overlaps_those_that_move_most_are_named_and_the_others_grey_and_counted():
    layout = ol.Layout(n_in=4, rank=2, n_out=1)
    solution = course(layout, ol.Linear(), seed=0)
    ax = ol.plot.overlaps(solution, ax=new_axes())
    drawn = lines(ax)
    assert len(drawn) == len(layout.entry_names) == 45
    moved = {name: np.abs(values - values[0]).max() for name, values in solution.overlaps.entries().items()}
    named = []
    for names in (solution.model.visible_names, solution.model.invisible_names):
        most = sorted(names, key=moved.get)[-7:]
        assert len({drawn[name].get_color() for name in most}) == 7
        assert {drawn[f"_{name}"].get_color() for name in set(names) - set(most)} == {"0.75"}
        named += most
    assert {text.get_text() for text in ax.texts} == {symbol(name) for name in named}
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["visible", "invisible", "31 that move less"]


def sweep_data(n_rates, n_tasks):
    """What a sweep returns whose first point failed and whose second ended early."""
    rates, time = np.geomspace(1e-3, 1e-1, n_rates), np.linspace(0, 5, 6)
    loss = np.exp(-time * (1 + np.arange(n_rates * n_tasks).reshape(n_rates, n_tasks, 1)))
    loss[0, 0], loss[0, 1, 4:] = np.nan, np.nan
    return xarray.Dataset(
        {"loss": (("rate", "task", "point"), loss)},
        {"rate": rates, "task": [f"t{i}" for i in range(n_tasks)], "time": (("rate", "point"), rates[:, None] * time)},
    )


def test_loss_of_a_sweep_is_one_curve_per_point_with_the_labels_of_the_grid():
    data = sweep_data(2, 2)
    ax = ol.plot.loss(data, ax=new_axes())
    drawn = lines(ax)
    assert list(drawn) == ["rate = 0.001, task = t1", "rate = 0.1, task = t0", "rate = 0.1, task = t1"]
    early, other = drawn["rate = 0.001, task = t1"], drawn["rate = 0.1, task = t0"]
    np.testing.assert_array_equal(early.get_ydata(), data.loss[0, 1, :4])
    np.testing.assert_array_equal(other.get_ydata(), data.loss[1, 0])
    np.testing.assert_array_equal(other.get_xdata(), data.time[1])
    assert ax.get_yscale() == "log"
    assert ax.get_legend().get_title().get_text() == "1 point without loss"
    # A time for all, which the grid does not know.
    assert len(lines(ol.plot.loss(data.drop_vars("time"), labels=["a", "b", "c"], ax=new_axes()))) == 3


def test_loss_of_a_large_sweep_names_some_curves_and_counts_the_others():
    legend = ol.plot.loss(sweep_data(10, 3), ax=new_axes()).get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert (len(texts), texts[0], texts[-1]) == (9, "rate = 0.001, task = t1", "rate = 0.1, task = t2")
    assert legend.get_title().get_text() == "20 more curves between these; 1 point without loss"


def test_loss_of_a_dataset_of_one_solution_or_a_batch_is_that_of_the_solution(theory):
    batch = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), theory)
    for solution, names in ((theory, ["loss"]), (batch, ["member = 0", "member = 1"])):
        drawn = ol.plot.loss(solution.to_xarray(), ax=new_axes()).get_lines()
        assert [line.get_label() for line in drawn] == names
        losses = np.atleast_2d(solution.loss)
        np.testing.assert_array_equal([line.get_ydata() for line in drawn], losses)


def test_names_choose_overlaps_and_keep_their_colours(theory, model):
    everything = lines(ol.plot.overlaps(theory, ax=new_axes()))
    chosen = lines(ol.plot.overlaps(theory, names=["vu", "zz"], ax=new_axes()))
    assert list(chosen) == ["vu", "zz"]
    for name, line in chosen.items():
        assert line.get_color() == everything[name].get_color()


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf()])
def test_overlaps_of_one_kind_differ_in_colour_at_rank_1(activation):
    model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), activation)
    colours = overlap_colours(model)
    for names in (model.visible_names, model.invisible_names):
        assert len({colours[name] for name in names}) == len(names)


@pytest.mark.parametrize("palette", [COLOURS, MANY_COLOURS])
def test_colours_stay_apart_for_the_colour_blind(palette):
    """Under simulated loss of one cone type no two colours become the same.

    The matrices are those of Machado, Oliveira & Fernandes 2009 for full protanomaly, deuteranomaly and tritanomaly
    (linear RGB). A distance of 0.05 in sRGB is some 13 of 255 steps, several times what is just noticeable.
    """
    deficits = np.array(
        [
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        ]
    )
    srgb = np.array([[int(to_hex(c)[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    for deficit in deficits:
        seen = np.clip(linear @ deficit.T, 0, 1)
        seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert distances[np.triu_indices(len(palette), 1)].min() > 0.05


@settings(max_examples=25, deadline=None)
@given(
    wanted=st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array),
    gap=st.floats(1e-3, 0.5),
)
def test_labels_are_spread_in_order_with_gaps_within_the_axes(wanted, gap):
    heights = spread(wanted, gap)
    needed = min(gap, 1 / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    # Sums of at most 12 terms of order 1.
    assert np.all(np.diff(heights[order]) >= needed - 1e-12)
    assert heights.min() >= -1e-12
    assert heights.max() <= 1 + 1e-12


@settings(max_examples=10, deadline=None)
@given(gap=st.floats(1e-3, 0.3), first=st.floats(0, 0.1))
def test_labels_that_do_not_collide_stay_where_they_are(gap, first):
    wanted = first + gap * 1.01 * np.arange(3)
    np.testing.assert_allclose(spread(wanted, gap), wanted, atol=1e-12)


def test_symbols_are_mathematical():
    assert symbol("zm") == r"$\sigma_{z m}$"
    assert symbol("v2u1") == r"$\sigma_{v_{2} u_{1}}$"
    assert symbol("u1") == "$u_{1}$"


def test_final_overlaps_shows_the_last_values_visible_ones_first(theory, model):
    ax = ol.plot.final_overlaps(theory, ax=new_axes())
    names = model.visible_names + model.invisible_names
    np.testing.assert_array_equal(
        lines(ax)["theory"].get_ydata(), [theory.overlaps.entries()[name][-1] for name in names]
    )
    assert [text.get_text() for text in ax.get_xticklabels()] == [symbol(name) for name in names]


def test_output_shows_target_and_the_outputs_of_reduced_and_full_networks(model, task, theory, full):
    drawn = lines(ol.plot.output(model, task, theory.final, full.final, ax=new_axes()))
    np.testing.assert_array_equal(drawn["target"].get_ydata(), task.targets[0, :, 0])
    np.testing.assert_array_equal(drawn["theory"].get_ydata(), ol.rollout(model, theory.final, task)[0, :, 0])
    np.testing.assert_array_equal(drawn["full N = 20"].get_ydata(), ol.simulate(model, full.final, task)[0, :, 0])
    np.testing.assert_allclose(drawn["target"].get_xdata(), task.times)


def test_output_shades_exactly_the_runs_of_readings_that_do_not_count(model, start):
    weights = jnp.ones((2, 10, 1)).at[1, 0:3].set(0.0).at[1, 7:10].set(0.0)
    trials = ol.Task(jnp.ones((2, 10, 1)), jnp.ones((2, 10, 1)), weights, 0.5)
    counted = ol.plot.output(model, trials, start, ax=new_axes())
    assert len(counted.patches) == 0
    shaded = ol.plot.output(model, trials, start, trial=1, ax=new_axes())
    # A rectangle, and before matplotlib 3.9 a polygon.
    bands = [patch.get_path().get_extents(patch.get_patch_transform()).intervalx.tolist() for patch in shaded.patches]
    # Readings 0 to 2 and 7 to 9 at times 0.5 k, and half a step on each side.
    assert bands == [[-0.25, 1.25], [3.25, 4.75]]


def test_output_tells_channels_apart_by_colour(start):
    layout = ol.Layout(n_in=1, rank=1, n_out=2)
    trials = ol.Task(jnp.ones((1, 10, 1)), jnp.ones((1, 10, 2)), jnp.ones((1, 10, 2)), 0.1)
    drawn = lines(
        ol.plot.output(ol.Model(layout, ol.Linear()), trials, ol.Overlaps.from_entries(layout), ax=new_axes())
    )
    assert set(drawn) == {"target 1", "target 2", "theory 1", "theory 2"}
    assert drawn["theory 1"].get_color() != drawn["theory 2"].get_color()


def test_deviation_shows_the_largest_difference_of_any_overlap_after_the_start(full, theory):
    drawn = lines(ol.plot.deviation(full, theory, ax=new_axes()))["theory"]
    expected = np.abs(np.asarray(theory.overlaps.gram - full.overlaps.gram)).max(axis=(1, 2))
    np.testing.assert_array_equal(drawn.get_ydata(), expected[1:])
    np.testing.assert_array_equal(drawn.get_xdata(), theory.time[1:])


def test_deviation_of_a_run_that_ended_early_stops_where_it_did(full, theory):
    short = jax.tree.map(lambda a: a[:10] if getattr(a, "ndim", 0) else a, theory)
    drawn = lines(ol.plot.deviation(full, short, ax=new_axes()))["theory"]
    np.testing.assert_array_equal(drawn.get_xdata(), theory.time[1:10])


def test_gaussian_neurons_lie_on_the_diagonal_of_quantiles():
    n = 101
    ideal = ndtri((np.arange(n) + 0.5) / n)
    random = np.random.default_rng(0)
    vectors = np.stack([scale * random.permutation(ideal) for scale in (0.1, 1.0, 3.0, 10.0)], axis=1)
    ax = ol.plot.quantiles(ol.Network(vectors, ol.Layout()), ax=new_axes())
    for line in ax.get_lines()[:4]:
        # Exact but for the rounding of cumulated weights, 101 eps, which the tails amplify by 1 / density, below 100.
        np.testing.assert_allclose(line.get_xdata(), ideal, atol=1e-12)
        np.testing.assert_allclose(line.get_ydata(), ideal / np.sqrt(np.mean(ideal**2)), atol=1e-12)


def test_quantiles_of_weighted_neurons_are_those_of_the_neurons_repeated():
    values = np.array([-1.0, 0.5, 2.0])
    weighted = ol.Network(np.repeat(values[:, None], 4, axis=1), ol.Layout(), weights=np.array([0.5, 0.25, 0.25]))
    line = ol.plot.quantiles(weighted, ax=new_axes()).get_lines()[0]
    # The middle of each neuron's share: 0.25, 0.625, 0.875.
    np.testing.assert_allclose(line.get_xdata(), ndtri([0.25, 0.625, 0.875]), atol=1e-12)


def test_validation_shows_rms_with_error_bars_and_a_guide_of_slope_minus_half(found):
    ax = ol.plot.validation(found, ax=new_axes())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for container, index in zip(ax.containers, (found.early, -1), strict=True):
        rms, error = found.rms(index)
        marks, _, (bars,) = container
        np.testing.assert_array_equal(marks.get_xdata(), found.n_neurons)
        np.testing.assert_array_equal(marks.get_ydata(), rms)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([rms - error, rms + error], axis=1), rtol=1e-12)
    guide = lines(ax)["$N^{-1/2}$"]
    slope = np.diff(np.log(guide.get_ydata())) / np.diff(np.log(guide.get_xdata()))
    np.testing.assert_allclose(slope, -0.5, atol=1e-12)


def test_validation_of_linear_networks_shows_what_rounding_explains():
    result = invented_validation(ol.Linear())
    drawn = lines(ol.plot.validation(result, ax=new_axes()))
    np.testing.assert_array_equal(drawn["explained by rounding"].get_ydata(), result.tolerance)
    np.testing.assert_array_equal(drawn["largest of all"].get_ydata(), result.largest.max(axis=1))


def test_validation_of_one_network_per_size_has_no_error_bars(found):
    single = eqx.tree_at(lambda v: v.deviation, found, found.deviation[:, :1])
    for marks, _, bars in ol.plot.validation(single, ax=new_axes()).containers:
        assert bars == ()
        assert len(marks.get_xdata()) == 3


def test_closure_shows_the_error_of_the_theory_of_the_limit_and_of_networks():
    report = invented_report(ol.Erf())
    drawn = lines(ol.plot.closure(report, ax=new_axes()))
    for label, values in (
        ("theory", report.largest),
        ("error of the limit", report.limit.error.max(axis=1)),
        ("N = 10", np.abs(report.networks.deviation[0]).max(axis=-1).mean(axis=0)),
        ("N = 1,000", np.abs(report.networks.deviation[1]).max(axis=-1).mean(axis=0)),
    ):
        np.testing.assert_array_equal(drawn[label].get_xdata(), report.theory.time[1:])
        np.testing.assert_array_equal(drawn[label].get_ydata(), values[1:])
    np.testing.assert_allclose(drawn["tolerance"].get_ydata(), 0.4 * report.change)
    assert report.until() < len(report.largest) - 1
    np.testing.assert_allclose(drawn["good until"].get_xdata(), report.theory.time[report.until()])


def test_closure_of_linear_networks_has_no_tolerance():
    report = invented_report(ol.Linear(), networks=False)
    drawn = lines(ol.plot.closure(report, ax=new_axes()))
    # No deviation at all has no place on a logarithmic axis.
    assert set(drawn) == {"theory", "error of the limit"}
    assert np.isnan(drawn["theory"].get_ydata()).all()


def test_an_optimiser_counts_learning_steps(full):
    # The learning time of an Optimiser is its number of steps.
    counted = eqx.tree_at(lambda s: s.time, full, full.step.astype(float))
    assert ol.plot.loss(counted, ax=new_axes()).get_xlabel() == "learning steps"


def test_bad_arguments_are_named(model, task, start, theory):
    batch = jax.tree.map(lambda a: jnp.stack([a, a]), theory)
    other = course(ol.Layout(rank=2), ol.Linear(), seed=0)
    network = ol.Network.sample(start, 20, key=jax.random.key(0))
    stream = ol.tasks.stream(ol.tasks.flip_flop)
    data = sweep_data(2, 2)
    for call, message in (
        (lambda: ol.plot.loss(), "loss: pass one or more solutions"),
        (lambda: ol.plot.loss(start), "loss: solutions must be ol.Solution, got Overlaps"),
        (lambda: ol.plot.loss(batch), r"loss: this solution is a batch of shape \[2\]; draw one member"),
        (lambda: ol.plot.overlaps(data), r"must be ol.Solution, got Dataset. Of a dataset, ol.plot.loss\(data\) draws"),
        (lambda: ol.plot.loss(data, theory), "got Dataset. Of a dataset"),
        (lambda: ol.plot.loss(data, labels=["a"]), "loss: labels must be 3 names, one for each point"),
        (lambda: ol.plot.loss(data[["time"]]), "this dataset has no variable 'loss', its variables are none"),
        (lambda: ol.plot.loss(data.isel(point=-1)), r"has the dimensions \('rate', 'task'\), not 'point' or 'time'"),
        (lambda: ol.plot.loss(data.isel(rate=[0], task=[0])), "'loss' is missing at every point"),
        (lambda: ol.plot.loss(theory, labels="theory"), "loss: labels must be 1 names"),
        (lambda: ol.plot.loss(theory, ax="here"), "loss: ax must be a matplotlib Axes, .* got 'here'"),
        (lambda: ol.plot.overlaps(theory, other), "overlaps: solutions must share a layout"),
        (lambda: ol.plot.overlaps(theory, names=["zq"]), r"overlaps: names must be some of mm, mu, .* got \['zq'\]"),
        (lambda: ol.plot.deviation(theory), "deviation: pass a reference and one or more solutions"),
        (
            lambda: ol.plot.deviation(theory, jax.tree.map(lambda a: 2 * a, theory)),
            "deviation: solutions must have the same",
        ),
        (lambda: ol.plot.output(model, task, start, trial=1), "output: trial must be from 0 to 0, got 1"),
        (lambda: ol.plot.output(model, task), "output: pass one or more networks, .* got none"),
        (lambda: ol.plot.output(model, stream, start), "output: task must be an ol.Task, got TaskStream"),
        (lambda: ol.plot.output(model, task, start, labels=["a", "b"]), "output: labels must be 1 names"),
        (lambda: ol.plot.quantiles(start), "quantiles: network must be one ol.Network, .* got Overlaps"),
        (lambda: ol.plot.quantiles(jax.tree.map(lambda a: jnp.stack([a, a]), network)), r"with vectors \[2, 20, 4\]"),
        (lambda: ol.plot.validation(theory), "validation: result must be what ol.validate returns, got Solution"),
        (lambda: ol.plot.closure(theory), "closure: report must be what ol.closure_error returns, got Solution"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
