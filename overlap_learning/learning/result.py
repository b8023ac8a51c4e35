"""Results: what has labelled data, is a table in notebooks, and can be kept in a file."""

import abc
import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import first_rows, is_traced
from overlap_learning.learning.files import write
from overlap_learning.module import Module
from overlap_learning.printed import as_html

if TYPE_CHECKING:
    import pandas
    import xarray

    from overlap_learning.model.activations import AbstractActivation
    from overlap_learning.model.bulk import AbstractBulk


class AbstractResult(Module):
    """A result: labelled data, tidy tables, and files that are read back to the last bit.

    Attributes:
        table: the variable of `to_xarray` that `to_pandas` makes a table of.
    """

    table: ClassVar[str] = "loss"

    @abc.abstractmethod
    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset."""

    def to_pandas(self, name: str | None = None) -> "pandas.DataFrame":
        """A tidy table of one variable of `to_xarray()`: one row per number, its labels and what it belongs to beside.

        Further columns are variables that have no dimensions but some of its own, such as the loss beside overlaps.

        Args:
            name: the variable; None: the main one.

        Raises:
            ValueError: if there is no such variable.
        """
        data = self.to_xarray()
        if name is None:
            # What a learner without a model learned has no overlaps.
            name = self.table if self.table in data else "loss"
        if name not in data.data_vars:
            has = ", ".join(map(str, data.data_vars))
            raise ValueError(f"{type(self).__name__}.to_pandas: there is no variable {name!r}; there are {has}.")
        dims = set(data[name].dims)
        beside = [key for key in data.data_vars if key != name and set(data[key].dims) <= dims]
        # Of a single number, a table of one row.
        table = data[[*beside, name]] if dims else data[[*beside, name]].expand_dims("row")
        return table.drop_vars([key for key in table.coords if not set(table[key].dims) <= dims]).to_dataframe(
            dim_order=list(table[name].dims)
        ).reset_index()  # fmt: skip

    def to_file(self) -> "xarray.Dataset":
        """What `save` writes: `to_xarray()`, and whatever else of the result it takes to read it back."""
        from overlap_learning.learning.objects import taken_apart

        return taken_apart(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NetCDF-4 file, whole or not at all; its class reads it back, `load(path)`.

        Args:
            path: the file; an existing one is replaced once the new one is complete.
        """
        write(self.to_file(), path)

    @classmethod
    def from_file(
        cls,
        data: "xarray.Dataset",
        activation: "AbstractActivation | None" = None,
        bulk: "AbstractBulk | None" = None,
    ) -> Self:
        """What `to_file` took apart; arguments as for `load`."""
        from overlap_learning.learning.objects import put_together

        return put_together(cls, data, activation, bulk)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        activation: "AbstractActivation | None" = None,
        bulk: "AbstractBulk | None" = None,
    ) -> Self:
        """Read what `save` wrote, equal to the saved result to the last bit.

        Args:
            path: the file.
            activation: the activation, for a model with a function of your own, which no file can hold.
            bulk: the ensemble of the bulk, likewise.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not, to the last bit, as it was written, or of another kind or version.
        """
        from overlap_learning.learning.objects import load

        return load(cls, path, activation, bulk)

    def __repr__(self) -> str:
        if is_traced(self):
            return f"{type(self).__name__}({eqx.tree_pformat(jax.tree.leaves(self))})"
        data = self.to_xarray()
        rows = [f"{type(self).__name__}: {data.attrs.get('title', 'labelled data')}"]
        rows.append(f"  {'':<26}{'over':<34}{'least':>12}{'greatest':>14}")
        return "\n".join([*rows, *first_rows([_row(str(name), each) for name, each in data.data_vars.items()])])

    def _repr_html_(self) -> str:
        return as_html(repr(self))


def _row(name: str, variable: "xarray.DataArray") -> str:
    """A variable of a dataset in a printed table: its dimensions, and the range of its numbers."""
    over = ", ".join(f"{dim} {size}" for dim, size in variable.sizes.items())
    values = variable.values[np.isfinite(variable.values)] if variable.dtype.kind in "fiu" else np.zeros(0)
    ends = (f"{values.min():.5g}", f"{values.max():.5g}") if values.size else ("", "")
    return f"  {name:<26}{over:<34}{ends[0]:>12}{ends[1]:>14}"


def labelled(title: str, **variables: tuple[Any, Any, str] | None) -> "xarray.Dataset":
    """A dataset of variables, each with its dimensions, values and meaning; those that are None are left out."""
    import xarray

    found: dict[Any, Any] = {
        name: (dims, np.asarray(values), {"long_name": meaning})
        for name, (dims, values, meaning) in ((name, found) for name, found in variables.items() if found is not None)
    }
    return xarray.Dataset(found, attrs={"title": title})
