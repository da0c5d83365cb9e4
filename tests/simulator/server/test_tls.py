from __future__ import annotations

import contextlib
import itertools
import os
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from dps_simulator.server.tls.context import RECORD_SIZE, AcceptingContext, TlsError, TlsSession

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HOST = "global.azure-devices-provisioning.test"


@pytest.fixture
def context(server_files: tuple[Path, Path]) -> AcceptingContext:
    return AcceptingContext(*server_files)


class Pair:
    """A client of the ssl module and our server, joined by memory."""

    def __init__(self, context: AcceptingContext, client_context: ssl.SSLContext, host: str | None = HOST) -> None:
        self.from_server, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = TlsSession(context)
        self.client = client_context.wrap_bio(self.from_server, self.to_server, server_hostname=host)

    def carry(self) -> None:
        self.server.receive(self.to_server.read())

    def send(self, data: bytes) -> None:
        self.client.write(data)
        self.carry()

    def handshake(self) -> None:
        for _ in range(10):
            over = False
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
                over = True
            self.carry()
            if self.server.handshake() and over:
                return
            self.from_server.write(self.server.outgoing())
        raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("version", VERSIONS)
class TestHandshake:
    def test_without_certificate(self, context: AcceptingContext, client_context: Any, version: Any) -> None:
        pair = Pair(context, client_context(None, version))
        pair.handshake()
        assert pair.server.presented_chain() == ()
        assert pair.server.verification_errors == ()
        assert pair.server.server_name == HOST
        assert pair.server.version == version.name.replace("_", ".")

    def test_self_signed(self, context: AcceptingContext, client_context: Any, issue: Any, version: Any) -> None:
        device = issue("device")
        pair = Pair(context, client_context(device, version))
        pair.handshake()
        assert pair.server.presented_chain() == (device.der,)
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
        pair.from_server.write(pair.server.write(b"the end"))
        assert not pair.server.shut_down()
        pair.from_server.write(pair.server.outgoing())
        assert pair.client.read() == b"the end"
        assert pair.client.read() == b""
        pair.client.unwrap()
        pair.carry()
        assert pair.server.read() == b""
        assert pair.server.shut_down()

    def test_client_that_sends_on_after_our_close_ends_it(
        self, context: AcceptingContext, client_context: Any, version: Any
    ) -> None:
        pair = Pair(context, client_context(None, version))
        pair.handshake()
        assert not pair.server.shut_down()
        assert not pair.server.shut_down()
        pair.send(b"more")
        assert pair.server.shut_down()


class TestStreams:
    @pytest.fixture
    def pair(self, context: AcceptingContext, client_context: Any) -> Pair:
        pair = Pair(context, client_context())
        pair.handshake()
        return pair

    def test_half_records_wait_for_the_rest(self, pair: Pair) -> None:
        pair.client.write(b"hello")
        record = pair.to_server.read()
        for index in range(len(record) - 1):
            pair.server.receive(record[index : index + 1])
            assert pair.server.read() is None
        pair.server.receive(b"")
        pair.server.receive(record[-1:])
        assert pair.server.read() == b"hello"
        assert pair.server.read() is None

    def test_close_notify_reads_as_nothing(self, pair: Pair) -> None:
        pair.client.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.unwrap()
        pair.carry()
        assert pair.server.read() == b"last"
        assert pair.server.read() == b""
        assert pair.server.read() == b""

    def test_writing_nothing_sends_nothing(self, pair: Pair) -> None:
        assert pair.server.write(b"") == b""

    def test_writes_views(self, pair: Pair) -> None:
        pair.from_server.write(pair.server.write(memoryview(b"view")))
        assert pair.client.read() == b"view"

    def test_large_amounts_both_ways(self, pair: Pair) -> None:
        data = os.urandom(300_000)
        pair.from_server.write(pair.server.write(data))
        got = b""
        while len(got) < len(data):
            got += pair.client.read(65_536)
        assert got == data
        sent = 0
        while sent < len(data):
            sent += pair.client.write(data[sent:])
        pair.carry()
        got = b""
        while part := pair.server.read():
            got += part
        assert got == data

    def test_corrupted_record_is_an_error(self, pair: Pair) -> None:
        pair.client.write(b"hello")
        record = bytearray(pair.to_server.read())
        record[-1] ^= 1
        pair.server.receive(bytes(record))
        with pytest.raises(TlsError, match=r"(?i)bad record mac|decryption failed"):
            pair.server.read()
        with pytest.raises(TlsError):
            pair.server.write(b"more")


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id" * 20, b"\x00" * 300],
)
def test_garbage_is_an_error(context: AcceptingContext, garbage: bytes) -> None:
    server = TlsSession(context)
    server.receive(garbage)
    with pytest.raises(TlsError):
        server.handshake()
    assert not server.established


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
            pair.server.receive(bytes(flight))
            pair.server.handshake()
            pair.from_server.write(pair.server.outgoing())

    with pytest.raises(TlsError, match="bad signature"):
        handshake()


