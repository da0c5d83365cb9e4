import logging
from xml.etree import ElementTree

import pytest

from helpers import workspace
from helpers.views import device_table, enrollment_list, overview, sequence
from helpers.views.explorer import Entry, Explorer
from helpers.views.observation import SDK_LOGGER, TPM_LOGGER, SdkObserver
from helpers.views.sequence import SequenceDiagram, Step, steps_of
from helpers.views.text import html_table, text_table

SVG = "{http://www.w3.org/2000/svg}"


def test_a_text_table_is_aligned_without_blanks_at_the_ends():
    assert text_table(("a", "bb"), [("long cell", ""), ("x", "y")]) == (
        "a          bb\n---------  --\nlong cell\nx          y"
    )
    assert text_table(("a",), []) == "(nothing)"


def test_an_html_table_is_escaped_and_has_a_caption_and_heads():
    html = html_table("<Title>", ("a&b",), [("<script>",)])
    assert "<script>" not in html
    assert "&lt;Title&gt;" in html
    assert html.count('<th scope="col"') == 1
    assert "<caption" in html
    assert html_table("T", ("a",), [], empty="none") == "<p><strong>T</strong>: none</p>"


class Shelf:
    """Entries that can change or refuse to be read."""

    def __init__(self):
        self.entries = [Entry("one", ("one", "1"), {"colour": "<red>"}), Entry("two", ("two", "2"))]
        self.problem = None

    def read(self):
        if self.problem:
            raise self.problem
        return list(self.entries)


@pytest.fixture
def shelf():
    return Shelf()


def parts(explorer):
    table, controls, details, message = explorer.widget.children
    pick, again, _switch = controls.children
    return table, pick, again, details, message


def test_an_explorer_shows_the_same_as_text_html_and_widget(shelf):
    explorer = Explorer("Shelf", ("name", "number"), shelf.read)
    data, metadata = explorer._repr_mimebundle_()
    assert data["text/plain"] == str(explorer) == repr(explorer)
    assert data["text/plain"].startswith("Shelf\nname  number\n")
    assert data["text/html"] == explorer.html() == parts(explorer)[0].value
    assert isinstance(metadata, dict)
    assert explorer.rows == [("one", "1"), ("two", "2")]
    assert explorer.widget is explorer.widget


def test_one_can_look_into_a_line(shelf):
    explorer = Explorer("Shelf", ("name", "number"), shelf.read)
    _, pick, _, details, _ = parts(explorer)
    assert "Choose a line" in details.value
    pick.value = "one"
    assert "&lt;red&gt;" in details.value
    pick.value = ""
    assert "Choose a line" in details.value


def test_one_can_read_again(shelf):
    explorer = Explorer("Shelf", ("name", "number"), shelf.read)
    table, pick, again, _, message = parts(explorer)
    pick.value = "one"
    shelf.entries = [Entry("three", ("three", "3"))]
    again.click()
    assert "three" in table.value
    assert pick.value == ""
    assert [name for name, _ in pick.options] == ["(choose a line)", "three"]
    assert "Read again: 1 line." in message.value
    shelf.problem = ValueError("<gone>")
    again.click()
    assert "Reading failed: ValueError: &lt;gone&gt;" in message.value
    assert "three" in table.value


def test_controls_have_labels(shelf):
    explorer = Explorer("Shelf", ("name", "number"), shelf.read)
    controls = explorer.widget.children[1].children
    assert [control.description for control in controls] == ["Look into", "Read again", "Refresh by itself"]
    assert all(control.tooltip for control in controls)


def test_the_chosen_line_stays_chosen_as_long_as_it_is_there(shelf):
    explorer = Explorer("Shelf", ("name", "number"), shelf.read)
    _, pick, again, details, _ = parts(explorer)
    pick.value = "two"
    shelf.entries = [Entry("four", ("four", "4")), Entry("two", ("two", "2"), {"size": "new"})]
    again.click()
    assert pick.value == "two"
    assert "new" in details.value
    shelf.entries = [Entry("four", ("four", "4"))]
    explorer.refresh()
    assert pick.value == ""
    assert "Choose a line" in details.value


