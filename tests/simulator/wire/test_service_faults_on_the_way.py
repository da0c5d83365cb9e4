"""Delays and cuts between the sockets and the endpoints: order, trace, and what happens at the end."""

import asyncio
from dataclasses import replace

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request, Response
from dps_simulator.common.service_faults import FINDING, ServiceFault, ServiceFaults
from dps_simulator.common.trace import Trace
from dps_simulator.protocols.ending import NETWORK, Ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe, Will
from dps_simulator.wire import faults as service_faults
from dps_simulator.wire.faults import FaultsOnTheWire

HUB = "contoso-hub-1.azure-devices.test"
CONNECT = Connect("MQTT", 4, True, 60, "device-1", "user", "token")


class Later:
    """Runs what was put off when the test says so."""

    def __init__(self):
        self.waiting = []

    def __call__(self, seconds, function):
        self.waiting.append((seconds, function))

    def run(self, count=None):
        due, self.waiting = self.waiting[:count], self.waiting[count or len(self.waiting) :]
        for _, function in due:
            function()

    @property
    def seconds(self):
        return [seconds for seconds, _ in self.waiting]


class Application:
    def __init__(self):
        self.calls = []

    def connected(self, connect):
        self.calls.append("connected")

    def published(self, message):
        if message.topic == "bad":
            raise ValueError("it fails")
        self.calls.append(message.topic)

    def subscribe(self, packet):
        self.calls.append("subscribe")

    def unsubscribe(self, packet):
        self.calls.append("unsubscribe")

    def disconnected(self, clean, how=None):
        self.calls.append(f"disconnected {clean}")
        self.how = how


class Link:
    def __init__(self):
        self.peer = Peer(HUB, "websocket")
        self.closed = 0

    def close(self):
        self.closed += 1


class Parts:
    def __init__(self):
        clock = ManualClock()
        self.faults = ServiceFaults(clock, lambda: [HUB])
        self.trace = Trace(clock)
        self.later = Later()
        self.slept = []
        self.wire = FaultsOnTheWire(self.faults, self.trace, call_later=self.later, sleep=self._sleep)
        self.application = Application()
        self.link = Link()
        self.connection = self.wire.mqtt(self.application, self.link, service=HUB, named="hub")

    async def _sleep(self, seconds):
        self.slept.append(seconds)

    def switch_on(self, kind, **options):
        self.faults.put(ServiceFault.of({"service": HUB, "kind": kind, **options}))

    def events(self):
        return [(each.direction, each.operation, each.device, each.detail["reason"]) for each in self.trace.events()]

    def publish(self, topic):
        self.connection.published(Publish(topic, b"", 1, 7))


@pytest.fixture
def parts():
    return Parts()


def whole_life(parts):
    parts.connection.connected(CONNECT)
    parts.connection.subscribe(Subscribe(1, (("a", 1),)))
    parts.publish("one")
    parts.connection.unsubscribe(Unsubscribe(2, ("a",)))


def test_without_faults_everything_goes_through_at_once(parts):
    whole_life(parts)
    parts.connection.disconnected(True)
    assert parts.application.calls == ["connected", "subscribe", "one", "unsubscribe", "disconnected True"]
    assert parts.events() == []


def test_a_fault_of_another_service_changes_nothing(parts):
    parts.faults.put(ServiceFault.of({"service": "provisioning", "kind": "latency"}))
    parts.faults.put(ServiceFault.of({"service": "provisioning", "kind": "cut"}))
    whole_life(parts)
    assert parts.application.calls == ["connected", "subscribe", "one", "unsubscribe"]


def test_everything_that_arrives_is_delayed_in_its_order(parts):
    parts.switch_on("latency", delay=0.5)
    whole_life(parts)
    assert (parts.application.calls, parts.later.seconds) == ([], [0.5] * 4)
    parts.later.run()
    assert parts.application.calls == ["connected", "subscribe", "one", "unsubscribe"]
    assert parts.events() == [("in", "fault: latency", "device-1", "the answer is delayed by 0.5 s")] * 4
    (event, *_) = parts.trace.events()
    assert (event.service, event.host, event.protocol, event.status) == ("hub", HUB, "websocket", None)
    assert event.detail["provenance"] == "a fault that was switched on in this simulator"
    assert event.detail["finding"] == FINDING


def test_nothing_overtakes_what_waits(parts):
    parts.switch_on("latency", count=1)
    parts.connection.connected(CONNECT)
    parts.publish("one")
    # also when there is no fault any more
    parts.faults.clear()
    parts.publish("two")
    assert parts.application.calls == []
    assert parts.later.seconds == [1.0, 0.0, 0.0]
    parts.later.run()
    assert parts.application.calls == ["connected", "one", "two"]
    parts.publish("three")
    assert parts.application.calls[-1] == "three"


