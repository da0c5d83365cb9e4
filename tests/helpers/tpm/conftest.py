"""Every test that asks for a ``device`` runs on the embedded TPM and on swtpm."""

import shutil

import pytest

from helpers.tpm import open_tpm
from helpers.tpm.commands import Tpm
from helpers.tpm.embedded.tpm import SoftTpm
from helpers.tpm.transports.swtpm import Swtpm

KINDS = ["embedded", "swtpm"]


def _skip_without_swtpm(kind):
    if kind == "swtpm" and shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed, so this test ran on the embedded TPM only")


@pytest.fixture(params=KINDS)
def tpm_kind(request):
    _skip_without_swtpm(request.param)
    return request.param


@pytest.fixture
def open_device(tpm_kind, tmp_path):
    """Opens devices of the kind that this test runs on: one name is one TPM."""
    devices = []

    def open_one(name="one"):
        devices.append(open_tpm(tpm_kind, tmp_path / name))
        return devices[-1]

    yield open_one
    for device in devices:
        device.close()


@pytest.fixture
def device(open_device):
    return open_device()


@pytest.fixture
def open_raw(tpm_kind, tmp_path):
    """Opens TPMs as transports: what takes and gives bytes."""
    opened = []

    def open_one(name="one"):
        if tpm_kind == "embedded":
            transport = SoftTpm(tmp_path / name / "soft_tpm.json")
        else:
            program = Swtpm(tmp_path / name / "swtpm")
            opened.append(program)
            transport = program.transport()
        opened.append(transport)
        return transport

    yield open_one
    for one in reversed(opened):
        one.close()


@pytest.fixture
def transport(open_raw):
    return open_raw()


@pytest.fixture
def tpm(transport):
    return Tpm(transport)


@pytest.fixture(scope="module", params=KINDS)
def lasting_device(request, tmp_path_factory):
    """A device for all tests of a module."""
    _skip_without_swtpm(request.param)
    with open_tpm(request.param, tmp_path_factory.mktemp(request.param)) as device:
        yield device
