"""Certificates as the services read and judge them, for programs that look at a device's files before it connects.

Public for the same reason as :mod:`dps_simulator.rules`: what is said before the connection has to be what the services
will say. These modules read certificates as leniently as OpenSSL does, which takes some hundred lines.
"""

from .credentials import chains
from .credentials.certificate_encoding import CERTIFICATE_LABELS, PEM_BLOCK, from_base64, wide_encoding
from .credentials.certificates import Certificate, UnsupportedCertificateError, read_certificate
from .errors.table import ServiceError

__all__ = [
    "CERTIFICATE_LABELS",
    "PEM_BLOCK",
    "Certificate",
    "ServiceError",
    "UnsupportedCertificateError",
    "chains",
    "from_base64",
    "read_certificate",
    "wide_encoding",
]
