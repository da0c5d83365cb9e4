"""Diagrams with a TPM and with a function of yours, and where everything in a diagram stands."""

from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import combinations
from xml.etree import ElementTree

import pytest
from azure.iot.device import IoTHubDeviceClient

from helpers import faults, workspace
from helpers.tpm import TpmProvisioningDeviceClient, open_tpm
from helpers.tpm.commands import Exchange
from helpers.views import overview, sequence
from helpers.views.picture import FONT_SIZE, SMALL, width_of
from helpers.views.sequence import SequenceDiagram, Step, moment_of, refused, steps_of

SVG = "{http://www.w3.org/2000/svg}"
START = 1_700_000_000.0
OPENING = ("TPM2_StartAuthSession", "TPM2_ActivateCredential", "TPM2_Import", "TPM2_Load")


def event(at, service, operation, direction, status=None, **detail):
    moment = datetime.fromtimestamp(START + at, timezone.utc)
    return {
        "time": moment.isoformat().replace("+00:00", "Z"),
        "service": service,
        "operation": operation,
        "direction": direction,
        "status": status,
        "detail": detail,
        "device": "d",
    }


def asked(at, *commands, outcome="success"):
    return [Exchange(each, outcome, START + at) for each in commands]


BOOT = [
    event(1, "provisioning", "register", "in"),
    event(2, "provisioning", "register", "out", 401, challenge=True),
    event(4, "provisioning", "register", "in"),
    event(5, "provisioning", "register", "out", 202),
    event(6, "provisioning", "poll", "in"),
    event(6.1, "provisioning", "poll", "out", 202),
    event(7, "provisioning", "poll", "in"),
    event(8, "provisioning", "poll", "out", 200, body={"status": "assigned"}),
    event(10, "hub", "connect", "in"),
    event(10.5, "hub", "connect", "out", 0),
]
COMMANDS = [
    *asked(0, *OPENING),  # by hand, before the boot
    *asked(3, *OPENING),
    *asked(3.5, "TPM2_HMAC"),
    *asked(9, *OPENING),
    *asked(9.5, "TPM2_HMAC"),
]


def test_what_the_tpm_does_stands_where_it_happened():
    assert [str(step) for step in steps_of(BOOT, COMMANDS)] == [
        "Device → DPS: register me",
        "DPS → Device: prove it: open this (401)",
        "Device → TPM: open the challenge",
        "TPM → Device: opened, the key stays inside",
        "Device → TPM: sign this token",
        "TPM → Device: the signature",
        "Device → DPS: register me, the TPM has signed",
        "DPS → Device: not yet, ask again (202)",
        "Device → DPS: am I assigned by now?",
        "DPS → Device: assigned (200)",
        "Device → TPM: take in the key for the hub",
        "TPM → Device: taken in, it stays inside",
        "Device → TPM: sign this token",
        "TPM → Device: the signature",
        "Device → Hub: connect with a signed token",
        "Hub → Device: connection accepted",
    ]


def test_a_second_boot_begins_with_a_challenge_again():
    second = [{**each, "time": each["time"].replace("T22:13", "T22:14")} for each in BOOT[:3]]
    assert second[0]["time"] != BOOT[0]["time"]
    steps = steps_of([*BOOT, *second], [*COMMANDS, *asked(63, *OPENING)])
    assert [step.label for step in steps if step.receiver == "TPM"][-1] == "open the challenge"


def test_a_tpm_that_refuses_is_drawn_as_a_refusal():
    steps = steps_of(BOOT[:2], asked(3, "TPM2_ActivateCredential", outcome="TPM_RC_INTEGRITY"))
    assert str(steps[-1]) == "TPM → Device: refused, TPM_RC_INTEGRITY"
    assert steps[-1].failed


def test_without_messages_or_their_times_the_commands_have_no_place():
    timeless = [{**each, "time": ""} for each in BOOT]
    assert steps_of([], COMMANDS) == []
    assert steps_of(timeless, COMMANDS) == steps_of(BOOT)


def test_who_asks_and_who_answers():
    by_label = {step.label: step.answer for step in steps_of(BOOT, COMMANDS)}
    assert not by_label["register me"]
    assert not by_label["open the challenge"]
    assert by_label["prove it: open this (401)"]
    assert by_label["the signature"]
    assert [
        step.answer
        for step in steps_of(
            [
                event(1, "hub", "method", "out"),
                event(2, "hub", "method", "in"),
                event(3, "hub", "twin desired", "out"),
                event(4, "registry", "update twin", "in"),
                event(5, "registry", "update twin", "out", 412),
            ]
        )
    ] == [False, True, False, False, True]


