"""What the parameters of the notebooks may be, each for itself, together, and with what the notebooks make of them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dps_simulator.rules import (
    CERTIFICATE_NAME,
    CERTIFICATE_NAME_RULE,
    DEVICE_ID,
    DEVICE_ID_RULE,
    MAX_COMMON_NAME,
    MAX_ID_LENGTH,
    REGISTRATION_ID,
    REGISTRATION_ID_RULE,
)

from .masking import shown


@dataclass(frozen=True)
class _Rule:
    """What a parameter may be."""

    pattern: re.Pattern[str]
    expected: str
    may_be_empty: bool = False
    is_address: bool = False

    def repeated(self, value: str) -> str:
        """The value in an error text; what follows the ? of an address is often a key."""
        if not self.is_address:
            return shown(value)
        address, question, _ = value.partition("?")
        return shown(address + ("?****" if question else ""))


#: A device ID with which the SDK can connect. Source: wiki of azure-iot-sdk-python, "URL Encoding (MQTT)".
_CONNECTED = re.compile(rf"(?!.*[+#]){DEVICE_ID.pattern}")
_CONNECTED_RULE = f"{DEVICE_ID_RULE} but neither + nor #: a hub takes them, and MQTT cannot send with them in a topic"
_ID = _Rule(REGISTRATION_ID, REGISTRATION_ID_RULE)
_RULES: Mapping[str, _Rule] = {
    "target": _Rule(re.compile("simulator|azure"), "'simulator' or 'azure'"),
    "registration_id": _ID,
    "device_id": _Rule(_CONNECTED, _CONNECTED_RULE, may_be_empty=True),
    "group_id": _ID,
    "member_id": _ID,
    "authority_name": _Rule(CERTIFICATE_NAME, CERTIFICATE_NAME_RULE),
    "tpm_kind": _Rule(
        re.compile(r"embedded|swtpm|/[^\0\n]{1,200}"),
        "'embedded', 'swtpm' or the path of a device, such as '/dev/tpmrm0'",
    ),
    "webhook_url": _Rule(
        re.compile(r"https://[^\s/?#]+[^\s#]{0,2000}"),
        "an address that begins with https://, such as 'https://contoso.azurewebsites.net/api/choose-hub?code=…'",
        may_be_empty=True,
        is_address=True,
    ),
    "reset": _Rule(re.compile("yes|no"), "'yes' or 'no'"),
    # hubs have 3 to 50 characters, and "-hub-2" follows. Source: rules for names of Azure resources
    "prefix": _Rule(
        re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}"),
        "3 to 40 small letters, digits and single hyphens, with a letter in front and no hyphen at the end",
    ),
    "region": _Rule(re.compile(r"[a-z][a-z0-9]{2,39}"), "a region in one word, such as 'westeurope' or 'eastus'"),
    "tier": _Rule(re.compile("F1|S1"), "'F1' (free, one in a subscription) or 'S1' (costs money)"),
}
#: Parameters that are no text: their type, what they may be, and how to say so.
_NO_TEXT: Mapping[str, tuple[type, Container[object], str]] = {
    "run_commands": (bool, (False, True), "True or False"),
    "hubs": (int, (1, 2), "1 or 2"),
}
#: Where the notebook has a TPM, the registration ID can be derived from it.
_DERIVED_ID = replace(_ID, may_be_empty=True)


@dataclass(frozen=True)
class Made:
    """A name that a notebook makes of a parameter.

    Attributes:
        parameter: the parameter.
        template: the name, with ``{}`` where the parameter stands.
        without: what is taken off the beginning of the parameter before.
        is_device: whether a device is called so; else an enrollment group.
        is_certified: whether a certificate carries it as its common name.
    """

    parameter: str
    template: str = "{}"
    without: str = ""
    is_device: bool = True
    is_certified: bool = False

    def name(self, values: Mapping[str, str]) -> str:
        """The name that the notebook makes, from the values of its parameters by their names."""
        return self.template.format(values[self.parameter].removeprefix(self.without))


_CERTIFIED = (Made("registration_id", is_certified=True), Made("member_id", is_certified=True))
_DEVICES = (Made("registration_id"), Made("member_id"))
#: What notebooks make of their parameters; all others call two devices by ``registration_id`` and ``member_id``.
MADE: Mapping[str, tuple[Made, ...]] = {
    "00_start_here": (Made("registration_id"), Made("registration_id", "my-{}", without="first-")),
    "11_symmetric_key_enroll": (*_DEVICES, Made("group_id", "spare-{}", is_device=False)),
    "21_x509_enroll": _CERTIFIED,
    "22_x509_start": _CERTIFIED,
    "23_x509_verify": _CERTIFIED,
    "41_load_balanced_hubs": (Made("group_id", "{}-001"),),
    "42_reprovision_and_retire": (
        *_DEVICES,
        Made("registration_id", "{}-chip", is_certified=True),
        Made("member_id", "{}-neighbour"),
    ),
    "51_when_it_fails": (
        *_DEVICES,
        Made("member_id", "{}-certified", is_certified=True),
        Made("member_id", "{}-hurried"),
        Made("group_id", "{}-certified", is_device=False),
    ),
    "52_provision_a_fleet": (Made("group_id", "{}-001"),),
}
_PUMPS = ("Contoso Pumps Root", "Contoso Pumps Line 1")
#: Common names of the authorities whose files lie beside those of the devices.
AUTHORITIES: Mapping[str, tuple[str, ...]] = {
    "21_x509_enroll": _PUMPS,
    "22_x509_start": _PUMPS,
    "23_x509_verify": _PUMPS,
    "51_when_it_fails": ("Contoso Freezers Root", "Contoso Freezers Line 1"),
}


def problems(notebook: str, values: Mapping[str, object]) -> list[str]:
    """What is wrong with the parameters of a notebook, one sentence or two for each problem.

    Arguments:
        notebook: name of the notebook, without its ending.
        values: its parameters by their names.
    """
    found = [
        problem for name, value in values.items() if (problem := _problem(name, value, with_tpm="tpm_kind" in values))
    ]
    # what is made of a wrong name is wrong as well, and nobody has to be told twice
    return found or list(_together(notebook, {name: str(value) for name, value in values.items()}))


def _problem(name: str, value: object, *, with_tpm: bool) -> str:
    if name in _NO_TEXT:
        kind, allowed, expected = _NO_TEXT[name]
        fits = type(value) is kind and value in allowed
        return "" if fits else f"{name} is {shown(value)}; it must be {expected}."
    rule = _DERIVED_ID if with_tpm and name == "registration_id" else _RULES.get(name)
    if rule is None:
        return f"{name}: no rule is known for this parameter."
    if not isinstance(value, str):
        hint = f" With papermill, write  -r {name} VALUE  (raw text) instead of  -p." if value is not None else ""
        return f"{name} is {shown(value)}, of type {type(value).__name__}; it must be text.{hint}"
    if not value and rule.may_be_empty:
        return ""
    if not rule.pattern.fullmatch(value):
        return f"{name} is {rule.repeated(value)}{_size(value)}; it must be {rule.expected}."
    return ""


def _size(value: str) -> str:
    return f" ({len(value)} characters)" if len(value) > MAX_COMMON_NAME else ""


def _together(notebook: str, values: Mapping[str, str]) -> Iterator[str]:
    if values.get("run_commands") == "True" and values.get("target") != "azure":
        yield "run_commands is True, and target is 'simulator'. Commands run on Azure only: set target to 'azure', too."
        return
    made = [each for each in MADE.get(notebook, _DEVICES) if values.get(each.parameter)]
    too_long = [problem for each in made if (problem := _too_long(each, values))]
    if too_long:
        yield from too_long
        return
    yield from _twice([each for each in made if each.is_device], values)
    device_id = values.get("device_id")
    if device_id and device_id == values.get("member_id"):
        yield (
            f"device_id and member_id are both {device_id!r}. The member of the group is called so in the hub, and two "
            "devices need two names there."
        )
    certified = [each.name(values) for each in made if each.is_certified]
    yield from _same_files([*certified, *AUTHORITIES.get(notebook, ())])


def _too_long(made: Made, values: Mapping[str, str]) -> str:
    value, name = values[made.parameter], made.name(values)
    longest = MAX_COMMON_NAME if made.is_certified else MAX_ID_LENGTH
    most = len(value) - (len(name) - longest)
    if len(value) <= most:
        return ""
    what = "the name of an enrollment group" if not made.is_device else "a registration ID"
    what = "the common name of a certificate" if made.is_certified else what
    used = f"this notebook makes {made.template.format('…')!r} of it," if made.template != "{}" else "it is"
    return (
        f"{made.parameter} is {shown(value)} ({len(value)} characters); {used} {what}, which has at most {longest}. "
        f"Use at most {most} characters here."
    )


def _twice(devices: Iterable[Made], values: Mapping[str, str]) -> Iterator[str]:
    """Registration IDs that are the same; DPS does not look at capitals."""
    seen: dict[str, Made] = {}
    for each in devices:
        name = each.name(values)
        other = seen.setdefault(name.lower(), each)
        if other is each:
            continue
        if (other.template, each.template) == ("{}", "{}"):
            yield f"{other.parameter} and {each.parameter} are both {shown(name)}; two devices need two names."
        else:
            yield (
                f"{other.parameter} is {values[other.parameter]!r} and {each.parameter} is {values[each.parameter]!r}; "
                f"this notebook calls two devices {name!r} then. Change one of the two."
            )


def _same_files(names: Iterable[str]) -> Iterator[str]:
    """Common names whose certificates would be kept under the same file name."""
    names = list(names)
    if not names:
        return
    from helpers.certificates.files import file_names  # noqa: PLC0415  (only some notebooks have certificates)

    kept: dict[str, str] = {}
    for name in names:
        for file in file_names(name):
            # some file systems do not look at capitals
            other = kept.setdefault(file.lower(), name)
            if other != name:
                yield (
                    f"The certificates of {other!r} and {name!r} would be kept in the same file, {file!r}. "
                    "Choose another name for the device."
                )
                break
