"""What the notebooks of the certificate track make, as recipes: made here when the notebook that makes it did not run.

The SDK calls are those of the notebooks. Certificates and keys are files in a folder of the workspace; the documents
hold names and thumbprints only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.device import X509, ProvisioningDeviceClient

from helpers import certificates, workspace
from helpers.workspace import Document

from . import cleanup
from .cleanup import AUTHORITY, ENROLLMENT, GROUP
from .recipe import TrackRecipe, boot

ENROLLMENTS, REGISTRATIONS = "x509.enrollments", "x509.registrations"
#: Where certificates and keys are kept, and where the notebooks put those that they only try out.
FILES, TRIES = "x509", "x509_tries"
ROOT_NAME, LINE_NAME = "Contoso Pumps Root", "Contoso Pumps Line 1"

_NAMES = ("registration_id", "device_id", "group_id", "member_id", "authority_name")
_DEVICES = {"individual": "registration_id", "member": "member_id"}


def individual_enrollment(registration_id: str, device_id: str, certificate: str) -> Document:
    """The individual enrollment of the certificate track, as the notebook writes it.

    Arguments:
        registration_id: of the device, and common name of its certificate.
        device_id: what the hub calls it; empty: as the registration ID.
        certificate: the device's own, in PEM.
    """
    return {
        "registrationId": registration_id,
        "deviceId": device_id or registration_id,
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": certificate}}}},
    }


def enrollment_group(group_id: str, certificate: str) -> Document:
    """The enrollment group of the certificate track, as the notebook writes it.

    Arguments:
        group_id: names the group.
        certificate: that of the authority that signs its devices, in PEM.
    """
    return {
        "enrollmentGroupId": group_id,
        "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": certificate}}}},
    }


def register_device(dps: Any, registration_id: str, x509: X509) -> Any:
    """Boot a device that proves itself with a certificate.

    Arguments:
        dps: the target.
        registration_id: common name of its certificate.
        x509: paths of the chain and of the device's private key.

    Returns:
        The state it was registered with, among others ``assigned_hub`` and ``device_id``.

    Raises:
        ClientError: DPS refused, or was not reached; :func:`helpers.diagnosis.explain` knows more.
    """
    create = ProvisioningDeviceClient.create_from_x509_certificate
    return boot(dps, create, registration_id=registration_id, x509=x509)


def upload_authority(dps: Any, name: str, root: Any) -> None:
    """Upload a CA certificate and prove that we hold its private key, in the three requests that Azure asks for.

    Arguments:
        dps: the target.
        name: what it is uploaded as.
        root: the authority, with its key, as :func:`helpers.certificates.authority.create_root` makes it.

    Raises:
        TargetError: on Azure, when the settings do not name subscription and resource group.
        HttpResponseError: the management plane refused.
    """
    # only who manages needs these, and they take a moment to import
    from azure.mgmt.iothubprovisioningservices.models import (  # noqa: PLC0415
        CertificateProperties,
        CertificateResponse,
        VerificationCodeRequest,
    )

    manager, where = cleanup.authorities(dps), cleanup.authority_address(dps, name)
    properties = CertificateProperties(certificate=root.certificate.encode())
    uploaded = manager.create_or_update(certificate_description=CertificateResponse(properties=properties), **where)
    unchanged = MatchConditions.IfNotModified
    asked = manager.generate_verification_code(etag=uploaded.etag, match_condition=unchanged, **where)
    proof = root.prove_possession(asked.properties.verification_code)
    manager.verify_certificate(
        request=VerificationCodeRequest(certificate=proof), etag=asked.etag, match_condition=unchanged, **where
    )


class X509Enrollments(TrackRecipe):
    """One device with a certificate of its own, and one vouched for by a chain up to an uploaded, verified root."""

    READY = (
        "Enrolled: {registration_id}, with its own certificate",
        "Enrolled: {member_id}, as a member of the group {group_id}",
    )
    REMOVED = (
        "Nothing is enrolled as {registration_id}.",
        "There is no enrollment group {group_id}.",
        "There is no CA certificate {authority_name}.",
    )

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when DPS still has all of it under these names, and our folder the files."""
        if stored is None or any(stored.get(name) != names[name] for name in _NAMES):
            return None
        service = dps.service_client()
        try:
            kept = (names["registration_id"], names["member_id"], ROOT_NAME, LINE_NAME)
            found = {name: certificates.load(workspace.folder(FILES, dps), name) for name in kept}
            individual = service.enrollment.get(names["registration_id"])
            group = service.enrollment_group.get(names["group_id"])
        except (certificates.CertificateError, ResourceNotFoundError):
            return None
        uploaded = cleanup.authority(dps, names["authority_name"])
        if uploaded is None or not uploaded.properties.is_verified:
            return None
        same = (
            _thumbprints(individual, "clientCertificates") == {found[names["registration_id"]].thumbprint}
            and _thumbprints(group, "signingCertificates") == {found[LINE_NAME].thumbprint}
            and str(uploaded.properties.thumbprint).upper() == found[ROOT_NAME].sha1_thumbprint
            and (individual.get("deviceId") or names["registration_id"]) == _device_id(names)
        )
        return stored if same else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Make the certificates, upload the root and create both enrollments; keys and certificates lie in the folder.

        Returns:
            The names, with ``thumbprint`` and ``member_thumbprint``: SHA-256 of the certificates, upper-case digits.
        """
        service = dps.service_client()
        registration_id, group_id, member_id = names["registration_id"], names["group_id"], names["member_id"]
        device = certificates.create_self_signed(registration_id)
        root = certificates.create_root(ROOT_NAME)
        line = root.issue_intermediate(LINE_NAME)
        member = line.issue_device(member_id)
        for each in (device, root, line, member):
            each.save(workspace.folder(FILES, dps))
        workspace.claim(dps, ENROLLMENT, registration_id)
        service.enrollment.create_or_update(
            registration_id, individual_enrollment(registration_id, names["device_id"], device.certificate)
        )
        workspace.claim(dps, AUTHORITY, names["authority_name"])
        upload_authority(dps, names["authority_name"], root)
        workspace.claim(dps, GROUP, group_id)
        service.enrollment_group.create_or_update(group_id, enrollment_group(group_id, line.certificate))
        return {**names, "thumbprint": device.thumbprint, "member_thumbprint": member.thumbprint}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove enrollments, devices, CA certificate and files, and note that the enrollments will be made."""
        service = dps.service_client()
        cleanup.remove_enrollment(dps, service, names["registration_id"], again=True)
        cleanup.remove_group(dps, service, names["group_id"], again=True)
        cleanup.remove_authority(dps, names["authority_name"])
        for folder in (FILES, TRIES):
            workspace.empty_folder(folder, dps)


