"""What the webhooks of custom allocations are asked over HTTP, and what becomes of their answers.

Nothing here opens a connection: :mod:`dps_simulator.server.webhooks` does, and calls back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from dps_simulator.common.trace import Trace
from dps_simulator.common.webhooks import MAX_ANSWER_SIZE, PendingAllocation, WebhookRequest
from dps_simulator.errors.table import ServiceError, ascii_json
from dps_simulator.provisioning.registration.custom_allocation import (
    AllocationCall,
    failed_with_status,
    failure,
    masked_url,
)
from dps_simulator.provisioning.registration.registrations import Registrations
from dps_simulator.wire.json_body import load_json

#: As in traces and log lines.
SERVICE, OPERATION = "webhook", "allocate"


class AllocationWebhooks:
    """The registrations that wait for a webhook, as the client of the webhooks sees them.

    Arguments:
        registrations: all registrations.
        trace: where request and answer are recorded.
    """

    def __init__(self, registrations: Registrations, trace: Trace) -> None:
        self._registrations = registrations
        self._trace = trace
        self._calls: dict[PendingAllocation, AllocationCall] = {}

    def pending(self, limit: int) -> list[PendingAllocation]:
        """Who waits, those that have waited longest first."""
        return self._registrations.pending_allocations(limit)

    def request(self, pending: PendingAllocation) -> WebhookRequest | None:
        """What to ask, ``None`` when nothing is to be asked any more."""
        call = self._registrations.allocation_call(pending)
        if call is None:
            return None
        self._calls[pending] = call
        self._record(call, "out", detail={"url": masked_url(call.url), "body": call.document})
        return WebhookRequest(call.url, ascii_json(call.document))

    def answered(self, pending: PendingAllocation, status: int, body: bytes) -> None:
        """The webhook answered.

        Arguments:
            pending: the registration that waited for the webhook.
            status: HTTP status of the answer.
            body: the answer, one byte more than allowed when it was longer than that.
        """
        answer: Any = None
        if not 200 <= status < 300:
            answer = failed_with_status(status)
        elif len(body) > MAX_ANSWER_SIZE:
            answer = failure(f"the webhook answered more than {MAX_ANSWER_SIZE} bytes.")
        else:
            try:
                answer = load_json(body)
            except ValueError as error:
                answer = failure(f"the webhook did not answer JSON: {error}.")
        self._decide(pending, answer, status)

    def failed(self, pending: PendingAllocation, reason: str) -> None:
        """The webhook could not be asked, or did not answer."""
        self._decide(pending, failure(reason), None)

    def given_up(self, pending: PendingAllocation) -> None:
        """Nobody waits for the answer any more."""
        self._calls.pop(pending, None)

    def _decide(self, pending: PendingAllocation, answer: object, status: int | None) -> None:
        call = self._calls.pop(pending)
        problem = self._registrations.decide(pending, answer)
        detail = {} if isinstance(answer, ServiceError) else {"body": answer}
        self._record(call, "in", status, {**detail, **({"reason": problem} if problem else {})})

    def _record(
        self, call: AllocationCall, direction: str, status: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        self._trace.record(
            service=SERVICE,
            host=_host(call.url),
            device=call.registration_id,
            direction=direction,
            protocol="https",
            operation=OPERATION,
            status=status,
            detail=detail,
        )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