@pytest.mark.sdk
def test_the_enrollment_list_and_the_device_table(dps, names):
    service = dps.service_client()
    assert str(enrollment_list(service)) == "Enrollment list\n(no enrollments)"
    assert str(device_table(dps)) == "Devices in the registry\n(no devices)"
    made = workspace.need("symmetric_key.registrations", dps, **names)
    listed = enrollment_list(service)
    assert [entry.name for entry in enrollment_list(service, only=["thermostats"]).entries] == ["thermostats"]
    assert [row[:4] for row in listed.rows] == [
        ("individual", "thermostat-001", "symmetricKey", "enabled"),
        ("group", "thermostats", "symmetricKey", "enabled"),
    ]
    assert "targetTemperature" in listed.entries[0].details["initialTwin"]
    assert device_table(dps).rows == [
        ("kitchen-thermostat", dps.hubs[0], "enabled", "Disconnected", "sas"),
        ("thermostat-101", dps.hubs[0], "enabled", "Disconnected", "sas"),
    ]
    assert len(device_table(dps, only=["thermostat-101"]).rows) == 1
    wanted = ["thermostat-101"]
    growing, also = device_table(dps, only=lambda: wanted), enrollment_list(service, only=lambda: wanted)
    wanted += ["kitchen-thermostat", "thermostats"]
    growing.refresh()
    also.refresh()
    assert (len(growing.rows), len(also.rows)) == (2, 1)
    assert growing.entries[0].details["last activity"] == "never"
    assert growing.entries[0].details["proof of identity"] == "a symmetric key (sas)"
    assert growing.entries[0].details["kind"] == "IoT device"
    shown = str(listed._repr_mimebundle_()) + listed.html() + str(device_table(dps).entries)
    assert made["member"]["key"].reveal() not in shown
    assert made["individual"]["key"].reveal() not in shown


def read_svg(diagram):
    return ElementTree.fromstring(diagram.svg())  # noqa: S314 - our own picture


def test_a_diagram_is_a_picture_with_alternative_text_and_the_same_as_text():
    diagram = overview()
    root = read_svg(diagram)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "How a device finds its hub"
    assert "2. Device → DPS: register" in description.text
    assert len(root.findall(f"{SVG}polygon")) == 5
    bundle = diagram._repr_mimebundle_()
    assert bundle["text/plain"].splitlines()[1] == "  1. You → DPS: enroll: this device may come"
    assert "<details>" in bundle["text/html"]
    assert overview().svg() == diagram.svg()


def test_a_picture_has_no_colour_of_its_own():
    svg = overview().svg()
    assert "currentColor" in svg
    assert "#" not in svg
    assert "rgb" not in svg


def test_long_names_and_markup_do_not_break_the_picture():
    diagram = SequenceDiagram(
        "<T>", [Step("Device", "DPS", "<&>", failed=True)], note="<n>", names={"Device": "x" * 128}
    )
    root = read_svg(diagram)
    heads = [text.text for text in root.findall(f"{SVG}text")]
    assert "x" * 19 + "…" in heads
    assert "1. <&>" in heads
    assert "&lt;n&gt;" in diagram.html()
    assert "x" * 128 in str(diagram)
    assert str(diagram).endswith("\n<n>")
    assert [line.get("stroke-dasharray") for line in root.findall(f"{SVG}line")][-1] == "6 4"


def test_a_diagram_of_nothing_says_so():
    assert "(nothing was seen)" in str(SequenceDiagram("T", []))
    assert read_svg(SequenceDiagram("T", [])) is not None


def event(service, operation, direction, status=None, **detail):
    return {
        "service": service,
        "operation": operation,
        "direction": direction,
        "status": status,
        "detail": detail,
        "device": "d",
    }


def test_early_questions_are_drawn_as_one():
    asks = event("provisioning", "poll", "in")
    wait = event("provisioning", "poll", "out", 202)
    done = event("provisioning", "poll", "out", 200, body={"status": "assigned"})
    assert [str(step) for step in steps_of([asks, wait, asks, wait, asks, done])] == [
        "Device → DPS: am I assigned by now?",
        "DPS → Device: assigned (200)",
    ]


