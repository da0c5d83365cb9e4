"""Devices that a hub knows by their certificate's thumbprint or by its authority, through the unmodified clients."""

import pytest
from azure.iot.device import X509, IoTHubDeviceClient
from azure.iot.device.exceptions import CredentialError

from helpers import certificates

pytestmark = pytest.mark.sdk

DEVICE = "pump-001"
TRANSPORTS = pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])


@pytest.fixture
def connect(sdk, tmp_path):
    """Connects once with a certificate, and sends; raises what the SDK raises."""
    folders = iter(range(100))

    def once(issued, websockets=False):
        files = issued.save(tmp_path / str(next(folders)))
        options = sdk.device_options(websockets=websockets, connection_retry=False)
        # not files.x509(), which looks at the dates first: here the hub is to judge
        x509 = X509(str(files.chain_file), str(files.key_file))
        device = IoTHubDeviceClient.create_from_x509_certificate(x509, sdk.hub, DEVICE, **options)
        try:
            device.connect()
            device.send_message('{"pressure": 2.5}')
        finally:
            device.shutdown()

    return once


def refusal(sdk):
    """Why the hub refused the last connection."""
    event = [event for event in sdk.trace() if (event["operation"], event["direction"]) == ("connect", "out")][-1]
    assert event["status"] == 5
    return event["detail"]["reason"]


@TRANSPORTS
@pytest.mark.parametrize("kind", ["thumbprint", "sha1_thumbprint"])
def test_both_thumbprints_and_no_other(sdk, connect, websockets, kind):
    first, second, other = (certificates.create_self_signed(DEVICE) for _ in range(3))
    # lower case, as the tools of some people print it
    known = [getattr(issued, kind).lower() for issued in (first, second)]
    sdk.registry().create_device_with_x509(DEVICE, *known, "enabled")
    connect(first, websockets)
    connect(second, websockets)
    with pytest.raises(CredentialError):
        connect(other, websockets)
    reason = refusal(sdk)
    assert "Thumbprint does not match configuration" in reason
    for thumbprint in (other.thumbprint, other.sha1_thumbprint, *map(str.upper, known)):
        assert thumbprint in reason


def test_a_certificate_is_replaced_without_a_gap(sdk, connect):
    old = certificates.create_self_signed(DEVICE)
    new = old.renew()
    registry = sdk.registry()
    device = registry.create_device_with_x509(DEVICE, old.thumbprint, old.thumbprint, "enabled")
    with pytest.raises(CredentialError):
        connect(new)
    device = registry.update_device_with_x509(DEVICE, device.etag, old.thumbprint, new.thumbprint, "enabled")
    connect(old)
    connect(new)
    registry.update_device_with_x509(DEVICE, device.etag, new.thumbprint, new.thumbprint, "enabled")
    connect(new)
    with pytest.raises(CredentialError):
        connect(old)


def test_who_signed_it_and_its_dates_do_not_count(sdk, connect):
    expired = certificates.mistakes.expired(certificates.create_root("Root that nobody knows"), DEVICE)
    sdk.registry().create_device_with_x509(DEVICE, expired.thumbprint, expired.thumbprint, "enabled")
    connect(expired)


def test_a_disabled_device(sdk, connect):
    issued = certificates.create_self_signed(DEVICE)
    sdk.registry().create_device_with_x509(DEVICE, issued.thumbprint, issued.thumbprint, "disabled")
    with pytest.raises(CredentialError):
        connect(issued)
    assert "is disabled" in refusal(sdk)


def test_keys_and_certificates_do_not_replace_each_other(sdk, connect):
    issued = certificates.create_self_signed(DEVICE)
    registry = sdk.registry()
    with_keys = registry.create_device_with_sas(DEVICE, "", "", "enabled")
    with pytest.raises(CredentialError):
        connect(issued)
    assert "the hub knows its keys only" in refusal(sdk)

    key = with_keys.authentication.symmetric_key.primary_key
    registry.update_device_with_x509(DEVICE, with_keys.etag, issued.thumbprint, issued.thumbprint, "enabled")
    text = f"HostName={sdk.hub};DeviceId={DEVICE};SharedAccessKey={key}"
    device = IoTHubDeviceClient.create_from_connection_string(text, **sdk.device_options(connection_retry=False))
    with pytest.raises(CredentialError):
        device.connect()
    device.shutdown()
    reason = refusal(sdk)
    assert "authenticates with its certificate" in reason
    assert "it showed a token" in reason
    assert key not in str(sdk.trace())
    connect(issued)


@TRANSPORTS
def test_certificates_of_an_authority(sdk, connect, websockets):
    root = certificates.create_root("Contoso")
    issued = root.issue_intermediate("Plant 1").issue_device(DEVICE)
    sdk.registry().create_device_with_certificate_authority(DEVICE, "enabled")
    with pytest.raises(CredentialError):
        connect(issued, websockets)
    assert "no verified CA certificate is in its chain, which ends at 'CN=Contoso'" in refusal(sdk)
    sdk.upload("contoso", root)
    connect(issued, websockets)
    with pytest.raises(CredentialError):
        connect(root.issue_device("pump-002"), websockets)
    assert f"'pump-002'; it must be {DEVICE!r}" in refusal(sdk)
    with pytest.raises(CredentialError):
        connect(certificates.create_self_signed(DEVICE), websockets)
    assert "no verified CA certificate is in its chain" in refusal(sdk)
    with pytest.raises(CredentialError):
        connect(certificates.mistakes.expired(root, DEVICE), websockets)
    assert "expired" in refusal(sdk)


def test_an_authority_that_is_not_verified_admits_nobody(sdk, connect):
    root = certificates.create_root("Contoso")
    sdk.upload("contoso", root, verified=False)
    sdk.registry().create_device_with_certificate_authority(DEVICE, "enabled")
    with pytest.raises(CredentialError):
        connect(root.issue_device(DEVICE))
    assert f"the device {DEVICE!r}: " in refusal(sdk)
