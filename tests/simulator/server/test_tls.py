from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from helpers.simulator.server.tls import AcceptingContext, TlsObject, trim_buffer

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HOST = "global.azure-devices-provisioning.test"


@pytest.fixture
def context(server_files: tuple[Path, Path]) -> AcceptingContext:
    return AcceptingContext(*server_files)


class Pair:
    """A client of the ssl module and our server, joined by memory."""

    def __init__(self, context: AcceptingContext, client_context: ssl.SSLContext, host: str | None = HOST) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = client_context.wrap_bio(self.to_client, self.to_server, server_hostname=host)

    def handshake(self) -> None:
        done = [False, False]
        for _ in range(10):
            for index, side in enumerate((self.client, self.server)):
                try:
                    side.do_handshake()
                    done[index] = True
                except ssl.SSLWantReadError:
                    pass
            if all(done):
                return
        raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("version", VERSIONS)
class TestHandshake:
    def test_without_certificate(self, context: AcceptingContext, client_context: Any, version: Any) -> None:
        pair = Pair(context, client_context(None, version))
        pair.handshake()
        assert pair.server.presented_chain() == ()
        assert pair.server.getpeercert() is None
        assert pair.server.getpeercert(True) is None
        assert pair.server.get_unverified_chain() == []
        assert pair.server.verification_errors == ()
        assert pair.server.server_name == HOST
        assert pair.server.version() == version.name.replace("_", ".")
        name, protocol, bits = pair.server.cipher() or ("", "", 0)
        assert name
        assert protocol
        assert bits >= 128

    def test_self_signed(self, context: AcceptingContext, client_context: Any, issue: Any, version: Any) -> None:
        device = issue("device")
        pair = Pair(context, client_context(device, version))
        pair.handshake()
        assert pair.server.presented_chain() == (device.der,)
        assert pair.server.getpeercert(True) == device.der
        assert pair.server.getpeercert() == {}
        assert (0, 18) in pair.server.verification_errors

    def test_chain_comes_in_order_without_duplicates(
        self, context: AcceptingContext, client_context: Any, issue: Any, version: Any
    ) -> None:
        root = issue("root", authority=True)
        device = issue("device", issue("second", issue("first", root, authority=True), authority=True))
        pair = Pair(context, client_context(device, version))
        pair.handshake()
        assert list(pair.server.presented_chain()) == device.chain
        assert len(device.chain) == 3
        assert pair.server.verification_errors

    @pytest.mark.parametrize(("first_day", "last_day", "error"), [(-3, -1, 10), (1, 3, 9)])
    def test_out_of_date_certificates_are_let_in_and_noted(
        self,
        context: AcceptingContext,
        client_context: Any,
        issue: Any,
        version: Any,
        first_day: int,
        last_day: int,
        error: int,
    ) -> None:
        device = issue("device", first_day=first_day, last_day=last_day)
        pair = Pair(context, client_context(device, version))
        pair.handshake()
        assert pair.server.presented_chain() == (device.der,)
        assert error in {code for _, code in pair.server.verification_errors}

    def test_an_end_certificate_as_issuer_is_let_in(
        self, context: AcceptingContext, client_context: Any, issue: Any, version: Any
    ) -> None:
        device = issue("device", issue("no authority", issue("root", authority=True)))
        pair = Pair(context, client_context(device, version))
        pair.handshake()
        assert list(pair.server.presented_chain()) == device.chain

    def test_no_server_name(self, context: AcceptingContext, client_context: Any, version: Any) -> None:
        settings = client_context(None, version)
        settings.check_hostname = False
        pair = Pair(context, settings, host=None)
        pair.handshake()
        assert pair.server.server_name == ""

    def test_close_notify_both_ways(self, context: AcceptingContext, client_context: Any, version: Any) -> None:
        pair = Pair(context, client_context(None, version))
        pair.handshake()
        pair.server.write(b"the end")
        with pytest.raises(ssl.SSLWantReadError) as caught:
            pair.server.unwrap()
        assert caught.value.errno == ssl.SSL_ERROR_WANT_READ
        assert pair.client.read() == b"the end"
        assert pair.client.read() == b""
        pair.client.unwrap()
        pair.server.unwrap()

    def test_client_that_sends_on_after_our_close_ends_it(
        self, context: AcceptingContext, client_context: Any, version: Any
    ) -> None:
        pair = Pair(context, client_context(None, version))
        pair.handshake()
        with pytest.raises(ssl.SSLWantReadError):
            pair.server.unwrap()
        pair.client.write(b"more")
        pair.to_server.write_eof()
        pair.server.unwrap()


