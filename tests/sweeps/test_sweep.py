"""Sweeps in process: one after another and batched. What they give is held against numpy, jax and single runs."""

import collections
import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

LAYOUT = ol.Layout()
MODEL = ol.Model(LAYOUT, ol.Linear())
TASK = ol.tasks.exponential_filter(duration=2.0, dt=0.1)
START = ol.Overlaps.from_entries(LAYOUT, zu=0.1, vm=0.1)
RATES = [1e-3, 1e-2, 100.0]
STARTS = jax.vmap(lambda key: ol.Overlaps.random(LAYOUT, key=key))(jax.random.split(jax.random.key(0), 2))
LEARNING = {"learning_rate": RATES, "start": STARTS}
EPS = np.finfo(float).eps


def learn(learning_rate, start=START, throw=True):
    return ol.integrate(MODEL, TASK, start, ol.GradientDescent(learning_rate, 20, save_every=2), throw=throw)


def both(function, grid, size=4, **arguments):
    """The same sweep one after another and batched."""
    return ol.sweep(function, grid, **arguments), ol.sweep(function, grid, ol.Batched(size), **arguments)


class Counted:
    """A function that counts how often python runs it: once per point, or once per compiled program."""

    def __init__(self, function):
        self.function, self.n = function, 0

    def __call__(self, **point):
        self.n += 1
        return self.function(**point)


@pytest.mark.parametrize("bulk", [None, ol.model.SparseBulk(0.5, density=0.2)])
def test_networks_that_are_trained_are_points_of_a_sweep(bulk):
    model = ol.Model(LAYOUT, ol.Linear(), bulk=bulk)
    sample = ol.Network.sample if bulk is None else functools.partial(ol.BulkNetwork.sample, model)
    network = sample(START, 10, key=jax.random.key(0))

    def trained(learning_rate):
        return ol.train(model, TASK, network, ol.GradientDescent(learning_rate, 2), progress=False)

    data = ol.sweep(trained, {"learning_rate": RATES[:2]})
    assert np.array_equal(data.final_vectors[1], trained(RATES[1]).final.vectors)


def test_the_theory_of_a_bulk_runs_side_by_side():
    model = ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(0.5))

    def learned(learning_rate):
        return ol.integrate(model, TASK, START, ol.GradientDescent(learning_rate, 2)).loss

    one, many = both(learned, {"learning_rate": RATES[:2]})
    # Single runs end where more directions change overlaps by less than 1e-3.
    assert np.allclose(one["value"], many["value"], rtol=1e-3)


