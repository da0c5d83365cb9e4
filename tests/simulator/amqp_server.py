"""The server's side of an AMQP connection in tests: one that accepts everything, with what its client hears."""

import pytest
from amqp_client import Heard, begin, opening, receiver

from dps_simulator.protocols.amqp.connections import AmqpConnection, ConnectionState
from dps_simulator.protocols.amqp.errors import AmqpProtocolError
from dps_simulator.protocols.amqp.events import Attached, Delivered
from dps_simulator.protocols.amqp.performatives import Error, Open, SaslInit

GARBAGE = Error(condition="amqp:not-found", description="no")


class Server:
    """A connection whose user accepts everything, with what its client hears."""

    def __init__(self, **options):
        self.connection = AmqpConnection(0.0, mechanisms=("PLAIN", "EXTERNAL"), container_id="server", **options)
        self.heard = Heard()
        self.events = []
        self.now = 0.0
        self.accept_links = True
        self.settle = True

    def take(self, *data):
        """Let the client say something; gives what it hears."""
        self.connection.receive(b"".join(data), self.now)
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, SaslInit):
                self.connection.approve()
            elif isinstance(event, Open):
                self.connection.accept()
            elif isinstance(event, Attached) and self.accept_links:
                event.link.accept()
            elif isinstance(event, Delivered) and self.settle:
                event.delivery.accept()
        return self.said()

    def said(self):
        return self.heard.take(self.connection.data_to_send())

    def fails(self, *data):
        """Let the client break the protocol; gives the error and what it hears."""
        with pytest.raises(AmqpProtocolError) as caught:
            self.take(*data)
        with pytest.raises(AmqpProtocolError):
            self.connection.next_event()
        assert self.connection.state is ConnectionState.CLOSED
        assert self.connection.unfinished == 0
        return str(caught.value), self.said()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def open(self, *more, **fields):
        self.take(opening(**fields), begin(), *more)
        return self

    def sends(self, *more, **fields):
        """An open link to the client, which has given credit."""
        self.open(receiver("a", handle=1, **fields), *more)
        return self.of(Attached)[0].link
