import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE

from helpers.tpm.embedded import front as simulator_front
from helpers.tpm.embedded.front import Answer, Command, End, Framing, MicrosoftSimulatorFront
from helpers.tpm.errors import TpmConnectionError, TpmError, TpmProtocolError, TpmUnavailableError
from helpers.tpm.transports.port_pair import bind_port_pair

HANDSHAKE = struct.pack(">II", 15, 1)
POWER_ON = struct.pack(">I", 1)
SESSION_END = struct.pack(">I", 20)
GOOD = bytes.fromhex("8001 0000000c 0000017b 0008")


def sent(command, locality=0):
    """A command as a client of Microsoft's simulator sends it."""
    return struct.pack(">IBI", 8, locality, len(command)) + command


class Echo:
    """A stand-in for a TPM, which answers with what it was told."""

    def __init__(self, error=None, answer=None):
        self.error = error
        self.answer = answer
        self.commands = []
        self.closed = 0

    def exchange(self, command):
        self.commands.append(command)
        if self.error is not None:
            raise self.error
        return self.answer or command

    def close(self):
        self.closed += 1


class Client:
    """A TPM client of another language."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the connection was closed"
            data += part
        return data

    def response(self):
        (size,) = struct.unpack(">I", self.receive(4))
        data = self.receive(size)
        assert self.receive(4) == bytes(4)
        return data

    @property
    def is_cut(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def front(echo):
    with MicrosoftSimulatorFront(echo) as opened:
        yield opened


# --- the protocol ---------------------------------------------------------------------------------------------------


def test_a_client_shakes_hands_powers_on_and_sends_commands(front, echo):
    with Client(front.port) as commands, Client(front.port + 1) as platform:
        assert commands.send(HANDSHAKE).receive(12) == struct.pack(">III", 1, 1, 0)
        assert platform.send(POWER_ON).receive(4) == bytes(4)
        for _ in range(3):
            assert commands.send(sent(GOOD)).response() == GOOD
        assert commands.send(SESSION_END).is_cut
    assert echo.commands == [GOOD] * 3
    assert front.failures == []


@pytest.mark.parametrize("signal", sorted(simulator_front.PLATFORM_SIGNALS))
def test_every_signal_of_the_platform_is_acknowledged(front, signal):
    with Client(front.port + 1) as platform:
        assert platform.send(struct.pack(">I", signal)).receive(4) == bytes(4)


def test_messages_may_come_in_any_pieces(front):
    with Client(front.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HANDSHAKE + sent(GOOD):
            client.send(bytes([byte]))
        assert client.receive(12)
        assert client.response() == GOOD
        client.send(HANDSHAKE + sent(GOOD) * 5)
        assert client.receive(12)
        assert [client.response() for _ in range(5)] == [GOOD] * 5


@pytest.mark.parametrize("signal", [20, 21])
@pytest.mark.parametrize("offset", [0, 1])
def test_session_end_and_stop_end_this_connection_only(front, signal, offset):
    with Client(front.port) as other, Client(front.port + offset) as client:
        assert client.send(struct.pack(">I", signal)).is_cut
        assert other.send(sent(GOOD)).response() == GOOD


BAD = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "signal 1195725856"),
    "a signal of the platform": (POWER_ON, "signal 1"),
    "hashing": (struct.pack(">I", 5), "does not support the signal 5"),
    "another locality": (sent(GOOD, locality=3), "locality 3"),
    "too large": (struct.pack(">IBI", 8, 0, 4097), "4097 bytes"),
    "huge": (struct.pack(">IBI", 8, 0, 0xFFFFFFFF), "4294967295 bytes"),
    "too small": (struct.pack(">IBI", 8, 0, 9), "9 bytes"),
    "empty": (struct.pack(">IBI", 8, 0, 0), "0 bytes"),
    "another size inside": (sent(bytes.fromhex("8001 00000fff 0000017b 0008")), "says it has 4095"),
}


@pytest.mark.parametrize("name", BAD)
def test_garbage_ends_the_connection_and_never_reaches_the_tpm(front, echo, name):
    data, reason = BAD[name]
    with Client(front.port) as client, Client(front.port) as other:
        assert client.send(data).is_cut
        assert other.send(sent(GOOD)).response() == GOOD
    assert echo.commands == [GOOD]
    (failure,) = front.failures
    assert isinstance(failure, TpmProtocolError)
    assert reason in str(failure)


def test_the_port_of_the_platform_takes_no_commands(front, echo):
    with Client(front.port + 1) as client:
        assert client.send(sent(GOOD)).is_cut
    assert echo.commands == []
    assert "signal 8" in str(front.failures[0])


@given(st.binary(max_size=200), st.booleans(), st.lists(st.integers(1, 20), min_size=1))
def test_any_bytes_are_messages_or_the_error_of_this_protocol(data, is_platform, cuts):
    framing = Framing(is_platform)
    position = 0
    while position < len(data):
        cut = cuts[position % len(cuts)]
        framing.feed(data[position : position + cut])
        position += cut
        try:
            while (message := framing.next()) is not None:
                assert isinstance(message, Command | Answer | End)
                if isinstance(message, End):
                    return
        except TpmProtocolError:
            return


@given(st.lists(st.binary(min_size=4, max_size=50), max_size=10))
def test_commands_come_out_as_they_were_sent(bodies):
    commands = [b"\x80\x01" + struct.pack(">I", len(body) + 6) + body for body in bodies]
    framing = Framing(is_platform=False)
    framing.feed(b"".join(map(sent, commands)) + SESSION_END)
    assert [framing.next() for _ in commands] == list(map(Command, commands))
    assert isinstance(framing.next(), End)


def test_a_message_comes_out_with_its_last_byte_and_not_before():
    framing = Framing(is_platform=False)
    out = []
    for byte in HANDSHAKE + sent(GOOD):
        framing.feed(bytes([byte]))
        out.append(framing.next())
    assert [place for place, message in enumerate(out) if message] == [7, 7 + 9 + len(GOOD)]
    assert out[-1] == Command(GOOD)


# --- clients and TPMs that misbehave --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (TpmConnectionError("swtpm ended"), TpmConnectionError),
        (OSError(5, "Input/output error"), TpmError),
        (ValueError("not planned"), ValueError),
    ],
)
def test_a_tpm_that_fails_costs_the_client_its_connection_and_is_remembered(front, echo, error, kept):
    echo.error = error
    with Client(front.port) as client:
        assert client.send(sent(GOOD)).is_cut
    assert [type(failure) for failure in front.failures] == [kept]
    echo.error = None
    with Client(front.port) as client:
        assert client.send(sent(GOOD)).response() == GOOD


def test_a_client_that_is_half_way_keeps_nobody_waiting(front):
    with Client(front.port) as slow, Client(front.port) as other:
        slow.send(sent(GOOD)[:-1])
        assert other.send(sent(GOOD)).response() == GOOD
        assert slow.send(GOOD[-1:]).response() == GOOD


def test_a_client_that_disappears_keeps_nobody_waiting(front):
    client = Client(front.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.send(sent(GOOD)[:10])
    client.socket.close()  # with a reset
    with Client(front.port) as other:
        assert other.send(sent(GOOD)).response() == GOOD
    assert front.failures == []


def test_a_client_that_never_reads_is_cut(front, echo):
    echo.answer = bytes(4096)
    with Client(front.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(OSError, match=r"reset|pipe"):
            client.send(sent(GOOD) * 200_000)
    assert any("does not read" in str(failure) for failure in front.failures)
    with Client(front.port) as other:
        assert other.send(sent(GOOD)).receive(4)


def test_there_is_an_end_to_how_many_may_come(front, monkeypatch):
    monkeypatch.setattr(simulator_front, "MAX_CLIENTS", 2)
    with Client(front.port) as first, Client(front.port + 1) as second:
        assert first.send(HANDSHAKE).receive(12)
        assert second.send(POWER_ON).receive(4)
        with Client(front.port) as third:
            assert third.is_cut
        assert "More than 2" in str(front.failures[0])
        assert first.send(SESSION_END).is_cut
        with Client(front.port) as fourth:
            assert fourth.send(sent(GOOD)).response() == GOOD


def test_several_clients_share_one_tpm(front, echo):
    def use(number):
        own = b"\x80\x01" + struct.pack(">II", 14, number) + bytes(4)
        with Client(front.port) as client:
            for _ in range(50):
                assert client.send(sent(own)).response() == own
        done.append(number)

    done = []
    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(8))
    assert len(echo.commands) == 400


# --- coming and going -----------------------------------------------------------------------------------------------


def test_nothing_stays_after_close(echo):
    threads = threading.active_count()
    front = MicrosoftSimulatorFront(echo)
    with Client(front.port) as client, Client(front.port + 1) as platform:
        client.send(HANDSHAKE).receive(12)
        front.close()
        front.close()
        assert client.is_cut
        assert platform.is_cut
    assert echo.closed == 1
    assert threading.active_count() <= threads
    for port in (front.port, front.port + 1):
        with pytest.raises(ConnectionRefusedError):
            Client(port)


def test_only_this_machine_is_let_in(front):
    for listener in front._listeners:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_many_fronts_stand_side_by_side():
    fronts = [MicrosoftSimulatorFront(Echo()) for _ in range(10)]
    ports = {port for front in fronts for port in (front.port, front.port + 1)}
    for front in fronts:
        front.close()
    assert len(ports) == 20


def test_a_pair_of_ports_is_two_neighbours():
    first, second = bind_port_pair()
    with first, second:
        assert second.getsockname()[1] == first.getsockname()[1] + 1
        assert first.getsockname()[0] == second.getsockname()[0] == "127.0.0.1"


def test_no_free_pair_of_ports_is_said(monkeypatch):
    class Taken(socket.socket):
        def bind(self, address):
            if address[1]:
                raise OSError(98, "Address already in use")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Taken)
    with pytest.raises(TpmUnavailableError, match="No two neighbouring ports are free"):
        bind_port_pair()
