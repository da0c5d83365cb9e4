"""Exercises of the notebooks on fleets: weights, a policy, a webhook; a reset, a lockout, a hub that closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from helpers import checks
from helpers.recipes import cleanup
from helpers.webhook import example_request

from . import answers

#: A weight outside of these is refused by the service. Source: ``IotHubDefinitionDescription.allocationWeight``.
LEAST_WEIGHT, MOST_WEIGHT = 1, 1000


def weights(answer: object, hubs: Sequence[str]) -> None:
    """One oven of five goes to the first hub, four go to the second.

    Arguments:
        answer: the weight of each hub, by its host name.
        hubs: both hubs, in order.
    """
    given = answers.mapping(answer)
    told: list[Any] = [given.get(hub) for hub in hubs[:2]]
    # bool is a number to Python, and no weight
    whole = all(type(weight) is int for weight in told)
    first, second = told if whole else (0, 0)
    checks.exercise(
        "weights for one part and four parts",
        LEAST_WEIGHT <= first <= MOST_WEIGHT and LEAST_WEIGHT <= second <= MOST_WEIGHT and second == 4 * first,
        hint="Of five ovens, one goes to the first hub and four to the second. Only the ratio of the weights matters.",
        mistakes=[
            not whole and "Each hub of `hubs` needs a weight, and a weight is a whole number such as 3.",
            first == second == 0
            and "Both weights are still 0. How many parts does each hub get, if there are five parts?",
            min(first, second) < LEAST_WEIGHT and "The service refuses a weight below 1.",
            max(first, second) > MOST_WEIGHT and "The service refuses a weight above 1000.",
            first == 4 * second
            and "These are the right weights, for the wrong hubs: it is the second that gets four parts.",
            second == 5 * first and "One part and five parts are six parts. There are five.",
            first == second and "With equal weights, both hubs get as many.",
        ],
    )


def one_hub(answer: object, hubs: Sequence[str]) -> None:
    """The fields that send a whole group to the second hub.

    Arguments:
        answer: fields of an enrollment group.
        hubs: both hubs, in order.
    """
    given = answers.mapping(answer)
    policy, names = given.get("allocationPolicy"), given.get("iotHubs")
    wanted = hubs[1]
    checks.exercise(
        "the fields that send every oven of a group to the second hub",
        policy == "static" and names == [wanted] and set(given) <= {"allocationPolicy", "iotHubs"},
        hint="Two fields are needed: allocationPolicy and iotHubs. Step 5 sends a group to one hub.",
        mistakes=[
            not given and "It is a dictionary with two fields: the policy, and the list of hubs. Step 5 has both.",
            "allocationPolicy" in given
            and "iotHubs" not in given
            and "Static says that the list decides, and there is no list: the field iotHubs is missing.",
            "iotHubs" in given
            and "allocationPolicy" not in given
            and "You say which hub, and not by which policy: the field allocationPolicy is missing.",
            isinstance(names, str) and "iotHubs is a list, also when one hub stands in it: [hubs[1]].",
            names == [] and "The list iotHubs is empty, so there is nowhere to go.",
            names == [hubs[0]] and "That is the first hub. The list counts from 0.",
            isinstance(names, list) and len(names) > 1 and "Only one hub may stand in the list.",
            isinstance(policy, str)
            and policy.lower() == "static"
            and policy != "static"
            and "The name of the policy is written in small letters: 'static'.",
            policy in ("hashed", "geoLatency", "custom")
            and "This policy chooses among several hubs. Another one obeys the enrollment; step 8 lists all.",
            set(given) - {"allocationPolicy", "iotHubs"} and "There is a field too much. Two are enough.",
        ],
    )


def webhook(answer: object, hubs: Sequence[str]) -> None:
    """A webhook that sends ovens in France to the second hub, and all others to the first.

    Arguments:
        answer: the function.
        hubs: both hubs.
    """
    # the function sees the hubs in alphabetical order, whatever the order here
    first, second = sorted(hubs)[:2]
    payloads: list[dict[str, str] | None] = [{"country": "FR"}, {"country": "DE"}, {}, None]
    tried = [_tried(answer, _request(hubs, payload)) for payload in payloads]
    france, germany, silent, without = tried
    hosts = {each for each in tried if isinstance(each, str)}
    checks.exercise(
        "a webhook that goes by the country of an oven",
        tried == [second, first, first, first],
        hint='Return {"iotHubHostName": ...}: the second hub when the payload says country "FR", else the first.',
        mistakes=[
            not callable(answer) and "It must be a function: def by_country(request): ...",
            all(each is None for each in tried)
            and 'It must return a dictionary with the field "iotHubHostName", as `choose` does in step 7.',
            (france, germany) == (second, first)
            and isinstance(silent, Exception)
            and "It fails when the payload names no country. Read the country with .get(...).",
            (france, germany, silent) == (second, first, first)
            and isinstance(without, Exception)
            and 'It fails for an oven that sends no payload. Read the payload with .get("payload", {}).',
            any(isinstance(each, Exception) for each in tried)
            and f"It fails with {_first_failure(tried)}. Try it with `request` from step 7.",
            hosts - set(hubs) and "It answers with a hub that is not linked. Take one of request['linkedHubs'].",
            (france, germany) == (first, second) and "The right idea, the wrong way round: France is the second hub.",
            len(hosts) == 1
            and "It answers the same for every oven. The country is in the payload: print `request` from step 7.",
        ],
    )


def _request(hubs: Sequence[str], payload: Mapping[str, str] | None) -> dict[str, Any]:
    """What the function is asked; without a payload, the request has no such field."""
    request = example_request(group_id="ovens", registration_id="ovens-001", hubs=hubs, payload=payload)
    if payload is None:
        del request["deviceRuntimeContext"]["payload"]
    return request


def _tried(function: Any, request: Mapping[str, Any]) -> str | Exception | None:
    """What a learner's function answers: a host name, nothing that could be one, or what it raised."""
    try:
        answer = function(request)
    except Exception as problem:
        return problem
    host = answers.mapping(answer).get("iotHubHostName")
    return host if isinstance(host, str) else None


