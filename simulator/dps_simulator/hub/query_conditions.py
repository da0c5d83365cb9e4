"""Conditions of the query language: what stands in a WHERE clause, as objects that evaluate themselves over a twin.

A condition knows a third truth value, *undefined*, for what a twin lacks and for comparisons of different types; only
what is true is selected. Conditions can also be asked which values they leave possible, so that whoever runs a query
need not read what cannot match.

Source: Microsoft documentation, iot-hub-devguide-query-language; the Azure CLI for ``ARRAY_CONTAINS``, which finds the
children of an Edge device with it. That arithmetic with anything but numbers, a division by zero, and what
``ARRAY_CONTAINS`` says of anything but an array, are undefined, is inferred.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class _Undefined:
    """What a path yields where the twin has nothing."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Any = _Undefined()

Expression = Callable[[Mapping[str, Any]], Any]
"""An evaluated part of a condition: a twin in, a JSON value or :data:`UNDEFINED` out."""

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    # the sign of the left side, as in JavaScript, on whose types the language is built
    "%": math.fmod,
}
_ORDERED = ("number", "string")


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted path such as ``properties.reported.temperature``."""

    names: tuple[str, ...]

    def __call__(self, document: Mapping[str, Any]) -> Any:
        """The value at the path."""
        value: Any = document
        for name in self.names:
            if not isinstance(value, Mapping) or name not in value:
                return UNDEFINED
            value = value[name]
        return value

    def is_within(self, other: Path) -> bool:
        """Whether the other path leads to something of which this one is a part."""
        return len(self.names) > len(other.names) and self.names[: len(other.names)] == other.names


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stands in the query."""

    value: Any

    def __call__(self, _: Mapping[str, Any]) -> Any:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Defined:
    """``IS_DEFINED(path)``."""

    path: Path

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether the twin has it."""
        return self.path(twin) is not UNDEFINED


class Elements:
    """The primitive values in the array at a path.

    However many conditions ask for them, the array is gone through once for each twin.
    """

    __slots__ = ("_path", "_twin", "_values")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._twin: Mapping[str, Any] | None = None
        self._values: Any = UNDEFINED

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """The values, each with its kind; undefined when there is no array."""
        if self._twin is not twin:
            self._twin = twin
            items = self._path(twin)
            self._values = (
                {(kind, item) for item in items if (kind := kind_of(item)) != "composite"}
                if isinstance(items, list)
                else UNDEFINED
            )
        return self._values


@dataclass(frozen=True, slots=True)
class Contains:
    """``ARRAY_CONTAINS(path, value)``."""

    elements: Elements
    value: Any

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether the array has the value; undefined when there is no array."""
        elements = self.elements(twin)
        return elements if elements is UNDEFINED else (kind_of(self.value), self.value) in elements


@dataclass(frozen=True, slots=True)
class Calculation:
    """Numbers and the operators between them, worked out from left to right.

    A chain is one object however long it is: operators inside each other would go as deep as the query is long.

    Attributes:
        first: the number at the beginning.
        steps: each operator with the number behind it.
    """

    first: Expression
    steps: tuple[tuple[str, Expression], ...]

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """The result, undefined when a part is no number or JSON has no number for it."""
        result = self.first(twin)
        if kind_of(result) != "number":
            return UNDEFINED
        for symbol, part in self.steps:
            value = part(twin)
            if kind_of(value) != "number":
                return UNDEFINED
            try:
                result = ARITHMETIC[symbol](result, value)
                if not math.isfinite(result):
                    return UNDEFINED
            except (ArithmeticError, ValueError):
                return UNDEFINED
        return result


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides and a symbol between them."""

    symbol: str
    left: Expression
    right: Expression

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether it holds."""
        return _compare(self.symbol, self.left(twin), self.right(twin))


@dataclass(frozen=True, slots=True)
class Membership:
    """``IN`` (wanted) or ``NIN`` (not wanted)."""

    left: Expression
    values: tuple[Any, ...]
    wanted: bool

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether it holds."""
        value = self.left(twin)
        if kind_of(value) in ("undefined", "composite"):
            return UNDEFINED
        return any(_compare("=", value, item) is True for item in self.values) is self.wanted


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts with AND or with OR between them.

    Attributes:
        parts: the parts.
        decisive: what one part has to be for the whole to be that, too: false for AND, true for OR.
    """

    parts: tuple[Expression, ...]
    decisive: bool

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether all hold, or one does."""
        values = [_truth(part(twin)) for part in self.parts]
        if self.decisive in values:
            return self.decisive
        return UNDEFINED if UNDEFINED in values else not self.decisive


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT."""

    part: Expression

    def __call__(self, twin: Mapping[str, Any]) -> Any:
        """Whether the part does not hold."""
        value = _truth(self.part(twin))
        return value if value is UNDEFINED else not value


def possible_values(expression: Expression | None, path: Path) -> frozenset[Any] | None:
    """The values at the path of all twins that the condition can select; ``None`` when any may do."""
    if isinstance(expression, Comparison) and expression.symbol == "=":
        for side, other in ((expression.left, expression.right), (expression.right, expression.left)):
            if side == path and isinstance(other, Constant):
                return frozenset((other.value,))
    elif isinstance(expression, Membership) and expression.wanted and expression.left == path:
        return frozenset(expression.values)
    elif isinstance(expression, Joined):
        each = [possible_values(part, path) for part in expression.parts]
        known = [values for values in each if values is not None]
        if not expression.decisive:
            return frozenset.intersection(*known) if known else None
        return frozenset().union(*known) if len(known) == len(each) else None
    return None


def is_only_about(expression: Expression | None, path: Path) -> bool:
    """Whether the value at the path alone decides: a comparison of it with a constant, or no condition at all."""
    if isinstance(expression, Comparison):
        sides = (expression.left, expression.right)
        return path in sides and any(isinstance(side, Constant) for side in sides)
    if isinstance(expression, Membership):
        return expression.left == path
    return expression is None


def kind_of(value: object) -> str:
    """The type of a value, as the language tells types apart."""
    if value is UNDEFINED:
        return "undefined"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "composite"


def _compare(symbol: str, left: object, right: object) -> Any:
    """Only primitive values of the same type compare; equality is for all of them, order for numbers and texts."""
    kind = kind_of(left)
    if kind != kind_of(right) or kind in ("undefined", "composite"):
        return UNDEFINED
    if symbol not in ("=", "!=", "<>") and kind not in _ORDERED:
        return UNDEFINED
    return COMPARISONS[symbol](left, right)


def _truth(value: object) -> Any:
    """True, false or undefined: whatever is neither true nor undefined counts as false."""
    return value if value is UNDEFINED else value is True