class TestLabels:
    def test_the_dataset_is_the_outer_product_with_the_grid_as_coordinates(self):
        a, b = np.array([1.0, 2.0, 4.0]), [3, 5]
        data = ol.sweep(lambda a, b: {"product": a * b, "sum": a + b}, {"a": a, "b": b})
        assert data["product"].dims == ("a", "b")
        assert np.array_equal(data["product"], np.multiply.outer(a, b))
        assert np.array_equal(data["sum"], np.add.outer(a, b))
        assert data.sel(a=2.0, b=5)["product"] == 10.0
        assert (data.a.dtype, data.b.dtype, data.error.dtype.kind) == (float, int, "U")

    def test_the_function_gets_plain_numbers(self):
        seen = []
        ol.sweep(
            lambda **point: seen.append(point) or 0.0, {"a": jnp.array([1.5]), "n": range(1), "t": ["x"], "w": [True]}
        )
        assert seen == [{"a": 1.5, "n": 0, "t": "x", "w": True}]
        assert [type(value) for value in seen[0].values()] == [float, int, str, bool]

    def test_attributes_of_an_array_of_xarray_stay_with_the_coordinate(self):
        rates = xarray.DataArray([1.0, 2.0], attrs={"long_name": "learning rate"})
        assert ol.sweep(lambda a: a, {"a": rates}).a.attrs == {"long_name": "learning rate"}

    @pytest.mark.parametrize("executor", [None, ol.Batched(2)], ids=["one by one", "batched"])
    def test_values_may_be_objects_by_label_lists_of_objects_keys_and_batches(self, executor):
        keys = jax.random.split(jax.random.key(1), 2)
        starts = jax.vmap(lambda key: ol.Overlaps.random(LAYOUT, key=key))(keys)
        tasks = {
            "slow": ol.tasks.exponential_filter(0.2, 2.0, 0.1),
            "short": ol.tasks.exponential_filter(0.2, 1.0, 0.1),
        }
        several = [ol.Overlaps(gram, LAYOUT) for gram in starts.gram]

        def function(task, start, other, draw):
            return jnp.sum(task.targets) + start.gram[0, 0] + other.gram[1, 1] * jax.random.normal(draw)

        grid = {"task": tasks, "start": starts, "other": several, "draw": keys}
        data = ol.sweep(function, grid, executor)
        assert data.task.values.tolist() == ["slow", "short"]
        assert data.value.dims == ("task", "start", "other", "draw")
        for i, task in enumerate(tasks.values()):
            expected = (
                jnp.sum(task.targets)
                + starts.gram[:, 0, 0, None, None]
                + (starts.gram[:, 1, 1, None] * jax.vmap(jax.random.normal)(keys))
            )
            # Sums of 20 terms of order 1 in another order.
            np.testing.assert_allclose(data.value[i], expected, rtol=20 * EPS, atol=20 * EPS)

    def test_every_kind_of_result_gives_the_same_variables(self):
        Pair = collections.namedtuple("Pair", ["x", "y"])
        series = np.arange(3.0)
        results = {
            "mapping": lambda a: {"x": a, "y": ("t", a * series)},
            "dataset": lambda a: xarray.Dataset({"x": a, "y": ("t", a * series)}),
            "pair": lambda a: Pair(a, ("t", a * series)),
        }
        first, *others = (ol.sweep(function, {"a": [1.0, 2.0]}) for function in results.values())
        assert first.y.dims == ("a", "t")
        assert np.array_equal(first.y, np.multiply.outer([1.0, 2.0], series))
        assert all(first.drop_attrs().identical(other.drop_attrs()) for other in others)

    def test_single_results_have_names_of_their_own(self):
        assert ol.sweep(lambda a: a, {"a": [1.0]}).value.dims == ("a",)
        assert ol.sweep(lambda a: jnp.ones((2, 3)), {"a": [1.0]}).value.dims == ("a", "value_dim_0", "value_dim_1")
        named = xarray.DataArray([1.0, 2.0], dims="t", coords={"t": [0.1, 0.2]}, name="y")
        data = ol.sweep(lambda a: named, {"a": [1.0]})
        assert data.y.sel(t=0.2, a=1.0) == 2.0

    def test_a_coordinate_has_only_the_dimensions_along_which_it_varies(self):
        def function(a, b):
            return xarray.Dataset({"y": ("t", [a, b])}, coords={"time": ("t", [0.0, a]), "same": 7.0})

        data = ol.sweep(function, {"a": [1.0, 2.0], "b": [1.0, 2.0]})
        assert data.time.dims == ("a", "t")
        assert data.time.values.tolist() == [[0.0, 1.0], [0.0, 2.0]]
        assert data.same.dims == ()

    def test_a_result_code_is_labelled(self):
        def function(a):
            return {"how": ol.RESULTS.where(a > 1, ol.RESULTS.diverged, ol.RESULTS.successful)}

        for one in both(function, {"a": [1.0, 2.0]}):
            assert one.how.values.tolist() == [0, 2]
            assert one.how.attrs["flag_meanings"].split()[2] == "diverged"


