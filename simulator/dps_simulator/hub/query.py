"""The query language over device twins: ``SELECT … FROM devices [WHERE …] [GROUP BY …]``.

:func:`parse` turns a text into a :class:`Query`; :meth:`Query.matches` and :meth:`Query.rows` evaluate it over twins
as :meth:`~dps_simulator.hub.devices.Identity.twin_json` makes them. What a WHERE clause means is in
:mod:`dps_simulator.hub.query_conditions`.

Source: Microsoft documentation, iot-hub-devguide-query-language. Functions other than ``IS_DEFINED`` and
``ARRAY_CONTAINS``, jobs and configurations are not supported here; such a query is refused and the answer says so.
Inferred: that the names at the top of a twin (``DeviceID``) ignore case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Hub, ServiceError

from .checks import invalid
from .query_conditions import (
    COMPARISONS,
    UNDEFINED,
    Calculation,
    Comparison,
    Constant,
    Contains,
    Defined,
    Elements,
    Expression,
    Joined,
    Membership,
    Negation,
    Path,
    is_only_about,
    possible_values,
)
from .query_summary import Column, Summary, defined

MAX_LENGTH = 8_192
#: Parentheses and NOTs inside each other.
MAX_NESTING = 50
MAX_TOP = 1_000_000
#: Elements of the SELECT list, and of GROUP BY.
MAX_COLUMNS = 100


DEVICES, MODULES = "devices", "devices.modules"
#: Where the FROM clause may point, and what stands before a path when it is written in full.
_SOURCES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    DEVICES: (("devices",),),
    MODULES: (("devices", "modules"), ("devices",)),
}
_DEVICE_ID, _STATUS = Path(("deviceId",)), Path(("status",))
#: The names at the top of a twin, which ignore case.
_TOP_NAMES = {
    name.lower(): name
    for name in (
        "deviceId",
        "moduleId",
        "etag",
        "deviceEtag",
        "status",
        "statusReason",
        "statusUpdateTime",
        "connectionState",
        "lastActivityTime",
        "cloudToDeviceMessageCount",
        "authenticationType",
        "x509Thumbprint",
        "version",
        "modelId",
        "tags",
        "properties",
        "capabilities",
        "deviceScope",
        "parentScopes",
    )
}

_TOKENS = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<number>0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
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
class Query:
    """A parsed query.

    Attributes:
        columns: the SELECT list, empty for ``*``.
        top: how many rows at most, ``None`` for all.
        condition: the WHERE clause, ``None`` for none.
        groups: the GROUP BY paths.
        source: ``devices`` or ``devices.modules``.
        words: how many words the text has: a measure of the work that each twin makes.
    """

    columns: tuple[Column, ...]
    top: int | None
    condition: Expression | None
    groups: tuple[Path, ...]
    source: str = DEVICES
    words: int = 0

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

    @property
    def device_ids(self) -> frozenset[str] | None:
        """The only devices that the WHERE clause can select; ``None`` when that takes reading them."""
        values = possible_values(self.condition, _DEVICE_ID)
        return None if values is None else frozenset(value for value in values if isinstance(value, str))

    @property
    def statuses(self) -> frozenset[Any] | None:
        """The only values of ``status`` that the WHERE clause can select; ``None`` for any."""
        return possible_values(self.condition, _STATUS)

    def from_counts(self, counts: Mapping[str, int]) -> list[Document] | None:
        """The rows of a query that only counts devices, by status at most; ``None`` for any other query.

        Arguments:
            counts: how many devices have which status.
        """
        counting = any(column.aggregate for column in self.columns) and all(
            column.aggregate in ("", "count") for column in self.columns
        )
        by_status = self.groups in ((), (_STATUS,)) and is_only_about(self.condition, _STATUS)
        if self.source != DEVICES or not (counting and by_status):
            return None
        selected = {status: n for status, n in counts.items() if n and self.matches({"status": status})}
        groups = list(selected.items()) if self.groups else [("", sum(selected.values()))]
        return [{column.name: n if column.aggregate else status for column in self.columns} for status, n in groups]

    def project(self, twin: Mapping[str, Any]) -> Document:
        """The row of one twin, for queries without aggregation."""
        if self.selects_twins:
            return dict(twin)
        return defined({column.name: column.path(twin) for column in self.columns if column.path is not None})

    def summary(self) -> Summary:
        """Takes the twins that passed the WHERE clause one by one, for queries with aggregation."""
        return Summary(self.columns, self.groups)


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        ServiceError: the text is not a query, or uses what this simulator does not support; says where and why.
    """
    if len(text) > MAX_LENGTH:
        raise invalid(f"The query has {len(text)} characters; at most {MAX_LENGTH} are allowed.")
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
    raise invalid(f"The query is not valid at character {position}: {what}.")


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
        self._source = DEVICES
        self._elements: dict[Path, Elements] = {}

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
        self._source = self._named_source()
        self._expect("select")
        top = self._top() if self._accept("top") else None
        start = self._token
        columns = () if self._accept("*") else self._columns()
        self._expect("from")
        self._from()
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
        return Query(columns, top, condition, groups, self._source, len(self._tokens))

    def _top(self) -> int:
        token = self._take()
        if token.kind != "number" or not token.text.isdigit() or not 0 < int(token.text[:9]) <= MAX_TOP:
            _refuse(token.position, f"TOP needs a whole number from 1 to {MAX_TOP}")
        return int(token.text[:9])

    def _columns(self) -> tuple[Column, ...]:
        columns = [self._column(1)]
        while (comma := self._accept(",")) is not None:
            _check_number(comma, columns)
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

    def _named_source(self) -> str:
        """What FROM names, looked up ahead: the paths before it may be written in full, too."""
        words = [token.keyword or token.text for token in self._tokens]
        start = words.index("from") if "from" in words else len(words)
        return MODULES if words[start + 1 : start + 4] == ["devices", ".", "modules"] else DEVICES

    def _from(self) -> None:
        token = self._token
        if self._accept("devices") is None:
            _refuse(token.position, f"only FROM devices and FROM devices.modules are possible, not {self._shown()}")
        if self._accept("."):
            part = self._take()
            if part.keyword == "jobs":
                _unsupported(token, "FROM devices.jobs")
            if part.keyword != "modules":
                _refuse(part.position, "only FROM devices and FROM devices.modules are possible")

    def _paths(self) -> tuple[Path, ...]:
        paths = [self._path()]
        while (comma := self._accept(",")) is not None:
            _check_number(comma, paths)
            paths.append(self._path())
        return tuple(dict.fromkeys(paths))

    def _check_columns(self, columns: tuple[Column, ...], groups: tuple[Path, ...], start: Token) -> None:
        names = Counter(column.name for column in columns)
        doubled = next((name for name, times in names.items() if times > 1), None)
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
        return self._joined(self._all_of, "or", True)

    def _all_of(self) -> Expression:
        return self._joined(self._negation, "and", False)

    def _joined(self, part: Callable[[], Expression], word: str, decisive: bool) -> Expression:
        parts = [part()]
        while self._accept(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(tuple(parts), decisive)

    def _negation(self) -> Expression:
        token = self._accept("not")
        if token is None:
            return self._comparison()
        with_depth = self._deeper(token)
        inner = self._negation()
        self._nesting = with_depth - 1
        return Negation(inner)

    def _comparison(self) -> Expression:
        left = self._sum()
        token = self._token
        if token.kind == "symbol" and token.text in COMPARISONS:
            self._take()
            return Comparison(token.text, left, self._sum())
        if self._accept("in"):
            return Membership(left, self._array(), True)
        if self._accept("nin"):
            return Membership(left, self._array(), False)
        return left

    def _sum(self) -> Expression:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Expression:
        return self._chain(self._primary, "*", "/", "%")

    def _chain(self, part: Callable[[], Expression], *symbols: str) -> Expression:
        first = part()
        steps: list[tuple[str, Expression]] = []
        while (token := self._accept(*symbols)) is not None:
            steps.append((token.text, part()))
        return Calculation(first, tuple(steps)) if steps else first

    def _primary(self) -> Expression:
        token = self._token
        if self._accept("("):
            with_depth = self._deeper(token)
            inner = self._any_of()
            self._nesting = with_depth - 1
            self._expect(")")
            return inner
        if self._is_call():
            return self._call()
        is_negative = token.kind == "symbol" and token.text == "-"
        if token.kind in ("number", "text") or token.keyword in _CONSTANTS or is_negative:
            return Constant(self._constant())
        return self._path()

    def _call(self) -> Expression:
        token = self._take()
        if token.keyword not in ("is_defined", "array_contains"):
            _unsupported(token, f"the function {token.text[:40]}")
        self._take()
        path = self._path()
        result: Expression = Defined(path)
        if token.keyword == "array_contains":
            self._expect(",")
            result = Contains(self._elements.setdefault(path, Elements(path)), self._constant())
        self._expect(")")
        return result

    def _deeper(self, token: Token) -> int:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            _refuse(token.position, f"conditions may be nested {MAX_NESTING} levels deep")
        return self._nesting

    def _is_call(self) -> bool:
        following = self._tokens[self._next + 1 : self._next + 2]
        is_name = self._token.kind == "name" and self._token.keyword not in _RESERVED
        return is_name and bool(following) and following[0].text == "("

    def _array(self) -> tuple[Any, ...]:
        self._expect("[")
        values = [self._constant()]
        while self._accept(","):
            values.append(self._constant())
        self._expect("]")
        return tuple(values)

    def _constant(self) -> Any:
        negative = self._accept("-") is not None
        token = self._take()
        if token.kind == "number":
            return -_number(token) if negative else _number(token)
        if negative:
            return _refuse(token.position, f"a number is expected after '-', not {token.text[:60]!r}")
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
        return Path(self._within(tuple(names)))

    def _within(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """A path from the top of a twin: without the collection's name, the first name spelt as twins do."""
        lowered = tuple(name.lower() for name in names)
        for prefix in _SOURCES[self._source]:
            if len(names) > len(prefix) and lowered[: len(prefix)] == prefix:
                names = names[len(prefix) :]
                break
        return (_TOP_NAMES.get(names[0].lower(), names[0]), *names[1:])


def _number(token: Token) -> float | int:
    text = token.text
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    try:
        return int(text) if text.isdigit() else float(text)
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

    text = _ESCAPE.sub(replace, token.text[1:-1])
    try:
        # two escapes that are the halves of a surrogate pair make one character
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return _refuse(token.position, "the text holds half of a surrogate pair; write both halves")


def _check_number(token: Token, listed: Sequence[object]) -> None:
    if len(listed) >= MAX_COLUMNS:
        _refuse(token.position, f"at most {MAX_COLUMNS} elements may stand here")