def test_a_device_that_uses_its_hub_over_https():
    messages = [
        event(1, "hub", "telemetry", "in", body="21.5"),
        event(2, "hub", "telemetry", "out", 204),
        event(3, "hub", "receive message", "in"),
        event(4, "hub", "receive message", "out", 200, body="open"),
        event(5, "hub", "complete or reject message", "in"),
        event(6, "hub", "complete or reject message", "out", 412, body={"Message": "ErrorCode:DeviceMessageLockLost"}),
    ]
    steps = steps_of(messages)
    assert [str(each) for each in steps[:5]] == [
        "Device → Hub: telemetry",
        "Hub → Device: telemetry received",
        "Device → Hub: is there a message for me?",
        "Hub → Device: answer to the question",
        "Device → Hub: done with the message",
    ]
    assert [each.failed for each in steps] == [False] * 5 + [True]


def attach(sequence, service, address, link="sender", **detail):
    return event(sequence, service, "attach", "in", address=address, link=link, **detail)


def test_a_device_over_amqp_says_what_its_links_are_for():
    messages = [
        event(1, "provisioning", "connect", "in"),
        attach(2, "provisioning", "0ne00000A01/registrations/pump"),
        attach(3, "provisioning", "0ne00000A01/registrations/pump", "receiver"),
        event(4, "hub", "open", "in"),
        attach(5, "hub", "$cbs"),
        event(6, "hub", "token", "in", 200),
        attach(7, "hub", "/devices/pump/twin", "receiver"),
        attach(8, "hub", "/devices/pump/elsewhere"),
        event(9, "hub", "attach", "out", 404),
    ]
    steps = steps_of(messages)
    assert [str(each).partition(": ")[2] for each in steps[1:8]] == [
        "a link for registering: I send",
        "a link for registering: I receive",
        "open a connection",
        "a link for tokens: I send",
        "here is my signed token",
        "a link for the twin: I receive",
        "a link for /devices/pump/elsewhere: I send",
    ]
    assert [each.failed for each in steps] == [False] * 8 + [True]


