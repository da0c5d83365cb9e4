"""The client's side of AMQP in tests: frames from the words of the protocol, and what the server said to them."""

from manual_loop import ManualLoop

from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_HEADER, FrameDecoder, put_frame
from dps_simulator.protocols.amqp.messages import decode_message
from dps_simulator.protocols.amqp.performatives import (
    Attach,
    Begin,
    Disposition,
    Flow,
    Open,
    SaslInit,
    SaslResponse,
    Source,
    Target,
    Transfer,
)
from dps_simulator.server.amqp_line import AmqpConnectionLine

#: Bytes of a message that one frame carries.
PIECE = 30_000


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


class Client:
    """A client of an endpoint for AMQP: what it says goes through the protocol to the application, without a network.

    Arguments:
        choose: gives the application for a connection, as the simulator does.
        peer: who is connected.
    """

    def __init__(self, choose, peer):
        self.loop = ManualLoop()
        self.heard = Heard()
        self._written = bytearray()
        self.is_closed = False
        self.line = AmqpConnectionLine(
            peer=peer, write=self._write, close_transport=self._close, choose=choose, loop=self.loop
        )
        self._delivery_id = 0

    def _write(self, data):
        self._written += data

    def _close(self):
        self.is_closed = True
        self.line.lost()

    def say(self, *data):
        """Say something; gives what the server answers."""
        self.line.receive(b"".join(data))
        return self.said()

    def said(self):
        """What the server has said since."""
        data, self._written = bytes(self._written), bytearray()
        return self.heard.take(data)

    def open(self, *more, **fields):
        return self.say(opening(**fields), begin(), *more)

    def send(self, message, handle=0, **fields):
        """Send a message; gives its outcome, and the messages that came with it."""
        data = message if isinstance(message, bytes) else message.encoded()
        pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]
        number = self._delivery_id
        parts = [transfer(piece, handle=handle, delivery_id=number, more=True, **fields) for piece in pieces[:-1]]
        said = self.say(*parts, transfer(pieces[-1], handle=handle, delivery_id=number, **fields))
        self._delivery_id += 1
        outcomes = [each.state for each in said if isinstance(each, Disposition)]
        return (outcomes[0] if outcomes else None), messages_in(said)

    def lose(self):
        self.line.lost()


def messages_in(said):
    """The messages among what the server has said."""
    return [decode_message(payload) for _, payload in (each for each in said if isinstance(each, tuple))]


def one(said, kind):
    """The only one of its kind."""
    (found,) = [each for each in said if isinstance(each, kind)]
    return found
