"""The unmodified official SDKs, pointed at a simulator by nothing but their public options."""

import base64
import hashlib
import hmac

import pytest
import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.iot.device import ProxyOptions
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from helpers.simulator import launcher
from helpers.target import of_simulator

KEY = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()
OTHER_KEY = base64.b64encode(b"NOT-A-SECRET-SECONDARY-KEY-BYTES!").decode()


def derive(group_key, registration_id):
    """The documented formula, written again here so that no project code checks itself."""
    signature = hmac.new(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256).digest()
    return base64.b64encode(signature).decode()


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
        return {
            "proxy_options": ProxyOptions("HTTP", "127.0.0.1", self.running.proxy_port),
            "server_verification_cert": self.running.certificate_authority(),
            **more,
        }

    def session(self):
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"https": self.running.proxy_url}
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
        client = of_simulator(self.running).management_client()
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
