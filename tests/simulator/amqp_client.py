"""The client's side of AMQP in tests: frames from the words of the protocol, and what the server said to them."""

from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_HEADER, FrameDecoder, put_frame
from dps_simulator.protocols.amqp.performatives import (
    Attach,
    Begin,
    Flow,
    Open,
    SaslInit,
    SaslResponse,
    Source,
    Target,
    Transfer,
)


def frame(performative, payload=b"", *, channel=0, kind=0):
    out = bytearray()
    put_frame(out, performative, payload, channel=channel, kind=kind)
    return bytes(out)


def sasl(mechanism="PLAIN", response=b"\0user\0password", hostname=None):
    return SASL_HEADER + frame(SaslInit(mechanism=mechanism, initial_response=response, hostname=hostname), kind=1)


def sasl_response(data):
    return frame(SaslResponse(response=data), kind=1)


def opening(**fields):
    return AMQP_HEADER + frame(Open(**{"container_id": "client", **fields}))


def begin(channel=0, **fields):
    windows = {"next_outgoing_id": 0, "incoming_window": 1_000, "outgoing_window": 1_000}
    return frame(Begin(**{**windows, **fields}), channel=channel)


def sender(address, *, name="sender", handle=0, channel=0, **fields):
    """The client attaches a link on which it sends."""
    made = Attach(name=name, handle=handle, role=False, target=Target(address=address), **fields)
    return frame(made, channel=channel)


def receiver(address, *, name="receiver", handle=1, channel=0, source=None, **fields):
    """The client attaches a link on which it receives."""
    source = source or Source(address=address)
    return frame(Attach(name=name, handle=handle, role=True, source=source, **fields), channel=channel)


def flow(handle=1, credit=10, *, channel=0, **fields):
    windows = {"next_incoming_id": 0, "incoming_window": 1_000, "next_outgoing_id": 0, "outgoing_window": 1_000}
    return frame(Flow(**{**windows, "handle": handle, "link_credit": credit, **fields}), channel=channel)


def transfer(message, *, handle=0, delivery_id=0, channel=0, **fields):
    made = Transfer(handle=handle, delivery_id=delivery_id, delivery_tag=b"tag", **fields)
    return frame(made, message, channel=channel)


class Heard:
    """What the server has sent, cut into headers and frames."""

    def __init__(self):
        self._decoder = FrameDecoder()
        self._expects_header = True

    def take(self, data):
        """The performatives in these bytes, each with what it carries where that is something."""
        self._decoder.feed(data)
        said = []
        while self._decoder.unfinished:
            if self._expects_header:
                header = self._decoder.header()
                assert header in (AMQP_HEADER, SASL_HEADER)
                said.append(header)
                self._expects_header = False
                continue
            heard = self._decoder.frame()
            if heard is None:
                break
            # after the outcome of SASL everything begins again
            self._expects_header = type(heard.performative).__name__ == "SaslOutcome"
            said.append((heard.performative, heard.payload) if heard.payload else heard.performative)
        return said
