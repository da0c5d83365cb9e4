"""How a hub admits devices whose certificates come from an authority, and modules."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus

import pytest
from cryptography import x509
from x509_family import DAY, NOW, make, make_root

from dps_simulator.common.clock import ManualClock
from dps_simulator.credentials.sas import sign
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.api.access import HubAccess
from dps_simulator.hub.devices import new_device
from dps_simulator.hub.modules import new_module

HOST = "contoso-hub-1.azure-devices.test"
POLICY, MODULE, DEVICE = b"o" * 32, b"m" * 32, b"d" * 32
BY_AUTHORITY = {"authentication": {"type": "certificateAuthority"}}

ROOT = make_root()
MIDDLE = ROOT.issue("Middle", ca=True)


def keys(key):
    return {"authentication": {"symmetricKey": {"primaryKey": base64.b64encode(key).decode()}}}


@pytest.fixture
def authorities():
    return [ROOT.parsed]


@pytest.fixture
def access(authorities):
    return HubAccess(
        host=HOST,
        policy_name="iothubowner",
        policy_key=base64.b64encode(POLICY).decode(),
        clock=ManualClock(),
        authorities=lambda: authorities,
    )


def refused(access, *arguments):
    with pytest.raises(ServiceError) as caught:
        access.check_device(*arguments)
    assert caught.value.kind is Hub.UNAUTHORIZED_ACCESS
    assert caught.value.message == "Unauthorized"
    return caught.value


def identity(device_id="d"):
    return new_device(device_id, BY_AUTHORITY, NOW)


def ders(*issued):
    return tuple(each.der for each in issued)


def test_a_chain_to_a_verified_certificate(access, authorities):
    leaf = MIDDLE.issue("d")
    assert access.check_device(None, identity(), ders(leaf, MIDDLE)) is None
    assert access.check_device(None, identity(), ders(leaf, ROOT, MIDDLE)) is None
    # what the service has need not be shown
    authorities[:] = [MIDDLE.parsed]
    assert access.check_device(None, identity(), ders(leaf)) is None


def test_a_module_names_its_device_too(access):
    module = new_module("d", "m", BY_AUTHORITY, NOW)
    assert access.check_device(None, module, ders(ROOT.issue("d/m"))) is None
    error = refused(access, None, module, ders(ROOT.issue("m")))
    assert "the module 'd/m': the common name of its certificate is 'm'; it must be 'd/m'" in error.reason


@pytest.mark.parametrize(
    ("chain", "finding"),
    [
        ((ROOT.issue("D"),), "commonNameMismatch"),
        ((ROOT.issue("d", subject=x509.Name([])),), "commonNameMissing"),
        ((MIDDLE.issue("d"),), "intermediateMissing"),
        ((make_root("Foreign").issue("d"), make_root("Foreign")), "unknownAuthority"),
        ((make("d"),), "unknownAuthority"),
        ((make_root("Root", key_name="another").issue("d"),), "signatureInvalid"),
        ((ROOT.issue("d", end=-DAY),), "certificateExpired"),
        ((ROOT.issue("d", ca=True),), "authorityUsedAsDevice"),
    ],
)
def test_what_is_wrong_with_a_chain(access, chain, finding):
    error = refused(access, None, identity(), ders(*chain))
    assert error.finding == finding
    assert error.reason.startswith("the device 'd': ")


def test_a_verified_certificate_does_not_speak_for_itself(access, authorities):
    own = make("d")
    authorities.append(own.parsed)
    assert refused(access, None, identity(), ders(own)).finding == "unknownAuthority"


@pytest.mark.parametrize(
    ("certificates", "password", "reason"),
    [
        ((), None, "neither a certificate nor a token"),
        ((), "token", "it showed a token"),
        ((b"nonsense",), None, "is unreadable"),
        ((make("d").der,) * 17, None, "17 certificates"),
    ],
)
def test_what_is_no_chain(access, certificates, password, reason):
    if password:
        password = sign(quote_plus(f"{HOST}/devices/d"), DEVICE, int(NOW.timestamp()) + 60)
    assert reason in refused(access, password, identity(), certificates).reason


def test_nobody_is_trusted_without_authorities():
    access = HubAccess(
        host=HOST, policy_name="iothubowner", policy_key=base64.b64encode(POLICY).decode(), clock=ManualClock()
    )
    assert refused(access, None, identity(), ders(ROOT.issue("d"), ROOT)).finding == "unknownAuthority"


# ---- tokens of modules


def token(resource, key=MODULE, policy=None):
    return sign(quote_plus(f"{HOST}/{resource}"), key, int(NOW.timestamp()) + 60, policy)


@pytest.mark.parametrize(
    "password",
    [
        token("devices/d/modules/m"),
        token("Devices/d/Modules/m"),
        token("devices/d/modules/m", POLICY, "iothubowner"),
        token("devices/d", POLICY, "iothubowner"),
    ],
)
def test_tokens_that_admit_a_module(access, password):
    assert access.check_device(password, new_module("d", "m", keys(MODULE), NOW)) == int(NOW.timestamp()) + 60


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (token("devices/d"), "a device signs for"),
        (token("devices/d/modules/M"), "does not contain"),
        (token("devices/D/modules/m"), "does not contain"),
        (token("devices/d/modules/m", DEVICE), "neither key of the module 'd/m'"),
        (token("devices/d/modules/m/x"), "does not contain"),
    ],
)
def test_tokens_that_do_not_admit_a_module(access, password, reason):
    assert reason in refused(access, password, new_module("d", "m", keys(MODULE), NOW)).reason


def test_the_token_of_a_module_does_not_admit_its_device(access):
    device = new_device("d", keys(DEVICE), NOW)
    assert "does not contain" in refused(access, token("devices/d/modules/m", DEVICE), device).reason
