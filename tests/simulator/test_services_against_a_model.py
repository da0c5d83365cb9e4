"""Enroll, update, disable, delete × register, poll, connect, in any order, against a small model.

Everything goes through the endpoints: HTTP requests with real tokens, devices with CONNECT and PUBLISH packets. Only
the sockets are missing.
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from provisioning_parts import derived_key
from thoroughness import examples

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.credentials import sas
from dps_simulator.process.store import Store
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe
from dps_simulator.provisioning.registration.states import Pace
from dps_simulator.services import SimulatedServices
from dps_simulator.settings.settings import Settings

SETTINGS = Settings()
HUB = SETTINGS.hubs[0].host
KEYS = [base64.b64encode(f"NOT-A-SECRET-KEY-NUMBER-{number}".encode()).decode() for number in range(3)]
NAMES = st.sampled_from(["device-a", "device-b"])
KEY = st.sampled_from(KEYS)
GROUP = "group"
# the right key most of the time, else one that fits another enrollment, or a group that may not exist
GUESS = st.sampled_from(["right"] * 6 + KEYS + ["derived"])


class Link:
    """Remembers what an application sends; tells it when the connection is closed."""

    def __init__(self, host):
        self.peer = Peer(host, "mqtt")
        self.return_code = None
        self.messages = []
        self.open = True
        self.application = None

    def accept(self):
        self.return_code = 0

    def refuse(self, return_code):
        self.return_code = return_code
        self.open = False

    def grant(self, packet_id, return_codes):
        assert return_codes == [1]

    def unsubscribed(self, packet_id):
        raise AssertionError("nobody unsubscribes here")

    def acknowledge(self, message):
        pass

    def publish(self, topic, payload, qos=0):
        self.messages.append((topic, json.loads(payload)))

    def close(self):
        if self.open:
            self.open = False
            self.application.disconnected(clean=False)


def pick(guess, right, name):
    """The key that a guess stands for."""
    if guess == "right":
        return right or KEYS[0]
    return derived_key(KEYS[0], name) if guess == "derived" else guess


@dataclass
class Model:
    """What should be true."""

    enrollments: dict = field(default_factory=dict)  # name -> (key, enabled)
    group: tuple | None = None  # (key, enabled)
    records: dict = field(default_factory=dict)  # name -> status, last seen
    members: set = field(default_factory=set)  # names whose record was made through the group
    devices: dict = field(default_factory=dict)  # name -> [key, enabled]
    connected: dict = field(default_factory=dict)  # name -> link


def attestation(key):
    return {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}


class ServicesMachine(RuleBasedStateMachine):
    @initialize(pace=st.sampled_from(["instant", "azure", "polls=1"]))
    def start(self, pace):
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = Store()
        self.trace = Trace(self.clock)

        async def make():
            return SimulatedServices(
                replace(SETTINGS, pace=pace), self.store, self.clock, self.trace, management_token="token"
            )

        self.services = self.loop.run_until_complete(make())
        self.pace = Pace.parse(pace)
        self.model = Model()

    # --- clients -------------------------------------------------------------------------------------------------

    def call(self, connection_string, method, path, body=None, **headers):
        fields = dict(part.split("=", 1) for part in connection_string.split(";"))
        expiry = int(self.clock.now().timestamp()) + 600
        key = sas.decode_key(fields["SharedAccessKey"])
        headers["authorization"] = sas.sign(fields["HostName"], key, expiry, fields["SharedAccessKeyName"])
        request = Request(
            method,
            path,
            {"api-version": "2021-10-01"},
            headers,
            b"" if body is None else json.dumps(body).encode(),
            Peer(fields["HostName"]),
        )
        response = self.loop.run_until_complete(self.services.routing.http(request))
        return response.status, response.body

    def enrollment_api(self, method, path, body=None, **headers):
        return self.call(self.services.service_connection_string, method, path, body, **headers)

    def registry_api(self, method, path, body=None, **headers):
        return self.call(self.services.hubs.endpoints()[0].connection_string, method, path, body, **headers)

    def open_link(self, host, client_id, user_name, resource, key):
        link = Link(host)
        token = sas.sign(quote(resource, safe=""), sas.decode_key(key), int(self.clock.now().timestamp()) + 600)
        connect = Connect("MQTT", 4, False, 60, client_id, user_name, token, None)
        link.application = self.services.routing.mqtt(link, connect)
        link.application.connected(connect)
        return link

    def ask_dps(self, name, key, topic):
        scope = SETTINGS.id_scope
        link = self.open_link(
            SETTINGS.provisioning_host,
            name,
            f"{scope}/registrations/{name}/api-version=2019-03-31&ClientVersion=model",
            f"{scope}/registrations/{name}",
            key,
        )
        assert link.return_code == 0
        link.application.subscribe(Subscribe(1, (("$dps/registrations/res/#", 1),)))
        link.application.published(Publish(f"$dps/registrations/{topic}", b"{}", 1, 2))
        ((answer_topic, body),) = link.messages
        link.close()
        return int(answer_topic.split("/")[3]), body

    # --- enrollments ---------------------------------------------------------------------------------------------

    @rule(name=NAMES, key=KEY)
    def create(self, name, key):
        status, body = self.enrollment_api(
            "PUT", f"/enrollments/{name}", {"registrationId": name, "attestation": attestation(key)}
        )
        if name in self.model.enrollments:
            assert (status, body["errorCode"]) == (409, 409201)
        else:
            assert status == 200
            self.model.enrollments[name] = (key, True)

    @rule(name=NAMES, key=KEY, enabled=st.booleans())
    def update(self, name, key, enabled):
        body = {
            "registrationId": name,
            "attestation": attestation(key),
            "provisioningStatus": "enabled" if enabled else "disabled",
        }
        status, _ = self.enrollment_api("PUT", f"/enrollments/{name}", body, **{"if-match": "*"})
        if name in self.model.enrollments:
            assert status == 200
            self.model.enrollments[name] = (key, enabled)
        else:
            assert status == 404

    @rule(name=NAMES)
    def delete(self, name):
        status, _ = self.enrollment_api("DELETE", f"/enrollments/{name}")
        assert status == (204 if name in self.model.enrollments else 404)
        if self.model.enrollments.pop(name, None) is not None:
            self.forget_pending(name)

    @rule(key=KEY, enabled=st.booleans())
    def put_group(self, key, enabled):
        body = {
            "enrollmentGroupId": GROUP,
            "attestation": attestation(key),
            "provisioningStatus": "enabled" if enabled else "disabled",
        }
        headers = {"if-match": "*"} if self.model.group else {}
        assert self.enrollment_api("PUT", f"/enrollmentGroups/{GROUP}", body, **headers)[0] == 200
        self.model.group = (key, enabled)

    # --- devices -------------------------------------------------------------------------------------------------

    def verdict(self, name, key):
        """What registering with this key must give: assigned, disabled or ``None`` for refused."""
        if name in self.model.enrollments:
            expected, enabled = self.model.enrollments[name]
        elif self.model.group:
            group_key, enabled = self.model.group
            expected = derived_key(group_key, name)
        else:
            return None
        if key != expected:
            return None
        return "assigned" if enabled else "disabled"

    @rule(name=NAMES, guess=GUESS)
    def register_until_done(self, name, guess):
        right = self.model.enrollments.get(name, (None,))[0]
        if right is None and self.model.group:
            right = derived_key(self.model.group[0], name)
        key = pick(guess, right, name)
        expected = self.verdict(name, key)
        status, body = self.ask_dps(name, key, "PUT/iotdps-register/?$rid=1")
        if expected is None:
            assert (status, body["errorCode"]) == (401, 401000)
            return
        answers = [status]
        while status == 202:
            assert body["status"] == "assigning"
            self.clock.advance(1)
            topic = f"GET/iotdps-get-operationstatus/?$rid=2&operationId={body['operationId']}"
            status, body = self.ask_dps(name, key, topic)
            answers.append(status)
        assert answers == {"instant": [200], "azure": [202, 200], "polls=1": [202, 202, 200]}[str(self.pace)]
        assert body["status"] == expected
        state = body["registrationState"]
        if expected == "assigned":
            assert (state["deviceId"], state["assignedHub"]) == (name, HUB)
            assert state["substatus"]
            # registering again renews the keys of the device; whether it is disabled in the hub is the hub's business
            self.model.devices[name] = [key, self.model.devices.get(name, [key, True])[1]]
        self.model.records[name] = expected
        if name in self.model.enrollments:
            self.model.members.discard(name)
        else:
            self.model.members.add(name)

    def forget_pending(self, name):
        # a record that was made through the group outlives an individual enrollment that came later
        if name not in self.model.members:
            self.model.records.pop(name, None)

    @rule(name=NAMES, guess=GUESS)
    def connect(self, name, guess):
        key = pick(guess, self.model.devices.get(name, (None,))[0], name)
        user_name = f"{HUB}/{name}/?api-version=2019-10-01&DeviceClientType=model"
        link = self.open_link(HUB, name, user_name, f"{HUB}/devices/{name}", key)
        if self.model.devices.get(name) == [key, True]:
            assert link.return_code == 0
            older = self.model.connected.get(name)
            assert older is None or not older.open
            self.model.connected[name] = link
        else:
            assert link.return_code == 5

    @precondition(lambda self: self.model.connected)
    @rule(data=st.data())
    def disconnect(self, data):
        name = data.draw(st.sampled_from(sorted(self.model.connected)))
        self.model.connected.pop(name).close()

    # --- registry ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.devices)
    @rule(data=st.data(), enabled=st.booleans())
    def enable_or_disable_in_the_hub(self, data, enabled):
        name = data.draw(st.sampled_from(sorted(self.model.devices)))
        body = {"deviceId": name, "status": "enabled" if enabled else "disabled"}
        assert self.registry_api("PUT", f"/devices/{name}", body, **{"if-match": '"*"'})[0] == 200
        self.model.devices[name][1] = enabled
        if not enabled and name in self.model.connected:
            assert not self.model.connected.pop(name).open

    @rule(name=NAMES)
    def delete_in_the_hub(self, name):
        status, _ = self.registry_api("DELETE", f"/devices/{name}", **{"if-match": '"*"'})
        assert status == (204 if self.model.devices.pop(name, None) else 404)
        if name in self.model.connected:
            assert not self.model.connected.pop(name).open

    # --- what must be true at any time ---------------------------------------------------------------------------

    @rule(name=NAMES)
    def everything_reads_as_the_model_says(self, name):
        status, body = self.enrollment_api("GET", f"/enrollments/{name}")
        assert status == (200 if name in self.model.enrollments else 404)
        if status == 200:
            # and it is not that enrollment's, whose device has yet to register
            own = "unassigned" if name in self.model.members else self.model.records.get(name, "unassigned")
            assert body["registrationState"]["status"] == own
        status, body = self.enrollment_api("GET", f"/registrations/{name}")
        assert status == (200 if name in self.model.records else 404)
        status, body = self.registry_api("GET", f"/devices/{name}")
        assert status == (200 if name in self.model.devices else 404)
        if status == 200:
            assert body["connectionState"] == ("Connected" if name in self.model.connected else "Disconnected")
        _, statistics = self.registry_api("GET", "/statistics/service")
        assert statistics == {"connectedDeviceCount": len(self.model.connected)}

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()
            self.store.close()


TestServicesAgainstAModel = ServicesMachine.TestCase
TestServicesAgainstAModel.settings = settings(max_examples=examples(100), stateful_step_count=30, deadline=None)
