"""The exercises of the notebook on failures: no answer, every usual mistake, the right answer, and nonsense."""

import random

import pytest

from helpers.exercises import failures

CHANCE = random.Random(1)  # noqa: S311  (no secret hangs on it)
HUB = "contoso-hub-1.azure-devices.test"


class Dps:
    provisioning_host = "global.azure-devices-provisioning.test"
    service_host = "mydps.azure-devices-provisioning.test"
    service_name = "mydps"
    id_scope = "0ne00000A01"
    hubs = (HUB,)


RIGHT_ADDRESS = {
    "provisioning_host": Dps.provisioning_host,
    "id_scope": Dps.id_scope,
    "registration_id": "freezer-101",
}
RIGHT_REMEDIES = {
    "DPS refuses it with 401": "repair",
    "DPS refuses it with 429": "wait",
    "its connection was dropped": "wait",
    "its hub does not know it": "register",
}
NONSENSE = [None, 7, "x", [], ["x"], {}, {"id_scope": 5}, object, float("nan"), b"x"]


def said(capsys):
    verdict, _, hint = capsys.readouterr().out.partition("\n  Hint: ")
    return verdict.strip(), hint.strip()


def address(capsys, **changes):
    failures.address({**RIGHT_ADDRESS, **changes}, Dps, "freezer-101")
    return said(capsys)


@pytest.mark.parametrize(
    "changes",
    [{}, {"registration_id": "FREEZER-101"}, {"provisioning_host": Dps.provisioning_host.upper()}],
    ids=["as it is", "other case of the ID", "other case of the host"],
)
def test_the_right_address(capsys, changes):
    assert address(capsys, **changes) == ("✓ solved: three names put right", "")


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"provisioning_host": f"https://{Dps.service_host}/"}, "has no https://"),
        ({"provisioning_host": f"{Dps.provisioning_host}/"}, "no slash at its end"),
        ({"provisioning_host": Dps.service_host}, "where you manage enrollments"),
        ({"provisioning_host": HUB}, "This is a hub"),
        ({"provisioning_host": "global.azure-devices-provisioning.net"}, "not the one at which devices register"),
        ({"provisioning_host": None}, "not the one at which devices register"),
        ({"id_scope": "mydps"}, "This is the name of the service"),
        ({"id_scope": Dps.service_host}, "This is the name of the service"),
        ({"id_scope": " 0ne00000a01"}, "Nearly: copy the ID scope"),
        ({"id_scope": "0ne00000B02"}, "not the one in the box"),
        ({"id_scope": 5}, "not the one in the box"),
        ({"registration_id": "freezer-101 "}, "a space before or behind"),
        ({"registration_id": "freezers"}, "The device is called freezer-101"),
        ({"registration_id": ""}, "The device is called freezer-101"),
    ],
)
def test_mistakes_in_an_address(capsys, changes, hint):
    verdict, shown = address(capsys, **changes)
    assert verdict == "○ not yet: three names put right"
    assert hint in shown


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_address(capsys, answer):
    failures.address(answer, Dps, "freezer-101")
    verdict, hint = said(capsys)
    assert verdict.startswith("○ not yet")
    assert hint


def test_the_right_remedies(capsys):
    failures.remedies({name: f" {word.upper()} " for name, word in RIGHT_REMEDIES.items()})
    assert said(capsys) == ("✓ solved: a remedy for each failure", "")


_401, _429, _DROPPED, _UNKNOWN = RIGHT_REMEDIES


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        (dict.fromkeys(RIGHT_REMEDIES, ""), "Some are still empty"),
        ({_401: ""}, "Some are still empty"),
        ({_401: None}, "Some are still empty"),
        ({_401: "pray"}, "There are three words to choose from"),
        ({_401: "wait"}, "waiting does not change a key"),
        ({_401: "register"}, "registering again ends in the same way"),
        ({_429: "repair"}, "has too much to do"),
        ({_429: "register"}, "has too much to do"),
        ({_DROPPED: "repair"}, "The device did nothing wrong"),
        ({_DROPPED: "register"}, "only has to connect again"),
        ({_UNKNOWN: "wait"}, "will not learn to know the device"),
        ({_UNKNOWN: "repair"}, "it can ask DPS again"),
    ],
    ids=range(12),
)
def test_mistakes_in_the_remedies(capsys, changes, hint):
    failures.remedies({**RIGHT_REMEDIES, **changes})
    verdict, shown = said(capsys)
    assert verdict == "○ not yet: a remedy for each failure"
    assert hint in shown


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_remedy(capsys, answer):
    failures.remedies(answer)
    verdict, hint = said(capsys)
    assert verdict.startswith("○ not yet")
    assert hint


def capped(attempt):
    return CHANCE.uniform(0, min(60.0, 2.0**attempt))


def half_and_half(attempt):
    limit = min(60.0, 0.5 * 2**attempt)
    return limit / 2 + CHANCE.uniform(0, limit / 2)


@pytest.mark.parametrize("answer", [capped, half_and_half])
def test_the_right_pauses(capsys, answer):
    failures.pauses(answer)
    assert said(capsys)[0].startswith("✓ solved: pauses that grow")


def broken(attempt):
    raise ValueError("not done yet")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda attempt: 0.0, "It does not wait at all yet"),
        (lambda attempt: 5, "The pauses do not grow"),
        (lambda attempt: CHANCE.uniform(0, 5), "The pauses do not grow"),
        (lambda attempt: -(2.0**attempt), "less than nothing"),
        (lambda attempt: CHANCE.uniform(-1, min(60.0, 2.0**attempt)), "less than nothing"),
        (lambda attempt: CHANCE.uniform(0, 2.0**attempt), "it waits for years"),
        (lambda attempt: CHANCE.uniform(0, attempt * 10.0), "it waits for 7 minutes"),
        (lambda attempt: min(60.0, 2.0**attempt), "All devices wait equally long"),
        (lambda attempt: None, "have to return seconds"),
        (lambda attempt: "soon", "have to return seconds"),
        (lambda attempt: float("nan"), "have to return seconds"),
        (lambda: 1, "have to return seconds"),
        (broken, "have to return seconds"),
        (5.0, "Keep the function"),
    ],
    ids=range(14),
)
def test_mistakes_in_the_pauses(capsys, answer, hint):
    failures.pauses(answer)
    verdict, shown = said(capsys)
    assert verdict.startswith("○ not yet: pauses that grow")
    assert hint in shown


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_pause(capsys, answer):
    failures.pauses(answer)
    verdict, hint = said(capsys)
    assert verdict.startswith("○ not yet")
    assert hint
