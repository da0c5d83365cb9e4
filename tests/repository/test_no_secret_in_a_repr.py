"""No record of ours shows a secret in its ``repr``, which ends in tracebacks, in logs and below cells of notebooks."""

import contextlib
import dataclasses
import importlib
import inspect
import re
from unittest.mock import MagicMock

import pytest
from test_modules_alone import modules_of

#: Fields that hold a secret, or what others say to each other, go by what they are called.
SECRET = re.compile(
    r"(?:.*_)?(?:keys?|token|password|phrase|secret|signature|connection_string|blob|body|payload|data|headers)"
)
#: What such a field may be, as it shows nothing: no text, or something that masks itself, which other tests see.
HARMLESS = re.compile(r"(?:bool|int|float|Path|Secret|ErrorKind|SymmetricKeyEvidence|rsa\.RSAPublicKey|TpmKeys)\b.*")
#: Fields that are called so and may be seen, and why.
PUBLIC = {
    "dps_simulator.common.ports.StoredDocument.key": "the name under which a document is kept",
    "dps_simulator.provisioning.registration.record.Registration.enrollment_key": "the name of an enrollment",
    "dps_simulator.provisioning.registration.record.RegisteredTpm.endorsement_key": "a public key",
    "dps_simulator.provisioning.registration.record.RegisteredTpm.storage_root_key": "a public key",
    "dps_simulator.provisioning.attestation.challenges.Challenge.endorsement_key": "a public key",
    "dps_simulator.provisioning.attestation.challenges.Challenge.storage_root_key": "a public key",
    "dps_simulator.provisioning.attestation.symmetric_key.Verdict.tpm_keys": "public keys",
    "dps_simulator.provisioning.api.sasl_tpm.Shown.endorsement_key": "a public key",
    "dps_simulator.provisioning.api.sasl_tpm.Shown.storage_root_key": "a public key",
}
MARK = "not-to-be-seen"


def records(repository):
    """Every dataclass and every named tuple of both packages."""
    for name in modules_of(repository):
        if name.startswith("tools"):
            continue
        with contextlib.suppress(ImportError):  # of another system, or for an extra
            module = importlib.import_module(name)
            for found in vars(module).values():
                if inspect.isclass(found) and found.__module__ == name and fields(found):
                    yield found


def fields(record):
    """Names of fields and what they are said to be; nothing for a class that is no record."""
    if dataclasses.is_dataclass(record):
        return {field.name: str(field.type) for field in dataclasses.fields(record)}
    if issubclass(record, tuple) and hasattr(record, "_fields"):
        kinds = record.__annotations__
        return {name: str(getattr(kinds[name], "__forward_arg__", kinds[name])) for name in record._fields}
    return {}


def filled(record, values):
    """One with these values, whatever it would say to them."""
    if issubclass(record, tuple):
        return record._make(values.values())
    made = record.__new__(record)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def shown(record):
    """The fields that should not be seen in the text of a record, and are."""
    kinds = fields(record)
    secret = [name for name in kinds if SECRET.fullmatch(name) and not HARMLESS.fullmatch(kinds[name])]
    for name in secret:
        values = {each: MARK if each == name else MagicMock() for each in kinds}
        if MARK in repr(filled(record, values)):
            yield f"{record.__module__}.{record.__qualname__}.{name}"


@pytest.fixture(scope="module")
def found(request):
    return [name for record in records(request.config.rootpath) for name in shown(record)]


def test_no_record_shows_what_it_should_not(found):
    assert sorted(set(found) - set(PUBLIC)) == []


def test_every_exception_is_needed(found):
    assert sorted(set(PUBLIC) - set(found)) == []


@dataclasses.dataclass
class Careless:
    name: str
    primary_key: str
    hidden_key: str = dataclasses.field(repr=False)
    key_count: int


def test_a_record_that_shows_a_key_is_found():
    assert [name.rpartition(".")[2] for name in shown(Careless)] == ["primary_key"]
