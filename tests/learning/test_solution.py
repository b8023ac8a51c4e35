"""Solution: its named series, its printed table, and its labelled dataset."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    N_STEPS,
    RANK_1,
    SAVE_EVERY,
    descent,
    largest,
    make_network,
    make_overlaps,
    make_task,
)

import overlap_learning as ol

MODEL = ol.Model(RANK_1, ol.Linear())
TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)
N_SAVED = N_STEPS // SAVE_EVERY + 1


@pytest.fixture(scope="module")
def stepped():
    return ol.integrate(MODEL, TASK, START, descent())


@pytest.fixture(scope="module")
def flowing():
    return ol.integrate(MODEL, TASK, START, ol.GradientFlow(3.0))


@pytest.fixture(scope="module")
def trained():
    return ol.train(MODEL, TASK, make_network(START, 12), descent())


@pytest.fixture(scope="module")
def batch():
    def run(gram):
        return ol.integrate(MODEL, TASK, ol.Overlaps(gram, RANK_1), descent(), throw=False)

    # The last one diverges.
    grams = [START.gram, make_overlaps(RANK_1, seed=1).gram, 100 * START.gram]
    return jax.vmap(run)(jnp.stack(grams))


class TestSeries:
    def test_visible_and_invisible_series_are_all_entries_of_the_saved_gram_matrices(self, stepped):
        assert tuple(stepped.visible) == MODEL.visible_names
        assert tuple(stepped.invisible) == MODEL.invisible_names
        series = stepped.visible | stepped.invisible
        assert set(series) == set(RANK_1.entry_names)
        for name, values in series.items():
            i, j = (RANK_1.vector_names.index(letter) for letter in name)
            assert np.array_equal(values, stepped.overlaps.gram[:, i, j])

    def test_shapes_are_those_of_the_saved_points(self, stepped):
        assert stepped.time.shape == stepped.loss.shape == stepped.step.shape == (N_SAVED,)
        assert stepped.overlaps.gram.shape == stepped.transfer.shape == (N_SAVED, 4, 4)
        assert stepped.final.gram.shape == (4, 4)

    def test_final_is_of_the_kind_that_was_passed_in(self, stepped, trained):
        assert isinstance(stepped.final, ol.Overlaps)
        assert isinstance(trained.final, ol.Network)
        # Sums over 12 neurons in two orders.
        assert largest(trained.final.overlaps.gram - trained.overlaps.gram[-1]) <= 2 * 12 * EPS


class TestTable:
    def test_it_tells_the_outcome_the_numbers_and_each_overlap_at_start_and_end(self, stepped):
        lines = repr(stepped).splitlines()
        assert lines[0] == f"Solution: {ol.RESULTS[ol.RESULTS.successful]}"
        assert lines[1].strip() == "31 saved points, learning time 0 to 6, steps 0 to 300"
        assert "Layout(n_in=1, rank=1, n_out=1), Linear, float64" in lines[2]
        assert any(line.split() == ["n_steps:", "300"] for line in lines)
        rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
        assert rows["loss"] == [f"{float(stepped.loss[0]):.6g}", f"{float(stepped.loss[-1]):.6g}"]
        for kind in ("visible", "invisible"):
            for name, values in getattr(stepped, kind).items():
                assert rows[name] == [f"{float(values[0]):.6g}", f"{float(values[-1]):.6g}", kind]

    def test_its_numbers_stand_in_columns(self, stepped):
        rows = [line for line in repr(stepped).splitlines() if line.endswith("visible")]
        assert len({line.rindex("  ") for line in rows}) == 1

    def test_a_flow_prints_the_steps_of_its_solver(self, flowing):
        text = repr(flowing)
        assert f"accepted: {int(flowing.stats['accepted'])}" in text
        assert f"rejected: {int(flowing.stats['rejected'])}" in text
        assert "steps 0 to" not in text

    def test_a_run_that_ended_badly_says_so_first(self):
        solution = ol.integrate(MODEL, TASK, START, descent(20.0), throw=False)
        assert repr(solution).startswith("Solution: Learning diverged")


class TestDataset:
    def test_dimensions_and_coordinates_are_named(self, stepped):
        data = stepped.to_xarray()
        assert dict(data.sizes) == {"time": N_SAVED, "vector": 4, "vector_2": 4, "overlap": 10}
        assert data["overlaps"].dims == ("time", "overlap")
        assert data["gram"].dims == data["transfer"].dims == ("time", "vector", "vector_2")
        assert data["loss"].dims == data["step"].dims == ("time",)
        assert data["vector"].values.tolist() == list(RANK_1.vector_names)
        assert data["overlap"].values.tolist() == list(RANK_1.entry_names)
        assert np.array_equal(data["time"], stepped.time)

    def test_an_overlap_is_found_by_its_name_and_kind(self, stepped):
        data = stepped.to_xarray()
        assert np.array_equal(data["overlaps"].sel(overlap="zu"), stepped.visible["zu"])
        assert np.array_equal(data["gram"].sel(vector="u", vector_2="u"), stepped.invisible["uu"])
        visible = data["overlap"][data["is_visible"].values.astype(bool)].values.tolist()
        assert visible == list(MODEL.visible_names)

    def test_attributes_hold_units_model_and_versions(self, stepped):
        data = stepped.to_xarray()
        assert data["time"].attrs["units"] == "sum of learning rates"
        assert all("units" in data[name].attrs for name in ("loss", "overlaps", "gram", "transfer", "step"))
        assert json.loads(data.attrs["model"])["layout"] == {"n_in": 1, "rank": 1, "n_out": 1}
        assert json.loads(data.attrs["model"])["activation"] == "Linear"
        versions = json.loads(data.attrs["versions"])
        assert versions["overlap_learning"] == ol.__version__
        assert versions["jax"] == jax.__version__

    def test_the_result_is_a_flag_with_its_meaning(self, stepped):
        stopped = ol.integrate(MODEL, TASK, START, descent(20.0), throw=False)
        for solution, meaning in ((stepped, "successful"), (stopped, "diverged")):
            result = solution.to_xarray()["result"]
            assert result.attrs["flag_meanings"].split()[int(result)] == meaning
            assert list(result.attrs["flag_values"])[int(result)] == int(result)

    def test_a_flow_has_no_steps_and_counts_those_of_its_solver(self, flowing):
        data = flowing.to_xarray()
        assert "step" not in data
        assert int(data["stat_accepted"]) == int(flowing.stats["accepted"])

    def test_a_trained_network_has_its_neurons(self, trained):
        data = trained.to_xarray()
        assert data["final_vectors"].dims == ("neuron", "vector")
        assert np.array_equal(data["final_vectors"].sel(vector="z"), trained.final.z[:, 0])
        assert np.array_equal(data["final_weights"], np.full(12, 1 / 12))
        assert "transfer" not in data

    def test_a_batch_has_a_dimension_of_members_with_times_of_their_own(self, batch):
        data = batch.to_xarray()
        assert data["overlaps"].dims == ("member", "point", "overlap")
        assert data["time"].dims == ("member", "point")
        assert "time" in data.coords
        assert data["result"].values.tolist() == [0, 0, 2]
        assert np.array_equal(data["overlaps"].sel(overlap="zm"), batch.visible["zm"])
        assert np.isnan(data["time"][2, -1])


def test_an_error_of_learning_can_be_handed_on_by_a_process_pool():
    import pickle

    with pytest.raises(ol.LearningError) as caught:
        ol.integrate(MODEL, TASK, START, descent(100.0))
    again = pickle.loads(pickle.dumps(ol.LearningError(str(caught.value), "its solution")))
    assert (str(again), again.solution) == (str(caught.value), "its solution")
    assert pickle.loads(pickle.dumps(ol.LearningInterrupted("its solution"))).solution == "its solution"


def test_a_solution_with_many_overlaps_prints_a_few_at_once():
    layout = ol.Layout(2, 1, 200)
    gram = jnp.zeros((2, layout.size, layout.size))
    solution = ol.Solution(
        model=ol.Model(layout, ol.Linear()), time=jnp.arange(2.0), step=jnp.arange(2), loss=jnp.ones(2),
        saved={"gram": gram}, final=ol.Overlaps(jnp.eye(layout.size), layout), stats={}, result=ol.RESULTS.successful,
    )  # fmt: skip
    assert len(repr(solution)) < 3000
    assert "and 583 more visible ones" in repr(solution)
