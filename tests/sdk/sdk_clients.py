"""The unmodified official SDKs, pointed at a simulator by nothing but their public options."""

import base64
import contextlib
import hashlib
import hmac
import time

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from patience import PATIENCE, wait_until

from dps_simulator.credentials import sas
from dps_simulator.process import launcher

KEY = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()
OTHER_KEY = base64.b64encode(b"NOT-A-SECRET-SECONDARY-KEY-BYTES!").decode()


def derive(group_key, registration_id):
    """The documented formula, written again here so that no project code checks itself."""
    signature = hmac.new(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256).digest()
    return base64.b64encode(signature).decode()


def device_options(running, **more):
    """What a client of a device needs to reach a simulator."""
    return {**running.device_options, **more}


def shut_down(client, thread):
    """End a client whose connection died, again and again: a shutdown that meets that very moment does nothing."""

    def ended():
        with contextlib.suppress(Exception):
            client.shutdown()
        return not thread.is_alive()

    wait_until(ended, "the end of the thread that uses the client", pause=0.02)


class Https:
    """Asks every endpoint over HTTPS, without an SDK: what is refused is an error, what is not there ``None``.

    The methods take HTTP method, path and JSON. One of these serves one thread.
    """

    def __init__(self, running):
        self.running = running
        self.hub_host = running.hubs[0].host
        self.session = running.session()

    def send(self, endpoint, method, path, body=None, **headers):
        """The answer of ``service``, ``hub``, ``resource`` or ``control``, whatever it is."""
        running, key = self.running, {"Authorization": f"Bearer {self.running.management_token}"}
        if endpoint == "service":
            host, version = running.service_host, "2021-10-01"
            key = {"Authorization": _token(running.service_connection_string)}
        elif endpoint == "hub":
            host, version = self.hub_host, "2021-04-12"
            key = {"Authorization": _token(running.hubs[0].connection_string)}
        elif endpoint == "resource":
            host, version, name = running.management_host, "2022-02-05", running.service_host.partition(".")[0]
            kind = "providers/Microsoft.Devices/provisioningServices"
            path = f"/subscriptions/any/resourceGroups/any/{kind}/{name}{path}"
        else:
            host, version, path = running.service_host, None, f"/simulator{path}"
        return self.session.request(
            method,
            f"https://{host}{path}",
            params={"api-version": version} if version else None,
            json=body,
            headers={**key, **headers},
            timeout=PATIENCE,
        )

    def _ask(self, endpoint, method, path, body):
        # all but what is new is changed whatever it is by now
        headers = {} if method == "PUT" else {"If-Match": "*"}
        return _checked(self.send(endpoint, method, path, body, **headers))

    def service(self, method, path, body=None):
        return self._ask("service", method, path, body)

    def hub(self, method, path, body=None):
        return self._ask("hub", method, path, body)

    def resource(self, method, path="", body=None):
        return self._ask("resource", method, path, body)

    def control(self, method, path, body=None):
        return self._ask("control", method, path, body)

    def policy(self, _, name):
        """An access policy; reading keys is a POST in Azure Resource Manager."""
        policies = self.resource("POST", "/listkeys")["value"]
        return next((policy for policy in policies if policy["keyName"] == name), None)

    def linked_hub(self, method, host):
        hubs = self.control(method, "/hubs")["hubs"]
        return next((hub for hub in hubs if hub["host"] == host), None)

    def device(self, method, registration_id, path, body):
        """As the device itself."""
        return _checked(self.send_as_device(method, registration_id, path, body))

    def send_as_device(self, method, registration_id, path, body):
        """As the device itself; the answer, whatever it is."""
        resource = f"{self.running.id_scope}/registrations/{registration_id}"
        token = sas.sign(resource, sas.decode_key(KEY), int(time.time()) + 600, "registration")
        return self.session.request(
            method,
            f"https://{self.running.provisioning_host}/{resource}/{path}",
            params={"api-version": "2021-06-01"},
            json=body,
            headers={"Authorization": token},
            timeout=PATIENCE,
        )


def _token(connection_string):
    fields = dict(part.split("=", 1) for part in connection_string.split(";"))
    key = sas.decode_key(fields["SharedAccessKey"])
    return sas.sign(fields["HostName"], key, int(time.time()) + 600, fields["SharedAccessKeyName"])


def _checked(answer):
    if answer.request.method == "GET" and answer.status_code == 404:
        return None
    assert answer.ok, (answer.request.method, answer.url, answer.status_code, answer.text)
    return answer.json() if answer.content else {}


class Sdk:
    """Ready-made SDK clients for one simulator."""

    def __init__(self, simulator):
        self.simulator = simulator
        self.running = simulator.running
        self._sessions = []
        self._clients = []

    @property
    def hub(self):
        return self.running.hubs[0].host

    def device_options(self, **more):
        return device_options(self.running, **more)

    def session(self):
        session = self.running.session()
        self._sessions.append(session)
        return session

    def service(self, connection_string=None):
        transport = RequestsTransport(
            session=self.session(),
            session_owner=False,
            connection_verify=str(self.running.certificate_authority_file),
        )
        client = DeviceProvisioningClient.from_connection_string(
            connection_string or self.running.service_connection_string, transport=transport, retry_total=0
        )
        self._clients.append(client)
        return client

    def registry(self, connection_string=None):
        # not for every machine and Python: see requirements.txt
        manager = pytest.importorskip("azure.iot.hub").IoTHubRegistryManager.from_connection_string(
            connection_string or self.running.hubs[0].connection_string
        )
        manager.protocol.config.proxies.add("https", self.running.proxy_url)
        manager.protocol.config.connection.verify = str(self.running.certificate_authority_file)
        return manager

    def enroll(self, registration_id, **changes):
        body = {
            "registrationId": registration_id,
            "attestation": {
                "type": "symmetricKey",
                "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY},
            },
            **changes,
        }
        return self.service().enrollment.create_or_update(registration_id, body)

    def enroll_group(self, group_id, **changes):
        body = {
            "enrollmentGroupId": group_id,
            "attestation": {
                "type": "symmetricKey",
                "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY},
            },
            **changes,
        }
        return self.service().enrollment_group.create_or_update(group_id, body)

    def upload(self, name, authority, verified=True):
        """Upload a CA certificate with the official management client."""
        properties = {"certificate": authority.certificate.encode(), "isVerified": verified}
        return self.management().dps_certificate.create_or_update(
            certificate_name=name,
            resource_group_name="any",
            provisioning_service_name=self.running.service_host.partition(".")[0],
            certificate_description={"properties": properties},
        )

    def management(self):
        client = self.running.management_client()
        self._clients.append(client)
        return client

    def trace(self):
        """Everything that the simulator saw, oldest first."""
        return launcher.manage(self.running, "GET", "/trace?after=0")["events"]

    def close(self):
        for client in self._clients:
            client.close()
        for session in self._sessions:
            session.close()