class X509Registrations(TrackRecipe):
    """The two devices, registered: each in a hub that knows the thumbprint of its certificate."""

    READY = ("Registered: {registration_id}", "Registered: {member_id}")
    REMOVED = ("Not registered yet: {registration_id}", "Not registered yet: {member_id}")

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when both devices are still in their hubs and their certificates are still enrolled."""
        enrolled = workspace.found(ENROLLMENTS, dps, names)
        workspace.empty_folder(TRIES, dps)
        if stored is None or enrolled is None or any(stored.get(name) != value for name, value in enrolled.items()):
            return None
        for each in _DEVICES:
            told = stored.get(each, {})
            hub, device_id = str(told.get("hub")), str(told.get("device_id"))
            if hub not in dps.hubs or not cleanup.device_exists(dps, hub, device_id):
                return None
        return stored

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Boot both devices; enroll them first when nobody did.

        Returns:
            What :class:`X509Enrollments` keeps, with ``individual`` and ``member``: ``hub`` (host name), ``device_id``.
        """
        document = dict(workspace.made(ENROLLMENTS, dps, names))
        for each, name in _DEVICES.items():
            files = certificates.load(workspace.folder(FILES, dps), names[name]).files
            state = register_device(dps, names[name], files.x509())
            document[each] = {"hub": state.assigned_hub, "device_id": state.device_id}
        return document

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the registrations and the devices, not the enrollments."""
        service = dps.service_client()
        workspace.empty_folder(TRIES, dps)
        cleanup.forget_our_registration(dps, service, names["registration_id"], ENROLLMENT, names["registration_id"])
        cleanup.forget_our_registration(dps, service, names["member_id"], GROUP, names["group_id"])


def _device_id(names: Mapping[str, str]) -> str:
    return names["device_id"] or names["registration_id"]


def _thumbprints(enrollment: Mapping[str, Any], part: str) -> set[str]:
    """SHA-256 thumbprints of an enrollment's certificates; a second one that looks like the first counts once."""
    slots = (enrollment["attestation"].get("x509") or {}).get(part) or {}
    return {str(slot["info"]["sha256Thumbprint"]).upper() for slot in slots.values() if slot}
