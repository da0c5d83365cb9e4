"""The official SDKs behind a bad network: slow, in single bytes, stalled, half closed, cut anywhere.

What is acknowledged is kept, nobody else is disturbed, and nothing of a lost connection stays.
"""

import contextlib
import logging
import socket
import threading
import time

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from patience import PATIENCE, wait_until
from sdk_clients import KEY, Https, device_options, shut_down

from dps_simulator.process import launcher

pytestmark = pytest.mark.sdk

UP, DOWN = "to the simulator", "to the client"
KEYS = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
#: Seconds by which each piece is late.
LATENCY = 0.005


class Relay:
    """Passes bytes between clients and a port, until something happens to the first connection at one place.

    Arguments:
        port: of the simulator's proxy.
        size: the largest piece that it passes at once, in bytes.
        latency: seconds by which each piece is late.
        place: direction, and after how many bytes it happens.
        event: ``cut`` both ways, ``half-close`` this direction, ``stall`` until :attr:`go_on` is set.
    """

    def __init__(self, port, *, size=65_536, latency=0.0, place=("", 0), event=""):
        self._target, self._size, self._latency = port, size, latency
        self.place, self._event = place, event
        self.passed = {UP: 0, DOWN: 0}
        self.happened, self.go_on = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        #: where its connections to the simulator come from
        self.ports = set()
        self._sockets, self._threads = [], []
        self._start(self._accept)

    def _start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self.ports.add(server.getsockname()[1])
                self._sockets += [client, server]
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._start(self._pass, client, server, UP)
                self._start(self._pass, server, client, DOWN)

    def _pass(self, source, target, direction):
        with contextlib.suppress(OSError):
            # PySocks takes whatever comes first for the whole answer of a proxy
            size = self._size if direction == UP else 65_536
            while data := source.recv(65_536):
                for begin in range(0, len(data), size):
                    if self._latency:
                        time.sleep(self._latency)
                    self._send(source, target, direction, data[begin : begin + size])
                size = self._size
            target.shutdown(socket.SHUT_WR)

    def _send(self, source, target, direction, piece):
        left = self.place[1] - self.passed[direction]
        if self.place[0] != direction or self.happened.is_set() or len(piece) < left:
            self.passed[direction] += len(piece)
            target.sendall(piece)
            return
        target.sendall(piece[:left])
        self.passed[direction] += left
        self.happened.set()
        if self._event == "cut":
            for one in (source, target):
                one.shutdown(socket.SHUT_RDWR)
        elif self._event == "half-close":
            target.shutdown(socket.SHUT_WR)
        else:
            assert self.go_on.wait(PATIENCE)
            self._send(source, target, direction, piece[left:])

    def close(self):
        self.go_on.set()
        # a thread that accepts does not wake up because its socket is closed
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for one in self._sockets:
            one.close()


@pytest.fixture
def relay(dps_simulator):
    """Makes relays; whatever happened in them, nothing stays in the simulator."""
    relays = []

    def make(**options):
        relays.append(Relay(dps_simulator.running.proxy_port, **options))
        return relays[-1]

    yield make
    for each in relays:
        each.close()
    # not all that are open: others may be those of clients that an earlier test left
    ports = {port for each in relays for port in each.ports}
    wait_until(lambda: not ports & dps_simulator.call(open_ports), "the end of all connections of the relays")


def open_ports(runtime):
    """Where the connections that the simulator holds come from."""
    return {each._transport.get_extra_info("peername")[1] for each in runtime._server._table._open}


@pytest.fixture(autouse=True)
def no_complaints(caplog):
    yield
    for record in caplog.records:
        ours = record.name.startswith(("helpers", "asyncio"))
        assert not (ours and record.levelno >= logging.ERROR), record.getMessage()


@pytest.fixture
def client(dps_simulator, relay):
    """Asks directly, and has gone before nothing may stay; the device ``behind`` is enrolled and in the hub."""
    client = Https(dps_simulator.running)
    with client.session:
        authentication = {"type": "sas", "symmetricKey": KEYS["symmetricKey"]}
        client.hub("PUT", "/devices/behind", {"deviceId": "behind", "authentication": authentication})
        client.service("PUT", "/enrollments/behind", {"registrationId": "behind", "attestation": KEYS})
        yield client


def behind(running, relay, **options):
    return device_options(running, **options) | {"proxy_options": ProxyOptions("HTTP", "127.0.0.1", relay.port)}


def register(running, relay, **options):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        running.provisioning_host, "behind", running.id_scope, KEY, **behind(running, relay, **options)
    )
    return client.register().status


