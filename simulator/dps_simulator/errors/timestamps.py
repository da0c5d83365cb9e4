"""Times as the services write them."""

from __future__ import annotations

from datetime import datetime, timezone


def azure_timestamp(moment: datetime) -> str:
    """Write a time as the provisioning service does: UTC, ``Z``, fraction without trailing zeros.

    Source: recorded answers of the service (2023-05-19), e.g. ``2023-05-19T23:10:47.686968Z``.
    """
    # not strftime: every message on the wire needs this, and isoformat is ten times faster
    text = moment.astimezone(timezone.utc).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"
