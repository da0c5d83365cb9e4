"""TLS that lets every client certificate in and shows it to our own code.

The ``ssl`` module can only trust or break off. A provisioning service has to tell "expired" from "not enrolled", so
the handshake here asks for a certificate, has the client prove that it holds the key, and judges nothing else: whoever
needs the chain takes it from :meth:`TlsObject.presented_chain` afterwards.

:class:`AcceptingContext` is a real ``ssl.SSLContext`` whose ``wrap_bio`` returns a :class:`TlsObject`, an
``ssl.SSLObject`` over pyOpenSSL. asyncio drives it like its own. What the two sides expect of each other, learned from
reading ``asyncio.sslproto`` of 3.11 to 3.14 and from failures:

* ``incoming.pending`` steers asyncio's flow control. So bytes move from it into OpenSSL one TLS record at a time, and
  never more than the current call needs.
* A close_notify of the client reads as ``b""``, not as an exception.
* ``WantReadError`` is a subclass of ``SSL.Error``; it is caught first, else a close cuts off what was still on its way.
* The exceptions are those of the ``ssl`` module, with ``errno`` set.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

from OpenSSL import SSL, crypto

#: Bytes of a TLS record header: type, version, length.
_HEADER_SIZE = 5
#: Largest plaintext of one TLS record, so one read never needs more room.
_RECORD_SIZE = 16_384
#: Bytes that are read from the network at once: a record with what TLS adds to it.
_READ_SIZE = _RECORD_SIZE + 1_024
#: Bytes taken from OpenSSL at once on the way out.
_OUTGOING_CHUNK = 65_536

_Result = TypeVar("_Result")


class _Witness:
    """What OpenSSL's callbacks learn during one handshake.

    It hangs on the pyOpenSSL connection in place of the :class:`TlsObject`, which would make a reference cycle.
    """

    __slots__ = ("server_name", "verification_errors")

    def __init__(self) -> None:
        self.server_name = ""
        self.verification_errors: list[tuple[int, int]] = []


def _note_verification(connection: SSL.Connection, _: crypto.X509, error: int, depth: int, accepted: int) -> bool:
    """Write down what OpenSSL thinks of a certificate, and accept it."""
    if not accepted:
        connection.get_app_data().verification_errors.append((depth, error))
    return True


def _note_server_name(connection: SSL.Connection) -> None:
    """Write down the name from the client's greeting (SNI)."""
    name = connection.get_servername() or b""
    connection.get_app_data().server_name = name.decode("ascii", "replace").lower().rstrip(".")


