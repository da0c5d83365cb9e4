"""TLS that lets every client certificate in and shows it to our own code.

The ``ssl`` module can only trust or break off. A provisioning service has to tell "expired" from "not enrolled", so
the handshake here asks for a certificate, has the client prove that it holds the key, and judges nothing else: whoever
needs the chain takes it from :meth:`TlsSession.presented_chain` afterwards.

A :class:`TlsSession` is pyOpenSSL between two buffers: bytes of the network go in and come out, and it never waits.
What moves them is :class:`~dps_simulator.server.tls.transport.TlsTransport`.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from OpenSSL import SSL, crypto

#: Largest plaintext of one TLS record.
RECORD_SIZE = 16_384
#: Bytes taken from OpenSSL at once on the way out: a record with what TLS adds to it, or a flight of the handshake.
_OUTGOING_CHUNK = RECORD_SIZE + 1_024
#: Bytes in front of every record: type, version, length (RFC 8446, section 5.1).
_HEADER_SIZE = 5
#: All usual ones, in the order of the server's preference.
_TLS13_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#: Records that are looked for in one part of what arrives; flights of a handshake have fewer.
_MOST_RECORDS = 8


class TlsError(Exception):
    """Nothing more can come of a TLS connection; the text is OpenSSL's, e.g. ``tlsv1 alert unknown ca``."""


class _Witness:
    """What OpenSSL's callbacks learn during one handshake.

    It hangs on the pyOpenSSL connection in place of the :class:`TlsSession`, which would make a reference cycle.
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


class TlsSession:
    """The server's side of one TLS connection, without a network.

    Arguments:
        context: the server's settings.

    Attributes:
        established: whether the handshake is over.
        is_read: whether it is sure that OpenSSL holds nothing: it was given one whole record, and that had content,
            which was read. Then there is nothing to answer either: TLS answers by itself only to records without.
            To ask OpenSSL instead costs as much as to read the record.
    """

    __slots__ = ("_at_record", "_connection", "_is_whole", "_witness", "established", "is_read")

    def __init__(self, context: AcceptingContext) -> None:
        # whether a record begins with the next byte, as far as it is known; whether the last part was one whole record
        self._at_record = True
        self._is_whole = False
        self.is_read = False
        self._witness = _Witness()
        self._connection = SSL.Connection(context.openssl, None)
        self._connection.set_app_data(self._witness)
        self._connection.set_accept_state()
        self.established = False

    # --- moving bytes ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes | memoryview) -> None:
        """Take bytes from the network. OpenSSL keeps room for the largest part that it was ever given."""
        if data:
            # see whether it is one whole record; once it ends within one, or has many, this is not known any more
            position, records, size = 0, 0, len(data)
            if self._at_record:
                while position + _HEADER_SIZE <= size and records < _MOST_RECORDS:
                    position += _HEADER_SIZE + (data[position + 3] << 8) + data[position + 4]
                    records += 1
                self._at_record = position == size
            self._is_whole = self._at_record and records == 1
            self.is_read = False
            self._connection.bio_write(data)

    def handshake(self) -> bool:
        """Take the handshake as far as the bytes at hand allow; ``True`` when it is over.

        Raises:
            TlsError: it failed. What is left to send tells the client why.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TlsError(_reason(error)) from None
        self.established = True
        return True

    def read(self) -> bytes | None:
        """The next decrypted bytes; ``None`` when more has to arrive first, nothing after the client's close_notify.

        Raises:
            TlsError: what arrived is no TLS, or was changed on the way.
        """
        try:
            data = self._connection.recv(RECORD_SIZE)
            # no record has more than was asked for
            self.is_read = self._is_whole
            return data
        except SSL.WantReadError:  # before SSL.Error, its parent
            return None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise TlsError(_reason(error)) from None

    def write(self, data: bytes | memoryview) -> bytes:
        """Encrypt bytes; returns what is to be sent.

        Raises:
            TlsError: the connection has failed before.
        """
        sent = []
        for start in range(0, len(data), RECORD_SIZE):
            try:
                self._connection.send(data[start : start + RECORD_SIZE])
            except SSL.Error as error:
                raise TlsError(_reason(error)) from None
            sent.append(self.outgoing())
        return b"".join(sent)

    def shut_down(self) -> bool:
        """Say close_notify, once; ``True`` when the client's has come, or none can come any more."""
        try:
            return self._connection.shutdown()
        except SSL.WantReadError:
            return False
        except SSL.Error:
            # it went away, or sends on after the end; either way nothing more is to come of this connection
            return True

    def outgoing(self) -> bytes:
        """What OpenSSL wants to send by now."""
        sent = []
        while True:
            try:
                sent.append(self._connection.bio_read(_OUTGOING_CHUNK))
            except SSL.Error:  # WantReadError: nothing is left
                break
            if len(sent[-1]) < _OUTGOING_CHUNK:
                break
        return b"".join(sent)

    # --- what is known of the client ------------------------------------------------------------------------------

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
        """Every complaint about the client's chain as depth and OpenSSL's number, e.g. ``(0, 18)`` for self-signed.

        They are information; none of them ended the handshake.
        """
        return tuple(self._witness.verification_errors)

    @property
    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``."""
        return self._connection.get_protocol_version_name()


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, e.g. ``http request`` or ``tlsv1 alert unknown ca``."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(entry[-1] for entry in queue) or "unknown TLS error"


class AcceptingContext:
    """A server's TLS settings: version 1.2 or 1.3, every client certificate or none is welcome.

    Arguments:
        certificate_file: PEM with the server certificate, then its issuers.
        key_file: PEM with its private key.

    Raises:
        ssl.SSLError: a file cannot be read or used, or the two do not belong together.

    Attributes:
        openssl: the settings as pyOpenSSL knows them.
    """

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
        # A resumed session would hide the client's certificates, so none is kept, and in TLS 1.2 no ticket is handed
        # out. The two of TLS 1.3 are only names of sessions, which nobody finds; how many there are (OpenSSL's
        # SSL_CTX_set_num_tickets) cannot be set from Python.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(b"simulator")
        context.set_options(
            SSL.OP_NO_TICKET
            | SSL.OP_NO_COMPRESSION
            | SSL.OP_CIPHER_SERVER_PREFERENCE
            | getattr(SSL, "OP_NO_RENEGOTIATION", 0)
        )
        # most connections are devices that are silent for a long time; meanwhile their 34 KiB of buffers are given back
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        # lets certificates with small keys through, so that our code can say what is wrong with them
        context.set_cipher_list(b"DEFAULT@SECLEVEL=1")
        # the suite that every TLS 1.3 has (RFC 8446, section 9.1) goes first: deriving its keys costs half as much as
        # with SHA-384, and a device registers more often than it sends anything large
        if hasattr(context, "set_tls13_ciphersuites"):  # pyOpenSSL 25.2
            context.set_tls13_ciphersuites(_TLS13_SUITES)
        self.openssl = context
