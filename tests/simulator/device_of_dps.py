"""A device at the MQTT endpoint of the provisioning service, without a socket."""

import json

from provisioning_parts import ID_SCOPE

from dps_simulator.common.http import Peer
from dps_simulator.common.trace import Trace
from dps_simulator.protocols.mqtt import Connect, Publish
from dps_simulator.provisioning.api.device import DpsDeviceEndpoint

HOST = "global.azure-devices-provisioning.test"


REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid="


POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="


class Link:
    """Remembers, in order, what the application did."""

    def __init__(self, peer):
        self.peer = peer
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))


class Device:
    """A connection of one device."""

    def __init__(self, parts, registration_id="device-1", peer=None):
        self.parts = parts
        self.registration_id = registration_id
        self.trace = Trace(parts.clock)
        endpoint = DpsDeviceEndpoint(service=parts.service, clock=parts.clock, trace=self.trace, host=HOST)
        self.link = Link(peer or Peer(HOST, "mqtt"))
        self.application = endpoint.application(self.link)

    def connect(self, token=None, scope=ID_SCOPE, client_id=None, query="/api-version=2019-03-31", user_name=None):
        token = self.parts.token(self.registration_id) if token is None else token
        self.application.connected(
            Connect(
                "MQTT",
                4,
                False,
                60,
                self.registration_id if client_id is None else client_id,
                f"{scope}/registrations/{self.registration_id}{query}" if user_name is None else user_name,
                token or None,
            )
        )
        return self

    def publish(self, topic, payload=b"", qos=1):
        self.application.published(Publish(topic, payload, qos, 7 if qos else None))
        return self.link.calls

    def ask(self, topic, payload=b"", qos=1):
        """Send a request: what stands in the answer's topic, and its body."""
        self.link.calls.clear()
        self.publish(topic, payload, qos)
        (acknowledged, _), (published, answer, body, answer_qos) = self.link.calls
        assert (acknowledged, published, answer_qos) == ("acknowledge", "publish", 1)
        return answer, json.loads(body.decode("ascii"))

    def ask_in_vain(self, topic):
        """Send a request that is answered, and not acknowledged because nothing of it was kept."""
        self.link.calls.clear()
        ((published, answer, body, _),) = self.publish(topic)
        assert published == "publish"
        return answer, json.loads(body.decode("ascii"))

    def register(self, body=b"", rid="1"):
        return self.ask(REGISTER + rid, body if isinstance(body, bytes) else json.dumps(body).encode())

    def poll(self, operation_id, rid="2", body=b" "):
        return self.ask(f"{POLL}{rid}&operationId={operation_id}", body)

    def reason(self):
        return self.trace.events()[-1].detail.get("reason", "")

    def details(self, operation):
        return [event.detail for event in self.trace.events() if event.operation == operation]

    def refused(self, status, kind, answer):
        topic, body = answer
        assert topic == f"$dps/registrations/res/{status}/?$rid=1"
        assert body["errorCode"] == kind.code
        assert body["message"]
        return body["message"]
