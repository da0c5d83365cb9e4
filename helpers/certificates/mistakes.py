"""Certificates that are wrong on purpose, one mistake each, for lessons and tests.

Reach them as ``certificates.mistakes``. Each function returns what a right certificate would be, so that it can be
saved and used like one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from dps_simulator.rules import MAX_COMMON_NAME

from .authority import Authority, DeviceCertificate, build, device_extensions, new_key


def expired(issuer: Authority, name: str) -> DeviceCertificate:
    """A device's certificate that was valid until yesterday."""
    return _issued(issuer, name, start=_days_from_now(-31), days=30)


def not_yet_valid(issuer: Authority, name: str) -> DeviceCertificate:
    """A device's certificate that will be valid from tomorrow on."""
    return _issued(issuer, name, start=_days_from_now(1), days=30)


def wrong_usage(issuer: Authority, name: str) -> DeviceCertificate:
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


def weak_key(issuer: Authority, name: str) -> DeviceCertificate:
    """A certificate for an RSA key of 1024 bits, which can be broken."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505  (that is the lesson)
    certificate = build(name, key.public_key(), issuer, days=30, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def issued_by_device(issuer: DeviceCertificate, name: str) -> DeviceCertificate:
    """A certificate that another device signed, which it may not."""
    key = new_key("ec")
    certificate = build(name, key.public_key(), issuer, days=30, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates)


def other_name(issuer: Authority, name: str) -> DeviceCertificate:
    """A certificate for another name than the one with which the device registers."""
    # a name of full length leaves no room for more, so its beginning makes room
    other = f"not-{name[-(MAX_COMMON_NAME - 4) :]}"
    return issuer.issue_device(other if other != name else f"nor-{other[4:]}")


def leaf_only(device: DeviceCertificate) -> DeviceCertificate:
    """The right certificate, without those above it."""
    return DeviceCertificate(device.parsed, device._private_key)


def without_intermediate(device: DeviceCertificate) -> DeviceCertificate:
    """The right certificate and the root, with nothing in between."""
    return DeviceCertificate(device.parsed, device._private_key, device._above[-1:])


def wrong_order(device: DeviceCertificate) -> DeviceCertificate:
    """The right certificates, the root before the intermediate ones."""
    return DeviceCertificate(device.parsed, device._private_key, device._above[::-1])


def authority_as_device(authority: Authority) -> DeviceCertificate:
    """An authority that registers as if it were a device."""
    return DeviceCertificate(authority.parsed, authority._private_key, authority._above)


def forged(device: DeviceCertificate) -> DeviceCertificate:
    """The device's certificate, which anybody may have, with a key that is not the device's."""
    return DeviceCertificate(device.parsed, new_key("ec"), device._above)


def _issued(issuer: Authority, name: str, *, start: datetime, days: int) -> DeviceCertificate:
    key = new_key("ec")
    certificate = build(name, key.public_key(), issuer, days=days, start=start, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def _days_from_now(days: int) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)
