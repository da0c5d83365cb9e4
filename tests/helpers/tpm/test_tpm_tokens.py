"""Tokens that a TPM signs are those that the plain key would make, and the SDK gets new ones in time."""

import asyncio
from types import SimpleNamespace

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.common.pipeline.pipeline_stages_base import SasTokenStage
from blob_maker import made_for

from helpers.credentials import CredentialsError, sas_token
from helpers.tpm import TpmError
from helpers.tpm.client import tokens
from helpers.tpm.client.tokens import RENEWAL_MARGIN, hub_token, renew_tokens, tpm_sas_token

KEY = bytes(range(32))
KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HUB, DEVICE = "contoso-hub.azure-devices.test", "greenhouse-gateway"


@pytest.fixture
def tpm(device):
    device.activate(made_for(device, KEY))
    return device


@pytest.mark.parametrize("resource", [f"{HUB}/devices/{DEVICE}", "0ne00000A01/registrations/a.b:c-D_1"])
@pytest.mark.parametrize("name", ["", "registration"])
def test_the_same_token_as_with_the_plain_key(tpm, resource, name):
    token = tpm_sas_token(tpm, resource, key_name=name, expiry=2_000_000_000)
    assert token == sas_token(resource, KEY_TEXT, policy=name, expiry=2_000_000_000)


def test_it_is_valid_from_now_on(tpm, monkeypatch):
    monkeypatch.setattr(tokens.time, "time", lambda: 1_800_000_000.9)
    token = hub_token(tpm, HUB, DEVICE, 200).reveal()
    assert int(token.rpartition("&se=")[2]) == 1_800_000_200
    assert f"sr={HUB}%2Fdevices%2F{DEVICE}&" in token


def test_it_does_not_show_itself(tpm):
    token = hub_token(tpm, HUB, DEVICE)
    assert "sig" not in f"{token} {token!r}"


def test_no_resource(tpm):
    with pytest.raises(CredentialsError, match="resource"):
        tpm_sas_token(tpm, "")


def test_a_tpm_without_key(device):
    with pytest.raises(TpmError, match="no key to sign with yet"):
        hub_token(device, HUB, DEVICE)


def test_the_margin_is_that_of_the_sdk():
    assert RENEWAL_MARGIN == SasTokenStage.DEFAULT_TOKEN_UPDATE_MARGIN


class Client:
    on_new_sastoken_required = None

    def __init__(self):
        self.tokens = []

    def update_sastoken(self, token):
        self.tokens.append(token)


class AsyncClient(Client):
    async def update_sastoken(self, token):
        self.tokens.append(token)


@pytest.fixture
def one_moment(monkeypatch):
    """Two tokens expire in the same second, however long a TPM takes to sign."""
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))


def test_the_client_gets_a_new_token_when_it_asks(tpm, one_moment):
    client = Client()
    renew_tokens(client, tpm, HUB, DEVICE, 500)
    client.on_new_sastoken_required()
    assert client.tokens == [hub_token(tpm, HUB, DEVICE, 500).reveal()]


def test_so_does_the_asynchronous_one(tpm, one_moment):
    client = AsyncClient()
    renew_tokens(client, tpm, HUB, DEVICE, 500)
    asyncio.run(client.on_new_sastoken_required())
    assert client.tokens == [hub_token(tpm, HUB, DEVICE, 500).reveal()]


def test_a_failure_of_the_tpm_reaches_the_sdk(tpm):
    client = Client()
    renew_tokens(client, tpm, HUB, DEVICE)
    tpm.close()
    with pytest.raises(TpmError, match="closed"):
        client.on_new_sastoken_required()
    assert client.tokens == []


def test_tokens_that_would_be_renewed_all_the_time(tpm):
    with pytest.raises(ValueError, match=r"seconds is 120.*120 seconds before"):
        renew_tokens(Client(), tpm, HUB, DEVICE, 120)


def test_the_sdk_takes_the_token(tpm):
    client = IoTHubDeviceClient.create_from_sastoken(hub_token(tpm, HUB, DEVICE).reveal())
    renew_tokens(client, tpm, HUB, DEVICE)
    client.shutdown()
