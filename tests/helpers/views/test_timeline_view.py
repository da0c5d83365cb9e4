"""How long devices take, as a picture and as a table."""

import logging
from datetime import datetime, timezone
from xml.etree import ElementTree

import pytest

from helpers import workspace
from helpers.views import timeline
from helpers.views.observation import SDK_LOGGER, TPM_LOGGER, SdkObserver
from helpers.views.picture import width_of
from helpers.views.timeline import Timeline, ways_of

SVG = "{http://www.w3.org/2000/svg}"
START = 1_700_000_000


def event(milliseconds, service, operation, direction, status=None, *, device="pump-101", protocol="mqtt", **detail):
    return {
        "time": datetime.fromtimestamp(START + milliseconds / 1000, timezone.utc).isoformat(),
        "service": service,
        "operation": operation,
        "direction": direction,
        "status": status,
        "detail": detail,
        "device": device,
        "protocol": protocol,
    }


def assigned(device_id):
    return {"status": "assigned", "registrationState": {"deviceId": device_id}}


def boot(begin=0, device="pump-101", device_id="pump"):
    """The messages of a device that finds its hub."""
    said = [
        (0, "provisioning", "connect", "in", None, {}),
        (10, "provisioning", "connect", "out", 0, {}),
        (12, "provisioning", "subscribe", "in", None, {}),
        (20, "provisioning", "register", "in", None, {}),
        (30, "provisioning", "register", "out", 202, {}),
        (1030, "provisioning", "poll", "in", None, {}),
        (1040, "provisioning", "poll", "out", 202, {}),
        (2030, "provisioning", "poll", "in", None, {}),
        (2040, "provisioning", "poll", "out", 200, {"body": assigned(device_id)}),
        (2050, "provisioning", "disconnect", "in", None, {}),
    ]
    hub = [(2100, "connect", "in", None), (2110, "connect", "out", 0), (2200, "telemetry", "in", None)]
    return [
        *(event(begin + at, *rest, device=device, **detail) for at, *rest, detail in said),
        *(event(begin + at, "hub", *rest, device=device_id) for at, *rest in hub),
    ]


def phases(way):
    return [(phase.name, round(phase.begin), round(phase.takes), phase.outcome) for phase in way.phases]


def drawn(view):
    return ElementTree.fromstring(view.svg())  # noqa: S314 - our own picture


def test_the_phases_of_a_boot():
    (way,) = ways_of(boot())
    assert phases(way) == [
        ("connects to DPS", 0, 10, "accepted"),
        ("registers", 20, 10, "not yet"),
        ("waits for its hub", 30, 2010, "assigned"),
        ("goes to its hub", 2040, 60, "hub reached"),
        ("connects to its hub", 2100, 10, "connected"),
    ]
    assert (way.registration_id, way.device_id, way.outcome) == ("pump-101", "pump", "connected")
    assert round(way.total) == 2110
    assert way.assigned
    assert way.over


def test_the_same_as_a_table():
    view = Timeline("A boot", ways_of(boot()), note="A note.")
    lines = str(view).splitlines()
    assert lines[0] == "A boot"
    assert lines[1].split() == ["device", "phase", "begins", "at", "takes", "ends", "with"]
    assert lines[4] == "pump-101  registers            20 ms      10 ms    not yet"
    assert lines[-2] == "pump-101  all of it            0 ms       2110 ms  connected"
    assert lines[-1] == "A note."
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == repr(view) == str(view)
    assert bundle["text/html"].count("A note.") == 2


def test_a_device_with_a_tpm_proves_itself():
    said = [
        event(0, "provisioning", "register", "in", protocol="https"),
        event(1, "provisioning", "register", "out", 401, protocol="https", challenge=True),
        event(51, "provisioning", "register", "in", protocol="https"),
        event(52, "provisioning", "register", "out", 200, protocol="https", body=assigned("pump")),
    ]
    (way,) = ways_of(said)
    assert phases(way) == [
        ("registers", 0, 1, "challenge"),
        ("proves itself in its TPM", 1, 50, "proof sent"),
        ("registers", 51, 1, "assigned"),
        ("goes to its hub", 52, 0, "nothing yet"),
    ]
    assert not way.over
    assert "goes on" in str(Timeline("T", [way]))
    again = [{**each, "time": each["time"].replace("T22:13", "T22:14")} for each in said]
    assert len(ways_of([*said, *again])) == 2


