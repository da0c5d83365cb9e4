"""The lists of published operations are complete, and what is said about them is measured."""

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from dps_simulator import Simulator
from dps_simulator.common.throttling import LIMITS
from dps_simulator.errors.table import Provenance
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.wire.http import HttpEndpoint
from tools.fidelity import __main__ as command
from tools.fidelity import document, hub_operations, management_operations, probes, provisioning_operations
from tools.fidelity.numbers import NUMBERS
from tools.fidelity.operations import (
    Area,
    ConnectQuestion,
    Door,
    HttpQuestion,
    Operation,
    PublishQuestion,
    SubscribeQuestion,
    Support,
)
from tools.fidelity.samples import Samples
from tools.fidelity.wire import opens_websocket


def anonymous(path):
    """A path without the names of its parameters, which differ between clients, and without regard to case."""
    return re.sub(r"\{\w+\}", "{}", path).lower().rstrip("/")


def asked(*areas):
    questions = [operation.question for area in areas for operation in area.operations]
    return {(each.method, anonymous(each.path)) for each in questions if isinstance(each, HttpQuestion)}


def source(package, *names):
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]).joinpath(*names)


@pytest.mark.parametrize(
    ("package", "area", "count"),
    [
        ("azure.iot.deviceprovisioning", provisioning_operations.SERVICE, 15),
        ("azure.mgmt.iothubprovisioningservices", management_operations.AREA, 24),
    ],
)
def test_every_operation_of_the_official_clients_is_listed(package, area, count):
    text = source(package, "operations", "_operations.py").read_text(encoding="utf-8")
    found = re.findall(r"def build_\w+_request\(.*?_url = \"([^\"]+)\".*?method=\"(\w+)\"", text, re.DOTALL)
    assert len(found) == count
    assert {(method, anonymous(path)) for path, method in found} == asked(area)


def test_every_operation_of_the_official_hub_client_is_listed():
    pytest.importorskip("azure.iot.hub")
    found = set()
    for path in source("azure.iot.hub", "protocol", "operations").glob("*_operations.py"):
        text = path.read_text(encoding="utf-8")
        pattern = r"= self\._client\.(get|put|post|delete|patch)\(\s*url.*?\.metadata = \{\s*\"url\": \"([^\"]+)\""
        found |= {(method.upper(), anonymous(url)) for method, url in re.findall(pattern, text, re.DOTALL)}
    assert len(found) == 42
    assert found == asked(hub_operations.SERVICE)


def test_no_route_is_left_out(monkeypatch):
    routes = {}
    begin = HttpEndpoint.__init__

    def remember(self, **arguments):
        routes.update({(route.method, anonymous(route.template)): route.name for route in arguments["routes"]})
        begin(self, **arguments)

    monkeypatch.setattr(HttpEndpoint, "__init__", remember)
    with Simulator():
        pass
    own = {place for place in routes if place[1].startswith("/simulator")}
    assert own
    assert set(routes) - own <= asked(*document.AREAS)


_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def simulator():
    with Simulator(pace="instant") as running:
        yield running


@pytest.fixture
def prober(simulator):
    prober = probes.Prober(simulator.running)
    # a device of its own for every test
    prober._samples = Samples(next(_NUMBERS), prober._known)
    yield prober
    prober._close_clients()


def area(*operations, setup=()):
    return Area("Area", "nowhere", operations, setup)


def operation(question, **changes):
    return Operation("Operation", question, provenance=Provenance.INFERRED, **changes)


STATISTICS = HttpQuestion(Door.HUB, "GET", "/statistics/devices")
ENROLL = HttpQuestion(
    Door.SERVICE,
    "PUT",
    "/enrollments/{device}",
    {
        "registrationId": "{device}",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "{key}", "secondaryKey": "{key}"}},
    },
)
REGISTER = PublishQuestion(
    Door.PROVISIONING,
    "$dps/registrations/PUT/iotdps-register/?$rid=1",
    {},
    "$dps/registrations/res/200",
    "$dps/registrations/res/#",
)


def test_an_operation_that_goes_away_is_found_missing(monkeypatch):
    whole = HubServiceEndpoint._table

    def shortened(self):
        return [route for route in whole(self) if route.template != "/statistics/devices"]

    monkeypatch.setattr(HubServiceEndpoint, "_table", shortened)
    with Simulator() as simulator:
        found = probes.Prober(simulator.running).areas([area(operation(STATISTICS))])
    assert found == {"Area/Operation": Support.NOT}


def test_what_is_there_is_supported_or_partly_so(prober):
    assert prober.areas([area(operation(STATISTICS))]) == {"Area/Operation": Support.SUPPORTED}
    partly = operation(STATISTICS, missing="no colours")
    assert prober.areas([area(partly)]) == {"Area/Operation": Support.PARTLY}


def test_an_accepted_error_counts_as_there(prober):
    assert prober.ask(HttpQuestion(Door.HUB, "GET", "/devices/nobody", accepted=(404001,)), "it")
    with pytest.raises(probes.FidelityError, match="it: 404 404001"):
        prober.ask(HttpQuestion(Door.HUB, "GET", "/devices/nobody"), "it")


