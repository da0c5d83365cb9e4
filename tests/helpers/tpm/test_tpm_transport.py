"""How bytes reach a TPM, and what happens when they do not."""

import os
import socket
import sys
import threading
import time
import tty
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE

from helpers.tpm import TpmConnectionError, TpmProtocolError, TpmUnavailableError
from helpers.tpm.commands import Tpm
from helpers.tpm.embedded.tpm import SoftTpm
from helpers.tpm.transports import transport
from helpers.tpm.transports.transport import (
    DeviceFileTransport,
    SocketTransport,
    check_socket_path,
    connect_unix,
)

COMMAND = bytes.fromhex("8001 0000000c 0000017b 0008")


@pytest.fixture
def pair():
    """A transport, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    client = SocketTransport(ours, timeout=PATIENCE)
    yield client, theirs
    client.close()
    theirs.close()


def test_a_command_goes_out_and_its_response_comes_back(pair):
    client, other = pair
    other.sendall(bytes.fromhex("8001 0000000d 00000000 abcdef"))
    assert client.exchange(COMMAND) == bytes.fromhex("8001 0000000d 00000000 abcdef")
    assert other.recv(100) == COMMAND


def test_a_response_in_many_pieces(pair):
    client, other = pair
    response = bytes.fromhex("8001 0000000d 00000000 abcdef")

    def dribble():
        for number in range(len(response)):
            other.sendall(response[number : number + 1])
            time.sleep(0.001)

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        assert client.exchange(COMMAND) == response
    finally:
        thread.join()


@pytest.mark.parametrize("before", [b"", b"\x80\x01", bytes.fromhex("8001 0000000d 00000000 ab")])
def test_the_other_end_closes(pair, before):
    client, other = pair
    other.sendall(before)
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(TpmConnectionError, match=r"connection to the TPM broke \(the other end closed it\)"):
        client.exchange(COMMAND)
    with pytest.raises(TpmConnectionError, match="connection to the TPM broke"):
        client.exchange(COMMAND)


def test_the_other_end_is_gone(pair):
    client, other = pair
    other.close()
    with pytest.raises(TpmConnectionError, match="connection to the TPM broke"):
        client.exchange(COMMAND)


@pytest.mark.parametrize("before", [b"", b"\x80\x01", bytes.fromhex("8001 0000000d 00000000 ab")])
def test_the_other_end_is_silent(before):
    ours, theirs = socket.socketpair()
    client = SocketTransport(ours, timeout=0.05)
    theirs.sendall(before)
    with pytest.raises(TpmConnectionError, match=r"did not answer within 0\.05 seconds.*one client at a time"):
        client.exchange(COMMAND)
    # what comes later would be taken for the answer to something else
    assert ours.fileno() == -1
    theirs.close()


@pytest.mark.parametrize("size", [0, 9, 4097, 0xFFFFFFFF])
def test_a_response_of_an_impossible_size(pair, size):
    client, other = pair
    other.sendall(b"\x80\x01" + size.to_bytes(4, "big") + bytes(4))
    with pytest.raises(TpmProtocolError, match=f"says that it has {size} bytes; a TPM answers with 10 to 4096"):
        client.exchange(COMMAND)
    with pytest.raises(TpmConnectionError):
        client.exchange(COMMAND)


def test_the_largest_response(pair):
    client, other = pair
    response = b"\x80\x01" + (4096).to_bytes(4, "big") + bytes(4090)
    other.sendall(response)
    assert client.exchange(COMMAND) == response


@contextmanager
def listening(family, address):
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield server


def serve_once(server, response):
    connection, _ = server.accept()
    with connection:
        connection.recv(100)
        connection.sendall(response)


def test_connecting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with listening(socket.AF_UNIX, "s") as server:
        thread = threading.Thread(target=serve_once, args=[server, bytes.fromhex("8001 0000000a 00000000")])
        thread.start()
        client = connect_unix(Path("s"), PATIENCE)
        assert len(client.exchange(COMMAND)) == 10
        thread.join()
        client.close()
        client.close()


def test_nothing_listens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TpmUnavailableError, match="No TPM listens on the socket s "):
        connect_unix(Path("s"))


def test_a_path_that_is_too_long_for_a_socket(tmp_path):
    longest = 107 if sys.platform == "linux" else 103
    check_socket_path(Path("/" + "x" * (longest - 1)))
    for path in (Path("/" + "x" * longest), Path("/" + "ü" * (longest // 2) + "x")):
        with pytest.raises(TpmUnavailableError, match="Choose a folder with a shorter path"):
            connect_unix(path)


# --- device files -----------------------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    """A device file, with the end that a kernel would serve."""
    kernel, device = os.openpty()
    tty.setraw(device)
    yield kernel, Path(os.ttyname(device))
    os.close(kernel)
    os.close(device)


def serve(kernel, respond):
    def work():
        os.write(kernel, respond(os.read(kernel, 4096)))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_device_file_is_a_tpm(terminal):
    kernel, path = terminal
    device = DeviceFileTransport(path)
    thread = serve(kernel, SoftTpm(None).exchange)
    tpm = Tpm(device)
    assert len(tpm.random(8)) == 8
    thread.join()
    tpm.close()
    tpm.close()
    with pytest.raises(TpmConnectionError, match=r"was closed already\. Open the TPM again"):
        tpm.random(8)


@pytest.mark.parametrize("response", [b"\x80\x01", bytes.fromhex("8001 0000000b 00000000"), bytes(10)])
def test_a_device_file_that_answers_something_else(terminal, response):
    kernel, path = terminal
    device = DeviceFileTransport(path)
    thread = serve(kernel, lambda _: response)
    with pytest.raises(TpmProtocolError):
        device.exchange(COMMAND)
    thread.join()
    device.close()


def test_a_device_file_that_swallows_everything():
    device = DeviceFileTransport(Path(os.devnull))
    with pytest.raises(TpmProtocolError, match="answered with 0 bytes that are no response"):
        device.exchange(COMMAND)
    device.close()


def test_a_device_file_that_breaks(monkeypatch):
    device = DeviceFileTransport(Path(os.devnull))

    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(transport.os, "write", fail)
        with pytest.raises(TpmConnectionError, match=r"does not answer \(Input/output error\)"):
            device.exchange(COMMAND)
    device.close()


def test_a_device_file_that_is_not_there(tmp_path):
    with pytest.raises(TpmUnavailableError, match=r"There is no .*/tpmrm0: this machine has no TPM"):
        DeviceFileTransport(tmp_path / "tpmrm0")


def test_a_device_file_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TpmUnavailableError, match=r"file is not a device file.*/dev/tpmrm0"):
        DeviceFileTransport(tmp_path / "file")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied"), r"usermod -aG tss"),
        (OSError(16, "Device or resource busy"), r"cannot be opened \(Device or resource busy\)"),
    ],
)
def test_a_device_file_that_may_not_be_opened(monkeypatch, error, text):
    def refuse(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(transport.os, "open", refuse)
        with pytest.raises(TpmUnavailableError, match=text):
            DeviceFileTransport(Path(os.devnull))
