"""Custom allocation: what the webhook of an enrollment is asked, and what it may answer.

Source: Microsoft documentation, iot-dps concepts-custom-allocation and how-to-use-custom-allocation-policies, with
their samples of requests that the service sent. Codes and texts for answers that cannot be used are inferred, save
that of a status other than success.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Dps, ServiceError, described
from dps_simulator.provisioning.enrollments.book import Enrollment
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

from .record import AllocationAnswer, Place

#: Source: the published API description 2021-10-01, ``CustomAllocationDefinition``.
MINIMUM_API_VERSION = "2018-09-01-preview"
_DATE_LENGTH = len("2018-09-01")


@dataclass(frozen=True, slots=True)
class AllocationCall:
    """One call of a webhook.

    Attributes:
        url: whom to ask; usually with a key in it.
        registration_id: the ID with which the device registers.
        document: the body of the request to the webhook.
    """

    url: str = field(repr=False)
    registration_id: str
    document: Document = field(repr=False)


def masked_url(url: str) -> str:
    """The address without its query, which usually holds a key, as the service itself shows it."""
    address, question, _ = url.partition("?")
    return f"{address}?****" if question else address


def webhook_url(enrollment: Enrollment) -> str:
    """The address of the webhook that an enrollment with custom allocation asks.

    Raises:
        ServiceError: the version of the API that it asks for is too old.
    """
    definition = enrollment.document["customAllocationDefinition"]
    version = definition["apiVersion"]
    if version[:_DATE_LENGTH] < MINIMUM_API_VERSION[:_DATE_LENGTH]:
        raise failure(
            f"customAllocationDefinition.apiVersion is {version!r:.80}; the oldest one is {MINIMUM_API_VERSION}."
        )
    return str(definition["webhookUrl"])


def request_document(
    enrollment: Enrollment,
    *,
    registration_id: str,
    current: Place | None,
    evidence: str,
    payload: object,
    hosts: Sequence[str],
) -> Document:
    """The body of the request: no keys, and the address masked.

    Arguments:
        enrollment: where the device belongs.
        registration_id: the ID with which the device registers.
        current: where it is so far, ``None`` for a device that comes for the first time.
        evidence: with what it proved itself: ``symmetricKey``, ``x509`` or ``tpm``. What stands in it beyond the
            empty object of the documented sample is not sourced, so nothing does.
        payload: what it sent along, ``None`` for nothing.
        hosts: the hubs among which to choose: those that the enrollment names, else all linked ones. The documentation
            says "linked to the DPS instance", its samples show the former (inferred).
    """
    context: Document = {"registrationId": registration_id}
    if current is not None:
        context["currentIotHubHostName"] = current.host
        context["currentDeviceId"] = current.device_id
    context[evidence] = {}
    if payload is not None:
        context["payload"] = payload
    shown = enrollment.to_json()
    shown["attestation"] = {"type": enrollment.attestation_type}
    shown["etag"] = base64.b64decode(shown["etag"]).decode("ascii")
    definition = shown["customAllocationDefinition"]
    shown["customAllocationDefinition"] = {**definition, "webhookUrl": masked_url(definition["webhookUrl"])}
    name = "individualEnrollment" if enrollment.kind is INDIVIDUAL else "enrollmentGroup"
    return {name: shown, "deviceRuntimeContext": context, "linkedHubs": list(hosts)}


def failure(text: str) -> ServiceError:
    """The error of a custom allocation that failed for another reason than the status of the answer."""
    return ServiceError(Dps.CUSTOM_ALLOCATION_FAILED, f"Custom allocation failed: {text}")


def failed_with_status(status: int) -> ServiceError:
    """The error for an answer whose status is no success."""
    return ServiceError(Dps.CUSTOM_ALLOCATION_STATUS, f"{Dps.CUSTOM_ALLOCATION_STATUS.message}: {status}")


def read_answer(body: object, hosts: Sequence[str]) -> AllocationAnswer:
    """Check what a webhook answered.

    Names of members are read without regard to case: the documentation writes ``iotHubHostName`` in its samples and
    ``iotHubHostname`` in its table.

    Arguments:
        body: the request's body, parsed from JSON; of whatever type.
        hosts: the hubs among which it had to choose.

    Raises:
        ServiceError: it is not one of them, or a member is wrong.
    """
    if not isinstance(body, Mapping):
        raise failure(f"the webhook answered {described(body)}; it must answer a JSON object with iotHubHostName.")
    members = {str(name).lower(): value for name, value in body.items()}
    host = members.get("iothubhostname")
    if host is None:
        raise failure("the answer of the webhook lacks iotHubHostName.")
    known = {lookup_key(name) for name in hosts}
    if not isinstance(host, str) or lookup_key(host) not in known:
        shown = f"{host!r:.160}" if isinstance(host, str) else described(host)
        raise failure(f"iotHubHostName is {shown}; it must be one of the linkedHubs: {', '.join(hosts)}.")
    payload = members.get("payload")
    if payload is not None and not isinstance(payload, Mapping):
        raise failure(f"payload is {described(payload)}; it must be a JSON object.")
    return AllocationAnswer(
        lookup_key(host), _initial_twin(members.get("initialtwin")), None if payload is None else dict(payload)
    )


def _initial_twin(given: object) -> Document | None:
    """The initial twin with all its parts; their content is for the hub to judge."""
    if given is None:
        return None
    twin = _part("initialTwin", given)
    properties = _part("initialTwin.properties", twin.get("properties"))
    return {
        "tags": _part("initialTwin.tags", twin.get("tags")),
        "properties": {"desired": _part("initialTwin.properties.desired", properties.get("desired"))},
    }


def _part(name: str, given: object) -> Document:
    if given is not None and not isinstance(given, Mapping):
        raise failure(f"{name} is {described(given)}; it must be a JSON object.")
    return dict(given or {})
