"""LSTM: long short-term memory that reads the words of a sentence, as a learner."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from overlap_learning.checks import check_key, count, floating, is_zero, scalar
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.tasks.task import Task


class LSTM(eqx.Module):
    """Layers of long short-term memory and a linear readout of the last.

    Each is the cell of equinox. From an input x and its state h, c, with the sigmoid s::

        i, f, g, o = s, s, tanh, s of (W_ih x + W_hh h + b), four blocks of N rows each
        c <- f c + i g
        h <- o tanh(c)

    and h is the input of the next layer.

    Args:
        layers: the cells, `weight_ih` [4N, E] (of the first) or [4N, N], `weight_hh` [4N, N], `bias` [4N].
        readout: the readout, `weight` [1, N], `bias` [1].

    Source: Schuessler et al. 2020, Fig. 5.

    Examples:
        >>> lstm = ol.training.LSTM.sample(n_inputs=5, n_units=8, key=jax.random.key(0))
        >>> {name: matrix.shape for name, matrix in lstm.matrices.items()}
        {'weight_hh_l0': (32, 8), 'weight_ih_l1': (32, 8), 'weight_hh_l1': (32, 8)}
    """

    layers: tuple[eqx.nn.LSTMCell, ...]
    readout: eqx.nn.Linear

    @classmethod
    def sample(
        cls, n_inputs: int, n_units: int, *, n_layers: int = 2, key: jax.Array, dtype: DTypeLike | None = None
    ) -> "LSTM":
        """A random start: entries uniform within `1 / sqrt(N)`, those of the first `weight_ih` within `1 / sqrt(E)`.

        Where the published program adds two such biases in each layer, and moves both, there is one here.

        Args:
            n_inputs: E, numbers of an input.
            n_units: N, units of each layer.
            n_layers: how many.
            key: a jax random key.
            dtype: of the parameters; None: float64 in jax's 64-bit mode, else float32.

        Raises:
            ValueError: if a size is none.
        """
        check_key(key, "LSTM.sample")
        sizes = [count(n_inputs, "LSTM.sample: n_inputs")]
        sizes += [count(n_units, "LSTM.sample: n_units")] * count(n_layers, "LSTM.sample: n_layers")
        of_readout, of_inputs, *of_cells = jax.random.split(key, len(sizes) + 1)
        layers = [
            eqx.nn.LSTMCell(before, n_units, dtype=dtype, key=of_cell)
            for before, of_cell in zip(sizes, of_cells, strict=False)
        ]
        # Equinox draws them within 1 / sqrt(N), too.
        drawn, limit = layers[0].weight_ih, n_inputs**-0.5
        wide = jax.random.uniform(of_inputs, drawn.shape, drawn.dtype, -limit, limit)
        layers[0] = eqx.tree_at(lambda cell: cell.weight_ih, layers[0], wide)
        return cls(tuple(layers), eqx.nn.Linear(n_units, 1, dtype=dtype, key=of_readout))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> "LSTM":
        """The LSTM of these arrays, as `arrays` gives them, and `solution.final` and a file of it.

        Raises:
            ValueError: if an array is missing or unknown, or shapes do not agree.
        """
        known = {name: floating(array, f"LSTM.from_arrays: {name}") for name, array in arrays.items()}
        shapes = {name: array.shape for name, array in known.items()}
        n_layers = sum(name.startswith("weight_hh_l") for name in known)
        first = [shapes.get(f"weight_{part}_l0", ()) for part in ("ih", "hh")]
        if not all(len(shape) == 2 and 0 not in shape for shape in first):
            raise ValueError(
                f"LSTM.from_arrays: arrays must be weight_ih_l0 [4N, E], weight_hh_l0 [4N, N], bias_l0 [4N], those of "
                f"further layers, readout_weight [1, N] and readout_bias [1]; got {shapes}."
            )
        blank = cls.sample(first[0][1], first[1][1], n_layers=n_layers, key=jax.random.key(0))
        needed = {name: array.shape for name, array in blank.arrays.items()}
        if shapes != needed:
            raise ValueError(f"LSTM.from_arrays: arrays must have shapes {needed}, got {shapes}.")
        return eqx.tree_at(lambda lstm: [*lstm.arrays.values()], blank, [known[name] for name in needed])

    @property
    def arrays(self) -> dict[str, jax.Array]:
        """All parameters by name: `weight_ih_l0`, `weight_hh_l0`, `bias_l0`, ..., `readout_weight`, `readout_bias`."""
        found = {
            f"{part}_l{i}": getattr(cell, part)
            for i, cell in enumerate(self.layers)
            for part in ("weight_ih", "weight_hh", "bias")
        }
        return found | {f"readout_{part}": getattr(self.readout, part) for part in ("weight", "bias")}

    @property
    def n_inputs(self) -> int:
        """E."""
        return self.layers[0].input_size

    @property
    def n_units(self) -> int:
        """N."""
        return self.layers[0].hidden_size

    @property
    def matrices(self) -> dict[str, jax.Array]:
        """What connects units, shape [4N, N] each: `weight_hh` of all layers, `weight_ih` of all but the first."""
        return {name: getattr(self.layers[i], part) for name, (i, part) in self._places.items()}

    def with_matrices(self, matrices: Mapping[str, jax.Array]) -> "LSTM":
        """The same LSTM with others of its `matrices`, by name."""
        where = [self._places[name] for name in matrices]
        return eqx.tree_at(lambda lstm: [getattr(lstm.layers[i], part) for i, part in where], self,
                           [*matrices.values()])  # fmt: skip

    @property
    def _places(self) -> dict[str, tuple[int, str]]:
        """The layer and the attribute of each of `matrices`, by its name."""
        pairs = [(i, part) for i in range(len(self.layers)) for part in ("weight_ih", "weight_hh")]
        return {f"{part}_l{i}": (i, part) for i, part in pairs[1:]}

    @eqx.filter_jit
    def __call__(self, inputs: jax.Array, factors: jax.Array | None = None) -> jax.Array:
        """The output after each input, shape [B, T, 1].

        Args:
            inputs: shape [B, T, E].
            factors: of the state that each layer hands on, shape [layers, T, B, N], as of dropout; None: 1.
        """
        h = jnp.moveaxis(inputs, 1, 0)
        for i, cell in enumerate(self.layers):
            h = _states(cell, h)
            h = h if factors is None else h * factors[i]
        assert self.readout.bias is not None
        return jnp.moveaxis(h @ self.readout.weight.T + self.readout.bias, 0, 1)


class LSTMLearner(AbstractLearner):
    """An `LSTM` that learns to tell positive sentences from negative ones, by any rule of the engine.

    The position is the LSTM; the vectors of words do not learn. A task has the number of a word at each step as its
    input (`ol.tasks.Sentences`), and the output of a step is read after it, unlike that of a rate network. If there is
    a second input, it is a seed of dropout: numbers that a layer hands on, to the next one or to the readout, are then
    0 with the probability p of dropout, and else `1 / (1 - p)` times as large.

    Args:
        lstm: an `LSTM`, whose shapes the learner's positions have.
        embeddings: the vector of each word, shape [V, E].
        dropout: the probability that a number is dropped, at least 0 and below 1.
        validation: a `Task`, whose loss and accuracy are saved while the LSTM learns; None: nothing is.
        rates: the relative learning rate of all parameters, or a pytree of the structure of an LSTM.

    Raises:
        ValueError: if the vectors are of another size than inputs of the LSTM, or dropout is no such probability.

    Source: Schuessler et al. 2020, Fig. 5.

    Examples:
        >>> import optax
        >>> from overlap_learning.learning.driver import learn
        >>> corpus = ol.tasks.synthetic_corpus(jax.random.key(0), sizes=(200, 50, 50), longest=8, mean_length=6)
        >>> lstm = ol.training.LSTM.sample(100, 4, n_layers=1, key=jax.random.key(1))
        >>> learner = ol.training.LSTMLearner(lstm, corpus.embeddings, validation=corpus.valid.task)
        >>> trials = ol.tasks.stream(corpus.train.draw, n_trials=16)
        >>> solution = learn(learner, trials, lstm, ol.Optimiser(optax.adam(1e-2), 20), jax.random.key(2))
        >>> solution.saved["validation_accuracy"].shape, list(solution.final)
        ((21,), ['bias_l0', 'readout_bias', 'readout_weight', 'weight_hh_l0', 'weight_ih_l0'])
        >>> trained = ol.training.LSTM.from_arrays(solution.final)
    """

    skips: ClassVar[bool] = True

    rates: Any
    embeddings: jax.Array
    dropout: jax.Array | None
    validation: Task | None

    def __init__(
        self,
        lstm: LSTM,
        embeddings: ArrayLike,
        *,
        dropout: ArrayLike = 0.0,
        validation: Task | None = None,
        rates: Any = 1.0,
    ):
        if not isinstance(lstm, LSTM):
            raise ValueError(f"LSTMLearner: lstm must be an ol.training.LSTM, got {type(lstm).__name__}.")
        dtype = lstm.readout.weight.dtype
        self.embeddings = floating(embeddings, "LSTMLearner: embeddings").astype(dtype)
        if self.embeddings.ndim != 2 or self.embeddings.shape[1] != lstm.n_inputs:
            raise ValueError(
                f"LSTMLearner: embeddings must have shape [V, {lstm.n_inputs}], the LSTM's inputs, got "
                f"{list(self.embeddings.shape)}."
            )
        share = scalar(dropout, "LSTMLearner: dropout", "at least 0 and below 1", 0, 1 - 1e-6, open_low=False)
        # Drawing what is to be kept takes as long as a small step.
        self.dropout = None if is_zero(dropout) else share
        self.validation = None if validation is None else validation.astype(dtype)
        plain = isinstance(rates, (int, float))
        self.rates = jax.tree.map(lambda a: jnp.asarray(rates, a.dtype), lstm) if plain else rates

    def outputs(self, position: LSTM, task: Task) -> jax.Array:
        """The output after each word, shape [B, T, 1].

        Raises:
            ValueError: if the task has other inputs than words and seeds.
        """
        if task.n_in not in (1, 2):
            raise ValueError(
                f"LSTMLearner: inputs must be the number of a word and, with dropout, a seed, as in sentences.task and "
                f"ol.tasks.stream(sentences.draw, n_trials=...) of ol.tasks.Sentences, got {task.n_in} channels."
            )
        # A word without a vector is NaN, and no other word: the run ends at once, and says so.
        vectors = self.embeddings.at[task.inputs[..., 0].astype(int)].get(
            mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
        )
        if task.n_in == 1 or self.dropout is None:
            return position(vectors)
        return position(vectors, self._factors(position, task, self.dropout))

    def loss(self, position: LSTM, task: Task) -> jax.Array:
        return task.loss(self.outputs(position, task))

    def gradient(self, position: LSTM, task: Task) -> tuple[jax.Array, LSTM]:
        return jax.value_and_grad(self.loss)(position, task)

    def accuracy(self, position: LSTM, task: Task) -> jax.Array:
        """The share of sentences whose output is on the right side of 0, shape []."""
        return _accuracy(self.outputs(position, task), task)

    def observe(self, position: LSTM) -> dict[str, jax.Array]:
        if self.validation is None:
            return {}
        outputs = self.outputs(position, self.validation)
        return {
            "validation_loss": self.validation.loss(outputs),
            "validation_accuracy": _accuracy(outputs, self.validation),
        }

    def final(self, position: LSTM) -> dict[str, jax.Array]:
        return position.arrays

    def _factors(self, position: LSTM, task: Task, dropout: jax.Array) -> jax.Array:
        """Of what each layer hands on, shape [layers, T, B, N]: 0 if it is dropped."""
        shape = (len(position.layers), task.n_steps, position.n_units)
        kept = jnp.float32(1) - dropout.astype(jnp.float32)

        def of_trial(seed):
            return jax.random.bernoulli(jax.random.key(seed), kept, shape)

        # What a trial drops depends on its own seed alone, not on the others of its batch.
        is_kept = jax.vmap(of_trial, out_axes=2)(task.inputs[:, 0, 1].astype(jnp.uint32))
        return is_kept.astype(task.inputs.dtype) / kept.astype(task.inputs.dtype)


def _states(cell: eqx.nn.LSTMCell, inputs: jax.Array) -> jax.Array:
    """The states h of a layer, shape [T, B, N], of inputs [T, B, E]; at first all is 0."""

    def step(state, x):
        state = jax.vmap(cell)(x, state)
        return state, state[0]

    zero = jnp.zeros((inputs.shape[1], cell.hidden_size), inputs.dtype)
    return lax.scan(step, (zero, zero), inputs)[1]


def _accuracy(outputs: jax.Array, task: Task) -> jax.Array:
    counts = task.weights > 0
    is_right = (outputs > 0) == (task.targets > 0.5)
    return jnp.sum(counts & is_right) / jnp.sum(counts)
