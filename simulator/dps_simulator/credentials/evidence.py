"""The certificates that a device shows, read once for whoever judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .certificates import Certificate, UnsupportedCertificateError
from .chains import Finding

#: A device that shows more certificates than this is refused. Simulator-only; chains in the field have three or four.
MAX_CERTIFICATES = 16


@dataclass(frozen=True, slots=True)
class X509Evidence:
    """The certificates that a device showed in the TLS handshake.

    Attributes:
        chain: its own certificate first, the others in the order in which they came.
    """

    chain: tuple[Certificate, ...]

    @classmethod
    def read(cls, presented: Sequence[bytes]) -> X509Evidence:
        """Read DER certificates.

        Raises:
            UnsupportedCertificateError: there are too many, or one is beyond what this simulator reads.
            ValueError: there are none, or one is damaged.
        """
        if not presented:
            raise ValueError("the device shows no certificate")
        if len(presented) > MAX_CERTIFICATES:
            raise UnsupportedCertificateError(
                f"the device shows {len(presented)} certificates, and this simulator takes at most {MAX_CERTIFICATES} "
                "(a limit of its own)"
            )
        return cls(tuple(Certificate.from_der(der) for der in presented))

    @property
    def leaf(self) -> Certificate:
        """The certificate whose private key the device proved to have in the handshake."""
        return self.chain[0]


def finding_of_unreadable(error: ValueError) -> Finding:
    """The word for what :meth:`X509Evidence.read` refuses: a limit of this simulator, or a damaged certificate."""
    return Finding.NOT_SUPPORTED if isinstance(error, UnsupportedCertificateError) else Finding.CHAIN_INVALID
