"""The tensor of weights through learning: the theory's core against every neuron, decompositions, and bad input."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUT = ol.Layout(n_in=2, rank=2, n_out=2)
MODEL = ol.Model(LAYOUT, ol.Linear())
RNG = np.random.default_rng(0)
TASK = ol.Task(RNG.normal(size=(3, 12, 2)), RNG.normal(size=(3, 12, 2)), np.full((3, 12, 2), 1 / 36), dt=0.2)
START = ol.Overlaps.random(LAYOUT, key=jax.random.key(0))
RULE = ol.GradientDescent(2e-2, 100, momentum=0.5, save_every=10)


@pytest.fixture(scope="module")
def solution():
    return ol.integrate(MODEL, TASK, START, RULE)


@pytest.fixture(scope="module")
def theory(solution):
    return ol.studies.weight_tensor(solution)


def trained(n_neurons):
    network = ol.Network.sample(START, n_neurons, key=jax.random.key(1))
    return network, ol.train(MODEL, TASK, network, RULE, save_vectors=True, progress=False)


@pytest.fixture(scope="module")
def full():
    return trained(50)


@pytest.fixture(scope="module", params=[50, 100])
def each_size(request, full):
    return full if request.param == 50 else trained(request.param)


def dense(solution):
    """Every W_k [S, N, N] of a run at full N."""
    networks = solution.networks
    return np.asarray(jnp.einsum("kir,kjr->kij", networks.u, networks.v)) / networks.n_neurons


def unfolding(tensor, mode):
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def norm2(array):
    return float(np.sum(array**2))


def lifted(components, basis):
    return np.einsum("ks,is,js->kij", components.trials, basis @ components.columns, basis @ components.rows)


def test_the_core_has_the_ranks_and_singular_values_of_all_weights(theory, each_size):
    _, run = each_size
    weights = dense(run)
    # Rounding of a hundred steps, a thousandth of what is asked for.
    for tensor, all_weights in ((theory, weights), (theory.change, weights - weights[0])):
        for mode in range(3):
            found = tensor.singular_values(mode)
            expected = np.linalg.svd(unfolding(all_weights, mode), compute_uv=False)
            assert np.abs(found[: len(expected)] - expected[: len(found)]).max() < 1e-13 * expected[0]
            assert tensor.multilinear_rank()[mode] == np.sum(expected > 1e-10 * expected[0])
        values = np.linalg.svd(all_weights[::5], compute_uv=False)
        found = tensor.matrix_singular_values[::5]
        assert np.abs(values[:, : found.shape[1]] - found).max() < 1e-13 * values.max()
        np.testing.assert_array_equal(tensor.matrix_ranks()[::5], np.sum(values > 1e-10 * values.max(), axis=1))
    assert int(theory.matrix_ranks().max()) == 2
    assert int(theory.change.matrix_ranks().max()) == 4
    # From the neurons themselves: the same tensor in another frame, of the same size.
    own = ol.studies.weight_tensor(run)
    assert own.core.shape == theory.core.shape
    np.testing.assert_allclose(own.singular_values(1), theory.singular_values(1), rtol=0, atol=1e-13)
    assert own.outside_share.max() == 0


def test_lifting_gives_every_weight_and_every_component(theory, each_size):
    network, run = each_size
    weights = dense(run)
    found = theory.lift(network)
    assert found.shape == weights.shape
    assert max(np.abs(w - expected).max() for w, expected in zip(found, weights, strict=True)) < 1e-12
    np.testing.assert_allclose(np.asarray(ol.studies.weight_tensor(run).lift()), weights, rtol=0, atol=1e-12)
    basis = theory.basis(network)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-12)
    change = weights - weights[0]
    components = theory.change.cp(2)
    # What is left is some 1e-2 of sums that round at 1e-15.
    left = norm2(change - lifted(components, basis)) / norm2(change)
    assert abs(left / components.unexplained - 1) < 1e-10
    tucker = theory.change.tucker((2, 4, 4))
    columns, rows = basis @ tucker.columns, basis @ tucker.rows
    approximation = np.einsum("abc,ka,ib,jc->kij", tucker.core, tucker.trials, columns, rows)
    assert abs(norm2(change - approximation) / norm2(change) / tucker.unexplained - 1) < 1e-10


def test_least_squares_on_the_core_does_what_it_does_on_all_weights(theory, full):
    import tensorly
    from tensorly.decomposition import parafac

    network, run = full
    start = theory.change.cp(2, n_restarts=0)
    factors = [start.trials + 0.3 * start.trials[::-1], start.columns, start.rows]
    basis = theory.basis(network)
    everywhere = dense(run) - dense(run)[0]
    errors = []
    for tensor, lift in ((theory.change.core, np.eye(8)), (everywhere, basis)):
        begin = (None, [factors[0], lift @ factors[1], lift @ factors[2]])
        found = tensorly.cp_to_tensor(parafac(tensor, 2, init=begin, n_iter_max=5, tol=0))
        errors.append(norm2(tensor - found) / norm2(tensor))
    assert abs(errors[0] / errors[1] - 1) < 1e-10


def test_components_are_as_ltrrnn_writes_them():
    # Three terms that a fit has to find again, as their three factors are independent (Kruskal).
    rng = np.random.default_rng(1)
    trials, columns, rows = (rng.normal(size=(n, 3)) for n in (20, 30, 30))
    tensor = ol.studies.matrices_tensor(np.einsum("ks,is,js->kij", trials, columns, rows))
    found = tensor.cp(3)
    # Exact: some rounding units, squared.
    assert found.unexplained < 1e-25
    assert found.freedom == 0
    assert not found.is_degenerate
    assert np.sum(found.similarity > 1 - 1e-9) >= 2
    np.testing.assert_allclose(np.linalg.norm(found.columns, axis=0), 1, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(found.rows, axis=0), 1, atol=1e-13)
    assert np.all(found.trials.sum(axis=0) > 0)
    assert np.all(np.diff(np.linalg.norm(found.trials, axis=0)) <= 0)
    sizes = np.linalg.norm(trials, axis=0) * np.linalg.norm(columns, axis=0) * np.linalg.norm(rows, axis=0)
    np.testing.assert_allclose(np.linalg.norm(found.trials, axis=0), np.sort(sizes)[::-1], rtol=1e-9)
    # With a term to spare, terms can move without changing their sum.
    assert tensor.cp(4, n_restarts=1).freedom > 0


def test_a_tensor_without_a_closest_one_of_its_rank_is_reported():
    # The derivative of a rank-1 tensor: rank 3, and a limit of tensors of rank 2 whose two terms cancel ever more.
    (a, b, c), (x, y, z) = np.eye(2)[0] * np.ones((3, 1)), np.eye(2)[1] * np.ones((3, 1))
    tensor = sum(np.einsum("k,i,j->kij", *part) for part in ((x, b, c), (a, y, c), (a, b, z)))
    components = ol.studies.matrices_tensor(tensor).cp(2)
    assert components.is_degenerate
    assert components.inflation > 10
    assert components.unexplained < 1e-3
    assert ol.studies.matrices_tensor(tensor).cp(3).unexplained < 1e-20


def test_more_terms_leave_less_and_the_exact_number_nothing(theory):
    shares = theory.change.unexplained(3, n_restarts=1)
    assert np.all(np.diff(shares) < 0)
    # The best single term is no worse than any other, such as that of the leading vectors of each unfolding.
    assert shares[0] <= 1 - (theory.change.singular_values(0)[0] / np.linalg.norm(theory.change.norm)) ** 2 * 0.2
    # No approximation of multilinear rank (1, 1, 1) beats the truncation of one unfolding.
    worst = max(1 - (s[0] ** 2) / np.sum(s**2) for s in (theory.change.singular_values(mode) for mode in range(3)))
    assert shares[0] >= worst


def test_eigenvalues_are_visible_and_singular_values_are_not():
    first = ol.Overlaps.random(LAYOUT, key=jax.random.key(3))
    # A -> 2 A, B -> B / 2: the visible overlaps stay.
    scale = np.where(LAYOUT.signature > 0, 2.0, 0.5)
    second = ol.Overlaps(first.gram * np.outer(scale, scale), LAYOUT)
    third = ol.equivalent(first, MODEL, uu=2 * first["u", "u"])
    tensors = [ol.studies.weight_tensor(ol.integrate(MODEL, TASK, start, RULE)) for start in (first, second, third)]
    visible = [np.sort_complex(tensor.eigenvalues[0]) for tensor in tensors]
    for values in visible[1:]:
        np.testing.assert_allclose(values, visible[0], atol=1e-13)
    np.testing.assert_allclose(visible[0], np.sort_complex(np.linalg.eigvals(np.asarray(first["v", "u"]))), atol=1e-13)
    assert abs(tensors[2].norm[0] / tensors[0].norm[0] - 1) > 0.1
    assert abs(tensors[1].change.norm[-1] / tensors[0].change.norm[-1] - 1) > 0.02
    for tensor in tensors:
        assert np.all((tensor.visible_share >= 0) & (tensor.visible_share <= 1 + 1e-12))
    assert tensors[2].visible_share[0] < tensors[0].visible_share[0]


def test_several_starts_at_once_are_each_as_alone(solution, theory):
    starts = ol.Overlaps(jnp.stack([ol.Overlaps.random(LAYOUT, key=jax.random.key(9)).gram, START.gram]), LAYOUT)
    batch = jax.vmap(lambda overlaps: ol.integrate(MODEL, TASK, overlaps, RULE, throw=False))(starts)
    tensor = ol.studies.weight_tensor(batch)
    assert tensor.core.shape == (2, *theory.core.shape)
    for mode in range(3):
        np.testing.assert_allclose(tensor.singular_values(mode)[1], theory.singular_values(mode), atol=1e-13)
    assert tensor.multilinear_rank().post.tolist() == [8, 8]
    one = jax.tree.map(lambda array: array[1], tensor)
    assert abs(one.cp(1).unexplained / theory.cp(1).unexplained - 1) < 1e-9
    with pytest.raises(ValueError, match=r"cp takes one tensor, and this is a batch: jax\.tree\.map"):
        tensor.cp(1)
    networks = ol.Network.sample(starts, 20, key=jax.random.key(1))
    run = ol.train(MODEL, TASK, networks, RULE, save_vectors=True, progress=False)
    own = ol.studies.weight_tensor(run)
    np.testing.assert_allclose(own.singular_values(2), tensor.singular_values(2), atol=1e-13)
    ended = eqx.tree_at(lambda s: s.time, batch, batch.time.at[0, -1].set(jnp.nan))
    with pytest.raises(ValueError, match=r"1 of 22 learning times .* ended early\) are not finite.*\[0, 10"):
        ol.studies.weight_tensor(ended)


def test_dependent_vectors_at_the_start_do_no_harm():
    gram = np.eye(8)
    gram[0, 7] = gram[7, 0] = 1.0
    start = ol.Overlaps(gram, LAYOUT)
    network = ol.Network.sample(start, 50, key=jax.random.key(0))
    tensor = ol.studies.weight_tensor(ol.integrate(MODEL, TASK, start, RULE))
    run = ol.train(MODEL, TASK, network, RULE, save_vectors=True, progress=False)
    # The second readout is the first input at the start, to the root of rounding.
    np.testing.assert_allclose(np.asarray(tensor.lift(network)), dense(run), rtol=0, atol=1e-12)
    assert np.sum(np.linalg.svd(tensor.basis(network), compute_uv=False) > 0.5) == 7


def test_weighted_neurons_count_by_their_weights():
    weights = np.linspace(0.5, 1.5, 50) / 50
    network = ol.Network(jax.random.normal(jax.random.key(5), (50, 8)), LAYOUT, weights)
    run = ol.train(MODEL, TASK, network, RULE, save_vectors=True, progress=False)
    theory = ol.studies.weight_tensor(ol.integrate(MODEL, TASK, network.overlaps, RULE))
    found = ol.studies.weight_tensor(run)
    for mode in (1, 2):
        np.testing.assert_allclose(found.singular_values(mode), theory.singular_values(mode), atol=1e-13)


def test_the_frame_of_neurons_that_leave_their_span_is_orthonormal():
    model = ol.Model(LAYOUT, ol.Erf())
    network = ol.Network.sample(START, 60, key=jax.random.key(2))
    learned = ol.train(model, TASK, network, ol.GradientDescent(5e-2, 60), save_vectors=True, progress=False)
    tensor = ol.studies.weight_tensor(learned)
    basis = tensor.basis()
    # Sums over 60 neurons. Directions of small singular values hold rounding of the large ones, until it is taken off.
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-13)
    np.testing.assert_allclose(np.asarray(tensor.lift()), dense(learned), atol=1e-12 * np.abs(dense(learned)).max())


def test_saved_vectors_are_kept_in_files_and_joined(full, tmp_path):
    _, run = full
    run.save(tmp_path / "run.nc")
    again = ol.load(tmp_path / "run.nc")
    np.testing.assert_array_equal(again.networks.vectors, run.networks.vectors)
    joined = ol.studies.joined([run, run])
    assert joined.networks.vectors.shape[0] == 2 * len(run.time)
    tensor = ol.studies.weight_tensor(again)
    tensor.save(tmp_path / "tensor.nc")
    import xarray

    with xarray.open_dataset(tmp_path / "tensor.nc", engine="h5netcdf") as data:
        np.testing.assert_array_equal(data["core"].values, tensor.core)
        assert data["singular_values_time"].sizes == {"time_component": 11}


def test_a_tensor_of_2000_points_of_rank_2_takes_a_tenth_of_a_second(solution):
    many = jax.tree.map(lambda array: jnp.tile(array, (182, *[1] * (array.ndim - 1))), (solution.time, solution.saved))
    long = eqx.tree_at(lambda s: (s.time, s.saved), solution, many)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        tensor = ol.studies.weight_tensor(long)
        core, ranks = tensor.core, tensor.matrix_ranks()
        taken.append(time.perf_counter() - began)
    assert core.shape == (2002, 8, 8)
    assert ranks.max() == 2
    assert min(taken) < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.transfer, r"solution must be an ol\.Solution of a network.*got ArrayImpl"),
        (
            lambda s: eqx.tree_at(lambda x: x.saved, s, {"gram": s.overlaps.gram}),
            r"no transfer matrices.*follow ol\.GradientDescent",
        ),
        (
            lambda s: eqx.tree_at(
                lambda x: (x.saved, x.final), s, ({"gram": s.overlaps.gram}, ol.Network(np.eye(8), LAYOUT))
            ),
            r"no transfer matrices.*ol\.train\(\.\.\., save_vectors=True\) keeps",
        ),
        (
            lambda s: eqx.tree_at(lambda x: x.saved["transfer"], s, s.transfer.at[3, 1, 0].set(jnp.nan)),
            r"1 of 704 transfer matrices are not finite, the first at index \[3, 1, 0\]",
        ),
        (
            lambda s: eqx.tree_at(lambda x: x.final, s, ol.Populations.from_overlaps(START)),
            r"populations.*ol\.Network\.quadrature",
        ),
    ],
)  # fmt: skip
def test_solutions_without_weights_are_refused(solution, make, message):
    with pytest.raises(ValueError, match=f"(?s)weight.tensor: .*{message}"):
        ol.studies.weight_tensor(make(solution))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.singular_values(3), r"mode must be 0 \(learning time\), 1 .* got 3"),
        (lambda t: t.singular_values(-1), r"mode must be 0 .*got -1"),
        (lambda t: t.cp(0), r"rank must be an integer from 1 to 64, .* got 0"),
        (lambda t: t.cp(65), r"rank must be an integer from 1 to 64, .* got 65"),
        (lambda t: t.cp(1.5), r"rank must be an integer from 1 to 64, .* got 1\.5"),
        (lambda t: t.cp(1, key=0), r"key must be one jax random key"),
        (lambda t: t.tucker((1, 9, 1)), r"the rank of post must be at most 8, got 9"),
        (lambda t: t.effective_rank(1.0), r"share must be between 0 and 1, got 1\.0"),
        (lambda t: t.lift(), r"pass the network at the start.*got None"),
        (lambda t: t.lift(ol.Network(np.eye(8), LAYOUT)), r"overlaps that learning started from; they differ by up to"),
        (lambda t: jax.tree.map(lambda a: a[:1] if a.ndim == 3 else a, t).change.cp(1), r"tensor is 0"),
        (lambda t: eqx.tree_at(lambda t: t.outgoing, t, 0 * t.outgoing).cp(1), r"tensor is 0"),
        (lambda t: ol.studies.matrices_tensor([]), r"give at least one matrix"),
        (lambda t: ol.studies.matrices_tensor([np.eye(3), np.eye(2)]), r"\[3, 3\], got \[2, 2\] for number 1"),
        (lambda t: ol.studies.matrices_tensor([np.full((2, 2), np.nan)]), r"4 of 4 entries of matrix 0 are not finite"),
        (lambda t: ol.studies.networks_tensor(ol.Network(np.eye(8), LAYOUT)), r"vectors \[S, N, d\].*got \[8, 8\]"),
    ],
)
def test_bad_input_is_named(theory, call, message):
    with pytest.raises(ValueError, match=message):
        call(theory)