def test_old_tls_is_refused(context: AcceptingContext, client_context: Any) -> None:
    settings = client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        settings.minimum_version = ssl.TLSVersion.TLSv1_1
        settings.maximum_version = ssl.TLSVersion.TLSv1_1
    settings.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(TlsError, match="unsupported protocol"):
        Pair(context, settings).handshake()


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


def test_unknown_openssl_errors_have_a_text(
    context: AcceptingContext, client_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: SSL.Connection) -> None:
        raise SSL.Error

    monkeypatch.setattr(SSL.Connection, "do_handshake", fail)
    with pytest.raises(TlsError, match="unknown TLS error"):
        TlsSession(context).handshake()


def test_session_tickets_leave_together_with_the_first_answer(context: AcceptingContext, client_context: Any) -> None:
    pair = Pair(context, client_context(None, ssl.TLSVersion.TLSv1_3))
    pair.handshake()
    sent = pair.server.write(b"CONNACK")
    assert pair.server.outgoing() == b""
    record = 5 + int.from_bytes(sent[3:5], "big")
    assert record < len(sent)
    pair.from_server.write(sent)
    assert pair.client.read(100) == b"CONNACK"


class Asked(Pair):
    """A pair whose server asks OpenSSL after each part whether there is more, sure or not."""

    def __init__(self, context: AcceptingContext, client_context: ssl.SSLContext) -> None:
        super().__init__(context, client_context)
        self.handshake()
        # the tickets leave with it
        self.from_server.write(self.server.write(b"first"))
        assert self.client.read() == b"first"
        self.sure: list[bool] = []

    def arrive(self, part: bytes) -> bytes:
        """Hand on a part of what the client sent; the content that the server reads."""
        content = b""
        self.server.receive(part)
        assert not self.server.is_read
        while data := self.server.read():
            content += data
            self.sure.append(self.server.is_read)
            if self.server.is_read:
                assert self.server.read() is None
                assert self.server.outgoing() == b""
                break
        return content


@pytest.mark.parametrize("version", VERSIONS)
def test_one_whole_record_is_all_that_there_is(context: AcceptingContext, client_context: Any, version: Any) -> None:
    pair = Asked(context, client_context(None, version))
    for size in (1, 100, RECORD_SIZE):
        pair.client.write(bytes(size))
        assert pair.arrive(pair.to_server.read()) == bytes(size)
    assert pair.sure == [True] * 3


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 3_000), max_size=8),
)
def test_nothing_is_left_behind_however_records_are_cut_and_joined(
    context: AcceptingContext, client_context: Any, version: Any, sizes: list[int], cuts: list[int]
) -> None:
    pair = Asked(context, client_context(None, version))
    for size in sizes:
        pair.client.write(os.urandom(size))
    sent, content = pair.to_server.read(), b""
    bounds = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    for begin, end in itertools.pairwise(bounds):
        content += pair.arrive(sent[begin:end])
    assert len(content) == sum(sizes)
    assert not any(pair.sure) or len(sizes) == 1 or bounds[1] < len(sent)


def test_a_record_without_content_is_never_all_that_there_is(context: AcceptingContext, client_context: Any) -> None:
    pair = Asked(context, client_context(None, ssl.TLSVersion.TLSv1_3))
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.unwrap()  # close_notify, which is one whole record
    assert pair.arrive(pair.to_server.read()) == b""
    assert not pair.server.is_read
