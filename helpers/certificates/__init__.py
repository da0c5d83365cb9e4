"""Certificates for devices: made, signed, renewed, checked, and broken on purpose.

What notebooks import from here lives in three rooms: :mod:`~helpers.certificates.authority` makes certificates and
signs them, :mod:`~helpers.certificates.files` reads, writes and checks their files, and
:mod:`~helpers.certificates.mistakes` makes the ones that a service must refuse.
"""

from . import mistakes
from .authority import (
    Authority,
    DeviceCertificate,
    SigningRequest,
    authority_extensions,
    build,
    create_root,
    create_self_signed,
    create_signing_request,
    device_extensions,
    load,
    new_key,
)
from .files import CertificateError, CertificateFiles

__all__ = [
    "Authority",
    "CertificateError",
    "CertificateFiles",
    "DeviceCertificate",
    "SigningRequest",
    "authority_extensions",
    "build",
    "create_root",
    "create_self_signed",
    "create_signing_request",
    "device_extensions",
    "load",
    "mistakes",
    "new_key",
]