class TestExecutors:
    @settings(max_examples=10, deadline=None)
    @given(
        shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
        size=st.integers(1, 9),
        with_text=st.booleans(),
        with_objects=st.booleans(),
    )
    def test_batches_of_any_size_over_grids_of_any_kind_put_every_number_in_its_place(
        self, shape, size, with_text, with_objects
    ):
        grid = {f"x{i}": np.arange(n) * 10.0**i for i, n in enumerate(shape)}
        parts = list(grid.values())
        if with_text:
            grid = {"text": ["one", "seven"]} | grid
            parts = [[3000.0, 5000.0], *parts]
        if with_objects:
            # The first and the last can share a program, the second has another shape.
            grid["array"] = {"a": np.array([0.25]), "b": np.array([0.25, 0.25]), "c": np.array([0.125])}
            parts = [*parts, [0.25, 0.5, 0.125]]

        def function(text="", array=np.zeros(1), **numbers):  # noqa: B008
            return sum(numbers.values()) + 1000.0 * len(text) + jnp.sum(array)

        # Sums of few short binary fractions are exact.
        for data in both(function, grid, size):
            assert data.value.dims == tuple(grid)
            assert np.array_equal(data.value, functools.reduce(np.add.outer, parts))

    def test_a_point_has_its_own_key_whatever_the_executor(self):
        key = jax.random.key(5)
        expected = [float(jax.random.normal(jax.random.fold_in(key, i))) for i in range(6)]

        def draw(a, b, key):
            return jax.random.normal(key)

        for executor in (None, ol.Batched(), ol.Batched(6), ol.Batched(4)):
            data = ol.sweep(draw, {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, executor, key=key)
            assert np.array_equal(data.value.values.ravel(), expected)

    def test_learning_is_that_of_single_runs_and_of_a_batch(self):
        one, together = both(learn, LEARNING, 2)
        assert one.loss.dims == ("learning_rate", "start", "point")
        for i, rate in enumerate(RATES):
            for j in range(2):
                alone = learn(rate, ol.Overlaps(STARTS.gram[j], LAYOUT), throw=False)
                n, data = len(alone.time), one.isel(learning_rate=i, start=j)
                for name in ("loss", "time", "step"):
                    assert np.array_equal(data[name][:n], getattr(alone, name))
                    assert np.all(np.isnan(data[name][n:]))
                assert np.array_equal(data.gram[:n], alone.overlaps.gram)
                assert np.array_equal(data.final_gram, alone.final.gram)
                assert data.overlaps.sel(overlap="zu")[n - 1] == alone.overlaps.entries()["zu"][-1]
        assert one.result.values.tolist() == [[0, 0], [0, 0], [2, 2]]
        assert one.sizes == together.sizes
        for name in one.variables:
            if one[name].dtype.kind != "U":
                # 20 steps, each sums of at most 21 terms of order 1, in other programs.
                np.testing.assert_allclose(together[name], one[name], rtol=0, atol=20 * 21 * EPS)

    def test_one_program_serves_all_chunks_and_a_second_sweep(self):
        function = Counted(lambda a, b: jnp.sin(a) * b)
        grid = {"a": np.linspace(0, 1, 5), "b": [1.0, 2.0]}
        first = ol.sweep(function, grid, ol.Batched(4))
        assert function.n == 1
        again = ol.sweep(function, {"a": np.linspace(0, 1, 5), "b": [1.0, 2.0]}, ol.Batched(4))
        assert function.n == 1
        assert first.identical(again)

    def test_a_batch_is_no_larger_than_the_grid(self):
        sizes = []
        ol.sweep(lambda a: jax.debug.callback(lambda x: sizes.append(x), a) or a, {"a": [1.0, 2.0]}, ol.Batched(1000))
        assert len(sizes) == 2

    def test_texts_and_labelled_structure_choose_between_programs(self):
        function = Counted(lambda n, kind, a: jnp.sum(jnp.ones(n)) * a if kind == "x" else a)
        one, together = both(function, {"n": {2: 2, 3: 3}, "kind": ["x", "y"], "a": [1.0, 2.0, 3.0]})
        assert function.n == 12 + 4
        assert one.identical(together)
        assert one.n.values.tolist() == [2, 3]
        assert one.value.sel(n=3, kind="x", a=2.0) == 6.0


class TestFailures:
    def test_a_point_that_fails_is_missing_and_says_why(self):
        def function(n):
            if n == 1:
                raise ValueError("one is too few")
            return {"n_squared": n**2, "x": n / 2, "name": str(n), "even": n % 2 == 0}

        data = ol.sweep(function, {"n": [0, 1, 2]})
        assert data.error.values.tolist() == ["", "ValueError: one is too few", ""]
        assert np.array_equal(data.n_squared, [0, np.nan, 4], equal_nan=True)
        assert np.array_equal(data.x, [0, np.nan, 1], equal_nan=True)
        assert data.name.values.tolist() == ["0", "", "2"]
        assert np.array_equal(data.even, [1, np.nan, 1], equal_nan=True)

    def test_throw_raises_the_error_itself_and_says_where(self):
        with pytest.raises(ol.LearningError, match="diverged") as caught:
            ol.sweep(learn, {"learning_rate": RATES}, throw=True)
        assert caught.value.__notes__ == ["sweep: at learning_rate=100.0"]
        with pytest.raises(ol.LearningError, match="diverged"):
            ol.sweep(learn, LEARNING, ol.Batched(2), throw=True)

    @pytest.mark.parametrize("compiled", [lambda f: f, eqx.filter_jit], ids=["plain", "compiled"])
    def test_every_way_of_running_refuses_the_same_points_with_the_same_words(self, compiled):
        @compiled
        def function(kind, number):
            vm, dt = (number, 0.5) if kind == "vm" else (0.3, number)
            x = np.ones((1, 4, 1))
            return ol.loss(MODEL, ol.Task(x, x, x / 4, dt), ol.Overlaps.from_entries(LAYOUT, vm=vm))

        # Without a sweep what is only known later is not checked; with one it is another program.
        function("vm", 0.5)
        grid, ways = {"kind": ["vm", "dt"], "number": [0.5, 2.5]}, (None, ol.Batched(2), ol.Batched(2, threads=2))
        found = [ol.sweep(function, grid, way) for way in ways]
        errors = found[0].error.values.tolist()
        assert all(one.error.values.tolist() == errors for one in found)
        assert errors[0][1].startswith("ValueError: Overlaps: gram must be positive semi-definite")
        assert errors[1][1].startswith("ValueError: Task: dt must be above 0 and below 2")
        assert np.isfinite(found[1].value.values).tolist() == [[True, False], [True, False]]

    def test_masked_numbers_are_missing_and_masked_texts_refused(self):
        def function(a):
            return {"x": ("t", np.ma.array([1, 2], mask=[a > 1, False])), "y": np.ma.masked if a > 1 else 3.0}

        data = ol.sweep(function, {"a": [1.0, 2.0]})
        assert np.array_equal(data.x, [[1, 2], [np.nan, 2]], equal_nan=True)
        assert np.array_equal(data.y, [3.0, np.nan], equal_nan=True)
        with pytest.raises(ValueError, match="what the function returned as value has 1 masked values"):
            ol.sweep(lambda a: np.ma.array(["a", "b"], mask=[True, False]), {"a": [1.0]})

    def test_a_member_that_fails_takes_no_other_with_it(self):
        def final_loss(learning_rate):
            return {"loss": learn(learning_rate).loss[-1]}

        one, together = both(final_loss, {"learning_rate": RATES})
        assert one.error.values.tolist() == together.error.values.tolist()
        assert one.error[2].item().startswith("LearningError: Learning diverged")
        assert np.isnan(one.loss).values.tolist() == [False, False, True]
        assert float(one.loss[1]) == float(learn(1e-2).loss[-1])
        np.testing.assert_allclose(together.loss, one.loss, rtol=0, atol=20 * 21 * EPS)

    def test_a_learning_error_keeps_its_result_code_and_last_good_state(self):
        data = ol.sweep(learn, {"learning_rate": RATES})
        assert data.error[2].item().startswith("LearningError: Learning diverged")
        assert data.error[:2].values.tolist() == ["", ""]
        assert data.result.values.tolist() == [0, 0, 2]
        assert np.isfinite(data.loss[2, 0])

    def test_a_sweep_that_fails_everywhere_raises(self):
        with pytest.raises(RuntimeError, match=r"failed at all 2 points; at a=1\.0: KeyError: 'x'"):
            ol.sweep(lambda a: {}["x"], {"a": [1.0, 2.0]})

    def test_points_that_diverge_everywhere_keep_their_solutions(self):
        data = ol.sweep(learn, {"learning_rate": [100.0, 200.0]})
        assert data.result.values.tolist() == [2, 2]

    def test_what_can_not_be_compiled_for_one_kind_of_points_spares_the_others(self):
        def function(kind, a):
            if kind == "bad":
                raise ValueError("no such kind")
            return a

        one, together = both(function, {"kind": ["good", "bad"], "a": [1.0, 2.0]})
        assert one.identical(together)
        assert together.error.sel(kind="bad").values.tolist() == ["ValueError: no such kind"] * 2

    def test_the_dataset_of_a_sweep_with_failures_can_be_written(self, tmp_path):
        data = ol.sweep(learn, {"learning_rate": RATES})
        data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as opened:
            same = opened.load()
        assert np.array_equal(same.loss, data.loss, equal_nan=True)
        assert same.error.values.tolist() == data.error.values.tolist()
        assert json.loads(same.attrs["model"])["activation"] == "Linear"


def identity(a):
    return a


def needs_key(a, key):
    return a


@pytest.mark.parametrize(
    ("function", "grid", "arguments", "message"),
    [
        (identity, {}, {}, "grid must be a mapping of at least one name"),
        (identity, [1.0], {}, "grid must be a mapping"),
        (identity, {1: [1.0]}, {}, "names must be strings"),
        (identity, {"a": []}, {}, r"grid\['a'\] has no values"),
        (identity, {"a": 1.0}, {}, r"grid\['a'\] must be 1-D .*got 1\.0"),
        (identity, {"a": "text"}, {}, r"grid\['a'\] must be 1-D .*got 'text'"),
        (identity, {"a": np.ones((2, 2))}, {}, r"must be 1-D .*got shape \[2, 2\]"),
        (identity, {"a": [[1.0], [2.0]]}, {}, "has values that are arrays themselves; give them labels"),
        (identity, {"a": [1.0, 2.0, 1.0]}, {}, r"must not hold a value twice, got \[1\.0\]"),
        (identity, {"a": {1: 1.0, "x": 2.0}}, {}, "must have texts or numbers as labels"),
        (identity, {"a": TASK}, {}, "is one Task with arrays of shapes"),
        (identity, {"a": jax.random.split(jax.random.key(0), (2, 2))}, {}, r"got keys of shape \[2, 2\]"),
        (identity, {"b": [1.0]}, {}, r"must take the arguments b by name; it is function\(a\)"),
        (identity, {"a": [1.0]}, {"key": jax.random.key(0)}, "the arguments a and key by name"),
        (needs_key, {"a": [1.0]}, {}, "takes a key, of which each point gets its own"),
        (needs_key, {"a": [1.0], "key": [1.0]}, {"key": jax.random.key(0)}, "leave out key="),
        (3, {"a": [1.0]}, {}, "function must be callable"),
        (identity, {"a": [1.0]}, {"folder": 3}, "folder must be a text"),
        (lambda a: None, {"a": [1.0]}, {}, "returned a value of type NoneType, which can't be labelled"),
        (lambda a: {"x": object()}, {"a": [1.0]}, {}, "returned 'x' of type object"),
        (lambda a: {}, {"a": [1.0]}, {}, "empty mapping"),
        (lambda a: {1: a}, {"a": [1.0]}, {}, "names must be strings"),
        (lambda a: {"x": ("t", a)}, {"a": [1.0]}, {}, r"'x' with 1 dimensions \['t'\] for an array of shape \[\]"),
        (lambda a: {"a": a}, {"a": [1.0]}, {}, "'a', which is a dimension of the grid too"),
        (lambda a: {"error": a}, {"a": [1.0]}, {}, "'error', which is where sweep keeps why"),
        (
            lambda a: np.ones(int(a)), {"a": [1.0, 2.0]}, {},
            r"between a=1\.0 and a=2\.0 'value' holds numbers of shape \[value_dim_0: 1\] and numbers of shape",
        ),
        (lambda a: {"x": a} if a > 1 else {"y": a}, {"a": [1.0, 2.0]}, {}, r"one has \['y'\], the other \['x'\]"),
        (
            lambda a: xarray.DataArray([a], dims="t", coords={"t": [a]}), {"a": [1.0, 2.0]}, {},
            "the coordinate 't' has other values",
        ),
        (lambda a: a if a > 1 else "text", {"a": [1.0, 2.0]}, {}, "holds texts of shape"),
        (lambda a: jnp.ones(int(a)), {"a": [1.0]}, {"executor": ol.Batched(1)}, "asks for the value of an argument"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_way_to_do_it(function, grid, arguments, message):
    with pytest.raises(ValueError, match=f"sweep: .*{message}"):
        ol.sweep(function, grid, **arguments)


@pytest.mark.parametrize("size", [0, 2.5, "all"])
def test_a_batch_needs_a_positive_size(size):
    with pytest.raises(ValueError, match="Batched: size must be an integer of at least 1"):
        ol.Batched(size)


@pytest.mark.parametrize("memory", [0, -1e9, float("nan"), float("inf"), "2 GB", [1e9, 1e9]])
def test_a_batch_needs_a_positive_memory(memory):
    with pytest.raises(ValueError, match="Batched: memory must be"):
        ol.Batched(memory=memory)


def test_a_batch_takes_a_size_or_a_memory():
    with pytest.raises(ValueError, match=r"Batched: give size .* or memory .*, not both, got size=4 and memory=2e\+09"):
        ol.Batched(4, memory=2e9)


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_a_bar_counts_points_if_asked_for(progress, shown, capsys):
    ol.sweep(identity, {"a": [1.0, 2.0, 3.0]}, progress=progress)
    assert ("3/3" in capsys.readouterr().err) is shown


def test_a_module_with_arrays_can_be_the_function():
    class Line(eqx.Module):
        slope: jax.Array

        def __call__(self, a):
            return self.slope * a

    one, together = both(Line(jnp.array(2.0)), {"a": [1.0, 2.0, 3.0]}, 2)
    assert one.value.values.tolist() == together.value.values.tolist() == [2.0, 4.0, 6.0]


class Silent(Exception):
    def __str__(self):
        if self.args:
            return "x" * 10**7
        raise KeyError("nothing to say")

    def add_note(self, note):
        raise KeyError("no notes")


class TestStrangers:
    """Names and values are kept as they are, with a folder or without, or refused by name."""

    @pytest.mark.parametrize("name", ["a/b", "", ".", "a\0b", "\ud800", "sweep_point", "sweep_index", "error"])
    @pytest.mark.parametrize("of", ["result", "dimension", "grid"])
    def test_a_name_that_no_file_holds_or_that_is_taken_is_refused(self, name, of):
        grid = {name: [1.0]} if of == "grid" else {"a": [1.0]}
        result = {"result": {name: 1.0}, "dimension": {"x": (name, np.ones(2))}, "grid": 1.0}[of]
        with pytest.raises(ValueError, match=r"^sweep: (the function's results have the|grid's) name .*(give it|name)"):
            ol.sweep(lambda **point: result, grid)

    @pytest.mark.parametrize("name", ["a\nb", "..", "x" * 300, "é" * 127, " x ", "_FillValue", "\x7f", "CLASS"])
    def test_any_other_name_is_kept(self, name, tmp_path):
        runs = [ol.sweep(lambda a: {name: a}, {"a": [1.0, 2.0]}, folder=folder) for folder in (None, *[tmp_path] * 2)]
        assert runs[0][name].values.tolist() == [1.0, 2.0]
        assert all(run.identical(runs[0]) for run in runs)

    @pytest.mark.parametrize(
        ("values", "words"),
        [(["x\0", "y"], r"'x\\x00' would be 'x'"), ([2**53 + 1, 0.5], "9007199254740993 would be 9007199254740992"),
         ([True, 2], "truth values"), (np.ma.array([1.0, 2.0], mask=[0, 1]), "masked")],
    )  # fmt: skip
    def test_values_of_a_grid_that_an_array_would_change_are_refused(self, values, words):
        with pytest.raises(ValueError, match=rf"sweep: grid\['a'\] .*{words}"):
            ol.sweep(lambda a: 1.0, {"a": values})

    def test_huge_integers_and_the_other_order_of_bytes_reach_the_function_as_they_are(self):
        met = ol.sweep(lambda a: str(a), {"a": [2**70, 2**70 + 1]})
        assert met.value.values.tolist() == [str(2**70), str(2**70 + 1)]
        assert ol.sweep(lambda a: a, {"a": np.array([1.5, 2.5], ">f8")}).value.values.tolist() == [1.5, 2.5]

    @pytest.mark.parametrize(
        ("result", "words"),
        [(2**53 + 1, "integers beyond 2\\^53"), (np.uint64(2**64 - 1), "integers beyond"), ("a\0", "NUL at the end"),
         (pd.Series([1.0], index=["p"]), "labels would be lost"),
         ({"x": xarray.DataArray([1.0], dims="t")}, "labels would be lost")],
    )  # fmt: skip
    def test_results_that_would_be_changed_are_refused(self, result, words):
        with pytest.raises(ValueError, match=rf"sweep: the function returned .*{words}"):
            ol.sweep(lambda a: result, {"a": [1.0]})

    def test_exceptions_that_can_not_speak_and_take_no_notes_are_failures_of_their_point(self, tmp_path):
        def fails(a):
            if a > 1:
                raise Silent(*range(int(a) - 2))
            return a

        data = ol.sweep(fails, {"a": [1.0, 2.0, 3.0]}, folder=tmp_path)
        *short, long = data.error.values.tolist()
        assert short == ["", "Silent: it can't be said (KeyError in its __str__)"]
        assert "xxx ... (10,000,000 characters) ... xxx" in long
        assert len(long) < 3000

    def test_an_exception_that_a_function_raises_again_is_the_same_run(self, tmp_path):
        error = KeyError("a")

        def fails(a):
            if a > 1:
                raise error
            return a

        first, again = (ol.sweep(fails, {"a": [1.0, 2.0]}, folder=tmp_path) for _ in range(2))
        assert again.identical(first)

    @pytest.mark.parametrize("folder", ["a\0", "a" * 300, "\ud800", 3])
    def test_what_names_no_folder_is_refused(self, folder):
        for act in (lambda: ol.Checkpoint(folder), lambda: ol.sweep(lambda a: a, {"a": [1.0]}, folder=folder)):
            with pytest.raises(ValueError, match=r"(Checkpoint|sweep): folder must be a text"):
                act()

    def test_more_points_than_memory_holds_are_refused_with_what_they_would_take(self):
        with pytest.raises(ValueError, match=r"grid must have fewer values: 1,000,000,000,000 points would take 17 TB"):
            ol.sweep(lambda a, b: a, {"a": np.arange(1e6), "b": np.arange(1e6)})
