"""Exercises of the symmetric-key track: derive, write, lock; read a refusal, tell names apart; report and desire."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from azure.core.exceptions import ResourceExistsError

from helpers import checks
from helpers.credentials import Secret, derive_device_key

from . import answers

#: A device that the factory builds in the notebook's exercise.
THIRD = "thermostat-102"
#: A device that gets an enrollment of its own in an exercise, its name in the hub, and its first temperature.
HALL, HALL_DEVICE, HALL_TEMPERATURE = "thermostat-103", "hall-thermostat", 19


def derived_key(answer: object, group_key: Secret, *, name: str = THIRD, others: tuple[str, ...] = ()) -> None:
    """The key of one more member of a group.

    Arguments:
        answer: the key, as ``Secret`` or text.
        group_key: key of the group.
        name: registration ID of the member.
        others: other names that one may take by mistake, such as the group's.
    """
    given = answers.text(answer.reveal() if isinstance(answer, Secret) else answer)
    key, text = base64.b64decode(group_key.reveal()), group_key.reveal().encode("ascii")
    digest = hmac.new(key, name.encode(), hashlib.sha256).digest()
    right = derive_device_key(group_key, name)

    def made(with_key: bytes, of: str, method: Any = hashlib.sha256) -> str:
        return base64.b64encode(hmac.new(with_key, of.encode(), method).digest()).decode("ascii")

    checks.exercise(
        f"the key of {name}",
        given.strip() == right.reveal(),
        hint="Copy the cell of step 3; only the text that goes into the HMAC changes.",
        mistakes=[
            not isinstance(answer, Secret | str) and "A key is text, wrapped in Secret(...), as in step 3.",
            given == group_key.reveal()
            and "That is the key of the group itself. It must never be in a device; derive the device's key from it.",
            given == made(text, name)
            and "You mixed in the text of the group's key. Decode it first: base64.b64decode(group_key.reveal()).",
            given.lower() == digest.hex() and "These are the right bytes, written in hex. A key is written in base64.",
            (given == str(digest) or given == repr(digest)) and "These are the right bytes. Write them in base64.",
            given == base64.urlsafe_b64encode(digest).decode("ascii")
            and "Nearly: this is base64 for addresses, with - and _. Take base64.b64encode.",
            given.rstrip("=") == right.reveal().rstrip("=")
            and "Nearly: at the end of the key stands an '=', and it belongs to it.",
            given in {made(key, each) for each in (name.upper(), name.capitalize(), f"{name} ", f"{name}\n")}
            and f"The text must be the registration ID to the letter: {name!r}, small letters and no blank.",
            given in {made(key, each) for each in others}
            and f"This is the key for another name. The text that goes into the HMAC is {name!r}.",
            given in {made(key, name, method) for method in (hashlib.sha1, hashlib.sha512)}
            and "The right key and the right text, and another hash. Take hashlib.sha256.",
            given == base64.b64encode(hmac.new(name.encode(), key, hashlib.sha256).digest()).decode("ascii")
            and "Key and text changed places: the group's key is the key, the registration ID is the message.",
        ],
    )


def hall(answer: object) -> None:
    """The JSON of an enrollment for a thermostat in the hall.

    Arguments:
        answer: the enrollment, as a dictionary.
    """
    given = answers.mapping(answer)
    twin, attestation = answers.inside(given, "initialTwin"), answers.inside(given, "attestation")
    properties, desired = answers.inside(twin, "properties"), answers.inside(twin, "properties", "desired")
    temperature = desired.get("targetTemperature")
    elsewhere = {*given, *twin, *properties, *answers.inside(given, "desired"), *answers.inside(twin, "desired")}
    names = given.get("registrationId"), given.get("deviceId")
    checks.exercise(
        f"the enrollment of {HALL}",
        names == (HALL, HALL_DEVICE)
        and attestation.get("type") == "symmetricKey"
        and type(temperature) in (int, float)
        and temperature == HALL_TEMPERATURE,
        hint="Copy `enrollment` of step 2 and change what is different: two names and the temperature.",
        mistakes=[
            not isinstance(answer, Mapping) and "An enrollment is a dictionary, as in step 2.",
            not given and "Copy `enrollment` of step 2 and change what is different: two names and the temperature.",
            names == (HALL_DEVICE, HALL)
            and "The names changed places: the registration ID is for DPS, the device ID is for the hub.",
            str(names[0]).lower() == HALL
            and names[0] != HALL
            and f"The registration ID is {HALL!r}, in small letters.",
            names[0] != HALL and f"The field registrationId must be {HALL!r}: so the device names itself to DPS.",
            "deviceId" not in given
            and "Without deviceId, the hub would call it by its registration ID. The field is missing.",
            names[1] != HALL_DEVICE and f"The field deviceId must be {HALL_DEVICE!r}: so the hub calls it.",
            not attestation and "How will the device prove who it is? The field attestation is missing.",
            attestation.get("type") != "symmetricKey" and 'The attestation is of the type "symmetricKey".',
            "reported" in properties
            and "Reported is what a device says about itself, and it has said nothing yet. A wish is *desired*.",
            "targetTemperature" in answers.inside(twin, "tags")
            and "A tag is a note that the device never sees. A wish belongs into the desired properties.",
            "targetTemperature" in elsewhere
            and "The temperature stands in the wrong place: initialTwin, in it properties, in it desired.",
            temperature is None and "Where is the temperature? It is a desired property of the first twin.",
            isinstance(temperature, str) and "The temperature is text. Write it without quotes: it is a number.",
            f"The first desired temperature of the hall is {HALL_TEMPERATURE}.",
        ],
    )


class Enrollments:
    """As much of ``service.enrollment`` as locking a device needs, with one enrollment in it and no service behind.

    It refuses what DPS refuses, and notes what it was asked.
    """

    name = "thermostat-900"
    etag = "AAAAAA5000000=="

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sent: Mapping[str, Any] = {}
        self.deleted = False
        self.without_etag = False

    def get(self, registration_id: object, **_options: Any) -> dict[str, Any]:
        """The enrollment, without keys, as DPS shows it."""
        self.asked.append("get")
        return {
            "registrationId": self.name,
            "deviceId": "cellar-thermostat",
            "attestation": {"type": "symmetricKey"},
            "provisioningStatus": "enabled",
            "etag": self.etag,
        }

    def get_attestation_mechanism(self, registration_id: object, **_options: Any) -> dict[str, Any]:
        """The attestation with both keys, which DPS shows only when it is asked for them alone."""
        self.asked.append("keys")
        return {"type": "symmetricKey", "symmetricKey": {"primaryKey": "first", "secondaryKey": "second"}}

    def create_or_update(
        self, registration_id: object, enrollment: object, *, if_match: object = None, **_options: Any
    ) -> dict[str, Any]:
        """Take a change, when it says which version it means.

        Raises:
            ResourceExistsError: it says none, so that DPS takes it for a new enrollment.
            ValueError: it means another version.
        """
        self.asked.append("send")
        if if_match is None:
            self.without_etag = True
            raise ResourceExistsError("409: Precondition failed: resource already exists.")
        if if_match not in (self.etag, "*"):
            raise ValueError("412: the ETag does not fit.")
        self.sent = answers.mapping(enrollment)
        return dict(self.sent)

    def delete(self, registration_id: object, **_options: Any) -> None:
        """Note that it would be gone; it stays, so that the other mistakes can be found, too."""
        self.deleted = True


def lock(answer: object) -> None:
    """A function that locks a device out, and keeps everything else as it is.

    It runs against :class:`Enrollments`, so nothing on the target changes.

    Arguments:
        answer: the function; it gets what ``service.enrollment`` is, and a registration ID.
    """
    tried = Enrollments()
    failed = _tried(answer, tried)
    sent = tried.sent
    keys = answers.inside(sent, "attestation", "symmetricKey")
    status = sent.get("provisioningStatus")
    checks.exercise(
        "a function that locks one device out",
        not failed
        and not tried.deleted
        and status == "disabled"
        and bool(keys)
        and (sent.get("registrationId"), sent.get("deviceId")) == (tried.name, "cellar-thermostat"),
        hint="Read the enrollment and its keys, put both together with the new status, and send it with the ETag.",
        mistakes=[
            not callable(answer) and "It must be a function: def lock(enrollments, name): ...",
            tried.deleted and "It deletes the enrollment. Then the device could come back through a group; disable it.",
            tried.without_etag
            and "409: without an ETag, the request means 'create'. Pass if_match=found['etag'], as in step 2.",
            failed and f"Your function raised {failed}",
            not tried.asked and "Nothing was asked of `enrollments` yet. Begin with found = enrollments.get(name).",
            "send" not in tried.asked and "It reads and sends nothing. The change goes through create_or_update.",
            isinstance(status, str)
            and status.lower() == "disabled"
            and status != "disabled"
            and "The status is written in small letters: 'disabled'.",
            status != "disabled" and "The field provisioningStatus must be 'disabled' in what you send.",
            not keys
            and "The keys are missing: an ordinary read does not show them. Ask for get_attestation_mechanism(name).",
            "Something of the old enrollment got lost: {**found, ...} keeps it all.",
        ],
    )


def new_name(answer: object) -> None:
    """Where a device's name in the hub is changed.

    Arguments:
        answer: ``enrollment``, ``registration record`` or ``device``.
    """
    word = answers.word(answer)
    checks.exercise(
        "where the device ID comes from",
        word in ("enrollment", "the enrollment"),
        hint="Write enrollment, registration record or device.",
        mistakes=[
            not word and "Which of the three existed before the device booted, and names both IDs?",
            "record" in word
            and "The record is a note of what happened. DPS writes it, and the next registration writes it anew.",
            "device" in word
            and "The device knows its registration ID only. It is told its device ID, and cannot choose it.",
            "hub" in word and "The hub calls it as DPS says. A device cannot be given another name there.",
        ],
    )


def connection(answer: object, *, registration_id: str, device_id: str, hub: str, id_scope: str) -> None:
    """The two names that a device needs to connect to its hub.

    Arguments:
        answer: dictionary with ``hostname`` and ``device_id``.
        registration_id: what the device is called at DPS.
        device_id: what it is called in the hub.
        hub: host name of its hub.
        id_scope: the ID scope.
    """
    given = answers.mapping(answer)
    host, name = (str(given.get(field) or "").strip() for field in ("hostname", "device_id"))
    checks.exercise(
        "what the device needs to connect to its hub",
        (host, name) == (hub, device_id),
        hint="Both stand in what DPS answered: kitchen_state.assigned_hub and kitchen_state.device_id.",
        mistakes=[
            not host and not name and "What did DPS tell the device in step 2? It is in kitchen_state.",
            name == registration_id != device_id
            and "That is the registration ID, its name at DPS. The hub knows the device by its device ID.",
            id_scope in (host, name) and "The ID scope is for DPS only; the hub does not know it.",
            "provisioning" in host
            and "That is the address of DPS. The device is through with it, and goes to its hub.",
            "://" in host and "The host name stands alone, without https:// before it.",
            not host and "The host name is missing: the hub that DPS assigned.",
            not name and "The device ID is missing: what the hub calls the device.",
            name != device_id
            and name.lower() == device_id.lower()
            and "The hub tells capital and small letters apart in a device ID.",
            host != hub and f"That is not the hub that DPS assigned: {host!r:.80}.",
        ],
    )


def refusals(answer: object) -> None:
    """Which of four devices DPS refuses.

    Arguments:
        answer: letters of the list in the notebook.
    """
    letters = answers.letters(answer)
    checks.exercise(
        "which devices DPS refuses",
        letters == set("bd"),
        hint="Write letters, such as 'ab'. Whose key is it, and which name went into it?",
        mistakes=[
            not letters and "Write the letters of the devices that are refused. Two of the four are.",
            letters - set("abcd") and "The list has the letters a to d.",
            "a" in letters and "Device a comes in: a member needs no enrollment of its own, only the right key.",
            "c" in letters and "Device c comes in: primary and secondary key are equally good, also to derive from.",
            "b" not in letters
            and "One is missing: a key derived for one name does not open the door for another name.",
            "d" not in letters and "One is missing: step 6 made just this mistake.",
        ],
    )


def firmware(read_twin: Callable[[], Any], wanted: str = "1.0") -> None:
    """A device reports its firmware.

    Arguments:
        read_twin: reads the twin as the device sees it.
        wanted: the version.
    """
    twin = _read(read_twin)
    desired, reported = answers.inside(twin, "desired"), answers.inside(twin, "reported")
    found = reported.get("firmware")
    checks.exercise(
        "the member of the group reports its firmware",
        found == wanted,
        hint="The kitchen thermostat did the same with its temperature in step 6.",
        mistakes=[
            found is None
            and "firmware" in desired
            and "It stands under *desired*: that is your wish. What a device says of itself, the device must report.",
            found is not None
            and str(found).strip() == wanted
            and f"It reports {found!r}, of another type. The version is text: {wanted!r}, in quotes.",
            found is not None and f"It reports {found!r:.60}; it should be {wanted!r}.",
            any(str(each).lower() == "firmware" for each in reported)
            and "The name of the property is written in small letters: firmware.",
            any("firmware" in answers.inside(reported, each) for each in reported)
            and "The property is nested too deeply: give {'firmware': '1.0'} itself, without 'reported' around it.",
        ],
    )


def wish(read_twin: Callable[[], Any], read_other: Callable[[], Any], wanted: int = 18) -> None:
    """The member is asked for another temperature.

    Arguments:
        read_twin: reads the twin as the device sees it.
        read_other: the same for the device that was not meant.
        wanted: degrees.
    """
    twin = _read(read_twin)
    desired, reported = answers.inside(twin, "desired"), answers.inside(twin, "reported")
    found = desired.get("targetTemperature")
    checks.exercise(
        f"{wanted} degrees are desired of the member",
        type(found) in (int, float) and found == wanted,
        hint="Call update_twin of the registry with twin_patch(desired=...), as in step 6, for the other device.",
        mistakes=[
            reported.get("targetTemperature") == wanted
            and "The device *reported* it. A wish from the office is a desired property, and the registry sets it.",
            answers.inside(_read(read_other), "desired").get("targetTemperature") == wanted
            and "Now the kitchen shall have it. The device ID of the member is another one.",
            isinstance(found, str) and f"The desired temperature is the text {found!r:.40}. Write it without quotes.",
            any("targetTemperature" in answers.inside(desired, each) for each in desired)
            and "It is nested too deeply: twin_patch(desired={'targetTemperature': ...}) is all.",
        ],
    )


def _read(read_twin: Callable[[], Any]) -> Mapping[Any, Any]:
    """The twin; an empty one when the learner's lines have closed the client."""
    try:
        return answers.mapping(read_twin())
    except Exception:
        return {}


def _tried(function: Any, enrollments: Enrollments) -> str:
    """Run a learner's function; gives its error in words, empty when there was none."""
    try:
        function(enrollments, enrollments.name)
    except Exception as problem:
        return f"{type(problem).__name__}: {str(problem)[:200]}"
    return ""
