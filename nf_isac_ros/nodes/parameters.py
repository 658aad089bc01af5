"""Node parameters as tables: default, unit, range and description, written down once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from types import SimpleNamespace
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from nf_isac_ros.core.exceptions import NfIsacError

Value = bool | int | float | str | tuple[str, ...]

_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text',
          tuple: 'a list of texts'}


class ParameterError(NfIsacError, ValueError):
    """A parameter has a value that it cannot have."""

    reason = 'bad-parameter'


@dataclass(frozen=True)
class Parameter:
    """
    One row of a node's parameter table.

    Attributes
    ----------
    name : str
        Dots make groups.
    default : bool, int, float, str or tuple of str
        Also tells the type. A float that is NaN by default may be NaN: "not given".
    description : str
        What it does, without the unit.
    unit : str
        Of a number; empty if it has none.
    minimum, maximum : float or None
        Smallest and largest value allowed.
    choices : tuple of str
        The texts allowed; empty: any.
    read_only : bool
        It cannot be changed while the node runs.

    """

    name: str
    default: Value
    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def attribute(self) -> str:
        """Name in the result of `values`: dots become underscores."""
        return self.name.replace('.', '_')

    @property
    def allowed(self) -> str:
        """What the value may be, in words."""
        if self.choices:
            return 'one of ' + ', '.join(repr(choice) for choice in self.choices)
        words = [_KINDS[type(self.default)]]
        if self.minimum is not None and self.maximum is not None:
            words.append(f'from {self.minimum:g} to {self.maximum:g}')
        elif self.minimum is not None:
            words.append(f'of at least {self.minimum:g}')
        elif self.maximum is not None:
            words.append(f'of at most {self.maximum:g}')
        if self.unit:
            words.append(f'[{self.unit}]')
        if self._may_be_nan:
            words.append('or .nan')
        return ' '.join(words)

    @property
    def _may_be_nan(self) -> bool:
        return isinstance(self.default, float) and math.isnan(self.default)

    def checked(self, value: Any) -> Value:
        """
        Return the value in the type of the default.

        Whole numbers are taken where a number is wanted: `rate_hz: 50` is what people write.

        Raises
        ------
        ParameterError
            If the value is not allowed; the message names parameter, value and what is allowed.

        """
        kind = type(self.default)
        if kind is tuple and isinstance(value, (list, tuple)) and all(
                isinstance(item, str) for item in value):
            result: Value = tuple(value)
        elif kind is float and type(value) in (int, float):
            result = float(value)
        elif type(value) is kind:
            result = value
        else:
            raise self._error(value)
        if isinstance(result, float) and math.isnan(result):
            if not self._may_be_nan:
                raise self._error(value)
        elif isinstance(result, (int, float)) and not isinstance(result, bool):
            if self.minimum is not None and not result >= self.minimum:
                raise self._error(value)
            if self.maximum is not None and not result <= self.maximum:
                raise self._error(value)
        if self.choices and result not in self.choices:
            raise self._error(value)
        return result

    def _error(self, value: Any) -> ParameterError:
        return ParameterError(f'parameter {self.name} is {value!r}, must be {self.allowed}')

    def descriptor(self) -> ParameterDescriptor:
        """Descriptor for tools such as `ros2 param describe` and rqt."""
        text = f'{self.description} [{self.unit}]' if self.unit else self.description
        descriptor = ParameterDescriptor(
            name=self.name, description=text, additional_constraints=f'must be {self.allowed}',
            read_only=self.read_only,
            # Static typing would refuse the whole number 50 for a floating-point rate, without
            # naming the parameter; `checked` is as strict and says what is wrong.
            dynamic_typing=True)
        if self._may_be_nan:
            return descriptor   # rclpy holds NaN for out of range
        if type(self.default) is float and (self.minimum, self.maximum) != (None, None):
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=-math.inf if self.minimum is None else float(self.minimum),
                to_value=math.inf if self.maximum is None else float(self.maximum))]
        if type(self.default) is int and (self.minimum, self.maximum) != (None, None):
            descriptor.integer_range = [IntegerRange(
                from_value=-2 ** 63 if self.minimum is None else int(self.minimum),
                to_value=2 ** 63 - 1 if self.maximum is None else int(self.maximum))]
        return descriptor


def declare(node: Node, table: Sequence[Parameter]) -> None:
    """
    Declare every parameter of a table, and have every later change checked against it.

    Raises
    ------
    ParameterError
        If the command line or a parameter file gives a value that is not allowed.

    """
    rows = {row.name: row for row in table}

    def check(parameters: list[RosParameter]) -> SetParametersResult:
        try:
            for parameter in parameters:
                if parameter.name in rows:
                    rows[parameter.name].checked(parameter.value)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # First of the callbacks, and before the declarations: the initial values pass it as well.
    node.add_on_set_parameters_callback(check)
    for row in table:
        default = list(row.default) if isinstance(row.default, tuple) else row.default
        try:
            node.declare_parameter(row.name, default, row.descriptor())
        except InvalidParameterValueException as error:
            # rclpy wraps the reason, which says it all, into a sentence of its own.
            reason = str(error).partition('Reason: ')[2].removesuffix(f': {row.name}')
            raise ParameterError(reason or str(error)) from error
        except InvalidParameterTypeException as error:
            raise ParameterError(f'parameter {row.name}: {error}') from error


def values(node: Node, table: Sequence[Parameter]) -> SimpleNamespace:
    """Present values of a table's parameters, as attributes; dots become underscores."""
    return SimpleNamespace(**{
        row.attribute: row.checked(node.get_parameter(row.name).value) for row in table})


def watch(node: Node, table: Sequence[Parameter],
          check: Callable[[SimpleNamespace], None],
          apply: Callable[[SimpleNamespace], None]) -> None:
    """
    Follow parameter changes; a request is accepted whole or rejected whole.

    Parameters
    ----------
    node : Node
        The table has been declared on it.
    table : sequence of Parameter
        What to follow.
    check : callable
        Gets all values of the table as they would be; raises NfIsacError to reject, and the
        text of the error is the reason that the requester reads. Changes nothing.
    apply : callable
        Gets all values of the table after the change.

    """
    rows = {row.name: row for row in table}

    def on_set(parameters: list[RosParameter]) -> SetParametersResult:
        proposed = values(node, table)
        try:
            for parameter in parameters:
                if parameter.name in rows:
                    row = rows[parameter.name]
                    setattr(proposed, row.attribute, row.checked(parameter.value))
            check(proposed)
        except NfIsacError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def after_set(parameters: list[RosParameter]) -> None:
        if any(parameter.name in rows for parameter in parameters):
            apply(values(node, table))

    node.add_on_set_parameters_callback(on_set)
    node.add_post_set_parameters_callback(after_set)
