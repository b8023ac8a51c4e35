"""Pictures of the geometry: what they show is what other programs calculate, and nothing overlaps."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from scipy.optimize import brentq

import overlap_learning as ol
from overlap_learning.plot.feasible_region_in_space import slices
from overlap_learning.studies.equivalence.region import region

LINEAR, ERF = (ol.Model(ol.Layout(), phi) for phi in (ol.Linear(), ol.Erf()))
TASK = ol.tasks.exponential_filter(decay=0.2, duration=3.0, dt=0.1)
INPUT = 0.1
#: A smallest eigenvalue of a matrix of entries of order 1 is exact to so much.
ROUNDING = 1e-13


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def bistable():
    return ol.Overlaps.from_entries(ERF.layout, vu=2.0, vm=0.5, mu=0.3, uu=2.0, vv=4.0)


@pytest.fixture(scope="module")
def filtered():
    start = ol.Overlaps.from_entries(LINEAR.layout, zu=0.3, vm=-0.1, zm=0.2, mu=0.1)
    return ol.integrate(LINEAR, TASK, start, ol.GradientDescent(2e-2, 100, save_every=10))


@pytest.fixture
def pictures(bistable, filtered):
    """Pictures on one plane, as functions of ax."""
    return {
        "phase_portrait": lambda ax: ol.plot.phase_portrait(ERF, bistable, INPUT, ax=ax),
        "learning_plane": lambda ax: ol.plot.learning_plane(filtered, TASK, ("zu", "vm"), ax=ax),
        "feasible_region": lambda ax: ol.plot.feasible_region(filtered.final, LINEAR, ("mu", "vz"), ax=ax),
        "gram": lambda ax: ol.plot.gram(filtered, ax=ax),
        "trials": lambda ax: ol.plot.trials(LINEAR, TASK, filtered.final, ax=ax),
    }


def new_axes(**size):
    return Figure(layout="constrained", **size).subplots()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def is_on_page(ax):
    """Whether labels of ticks are apart, and the legend is above the data and on the page."""
    figure = ax.figure
    figure.draw_without_rendering()
    apart = []
    for axis, side in ((ax.xaxis, 0), (ax.yaxis, 1)):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
        spans = sorted(tuple(box.intervalx if side == 0 else box.intervaly) for box in boxes)
        apart += [a[1] <= b[0] for a, b in itertools.pairwise(spans)]
    legend = ax.get_legend()
    if legend is not None:
        box = legend.get_window_extent()
        apart += [box.y0 >= ax.get_window_extent().y1, box.y1 <= figure.bbox.y1, box.x0 >= 0, box.x1 <= figure.bbox.x1]
    return all(apart)


def test_every_picture_draws_on_the_given_axes_names_them_and_covers_nothing(pictures):
    for name, draw in pictures.items():
        ax = new_axes(figsize=(4.4, 3.9))
        assert draw(ax) is ax, name
        assert ax.get_xlabel(), name
        assert ax.get_ylabel(), name
        assert is_on_page(ax), name
    assert plt.get_fignums() == []
    for draw in pictures.values():
        assert draw(None).figure is plt.gcf()


def flow(k_m, k_u, overlaps):
    """The flow of an erf network of rank 1, written out: its gain is that of a Gaussian-blurred Gaussian."""
    s = {name: float(value) for name, value in overlaps.entries().items()}
    variance = s["mm"] * k_m**2 + 2 * s["mu"] * k_m * k_u + s["uu"] * k_u**2
    gain = 1 / np.sqrt(1 + np.pi / 2 * variance)
    return INPUT - k_m, -k_u + gain * (s["vm"] * k_m + s["vu"] * k_u)


def test_a_portrait_has_the_fixed_points_of_a_root_finder_and_the_flow_of_the_equation(bistable):
    ax = ol.plot.phase_portrait(ERF, bistable, INPUT, ax=new_axes())
    # k_m rests at the input; along k_u roots lie between changes of sign.
    grid = np.linspace(-3, 3, 2001)
    values = flow(INPUT, grid, bistable)[1]
    roots = [
        brentq(lambda k: flow(INPUT, k, bistable)[1], a, b, xtol=1e-14)
        for a, b, change in zip(grid, grid[1:], values[:-1] * values[1:], strict=False)
        if change < 0
    ]
    assert len(roots) == 3
    drawn = lines(ax)
    falls = [bool(flow(INPUT, k + 1e-6, bistable)[1] < 0) for k in roots]
    for label, is_stable in (("stable fixed point", True), ("unstable fixed point", False)):
        expected = [(INPUT, k) for k, falling in zip(roots, falls, strict=True) if falling is is_stable]
        points = np.array(sorted(drawn[label].get_xydata().tolist()))
        # Newton's method and brentq end within rounding of the root.
        np.testing.assert_allclose(points[np.argsort(points[:, 1])], expected, rtol=0, atol=1e-10)
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    found = np.stack(flow(*np.asarray(arrows.get_offsets()).T, bistable), axis=1)
    speed = np.linalg.norm(found, axis=1)
    # Both axes have one span, so that arrows show the direction itself.
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), found / speed[:, None], rtol=0, atol=1e-9)
    np.testing.assert_allclose(arrows.get_array(), speed, rtol=1e-9)


def test_nullclines_are_where_a_coordinate_stands_still(bistable):
    ax = ol.plot.phase_portrait(ERF, bistable, INPUT, limits=((-1, 1), (-2, 2)), ax=new_axes())
    contours = [each for each in ax.collections if not isinstance(each, Quiver)]
    for i, each in enumerate(contours):
        (points,) = [path.vertices for path in each.get_paths()]
        assert len(points) > 20
        # Linear interpolation between points h = 4 / 128 apart is off by h^2 / 8 of a curvature below 4.
        assert np.abs(flow(*points.T, bistable)[i]).max() < (4 / 128) ** 2 / 8 * 4


def test_portraits_through_learning_share_axes_and_show_its_points(bistable):
    weak = bistable.replace(vu=0.5)
    grams = jnp.stack([weak.gram, weak.gram, bistable.gram])
    solution = ol.Solution(
        model=ERF, time=jnp.arange(3.0), step=None, loss=jnp.ones(3), saved={"gram": grams}, final=bistable, stats={},
        result=ol.RESULTS.successful,
    )  # fmt: skip
    panels = ol.plot.phase_portraits(solution, INPUT, points=[0, -1], ax=Figure().subplots(1, 2))
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert [panel.get_legend().get_title().get_text() for panel in panels] == ["learning time 0", "learning time 2"]
    assert [len(lines(panel)["stable fixed point"].get_xdata()) for panel in panels] == [1, 2]
    with pytest.raises(ValueError, match="ax must be 3 Axes"):
        ol.plot.phase_portraits(solution, points=3, ax=panels)


def test_the_field_of_learning_is_that_of_gradient_flow_and_contours_have_the_losses(filtered):
    limits = ((-0.2, 0.8), (-0.6, 0.6))
    ax = ol.plot.learning_plane(filtered, TASK, ("zu", "vm"), point=3, limits=limits, ax=new_axes())
    here = jax.tree.map(lambda a: a[3], filtered.overlaps)
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    order = [LINEAR.layout.entry_names.index(name) for name in ("zu", "vm")]

    def at(point):
        return here.replace(zu=point[0], vm=point[1])

    for place in (40, 150, 200):
        point = np.asarray(arrows.get_offsets())[place]
        _, S = ol.loss_gradient(LINEAR, TASK, at(point))
        rows, columns = LINEAR.layout.entry_indices
        slope = S[rows, columns] * np.where(rows == columns, 0.5, 1.0)
        velocity = -np.asarray(ol.metric(LINEAR, at(point)) @ slope)[order]
        np.testing.assert_allclose(arrows.get_array()[place], np.linalg.norm(velocity), rtol=1e-9)
        # The picture is square: directions on it are those over the spans.
        along = velocity / np.ptp(limits, axis=1)
        drawn = np.array([arrows.U[place], arrows.V[place]])
        np.testing.assert_allclose(drawn, along / np.linalg.norm(along), rtol=0, atol=1e-9)
    contours = next(
        each for each in ax.collections if getattr(each, "levels", None) is not None and len(each.levels) > 2
    )
    levels, points = zip(
        *(
            (level, point)
            for level, path in zip(contours.levels, contours.get_paths(), strict=True)
            for point in path.vertices[:: max(1, len(path.vertices) // 4)]
        ),
        strict=True,
    )
    assert len(points) > 20
    losses = jax.jit(jax.vmap(lambda point: ol.loss(LINEAR, TASK, at(point))))(np.array(points))
    # Linear interpolation over h = 1.2 / 64 is off by h^2 / 8 of a curvature, here of some 10.
    assert np.abs(np.asarray(losses) - np.array(levels)).max() < (1.2 / 64) ** 2 / 8 * 10
    np.testing.assert_array_equal(lines(ax)["learning"].get_xdata(), filtered.overlaps.entries()["zu"])


def test_the_boundary_of_the_feasible_region_is_where_an_eigenvalue_vanishes():
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, zu=0.5, vm=0.4, uu=1.5)

    def smallest(points, names):
        grams = np.array(overlaps.gram) + np.zeros((len(points), 1, 1))
        for k, name in enumerate(names):
            i, j = (part.start for part in LINEAR.layout.locate(name))
            grams[:, i, j] = grams[:, j, i] = points[:, k]
        return np.linalg.eigvalsh(grams)[:, 0]

    for names in (("mu", "vz"), ("mu", "uu")):
        ax = ol.plot.feasible_region(overlaps, LINEAR, names, ax=new_axes())
        points = lines(ax)["smallest eigenvalue of $G$ is 0"].get_xydata()
        points = points[np.isfinite(points).all(axis=1)]
        assert np.abs(smallest(points, names)).max() < ROUNDING
        # It is the outer end of the region: feasible says the same along one axis.
        interval = ol.feasible(overlaps, LINEAR, names[0])
        own = float(overlaps.entries()[names[1]])
        crossing = points[np.argsort(np.abs(points[:, 1] - own))[:8], 0]
        # Of 720 rays the nearest two are some 1 % of the region apart.
        assert min(abs(crossing - interval.high)) < 0.03
        assert min(abs(crossing - interval.low)) < 0.03
    names = ("mu", "vz", "uu")
    ax = ol.plot.feasible_region_in_space(overlaps, LINEAR, names)
    surface = slices(region(overlaps, [(0, 1), (2, 3), (1, 1)], None, "test")).reshape(-1, 3)
    cuts = np.concatenate([np.stack(line.get_data_3d(), axis=1) for line in ax.get_lines()[:3]])
    for points in (surface, cuts):
        # All is on the boundary but for the lid, where the norm of u ends at twice what it is.
        lid = np.isclose(points[:, 2], 3.0)
        least = smallest(points, names)
        assert least.min() > -ROUNDING
        assert np.abs(least[~lid]).max() < ROUNDING
        assert points[:, 2].max() <= 3.0
        assert points[:, 2].min() < 0.5


def test_a_region_without_inside_is_refused():
    one = ol.Overlaps(jnp.ones((4, 4)), LINEAR.layout)
    with pytest.raises(ValueError, match="feasible region of mu, uu has no inside"):
        ol.plot.feasible_region(one, LINEAR, ("mu", "uu"))


def test_gram_shows_start_and_end_and_its_labels_are_apart_at_nine_vectors(filtered):
    ax = ol.plot.gram(filtered, ax=new_axes())
    for image, point in zip(ax.get_images(), (0, -1), strict=True):
        np.testing.assert_array_equal(image.get_array(), filtered.overlaps.gram[point])
    layout = ol.Layout(n_in=2, rank=3, n_out=1)
    pair = [ol.Overlaps.random(layout, key=jax.random.key(seed)) for seed in (0, 1)]
    ax = ol.plot.gram(*pair, ax=new_axes(figsize=(5.5, 3.9)))
    assert len(ax.get_xticks()) == 18
    assert is_on_page(ax)


def test_all_trials_are_drawn_over_what_counts_of_their_targets():
    weights = np.ones((3, 20, 1))
    weights[:, :5] = 0
    inputs = np.random.default_rng(0).normal(size=(3, 20, 1))
    task = ol.Task(inputs, np.cumsum(inputs, axis=1), weights, dt=0.1)
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, zm=0.5, zu=0.5, vm=0.5)
    ax = ol.plot.trials(LINEAR, task, overlaps, ax=new_axes())
    order = np.argsort(np.asarray(task.targets)[:, 5:, 0].mean(axis=1))
    drawn = {name: [line for line in ax.get_lines() if line.get_label() == name] for name in ("_target", "_output")}
    outputs = np.asarray(ol.rollout(LINEAR, overlaps, task))[order, :, 0]
    np.testing.assert_allclose([line.get_ydata() for line in drawn["_output"]], outputs, rtol=0, atol=1e-14)
    targets = np.asarray(task.targets)[order, :, 0].copy()
    targets[:, :5] = np.nan
    np.testing.assert_array_equal([line.get_ydata() for line in drawn["_target"]], targets)


def test_an_animation_ends_with_what_was_learned_and_is_written_frame_by_frame(filtered, tmp_path):
    from PIL import Image

    panels = Figure(figsize=(4, 2), layout="constrained").subplots(1, 2)
    animation = ol.plot.learning_animation(filtered, TASK, n_frames=4, ax=panels)
    animation.save(tmp_path / "learning.gif", writer="pillow", dpi=30)
    with Image.open(tmp_path / "learning.gif") as image:
        assert image.n_frames == 4
    output = lines(panels[0])["output"].get_ydata()
    # Another program of the same sums.
    np.testing.assert_allclose(output, np.asarray(ol.rollout(LINEAR, filtered.final, TASK))[0, :, 0], atol=1e-13)
    assert lines(panels[1])["_here"].get_ydata() == filtered.loss[-1:]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: ol.plot.phase_portrait(ERF, o, [0.1, 0.2]), "inputs must be a finite number, or one for each of 1"),
        (
            lambda o: ol.plot.phase_portrait(
                ol.Model(ol.Layout(rank=3), ol.Erf()), ol.Overlaps.from_entries(ol.Layout(rank=3))
            ),
            "rank 3 does not stay in a plane",
        ),
        (lambda o: ol.plot.phase_portrait(ERF, o, limits=(0, 1)), r"limits must be \(\(low, high\)"),
        (lambda o: ol.plot.feasible_region(o, ERF, "mu"), "names must be 2 overlaps"),
        (lambda o: ol.plot.feasible_region(o, ERF, ("mu", "um")), "2 different overlaps"),
        (lambda o: ol.plot.gram(ERF), "networks must be ol.Overlaps or ol.Solution, got Model"),
        (lambda o: ol.plot.trials(ERF, TASK, o, channel=2), "trials: channel"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(bistable, call, message):
    with pytest.raises(ValueError, match=message):
        call(bistable)
