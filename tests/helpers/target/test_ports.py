"""What a probe of a port says: open, refused, silently dropped, no such name. All of it on loopback."""

import contextlib
import errno
import socket
import sys

import pytest

from helpers.target import PortState, port_is_open, probe


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing():
    # bound, so that nobody else gets the number, and not listening
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent():
    """A port whose queue is full: Linux drops further attempts without a word, as many firewalls do."""
    if sys.platform != "linux":
        pytest.skip("only Linux drops connections that its queue has no room for")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def test_an_open_port(listening):
    found = probe("127.0.0.1", listening)
    assert found.is_open
    assert str(found) == f"port {listening} is open"
    assert port_is_open("127.0.0.1", listening)


def test_a_port_that_refuses(refusing):
    found = probe("127.0.0.1", refusing)
    assert found.state is PortState.REFUSED
    assert "refused" in str(found)
    assert not port_is_open("127.0.0.1", refusing)


def test_a_port_that_drops_silently(silent):
    found = probe("127.0.0.1", silent, seconds=0.5)
    assert found.state is PortState.SILENT
    assert "nothing answers" in str(found)
    assert not port_is_open("127.0.0.1", silent, 0.5)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_a_name_that_nobody_knows(monkeypatch, error):
    def unknown(address, timeout):
        raise error

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert probe("no.such.name.invalid", 8883).state is PortState.NAMELESS


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.ENETUNREACH, PortState.UNREACHABLE),
        (errno.EHOSTUNREACH, PortState.UNREACHABLE),
        (errno.ECONNRESET, PortState.REFUSED),
    ],
)
def test_a_machine_without_a_way(monkeypatch, number, state):
    def no_way(address, timeout):
        raise OSError(number, "no way")

    monkeypatch.setattr(socket, "create_connection", no_way)
    assert probe("127.0.0.1", 8883).state is state
