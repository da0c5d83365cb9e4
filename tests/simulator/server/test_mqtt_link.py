from __future__ import annotations

import asyncio
import gc
import logging
import queue
import struct
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manual_loop import ManualLoop
from patience import PATIENCE

from dps_simulator.common.http import Peer
from dps_simulator.protocols.ending import CLIENT, NETWORK, SERVICE, Ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe, encode_puback, encode_publish
from dps_simulator.server.mqtt_link import MqttConnection
from dps_simulator.wire.mqtt import MqttLink

PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
CONNACK_0, CONNACK_5 = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"


def text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def connect(client: str = "dev", *, keep_alive: int = 60, level: int = 4, password: str = "") -> bytes:
    flags = 0xC0 if password else 0
    body = text("MQTT") + bytes((level, flags)) + struct.pack(">H", keep_alive) + text(client)
    body += text("user") + text(password) if password else b""
    return bytes((0x10, len(body))) + body


def subscribe(packet_id: int, name: str, qos: int = 1) -> bytes:
    body = struct.pack(">H", packet_id) + text(name) + bytes((qos,))
    return bytes((0x82, len(body))) + body


def unsubscribe(packet_id: int, name: str) -> bytes:
    body = struct.pack(">H", packet_id) + text(name)
    return bytes((0xA2, len(body))) + body


class Application:
    """Accepts everything, answers everything, notes everything."""

    def __init__(self, link: MqttLink) -> None:
        self.link = link
        self.seen: list[Any] = []

    def connected(self, connect: Connect) -> None:
        self.seen.append(connect)
        self.link.accept()

    def published(self, message: Publish) -> None:
        self.seen.append(message)
        self.link.acknowledge(message)
        self.link.publish(f"echo/{message.topic}", message.payload, message.qos)

    def subscribe(self, packet: Subscribe) -> None:
        self.seen.append(packet)
        self.link.grant(packet.packet_id, [1] * len(packet.filters))

    def unsubscribe(self, packet: Unsubscribe) -> None:
        self.seen.append(packet)
        self.link.unsubscribed(packet.packet_id)

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        self.seen.append(("disconnected", clean))
        self.how = how


