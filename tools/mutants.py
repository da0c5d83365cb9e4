"""Small changes of the functions of a program: what can be changed, a sample of it, and the same in another commit."""

from __future__ import annotations

import ast
import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
#: Calls whose arguments say what a value is; another order of them shows nothing about tests.
_OF_TYPES = {"isinstance", "issubclass", "cast"}


@dataclass(frozen=True, slots=True)
class Mutation:
    """One small change of one function.

    Attributes:
        path: the file, from the root of the checkout.
        function: the qualified name, e.g. ``Twins.patch``.
        kind: what is done, e.g. ``comparison``.
        before: the expression or statement, in the form of ``ast.unparse``.
        after: what stands there instead, in the same form.
        start: line and column in bytes at which the changed piece begins, counted as in ``ast``.
        end: where it ends.
        statement: first and last line of the statement around it.
        ordinal: which of several equal changes of one function it is, from 0.
    """

    path: str
    function: str
    kind: str
    before: str
    after: str
    start: tuple[int, int]
    end: tuple[int, int]
    statement: tuple[int, int]
    ordinal: int = 0

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What it has in common with the same change in another commit."""
        return self.function, self.kind, self.before, self.after, self.ordinal

    def apply(self, source: str) -> str:
        """The text of the file with the change in it.

        Arguments:
            source: the text without it.
        """
        lines = source.encode().splitlines(keepends=True)
        (first, column), (last, end) = self.start, self.end
        # what is put before a statement stands on a line of its own
        text = f"{self.after}\n{' ' * column}" if self.start == self.end else self.after
        whole = lines[first - 1][:column] + text.encode() + lines[last - 1][end:]
        return b"".join([*lines[: first - 1], whole, *lines[last:]]).decode()


class _Finder(ast.NodeVisitor):
    """Collects what can be changed in the functions of one file."""

    def __init__(self, path: str) -> None:
        self.found: list[Mutation] = []
        self._path = path
        self._names: list[str] = []
        self._statement: ast.stmt | None = None

    def _add(self, kind: str, node: ast.expr | ast.stmt, after: ast.expr | str) -> None:
        if self._statement is None or node.end_lineno is None or node.end_col_offset is None:
            return
        self.found.append(
            Mutation(
                path=self._path,
                function=".".join(self._names),
                kind=kind,
                before=ast.unparse(node),
                after=after if isinstance(after, str) else f"({ast.unparse(after)})",
                start=(node.lineno, node.col_offset),
                end=(node.end_lineno, node.end_col_offset),
                statement=(self._statement.lineno, self._statement.end_lineno or self._statement.lineno),
            )
        )

    def visit(self, node: ast.AST) -> None:
        """Visit a node; what lies in no function is only looked through for functions."""
        outer = self._statement
        if isinstance(node, ast.stmt) and outer is not None:
            self._statement = node
            self._remove(node)
        super().visit(node)
        self._statement = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._names.append(node.name)
        for each in node.body:
            self.visit(each)
        self._names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        outer, self._statement = self._statement, node
        self._names.append(node.name)
        if body and not isinstance(body[0], (ast.Return, ast.Raise, ast.Pass, ast.FunctionDef, ast.AsyncFunctionDef)):
            self._return_early(body[0])
        for each in body:
            self.visit(each)
        self._names.pop()
        self._statement = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def _return_early(self, first: ast.stmt) -> None:
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            return
        start = (first.lineno, first.col_offset)
        lines = (first.lineno, first.lineno)
        before = ast.unparse(first).splitlines()[0]
        function = ".".join(self._names)
        self.found.append(Mutation(self._path, function, "early return", before, "return", start, start, lines))

    def _remove(self, node: ast.stmt) -> None:
        match node:
            case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
                self._add("return of nothing", node, "return")
            case ast.Raise():
                self._add("removed raise", node, "pass")
            case (
                ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Break() | ast.Continue()
            ):
                self._add("removed statement", node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                self._add("removed statement", node, "pass")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone whose parts have no places of their own before Python 3.12."""

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                self._add("comparison", node, ast.Compare(node.left, operators, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._add("boolean operator", node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add("removed not", node, node.operand)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool(value):
                self._add("constant", node, ast.Constant(not value))
            case int(value):
                self._add("constant", node, ast.Constant(value + 1))
                self._add("constant", node, ast.Constant(value - 1))
            case str(value) | bytes(value) if value:
                self._add("emptied string", node, ast.Constant(type(value)()))

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func).rpartition(".")[2] not in _OF_TYPES:
            for index, (one, other) in enumerate(zip(node.args, node.args[1:], strict=False)):
                if ast.unparse(one) != ast.unparse(other) and not isinstance(one, ast.Starred | ast.GeneratorExp):
                    if isinstance(other, ast.Starred):
                        continue
                    arguments = [*node.args[:index], other, one, *node.args[index + 2 :]]
                    self._add("swapped arguments", node, ast.Call(node.func, arguments, node.keywords))
        self.generic_visit(node)


def mutations_of(source: str, path: str) -> list[Mutation]:
    """Everything that can be changed in the functions of a file, in order.

    Tables and classes outside of functions stay as they are: what happens at import belongs to no test.

    Arguments:
        source: its text.
        path: its path, from the root of the checkout.
    """
    finder = _Finder(path)
    finder.visit(ast.parse(source))
    counted: dict[tuple[str, ...], int] = defaultdict(int)
    found = []
    for mutation in sorted(finder.found, key=lambda each: (each.start, each.end, each.kind, each.after)):
        name = (mutation.function, mutation.kind, mutation.before, mutation.after)
        found.append(dataclasses.replace(mutation, ordinal=counted[name]))
        counted[name] += 1
    return found


def mutations_below(root: Path, folders: Sequence[str]) -> list[Mutation]:
    """Everything that can be changed in the functions of some folders.

    Arguments:
        root: the checkout.
        folders: folders of code, from there.
    """
    paths = sorted({path for folder in folders for path in (root / folder).rglob("*.py")})
    return [
        mutation
        for path in paths
        for mutation in mutations_of(path.read_text("utf-8"), path.relative_to(root).as_posix())
    ]


def draw(mutations: Iterable[Mutation], seed: int) -> Iterator[Mutation]:
    """All mutations in an order that only the seed decides: in turn one of each function, each kind with equal chance.

    Arguments:
        mutations: what to draw from.
        seed: the same seed and the same code give the same order.
    """
    chance = random.Random(seed)  # noqa: S311 - a sample
    left: dict[tuple[str, str], dict[str, list[Mutation]]] = defaultdict(lambda: defaultdict(list))
    for mutation in mutations:
        left[mutation.path, mutation.function][mutation.kind].append(mutation)
    while left:
        functions = sorted(left)
        chance.shuffle(functions)
        for function in functions:
            kinds = left[function]
            kind = chance.choice(sorted(kinds))
            yield kinds[kind].pop(chance.randrange(len(kinds[kind])))
            if not kinds[kind]:
                del kinds[kind]
            if not kinds:
                del left[function]


def twin_of(mutation: Mutation, others: Iterable[Mutation]) -> Mutation | None:
    """The same change in another commit; None where there is none, or several could be meant.

    Arguments:
        mutation: the change.
        others: what can be changed there.
    """
    equal = [other for other in others if other.key == mutation.key]
    if len(equal) > 1:
        equal = [other for other in equal if Path(other.path).name == Path(mutation.path).name]
    return equal[0] if len(equal) == 1 else None