class TlsObject(ssl.SSLObject):
    """The server's side of one TLS connection between two memory BIOs.

    Attributes:
        verification_errors: depth and OpenSSL error number of every complaint about the client's chain, e.g.
            ``(0, 18)`` for a self-signed certificate. They are information; none of them ended the handshake.
    """

    def __init__(self, owner: AcceptingContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._owner = owner
        self._incoming = incoming
        self._outgoing = outgoing
        self._header = b""
        self._missing = 0
        self._end_told = False
        self._holding = False
        self._witness = _Witness()
        self._connection = SSL.Connection(owner.openssl, None)
        self._connection.set_app_data(self._witness)
        self._connection.set_accept_state()

    # --- what our own code asks -----------------------------------------------------------------------------------

    def presented_chain(self) -> tuple[bytes, ...]:
        """The certificates that the client presented, DER, its own first; empty when it presented none."""
        own = self._connection.get_peer_certificate()
        if own is None:
            return ()
        others = self._connection.get_peer_cert_chain() or []
        chain = [crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in (own, *others)]
        # depending on OpenSSL's version and side, the peer's own certificate is part of its chain or not
        return tuple(chain[:1] + [certificate for certificate in chain[1:] if certificate != chain[0]])

    @property
    def server_name(self) -> str:
        """The host name that the client asked for (SNI), lower case, empty when it named none."""
        return self._witness.server_name

    @property
    def verification_errors(self) -> tuple[tuple[int, int], ...]:
        """See the class."""
        return tuple(self._witness.verification_errors)

    # --- what asyncio and other users of ssl.SSLObject ask ------------------------------------------------------------

    def do_handshake(self) -> None:
        """Take the handshake as far as the bytes at hand allow."""

        def step() -> None:
            self._connection.do_handshake()
            # What is left to send in TLS 1.3 are session tickets, which nobody waits for. They leave together with the
            # first answer instead of as a packet of their own.
            self._holding = self.version() == "TLSv1.3"

        self._run(step)

    # ssl.SSLObject of Python 3.11 to 3.14 disagree on whether the buffer may be None
    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 (the name is part of the interface)
        """Decrypted bytes, or their number when a buffer is given; nothing at the end of the stream."""
        # pyOpenSSL says "nothing there" by an exception; a look into the BIO first is cheaper
        if not self._connection.pending():
            self._feed()
        try:
            if buffer is None:
                return self._run(lambda: self._connection.recv(min(len, _RECORD_SIZE)), answers=False)
            size = min(len, memoryview(buffer).nbytes) if len else memoryview(buffer).nbytes
            return self._run(lambda: self._connection.recv_into(buffer, size), answers=False)
        except ssl.SSLZeroReturnError:
            return b"" if buffer is None else 0

    def write(self, data: Any) -> int:
        """Encrypt bytes; returns how many."""
        self._holding = False
        # OpenSSL takes one record per call; handing the rest back would make asyncio copy it once per record
        with memoryview(data).cast("B") as plain:
            sent = 0
            while sent < plain.nbytes:
                sent += self._send(plain[sent : sent + _RECORD_SIZE])
            return sent

    def _send(self, part: memoryview) -> int:
        return self._run(lambda: self._connection.send(part))

    def unwrap(self) -> None:
        """Say close_notify and wait for the client's."""
        self._holding = False
        try:
            done = False
            while not done:
                try:
                    done = self._connection.shutdown()
                except SSL.WantReadError:
                    pass  # before SSL.Error, its parent: the client's close_notify is still on its way
                except SSL.Error:
                    # it went away, or sends on after the end; either way nothing more is to come of this connection
                    done = True
                if not done and not self._feed():
                    raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the client has not said close_notify yet")
        finally:
            self._collect()

    def pending(self) -> int:
        """Decrypted bytes that can be read without new input."""
        return self._connection.pending()

    @overload  # type: ignore[override]
    def getpeercert(self, binary_form: None = None) -> dict[str, Any] | None: ...
    @overload
    def getpeercert(self, binary_form: bool) -> bytes | dict[str, Any] | None: ...
    def getpeercert(self, binary_form: bool | None = False) -> bytes | dict[str, Any] | None:
        """The client's own certificate as DER; in the other form always empty, as for any unverified certificate."""
        chain = self.presented_chain()
        if not chain:
            return None
        return chain[0] if binary_form else {}

    def get_unverified_chain(self) -> list[bytes]:
        """:meth:`presented_chain` under its name since Python 3.13."""
        return list(self.presented_chain())

    def get_verified_chain(self) -> list[bytes]:
        """Nothing: no chain is verified here."""
        return []

    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol version and bits of the cipher, ``None`` before the handshake."""
        name = self._connection.get_cipher_name()
        if name is None:
            return None
        return name, self._connection.get_cipher_version() or "", self._connection.get_cipher_bits() or 0

    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``."""
        return self._connection.get_protocol_version_name()

    def compression(self) -> None:
        """TLS compression is off."""

    def shared_ciphers(self) -> None:
        """Not recorded."""

    def selected_alpn_protocol(self) -> None:
        """None is offered: HTTP/1.1 and MQTT are told apart by their first byte."""

    def selected_npn_protocol(self) -> None:
        """Obsolete, never offered."""

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """Not available."""
        raise ValueError(f"the channel binding {cb_type!r} is not supported by this simulator")

    def verify_client_post_handshake(self) -> None:
        """Not available."""
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, "post-handshake authentication is not supported by this simulator")

    @property
    def context(self) -> ssl.SSLContext:
        """The context that made this object."""
        return self._owner

    @context.setter
    def context(self, _: ssl.SSLContext) -> None:
        raise ValueError("the context of this connection cannot be changed")

    @property
    def session(self) -> None:
        """Sessions are never resumed: a resumed one would bring no certificates."""

    @session.setter
    def session(self, _: ssl.SSLSession | None) -> None:
        raise ValueError("sessions are not resumed by this simulator")

    @property
    def session_reused(self) -> bool:
        """Always false."""
        return False

    @property
    def server_side(self) -> bool:
        """Always true."""
        return True

    @property
    def server_hostname(self) -> None:
        """Only clients have one."""

    # --- moving bytes ---------------------------------------------------------------------------------------------

    def _run(self, step: Callable[[], _Result], *, answers: bool = True) -> _Result:
        """Repeat a step of OpenSSL until it succeeds or needs bytes that have not arrived.

        Arguments:
            step: what to do.
            answers: whether its success leaves something to send. What reading leaves, the answer to a change of keys,
                goes out with the next bytes that are sent or waited for.

        Raises:
            ssl.SSLError: or one of its children, with ``errno`` set.
        """
        collect = True
        try:
            while True:
                try:
                    result = step()
                    collect = answers
                    return result
                except SSL.WantReadError:
                    if not self._feed():
                        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more bytes are needed") from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "the client said close_notify") from None
        except SSL.SysCallError:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection ended without close_notify") from None
        except SSL.Error as error:
            self._holding = False  # an alert says why
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, _reason(error)) from None
        finally:
            if collect:
                self._collect()

    def _feed(self) -> bool:
        """Give OpenSSL the next part of at most one TLS record; ``False`` when there is none."""
        data = b""
        if not self._missing:
            self._header += self._incoming.read(_HEADER_SIZE - len(self._header))
            if len(self._header) == _HEADER_SIZE:
                self._missing = int.from_bytes(self._header[3:], "big")
                data, self._header = self._header, b""
        if self._missing:
            body = self._incoming.read(self._missing)
            self._missing -= len(body)
            data += body
        if not data:
            if not self._incoming.eof or self._end_told:
                return False
            self._end_told = True
            self._connection.bio_shutdown()
            return True
        while data:
            data = data[self._connection.bio_write(data) :]
        return True

    def _collect(self) -> None:
        """Move what OpenSSL wants to send to the outgoing BIO, unless it can wait."""
        if self._holding:
            return
        while True:
            try:
                self._outgoing.write(self._connection.bio_read(_OUTGOING_CHUNK))
            except SSL.Error:  # WantReadError: nothing is left
                return


