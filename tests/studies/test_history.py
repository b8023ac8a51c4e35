"""History: twins that learned different tasks first."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUT = ol.Layout()
NAMES = ("vv", "vz", "zz")


def test_random_starts_are_networks_drawn_as_published():
    gram = np.asarray(ol.studies.random_starts(LAYOUT, 200, key=jax.random.key(0)).gram)
    assert np.linalg.eigvalsh(gram).min() > 0
    diagonal = gram[:, np.arange(4), np.arange(4)]
    assert diagonal.min() >= 0.5
    assert diagonal.max() <= 2.0
    assert gram.min() >= 0


MODEL = ol.Model(LAYOUT, ol.Erf())
# Fixed batches of one shape, so that all phases share a program.
A, B, C = (
    ol.tasks.flip_flop(
        key=jax.random.key(i), n_trials=2, duration=6.0, dt=0.2, wait_range=(1.0, 2.0), target_amplitude=0.5 + 0.2 * i
    )
    for i in range(3)
)
RULES = (
    ol.GradientDescent(ol.LossSchedule(0.05, below=1.0, factor=0.5), 10),
    ol.GradientDescent(ol.LossSchedule(0.02, below=1e-9, factor=0.5), 10),
)
STARTS = ol.studies.random_starts(LAYOUT, 3, key=jax.random.key(0))
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def theory():
    return ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=KEY)


@pytest.fixture(scope="module")
def neurons():
    return ol.Network.sample(STARTS, 8, key=jax.random.key(2))


@pytest.fixture(scope="module")
def full(neurons):
    return ol.studies.train_twins(MODEL, (A, B), C, neurons, RULES, key=KEY, progress=False)


def test_twins_learn_as_they_would_alone(theory):
    assert bool(jnp.all(theory.good))
    keys = jax.random.split(KEY, 3)
    one = ol.Overlaps(STARTS.gram[2], LAYOUT)
    first = ol.integrate(MODEL, B, one, RULES[0], keys[1])
    second = ol.integrate(MODEL, C, first.final, RULES[1], keys[2])
    # The same sums in another order of vectorised operations, over 20 steps.
    np.testing.assert_allclose(theory.after_first.gram[1, 2], first.final.gram, atol=1e-13)
    np.testing.assert_allclose(theory.after_common.gram[1, 2], second.final.gram, atol=1e-13)
    np.testing.assert_allclose(theory.first.overlaps.gram[1, 2], first.overlaps.gram, atol=1e-13)
    np.testing.assert_allclose(theory.losses[1, 1, 2], second.loss[-1], atol=1e-13)
    features = theory.features(NAMES)
    np.testing.assert_array_equal(features[1][2], [theory.after_common.entries()[name][1, 2] for name in NAMES])


def test_twins_at_full_n_start_as_the_same_neurons_and_learn_as_they_would_alone(full, neurons):
    keys = jax.random.split(KEY, 3)
    one = ol.Network(neurons.vectors[2], LAYOUT)
    first = ol.train(MODEL, A, one, RULES[0], keys[0])
    second = ol.train(MODEL, C, first.final, RULES[1], keys[2])
    np.testing.assert_allclose(full.after_first.gram[0, 2], first.final.overlaps.gram, atol=1e-12)
    np.testing.assert_allclose(full.after_common.gram[0, 2], second.final.overlaps.gram, atol=1e-12)
    np.testing.assert_allclose(full.first.overlaps.gram[0, :, 0], full.first.overlaps.gram[1, :, 0], atol=1e-14)
    np.testing.assert_allclose(full.losses[0, 0, 2], first.loss[-1], atol=1e-12)
    assert full.n_neurons == 8


def test_theory_and_full_n_have_the_same_starts_and_trials_and_part_as_neurons_are_few(theory, full):
    np.testing.assert_allclose(theory.start.gram, full.start.gram, atol=1e-12)
    np.testing.assert_allclose(theory.first.time, full.first.time, atol=1e-12)
    assert 1e-4 < float(jnp.max(jnp.abs(theory.after_first.gram - full.after_first.gram))) < 1.0


def test_a_pair_of_which_one_twin_ended_badly_is_left_out(full):
    twins = eqx.tree_at(lambda t: t.common.good, full, full.common.good.at[0, 1].set(False))
    assert twins.good.tolist() == [True, False, True]
    kept, every = twins.features(("uu", "vz")), full.features(("uu", "vz"))
    for mine, others in zip(kept, every, strict=True):
        assert np.array_equal(mine, others[[0, 2]])


def test_an_expensive_run_is_kept_as_data_and_resumed_from_its_checkpoints(full, neurons, tmp_path):
    import xarray

    for _ in range(2):
        kept = ol.studies.train_twins(
            MODEL,
            (A, B),
            C,
            neurons,
            RULES,
            key=KEY,
            progress=False,
            checkpoint=ol.Checkpoint(tmp_path / "a", every=10),
        )
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["common", "first-a", "first-b"]
    # The same steps in compiled calls of other lengths.
    np.testing.assert_allclose(kept.after_common.gram, full.after_common.gram, atol=1e-13)
    kept.save(tmp_path / "twins.nc")
    with xarray.open_dataset(tmp_path / "twins.nc", engine="h5netcdf") as data:
        assert data.sizes["pair"] == 3
        assert data.attrs["n_neurons"] == 8
        values = data["common_final"].sel(overlap="vz").values
        np.testing.assert_array_equal(values, kept.after_common.entries()["vz"])
        assert data["first_overlaps"].dims == ("history", "pair", "first_point", "overlap")


def test_theory_is_resumed_from_its_checkpoints_too(theory, tmp_path):
    checkpoint = ol.Checkpoint(tmp_path, every=10)
    for _ in range(2):
        kept = ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=KEY, checkpoint=checkpoint)
        np.testing.assert_allclose(kept.after_common.gram, theory.after_common.gram, atol=1e-13)
    with pytest.raises(ValueError, match=r"train_twins: the checkpoints in .*first-a.*key was"):
        ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=jax.random.key(2), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"starts": STARTS.gram}, r"starts must be ol\.Overlaps \(theory\) or an ol\.Network"),
        ({"starts": ol.Overlaps(STARTS.gram[0], LAYOUT)}, r"starts must have gram \[n_pairs, d, d\], got \[4, 4\]"),
        ({"starts": ol.studies.random_starts(ol.Layout(rank=2), 2, key=KEY)}, r"starts have .*rank=2"),
        ({"first": (A,)}, r"give two first tasks and two rules"),
        ({"rules": (RULES[0], ol.DirectDescent(0.1, 5))}, r"the theory follows ol\.GradientDescent.*got DirectDescent"),
        (
            {"first": (ol.tasks.stream(ol.tasks.flip_flop, n_trials=2), B), "rules": (ol.GradientFlow(1.0), RULES[1])},
            r"GradientFlow needs a fixed batch",
        ),
    ],
)
def test_twins_that_do_not_fit_together_are_refused(changed, message):
    arguments = {"first": (A, B), "common": C, "starts": STARTS, "rules": RULES} | changed
    with pytest.raises(ValueError, match=f"train_twins: {message}"):
        ol.studies.train_twins(MODEL, key=KEY, **arguments)
