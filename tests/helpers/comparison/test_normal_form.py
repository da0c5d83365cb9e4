"""What is secret or varies becomes a placeholder; everything else stays."""

import random
from base64 import b64encode

import pytest

from helpers.comparison.normal_form import NormalForm, names_of
from helpers.comparison.report import private

KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
GUID = "8d1b0e5c-7f3a-4c2e-9a51-0c6f2f1f7a11"


class Target:
    provisioning_host = "global.azure-devices-provisioning.net"
    service_host = "contoso-dps.azure-devices-provisioning.net"
    hubs = ("contoso-hub-1.azure-devices.net", "contoso-hub-2.azure-devices.net")
    id_scope = "0ne00ABCDEF"


@pytest.fixture
def form():
    return NormalForm(names_of(Target))


@pytest.mark.parametrize(
    ("member", "value", "shown"),
    [
        ("primaryKey", KEY, "<base64 of 32 bytes>"),
        ("etag", "AAAAAAFPazE=", "<etag>"),
        ("etag", '"8d1b"', '"<etag>"'),
        ("$etag", "AAAA", "<etag>"),
        ("createdDateTimeUtc", "2026-11-30T20:31:02.1234567Z", "<time>Z"),
        ("simulatorReason", "expired on 2026-11-29 at 21:47:40 UTC", "expired on <time> UTC"),
        ("certificate", KEY.rstrip("=") * 8, "<long base64>"),
        ("lastActivityTime", "0001-01-01T00:00:00", "<time>"),
        ("assignedHub", "Contoso-Hub-2.azure-devices.net", "<hub>"),
        ("message", "no hub contoso-hub-1 at other.azure-devices.net", "no hub <hub name> at <host>"),
        ("connectionState", "Disconnected", "<connectionstate>"),
        ("$version", 7, "<version>"),
        ("operationId", f"4.0123456789abcdef.{GUID}", "4.<hex of 16>.<guid>"),
        ("primaryThumbprint", "A" * 20 + "0" * 20, "<hex of 40>"),
        ("resourcegroup", "payroll", "<group>"),
        ("webhookUrl", "https://contoso.azurewebsites.net/api/choose-hub?code=abc", "<webhook>"),
        (
            "id",
            f"/subscriptions/{GUID}/resourceGroups/a/x",
            "/subscriptions/<subscription>/resourceGroups/<group>/x",
        ),
        ("certificate", "-----BEGIN CERTIFICATE-----\nAB\n-----END CERTIFICATE-----", "<certificate in PEM>"),
        ("generationId", "638681234567890123", "<number>"),
        ("registrationId", "thermostat-001", "thermostat-001"),
        ("status", "enabled", "enabled"),
        ("errorCode", 404201, 404201),
        ("iotEdge", False, False),
        ("payload", None, None),
    ],
)
def test_values(form, member, value, shown):
    found = form.body({member: value})
    assert found == {form.text(member): shown}
    assert private(str(found)) == []


def test_a_connection_string_is_gone(form):
    text = f"HostName={Target.hubs[0]};SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"
    found = form.body({"connectionString": [text]})["connectionString"][0]
    assert found == "HostName=<hub>;SharedAccessKeyName=iothubowner;SharedAccessKey=<secret>"


def test_a_path_keeps_what_the_notebook_called_things(form):
    url = f"https://{Target.service_host}/enrollmentGroups/spare-thermostats/x?api-version=2021-10-01&sig=abc"
    assert form.path(url) == "/enrollmentGroups/spare-thermostats/x?api-version=2021-10-01&sig"
    assert form.path(f"https://{Target.service_host}/registrations/{'a2' * 26}/operations/4.x") == (
        "/registrations/<TPM>/operations/<id>"
    )


def test_headers_are_names_without_those_of_the_transport(form):
    assert form.headers({"Date": "x", "X-Ms-Request-Id": "y", "Content-Type": "z"}) == [
        "content-type",
        "x-ms-request-id",
    ]


def test_random_bytes_are_told_by_their_number_alone(form):
    made = random.Random(1)  # noqa: S311 - the same in every run
    for size in (16, 20, 32, 33, 48, 64):
        values = {made.randbytes(size) for _ in range(500)} | {bytes((0xFC,)) * size, b"\xff" * size}
        shown = {form.body({"primaryKey": b64encode(value).decode()})["primaryKey"] for value in values}
        # of those that need no filling at the end, few begin like a path or have no digit
        assert f"<base64 of {size} bytes>" in shown
        assert len(shown) == 1 or size % 3 == 0, size
    numbers = {made.getrandbits(bits) for bits in range(100, 160)}
    assert {form.body({"serialNumber": f"{number:X}"})["serialNumber"] for number in numbers} == {"<serial number>"}