def test_a_function_that_decides_has_a_lane():
    asks = event(1, "webhook", "allocate", "out")
    good = event(2, "webhook", "allocate", "in", 200, body={"iotHubHostName": "contoso-hub-2.azure-devices.test"})
    vague = event(2, "webhook", "allocate", "in", 200, body="?")
    broken = event(2, "webhook", "allocate", "in", 500, reason="the webhook answered with 500")
    silent = event(2, "webhook", "allocate", "in", None, reason="nobody there")
    steps = steps_of([asks, good, vague, broken, silent])
    assert [str(step) for step in steps] == [
        "DPS → Your function: which hub for this device?",
        "Your function → DPS: take contoso-hub-2",
        "Your function → DPS: this hub",
        "Your function → DPS: no answer that helps, status 500",
        "Network between Your function and DPS: no answer: nobody there",
    ]
    assert [step.answer for step in steps] == [False, True, True, True, False]
    assert [step.failed for step in steps] == [False, False, False, True, True]
    assert refused({"service": "webhook", "operation": "allocate", "status": 200, "detail": {"reason": "no hub"}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", START),
        ("2023-11-14T22:13:20.5Z", START + 0.5),
        ("2023-11-14T22:13:20.05879Z", START + 0.05879),
        ("2023-11-14T22:13:20.050000+00:00", START + 0.05),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_time_of_an_event(text, seconds):
    assert moment_of({"time": text}) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
    assert moment_of({}) is None


def test_on_azure_the_words_of_the_client_and_the_history_of_the_tpm_make_one_picture():
    said = [
        event(1, "provisioning", "register", "in"),
        event(2, "provisioning", "register", "out", 401, challenge=True),
        event(4, "provisioning", "assigned", "out"),
        event(6, "provisioning", "assigned", "out"),
    ]
    exchanges = [*asked(3, *OPENING), *asked(3.5, "TPM2_HMAC"), *asked(5, *OPENING)]
    assert [str(step) for step in steps_of(said, exchanges)] == [
        "Device → DPS: register me",
        "DPS → Device: prove it: open this (401)",
        "Device → TPM: open the challenge",
        "TPM → Device: opened, the key stays inside",
        "Device → TPM: sign this token",
        "TPM → Device: the signature",
        "DPS → Device: assigned",
        "Device → TPM: take in the key for the hub",
        "TPM → Device: taken in, it stays inside",
    ]


# --- where everything stands ------------------------------------------------------------------------------------------

FUNCTION = [
    Step("You", "DPS", "create or update individual enrollment"),
    Step("Device", "DPS", "connect with a certificate and 2 more of its chain"),
    Step("DPS", "Your function", "which hub for this device?"),
    Step("Your function", "DPS", "no answer that helps, status 500", failed=True, answer=True),
    Step("Device", "TPM", "open the challenge"),
    Step("Hub", "Device", "connection accepted", answer=True),
]
DIAGRAMS = {
    "overview": overview(),
    "tpm": SequenceDiagram("A boot", steps_of(BOOT, COMMANDS), names={"Device": "greenhouse-gateway"}),
    "all lanes": SequenceDiagram("All", FUNCTION, names={"Device": "x" * 60}),
    "long words": SequenceDiagram("Long", [Step("Device", "DPS", "word " * 30), Step("DPS", "Device", "y" * 200)]),
    "two lanes, every kind": SequenceDiagram(
        "Network",
        [
            Step("Device", "DPS", "connect"),
            Step("DPS", "Device", "accepted", answer=True),
            Step("DPS", "Device", "refused, status 429 (a fault that is switched on)", failed=True, answer=True),
            Step("Device", "DPS", "the answer is delayed by 0.3 s", network=True),
            Step("Device", "DPS", "the connection is cut", failed=True, network=True),
        ],
    ),
    "nothing": SequenceDiagram("Nothing", []),
}
every_diagram = pytest.mark.parametrize("diagram", DIAGRAMS.values(), ids=DIAGRAMS.keys())


@dataclass
class Words:
    """A text of a picture, with the room that it takes."""

    text: str
    left: float = field(default=0)
    right: float = field(default=0)
    top: float = field(default=0)
    bottom: float = field(default=0)

    @classmethod
    def of(cls, element):
        small = element.get("font-size") is not None
        width = width_of(element.text, bold=element.get("font-weight") == "bold", small=small)
        x, base = int(element.get("x")), int(element.get("y"))
        left = x - {"middle": width / 2, "end": width}.get(element.get("text-anchor"), 0)
        return cls(element.text, left, left + width, base - (SMALL if small else FONT_SIZE), base + 2)


def read(diagram):
    return ElementTree.fromstring(diagram.svg())  # noqa: S314 - our own picture


@every_diagram
def test_words_neither_overlap_nor_leave_the_picture(diagram):
    root = read(diagram)
    width, height = map(int, root.get("viewBox").split()[2:])
    found = [Words.of(element) for element in root.iter(f"{SVG}text")]
    for each in found:
        assert each.left >= 0, each
        assert each.right <= width, each
        assert each.bottom <= height, each
    for one, other in combinations(found, 2):
        apart = one.right <= other.left or other.right <= one.left
        assert apart or one.bottom <= other.top or other.bottom <= one.top, (one, other)


@every_diagram
def test_no_line_runs_through_words(diagram):
    root = read(diagram)
    upright = [each for each in root.iter(f"{SVG}line") if each.get("x1") == each.get("x2")]
    for text in map(Words.of, root.iter(f"{SVG}text")):
        for each in upright:
            x, begin, end = (int(each.get(name)) for name in ("x1", "y1", "y2"))
            beside = x <= text.left or x >= text.right
            assert beside or end <= text.top or begin >= text.bottom, (text, each.attrib)


@every_diagram
def test_it_has_no_colour_of_its_own(diagram):
    colours = {element.get(kind) for element in read(diagram).iter() for kind in ("fill", "stroke")}
    assert colours <= {None, "none", "currentColor"}


def test_four_lanes_fit_on_a_page_of_800_pixels():
    assert int(read(DIAGRAMS["tpm"]).get("viewBox").split()[2]) <= 720


def captions(diagram):
    return [each.text for each in read(diagram).iter(f"{SVG}text") if each.get("font-style") == "italic"]


def test_bands_show_whom_the_device_deals_with():
    assert captions(DIAGRAMS["tpm"]) == ["with DPS", "with its hub"]
    assert captions(overview()) == ["with DPS", "with its hub"]
    assert captions(SequenceDiagram("T", steps_of(BOOT[:4]))) == []


def test_a_signature_is_for_what_comes_next():
    steps = steps_of(BOOT, COMMANDS)
    root = read(SequenceDiagram("T", steps))
    tops = {each.text: int(each.get("y")) for each in root.iter(f"{SVG}text")}
    assert tops["with its hub"] == tops["13. sign this token"]
    alone = SequenceDiagram("T", [Step("Device", "TPM", "sign this token"), Step("TPM", "Device", "the signature")])
    assert captions(alone) == []


def test_the_legend_tells_what_occurs():
    said = [
        [each.text for each in read(diagram).iter(f"{SVG}text")][-3:]
        for diagram in (DIAGRAMS["all lanes"], SequenceDiagram("T", [Step("Device", "DPS", "hello")]))
    ]
    assert said[0] == ["asks or tells", "answers", "refuses"]
    assert said[1][-1] == "asks or tells"


def test_a_refusal_has_a_cross_and_dashes():
    root = read(SequenceDiagram("T", [Step("DPS", "Device", "refused, status 401", failed=True, answer=True)]))
    # one in the picture, one in the legend
    assert len(root.findall(f"{SVG}path")) == 2
    assert sum(each.get("stroke-dasharray") is not None for each in root.findall(f"{SVG}line")) == 2


# --- with a real one --------------------------------------------------------------------------------------------------


@pytest.mark.sdk
def test_a_boot_with_a_tpm_is_drawn_with_what_happens_inside(dps, tmp_path):
    with open_tpm("embedded", tmp_path) as tpm:
        attestation = {"type": "tpm", "tpm": {"endorsementKey": tpm.endorsement_key}}
        enrollment = {"registrationId": "gateway", "attestation": attestation}
        dps.service_client().enrollment.create_or_update("gateway", enrollment)
        after = dps.last_event()
        client = TpmProvisioningDeviceClient.create_from_tpm(
            dps.provisioning_host, dps.id_scope, tpm, "gateway", **dps.device_options
        )
        client.register()
        diagram = sequence(dps, after=after, device="gateway", title="A boot", name="gateway", tpm=tpm)
    inside = [line.split(": ", 1)[1] for line in str(diagram).splitlines() if "TPM" in line.split(": ")[0]]
    assert inside == [
        "open the challenge",
        "opened, the key stays inside",
        "sign this token",
        "the signature",
        "take in the key for the hub",
        "taken in, it stays inside",
    ]


def cut(at, service="hub", what="cut", reason="the connection is cut"):
    return event(at, service, f"fault: {what}", "out" if what == "cut" else "in", reason=reason)


@pytest.mark.parametrize(
    ("detail", "direction", "told"),
    [
        ({"clean": True, "ended": "client"}, "in", ["Device → Hub: goodbye"]),
        ({"clean": False, "ended": "network"}, "in", ["Network between Device and Hub: the connection is lost"]),
        (
            {"clean": False, "ended": "service", "reason": "no packet within 1.5 times the keep alive time"},
            "out",
            ["Hub → Device: closes the connection: no packet within 1.5 times the keep alive time"],
        ),
        # the service has said before why it closes: a refusal, a wrong topic
        ({"clean": False, "ended": "service"}, "out", []),
        # traces of a simulator that does not say who ended it, and the SDK's own words
        ({"clean": False}, "in", ["Network between Device and Hub: the connection is lost"]),
        ({"clean": True}, "in", ["Device → Hub: goodbye"]),
        ({}, "in", ["Device → Hub: goodbye"]),
    ],
)
def test_only_who_takes_leave_says_goodbye(detail, direction, told):
    assert [str(step) for step in steps_of([event(1, "hub", "disconnect", direction, None, **detail)])] == told


def test_what_a_service_does_that_ends_a_connection():
    taken_over = event(1, "hub", "disconnect", "out", 400, code=400027, reason="the newer one stays")
    wrong = event(1, "provisioning", "close", "out", reason="the topic is unknown")
    steps = steps_of([taken_over, wrong])
    assert [str(step) for step in steps] == [
        "Hub → Device: closes the connection, code 400027: the newer one stays",
        "DPS → Device: closes the connection: the topic is unknown",
    ]
    assert not any(step.answer or step.network for step in steps)


def test_what_the_network_does_is_said_by_nobody():
    slow = cut(1, "provisioning", "latency", "the answer is delayed by 0.3 s")
    lost = event(4, "hub", "disconnect", "in", None, clean=False, ended="network")
    late = event(5, "hub", "disconnect", "in", None, clean=False, ended="network")
    steps = steps_of([slow, cut(2, "provisioning"), cut(3), lost, event(4.5, "hub", "connect", "in"), late])
    assert [str(step) for step in steps] == [
        "Network between Device and DPS: the answer is delayed by 0.3 s",
        "Network between Device and DPS: the connection is cut",
        # that it is lost then is no news
        "Network between Device and Hub: the connection is cut",
        "Device → Hub: connect with a signed token",
        "Network between Device and Hub: the connection is lost",
    ]
    assert [step.failed for step in steps] == [False, True, True, False, True]


def test_faults_of_the_network_are_seen_where_your_requests_are_left_out():
    steps = steps_of([cut(1, "enrollments"), cut(2, "registry"), event(3, "registry", "get device", "in")])
    assert [str(step) for step in steps] == [
        "Network between You and DPS: the connection is cut",
        "Network between You and Hub: the connection is cut",
    ]


@pytest.mark.parametrize(("addressed", "lane"), [("provisioning", "Device and DPS"), ("hub", "Device and Hub")])
def test_a_handshake_that_failed_is_no_message(addressed, lane):
    failed = event(1, "simulator", "connection refused", "in", reason="the TLS handshake failed", addressed=addressed)
    assert [str(step) for step in steps_of([failed])] == [
        f"Network between {lane}: no connection: the TLS handshake failed"
    ]
    failed["detail"]["addressed"] = ""
    assert steps_of([failed]) == []


@pytest.mark.parametrize(("operation", "status", "said"), [("register", 429, "status 429"), ("connect", 3, "code 3")])
def test_a_fault_of_the_service_is_its_answer_and_says_that_it_was_switched_on(operation, status, said):
    (forced,) = steps_of([event(1, "provisioning", operation, "out", status, finding="faultSwitchedOn")])
    (real,) = steps_of([event(1, "provisioning", operation, "out", status)])
    assert str(forced) == f"DPS → Device: refused, {said} (a fault that is switched on)"
    assert str(real) == f"DPS → Device: refused, {said}"
    assert not forced.network


def test_a_challenge_is_answered_across_a_fault_of_the_network():
    told = [*BOOT[:2], cut(3, "provisioning", "latency", "the answer is delayed by 0.3 s"), *BOOT[2:]]
    assert "Device → DPS: register me, the TPM has signed" in [str(step) for step in steps_of(told)]


def test_the_network_is_drawn_dotted_and_without_a_head():
    steps = [Step("Device", "DPS", "delayed", network=True), Step("Device", "DPS", "cut", failed=True, network=True)]
    diagram = SequenceDiagram("Network", steps)
    picture = ElementTree.fromstring(diagram.svg())  # noqa: S314  (our own)
    dotted = [each for each in picture.iter(f"{SVG}line") if each.get("stroke-dasharray") == "0.1 6"]
    assert len(dotted) == 3, "one for each, and one that explains them"
    assert len(list(picture.iter(f"{SVG}path"))) == 1, "only what gets through no more has a cross"
    assert not list(picture.iter(f"{SVG}polygon"))
    assert "the network: nobody says it" in diagram.svg()
    assert "2. Network between Device and DPS: cut." in diagram.svg()
    assert "  2. Network between Device and DPS: cut" in str(diagram)


def test_what_is_signed_before_the_first_message_belongs_to_the_story_from_a_moment_on():
    connect = [event(1, "hub", "connect", "in"), event(1.5, "hub", "connect", "out", 0)]
    signed = asked(0.5, "TPM2_HMAC")
    older = asked(-10, *OPENING)
    steps = [str(step) for step in steps_of(connect, [*older, *signed], since=START)]
    assert steps[:2] == ["Device → TPM: sign this token", "TPM → Device: the signature"]
    assert len(steps) == 4
    assert len(steps_of(connect, [*older, *signed])) == 2
    assert steps_of([], signed, since=START)[0].label == "sign this token"


@pytest.mark.sdk
def test_a_cut_and_a_goodbye_are_told_apart_on_the_wire(dps, names):
    device = workspace.need("symmetric_key.registrations", dps, **names)["individual"]
    before = dps.last_event()
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=device["key"].reveal(),
        hostname=device["hub"],
        device_id=device["device_id"],
        **dps.device_options,
    )
    client.connect()
    with faults.cut(dps, device["hub"], messages=True):
        client.send_message("minus seventeen")
    client.shutdown()
    told = str(sequence(dps, after=before, device=device["device_id"], title="A cut"))
    assert [line.partition(". ")[2] for line in told.splitlines()[1:]] == [
        "Device → Hub: connect with a signed token",
        "Hub → Device: connection accepted",
        "Network between Device and Hub: the connection is cut",
        "Device → Hub: connect with a signed token",
        "Hub → Device: connection accepted",
        "Device → Hub: telemetry",
        "Device → Hub: goodbye",
    ]