def test_what_is_delayed_is_bounded_in_bytes_for_all_connections_together(parts, monkeypatch):
    monkeypatch.setattr(service_faults, "MAX_DELAYED", 1_000_000)
    parts.switch_on("latency", delay=10)
    others = [parts.wire.mqtt(Application(), Link(), service=HUB, named="hub") for _ in range(2)]
    for connection in others:
        connection.connected(CONNECT)
        connection.published(Publish("t", bytes(300_000)))
    whole_life(parts)
    for _ in range(3):
        parts.connection.published(Publish("t", bytes(200_000)))
    assert parts.link.closed == 1
    assert parts.wire.delayed < 1_000_000
    assert parts.events()[-1][3].startswith("the connection ends: delayed packets took more than")
    parts.connection.published(Publish("t", b""))
    parts.connection.disconnected(False)
    # what belonged to it has gone, and the others get what is theirs
    held = parts.wire.delayed
    assert 600_000 < held < 610_000
    parts.later.run()
    assert parts.wire.delayed == 0
    assert parts.application.calls == []


def test_a_packet_of_many_topic_filters_weighs_what_they_weigh(parts):
    parts.switch_on("latency")
    parts.connection.connected(replace(CONNECT, will=Will("t" * 10_000, bytes(10_000), 0, False)))
    assert parts.wire.delayed > 20_000
    parts.connection.subscribe(Subscribe(1, (("a" * 50_000, 1),) * 2))
    parts.connection.unsubscribe(Unsubscribe(2, ("a" * 50_000,)))
    assert parts.wire.delayed > 170_000
    parts.connection.disconnected(False)
    assert parts.wire.delayed == 0


def test_the_end_of_a_connection_ends_what_waits(parts):
    parts.connection.connected(CONNECT)
    parts.switch_on("latency")
    parts.publish("one")
    parts.connection.disconnected(False)
    parts.later.run()
    assert parts.application.calls == ["connected", "disconnected False"]


def test_who_never_got_in_is_not_said_to_have_gone(parts):
    parts.switch_on("latency")
    parts.connection.connected(CONNECT)
    parts.connection.disconnected(False)
    parts.later.run()
    assert parts.application.calls == []


def test_a_delayed_packet_that_fails_ends_the_connection(parts, caplog):
    parts.connection.connected(CONNECT)
    parts.switch_on("latency")
    parts.publish("bad")
    parts.later.run()
    assert parts.link.closed == 1
    assert "what was delayed on its way to hub could not be served" in caplog.text


def test_new_connections_are_cut_before_anybody_hears_of_them(parts):
    parts.switch_on("cut", count=1)
    parts.connection.connected(CONNECT)
    parts.connection.disconnected(False)
    assert (parts.application.calls, parts.link.closed) == ([], 1)
    assert parts.events() == [("out", "fault: cut", "device-1", "the connection is cut")]


def test_messages_are_cut_with_all_that_waits(parts):
    parts.switch_on("cut", cuts="messages", count=1)
    parts.switch_on("latency")
    parts.connection.connected(CONNECT)
    parts.connection.subscribe(Subscribe(1, (("a", 1),)))
    parts.later.run(1)
    parts.publish("one")
    parts.later.run()
    parts.connection.disconnected(False)
    assert (parts.application.calls, parts.link.closed) == (["connected", "disconnected False"], 1)
    # although it was the service that closed the socket
    assert parts.application.how == Ending(NETWORK, "the connection is cut")


def test_a_message_is_cut_a_moment_later_and_nothing_more_is_heard(parts):
    parts.switch_on("cut", cuts="messages", count=1)
    parts.connection.connected(CONNECT)
    parts.publish("one")
    assert parts.link.closed == 0
    parts.publish("two")
    parts.later.run()
    assert (parts.application.calls, parts.link.closed) == (["connected"], 1)


class TestHttp:
    REQUEST = Request("GET", "/devices/d-1", {}, {}, b"", Peer(HUB))

    def ask(self, parts):
        async def handle(request):
            return Response(201)

        return asyncio.run(parts.wire.http(self.REQUEST, handle, service=HUB, named="registry"))

    def test_nothing(self, parts):
        assert self.ask(parts) == Response(201)
        parts.faults.put(ServiceFault.of({"service": "enrollments", "kind": "cut"}))
        assert self.ask(parts) == Response(201)
        assert (parts.slept, parts.events()) == ([], [])

    def test_a_delay(self, parts):
        parts.switch_on("latency", delay=0.25)
        assert self.ask(parts) == Response(201)
        assert parts.slept == [0.25]
        (event,) = parts.trace.events()
        assert (event.service, event.operation, event.protocol) == ("registry", "fault: latency", "https")
        assert event.detail["request"] == "GET /devices/d-1"

    @pytest.mark.parametrize("cuts", ["connections", "messages"])
    def test_a_cut(self, parts, cuts):
        parts.switch_on("cut", cuts=cuts, count=1)
        parts.switch_on("latency")
        assert self.ask(parts) == Response(cut=True)
        assert (parts.slept, parts.events()) == ([], [("out", "fault: cut", "", "the connection is cut")])
        assert self.ask(parts) == Response(201)
