"""
Rows of cycles, with the unit at the end of every column's name; docs/replay.md explains them.

What is not known is empty (null), also where messages have NaN for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter
from pyarrow.parquet import ParquetFile, ParquetWriter

from nf_isac_ros.core.reports import BoundReport, CycleReport
from nf_isac_ros.core.solution import TargetReport, UserReport
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.replay.inputs import Radio

Row = dict[str, Any]
Vector = NDArray[np.float64]

RECORDED, REDESIGNED = 'recorded', 'redesigned'
TARGET, USER = 'target', 'user'

# Columns that every table has, in this order.
COLUMNS: Mapping[str, pa.DataType] = {
    'bag': pa.string(), 'mode': pa.string(), 'cycle': pa.int64(), 'time_s': pa.float64(),
    'cycle_stamp_s': pa.float64(), 'transmit_time_s': pa.float64(), 'sequence': pa.int64(),
    'design': pa.string(), 'designed_as': pa.string(), 'quality': pa.string(),
    'reason': pa.string(), 'objective': pa.float64(), 'bound': pa.float64(), 'gap': pa.float64(),
    'sum_crb_m2': pa.float64(), 'isotropic_sum_crb_m2': pa.float64(), 'power_w': pa.float64(),
    'iterations': pa.int64(), 'warm': pa.bool_(), 'cycle_ms': pa.float64(),
    'pose_to_beam_ms': pa.float64(), 'overruns': pa.int64(), 'radio_armed': pa.bool_(),
    'radio_muted': pa.bool_(), 'radio_mute_reason': pa.string(), 'radio_power_w': pa.float64(),
}
# Columns of bodies that are no numbers.
_BODY_TYPES = {'state': pa.string(), 'near_field': pa.bool_()}
_PAIRS = (('xx', 0, 0), ('xy', 0, 1), ('xz', 0, 2), ('yy', 1, 1), ('yz', 1, 2), ('zz', 2, 2))
# Quantities of bodies in the order of their columns.
_QUANTITIES = (
    'root_crb_m', 'isotropic_root_crb_m', 'required_sinr_db', 'sinr_db', 'seen_sinr_db',
    'illumination_w', 'near_field', 'state', 'age_s', 'x_m', 'y_m', 'z_m',
    *(f'crb_{name}_m2' for name, *_ in _PAIRS), 'root_crb_range_m', 'root_crb_direction_rad',
    'root_crb_orientation_rad')
STAGE = 'stage.'


def column(role: str, body: str, quantity: str) -> str:
    """Name of a column of a body, as target.t1.root_crb_m."""
    return f'{role}.{body}.{quantity}'


def split_column(name: str) -> tuple[str, str, str] | None:
    """Role, id and quantity of a column; None if it is not that of a body."""
    role, _, rest = name.partition('.')
    body, _, quantity = rest.rpartition('.')
    return (role, body, quantity) if role in (TARGET, USER) and body else None


def bodies_of(names: Iterable[str], role: str) -> list[str]:
    """Ids of the bodies of a role that columns are about, sorted."""
    found = (split_column(name) for name in names)
    return sorted({parts[1] for parts in found if parts is not None and parts[0] == role})


def cycle_row(report: CycleReport, bounds: BoundReport | None, radio: Radio | None) -> Row:
    """
    Row of one cycle; the columns that say which cycle it is are left to the caller.

    Parameters
    ----------
    report : CycleReport
    bounds : BoundReport or None
        None for a cycle without beams, or whose bounds got lost.
    radio : Radio or None
        The newest status of the radio.

    """
    row: Row = {
        'transmit_time_s': report.transmit_time, 'sequence': report.sequence,
        'design': report.design, 'quality': report.quality.name.lower(),
        'reason': report.reason or None, 'objective': report.objective, 'bound': report.bound,
        'gap': report.gap, 'power_w': report.power, 'iterations': report.iterations,
        'warm': report.warm, 'cycle_ms': report.cycle_ms,
        'pose_to_beam_ms': report.pose_to_beam_ms, 'overruns': report.overruns,
        **{f'{STAGE}{stage}_ms': value for stage, value in report.stages_ms.items()}}
    for user in report.users:
        _set(row, USER, user.id, **_user(user))
    for track in report.tracks:
        _set(row, track.role.value, track.id, age_s=track.age, state=track.state.name.lower())
    if bounds is not None:
        row |= {'sum_crb_m2': bounds.sum_crb, 'isotropic_sum_crb_m2': bounds.isotropic_sum_crb}
        for target in bounds.targets:
            _set(row, TARGET, target.id, **_target(target))
    if radio is not None:
        row |= {'radio_armed': radio.armed, 'radio_muted': radio.muted,
                'radio_mute_reason': radio.reason or None, 'radio_power_w': radio.power}
        for user in radio.users:
            _set(row, USER, user.id, seen_sinr_db=user.sinr_db)
    return row


def place(row: Row, role: Role, body: str, position: Vector) -> None:
    """Add the position of a body [m] to a row."""
    _set(row, role.value, body, **dict(zip(('x_m', 'y_m', 'z_m'), map(float, position))))


def _set(row: Row, role: str, body: str, **values: Any) -> None:
    row.update((column(role, body, quantity), value) for quantity, value in values.items())


def _user(user: UserReport) -> Row:
    return {'required_sinr_db': user.required_sinr_db, 'sinr_db': user.sinr_db,
            'near_field': user.near_field}


def _target(target: TargetReport) -> Row:
    values: Row = {
        'root_crb_m': _root(float(np.trace(target.crb))),
        'isotropic_root_crb_m': _root(target.isotropic_crb),
        'illumination_w': target.illumination, 'near_field': target.near_field,
        **dict(zip(('x_m', 'y_m', 'z_m'), map(float, target.position))),
        **{f'crb_{name}_m2': float(target.crb[i, j]) for name, i, j in _PAIRS}}
    if target.bounds is not None:
        for k, name in enumerate(target.bounds.names):
            if name in ('range', 'direction', 'orientation'):
                unit = 'm' if name == 'range' else 'rad'
                values[f'root_crb_{name}_{unit}'] = _root(float(target.bounds.covariance[k, k]))
    return values


def _root(variance: float) -> float:
    return sqrt(variance) if variance >= 0 else nan


# Tables


def type_of(name: str) -> pa.DataType:
    """Type of a column."""
    if name in COLUMNS:
        return COLUMNS[name]
    parts = split_column(name)
    return _BODY_TYPES.get(parts[2], pa.float64()) if parts else pa.float64()


def ordered(names: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """Columns in their order: those that all tables have, stages, targets, users."""
    fixed = [*first, *COLUMNS]

    def rank(name: str) -> tuple[Any, ...]:
        parts = split_column(name)
        if name in fixed:
            return (0, fixed.index(name), '', 0)
        if parts is None:
            return (1, 0, name, 0)
        role, body, quantity = parts
        return (2, role, body, _QUANTITIES.index(quantity))

    return sorted(set(names) | set(fixed), key=rank)


def table_of(rows: Sequence[Row], types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Table of rows, which need not have the same columns."""
    types = types or {}
    names = ordered({name for row in rows for name in row} - set(types), list(types))
    return pa.table({
        name: pa.array([row.get(name) for row in rows], types.get(name) or type_of(name),
                       from_pandas=True)
        for name in names})