def _first_failure(tried: Sequence[object]) -> str:
    problem = next((each for each in tried if isinstance(each, Exception)), None)
    return f"{type(problem).__name__}: {problem}"[:120]


def factory_reset(answer: object) -> None:
    """The reprovisioning policy of a kettle that is sold on.

    Arguments:
        answer: the two switches of the policy.
    """
    given = answers.mapping(answer)
    update, migrate = given.get("updateHubAssignment"), given.get("migrateDeviceData")
    checks.exercise(
        "the policy for a kettle that is sold on",
        update is True and migrate is False,
        hint="Two switches, each True or False. It is called a factory reset, and step 4 does one.",
        mistakes=[
            (isinstance(update, str) or isinstance(migrate, str))
            and "A switch is True or False, without quotes: text counts as neither.",
            update is True
            and migrate is True
            and "This takes the data along: the buyer would find the settings of the seller.",
            update is False
            and migrate is True
            and "The switches are the wrong way round: this asks to keep the data of a device that never moves.",
            update is False
            and migrate is False
            and "With this the device keeps everything, hub and data: DPS does nothing when it registers. See step 5.",
            update is True
            and migrate is None
            and "Half of it. What you leave out has its default, and the default takes the data along.",
        ],
    )


def locked_out(dps: Any, group_id: str, member_id: str, member: Any) -> None:
    """One member of a group is out for good: at the door, and in the room.

    Arguments:
        dps: the target, from ``connect(...)``.
        group_id: the group that it is a member of.
        member_id: its registration ID.
        member: what DPS told it: its hub and its device ID.
    """
    what = "the stolen member is out of DPS and out of its hub"
    try:
        service = dps.service_client()
        status = _status(service.enrollment, member_id)
        group = _status(service.enrollment_group, group_id)
        in_hub = cleanup.device_exists(dps, member.assigned_hub, member.device_id)
    except Exception as problem:
        # an exercise never stops a notebook, not even when the service is away
        hint = f"The service could not be asked: {type(problem).__name__}. Run step 9 again."
        checks.exercise(what, False, hint=hint)
        return
    checks.exercise(
        what,
        status == "disabled" and group == "enabled" and not in_hub,
        hint="Its enrollment is disabled, and it is still in its hub. Step 6 clears the room with one call.",
        mistakes=[
            group != "enabled"
            and "That was the whole group: its other members did nothing wrong. Run step 9 again, it makes a group.",
            status == ""
            and "Its own enrollment is gone, and with it the lock: the group admits it again. Run step 9 once more.",
            status != "disabled" and "Its enrollment is enabled again, so it comes back. Run step 9 again.",
        ],
    )


def _status(collection: Any, name: str) -> str:
    """Whether an enrollment or a group is enabled or disabled; empty when there is none."""
    try:
        return str(collection.get(name).get("provisioningStatus") or "enabled")
    except ResourceNotFoundError:
        return ""


def close_a_hub(answer: object) -> None:
    """The order in which a hub is taken out of service.

    Arguments:
        answer: the letters of the four steps, in order.
    """
    letters = answers.word(answer).replace(" ", "")
    place = {letter: letters.find(letter) for letter in "abcd"}
    checks.exercise(
        "the order in which a hub closes",
        letters == "cbad",
        hint="Four letters, such as 'abcd'. Nobody may be in the hub when it goes, and nobody may come back.",
        mistakes=[
            not letters and "Write the four letters in order, between the quotes.",
            sorted(letters) != list("abcd")
            and "Each of the letters a, b, c and d stands in it once, and nothing else.",
            place["d"] < 3
            and "The hub is deleted too early: whatever is still in it, or sent to it, is lost. That comes last.",
            place["a"] < place["b"]
            and "The hub is unlinked while devices are in it: DPS loses sight of them. They have to move first.",
            place["b"] < place["c"]
            and "The devices register, and their enrollments still name the hub: they stay. What must change before?",
        ],
    )
