"""No test asserts that something was quick: on a busy machine nothing is."""

import ast

CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns"}


def reads_a_clock(node):
    return any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in CLOCKS
        for each in ast.walk(node)
    )


def hurries(tree):
    """Lines that compare the time that has passed with an upper bound."""
    for assertion in ast.walk(tree):
        if not isinstance(assertion, ast.Assert):
            continue
        for compared in ast.walk(assertion.test):
            if not isinstance(compared, ast.Compare):
                continue
            sides = [compared.left, *compared.comparators]
            for operator, left, right in zip(compared.ops, sides, sides[1:], strict=False):
                less, more = (left, right) if isinstance(operator, ast.Lt | ast.LtE) else (right, left)
                is_span = isinstance(less, ast.BinOp) and isinstance(less.op, ast.Sub) and reads_a_clock(less)
                if is_span and isinstance(more, ast.Constant) and not isinstance(operator, ast.Eq | ast.NotEq):
                    yield assertion.lineno


def test_nothing_has_to_be_quick(repository):
    texts = {
        path.relative_to(repository): path.read_text(encoding="utf-8")
        for path in sorted((repository / "tests").rglob("*.py"))
        if "node_modules" not in path.parts
    }
    found = [
        f"{place}:{line}"
        for place, text in texts.items()
        # most read no clock, and need not be parsed to know it
        if any(f".{clock}" in text for clock in CLOCKS)
        for line in hurries(ast.parse(text))
    ]
    assert not found, "wait for an event, compare orders or move a clock instead (see tests/patience.py)"


def test_the_rule_sees_what_it_is_for():
    code = """
assert time.monotonic() - began < 1.5
assert 5 > time.perf_counter() - began
assert began and time.time() - began <= 3
assert time.monotonic() - began >= 0.6
assert time.monotonic() > began
assert before <= time.monotonic()
"""
    assert list(hurries(ast.parse(code))) == [2, 3, 4]
