"""Every error of a hub's Event Hubs-compatible endpoint: rows of the table in :mod:`dps_simulator.errors.table`.

Event Hubs has no codes, only conditions of AMQP and texts. The first three digits of a code here are the status that
stands in an answer of its management node; the rest only numbers the rows.
"""

from __future__ import annotations

from functools import partial

from .kinds import ErrorKind, Provenance

_recorded = partial(ErrorKind, provenance=Provenance.RECORDED)
_sdk_observed = partial(ErrorKind, provenance=Provenance.SDK_OBSERVED)
_inferred = partial(ErrorKind, provenance=Provenance.INFERRED)

_STOLEN, _ARGUMENT_ERROR = "amqp:link:stolen", "com.microsoft:argument-error"


class EventHubs:
    """Errors of the endpoint from which telemetry is read."""

    ENTITY_NOT_FOUND = _recorded(
        "MessagingEntityNotFound",
        404_001,
        "The messaging entity could not be found.",
        source="AzureMonitorAddonForSplunk issue 8; that another consumer group gets the same is inferred",
        amqp="amqp:not-found",
    )
    PARTITION_INVALID = _sdk_observed(
        "PartitionInvalid",
        400_001,
        "The specified partition is invalid for an EventHub partition sender or receiver.",
        source="tests of the SDK for JavaScript",
        amqp="com.microsoft:argument-out-of-range",
    )
    POSITION_INVALID = _recorded(
        "PositionInvalid",
        400_002,
        "The supplied position is invalid.",
        source="azure-event-hubs-python issue 13, azure-sdk-for-net issue 9213",
        amqp=_ARGUMENT_ERROR,
    )
    FILTER_INVALID = _inferred("FilterInvalid", 400_003, "The filter cannot be read.", amqp=_ARGUMENT_ERROR)
    RECEIVER_DISCONNECTED = _recorded(
        "ReceiverDisconnected",
        409_001,
        "Another receiver has the partition.",
        source="azure-event-hubs-python issue 77, azure-event-hubs-dotnet issue 317, azure-event-hubs-node issue 158",
        amqp=_STOLEN,
    )
    TOO_MANY_RECEIVERS = _recorded(
        "QuotaExceeded",
        403_001,
        "Exceeded the maximum number of allowed receivers per partition in a consumer group.",
        source="azure-docs issue 24985",
        amqp="amqp:resource-limit-exceeded",
    )
    SEND_NOT_ALLOWED = _inferred(
        "Unauthorized",
        401_001,
        "Unauthorized access. 'Send' claim(s) are required to perform this operation.",
        amqp="amqp:unauthorized-access",
    )
    OPERATION_NOT_KNOWN = _inferred(
        "OperationNotKnown",
        501_001,
        "The management node does not know the operation.",
        amqp="amqp:not-implemented",
    )
