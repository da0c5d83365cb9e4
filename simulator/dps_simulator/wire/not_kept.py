"""What is answered where the state could not be read or changed, such as on a full disk."""

from __future__ import annotations

from dps_simulator.common.ports import StorageError
from dps_simulator.errors.table import ErrorKind, ServiceError


def not_kept(kind: ErrorKind, error: StorageError) -> ServiceError:
    """The answer: a failure of the simulator, in words that help a client; the trace gets the place as well.

    Arguments:
        kind: the endpoint's row for its own failures.
        error: what went wrong. The store has told the log already.
    """
    return ServiceError(kind, error.brief, reason=str(error))