def test_devices_are_told_apart_and_boots_numbered():
    ways = ways_of([*boot(), *boot(100_000), *boot(200_000, device="pump-102", device_id="")])
    assert [len(way.phases) for way in ways] == [5, 5, 4]
    rows = Timeline("T", ways).rows
    assert [row[0] for row in rows if row[1] == "all of it"] == ["pump-101", "pump-101, boot 2", "pump-102"]


def test_two_devices_at_once():
    both = sorted([*boot(), *boot(5, device="pump-102", device_id="other")], key=lambda each: each["time"])
    assert [phases(way)[-1][-1] for way in ways_of(both)] == ["connected", "connected"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (event(30, "provisioning", "register", "out", 401), "refused, 401"),
        (event(30, "provisioning", "not assigned", "out"), "refused"),
        (event(30, "provisioning", "register", "out", 200, body={"status": "disabled"}), "disabled"),
    ],
    ids=["refused", "sdk", "disabled"],
)
def test_a_device_that_does_not_get_in(answer, outcome):
    (way,) = ways_of([*boot()[:4], answer])
    assert way.outcome == outcome
    assert way.over
    assert not way.assigned
    view = Timeline("T", [way])
    assert outcome in str(view)
    assert any(each.get("stroke-dasharray") for each in drawn(view).iter(f"{SVG}rect"))
    assert any(outcome in (each.text or "") for each in drawn(view).iter(f"{SVG}text"))
    # whoever connects anew begins anew
    assert len(ways_of([*boot()[:4], answer, *boot(5000)])) == 2


def test_a_device_that_is_put_off_goes_on_on_the_same_connection():
    busy = event(1040, "provisioning", "poll", "out", 429)
    (way,) = ways_of([*boot()[:6], busy, *boot()[7:]])
    assert [name for name, *_ in phases(way)][2:4] == ["waits for its hub", "waits for its hub"]
    assert phases(way)[2][-1] == "refused, 429"
    assert way.outcome == "connected"
    (retried,) = ways_of([*boot()[:4], event(25, "provisioning", "register", "out", 429), *boot()[3:]])
    assert [name for name, *_ in phases(retried)].count("registers") == 2


def test_a_connection_that_breaks():
    cut = [*boot()[:4], event(500, "provisioning", "connect", "in")]
    (way,) = ways_of(cut)
    assert [phase.outcome for phase in way.phases] == ["accepted", "broken off", "nothing yet"]
    (still,) = ways_of([*boot()[:1], event(5, "provisioning", "connect", "in")])
    assert len(still.phases) == 1


def test_a_hub_that_refuses_and_hubs_that_nobody_was_sent_to():
    refused = event(2110, "hub", "connect", "out", 5, device="pump")
    (way,) = ways_of([*boot()[:11], refused])
    assert way.outcome == "refused, code 5"
    assert ways_of([event(0, "hub", "connect", "in", device="other")]) == []
    (waiting,) = ways_of([*boot()[:4], event(25, "hub", "connect", "in")])
    assert waiting.outcome == "nothing yet"


def test_what_does_not_belong_to_it_is_left_out():
    assert ways_of([event(0, "management", "health", "in")]) == []
    assert ways_of([{**event(0, "provisioning", "connect", "in"), "time": "?"}]) == []
    assert ways_of([event(0, "provisioning", "register", "out", 200)]) == []
    assert ways_of([event(0, "provisioning", "poll", "in")]) == []
    late = event(9000, "provisioning", "poll", "out", 200, body=assigned("other"))
    (way,) = ways_of([*boot(), late])
    assert way.device_id == "pump"


def test_a_device_that_says_no_name_is_known_by_its_client_id():
    (way,) = ways_of([event(0, "provisioning", "connect", "in", device="", clientId="pump-7")])
    assert way.registration_id == "pump-7"


@pytest.mark.parametrize("count", [0, 1, 4, 5, 45], ids=str)
def test_words_stay_within_the_picture(count):
    ways = ways_of(
        each
        for number in range(count)
        for each in boot(number * 10_000, f"pump-{number}-{'x' * 90}", f"device-{number}")[: 5 if number == 2 else 99]
    )
    root = drawn(Timeline("T", ways))
    width, height = map(int, root.get("viewBox").split()[2:])
    texts = list(root.iter(f"{SVG}text"))
    for each in texts:
        x = int(each.get("x"))
        room = width_of(each.text, bold=each.get("font-weight") == "bold", small=bool(each.get("font-size")))
        anchor = each.get("text-anchor")
        left = x - room if anchor == "end" else x - room // 2 if anchor == "middle" else x
        assert left >= 0, each.text
        assert left + room <= width, each.text
        assert int(each.get("y")) <= height
    said = {each.text for each in texts}
    assert ("with DPS" in said) == (count > 4)
    assert ("and 5 more, in the table" in said) == (count == 45)
    colours = {element.get(kind) for element in root.iter() for kind in ("fill", "stroke")}
    assert colours <= {None, "none", "currentColor"}