class Bench:
    """One connection on a manual loop."""

    def __init__(self, application: Callable[[MqttLink], Any] = Application, **options: Any) -> None:
        self.loop = ManualLoop()
        self.written: list[bytes] = []
        self.closes = 0
        self.made: list[Any] = []
        self._application = application
        arguments: dict[str, Any] = {
            "peer": Peer(host="hub.test", transport="mqtt"),
            "write": self.written.append,
            "close_transport": self._close,
            "choose": self._choose,
            "loop": self.loop,
        }
        self.connection = MqttConnection(**{**arguments, **options})

    def _close(self) -> None:
        self.closes += 1

    def _choose(self, link: MqttLink, _connect: Connect) -> Any:
        self.made.append(self._application(link))
        return self.made[-1]

    @property
    def seen(self) -> list[Any]:
        return self.made[0].seen

    def output(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data

    def connected(self, keep_alive: int = 60) -> Bench:
        self.connection.receive(connect(keep_alive=keep_alive))
        assert self.output() == CONNACK_0
        return self


def test_a_conversation() -> None:
    bench = Bench()
    bench.connection.receive(connect())
    assert bench.output() == CONNACK_0
    bench.connection.receive(subscribe(1, "echo/#") + PINGREQ)
    assert bench.output() == b"\x90\x03\x00\x01\x01" + PINGRESP
    assert bench.connection.granted_qos("echo/t") == 1
    bench.connection.receive(encode_publish(Publish("t", b"x", 1, 9)))
    assert bench.output() == encode_puback(9) + encode_publish(Publish("echo/t", b"x", 1, 1))
    bench.connection.receive(encode_puback(1) + unsubscribe(2, "echo/#"))
    assert bench.output() == b"\xb0\x02\x00\x02"
    assert bench.connection.granted_qos("echo/t") is None
    bench.connection.receive(DISCONNECT)
    assert (bench.closes, bench.connection.ended) == (1, True)
    bench.loop.advance()
    bench.connection.lost()
    assert [type(item).__name__ for item in bench.seen] == ["Connect", "Subscribe", "Publish", "Unsubscribe", "tuple"]
    assert bench.seen[-1] == ("disconnected", True)
    assert bench.loop.pending == 0


def test_the_peer_is_passed_on() -> None:
    bench = Bench().connected()
    assert bench.made[0].link.peer == Peer(host="hub.test", transport="mqtt")


def test_everything_in_one_portion_is_answered_in_order_and_in_one_write() -> None:
    bench = Bench()
    bench.connection.receive(connect() + subscribe(1, "a") + encode_publish(Publish("t", b"", 1, 2)))
    assert len(bench.written) == 1
    assert bench.output() == (
        CONNACK_0 + b"\x90\x03\x00\x01\x01" + encode_puback(2) + encode_publish(Publish("echo/t", b"", 1, 1))
    )


def test_a_message_and_disconnect_in_one_portion() -> None:
    bench = Bench().connected()
    bench.connection.receive(encode_publish(Publish("t", b"", 1, 2)) + DISCONNECT)
    bench.loop.advance()
    assert bench.output().startswith(encode_puback(2))
    assert bench.seen[-1] == ("disconnected", True)


def test_an_application_may_accept_later() -> None:
    class Late(Application):
        def connected(self, connect: Connect) -> None:
            self.seen.append(connect)

    bench = Bench(Late)
    bench.connection.receive(connect() + PINGREQ)
    bench.connection.receive(subscribe(1, "a"))
    assert bench.output() == b""
    bench.connection.accept()
    assert bench.output() == CONNACK_0 + PINGRESP + b"\x90\x03\x00\x01\x01"


def test_data_that_arrives_within_a_step_is_not_lost_and_keeps_its_order() -> None:
    bench = Bench()

    class Nested(Application):
        def subscribe(self, packet: Subscribe) -> None:
            super().subscribe(packet)
            bench.connection.receive(unsubscribe(packet.packet_id + 1, "a"))

    bench._application = Nested
    bench.connected()
    bench.connection.receive(subscribe(1, "a"))
    bench.connection.receive(subscribe(5, "b"))
    assert [type(item) for item in bench.seen] == [Connect, Subscribe, Unsubscribe, Subscribe, Unsubscribe]
    assert bench.output() == b"\x90\x03\x00\x01\x01\xb0\x02\x00\x02\x90\x03\x00\x05\x01\xb0\x02\x00\x06"


# the end


def test_lost_tells_the_application_once_and_leaves_no_timer() -> None:
    bench = Bench().connected()
    bench.connection.lost()
    bench.connection.lost()
    bench.loop.advance(1_000)
    assert bench.seen[1:] == [("disconnected", False)]
    assert bench.loop.pending == 0
    assert bench.closes == 0


def test_lost_before_connect() -> None:
    bench = Bench()
    bench.connection.lost()
    assert (bench.made, bench.loop.pending) == ([], 0)


def test_close_sends_first_and_tells_the_application_soon() -> None:
    order: list[str] = []
    bench = Bench(write=lambda data: order.append("write"), close_transport=lambda: order.append("close"))
    bench.connection.receive(connect())
    bench.connection.publish("t", b"x")
    bench.connection.close()
    bench.connection.close()
    assert order == ["write", "write", "close"]
    assert len(bench.seen) == 1  # not within the call
    bench.loop.advance()
    assert bench.seen[1:] == [("disconnected", False)]
    bench.connection.lost()
    assert len(bench.seen) == 2


def test_close_within_a_step_sends_the_answer_first() -> None:
    class Leaving(Application):
        def published(self, message: Publish) -> None:
            self.link.acknowledge(message)
            self.link.close()
            self.seen.append("still here")

    bench = Bench(Leaving).connected()
    bench.connection.receive(encode_publish(Publish("t", b"", 1, 2)) + encode_publish(Publish("t", b"", 1, 3)))
    bench.loop.advance()
    assert bench.output() == encode_puback(2)
    assert bench.seen[1:] == ["still here", ("disconnected", False)]
    assert bench.closes == 1


def test_lost_after_close_but_before_soon() -> None:
    bench = Bench().connected()
    bench.connection.close()
    bench.connection.lost()
    assert bench.seen[1:] == [("disconnected", False)]
    bench.loop.advance()
    assert len(bench.seen) == 2


def test_nothing_happens_after_the_end() -> None:
    bench = Bench().connected()
    bench.connection.lost()
    link = bench.connection
    link.receive(PINGREQ)
    link.accept()
    link.refuse(5)
    link.grant(1, [1])
    link.unsubscribed(1)
    link.acknowledge(Publish("t", b"", 1, 1))
    link.publish("t", b"", 1)
    link.close()
    assert (bench.output(), bench.closes) == (b"", 0)


def test_a_connection_that_ended_holds_no_application() -> None:
    bench = Bench().connected()
    bench.connection.lost()
    bench.made.clear()
    gc.collect()
    assert not [item for item in gc.get_objects() if type(item) is Application and item.link is bench.connection]


# refusals


def test_an_application_refuses() -> None:
    class Refusing(Application):
        def connected(self, connect: Connect) -> None:
            self.seen.append(connect)
            self.link.refuse(4)

    bench = Bench(Refusing)
    bench.connection.receive(connect() + PINGREQ)
    bench.loop.advance()
    assert bench.output() == b"\x20\x02\x00\x04"
    assert (bench.closes, bench.loop.pending) == (1, 0)
    assert bench.seen[1:] == [("disconnected", False)]


def test_nobody_wants_the_client() -> None:
    bench = Bench(choose=lambda _link, _connect: None)
    bench.connection.receive(connect())
    bench.loop.advance()
    assert bench.output() == CONNACK_5
    assert (bench.closes, bench.loop.pending) == (1, 0)


@pytest.mark.parametrize(("raw", "code"), [(connect(level=5), 1), (connect(""), 2)])
def test_the_session_refuses_before_an_application_is_asked(
    raw: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    with caplog.at_level(logging.INFO):
        bench.connection.receive(raw + PINGREQ)
    assert bench.output() == bytes((0x20, 2, 0, code))
    assert (bench.closes, bench.made) == (1, [])
    assert f"refused with return code {code} (protocol 'MQTT' level {4 if code == 2 else 5};" in caplog.text


# what goes wrong


def test_a_protocol_error_closes_and_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.DEBUG):
        bench.connection.receive(connect(password="hunter2hunter2") + subscribe(1, "a") + b"\xf0payload")
    bench.loop.advance()
    assert bench.output() == CONNACK_0 + b"\x90\x03\x00\x01\x01"
    assert bench.closes == 1
    assert bench.seen[-1] == ("disconnected", False)
    assert "hub.test" in caplog.text
    assert "'dev'" in caplog.text
    assert "packet type 15" in caplog.text
    assert "hunter2" not in caplog.text
    assert "payload" not in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}


