"""What a figure is: parameters, and panels that say what to compute and how to draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nf_isac_ros.figures.parameters import Settings

# The processes of a sweep draw nothing, and need not wait for matplotlib.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Columns of equal length by name; a name ends in its unit.
Table = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """
    A piece of a sweep.

    Tasks with the same function and arguments are run once, whatever panels want them.

    Attributes
    ----------
    function : callable
        At the top level of a module; returns a Table.
    arguments : tuple
        Hashable.

    """

    function: Callable[..., Table]
    arguments: tuple[Any, ...]

    def run(self) -> Table:
        """Run it here."""
        return self.function(*self.arguments)


@dataclass(frozen=True)
class Panel:
    """
    One picture and the table behind it.

    Attributes
    ----------
    caption : str
        What is seen.
    columns : tuple of str
        Of the CSV file.
    tasks : callable
        (parameters) -> tasks; their tables one below the other are the panel's.
    draw : callable
        (axes, table, parameters) draws the picture.
    timed : bool
        The tasks measure times: they run here, alone, one after the other.

    """

    caption: str
    columns: tuple[str, ...]
    tasks: Callable[[Any], Sequence[Task]]
    draw: Callable[[Axes, Table, Any], None]
    timed: bool = False


@dataclass(frozen=True)
class Figure:
    """
    A figure of the paper.

    Attributes
    ----------
    title : str
    parameters : type
        Dataclass; its defaults are the values of the paper.
    panels : mapping of str to Panel
        By letter.

    """

    title: str
    parameters: type[Settings]
    panels: Mapping[str, Panel]


def table(**columns: Any) -> Table:
    """Columns of equal length; single values are repeated."""
    even = np.broadcast_arrays(*map(np.atleast_1d, columns.values()))
    return {name: column.copy() for name, column in zip(columns, even)}


def stacked(tables: Sequence[Table], columns: Sequence[str]) -> Table:
    """Put tables one below the other, of these columns only."""
    return {name: np.concatenate([part[name] for part in tables]) for name in columns}


def where(rows: Table, **values: object) -> Table:
    """Rows in which these columns have these values."""
    keep = np.ones(len(next(iter(rows.values()))), dtype=bool)
    for name, value in values.items():
        keep &= rows[name] == value
    return {name: column[keep] for name, column in rows.items()}
