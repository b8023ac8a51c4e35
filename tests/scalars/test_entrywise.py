"""Loops written out in single numbers: the same as jax.lax.scan, in one run, in batches and under derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from overlap_learning.scalars import entrywise
from overlap_learning.scalars.entrywise import number_by_number, scan
from overlap_learning.scalars.graph import Graph, Number

# Rounding of some 100 operations on numbers near 1, in another order.
TOLERANCE = 100 * np.finfo(float).eps

A = jnp.array([[0.3, -0.5, 0.2], [0.1, 0.4, -0.3], [-0.2, 0.6, 0.1]])


def rich(carry, x):
    """Most of what a step may have in it."""
    matrix, count, going = carry
    turned = jnp.concatenate([matrix[1:], matrix[:1]])[::-1].T
    wide = jnp.pad(turned, ((0, 1), (2, 0)), constant_values=0.5)
    blocks = jnp.einsum("bij,bjk->bik", jnp.stack([matrix, turned]), jnp.stack([A, A.T]))
    inner, _ = scan(lambda c, _: (0.5 * c + jnp.trace(matrix) / (1 + c * c), None), jnp.ones(()), length=3)
    chosen = lax.cond(jnp.sum(wide) > x[0], lambda m: jnp.tanh(m @ A), lambda m: m - A, matrix)
    moved = jnp.where(jnp.eye(3, dtype=bool), blocks[0], blocks[1]) / (1 + jnp.max(jnp.abs(blocks))) + 0.1 * chosen
    moved = moved + x[1] * inner * jnp.outer(jnp.diagonal(matrix), wide[3, :3])
    going = going & jnp.all(jnp.isfinite(moved)) & (jnp.min(moved) < 5.0)
    state = (jnp.where(going, moved, matrix), count + 1, going)
    return state, {"norm": jnp.sqrt(jnp.sum(moved**2)), "half": moved[::2, None], "count": count}


def by_lax(step, state, inputs=None, length=None):
    return lax.scan(step, state, inputs, length)


START = (A, jnp.array(0), jnp.array(True))
INPUTS = jnp.linspace(-1.0, 1.0, 10).reshape(5, 2)


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        scale = np.max(np.abs(np.asarray(other, float)), initial=1.0)
        np.testing.assert_allclose(np.asarray(mine, float), np.asarray(other, float), rtol=0, atol=TOLERANCE * scale)


def is_written_out(function, *arguments):
    return "scan_written_out" in str(jax.make_jaxpr(function)(*arguments))


def test_a_loop_of_many_kinds_of_operations_is_written_out_and_the_same():
    assert is_written_out(lambda start: scan(rich, start, INPUTS), START)
    starts = jax.tree.map(lambda a: jnp.stack([a, a]), START)
    found, wanted = (
        jax.jit(jax.vmap(lambda start, loop=loop: loop(rich, start, INPUTS)))(starts) for loop in (scan, by_lax)
    )
    same(found, wanted)


@pytest.mark.parametrize("length", [1, 4])
def test_a_loop_without_inputs_of_any_length(length):
    def step(c, _):
        return A @ c, c[0]

    for many in (jax.vmap, lambda f: f):
        found, wanted = (jax.jit(many(lambda c, loop=loop: loop(step, c, length=length)))(A) for loop in (scan, by_lax))
        same(found, wanted)


def loss(loop, scale, start=A):
    (end, _, _), outputs = loop(rich, (scale * start, *START[1:]), INPUTS)
    return jnp.sum(end**2) + jnp.sum(outputs["norm"])


TRANSFORMED = {
    "vmap": lambda f: jax.vmap(f),
    "vmap of vmap": lambda f: lambda x: jax.vmap(jax.vmap(f))(x[:, None] * jnp.ones(2)),
    "reverse": lambda f: jax.vmap(jax.grad(f)),
    "reverse outside a batch": lambda f: jax.grad(lambda x: jnp.sum(jax.vmap(f)(x))),
    "forward": lambda f: lambda x: jax.jvp(jax.vmap(f), (x,), (jnp.ones_like(x),)),
    "second": lambda f: lambda x: jax.hessian(f)(x[0]),
}


@pytest.mark.parametrize("transform", TRANSFORMED.values(), ids=TRANSFORMED)
def test_batches_and_derivatives_are_those_of_lax_scan(transform):
    scales = jnp.array([0.5, 1.0, 1.5])
    found, wanted = (jax.jit(transform(lambda s, loop=loop: loss(loop, s)))(scales) for loop in (scan, by_lax))
    same(found, wanted)


def test_what_is_known_when_the_program_is_made_may_be_all_there_is():
    same(jax.jit(lambda: scan(rich, START, INPUTS))(), by_lax(rich, START, INPUTS))
    starts = jnp.stack([A, 0.5 * A])
    found = jax.jit(lambda: jax.vmap(lambda start: loss(scan, 1.0, start))(starts))()
    same(found, jnp.stack([loss(by_lax, 1.0), loss(by_lax, 0.5)]))


def test_a_batch_larger_than_what_a_processor_does_in_one_go():
    def step(c, _):
        return c * 0.5 + 1.0, None

    ends, _ = jax.jit(jax.vmap(lambda c: scan(step, c, length=2)))(jnp.arange(300_000.0))
    same(ends, jnp.arange(300_000.0) * 0.25 + 1.5)


BIG = jnp.ones((30, 30))
IMPOSSIBLE = {
    "random numbers": lambda c, _: (c + jax.random.normal(jax.random.key(0), (3, 3)), None),
    "a decomposition": lambda c, _: (jnp.linalg.qr(c)[0], None),
    "a large array": lambda c, _: (c + jnp.mean(jnp.sin(BIG + c[0, 0])), None),
    "indices known late": lambda c, _: (c.at[jnp.argmax(c[0])].add(0.1), None),
    "entries out of bounds": lambda c, _: (c + jnp.take(c[0], jnp.array([0, 7, 2]), fill_value=0.5), None),
    "a product in another precision": lambda c, _: (
        c + jnp.dot(*[c.astype(jnp.float32)] * 2, preferred_element_type=jnp.float64),
        None,
    ),
    "nothing to add up": lambda c, _: (c + jnp.sum(c[:, :0]) + c[:, :0] @ c[:0], None),
    "an effect": lambda c, _: (c + 1, jax.debug.callback(lambda: None)),
    "a derivative of its own": lambda c, _: (jax.nn.relu(c), None),
}


@pytest.mark.parametrize("step", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_written_out_is_done_by_lax_scan(step):
    assert not is_written_out(lambda c: scan(step, c, length=2), A)
    same(jax.jit(lambda c: scan(step, c, length=2))(A), by_lax(step, A, length=2))


def test_a_loop_without_steps():
    same(scan(rich, START, INPUTS[:0]), by_lax(rich, START, INPUTS[:0]))


def test_one_number_that_is_not_finite_leaves_those_alone_that_do_not_depend_on_it():
    def step(carry, _):
        bad, matrix = carry
        for _ in range(6):
            matrix = jnp.tanh(matrix @ matrix + 0.1 * matrix.T)
        return (2 * bad, matrix), matrix[0, 0] > 0

    bad = jnp.array([jnp.nan, jnp.inf, 1.0])
    found, wanted = (
        jax.jit(jax.vmap(lambda b, loop=loop: loop(step, (b, A), length=3)))(bad) for loop in (scan, by_lax)
    )
    same(found[0][1], wanted[0][1])
    same(found[1], wanted[1])


def test_what_is_not_needed_may_be_anything():
    def step(c, _):
        unused = jax.random.normal(jax.random.key(0), (30, 30)) + BIG
        return A @ c, jax.eval_shape(lambda x: x, unused).shape[0] * c[0]

    assert is_written_out(lambda c: scan(step, c, length=2), A[0])


def test_a_batch_is_done_by_single_numbers_and_one_run_as_it_is():
    """In single numbers there are no matrix products left."""

    def run(start):
        return scan(lambda c, _: (A @ c, None), start, length=2)[0]

    assert "dot_general" in jax.jit(run).lower(A).as_text()
    assert "dot_general" not in jax.jit(jax.vmap(run)).lower(A[None]).as_text()


def test_structural_zeros_cost_nothing_and_what_occurs_twice_is_calculated_once():
    graph, a, b = Graph(), Number(None, 0, np.dtype(float)), Number(None, 0, np.dtype(float))
    assert graph.times(a, np.float64(0.0)) == 0.0
    assert graph.times(np.float64(1.0), b) is b
    assert graph.apply("add", lax.add, (np.float64(0.0), b), b.dtype) is b
    assert graph.operations == []
    assert graph.times(a, b) is graph.times(b, a)
    assert graph.apply("sub", lax.sub, (a, b), a.dtype) is not graph.apply("sub", lax.sub, (b, a), a.dtype)
    assert len(graph.operations) == 3


def test_numbers_used_in_many_places_are_kept_exactly():
    """Division by 1 is exact, also of truth values, infinities and NaN; integers are left alone."""
    graph = Graph()
    x = Number(None, 0, np.dtype(float))
    outputs = [x]
    for _ in range(12):
        # Each uses the one before many times, so that it is worth keeping.
        total = outputs[-1]
        for k in range(5):
            total = graph.apply("add", lax.add, (total, graph.times(outputs[-1], np.float64(0.1 * k + 0.1))), x.dtype)
        outputs.append(total)
    for value in (0.3, jnp.inf, jnp.nan):
        found = graph.run(outputs, {x: jnp.asarray(value)})
        wanted = [value]
        for _ in range(12):
            total = wanted[-1]
            for k in range(5):
                total = total + wanted[-1] * np.float64(0.1 * k + 0.1)
            wanted.append(total)
        np.testing.assert_array_equal(np.array(found, float), np.array(wanted, float))


def test_a_loop_of_too_many_numbers_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr("overlap_learning.scalars.graph.MOST_NUMBERS", 20)
    assert not is_written_out(lambda c: scan(lambda c, _: (A @ c, None), c, length=2), A)
    monkeypatch.setattr("overlap_learning.scalars.graph.MOST_NUMBERS", 200)
    assert is_written_out(lambda c: scan(lambda c, _: (A @ c, None), c, length=2), A)
    monkeypatch.setattr(entrywise, "LARGEST_ARRAY", 8)
    assert not is_written_out(lambda c: scan(lambda c, _: (A @ c, None), c, length=2), A)


class TestNumberByNumber:
    @staticmethod
    def function(matrix, things):
        product = jnp.pad(matrix @ things["by"], ((0, 1), (0, 0))) @ jnp.where(jnp.eye(3) > 0, things["turn"], 0.0)
        return {"trace": jnp.trace(product[:3]), "all": product / 3, "none": jnp.zeros((0, 2))}

    @staticmethod
    def arguments():
        a, b, c = jax.random.normal(jax.random.key(0), (3, 3, 3))
        # Nothing depends on the last, which is too large to be written out.
        return a, {"by": b, "turn": c, "unused": jnp.zeros((50, 50))}

    def test_it_gives_the_results_and_derivatives_of_the_function(self):
        arguments = self.arguments()
        written = number_by_number(self.function)
        # Sums of three products of three numbers of order 1.
        close = {"rtol": 0, "atol": 50 * np.finfo(float).eps}
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, **close), written(*arguments), self.function(*arguments)
        )

        def slope(function):
            return jax.jit(jax.hessian(lambda a: jnp.square(function(a, arguments[1])["trace"])))(arguments[0])

        np.testing.assert_allclose(slope(written), slope(self.function), rtol=0, atol=500 * np.finfo(float).eps)

    def test_what_is_large_remains_as_it_is(self, monkeypatch):
        expected = str(jax.make_jaxpr(self.function)(*self.arguments()))

        def now():
            return str(jax.make_jaxpr(number_by_number(self.function))(*self.arguments()))

        assert now() != expected
        assert "dot_general" not in now()
        monkeypatch.setattr("overlap_learning.scalars.entrywise.MOST_ALONE", 10)
        assert now() == expected


def test_a_loop_with_an_array_taken_apart_is_written_out():
    def step(state, _):
        first, second = jnp.unstack(state)
        return jnp.stack([second, first + 0.5 * second]), None

    starts = jnp.arange(6.0).reshape(3, 2)
    assert is_written_out(lambda start: scan(step, start, length=3)[0], starts[0])
    found, wanted = (
        jax.vmap(lambda start, loop=loop: loop(step, start, length=3)[0])(starts) for loop in (scan, by_lax)
    )
    same(found, wanted)