def trim_buffer(transport: asyncio.BaseTransport) -> None:
    """Let a TLS transport of asyncio read in small steps.

    asyncio keeps a buffer of 256 KiB for every TLS connection, and offers no option for it. The buffer is empty between
    two calls from the event loop, so it can be exchanged there. Where asyncio has no such buffer (perhaps a later
    version), nothing happens.
    """
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if isinstance(getattr(protocol, "_ssl_buffer", None), bytearray):
        protocol.max_size = _READ_SIZE
        protocol._ssl_buffer = bytearray(_READ_SIZE)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, e.g. ``http request`` or ``tlsv1 alert unknown ca``."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(entry[-1] for entry in queue) or "unknown TLS error"


class AcceptingContext(ssl.SSLContext):
    """A server's TLS settings: version 1.2 or 1.3, every client certificate or none is welcome.

    Arguments:
        certificate_file: PEM with the server certificate, then its issuers.
        key_file: PEM with its private key.

    Raises:
        ssl.SSLError: a file cannot be read or used, or the two do not belong together.
    """

    openssl: SSL.Context

    def __new__(cls, certificate_file: Path, key_file: Path) -> AcceptingContext:
        """Make the standard context, which only lends its type."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        try:
            # as bytes: pyOpenSSL itself cannot encode every path that exists where the locale is C
            context.use_certificate_chain_file(os.fsencode(certificate_file))
            context.use_privatekey_file(os.fsencode(key_file))
            context.check_privatekey()
        except SSL.Error as error:
            raise ssl.SSLError(
                ssl.SSL_ERROR_SSL,
                f"the certificate {certificate_file} and the key {key_file} cannot be used: {_reason(error)}",
            ) from None
        # asks for a certificate; without FAIL_IF_NO_PEER_CERT devices with symmetric keys may come without one
        context.set_verify(SSL.VERIFY_PEER, _note_verification)
        context.set_tlsext_servername_callback(_note_server_name)
        # a resumed session would hide the client's certificates, so none is kept and no ticket is handed out
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(b"simulator")
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | getattr(SSL, "OP_NO_RENEGOTIATION", 0))
        # most connections are devices that are silent for a long time; meanwhile their 34 KiB of buffers are given back
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        # lets certificates with small keys through, so that our code can say what is wrong with them
        context.set_cipher_list(b"DEFAULT@SECLEVEL=1")
        self.openssl = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> TlsObject:
        """A new connection between two BIOs. It is always the server's side."""
        return TlsObject(self, incoming, outgoing)
