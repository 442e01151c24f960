"""Columns of data sets read at once, where ``datasets`` formats them row by row.

mteb hands a column of labels as it is to seven metrics of scikit-learn, each of which makes arrays of it, and draws
training texts label by label: of Banking77 that is 1.35 million formatted rows, two thirds of the whole evaluation.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from datasets import arrow_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator


class WholeColumn(arrow_dataset.Column):
    """A column that reads all of its values when the first is asked for."""

    @functools.cached_property
    def _values(self) -> Any:  # noqa: ANN401 - a list, or what the data set's format makes of it
        return super().__getitem__(slice(None))

    def __iter__(self) -> Iterator[Any]:
        """One value after the other."""
        return iter(self._values)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - as the column it replaces
        """A value, or several; by a name: a column within."""
        if isinstance(key, int | slice):
            return self._values[key]
        return super().__getitem__(key)


@contextlib.contextmanager
def whole_columns() -> Iterator[None]:
    """Let data sets give such columns; for code that asks for few columns, and for all of their values."""
    column = arrow_dataset.Column
    arrow_dataset.Column = WholeColumn
    try:
        yield
    finally:
        arrow_dataset.Column = column
