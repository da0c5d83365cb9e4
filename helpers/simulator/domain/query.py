"""The query language over device twins: ``SELECT … FROM devices [WHERE …] [GROUP BY …]``.

:func:`parse` turns a text into a :class:`Query`; :meth:`Query.matches` and :meth:`Query.rows` evaluate it over twins
as :func:`.twins.render_twin` makes them. Conditions know a third truth value, *undefined*, for what a twin lacks and
for comparisons of different types; only what is true is selected.

Source: Microsoft documentation, iot-hub-devguide-query-language. Of what it describes, arithmetic, functions other
than ``IS_DEFINED``, modules and jobs are not supported here; such a query is refused and the answer says so.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import Hub, ServiceError
from .ports import Document

MAX_LENGTH = 8_192
#: Parentheses and NOTs inside each other.
MAX_NESTING = 50
MAX_TOP = 1_000_000


class _Undefined:
    """What a path yields where the twin has nothing."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Any = _Undefined()

Expression = Callable[[Mapping[str, Any]], Any]
"""An evaluated part of a condition: a twin in, a JSON value or :data:`UNDEFINED` out."""

_TOKENS = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<number>0[xX][0-9a-fA-F]+|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
    | (?P<symbol><=|>=|!=|<>|[=<>(),.*\[\]+\-/%])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_RESERVED = {"select", "top", "from", "where", "group", "order", "by", "and", "or", "not", "in", "nin", "as"}
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "undefined": UNDEFINED}
_AGGREGATES = ("count", "avg", "sum", "min", "max")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_ORDERED = ("number", "string")


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the query and where it stands (counted from 1)."""

    kind: str
    text: str
    position: int

    @property
    def keyword(self) -> str:
        """The word in lower case when it is one."""
        return self.text.lower() if self.kind == "name" else ""


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


@dataclass(frozen=True, slots=True)
class Column:
    """One element of the SELECT list.

    Attributes:
        name: the key in the result.
        path: what is selected or aggregated; ``None`` for ``COUNT()``.
        aggregate: ``count``, ``avg``, ``sum``, ``min`` or ``max``; empty for a plain path.
    """

    name: str
    path: Path | None
    aggregate: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query.

    Attributes:
        columns: the SELECT list, empty for ``*``.
        top: how many rows at most, ``None`` for all.
        condition: the WHERE clause, ``None`` for none.
        groups: the GROUP BY paths.
    """

    columns: tuple[Column, ...]
    top: int | None
    condition: Expression | None
    groups: tuple[Path, ...]

    @property
    def selects_twins(self) -> bool:
        """Whether the rows are whole twins (``SELECT *``)."""
        return not self.columns

    @property
    def aggregates(self) -> bool:
        """Whether all twins have to be seen before the first row is known."""
        return bool(self.groups) or any(column.aggregate for column in self.columns)

    def matches(self, twin: Mapping[str, Any]) -> bool:
        """Whether the WHERE clause selects this twin."""
        return self.condition is None or self.condition(twin) is True

    def project(self, twin: Mapping[str, Any]) -> Document:
        """The row of one twin, for queries without aggregation."""
        if self.selects_twins:
            return dict(twin)
        return _defined({column.name: column.path(twin) for column in self.columns if column.path is not None})

    def summarise(self, twins: Iterable[Mapping[str, Any]]) -> list[Document]:
        """The rows over twins that already passed the WHERE clause, for queries with aggregation."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        if not self.groups:
            groups[""] = []
        for twin in twins:
            key = json.dumps([_printable(path(twin)) for path in self.groups], sort_keys=True) if self.groups else ""
            groups.setdefault(key, []).append(twin)
        return [
            _defined({column.name: _aggregate(column, members) for column in self.columns})
            for members in groups.values()
        ]


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        ServiceError: the text is not a query, or uses what this simulator does not support; says where and why.
    """
    if len(text) > MAX_LENGTH:
        raise ServiceError(
            Hub.ARGUMENT_INVALID, f"The query has {len(text)} characters; at most {MAX_LENGTH} are allowed."
        )
    return _Parser(list(_tokens(text)), len(text) + 1).query()


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            _refuse(position + 1, f"{text[position]!r} cannot stand here")
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match[0], position + 1)
        position = match.end()


def _refuse(position: int, what: str) -> NoReturn:
    raise ServiceError(Hub.ARGUMENT_INVALID, f"The query is not valid at character {position}: {what}.")