@pytest.mark.parametrize(
    ("seen", "drawn"),
    [
        (event("management", "health", "in"), None),
        (event("registry", "get device", "in"), None),
        (event("registry", "get device", "out", 200), None),
        (event("registry", "get device", "out", 404), "Hub → You: refused, status 404"),
        (event("registry", "update twin", "in"), "You → Hub: change the twin"),
        (event("enrollments", "delete enrollment", "in"), "You → DPS: delete enrollment"),
        (event("hub", "connect", "out", 0), "Hub → Device: connection accepted"),
        (event("hub", "connect", "out", 5), "Hub → Device: refused, code 5"),
        (
            event("hub", "subscribe", "in", filters=["$iothub/methods/POST/#"]),
            "Device → Hub: subscribe to method calls",
        ),
        (event("hub", "subscribe", "in", filters=["other"]), "Device → Hub: subscribe"),
        (event("provisioning", "subscribe", "out"), None),
        (event("provisioning", "register", "out", 401), "DPS → Device: refused, status 401"),
        (event("provisioning", "register", "out", 202), "DPS → Device: not yet, ask again (202)"),
        (event("provisioning", "register", "out", 200, body="text"), "DPS → Device: answer (200)"),
        (event("hub", "something new", "in"), "Device → Hub: something new"),
    ],
)
def test_events_become_arrows(seen, drawn):
    assert [str(step) for step in steps_of([seen])] == ([] if drawn is None else [drawn])


@pytest.mark.sdk
def test_a_boot_is_drawn_from_the_trace(dps, names):
    after = dps.last_event()
    workspace.need("symmetric_key.registrations", dps, **names)
    diagram = sequence(dps, after=after, device="thermostat-001", title="A boot", name="thermostat-001")
    conversation = [line for line in str(diagram).splitlines() if "You" not in line]
    assert conversation[1:4] == [
        line for line in conversation if "connect" in line or "accepted" in line or "subscribe" in line
    ]
    assert any(line.endswith("DPS → thermostat-001: assigned (200)") for line in conversation)
    assert diagram.note == ""


@pytest.fixture
def observer():
    listening = SdkObserver()
    yield listening
    listening.close()


def test_on_azure_the_sdks_own_words_are_what_is_drawn(observer):
    class AzureLike:
        is_simulator = False

        def events(self, after=0, device=()):
            return observer.events(after)

    log = logging.getLogger(SDK_LOGGER + ".provisioning")
    for words in (
        "Registering with Provisioning Service...",
        "a word to engineers",
        "Successfully registered with Provisioning Service",
        "Connecting to Hub...",
        "Successfully connected to Hub",
    ):
        log.info(words)
    assert observer.last_sequence == 4
    diagram = sequence(AzureLike(), after=1, title="T")
    assert [str(step) for step in diagram.steps] == [
        "DPS → Device: assigned",
        "Device → Hub: connect with a signed token",
        "Hub → Device: connection accepted",
    ]
    assert "Azure does not show its side" in str(diagram)


def test_on_azure_a_boot_with_a_tpm_is_drawn_from_the_words_of_its_client(observer):
    class AzureLike:
        is_simulator = False

        def events(self, after=0, device=()):
            return observer.events(after)

    log = logging.getLogger(TPM_LOGGER)
    for words in (
        "Registering with Provisioning Service...",
        "Opening the challenge in the TPM...",
        "Successfully registered with Provisioning Service",
    ):
        log.info(words)
    assert [str(step) for step in sequence(AzureLike(), title="T").steps] == [
        "Device → DPS: register me",
        "DPS → Device: prove it: open this (401)",
        "DPS → Device: assigned",
    ]


@pytest.mark.parametrize("name", [SDK_LOGGER, TPM_LOGGER])
def test_the_observer_leaves_the_log_as_it_was(name):
    log = logging.getLogger(name)
    before = log.level, list(log.handlers)
    observer = SdkObserver()
    assert log.isEnabledFor(logging.INFO)
    observer.close()
    observer.close()
    assert (log.level, log.handlers) == before
    log.setLevel(logging.DEBUG)
    try:
        listening = SdkObserver()
        assert log.level == logging.DEBUG
        listening.close()
        assert log.level == logging.DEBUG
    finally:
        log.setLevel(before[0])