@pytest.mark.parametrize(
    "question",
    [
        HttpQuestion(Door.SERVICE, "GET", "/nothing"),
        HttpQuestion(Door.SERVICE, "PATCH", "/enrollments/{device}"),
        HttpQuestion(Door.HUB, "GET", "/jobs"),
        HttpQuestion(Door.MANAGEMENT, "GET", "/nothing"),
    ],
)
def test_what_is_refused_is_not_supported(prober, question):
    assert not prober.ask(question, "it")


def test_a_bulk_operation_must_succeed(prober):
    body = {"mode": "delete", "enrollments": [{**ENROLL.body, "registrationId": "nobody"}]}
    with pytest.raises(probes.FidelityError, match="isSuccessful"):
        prober.ask(HttpQuestion(Door.SERVICE, "POST", "/enrollments", body), "it")


def test_the_setup_must_succeed(prober):
    with pytest.raises(probes.FidelityError, match="the setup `GET /jobs` is not supported"):
        prober.areas([area(operation(STATISTICS), setup=(HttpQuestion(Door.HUB, "GET", "/jobs"),))])


def test_a_registration_over_mqtt(prober):
    assert prober.ask(ENROLL, "it")
    assert prober.ask(REGISTER, "it")
    other_answer = PublishQuestion(
        REGISTER.door, REGISTER.topic, {}, "$dps/registrations/res/202", REGISTER.subscription
    )
    with pytest.raises(probes.FidelityError, match="res/200"):
        prober.ask(other_answer, "it")
    with pytest.raises(probes.FidelityError, match="res/40"):
        prober.ask(PublishQuestion(REGISTER.door, REGISTER.topic, [], REGISTER.answer, REGISTER.subscription), "it")


def test_topics_that_do_not_exist(prober):
    prober.ask(ENROLL, "it")
    nowhere = "$dps/nowhere/?$rid=1"
    assert not prober.ask(SubscribeQuestion(Door.PROVISIONING, "nowhere/#"), "it")
    assert not prober.ask(PublishQuestion(Door.PROVISIONING, nowhere, answer="x"), "it")
    assert not prober.ask(PublishQuestion(Door.PROVISIONING, REGISTER.topic, {}, "x", "nowhere/#"), "it")


def test_connections_of_strangers_are_no_answer(prober):
    with pytest.raises(probes.FidelityError, match="it: CONNACK 5"):
        prober.ask(ConnectQuestion(Door.HUB_DEVICE, "stranger"), "it")


def test_an_answer_that_says_not_supported(prober, monkeypatch):
    prober.ask(ENROLL, "it")
    monkeypatch.setattr(prober, "_refusals", frozenset({400004}))
    malformed = PublishQuestion(REGISTER.door, REGISTER.topic, [], REGISTER.answer, REGISTER.subscription)
    assert not prober.ask(malformed, "it")


def test_websockets(prober, simulator, monkeypatch):
    running = simulator.running
    assert not opens_websocket(running, running.provisioning_host, "chat")
    prober.ask(ENROLL, "it")
    assert prober.ask(ConnectQuestion(Door.PROVISIONING, websocket=True), "it")
    monkeypatch.setattr("tools.fidelity.wire.WEBSOCKET_PATH", "/elsewhere")
    assert not prober.ask(ConnectQuestion(Door.PROVISIONING, websocket=True), "it")


def test_samples_are_filled_in_and_learned():
    samples = Samples(3, {"name": "{device}"})
    assert samples.filled({"a": ["{name}", 1, None]}) == {"a": ["probe-3", 1, None]}
    samples.learn({"a": {"operationId": "5.x", "etag": 7}})
    assert samples.text("{operation}", {"operation": "{operationId}"}) == "5.x"
    with pytest.raises(KeyError, match="unknown"):
        samples.text("{unknown}")


def test_the_document_holds_every_error_number_and_limit():
    text = document.render(dict.fromkeys(map_of_all(), Support.SUPPORTED))
    for rows in probes.error_tables().values():
        for kind in rows.values():
            # Event Hubs has conditions of AMQP instead of codes
            code = f"`{kind.amqp}`" if kind.amqp else kind.code
            assert f"| {code} | {kind.name} |" in text
    for number in NUMBERS:
        assert f"| {number.meaning} | {number.value} | {number.provenance.value} |" in text
    for limit in LIMITS:
        assert f"`{limit.name}`" in text
    assert set(probes.error_tables()) == {"Dps", "EventHubs", "Hub", "ResourceManager", "Transport"}
    assert max(len(line) for line in text.splitlines()) < 400


def map_of_all():
    return [probes.key(area, each) for area in document.AREAS for each in area.operations]


def test_names_of_operations_are_unique():
    assert len(map_of_all()) == len(set(map_of_all()))


def test_what_is_missing_tells_what_to_do_instead():
    text = document.render(dict.fromkeys(map_of_all(), Support.NOT))
    assert "| no | - | set desired properties of each device; IoT Edge is not simulated |" in text
    assert "| yes |" not in text.partition("## DPS: devices over MQTT")[2]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "measure", dict)
    monkeypatch.setattr(command, "render", lambda found: "the document\n")
    assert command.main([str(tmp_path / "made.md")]) == 0
    assert (tmp_path / "made.md").read_bytes() == b"the document\n"
    assert command.main([]) == 0
    assert capsys.readouterr().out == "the document\n"
    assert command.main([str(tmp_path)]) == 1

    def fail():
        raise probes.FidelityError("no answer")

    monkeypatch.setattr(command, "measure", fail)
    assert command.main([]) == 1
    assert "no answer" in capsys.readouterr().err
