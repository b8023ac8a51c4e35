"""The theory of many networks: time per network in a batch, and growth with rank and with the number of time steps."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax

import overlap_learning as ol
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

THEORY = "ol.integrate, lax.map in batches"
#: Networks in one compiled call, at most; more go through it in turns, one call on each core at a time.
CHUNK = 500
#: Of these, so many at a time go through their steps together: what docs/how-to/speed.md recommends on a CPU.
TOGETHER = 32
CORES = os.cpu_count() or 1
#: More than a chunk that would take longer, by the time per network of the size before, is left out.
LONGEST = 40.0


def case(n_networks: int, n_steps: int) -> str:
    """The name of the comparison for so many networks."""
    return f"filter, T = 401, {n_steps:,} steps, {n_networks:,} network{'s' if n_networks > 1 else ''} at once"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    yield from _networks(
        (1, 10) if quick else (1, 10, 100, 1000, 10_000, 100_000), 100 if quick else setting.FILTER_STEPS
    )
    yield from _times((100, 1000) if quick else (100, 1000, 10_000), 20 if quick else 200)
    yield _ranks((1, 2) if quick else (1, 2, 4, 8), 20 if quick else 200)


def _networks(sizes: tuple[int, ...], n_steps: int) -> Iterator[Comparison]:
    per_network = 0.0
    for n in sizes:
        if n > CHUNK and n * per_network > LONGEST:
            return
        rows = yield batch(n, n_steps)
        per_network = 0.0 if rows is None else rows[-1].seconds


def batch(n_networks: int, n_steps: int) -> Comparison:
    """So many networks at once beside one in the C loop, per network."""
    model, task = setting.linear(), setting.filter_task()
    rule = ol.GradientDescent(setting.LEARNING_RATE, n_steps, save_every=n_steps)
    keys = jax.random.split(jax.random.key(2), n_networks)
    grams = jax.vmap(lambda key: ol.Overlaps.random(model.layout, key=key, scale=500**-0.5).gram)(keys)

    def learn(some):
        # One chunk's results are waited for before the next: memory is that of a chunk for each core.
        return jax.block_until_ready(_learn(model, task, some, rule))

    def run():
        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(learn, [grams[k : k + CHUNK] for k in range(0, n_networks, CHUNK)]))

    first = ol.Overlaps(grams[0], model.layout)
    return Comparison(
        case(n_networks, n_steps),
        "network",
        [
            *setting.c_side(task, first, n_steps, n_steps),
            Side(THEORY, run, n_networks, {"n_networks": n_networks}),
        ],
        lambda c, theory: setting.furthest(c.gram[-1], theory[0][0][0]),
    )


@eqx.filter_jit
def _learn(model: ol.Model, task: ol.Task, grams: jax.Array, rule: ol.GradientDescent) -> tuple:
    """Overlaps, loss and result code at the end, of each network."""

    def one(gram):
        solution = ol.integrate(model, task, ol.Overlaps(gram, model.layout), rule, throw=False)
        return solution.final.gram, solution.loss[-1], solution.result

    return jax.lax.map(one, grams, batch_size=TOGETHER)


def _times(sizes: tuple[int, ...], n_steps: int) -> Iterator[Comparison]:
    model = setting.linear()
    begin = setting.start(model)
    rule = ol.GradientDescent(setting.LEARNING_RATE, n_steps, save_every=n_steps)
    for n_times in sizes:
        task = setting.filter_task(n_times)
        sides = [
            *setting.c_side(task, begin, n_steps, n_steps, n_steps),
            Side(
                "ol.integrate", lambda task=task: ol.integrate(model, task, begin, rule), n_steps, {"n_times": n_times}
            ),
        ]
        yield Comparison(
            f"filter, T = {n_times + 1:,}",
            "training step",
            sides,
            lambda c, theory: setting.furthest(c.gram, theory.overlaps.gram),
        )


def _ranks(ranks: tuple[int, ...], n_steps: int) -> Comparison:
    task = setting.filter_task()
    rule = ol.GradientDescent(setting.LEARNING_RATE, n_steps, save_every=n_steps)

    def side(rank):
        model = setting.linear(rank)
        begin = setting.start(model)
        name = f"rank {rank}, {model.layout.n_overlaps} overlaps"
        return Side(name, lambda: ol.integrate(model, task, begin, rule), n_steps, {"rank": rank})

    return Comparison(
        "filter, T = 401, ol.integrate at rank 1 and higher", "training step", [side(rank) for rank in ranks]
    )