class Talk:
    """What a device says to its hub, and how much of it was acknowledged."""

    def __init__(self, client, relay, turn=0, **options):
        self._client, self._turn, self.acknowledged = client, turn, []
        self.device = IoTHubDeviceClient.create_from_symmetric_key(
            KEY, client.hub_host, "behind", **behind(client.running, relay, connection_retry=False, **options)
        )

    def run(self):
        self.device.connect()
        self.acknowledged.append("connected")
        self.device.patch_twin_reported_properties({"turn": self._turn})
        self.acknowledged.append("reported")
        self.device.send_message(f'"{self._turn}"')
        self.acknowledged.append("told")

    def run_as_far_as_it_goes(self):
        # exceptions of the SDK that are not public come out, too
        with contextlib.suppress(Exception):
            self.run()

    def check(self):
        """Whatever was acknowledged is there."""
        if "reported" in self.acknowledged:
            assert self._client.hub("GET", "/twins/behind")["properties"]["reported"]["turn"] == self._turn
        if "told" in self.acknowledged:
            told = self._client.control("GET", f"/hubs/{self._client.hub_host}/telemetry")["messages"]
            assert told[-1]["body"] == f"{self._turn}"


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
@pytest.mark.parametrize("options", [{"latency": LATENCY}, {"size": 1}], ids=["late", "single bytes"])
def test_everything_works_slowly(client, relay, options, websockets):
    assert register(client.running, relay(**options), websockets=websockets) == "assigned"
    talk = Talk(client, relay(**options), websockets=websockets)
    try:
        talk.run()
    finally:
        talk.device.shutdown()
    assert talk.acknowledged == ["connected", "reported", "told"]
    talk.check()


def others_are_served(client):
    assert client.device("PUT", "behind", "register", {"registrationId": "behind"})["operationId"]
    assert launcher.manage(client.running, "GET", "/health", timeout=PATIENCE)["status"] == "ready"


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_stall_of_a_device_holds_up_nobody_else_and_ends(client, relay, direction):
    stalling = relay(event="stall")
    talk = Talk(client, stalling)
    # while it connects, the SDK waits for five seconds only, and all other clients of its process with it
    talk.device.connect()
    stalling.place = direction, stalling.passed[direction] + 10
    thread = threading.Thread(target=talk.run)
    thread.start()
    try:
        assert stalling.happened.wait(PATIENCE)
        others_are_served(client)
        assert "told" not in talk.acknowledged
        stalling.go_on.set()
        thread.join(PATIENCE)
        assert talk.acknowledged == ["connected", "reported", "told"]
        talk.check()
    finally:
        stalling.go_on.set()
        talk.device.shutdown()


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_stall_anywhere_in_a_handshake_or_request_ends(client, relay, direction):
    def ask(through, found):
        asker = Https(client.running)
        with asker.session:
            asker.session.proxies = {"https": f"http://127.0.0.1:{through.port}"}
            found.append(asker.service("GET", "/enrollments/behind")["registrationId"])

    whole, found = relay(), []
    ask(whole, found)
    length = whole.passed[direction]
    for place in (1, length // 4, length // 2, length * 3 // 4, length - 1):
        stalling = relay(place=(direction, place), event="stall")
        found.clear()
        thread = threading.Thread(target=ask, args=(stalling, found))
        thread.start()
        wait_until(lambda: stalling.happened.is_set() or not thread.is_alive())  # noqa: B023
        if stalling.happened.is_set():
            others_are_served(client)
            assert found == []
            stalling.go_on.set()
        else:
            # signatures and tokens differ by some bytes, so what comes last may be behind the end this time
            assert place == length - 1
        thread.join(PATIENCE)
        assert found == ["behind"]


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.anywhere)])
@pytest.mark.parametrize("event", ["cut", "half-close"])
@pytest.mark.parametrize("direction", [UP, DOWN])
# the SDK's background threads complain when their connection dies under them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_was_acknowledged_before_a_cut_is_kept(client, relay, direction, event, count):
    whole = relay()
    talk = Talk(client, whole)
    talk.run()
    talk.device.shutdown()
    length, reached = whole.passed[direction], 0
    for turn in range(1, count + 1):
        broken = relay(place=(direction, length * turn // (count + 1)), event=event)
        talk = Talk(client, broken, turn)
        thread = threading.Thread(target=talk.run_as_far_as_it_goes)
        thread.start()
        # the last place may be in the farewell
        wait_until(lambda: not thread.is_alive() or (broken.happened.is_set() and not talk.device.connected))  # noqa: B023
        shut_down(talk.device, thread)
        # not all of them: how many bytes a device sends, and how far it gets before it gives up, is not always the same
        reached += broken.happened.is_set()
        talk.check()
        broken.close()
    assert reached
    assert register(client.running, relay()) == "assigned"


@pytest.mark.parametrize("count", [5, pytest.param(60, marks=pytest.mark.anywhere)])
@pytest.mark.parametrize("event", ["cut", "half-close"])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_request_that_is_cut_off_is_done_or_not_and_never_half(client, relay, direction, event, count):
    def put(name, through):
        sender = Https(client.running)
        with sender.session:
            sender.session.proxies = {"https": f"http://127.0.0.1:{through.port}"}
            enrollments = [{"registrationId": f"{name}-{number}", "attestation": KEYS} for number in range(5)]
            return sender.service("POST", "/enrollments", {"mode": "create", "enrollments": enrollments})

    whole = relay()
    put("whole", whole)
    length = whole.passed[direction]
    for turn in range(1, count + 1):
        broken, acknowledged = relay(place=(direction, length * turn // (count + 1)), event=event), False
        with contextlib.suppress(requests.RequestException):
            acknowledged = put(f"turn-{turn}", broken)["isSuccessful"]
        assert broken.happened.is_set()
        broken.close()
        there = [client.service("GET", f"/enrollments/turn-{turn}-{number}") is not None for number in range(5)]
        assert there in ([True] * 5, [False] * 5)
        assert there[0] or not acknowledged
