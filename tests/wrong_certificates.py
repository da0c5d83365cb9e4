"""Certificates that a service must refuse, beside those that the lessons make."""

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from helpers.certificates import DeviceCertificate, build, device_extensions, new_key


def not_yet_valid(issuer, name):
    """A device's certificate that will be valid from tomorrow on."""
    key, start = new_key("ec"), datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    certificate = build(name, key.public_key(), issuer, days=30, start=start, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def wrong_usage(issuer, name):
    """A certificate for servers in the hands of a device."""
    extensions = [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical)
        if isinstance(extension, x509.ExtendedKeyUsage)
        else (extension, critical)
        for extension, critical in device_extensions()
    ]
    key = new_key("ec")
    certificate = build(name, key.public_key(), issuer, days=30, extensions=extensions)
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def weak_key(issuer, name):
    """A certificate for an RSA key of 1024 bits, which can be broken."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505  (that is the lesson)
    certificate = build(name, key.public_key(), issuer, days=30, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def issued_by_device(issuer, name):
    """A certificate that another device signed, which it may not."""
    key = new_key("ec")
    certificate = build(name, key.public_key(), issuer, days=30, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates)


def without_intermediate(device):
    """The right certificate and the root, with nothing in between."""
    return DeviceCertificate(device.parsed, device._private_key, device._above[-1:])


def wrong_order(device):
    """The right certificates, the root before the intermediate ones."""
    return DeviceCertificate(device.parsed, device._private_key, device._above[::-1])


def forged(device):
    """The device's certificate, which anybody may have, with a key that is not the device's."""
    return DeviceCertificate(device.parsed, new_key("ec"), device._above)
