"""Offers a TPM to the TPM clients of other languages, in the protocol of Microsoft's TPM 2.0 simulator.

Two ports of this machine: TPM commands go to the first, the next one takes signals of the platform ("power on").
Every message begins with a signal of four bytes; all numbers are big-endian. ::

    handshake     15, version of the client (4)                    -> version 1, properties (4), 0
    send command   8, locality (1), size (4), the command          -> size (4), the response, 0
    power on       1, on the platform's port                       -> 0
    session end   20                                               -> the connection is closed

Source: the reference implementation that accompanies the TPM 2.0 Library (``TcpServer``, ``TpmTcpProtocol.h``), and the
clients of TSS.MSR and tpm2-tss, which were run against this.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from dataclasses import dataclass, field

from helpers.tpm.errors import TpmError, TpmProtocolError
from helpers.tpm.structures import MAX_MESSAGE_SIZE, u32
from helpers.tpm.transports.port_pair import bind_port_pair
from helpers.tpm.transports.transport import Closing, Transport

SEND_COMMAND = 8
HANDSHAKE = 15
SESSION_END = 20
STOP = 21

#: Signals of the platform that need nothing but an answer: the TPM behind is on all the time, and keeps what it stores.
#: Power on and off, physical presence on and off, cancel on and off, non-volatile memory on and off, and reset.
PLATFORM_SIGNALS = (1, 2, 3, 4, 9, 10, 11, 12, 17)

MAX_CLIENTS = 32

_VERSION = 1
#: A platform's port is there; no resource manager is.
_PLATFORM_AVAILABLE = 1
_ACKNOWLEDGED = u32(0)
_SIGNAL_SIZE = 4
_COMMAND_HEAD_SIZE = 5
_SMALLEST_COMMAND = 10
_FAILURES_KEPT = 100
_AT_ONCE = 65_536


@dataclass(frozen=True)
class Command:
    """A TPM command that a client sent."""

    data: bytes = field(repr=False)  # perhaps with a key


@dataclass(frozen=True)
class Answer:
    """Something that is answered without the TPM."""

    data: bytes = field(repr=False)


class End:
    """The client says goodbye."""


@dataclass
class Framing:
    """Takes apart what one client sends, however it is cut into pieces.

    Arguments:
        is_platform: whether it came in on the platform's port.
    """

    is_platform: bool
    _received: bytearray = field(default_factory=bytearray, repr=False)

    def feed(self, data: bytes) -> None:
        """Add bytes that were received, however they are cut; :meth:`next` takes the messages out."""
        self._received += data

    def next(self) -> Command | Answer | End | None:
        """The next complete message, ``None`` while there is none.

        Raises:
            TpmProtocolError: this is another protocol, or a part of it that does not work here.
        """
        if len(self._received) < _SIGNAL_SIZE:
            return None
        signal = int.from_bytes(self._received[:_SIGNAL_SIZE], "big")
        if signal in (SESSION_END, STOP):
            return End()
        if self.is_platform:
            if signal not in PLATFORM_SIGNALS:
                raise TpmProtocolError(f"The platform's port does not support the signal {signal}.")
            self._consume(_SIGNAL_SIZE)
            return Answer(_ACKNOWLEDGED)
        if signal == HANDSHAKE:
            if len(self._received) < _SIGNAL_SIZE + 4:
                return None
            self._consume(_SIGNAL_SIZE + 4)
            return Answer(u32(_VERSION) + u32(_PLATFORM_AVAILABLE) + _ACKNOWLEDGED)
        if signal != SEND_COMMAND:
            raise TpmProtocolError(f"The port for commands does not support the signal {signal}.")
        return self._command()

    def _command(self) -> Command | None:
        start = _SIGNAL_SIZE + _COMMAND_HEAD_SIZE
        if len(self._received) < start:
            return None
        locality = self._received[_SIGNAL_SIZE]
        size = int.from_bytes(self._received[start - 4 : start], "big")
        if locality:
            raise TpmProtocolError(f"A command came from locality {locality}; only 0 is supported.")
        if not _SMALLEST_COMMAND <= size <= MAX_MESSAGE_SIZE:
            raise TpmProtocolError(
                f"A command of {size} bytes came; a TPM takes {_SMALLEST_COMMAND} to {MAX_MESSAGE_SIZE}."
            )
        if len(self._received) < start + size:
            return None
        command = bytes(self._received[start : start + size])
        own_size = int.from_bytes(command[2:6], "big")
        if own_size != size:
            # passed on, the TPM would wait for the rest, and everybody else with it
            raise TpmProtocolError(f"A command of {size} bytes came that says it has {own_size}.")
        self._consume(start + size)
        return Command(command)

    def _consume(self, count: int) -> None:
        del self._received[:count]


class MicrosoftSimulatorFront(Closing):
    """A TPM on two ports of this machine, for any number of clients, one command at a time.

    Like the real thing it asks nobody who they are: every program on this machine may use the TPM while it is open.

    Arguments:
        transport: the way to the TPM, which from now on belongs to this object.

    Attributes:
        port: where commands go; signals of the platform go to the next one.

    Raises:
        TpmUnavailableError: no two neighbouring ports are free.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._failures: deque[Exception] = deque(maxlen=_FAILURES_KEPT)
        self._clients: dict[socket.socket, Framing] = {}
        commands, platform = bind_port_pair()
        self.port: int = commands.getsockname()[1]
        self._wake_up, self._alarm = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._listeners = {commands: False, platform: True}
        for listener in self._listeners:
            listener.listen()
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, listener)
        self._selector.register(self._wake_up, selectors.EVENT_READ, self._wake_up)
        self._closing = threading.Lock()
        self._closed = False
        # the only thread that touches the clients and the transport, so commands cannot get in each other's way
        self._thread = threading.Thread(target=self._serve, name="tpm-simulator-front", daemon=True)
        self._thread.start()

    @property
    def failures(self) -> list[Exception]:
        """Why connections were cut, the oldest first: what the TPM raised, and what clients sent wrongly."""
        return list(self._failures)

    def close(self) -> None:
        """End all connections, free both ports and let the TPM go. Closing twice is fine."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._alarm.close()
            self._thread.join()
            self._wake_up.close()
            self._transport.close()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while True:
                ready: list[socket.socket] = [key.data for key, _ in self._selector.select()]
                if self._wake_up in ready:
                    return
                for each in ready:
                    if each in self._listeners:
                        self._accept(each)
                    elif not self._serve_client(each):
                        self._selector.unregister(each)
                        del self._clients[each]
                        each.close()
        finally:
            for each in [*self._clients, *self._listeners]:
                each.close()
            self._clients.clear()
            self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # gone again before it was let in
            return
        if len(self._clients) >= MAX_CLIENTS:
            # first the reason, so that whoever sees the end of the connection can find it
            self._failures.append(TpmProtocolError(f"More than {MAX_CLIENTS} connections were opened at a time."))
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[client] = Framing(is_platform=self._listeners[listener])
        self._selector.register(client, selectors.EVENT_READ, client)

    def _serve_client(self, client: socket.socket) -> bool:
        """Receive and answer; says whether the client stays."""
        try:
            data = client.recv(_AT_ONCE)
        except BlockingIOError:  # a false alarm
            return True
        except OSError:  # the client is gone
            return False
        framing = self._clients[client]
        framing.feed(data)
        try:
            return bool(data) and self._answer_all(client, framing)
        except BlockingIOError:
            self._failures.append(TpmProtocolError("A client does not read what it is answered."))
        except OSError:  # the client is gone
            pass
        except Exception as error:  # whatever a TPM raises: a thread has nobody to raise it to
            self._failures.append(error)
        return False

    def _answer_all(self, client: socket.socket, framing: Framing) -> bool:
        """Answer everything that is complete; says whether the client stays."""
        while (message := framing.next()) is not None:
            if isinstance(message, End):
                return False
            if isinstance(message, Answer):
                client.sendall(message.data)
            else:
                response = self._exchange(message.data)
                client.sendall(u32(len(response)) + response + _ACKNOWLEDGED)
        return True

    def _exchange(self, command: bytes) -> bytes:
        try:
            return self._transport.exchange(command)
        except OSError as error:
            # not to be taken for an error of the client's connection
            raise TpmError(f"The TPM cannot be reached ({error.strerror or error}).") from error
