"""The certificates that a client presented, as the trace shows them."""

from __future__ import annotations

from collections.abc import Iterable

from dps_simulator.credentials.certificates import Certificate


def presented_certificates(certificates: Iterable[bytes]) -> list[dict[str, str]]:
    """Names and thumbprints, the client's own certificate first; what cannot be read says so.

    Arguments:
        certificates: DER, see :class:`~dps_simulator.common.http.Peer`.
    """
    shown: list[dict[str, str]] = []
    for der in certificates:
        try:
            certificate = Certificate.from_der(der)
        except ValueError as error:
            shown.append({"unreadable": str(error)})
        else:
            shown.append(
                {
                    "subject": certificate.subject_name,
                    "issuer": certificate.issuer_name,
                    "sha256Thumbprint": certificate.sha256_thumbprint,
                }
            )
    return shown
