"""A notebook whose step went wrong does not pass: copies with one spoilt cell are seen to fail."""

import pytest

from helpers import runner
from helpers.notebook_tools.documents import NOTEBOOKS, read, write

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1_300)]

# notebook, cell, what is replaced, by what, and the words of the failure
SPOILT = {
    "wrong key": (
        "12_symmetric_key_start",
        "boot-member",
        'enrolled["member"]["key"]',
        'enrolled["group"]["key"]',
        ["ClientError"],
    ),
    "device not connected": ("13_symmetric_key_verify", "check-connect", "member.connect()\n", "", ["is connected"]),
    "wrong hub": (
        "13_symmetric_key_verify",
        "connect-hub",
        "hostname=told.assigned_hub",
        'hostname="contoso-hub-9.azure-devices.test"',
        ["Error"],
    ),
    "device not enrolled": (
        "11_symmetric_key_enroll",
        "enrollment-list",
        "from helpers",
        "service.enrollment.delete(registration_id)\nfrom helpers",
        ["the device is enrolled"],
    ),
    "certificate of another device": (
        "22_x509_start",
        "boot-member",
        "certificates.load(folder, member_id)",
        "certificates.load(folder, registration_id)",
        ["ClientError"],
    ),
    "only the device's own certificate": (
        "22_x509_start",
        "boot-member",
        "member_files.chain_file",
        "member_files.certificate_file",
        ["ClientError"],
    ),
    "possession of the root not proven": (
        "21_x509_enroll",
        "prove",
        "certificate=proof",
        "certificate=root.certificate",
        ["HttpResponseError"],
    ),
    "device with a certificate not connected": (
        "23_x509_verify",
        "check-connect",
        "    clients[name].connect()\n",
        "",
        ["is connected"],
    ),
    "new certificate not enrolled": (
        "23_x509_verify",
        "enroll-both",
        "secondary=renewed",
        "secondary=device",
        ["ClientError"],
    ),
    "endorsement key not complete": (
        "31_tpm_enroll",
        "enroll",
        "individual(endorsement_key))",
        "individual(endorsement_key[:-1]))",
        ["HttpResponseError"],
    ),
    "challenge for another TPM": (
        "32_tpm_start",
        "activate",
        "tpm.activate(challenge)",
        'open_tpm("embedded", workspace.folder("tpm_tries", dps)).activate(challenge)',
        ["ActivationError"],
    ),
    "device with a TPM not connected": (
        "33_tpm_verify",
        "connect-hub",
        "client.connect()\n",
        "",
        ["is connected"],
    ),
    "token for another device": (
        "33_tpm_verify",
        "connect-hub",
        "/devices/{told.device_id}",
        "/devices/somebody-else",
        ["Error"],
    ),
    "token signed with an older key": (
        "33_tpm_verify",
        "go-on",
        "client.update_sastoken(tpm_sas_token(tpm, resource, seconds=3600).reveal())",
        "client.update_sastoken(token.reveal())",
        ["Error"],
    ),
    "second hub not linked": (
        "41_load_balanced_hubs",
        "link",
        "for hub in hubs:",
        "for hub in hubs[:1]:",
        ["contoso-hub-2"],
    ),
    "key of the group in every device": (
        "41_load_balanced_hubs",
        "boot",
        "derive_device_key(group_key, registration_id)",
        "group_key",
        ["ClientError"],
    ),
    "webhook that names no linked hub": (
        "41_load_balanced_hubs",
        "function",
        "second if",
        '"contoso-hub-9.azure-devices.test" if',
        ["ClientError"],
    ),
    "weights not changed": (
        "41_load_balanced_hubs",
        "weights",
        "{hubs[0]: 3, hubs[1]: 1}",
        "{hubs[0]: 1, hubs[1]: 3}",
        ["the heavier hub"],
    ),
    "key of the group in every meter": (
        "52_provision_a_fleet",
        "boot",
        "derive_device_key(group_key, registration_id)",
        "group_key",
        ["no meter failed"],
    ),
    "hub list not changed": (
        "42_reprovision_and_retire",
        "migrate",
        "**only(second)",
        "**only(first)",
        ["is gone from its first hub"],
    ),
    "device not locked out": (
        "42_reprovision_and_retire",
        "disable",
        '"disabled"',
        '"enabled"',
        ["and it worked"],
    ),
    "key not replaced": (
        "42_reprovision_and_retire",
        "new-key",
        "enroll(registration_id, attestation, **only(first)",
        "enroll(registration_id, **only(first)",
        ["ClientError"],
    ),
    "device left in its hub": (
        "42_reprovision_and_retire",
        "retire",
        'dps.registry(record["assignedHub"]).delete_device(record["deviceId"])\n',
        "",
        ["no hub knows the kettle"],
    ),
    "twin not changed": ("13_symmetric_key_verify", "change-twin", '"targetTemperature": 23', '"other": 23', []),
}


@pytest.mark.parametrize(("name", "cell", "old", "new", "words"), SPOILT.values(), ids=SPOILT)
def test_the_run_fails(tmp_path, capsys, name, cell, old, new, words):
    document = read(NOTEBOOKS / f"{name}.ipynb")
    spoilt = next(each for each in document.cells if each.id == cell)
    assert old in spoilt.source, "the notebook changed; change this test with it"
    spoilt.source = spoilt.source.replace(old, new)
    copy = tmp_path / f"{name}.ipynb"
    write(document, copy)
    code = runner.main(["tutorial", "--output", str(tmp_path / "build"), "--cell-timeout", "600", str(copy)])
    shown = capsys.readouterr().out
    assert code == 1, shown
    assert "1 notebook: 1 failed." in shown
    for word in words:
        assert word in shown
