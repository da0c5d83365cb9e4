"""What somebody does to lock a device out, done for real, and what the locked out device is told then."""

import pytest
from azure.iot.device import IoTHubDeviceClient

from dps_simulator import Simulator
from dps_simulator.credentials.chains import Finding
from dps_simulator.provisioning.attestation.tpm import TpmFinding
from helpers import certificates
from helpers.checks import wait_until
from helpers.credentials import Secret, derive_device_key, new_key
from helpers.diagnosis import causes, explain
from helpers.diagnosis.explain import SYMPTOMS
from helpers.diagnosis.lock_out import DEVICE, PROGRAM, QUESTION, LockOut
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import x509 as x509_lessons
from helpers.target import of_simulator
from helpers.target.registry import RestRegistry
from helpers.tpm import TpmProvisioningDeviceClient, hub_token, open_tpm

sdk = pytest.mark.sdk
FEW = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def dps(tmp_path_factory):
    """One target for all: every deed has a device of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPS_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        with Simulator(pace="instant") as simulator, of_simulator(simulator.running) as target:
            yield target


def keys_of(attestation):
    return attestation["symmetricKey"]


class Enrolled:
    """A device with an enrollment of its own."""

    def __init__(self, dps, name, attestation):
        self.dps, self.name = dps, name
        self.service = dps.service_client().enrollment
        self.made = self.service.create_or_update(name, {"registrationId": name, "attestation": attestation})

    def change(self, **fields):
        self.made = self.service.create_or_update(self.name, {**self.made, **fields}, if_match="*")

    def delete(self):
        self.service.delete(self.name)


class ByKey(Enrolled):
    def __init__(self, dps, name):
        super().__init__(dps, name, {"type": "symmetricKey"})
        self.key = Secret(keys_of(self.made["attestation"])["primaryKey"])

    def boot(self):
        lessons.register_device(self.dps, self.name, self.key)


class ByCertificate(Enrolled):
    def __init__(self, dps, name, folder):
        self.certificate = certificates.create_self_signed(name)
        self.files = self.certificate.save(folder / name)
        super().__init__(dps, name, self.of(self.certificate))

    @staticmethod
    def of(certificate):
        return {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": certificate.certificate}}}}

    def boot(self):
        x509_lessons.register_device(self.dps, self.name, self.files.x509())


class MemberByKey:
    def __init__(self, dps, name):
        self.dps, self.name, self.group = dps, name, f"{name}-group"
        self.service = dps.service_client().enrollment_group
        body = {"enrollmentGroupId": self.group, "attestation": {"type": "symmetricKey"}}
        self.made = self.service.create_or_update(self.group, body)
        self.key = derive_device_key(Secret(keys_of(self.made["attestation"])["primaryKey"]), name)

    def change(self, **fields):
        self.service.create_or_update(self.group, {**self.made, **fields}, if_match="*")

    def delete(self):
        self.service.delete(self.group)

    def boot(self):
        lessons.register_device(self.dps, self.name, self.key)


class MemberByCertificate:
    def __init__(self, dps, name, folder):
        self.dps, self.name, self.group = dps, name, f"{name}-group"
        self.root = certificates.create_root(f"{name} root")
        self.line = self.root.issue_intermediate(f"{name} line")
        x509_lessons.upload_authority(dps, f"{name}-root", self.root)
        self.service = dps.service_client().enrollment_group
        body = x509_lessons.enrollment_group(self.group, self.line.certificate)
        self.made = self.service.create_or_update(self.group, body)
        self.files = self.line.issue_device(name).save(folder / name)

    def change(self, **fields):
        self.service.create_or_update(self.group, {**self.made, **fields}, if_match="*")

    def delete(self):
        self.service.delete(self.group)

    def boot(self):
        x509_lessons.register_device(self.dps, self.name, self.files.x509())


def refused(call):
    try:
        call()
    except Exception as problem:
        return problem
    return pytest.fail("it was let in all the same")


def roll(device):
    keys = {"primaryKey": new_key().reveal(), "secondaryKey": new_key().reveal()}
    device.change(attestation={"type": "symmetricKey", "symmetricKey": keys})


def disable(device):
    device.change(provisioningStatus="disabled")


def delete(device):
    device.delete()


def replace_certificate(device):
    device.change(attestation=ByCertificate.of(device.certificate.renew()))


def expect_a_key(device):
    device.change(attestation={"type": "symmetricKey"})


def found_anew(device):
    """The authority is made anew under its old name, as after its key was stolen."""
    anew = device.root.issue_intermediate(f"{device.name} line")
    signing = {"signingCertificates": {"primary": {"certificate": anew.certificate}}}
    device.change(attestation={"type": "x509", "x509": signing})


def delete_root(device):
    cleanup.delete_authority(device.dps, f"{device.name}-root")


def lock_member_out(device):
    """An enrollment of its own, disabled, goes before the group."""
    attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": device.key.reveal()}}
    attestation["symmetricKey"]["secondaryKey"] = device.key.reveal()
    Enrolled(device.dps, device.name, attestation).change(provisioningStatus="disabled", attestation=attestation)


def lock_member_out_without_its_key(device):
    Enrolled(device.dps, device.name, {"type": "symmetricKey"}).change(provisioningStatus="disabled")


def check(found, who=DEVICE):
    """The advice begins with the question, wherever one reads it, and tells the two sides apart."""
    assert found.lock_out
    assert found.lock_out.who == who
    for cause in found.causes:
        assert cause.lock_out, cause.cause
        assert cause.remedy.startswith(QUESTION)
        assert f"({cause.lock_out.deed})" in cause.remedy
        where_managed, in_hand = cause.lock_out.sides
        text = str(found)
        assert text.index(QUESTION) < text.index(cause.cause) < text.index(where_managed) < text.index(in_hand)
    html = found.html()
    assert html.index(QUESTION) < html.index("What to do")


@sdk
@pytest.mark.parametrize(
    ("kind", "deed"),
    [
        *((ByKey, deed) for deed in (disable, delete, roll)),
        *((ByCertificate, deed) for deed in (disable, delete, replace_certificate, expect_a_key)),
        *((MemberByKey, deed) for deed in (disable, delete, roll, lock_member_out, lock_member_out_without_its_key)),
        *((MemberByCertificate, deed) for deed in (disable, delete, found_anew, delete_root)),
    ],
    ids=lambda value: value.__name__,
)
def test_a_device_that_was_locked_out_of_dps(dps, tmp_path, kind, deed):
    name = f"{kind.__name__}-{deed.__name__}".lower().replace("_", "-")
    device = kind(dps, name) if kind in (ByKey, MemberByKey) else kind(dps, name, tmp_path)
    device.boot()
    deed(device)
    problem = refused(device.boot)
    found = explain(problem, dps)
    assert len(found.causes) == 1, str(found)
    assert found.reason
    check(found)
    assert explain(problem).lock_out, "on Azure, where nobody tells the reason"


@sdk
@pytest.mark.parametrize("deed", ["delete", "other TPM"])
def test_a_tpm_that_was_locked_out_of_dps(dps, tmp_path, deed):
    name = f"gateway-{deed.replace(' ', '-').lower()}"
    with open_tpm("embedded", tmp_path / "own") as tpm, open_tpm("embedded", tmp_path / "other") as other:
        device = Enrolled(dps, name, {"type": "tpm", "tpm": {"endorsementKey": tpm.endorsement_key}})

        def boot():
            where = dps.provisioning_host, dps.id_scope, tpm, name
            return TpmProvisioningDeviceClient.create_from_tpm(*where, **dps.device_options).register()

        boot()
        if deed == "delete":
            device.delete()
        else:
            device.change(attestation={"type": "tpm", "tpm": {"endorsementKey": other.endorsement_key}})
        check(explain(refused(boot), dps, attestation="tpm"))


def connected(dps, name, key, hub):
    options = {"symmetric_key": key.reveal(), "hostname": hub, "device_id": name, **dps.device_options}
    return IoTHubDeviceClient.create_from_symmetric_key(connection_retry=False, **options)


def put(dps, hub, name, **fields):
    registry = RestRegistry(dps._connection(hub), **dps._way())
    document = registry._request("GET", f"/devices/{name}")
    registry._request("PUT", f"/devices/{name}", body={**document, **fields}, etag="*")
    registry.close()


@sdk
@FEW
@pytest.mark.parametrize(
    ("deed", "is_connected"),
    # who is connected stays connected after a change of keys: a hub asks for them at the door only
    [("disable", False), ("disable", True), ("delete", False), ("delete", True), ("new keys", False)],
)
def test_a_device_that_was_locked_out_of_its_hub(dps, deed, is_connected):
    name = f"at-the-hub-{deed.replace(' ', '-')}-{is_connected}".lower()
    device = ByKey(dps, name)
    hub = lessons.register_device(dps, name, device.key).assigned_hub
    lost = []
    client = connected(dps, name, device.key, hub)
    client.on_background_exception = lost.append
    try:
        if is_connected:
            client.connect()
        if deed == "disable":
            put(dps, hub, name, status="disabled")
        elif deed == "delete":
            dps.registry(hub).delete_device(name)
        else:
            keys = {"primaryKey": new_key().reveal(), "secondaryKey": new_key().reveal()}
            put(dps, hub, name, authentication={"type": "sas", "symmetricKey": keys})
        if is_connected:
            wait_until("the hub has hung up", lambda: lost, hint="It did not.")
        problem = lost[0] if is_connected else refused(client.connect)
        found = explain(problem, dps, attestation="symmetricKey")
        assert len(found.causes) == 1, str(found)
        check(found)
    finally:
        client.shutdown()


@sdk
@FEW
def test_a_certificate_that_the_hub_forgot(dps, tmp_path):
    name = "at-the-hub-certificate"
    device = ByCertificate(dps, name, tmp_path)
    hub = x509_lessons.register_device(dps, name, device.files.x509()).assigned_hub
    prints = {"primaryThumbprint": "A" * 64, "secondaryThumbprint": "B" * 64}
    put(dps, hub, name, authentication={"type": "selfSigned", "x509Thumbprint": prints})
    client = IoTHubDeviceClient.create_from_x509_certificate(
        x509=device.files.x509(), hostname=hub, device_id=name, **dps.device_options
    )
    try:
        check(explain(refused(client.connect), dps, attestation="x509"))
    finally:
        client.shutdown()


@sdk
@FEW
def test_a_tpm_whose_key_the_hub_forgot(dps, tmp_path):
    name = "at-the-hub-tpm"
    with open_tpm("embedded", tmp_path / "tpm") as tpm:
        Enrolled(dps, name, {"type": "tpm", "tpm": {"endorsementKey": tpm.endorsement_key}})
        where = dps.provisioning_host, dps.id_scope, tpm, name
        state = TpmProvisioningDeviceClient.create_from_tpm(*where, **dps.device_options).register().registration_state
        keys = {"primaryKey": new_key().reveal(), "secondaryKey": new_key().reveal()}
        put(dps, state.assigned_hub, name, authentication={"type": "sas", "symmetricKey": keys})
        token = hub_token(tpm, state.assigned_hub, name)
        client = IoTHubDeviceClient.create_from_sastoken(token.reveal(), **dps.device_options)
        try:
            check(explain(refused(client.connect), dps, attestation="tpm"))
        finally:
            client.shutdown()


@sdk
def test_a_program_whose_policy_has_new_keys(dps):
    program = dps.service_client()
    operations, where = dps.management_client().iot_dps_resource, (dps.service_name, dps.resource_group)
    description = operations.get(*where)
    (owner,) = operations.list_keys(*where)
    owner.primary_key, owner.secondary_key = new_key().reveal(), new_key().reveal()
    description.properties.authorization_policies = [owner]
    operations.begin_create_or_update(where[1], where[0], description).result()
    check(explain(refused(lambda: program.enrollment.get("anybody")), dps), who=PROGRAM)
    # whoever manages the service can go on
    assert dps.service_client().enrollment.query({"query": "SELECT *"}) is not None


def test_who_is_locked_out_is_named():
    assert "locked this program out" in LockOut("by a deed", "do this", who=PROGRAM).advice
    assert "In the program:" in LockOut("by a deed", "do this", who=PROGRAM).advice
    assert "At the device:" in LockOut("by a deed", "do this").advice


#: What somebody can bring about on purpose, to lock a device out; the rest are mistakes, or dates that have passed.
CERTIFICATE_DEEDS = {
    Finding.UNKNOWN_AUTHORITY,
    Finding.AUTHORITY_NOT_VERIFIED,
    Finding.UNKNOWN_CERTIFICATE,
    Finding.SIGNATURE_INVALID,
    Finding.ATTESTATION_MISMATCH,
}
TPM_DEEDS = {TpmFinding.ENDORSEMENT_KEY_MISMATCH, TpmFinding.ATTESTATION_MISMATCH}


@pytest.mark.parametrize(
    ("findings", "deeds", "table"),
    [
        (Finding, CERTIFICATE_DEEDS, causes.CERTIFICATES_REFUSED),
        (TpmFinding, TPM_DEEDS, (*causes.TPMS_REFUSED, causes.OTHER_PROOF, causes.NO_STORAGE_ROOT_KEY)),
    ],
)
def test_every_finding_is_a_deed_or_a_mistake(findings, deeds, table):
    for finding in findings:
        found = [each for each in table if finding.value in each.findings]
        assert found, finding
        assert all(bool(each.lock_out) is (finding in deeds) for each in found), finding


def test_the_remedy_of_a_lock_out_is_its_advice():
    rows = [cause for symptom in SYMPTOMS for cause in symptom.causes]
    meant = [cause for cause in rows if cause.lock_out]
    assert len(meant) >= 20
    for cause in meant:
        assert cause.remedy == cause.lock_out.advice
        assert cause.lock_out.deed.startswith("by ")
        for part in (cause.lock_out.owner, cause.lock_out.holder):
            assert part[0].islower()
            assert not part.endswith(".")


def test_an_explanation_without_a_deed_does_not_ask():
    found = explain(RuntimeError("odd"))
    assert found.lock_out is None
    assert QUESTION not in str(found) + found.html()
