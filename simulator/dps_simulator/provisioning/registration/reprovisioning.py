"""Reprovisioning: what becomes of the hub and of the twin of a device that registers again.

Source: Microsoft documentation, iot-dps concepts-device-reprovision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dps_simulator.provisioning.enrollments.book import Enrollment, ReprovisionPolicy

INITIAL_ASSIGNMENT = "initialAssignment"
ASSIGNED_AGAIN = "reprovisionedToInitialAssignment"
DATA_MIGRATED = "deviceDataMigrated"
DATA_RESET = "deviceDataReset"


class TwinAction(Enum):
    """What becomes of the twin of a device that registers again."""

    KEEP = "keep"
    MOVE = "move"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Reprovisioning:
    """One row of the table of reprovisioning rules."""

    twin: TwinAction
    substatus: str


#: (the policy lets the hub change, the policy migrates data, the hub does change) → what happens.
#: Source: the documentation named above ("factory reset without changing IoT hubs" for the third row); the substatus
#: of a device that stays: azure-iot-cli-extension, test_dps_device_registration, which registers twice at the real
#: service under the default policy. That it is the same under the others, and ``deviceDataReset`` for the third row,
#: are inferred.
REPROVISIONING: Mapping[tuple[bool, bool, bool], Reprovisioning] = {
    (True, True, False): Reprovisioning(TwinAction.KEEP, ASSIGNED_AGAIN),
    (True, True, True): Reprovisioning(TwinAction.MOVE, DATA_MIGRATED),
    (True, False, False): Reprovisioning(TwinAction.RESET, DATA_RESET),
    (True, False, True): Reprovisioning(TwinAction.RESET, DATA_RESET),
    (False, True, False): Reprovisioning(TwinAction.KEEP, ASSIGNED_AGAIN),
    (False, False, False): Reprovisioning(TwinAction.KEEP, ASSIGNED_AGAIN),
}

#: Devices that speak this version or an older one stay in their hub as long as no policy says otherwise.
#: Source: Microsoft documentation, iot-dps concepts-device-reprovision ("Managing backwards compatibility").
LAST_STICKY_API_VERSION = "2018-04-01"
_STICKY = ReprovisionPolicy(update_hub_assignment=False, migrate_device_data=False)


#: Devices that speak an older version and stay in their hub are told ``initialAssignment`` again.
#: Inferred from azure-iot-sdk-csharp issue 2397 and from the live tests of the Azure CLI 0.25.
FIRST_TO_TELL_APART = "2019-04-15"


def told_substatus(substatus: str, api_version: str) -> str:
    """What a device is told of how it came into its hub.

    Arguments:
        substatus: of :data:`REPROVISIONING`.
        api_version: the version with which it registered, empty when unknown.
    """
    is_old = bool(api_version) and api_version[: len(FIRST_TO_TELL_APART)] < FIRST_TO_TELL_APART
    return INITIAL_ASSIGNMENT if is_old and substatus == ASSIGNED_AGAIN else substatus


def policy_of(enrollment: Enrollment, api_version: str) -> ReprovisionPolicy:
    """The policy that holds for a device.

    Arguments:
        enrollment: where it belongs.
        api_version: the one it registered with, e.g. ``2019-03-31`` or ``2018-09-01-preview``; empty when unknown.
    """
    is_old = bool(api_version) and api_version[: len(LAST_STICKY_API_VERSION)] <= LAST_STICKY_API_VERSION
    if is_old and enrollment.document.get("reprovisionPolicy") is None:
        return _STICKY
    return enrollment.reprovision_policy