def _unsupported(token: Token, what: str) -> NoReturn:
    raise ServiceError(
        Hub.NOT_SUPPORTED, f"In the query, at character {token.position}: {what} is not supported by this simulator."
    )


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[Token], end: int) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = Token("end", "the end", end)
        self._nesting = 0

    # ---- tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def _take(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _accept(self, *words: str) -> Token | None:
        """Take the next token if it is one of these keywords or symbols."""
        token = self._token
        if token.keyword in words or (token.kind == "symbol" and token.text in words):
            return self._take()
        return None

    def _expect(self, word: str) -> Token:
        token = self._accept(word)
        if token is None:
            shown = word.upper() if word.isalpha() else repr(word)
            _refuse(self._token.position, f"{shown} is expected, not {self._shown()}")
        return token

    def _shown(self) -> str:
        return self._token.text if self._token.kind == "end" else repr(self._token.text)[:60]

    # ---- clauses

    def query(self) -> Query:
        self._expect("select")
        top = self._top() if self._accept("top") else None
        start = self._token
        columns = () if self._accept("*") else self._columns()
        self._expect("from")
        self._source()
        condition = self._any_of() if self._accept("where") else None
        groups: tuple[Path, ...] = ()
        if self._accept("group"):
            self._expect("by")
            groups = self._paths()
        if self._token.keyword == "order":
            _unsupported(self._token, "ORDER BY")
        if self._token.kind != "end":
            _refuse(self._token.position, f"{self._shown()} cannot stand here")
        self._check_columns(columns, groups, start)
        return Query(columns, top, condition, groups)

    def _top(self) -> int:
        token = self._take()
        if token.kind != "number" or not token.text.isdigit() or not 0 < int(token.text[:9]) <= MAX_TOP:
            _refuse(token.position, f"TOP needs a whole number from 1 to {MAX_TOP}")
        return int(token.text[:9])

    def _columns(self) -> tuple[Column, ...]:
        columns = [self._column(1)]
        while self._accept(","):
            columns.append(self._column(len(columns) + 1))
        return tuple(columns)

    def _column(self, number: int) -> Column:
        token = self._token
        aggregate = ""
        path: Path | None
        if self._is_call():
            aggregate = self._take().keyword
            if aggregate not in _AGGREGATES:
                _unsupported(token, f"the function {token.text[:40]}")
            self._take()
            path = None if aggregate == "count" else self._path()
            self._expect(")")
            # the documentation always gives an alias; without one the real key is not known
            name = f"${number}"
        else:
            path = self._path()
            name = path.names[-1]
        if self._accept("as"):
            alias = self._take()
            if alias.kind != "name" or alias.keyword in _RESERVED:
                _refuse(alias.position, "a name is expected after AS")
            name = alias.text
        return Column(name, path, aggregate)

    def _source(self) -> None:
        token = self._token
        if self._accept("devices") is None:
            _refuse(token.position, f"only FROM devices is possible, not {self._shown()}")
        if self._accept("."):
            part = self._take()
            if part.keyword in ("modules", "jobs"):
                _unsupported(token, f"FROM devices.{part.keyword}")
            _refuse(part.position, "only FROM devices is possible")

    def _paths(self) -> tuple[Path, ...]:
        paths = [self._path()]
        while self._accept(","):
            paths.append(self._path())
        return tuple(paths)

    def _check_columns(self, columns: tuple[Column, ...], groups: tuple[Path, ...], start: Token) -> None:
        names = [column.name for column in columns]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            _refuse(start.position, f"two columns are called {doubled[:60]!r}; rename one with AS")
        if not groups and not any(column.aggregate for column in columns):
            return
        if not columns:
            _refuse(start.position, "SELECT * does not go with GROUP BY")
        for column in columns:
            if not column.aggregate and column.path not in groups:
                _refuse(start.position, f"{column.name[:60]!r} stands beside an aggregate but not in GROUP BY")

    # ---- conditions

    def _any_of(self) -> Expression:
        parts = [self._all_of()]
        while self._accept("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else _either(parts)

    def _all_of(self) -> Expression:
        parts = [self._negation()]
        while self._accept("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else _both(parts)

    def _negation(self) -> Expression:
        token = self._accept("not")
        if token is None:
            return self._comparison()
        with_depth = self._deeper(token)
        inner = self._negation()
        self._nesting = with_depth - 1
        return _negated(inner)

    def _comparison(self) -> Expression:
        left = self._operand()
        token = self._token
        if token.kind == "symbol" and token.text in _COMPARISONS:
            self._take()
            return _compared(token.text, left, self._operand())
        if self._accept("in"):
            return _contained(left, self._array(), True)
        if self._accept("nin"):
            return _contained(left, self._array(), False)
        return left

    def _operand(self) -> Expression:
        expression = self._primary()
        token = self._token
        if token.kind == "symbol" and token.text in ("+", "-", "*", "/", "%"):
            _unsupported(token, f"the operator {token.text}")
        if token.kind == "number" and token.text.startswith("-"):
            _unsupported(token, "the operator -")
        return expression

    def _primary(self) -> Expression:
        token = self._token
        if self._accept("("):
            with_depth = self._deeper(token)
            inner = self._any_of()
            self._nesting = with_depth - 1
            self._expect(")")
            return inner
        if self._is_call():
            self._take()
            if token.keyword != "is_defined":
                _unsupported(token, f"the function {token.text[:40]}")
            self._take()
            path = self._path()
            self._expect(")")
            return lambda twin: path(twin) is not UNDEFINED
        if token.kind in ("number", "text") or token.keyword in _CONSTANTS:
            value = self._constant()
            return lambda _: value
        return self._path()

    def _deeper(self, token: Token) -> int:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            _refuse(token.position, f"conditions may be nested {MAX_NESTING} levels deep")
        return self._nesting

    def _is_call(self) -> bool:
        following = self._tokens[self._next + 1 : self._next + 2]
        is_name = self._token.kind == "name" and self._token.keyword not in _RESERVED
        return is_name and bool(following) and following[0].text == "("

    def _array(self) -> list[Any]:
        self._expect("[")
        values = [self._constant()]
        while self._accept(","):
            values.append(self._constant())
        self._expect("]")
        return values

    def _constant(self) -> Any:
        token = self._take()
        if token.kind == "number":
            return _number(token)
        if token.kind == "text":
            return _text(token)
        if token.keyword in _CONSTANTS:
            return _CONSTANTS[token.keyword]
        return _refuse(token.position, f"a constant is expected, not {token.text[:60]!r}")

    def _path(self) -> Path:
        token = self._take()
        if token.kind != "name" or token.keyword in _RESERVED:
            _refuse(token.position, f"a property is expected, not {token.text[:60]!r}")
        names = [token.text]
        while self._accept("."):
            token = self._take()
            if token.kind != "name":
                _refuse(token.position, f"a property is expected after '.', not {token.text[:60]!r}")
            names.append(token.text)
        if self._token.kind == "symbol" and self._token.text == "[":
            _unsupported(self._token, "a property in brackets")
        return Path(tuple(names))


def _number(token: Token) -> float | int:
    text = token.text
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:  # more digits than Python converts
        return _refuse(token.position, "the number has too many digits")


def _text(token: Token) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape in "'\"\\":
            return escape
        return _refuse(token.position + 1 + match.start(), rf"the escapes are \', \", \\ and \uXXXX, not \{escape}")

    return _ESCAPE.sub(replace, token.text[1:-1])


def _kind(value: object) -> str:
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
    kind = _kind(left)
    if kind != _kind(right) or kind in ("undefined", "composite"):
        return UNDEFINED
    if symbol not in ("=", "!=", "<>") and kind not in _ORDERED:
        return UNDEFINED
    return _COMPARISONS[symbol](left, right)


def _compared(symbol: str, left: Expression, right: Expression) -> Expression:
    return lambda twin: _compare(symbol, left(twin), right(twin))


def _contained(left: Expression, values: list[Any], wanted: bool) -> Expression:
    def evaluate(twin: Mapping[str, Any]) -> Any:
        value = left(twin)
        if _kind(value) in ("undefined", "composite"):
            return UNDEFINED
        return any(_compare("=", value, item) is True for item in values) is wanted

    return evaluate


def _truth(value: object) -> Any:
    """True, false or undefined: whatever is neither true nor undefined counts as false."""
    return value if value is UNDEFINED else value is True


def _both(parts: list[Expression]) -> Expression:
    def evaluate(twin: Mapping[str, Any]) -> Any:
        values = [_truth(part(twin)) for part in parts]
        if False in values:
            return False
        return UNDEFINED if UNDEFINED in values else True

    return evaluate


def _either(parts: list[Expression]) -> Expression:
    def evaluate(twin: Mapping[str, Any]) -> Any:
        values = [_truth(part(twin)) for part in parts]
        if True in values:
            return True
        return UNDEFINED if UNDEFINED in values else False

    return evaluate


def _negated(part: Expression) -> Expression:
    def evaluate(twin: Mapping[str, Any]) -> Any:
        value = _truth(part(twin))
        return value if value is UNDEFINED else not value

    return evaluate


def _defined(row: Document) -> Document:
    return {key: value for key, value in row.items() if value is not UNDEFINED}


def _printable(value: object) -> object:
    """A value as part of a group's key; undefined is told from every JSON value."""
    return [] if value is UNDEFINED else [_kind(value), value]


def _aggregate(column: Column, members: list[Mapping[str, Any]]) -> Any:
    if column.path is None:
        return len(members)
    if not column.aggregate:
        return column.path(members[0])
    # what is not a number does not count
    numbers = [value for value in map(column.path, members) if _kind(value) == "number"]
    if not numbers:
        return 0 if column.aggregate == "sum" else UNDEFINED
    if column.aggregate in ("min", "max"):
        return min(numbers) if column.aggregate == "min" else max(numbers)
    total = sum(numbers)
    if not math.isfinite(total):  # JSON has no number for it
        return UNDEFINED
    return total if column.aggregate == "sum" else total / len(numbers)
