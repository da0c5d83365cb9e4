"""Replays recorded sessions with the real service: same requests, same answers except for ids, keys and times.

The recordings are not part of the project; ``DPS_RECORDINGS`` says where they are. Without them these tests are
skipped; what they show is asserted by the tests of the endpoints as well.
"""

import asyncio
import base64
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from provisioning_parts import OTHER_KEY, PRIMARY_KEY, Provisioning

from dps_simulator.common.http import JSON_CONTENT_TYPE, Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.credentials import sas
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.api.service import DpsServiceEndpoint

pytestmark = pytest.mark.recorded

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("DPS_RECORDINGS", ROOT.parent / "shared" / "data" / "recorded"))
HOST = "recorded.azure-devices-provisioning.test"
#: What the recorder put in the place of keys, and what stands for it here.
KEYS = {"primaryKey": PRIMARY_KEY, "secondaryKey": OTHER_KEY}
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,7})?Z")
HUB = "rk-cli-test-hub.azure-devices.net"
#: What stands for a certificate that no recorded answer describes.
ANY_CERTIFICATE = {
    "subjectName": "CN=any",
    "serialNumber": "01",
    "notBeforeUtc": "2023-05-19T00:00:00Z",
    "notAfterUtc": "2033-05-19T00:00:00Z",
}


def recording(name):
    path = FOLDER / f"{name}.json"
    if not path.exists():
        pytest.skip(f"recording {path} is not here; set DPS_RECORDINGS to the folder with the recordings")
    return json.loads(path.read_text(encoding="utf-8"))


def with_secrets(value, certificate):
    """A recorded request with what the recorder took out of it: keys and certificates."""
    usable = {**KEYS, "certificate": certificate}
    if isinstance(value, dict):
        return {
            name: usable[name] if name in usable and item == name else with_secrets(item, certificate)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_secrets(item, certificate) for item in value]
    return value


def recorded_certificate(value):
    """A certificate with the subject, serial number and dates of the one in a recorded answer, as PEM; or nothing."""
    if isinstance(value, dict) and "serialNumber" in value:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string(value["subjectName"])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), int(value["serialNumber"], 16))
            .not_valid_before(datetime.fromisoformat(value["notBeforeUtc"].replace("Z", "+00:00")))
            .not_valid_after(datetime.fromisoformat(value["notAfterUtc"].replace("Z", "+00:00")))
            .sign(key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()
    found = (recorded_certificate(item) for item in value.values()) if isinstance(value, dict) else ()
    return next(filter(None, found), "")


class Shape:
    """Brings recorded and own answers into the form in which they must be equal.

    The etags and times of one session become numbers in the order in which they first appear, so that it still counts
    which of them are equal.
    """

    def __init__(self):
        self._seen = {}

    def of(self, value, name=""):
        if isinstance(value, dict):
            # a list of pairs: the order of the fields counts
            return [(key, self.of(item, key)) for key, item in value.items()]
        if isinstance(value, list):
            # the order of a query's answer is that of the service's storage, and not documented
            return sorted((self.of(item) for item in value), key=lambda item: str(item[0]))
        if name in KEYS:
            assert value
            return "key"
        if name.endswith("Thumbprint"):
            assert value == "thumbprint" or re.fullmatch("[0-9A-F]{40}|[0-9A-F]{64}", value)
            return "thumbprint"
        if name == "etag":
            assert re.fullmatch(r'"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', base64.b64decode(value).decode())
            return self._seen.setdefault(value, len(self._seen))
        if isinstance(value, str) and TIME.fullmatch(value):
            return self._seen.setdefault(value, len(self._seen))
        return value


def play(name, device=None):
    parts = Provisioning("instant", hubs=[HUB])
    endpoint = DpsServiceEndpoint(
        service=parts.service,
        clock=parts.clock,
        trace=Trace(parts.clock),
        host=HOST,
        policies=AccessPolicies(parts.store, owner_name="owner", owner_key=PRIMARY_KEY),
        transaction=parts.store.transaction,
    )
    token = sas.sign(HOST, sas.decode_key(PRIMARY_KEY), int(parts.now) + 3600, "owner")
    recorded, own, etags = Shape(), Shape(), {}
    exchanges = recording(name)["exchanges"]
    certificate = recorded_certificate(exchanges[0]["response_body"]) or recorded_certificate(ANY_CERTIFICATE)
    for exchange in exchanges:
        parts.clock.advance(1)
        if device:
            device(parts, exchange)
        headers = {"authorization": token, "content-type": "application/json"}
        for header, value in exchange["request_headers"].items():
            headers[header.lower()] = etags[value]
        body = exchange["request_body"]
        raw = b"" if body is None else json.dumps(with_secrets(body, certificate)).encode()
        query = {"api-version": "2021-10-01"}
        response = asyncio.run(
            endpoint.handle(Request(exchange["method"], exchange["path"], query, headers, raw, Peer(HOST)))
        )
        where = f"{exchange['method']} {exchange['path']}"
        assert response.status == exchange["status"], (where, response.body)
        assert own.of(response.body) == recorded.of(exchange["response_body"]), where
        expected = {key.lower(): value for key, value in exchange["response_headers"].items()}
        assert expected.pop("content-type", JSON_CONTENT_TYPE) == JSON_CONTENT_TYPE
        assert (response.body is None) == (exchange["response_body"] is None)
        sent = {key.lower(): value for key, value in response.headers.items()}
        assert {key: sent.get(key) for key in expected} == expected, where
        # nothing that the service does not send, except what the recorder may have left out
        assert set(sent) - set(expected) <= {"x-content-type-options"}, where
        if isinstance(response.body, dict) and "etag" in response.body:
            etags[exchange["response_body"]["etag"]] = response.body["etag"]
    parts.store.close()


@pytest.mark.parametrize(
    "name",
    [
        "individual_symmetric_key",
        "group_symmetric_key",
        "individual_tpm",
        "individual_x509",
        "group_x509",
        "individual_bulk",
        "group_bulk",
    ],
)
def test_enrollments(name):
    play(name)


def test_every_recording_is_replayed():
    played = {"device_registration"}
    for mark in test_enrollments.pytestmark:
        if mark.name == "parametrize":
            played |= set(mark.args[1])
    recordings = {path.stem for path in FOLDER.glob("*.json")}
    if not recordings:
        pytest.skip(f"there are no recordings in {FOLDER}; set DPS_RECORDINGS to the folder with them")
    assert played == recordings


def test_a_registration():
    registered = []

    def device(parts, exchange):
        # the recording shows the service API only: its device registered before it was first asked for
        if exchange["method"] == "GET" and exchange["path"].startswith("/registrations/") and not registered:
            (group,) = parts.groups.all()
            registered.append(parts.register(exchange["path"].split("/")[-1], group))
            parts.clock.advance(0.3)

    def azure_pace(parts, exchange):
        parts.service.pace = type(parts.service.pace)("azure")
        device(parts, exchange)

    play("device_registration", azure_pace)
    assert registered
