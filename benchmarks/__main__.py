"""Print every measurement: ``python -m benchmarks [name ...]``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import certificates, enrollments, instructions, learner, memory, readiness, registrations, scale, tutorial
from .measure import Result

MEASUREMENTS: dict[str, Callable[[], Result | list[Result] | list[Result | str] | str]] = {
    "registration": registrations.sdk_against_stub,
    "processor": registrations.processor_against_stub,
    "instructions": instructions.instructions_per_registration,
    "certificates": certificates.processor_with_chain,
    "ready": readiness.ready_time,
    "tutorial": tutorial.track_against_empty_notebooks,
    "memory": memory.whole_suite,
    "learner": learner.one_learner,
    "enrollments": enrollments.rest_at_scale,
    "scale": scale.scale,
}


def main(names: list[str]) -> int:
    """Run the named measurements, or all; 1 when a goal was missed."""
    unknown = sorted(set(names) - set(MEASUREMENTS))
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; known are {', '.join(MEASUREMENTS)}\n")
        return 2
    missed = False
    for name in names or MEASUREMENTS:
        outcome = MEASUREMENTS[name]()
        for result in outcome if isinstance(outcome, list) else [outcome]:
            if isinstance(result, str):
                sys.stdout.write(f"     {name}: {result}\n")
                continue
            missed |= result.value > result.goal
            sys.stdout.write(result.line() + "\n")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
