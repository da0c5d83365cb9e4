"""How questions are asked over AMQP: a link is attached, which the simulator accepts or refuses."""

from __future__ import annotations

import socket
import ssl

from dps_simulator import RunningSimulator
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_FRAME, SASL_HEADER, FrameDecoder, put_frame
from dps_simulator.protocols.amqp.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Open,
    SaslCode,
    SaslInit,
    SaslOutcome,
    Source,
    Target,
)

from .wire import TIMEOUT


def attach(
    running: RunningSimulator, host: str, login: tuple[str, str], address: str, *, sends: bool, version: str
) -> str:
    """Open a connection and attach one link.

    Arguments:
        running: the simulator.
        host: the host name that is addressed.
        login: user name and password for SASL PLAIN.
        address: of the link.
        sends: whether the client sends on it, and does not receive.
        version: of the API.

    Returns:
        Why the link was refused, empty when it was not.

    Raises:
        ConnectionError: there is no connection to attach a link to.
    """
    user_name, password = login
    said = bytearray(SASL_HEADER)
    response = f"\0{user_name}\0{password}".encode()
    put_frame(said, SaslInit(mechanism="PLAIN", initial_response=response), kind=SASL_FRAME)
    said += AMQP_HEADER
    put_frame(said, Open(container_id="fidelity", hostname=host))
    put_frame(said, Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100))
    put_frame(
        said,
        Attach(
            name="fidelity",
            handle=0,
            role=not sends,
            source=Source(address=None if sends else address),
            target=Target(address=address if sends else None),
            properties={"com.microsoft:api-version": version},
        ),
    )
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    with (
        socket.create_connection((running.address, running.tls_port), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(bytes(said))
        return _outcome(connection, sends)


def _outcome(connection: ssl.SSLSocket, sends: bool) -> str:
    """What became of the link, read from what the simulator says.

    Raises:
        ConnectionError: it says that there is no connection.
    """
    decoder = FrameDecoder()
    expects_header = True
    attached = False
    while True:
        data = connection.recv(65_536)
        if not data:
            raise ConnectionError("the simulator closed the connection")
        decoder.feed(data)
        while decoder.unfinished:
            if expects_header:
                if decoder.header() is None:
                    break
                expects_header = False
                continue
            frame = decoder.frame()
            if frame is None:
                break
            what = frame.performative
            if isinstance(what, Close) or (isinstance(what, SaslOutcome) and what.code != SaslCode.OK):
                raise ConnectionError("the simulator refuses the connection")
            # after SASL the connection begins again
            expects_header = isinstance(what, SaslOutcome)
            if isinstance(what, Attach):
                attached = True
                if (what.target if sends else what.source) is not None:
                    return ""
            elif isinstance(what, Detach) and attached:
                return (what.error.description if what.error is not None else None) or "refused"
