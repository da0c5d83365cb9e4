"""A simulator that is killed in the middle of its work has lost nothing that it acknowledged."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests
from azure.iot.device import ProvisioningDeviceClient, ProxyOptions
from patience import PATIENCE, wait_until

from helpers.simulator.protocols import sas
from helpers.simulator.running import read

KEY = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"


class Process:
    """A simulator in a process of its own."""

    def __init__(self, state):
        command = [sys.executable, "-m", "helpers.simulator", "serve", "--json", "--state", str(state)]
        self.process = subprocess.Popen([*command, "--pace", "instant"], stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline())["ready"] is True
        self.running = read(state)

    def session(self):
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"https": self.running.proxy_url}
        session.verify = str(self.running.certificate_authority_file)
        session.params = {"api-version": "2021-10-01"}
        return session

    @staticmethod
    def token(connection_string):
        fields = dict(part.split("=", 1) for part in connection_string.split(";"))
        key = sas.decode_key(fields["SharedAccessKey"])
        return sas.sign(fields["HostName"], key, int(time.time()) + 600, fields["SharedAccessKeyName"])

    def enroll(self, session, registration_id):
        answer = session.put(
            f"https://{self.running.service_host}/enrollments/{registration_id}",
            json={
                "registrationId": registration_id,
                "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
            },
            headers={"Authorization": self.token(self.running.service_connection_string)},
            timeout=PATIENCE,
        )
        answer.raise_for_status()
        return answer.json()["etag"]

    def register(self, registration_id):
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            self.running.provisioning_host,
            registration_id,
            self.running.id_scope,
            KEY,
            proxy_options=ProxyOptions("HTTP", "127.0.0.1", self.running.proxy_port),
            server_verification_cert=self.running.certificate_authority(),
        )
        return client.register().registration_state

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


@pytest.mark.sdk
# the SDK's background threads complain when their connection dies under them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("moment", [0.4, 1.1])
def test_nothing_acknowledged_is_lost(tmp_path, moment):
    simulator = Process(tmp_path / "state")
    enrolled, registered = {}, {}
    stop = threading.Event()

    def enroll():
        with simulator.session() as session:
            for number in range(100_000):
                if stop.is_set():
                    return
                name = f"device-{number}"
                try:
                    enrolled[name] = simulator.enroll(session, name)
                except (requests.RequestException, OSError):
                    return

    def register():
        for number in range(100_000):
            name = f"device-{number}"
            while name not in enrolled:
                if stop.is_set():
                    return
                time.sleep(0.001)
            if stop.is_set():
                return
            try:
                registered[name] = simulator.register(name)
            except Exception:  # whatever the SDK makes of a dying simulator
                return

    enroller = threading.Thread(target=enroll)
    registrar = threading.Thread(target=register, daemon=True)
    enroller.start()
    registrar.start()
    try:
        wait_until(lambda: len(registered) >= 5, lambda: f"5 registrations instead of {len(registered)}")
        time.sleep(moment)
    finally:
        simulator.end(signal.SIGKILL)
        stop.set()
        enroller.join(timeout=PATIENCE)
    acknowledged_registrations = dict(registered)
    assert len(acknowledged_registrations) >= 5

    again = Process(tmp_path / "state")
    try:
        assert again.running.service_connection_string == simulator.running.service_connection_string
        with again.session() as session:
            headers = {"Authorization": again.token(again.running.service_connection_string)}
            for name, etag in enrolled.items():
                found = session.get(f"https://{again.running.service_host}/enrollments/{name}", headers=headers)
                assert (found.status_code, found.json()["etag"]) == (200, etag)
            for name, state in acknowledged_registrations.items():
                found = session.get(f"https://{again.running.service_host}/registrations/{name}", headers=headers)
                assert found.json()["etag"] == state.etag
            hub = again.running.hubs[0]
            headers = {"Authorization": again.token(hub.connection_string)}
            for name in acknowledged_registrations:
                assert session.get(f"https://{hub.host}/devices/{name}", headers=headers).status_code == 200
    finally:
        again.end(signal.SIGTERM)
    assert again.process.returncode == 0