def test_the_picture_of_many_tells_in_words_who_was_refused():
    refused = [*boot()[:4], event(30, "provisioning", "register", "out", 401)]
    many = [each for number in range(5) for each in boot(number * 10_000, f"pump-{number}", f"d{number}")]
    view = Timeline("T", ways_of([*refused, *many[:-1], *boot(90_000, "pump-6", "d6")[:11]]))
    said = [each.text for each in drawn(view).iter(f"{SVG}text")]
    assert "30 ms, refused" in said
    lines = [line.split() for line in str(view).splitlines()]
    assert lines[1] == ["device", "assigned", "after", "in", "its", "hub", "after", "ends", "with"]
    assert lines[3] == ["pump-101", "refused,", "401"]
    assert lines[4] == ["pump-0", "2040", "ms", "2110", "ms", "connected"]
    assert lines[-1] == ["pump-6", "2040", "ms", "nothing", "yet"]


def test_words_that_do_not_fit_behind_a_bar_stand_before_it():
    late = event(1999, "provisioning", "poll", "out", 401, reason="no")
    (way,) = ways_of([*boot()[:5], late])
    way.phases[-1].outcome = "refused by somebody with a very long name"
    texts = {each.text: each for each in drawn(Timeline("T", [way])).iter(f"{SVG}text")}
    assert texts["1969 ms, refused by somebody with a very long name"].get("text-anchor") == "end"


def test_the_picture_is_described():
    root = drawn(Timeline("A boot", ways_of(boot())))
    assert root.find(f"{SVG}title").text == "A boot"
    assert "pump-101: connects to DPS 10 ms, registers 10 ms" in root.find(f"{SVG}desc").text
    assert "connected after 2110 ms." in root.find(f"{SVG}desc").text


def test_nothing_seen_says_so():
    view = Timeline("T", [])
    assert str(view) == "T\n(no device was seen)"
    assert drawn(view) is not None


class Like:
    """A target that has seen this."""

    def __init__(self, events, *, is_simulator=True):
        self._events = events
        self.is_simulator = is_simulator

    def events(self, after=0, device=()):
        return self._events[after:]


@pytest.mark.parametrize("device", ["pump-102", "other", ["other"], ("nobody", "pump-102")], ids=str)
def test_one_may_choose_devices_by_either_name(device):
    dps = Like([*boot(), *boot(10_000, "pump-102", "other")])
    view = timeline(dps, device=device, title="T")
    assert [way.registration_id for way in view.ways] == ["pump-102"]
    assert len(timeline(dps, title="T").ways) == 2
    assert len(timeline(dps, after=13, title="T").ways) == 1
    assert timeline(dps, device="nobody", title="T").ways == []
    assert "simulator" in view.note


def test_on_azure_the_words_of_the_sdk_have_times():
    observer = SdkObserver()
    try:
        log, tpm_log = logging.getLogger(SDK_LOGGER), logging.getLogger(TPM_LOGGER)
        tpm_log.info("Registering with Provisioning Service...")
        tpm_log.info("Opening the challenge in the TPM...")
        tpm_log.info("Taking the hub key into the TPM...")
        tpm_log.info("Successfully registered with Provisioning Service")
        log.info("Connecting to Hub...")
        log.info("Successfully connected to Hub")
        view = timeline(Like(observer.events(), is_simulator=False), device="gateway", title="T")
    finally:
        observer.close()
    (way,) = view.ways
    assert [(phase.name, phase.outcome) for phase in way.phases] == [
        ("registers", "challenge"),
        ("proves itself in its TPM", "assigned"),
        ("goes to its hub", "hub reached"),
        ("connects to its hub", "connected"),
    ]
    assert "the device" in str(view)
    assert "It names no device" in view.note


@pytest.mark.sdk
def test_a_real_boot_has_its_phases(dps, names):
    after = dps.last_event()
    workspace.need("symmetric_key.registrations", dps, **names)
    view = timeline(dps, after=after, device="thermostat-001", title="A boot")
    (way,) = view.ways
    assert way.device_id == "kitchen-thermostat"
    assert [phase.name for phase in way.phases] == ["connects to DPS", "registers", "goes to its hub"]
    assert way.total > 0
