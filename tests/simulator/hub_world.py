"""A hub with its devices and their connections, without a socket."""

from __future__ import annotations

import base64

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer
from dps_simulator.common.trace import Trace
from dps_simulator.credentials.sas import sign
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe

HOST = "contoso-hub-1.azure-devices.test"


PRIMARY, SECONDARY, POLICY, WRONG = b"p" * 32, b"s" * 32, b"o" * 32, b"w" * 32


DEVICE = "Thermostat-001"


def text(key):
    return base64.b64encode(key).decode()


class Timer:
    def __init__(self, delay, callback):
        self.delay, self.callback, self.cancelled = delay, callback, False

    def cancel(self):
        self.cancelled = True


class FakeLink:
    """Remembers what the application did. ``close`` tells the application at the end, as the real link does."""

    def __init__(self, transport="mqtt", certificates=()):
        self.peer = Peer(HOST, transport, certificates)
        self.log = []
        self.qos = []
        self.acknowledgements = []
        self.closed = False

    def accept(self):
        self.log.append(("accept",))

    def refuse(self, return_code):
        self.log.append(("refuse", return_code))

    def grant(self, packet_id, return_codes):
        self.log.append(("grant", packet_id, return_codes))

    def unsubscribed(self, packet_id):
        self.log.append(("unsubscribed", packet_id))

    def acknowledge(self, message):
        self.log.append(("acknowledge", message.packet_id))

    def publish(self, topic, payload, qos=0, acknowledged=None):
        self.log.append(("publish", topic, payload))
        self.qos.append(qos)
        self.acknowledgements.append(acknowledged)

    def close(self):
        self.log.append(("close",))
        self.closed = True

    @property
    def published(self):
        return [entry[1:] for entry in self.log if entry[0] == "publish"]


class World:
    def __init__(self, policy_name="iothubowner"):
        self.clock = ManualClock()
        self.store = Store()
        self.trace = Trace(self.clock)
        self.timers = []
        self.hub = IotHub(host=HOST, storage=self.store, clock=self.clock)
        self.endpoint = HubDeviceEndpoint(
            hub=self.hub,
            clock=self.clock,
            trace=self.trace,
            policy_name=policy_name,
            policy_key=text(POLICY),
            call_later=self.call_later,
        )
        keys = {"primaryKey": text(PRIMARY), "secondaryKey": text(SECONDARY)}
        self.hub.put_device(DEVICE, {"authentication": {"symmetricKey": keys, "type": "sas"}})

    def call_later(self, delay, callback):
        self.timers.append(Timer(delay, callback))
        return self.timers[-1]

    def token(self, key=PRIMARY, resource=None, ttl=3600, policy=None):
        resource = resource or f"{HOST}%2Fdevices%2F{DEVICE}"
        return sign(resource, key, int(self.clock.now().timestamp()) + ttl, policy)

    def connect(self, *, clean=False, will=None, link=None, **changes):
        link = link or FakeLink()
        session = self.endpoint.application(link)
        facts = {
            "client_id": DEVICE,
            "username": f"{HOST}/{DEVICE}/?api-version=2019-10-01&DeviceClientType=py",
            "password": self.token(),
        }
        session.connected(Connect("MQTT", 4, clean, 60, will=will, **{**facts, **changes}))
        return session, link

    def reasons(self):
        return [event.detail["reason"] for event in self.trace.events() if "reason" in event.detail]


def send(session, topic, payload=b"", packet_id=7, retain=False):
    session.published(Publish(topic, payload, 1 if packet_id else 0, packet_id, False, retain))


def subscribe(session, *filters, qos=1):
    session.subscribe(Subscribe(3, tuple((topic_filter, qos) for topic_filter in filters)))
