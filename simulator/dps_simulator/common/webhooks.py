"""What is asked of a webhook, between who knows what to ask and who opens connections."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PendingAllocation:
    """A registration that waits for its webhook.

    Attributes:
        registration: key of the registration.
        operation_id: the operation; a newer one of the same registration makes the answer worthless.
    """

    registration: str
    operation_id: str


#: Bytes of an answer that are read (simulator-only limit).
MAX_ANSWER_SIZE = 64 * 1024


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One request to a webhook.

    Attributes:
        url: whom to ask; may hold a key.
        body: JSON.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
