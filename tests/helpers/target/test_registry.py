import pytest
import requests

from helpers.credentials import ConnectionString, Secret, new_key
from helpers.problems import status_of
from helpers.recipes.cleanup import delete_device, device_exists
from helpers.recipes.symmetric_key import register_device
from helpers.target import registry as registries
from helpers.target.registry import Record, RegistryError, RestRegistry, twin_patch

pytestmark = pytest.mark.sdk


@pytest.fixture
def hub(dps):
    """A hub with one device, ``a``."""
    made = dps.service_client().enrollment.create_or_update(
        "a",
        {
            "registrationId": "a",
            "attestation": {"type": "symmetricKey"},
            "initialTwin": {"tags": {"room": "kitchen"}, "properties": {"desired": {"targetTemperature": 21}}},
        },
    )
    return register_device(dps, "a", Secret(made["attestation"]["symmetricKey"]["primaryKey"])).assigned_hub


@pytest.fixture(params=["official", "rest"])
def registry(request, dps, hub, monkeypatch):
    if request.param == "rest":
        monkeypatch.setattr(registries, "IoTHubRegistryManager", None)
        monkeypatch.setattr(registries, "Twin", None)
    elif not registries.official_available():
        pytest.skip("azure-iot-hub is not installed here")
    return dps.registry(hub)


def test_both_ways_give_the_same(registry):
    device = registry.get_device("a")
    assert (device.device_id, device.status, device.connection_state) == ("a", "enabled", "Disconnected")
    assert device.authentication.type == "sas"
    assert [each.device_id for each in registry.get_devices()] == ["a"]
    assert len(registry.get_devices(1)) == 1
    twin = registry.get_twin("a")
    assert twin.tags == {"room": "kitchen"}
    assert twin.properties.desired["targetTemperature"] == 21


def test_both_ways_change_a_twin(registry):
    changed = registry.update_twin("a", twin_patch(desired={"targetTemperature": 23}, tags={"room": None}))
    assert changed.properties.desired["targetTemperature"] == 23
    again = registry.get_twin("a")
    assert again.properties.desired["targetTemperature"] == 23
    assert not again.tags
    registry.update_twin("a", twin_patch(tags={"floor": 1}), again.etag)
    assert registry.get_twin("a").tags == {"floor": 1}
    assert registry.get_twin("a").properties.desired["targetTemperature"] == 23
    with pytest.raises(Exception, match=r".*") as problem:
        registry.update_twin("a", twin_patch(tags={"floor": 2}), "AAAAAAAAAAE=")
    assert status_of(problem.value) == 412


def test_both_ways_delete_a_device(dps, hub, registry):
    assert device_exists(dps, hub, "a")
    delete_device(dps, hub, "a")
    delete_device(dps, hub, "a")
    assert not device_exists(dps, hub, "a")
    with pytest.raises(Exception, match=r"not registered|404|Not Found") as problem:
        registry.get_device("a")
    assert status_of(problem.value) == 404


def test_another_trouble_than_not_found_is_not_hidden(dps, hub, monkeypatch):
    wrong = ConnectionString(hub, "iothubowner", new_key())
    monkeypatch.setitem(dps._hubs, hub, wrong)
    with pytest.raises(Exception, match=r"401|Unauthorized|Operation returned") as problem:
        device_exists(dps, hub, "a")
    assert status_of(problem.value) == 401


def test_the_rest_way_takes_the_official_class_of_a_patch(dps, hub):
    rest = RestRegistry(dps._connection(hub), **dps._way())
    assert rest.update_twin("a", twin_patch(desired={"x": 1})).properties.desired["x"] == 1
    assert repr(rest) == f"RestRegistry({hub})"
    with pytest.raises(RegistryError, match="Not Found") as problem:
        rest.get_twin("nobody")
    # handlers that were written for earlier versions read this
    assert problem.value.status == 404
    rest.close()


def test_without_a_proxy_the_machine_decides():
    rest = RestRegistry(ConnectionString("a.b", "p", new_key()))
    assert rest.protocol.config.proxies.use_env_settings
    assert rest.protocol.config.connection.verify is True
    rest.close()


def test_a_record_hides_what_it_holds():
    record = Record({"deviceId": "a", "authentication": {"symmetricKey": {"primaryKey": "secret"}}, "tags": {"x": 1}})
    assert record.device_id == "a"
    assert record.authentication.symmetric_key.primary_key == "secret"
    assert record.tags == {"x": 1}
    assert record.nothing_there is None
    assert repr(record) == "Record(authentication, deviceId, tags)"
    with pytest.raises(AttributeError):
        _ = record.__deepcopy__


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"Message": "ErrorCode:X;y"}', "ErrorCode:X;y"),
        (b"<html>", "Bad"),
        (b"[]", "Bad"),
        (b'{"message": "m"}', "m"),
    ],
)
def test_texts_of_refusals_are_read_in_every_form(content, says):
    answer = requests.Response()
    answer.status_code, answer.reason, answer._content = 400, "Bad", content
    assert registries.refusal_text(answer) == says