def fail(*_arguments: Any) -> None:
    raise RuntimeError("broken application")


@pytest.mark.parametrize("method", ["connected", "published", "subscribe", "unsubscribe"])
def test_an_exception_of_the_application_closes(method: str, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(type("Broken", (Application,), {method: fail}))
    bench.connection.receive(
        connect() + encode_publish(Publish("t", b"")) + subscribe(1, "a") + unsubscribe(2, "a") + PINGREQ
    )
    bench.loop.advance()
    assert "broken application" in caplog.text
    assert bench.closes == 1
    assert bench.seen[-1] == ("disconnected", False)
    assert bench.loop.pending == 0


def test_an_exception_while_choosing_closes(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(choose=fail)
    bench.connection.receive(connect())
    assert "broken application" in caplog.text
    assert bench.closes == 1


def test_an_exception_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(type("Broken", (Application,), {"disconnected": fail})).connected()
    bench.connection.lost()
    assert "broken application" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        lambda link: link.accept(),
        lambda link: link.refuse(5),
        lambda link: link.grant(77, [1]),
        lambda link: link.unsubscribed(77),
        lambda link: link.publish("a/#", b""),
    ],
)
def test_an_impossible_answer_closes_and_does_not_raise(
    answer: Callable[[MqttLink], None], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench().connected()
    answer(bench.connection)
    bench.loop.advance()
    assert "the application's answer is not possible" in caplog.text
    assert bench.closes == 1
    assert bench.seen[1:] == [("disconnected", False)]


def test_a_client_that_never_acknowledges_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().connected()
    with caplog.at_level(logging.INFO):
        for _ in range(1_100):
            bench.connection.publish("t", b"", 1)
    assert "1000 messages wait for PUBACK" in caplog.text
    assert bench.closes == 1


def test_a_transport_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(write=fail, close_transport=fail)
    bench.connection.receive(connect())
    bench.loop.advance()
    assert "the transport takes no data" in caplog.text
    assert "the transport cannot be closed" in caplog.text
    assert bench.seen[-1] == ("disconnected", False)
    assert bench.loop.pending == 0


@given(st.lists(st.binary(max_size=30), max_size=5), st.booleans())
def test_random_bytes_never_raise(portions: list[bytes], opened: bool) -> None:
    bench = Bench()
    if opened:
        bench.connection.receive(connect())
    for portion in portions:
        bench.connection.receive(portion)
    bench.connection.lost()
    bench.loop.advance()
    assert bench.loop.pending == 0


# time


def test_connect_timeout(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(connect_timeout=3.0)
    bench.connection.receive(connect()[:4])
    bench.loop.advance(2.9)
    assert bench.closes == 0
    with caplog.at_level(logging.INFO):
        bench.loop.advance(0.2)
    assert (bench.closes, bench.loop.pending) == (1, 0)
    assert "CONNECT took too long" in caplog.text


def test_a_connect_that_is_never_answered_times_out() -> None:
    bench = Bench(type("Silent", (Application,), {"connected": lambda self, connect: None}))
    bench.connection.receive(connect())
    bench.loop.advance(21)
    assert bench.closes == 1
    assert bench.seen == [("disconnected", False)]


def test_keep_alive_expires_after_one_and_a_half_times(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench().connected(keep_alive=2)  # sooner than the connect timeout
    bench.loop.advance(2.9)
    assert bench.closes == 0
    with caplog.at_level(logging.INFO):
        bench.loop.advance(0.2)
    assert bench.closes == 1
    assert "keep alive" in caplog.text
    assert bench.seen[-1] == ("disconnected", False)
    assert bench.loop.pending == 0


def test_packets_keep_a_connection_alive_at_little_cost() -> None:
    bench = Bench().connected(keep_alive=60)
    for _ in range(1_000):
        bench.loop.advance(1)
        bench.connection.receive(PINGREQ)
    assert bench.closes == 0
    assert bench.loop.timers_set < 30
    bench.loop.advance(91)
    assert bench.closes == 1


def test_keep_alive_0_has_no_timer() -> None:
    bench = Bench().connected(keep_alive=0)
    assert bench.loop.pending == 0
    bench.loop.advance(1e6)
    assert bench.closes == 0


# a real client


class StreamProtocol(asyncio.Protocol):
    """A plain TCP transport under a connection."""

    def __init__(self, choose: Callable[[MqttLink, Connect], Any], gone: Callable[[], None]) -> None:
        self._choose, self._gone = choose, gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connection = MqttConnection(
            peer=Peer(transport="mqtt"),
            write=transport.write,
            close_transport=transport.close,
            choose=self._choose,
            loop=asyncio.get_running_loop(),
        )

    def data_received(self, data: bytes) -> None:
        self._connection.receive(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connection.lost()
        self._gone()


class Listener:
    """A server for one test; ``async with`` waits until its connections are gone."""

    def __init__(self, application: Callable[[MqttLink], Any] = Application) -> None:
        self.made: list[Any] = []
        self._application = application
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def _choose(self, link: MqttLink, _connect: Connect) -> Any:
        self.made.append(self._application(link))
        return self.made[-1]

    def _new(self) -> StreamProtocol:
        self._open += 1
        self._idle.clear()
        return StreamProtocol(self._choose, self._gone)

    def _gone(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def __aenter__(self) -> Listener:
        self._server = await asyncio.get_running_loop().create_server(self._new, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await asyncio.wait_for(self._idle.wait(), PATIENCE)
        await self._server.wait_closed()


def use_paho(port: int) -> tuple[list[Any], list[Any]]:
    """What a device does, with blocking calls."""
    client = paho.Client("dev", clean_session=False)
    granted: queue.Queue[Any] = queue.Queue()
    results: queue.Queue[tuple[int, int]] = queue.Queue()
    messages: queue.Queue[tuple[str, bytes, int]] = queue.Queue()
    removed, left = threading.Event(), threading.Event()
    client.on_connect = lambda _client, _data, flags, code: results.put((flags["session present"], code))
    client.on_subscribe = lambda _client, _data, _id, qos: granted.put(qos)
    client.on_message = lambda _client, _data, message: messages.put((message.topic, message.payload, message.qos))
    client.on_unsubscribe = lambda _client, _data, _id: removed.set()
    client.on_disconnect = lambda _client, _data, _code: left.set()
    client.will_set("will", b"gone", 1)
    client.username_pw_set("user", "password")
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        facts: list[Any] = [results.get(timeout=PATIENCE)]
        client.subscribe([("echo/#", 1), ("other", 0)])
        facts.append(granted.get(timeout=PATIENCE))
        client.publish("t/0", b"zero", 0).wait_for_publish(PATIENCE)
        client.publish("t/1", b"x" * 200_000, 1).wait_for_publish(PATIENCE)
        received = [messages.get(timeout=PATIENCE), messages.get(timeout=PATIENCE)]
        client.unsubscribe("echo/#")
        facts.append(removed.wait(PATIENCE))
        client.disconnect()
        facts.append(left.wait(PATIENCE))
    finally:
        client.loop_stop()
    return facts, received


@pytest.mark.asyncio
async def test_paho_connects_subscribes_publishes_and_receives() -> None:
    async with Listener() as listener:
        facts, received = await asyncio.to_thread(use_paho, listener.port)
    assert facts == [(0, 0), (1, 0), True, True]
    assert received == [("echo/t/0", b"zero", 0), ("echo/t/1", b"x" * 200_000, 1)]
    (application,) = listener.made
    connected, *others, last = application.seen
    assert (connected.client_id, connected.username, connected.password) == ("dev", "user", "password")
    assert (connected.clean_session, connected.will.topic, connected.will.qos) == (False, "will", 1)
    assert [type(item) for item in others] == [Subscribe, Publish, Publish, Unsubscribe]
    assert last == ("disconnected", True)


@pytest.mark.asyncio
async def test_paho_is_refused() -> None:
    class Refusing(Application):
        def connected(self, connect: Connect) -> None:
            self.link.refuse(5)

    def attempt(port: int) -> int:
        client, codes = paho.Client("dev"), []
        client.on_connect = lambda _client, _data, _flags, code: codes.append(code)
        client.connect("127.0.0.1", port)
        while client.loop(timeout=1) == 0:
            pass
        return codes[0]

    async with Listener(Refusing) as listener:
        assert await asyncio.to_thread(attempt, listener.port) == 5
    assert listener.made[0].seen == [("disconnected", False)]


@pytest.mark.asyncio
async def test_keep_alive_and_connect_timeout_on_a_real_loop(eventually: Any) -> None:
    closed: list[str] = []
    loop = asyncio.get_running_loop()
    applications: list[Application] = []

    def choose(link: MqttLink, _connect: Connect) -> Application:
        applications.append(Application(link))
        return applications[-1]

    def connection(name: str) -> MqttConnection:
        return MqttConnection(
            peer=Peer(),
            write=lambda _data: None,
            close_transport=lambda: closed.append(name),
            choose=choose,
            loop=loop,
            connect_timeout=0.05,
        )

    silent, connected = connection("silent"), connection("connected")
    connected.receive(connect(keep_alive=1))
    # in the order of their times, however late a busy machine is
    await eventually(lambda: len(closed) == 2)
    assert closed == ["silent", "connected"]
    await eventually(lambda: applications[0].seen[-1] == ("disconnected", False))
    assert silent.ended


# ---- what becomes of a message


def test_the_application_hears_of_the_acknowledgement_of_its_message() -> None:
    bench = Bench()
    bench.connection.receive(connect() + subscribe(1, "t"))
    heard: list[str] = []
    bench.connection.publish("t", b"a", 1, lambda: heard.append("a"))
    bench.connection.publish("t", b"b", 1, lambda: heard.append("b"))
    bench.connection.publish("t", b"c", 1)
    bench.connection.publish("t", b"d", 0, lambda: heard.append("d"))
    bench.connection.receive(encode_puback(2) + encode_puback(3) + encode_puback(77))
    assert heard == ["b"]
    bench.connection.receive(encode_puback(2) + encode_puback(1) + encode_puback(1))
    assert heard == ["b", "a"]


def test_after_the_end_no_acknowledgement_is_heard() -> None:
    bench = Bench()
    bench.connection.receive(connect() + subscribe(1, "t"))
    heard: list[str] = []
    bench.connection.publish("t", b"a", 1, lambda: heard.append("a"))
    bench.connection.close()
    bench.connection.receive(encode_puback(1))
    bench.connection.publish("t", b"b", 1, lambda: heard.append("b"))
    assert heard == []


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda bench: bench.connection.lost(), Ending(NETWORK)),
        (lambda bench: bench.connection.receive(DISCONNECT), Ending(CLIENT)),
        (lambda bench: bench.connection.close(), Ending(SERVICE)),
        (lambda bench: bench.loop.advance(1_000), Ending(SERVICE, "no packet within 1.5 times the keep alive time")),
    ],
    ids=["a cable is cut", "the client takes its leave", "the service hangs up", "nothing is heard any more"],
)
def test_who_ended_a_connection_is_told(end: Callable[[Bench], None], expected: Ending) -> None:
    bench = Bench().connected()
    end(bench)
    bench.loop.advance()
    assert bench.made[0].how == expected


def test_a_packet_that_cannot_be_ends_a_connection_with_the_reason() -> None:
    bench = Bench().connected()
    bench.connection.receive(b"\xf0\x00")
    bench.loop.advance()
    assert bench.made[0].how.by == SERVICE
    assert bench.made[0].how.reason
