"""What stands for the names in questions: identifiers, keys and certificates, made anew for every simulator."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_NAME = re.compile(r"\{(\w+)\}")
#: Names that answers give, and later questions use.
_LEARNED = ("operationId", "etag", "verificationCode")


class Samples:
    """The samples for one area, and what the answers told.

    Arguments:
        number: tells them from those for other areas.
        names: samples to begin with, by the name in braces.
    """

    def __init__(self, number: int, names: Mapping[str, str]) -> None:
        self._authority_key = ec.generate_private_key(ec.SECP256R1())
        self._names = {
            "device": f"probe-{number}",
            "module": "probe-module",
            "group": f"probe-group-{number}",
            "key": base64.b64encode(secrets.token_bytes(32)).decode("ascii"),
            "request": "1",
            "subscriptionId": "probe",
            "resourceGroupName": "probe",
            "certificateName": "probe-root",
            "groupId": "probe",
            "privateEndpointConnectionName": "probe",
            "certificate": self._certificate("Probe Root"),
            **names,
        }

    def filled(self, template: Any, more: Mapping[str, str] | None = None) -> Any:
        """A template, with a sample for every name in its texts.

        Arguments:
            template: JSON.
            more: samples that count before the others; may name others themselves.

        Raises:
            KeyError: there is no sample of a name.
        """
        if isinstance(template, Mapping):
            return {name: self.filled(value, more) for name, value in template.items()}
        if isinstance(template, list):
            return [self.filled(value, more) for value in template]
        return self.text(template, more) if isinstance(template, str) else template

    def text(self, template: str, more: Mapping[str, str] | None = None) -> str:
        """A text, with a sample for every name in it.

        Raises:
            KeyError: there is no sample of a name.
        """

        def sample(match: re.Match[str]) -> str:
            name = match[1]
            if more and name in more:
                return self.text(more[name])
            return self.proof() if name == "proof" else self.text(self._names[name])

        return _NAME.sub(sample, template)

    def learn(self, document: Any) -> None:
        """Remember what later questions may need, such as an ETag, wherever it stands in an answer.

        Arguments:
            document: the answer, JSON.
        """
        if isinstance(document, Mapping):
            for name, value in document.items():
                if name in _LEARNED and isinstance(value, str):
                    self._names[name] = value
                else:
                    self.learn(value)

    def proof(self) -> str:
        """A certificate that bears the verification code, signed by the key of the sample certificate."""
        return self._certificate(self._names["verificationCode"], "Probe Root")

    def _certificate(self, subject: str, issuer: str = "") -> str:
        """A CA certificate, or a proof for it: base64 of its DER form."""
        key = ec.generate_private_key(ec.SECP256R1()) if issuer else self._authority_key
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer or subject))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=not issuer, path_length=None), critical=True)
        )
        made = builder.sign(self._authority_key, hashes.SHA256())
        return base64.b64encode(made.public_bytes(Encoding.DER)).decode("ascii")


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