class TestStreams:
    @pytest.fixture
    def pair(self, context: AcceptingContext, client_context: Any) -> Pair:
        pair = Pair(context, client_context())
        pair.handshake()
        return pair

    def test_takes_one_record_at_a_time_from_the_incoming_bytes(self, pair: Pair) -> None:
        # asyncio and uvloop look at incoming.pending to steer the flow; draining it at once stalls them
        for letter in (b"a", b"b", b"c"):
            pair.client.write(letter * 1_000)
        waiting = pair.to_server.pending
        assert pair.server.read(4_096) == b"a" * 1_000
        assert waiting * 0.6 < pair.to_server.pending < waiting * 0.7
        assert pair.server.read(4_096) == b"b" * 1_000
        assert pair.server.read(4_096) == b"c" * 1_000
        assert pair.to_server.pending == 0

    def test_half_records_wait_for_the_rest(self, pair: Pair) -> None:
        pair.client.write(b"hello")
        record = pair.to_server.read()
        for index in range(len(record) - 1):
            pair.to_server.write(record[index : index + 1])
            with pytest.raises(ssl.SSLWantReadError) as caught:
                pair.server.read()
            assert caught.value.errno == ssl.SSL_ERROR_WANT_READ
        pair.to_server.write(record[-1:])
        assert pair.server.read() == b"hello"

    def test_reads_in_parts_and_tells_what_is_left(self, pair: Pair) -> None:
        pair.client.write(b"0123456789")
        assert pair.server.read(4) == b"0123"
        assert pair.server.pending() == 6
        assert pair.server.read(100) == b"456789"

    def test_reads_into_a_buffer(self, pair: Pair) -> None:
        pair.client.write(b"0123456789")
        buffer = bytearray(6)
        assert pair.server.read(4, buffer) == 4
        assert pair.server.read(0, buffer) == 6
        assert buffer == b"456789"

    def test_close_notify_reads_as_nothing(self, pair: Pair) -> None:
        pair.client.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.unwrap()
        assert pair.server.read() == b"last"
        assert pair.server.read() == b""
        assert pair.server.read(10, bytearray(10)) == 0

    def test_end_without_close_notify_is_an_error_with_number(self, pair: Pair) -> None:
        pair.to_server.write_eof()
        with pytest.raises(ssl.SSLEOFError) as caught:
            pair.server.read()
        assert caught.value.errno == ssl.SSL_ERROR_EOF

    def test_writing_nothing_sends_nothing(self, pair: Pair) -> None:
        before = pair.to_client.pending
        assert pair.server.write(b"") == 0
        assert pair.to_client.pending == before

    def test_writes_views(self, pair: Pair) -> None:
        assert pair.server.write(memoryview(b"view")) == 4
        assert pair.client.read() == b"view"

    def test_large_amounts_both_ways(self, pair: Pair) -> None:
        data = os.urandom(300_000)
        for writer, reader in ((pair.client, pair.server), (pair.server, pair.client)):
            sent, got = 0, b""
            while sent < len(data):
                sent += writer.write(data[sent:])
            while len(got) < len(data):
                got += reader.read(65_536)
            assert got == data

    def test_corrupted_record_is_an_ssl_error(self, pair: Pair) -> None:
        pair.client.write(b"hello")
        record = bytearray(pair.to_server.read())
        record[-1] ^= 1
        pair.to_server.write(record)
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac|decryption failed") as caught:
            pair.server.read()
        assert caught.value.errno == ssl.SSL_ERROR_SSL


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id" * 20, b"\x00" * 300, b"\x16\x03\x01"],
)
def test_garbage_is_an_ssl_error(context: AcceptingContext, garbage: bytes) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(garbage)
    incoming.write_eof()
    with pytest.raises(ssl.SSLError) as caught:
        server.do_handshake()
    assert caught.value.errno in {ssl.SSL_ERROR_SSL, ssl.SSL_ERROR_EOF}
    assert not isinstance(caught.value, ssl.SSLWantReadError)


def _forge_certificate_verify(flight: bytearray) -> None:
    """Flip a bit of the signature in the client's TLS 1.2 CertificateVerify message, if it is there."""
    start = 0
    while start < len(flight):
        size = int.from_bytes(flight[start + 3 : start + 5], "big")
        if flight[start] == 22 and flight[start + 5] == 15:  # handshake, CertificateVerify
            flight[start + 4 + size] ^= 1
        start += 5 + size


def test_a_forged_proof_of_the_key_is_refused(context: AcceptingContext, client_context: Any, issue: Any) -> None:
    pair = Pair(context, client_context(issue("device"), ssl.TLSVersion.TLSv1_2))

    def handshake() -> None:
        for _ in range(6):
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
            flight = bytearray(pair.to_server.read())
            _forge_certificate_verify(flight)
            pair.to_server.write(flight)
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.server.do_handshake()

    with pytest.raises(ssl.SSLError, match="bad signature"):
        handshake()