def schema_of(schemas: Iterable[pa.Schema], first: Mapping[str, pa.DataType] | None = None,
              ) -> pa.Schema:
    """Schema that holds all columns of several."""
    first = first or {}
    names = ordered({name for schema in schemas for name in schema.names} - set(first),
                    list(first))
    return pa.schema([(name, first.get(name) or type_of(name)) for name in names])


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Table with the columns of a schema; those that it does not have are empty."""
    return pa.table([
        table.column(field.name) if field.name in table.column_names
        else pa.nulls(len(table), field.type) for field in schema], schema=schema)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> int:
    """
    Write tables one below the other, as Parquet and as CSV.

    Parameters
    ----------
    tables : iterable of Table
    schema : Schema
        With all of their columns.
    path : Path
        Without suffix. Files of these names are replaced when the new ones are complete.

    Returns
    -------
    int
        Number of rows.

    """
    count = 0
    columnar, text = path.with_suffix('.parquet.new'), path.with_suffix('.csv.new')
    with ParquetWriter(columnar, schema, compression='zstd') as parquet, CSVWriter(
            text, schema) as lines:
        for table in tables:
            whole = fitted(table, schema)
            parquet.write_table(whole)
            lines.write_table(whole)
            count += len(whole)
    columnar.replace(path.with_suffix('.parquet'))
    text.replace(path.with_suffix('.csv'))
    return count


class Columns:
    """
    Columns of a Parquet file, one at a time, as arrays: NaN, False or '' where one is empty.

    Parameters
    ----------
    path : Path

    """

    def __init__(self, path: Path) -> None:
        self._file = ParquetFile(path)
        self.names: list[str] = self._file.schema_arrow.names

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._file.metadata.num_rows)

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a column."""
        return name in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column."""
        found = self._file.read([name]).column(0)
        kind = found.type
        if pa.types.is_string(kind):
            return np.array(pc.fill_null(found, '').to_pylist(), dtype=object)
        if pa.types.is_boolean(kind):
            return pc.fill_null(found, False).to_numpy()
        return pc.fill_null(pc.cast(found, pa.float64()), nan).to_numpy()

    def groups(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the row groups of some columns."""
        for number in range(self._file.num_row_groups):
            yield self._file.read_row_group(number, list(names))
