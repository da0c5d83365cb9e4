"""A hub and an AMQP client of it, without a socket: what the client sends is bytes, and so is what it gets."""

import itertools
from types import SimpleNamespace

from hub_world import HOST, POLICY, World, text

from dps_simulator.common.http import Peer
from dps_simulator.credentials.sas import sign
from dps_simulator.hub.api.amqp.connection import HubAmqpEndpoint
from dps_simulator.hub.api.amqp.events import EventEndpoint
from dps_simulator.hub.api.amqp.service import service_rows
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, FrameDecoder, put_frame
from dps_simulator.protocols.amqp.messages import Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Open,
    Source,
    Target,
    Transfer,
)
from dps_simulator.server.amqp_line import AmqpConnectionLine

NAME = HOST.partition(".")[0]
_FAR = 2**31 - 1


class Loop:
    """What runs soon runs when a test says so."""

    def __init__(self):
        self.soon = []

    def time(self):
        return 0.0

    def call_soon(self, function):
        self.soon.append(function)
        return SimpleNamespace(cancel=lambda: function in self.soon and self.soon.remove(function))

    def call_at(self, when, function):
        return SimpleNamespace(cancel=lambda: None, when=lambda: when)

    def run(self):
        while self.soon:
            self.soon.pop(0)()


class AmqpWorld(World):
    def __init__(self, policy_name="iothubowner"):
        super().__init__(policy_name)
        self.loop = Loop()
        self.events = EventEndpoint(hub=self.hub, clock=self.clock, call_soon=self.loop.call_soon)
        self.amqp = HubAmqpEndpoint(
            devices=self.endpoint,
            clock=self.clock,
            trace=self.trace,
            services=(*service_rows(), *self.events.rows()),
        )

    def client(self):
        return Client(self)

    def fire(self):
        """Run the timers whose time has come by the clock."""
        for timer in [each for each in self.timers if not each.cancelled]:
            self.timers.remove(timer)
            timer.callback()
        self.loop.run()

    def telemetry(self, body, device="d1"):
        self.hub.telemetry.append(device, body, enqueued=self.clock.now(), system={}, properties={})
        self.loop.run()

    def event_token(self, path=NAME, ttl=3600, key=None):
        key = text(POLICY).encode() if key is None else key
        return sign(f"sb%3A%2F%2F{HOST}%2F{path}", key, int(self.clock.now().timestamp()) + ttl, self.policy)

    def service_token(self, ttl=3600):
        return sign(HOST, POLICY, int(self.clock.now().timestamp()) + ttl, self.policy)

    policy = "iothubowner"


class Client:
    def __init__(self, world):
        self.world = world
        self.frames = []
        self._decoder = FrameDecoder(2**20)
        self._begun = self.closed = False
        self.newest = None
        self._handles = itertools.count()
        self._deliveries = itertools.count()
        self.line = AmqpConnectionLine(
            peer=Peer(HOST, "amqp"),
            write=self._decoder.feed,
            close_transport=lambda: setattr(self, "closed", True),
            choose=lambda line, _: world.amqp.application(line),
            loop=world.loop,
        )
        self.line.receive(AMQP_HEADER)
        self.put(Open(container_id="test", hostname=HOST))
        self.put(Begin(next_outgoing_id=0, incoming_window=_FAR, outgoing_window=_FAR))

    def put(self, frame, payload=b""):
        out = bytearray()
        put_frame(out, frame, payload)
        self.line.receive(bytes(out))
        self.read()

    def read(self):
        self.world.loop.run()
        if not self._begun and self._decoder.header() is None:
            return
        self._begun = True
        while (frame := self._decoder.frame()) is not None:
            self.frames.append(frame)

    def said(self, kind):
        """The frames of one kind that have come since the last question."""
        self.read()
        found = [each for each in self.frames if isinstance(each.performative, kind)]
        self.frames = [each for each in self.frames if each not in found]
        return found

    def attach(self, address, *, role, credit=0, **more):
        handle = next(self._handles)
        ends = {"source": Source(address=address), "target": Target(address=address)}
        fields = {"name": f"link-{handle}", "handle": handle, "role": role, **ends, **more}
        if role is SENDER:
            fields["initial_delivery_count"] = 0
        self.put(Attach(**fields))
        if credit:
            self.credit(handle, credit)
        return handle

    def credit(self, handle, credit, **more):
        frame = {"next_incoming_id": 0, "incoming_window": _FAR, "next_outgoing_id": 0, "outgoing_window": _FAR}
        self.put(Flow(**frame, handle=handle, delivery_count=0, link_credit=credit, **more))

    def send(self, handle, message, **more):
        """Send a message, and return what became of it."""
        number = next(self._deliveries)
        payload = message if isinstance(message, bytes) else message.encoded()
        for start in range(0, max(len(payload), 1), 30_000):
            piece, is_more = payload[start : start + 30_000], start + 30_000 < len(payload)
            name = {} if start else {"delivery_id": number, "delivery_tag": b"%d" % number, **more}
            self.put(Transfer(handle=handle, more=is_more, **name), piece)
        outcomes = self.said(Disposition)
        return outcomes[-1].performative.state if outcomes else None

    def put_token(self, token, audience=f"sb://{HOST}/{NAME}"):
        """Put a token to $cbs, and return the status."""
        sender, receiver = self.attach("$cbs", role=SENDER), self.attach("$cbs", role=RECEIVER, credit=9)
        asked = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience}
        self.send(sender, Message(properties=Properties(message_id="1"), application_properties=asked, value=token))
        (answer,) = self.messages(receiver)
        return answer.application_properties["status-code"]

    def messages(self, handle):
        """The messages that have come on a link."""
        self.read()
        found = [each for each in self.frames if isinstance(each.performative, Transfer)]
        mine = [each for each in found if each.performative.handle == handle]
        self.frames = [each for each in self.frames if each not in mine]
        made, parts = [], b""
        for each in mine:
            parts += each.payload
            if each.performative.delivery_id is not None:
                self.newest = each.performative.delivery_id
            if not each.performative.more:
                made.append(decode_message(parts))
                parts = b""
        return made

    def settle(self, outcome=None):
        """Say what became of the newest message."""
        self.put(Disposition(role=RECEIVER, first=self.newest, settled=True, state=outcome or Accepted()))

    def refusal(self):
        """Condition and text of the newest detach."""
        error = self.said(Detach)[-1].performative.error
        return error.condition, error.description

    def read_events(self, partition="0", *, entity=NAME, group="$Default", selector=None, credit=100, **more):
        source = Source(
            address=f"{entity}/ConsumerGroups/{group}/Partitions/{partition}",
            filter=None if selector is None else {"apache.org:selector-filter:string": selector},
        )
        return self.attach("", role=RECEIVER, credit=credit, source=source, **more)