def test_old_tls_is_refused(context: AcceptingContext, client_context: Any) -> None:
    settings = client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        settings.minimum_version = ssl.TLSVersion.TLSv1_1
        settings.maximum_version = ssl.TLSVersion.TLSv1_1
    settings.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        Pair(context, settings).handshake()


def test_what_is_not_offered_says_so(context: AcceptingContext, client_context: Any) -> None:
    server = Pair(context, client_context()).server
    assert isinstance(server, ssl.SSLObject)
    assert server.context is context
    assert server.server_side is True
    assert server.session is None
    assert server.session_reused is False
    assert server.server_hostname is None
    assert server.cipher() is None
    assert server.compression() is None
    assert server.shared_ciphers() is None
    assert server.selected_alpn_protocol() is None
    assert server.selected_npn_protocol() is None
    assert server.get_verified_chain() == []
    with pytest.raises(ValueError, match="tls-unique"):
        server.get_channel_binding()
    with pytest.raises(ssl.SSLError, match="not supported by this simulator"):
        server.verify_client_post_handshake()
    with pytest.raises(ValueError, match="cannot be changed"):
        server.context = context
    with pytest.raises(ValueError, match="not resumed"):
        server.session = None


def test_unusable_files_are_named(tmp_path: Path, server_files: tuple[Path, Path], issue: Any) -> None:
    certificate, key = server_files
    other = issue("other").key_file
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("not PEM")
    for pair in ((certificate, other), (damaged, key), (certificate, damaged), (tmp_path / "missing.pem", key)):
        with pytest.raises(ssl.SSLError) as caught:
            AcceptingContext(*pair)
        assert str(pair[0]) in str(caught.value)
        assert str(pair[1]) in str(caught.value)


def test_unknown_openssl_errors_have_a_text(context: AcceptingContext, client_context: Any) -> None:
    server: TlsObject = Pair(context, client_context()).server

    def fail() -> None:
        raise SSL.Error

    with pytest.raises(ssl.SSLError, match="unknown TLS error"):
        server._run(fail)


async def _serve_digests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    trim_buffer(writer.transport)
    size = int.from_bytes(await reader.readexactly(8), "big")
    data = await reader.readexactly(size)
    writer.write(hashlib.sha256(data).digest() + data)
    await writer.drain()
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_eight_mebibytes_through_asyncio_both_ways(
    context: AcceptingContext, client_context: Callable[..., ssl.SSLContext], issue: Any, version: Any
) -> None:
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    server = await asyncio.start_server(_serve_digests, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_context(issue("device"), version), server_hostname=HOST
    )
    data = os.urandom(8 << 20)
    writer.write(len(data).to_bytes(8, "big") + data)
    assert await reader.readexactly(32) == hashlib.sha256(data).digest()
    # up to the end: a close that is not gentle cuts off the tail
    assert await reader.read(-1) == data
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert problems == []


@pytest.mark.asyncio
async def test_connections_keep_no_large_buffer(
    context: AcceptingContext, client_context: Callable[..., ssl.SSLContext]
) -> None:
    sizes: list[int] = []

    async def measure(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trim_buffer(writer.transport)
        protocol = writer.transport._ssl_protocol
        sizes.append(len(getattr(protocol, "_ssl_buffer", b"")))
        writer.close()

    server = await asyncio.start_server(measure, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(), server_hostname=HOST)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert sizes[0] < 20_000
    trim_buffer(asyncio.Transport())  # where there is no such buffer, nothing happens


def test_session_tickets_leave_together_with_the_first_answer(context: AcceptingContext, client_context: Any) -> None:
    pair = Pair(context, client_context(None, ssl.TLSVersion.TLSv1_3))
    pair.handshake()
    assert pair.to_client.pending == 0
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.read(100)
    assert pair.to_client.pending == 0
    assert pair.server.write(b"CONNACK") == 7
    assert pair.to_client.pending > 2 * len(b"CONNACK")
    assert pair.client.read(100) == b"CONNACK"


def test_a_client_that_says_nothing_still_gets_a_clean_end(context: AcceptingContext, client_context: Any) -> None:
    pair = Pair(context, client_context(None, ssl.TLSVersion.TLSv1_3))
    pair.handshake()
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
        assert pair.client.read(100) == b""
    pair.to_server.write(b"\x17\x03\x03\x00\x05wrong")
    with pytest.raises(ssl.SSLError):
        pair.server.read(100)
