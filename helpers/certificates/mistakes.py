"""Certificates that are wrong on purpose, one mistake each, for lessons and tests.

Reach them as ``certificates.mistakes``. Each function returns what a right certificate would be, so that it can be
saved and used like one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from dps_simulator.rules import MAX_COMMON_NAME

from .authority import Authority, DeviceCertificate, build, device_extensions, new_key


def expired(issuer: Authority, name: str) -> DeviceCertificate:
    """A device's certificate that was valid until yesterday."""
    key, start = new_key("ec"), datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=31)
    certificate = build(name, key.public_key(), issuer, days=30, start=start, extensions=device_extensions())
    return DeviceCertificate(certificate, key, issuer.chain_certificates, issuer)


def other_name(issuer: Authority, name: str) -> DeviceCertificate:
    """A certificate for another name than the one with which the device registers."""
    # a name of full length leaves no room for more, so its beginning makes room
    other = f"not-{name[-(MAX_COMMON_NAME - 4) :]}"
    return issuer.issue_device(other if other != name else f"nor-{other[4:]}")


def leaf_only(device: DeviceCertificate) -> DeviceCertificate:
    """The right certificate, without those above it."""
    return DeviceCertificate(device.parsed, device._private_key)


def authority_as_device(authority: Authority) -> DeviceCertificate:
    """An authority that registers as if it were a device."""
    return DeviceCertificate(authority.parsed, authority._private_key, authority._above)
