"""No error of the helpers shows a secret that was given where a name or a path was expected."""

from pathlib import Path

import pytest

from helpers import certificates
from helpers.certificates import files as certificate_files
from helpers.certificates.files import CertificateError, CertificateFiles
from helpers.checks import ParameterError
from helpers.credentials import CredentialsError
from helpers.diagnosis import explain
from helpers.faults import FaultError
from helpers.fleet import FleetError
from helpers.parameter_rules import problems
from helpers.recipes.cleanup import LessonError
from helpers.runner.documents import NotebookError
from helpers.target import TargetError
from helpers.target.settings import SettingError
from helpers.tpm.client.client_options import ClientOptions
from helpers.tpm.errors import ActivationError, TpmUnavailableError
from helpers.views.enrollment_document import FormError
from helpers.views.json_text import JsonTextError
from helpers.workspace import WorkspaceError

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="
STRING = f"HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey={KEY}"


def texts_of(error):
    return f"{error} {error!r} {error.args}"


@pytest.mark.parametrize(
    "kind",
    [
        *(ActivationError, CertificateError, CredentialsError, FaultError, FleetError, JsonTextError, LessonError),
        *(NotebookError, ParameterError, SettingError, TargetError, TpmUnavailableError, WorkspaceError),
    ],
)
def test_errors_mask_what_they_repeat(kind):
    assert KEY[:8] not in texts_of(kind(f"registration_id is {STRING!r}."))


def test_a_form_masks_what_it_repeats():
    error = FormError([f"Device ID is {STRING!r}"], {"device_id": [f"it is {STRING!r}"]})
    assert KEY[:8] not in f"{texts_of(error)} {error.problems} {error.by_field}"


@pytest.mark.parametrize("parameter", ["registration_id", "device_id", "group_id", "target", "reset", "tpm_kind"])
def test_parameters_mask_what_they_repeat(parameter):
    for given in (STRING, STRING.lower().replace(KEY.lower(), KEY), KEY):
        assert KEY[:8] not in str(problems("11_symmetric_key_enroll", {parameter: given}))


def test_a_client_masks_what_it_repeats():
    for host, scope in ((STRING, "0ne00000A01"), ("dps.test", ""), (STRING, STRING)):
        with pytest.raises(ValueError, match="is ") as caught:
            ClientOptions.read(host, scope, {})
        assert KEY[:8] not in texts_of(caught.value)


def test_an_explanation_masks_what_an_sdk_repeats():
    assert KEY[:8] not in str(explain(ValueError(f"Invalid Connection String: {STRING}")))


def fragments(text, length=16):
    body = "".join(text.splitlines()[1:-1])
    return [body[begin : begin + length] for begin in range(len(body) - length)]


@pytest.mark.parametrize(
    "spelled",
    [
        str,
        str.strip,
        lambda text: "".join(text.splitlines()[1:-1]),
        lambda text: "\n".join(text.splitlines()[1:-1]),
        lambda text: " ".join(text.split()),
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\0",
    ],
    ids=["as it is", "stripped", "without its frame", "lines", "one line", "escaped", "from Windows", "with a zero"],
)
def test_the_text_of_a_key_given_as_a_path_is_not_repeated(tmp_path, spelled):
    device = certificates.create_self_signed("pump-1")
    files = device.save(tmp_path)
    secret = device.key.reveal()
    given = spelled(secret)
    for call in (
        lambda: certificate_files.check(files.chain_file, given),
        lambda: certificate_files.check(given, files.key_file),
        lambda: certificate_files.read_key(Path(given)),
        lambda: certificate_files.read_chain(Path(given)),
        lambda: CertificateFiles(files.certificate_file, Path(given), files.chain_file, files.cer_file).x509(),
    ):
        with pytest.raises(CertificateError, match="path") as caught:
            call()
        shown = texts_of(caught.value).replace("\n", "")
        assert not [each for each in fragments(secret) if each in shown]


def test_a_file_that_is_missing_is_named(tmp_path):
    missing = tmp_path / "a folder" / "pump-001-certificate.pem"
    with pytest.raises(CertificateError, match=r"There is no key file pump-001-certificate\.pem in a folder"):
        certificate_files.read_key(missing)
