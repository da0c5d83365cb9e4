"""A round of everything that the official package ``azure-iot-hub`` offers: done, or distinctly not supported.

The operations are listed from the classes themselves, so that none can be forgotten.
"""

import inspect

import pytest
from azure.iot import hub as azure_iot_hub
from azure.iot.hub.models import (
    AuthenticationMechanism,
    CloudToDeviceMethod,
    ExportImportDevice,
    QuerySpecification,
    Twin,
    TwinProperties,
)
from azure.iot.hub.protocol.models import Configuration
from msrest.exceptions import HttpOperationError
from sdk_clients import KEY, OTHER_KEY

pytestmark = pytest.mark.sdk

CONSTRUCTORS = {"from_connection_string", "from_token_credential"}
#: Not by REST: the SDK sends it by AMQP, on a port that cannot be chosen. Here a device gets messages by
#: ``POST /simulator/hubs/{host}/devices/{id}/messages``.
BY_AMQP = {"send_c2d_message"}
SHA1, SHA256 = "A" * 40, "B" * 64


def operations_of(client):
    return {name for name, _ in inspect.getmembers(client, callable) if not name.startswith("_")} - CONSTRUCTORS


@pytest.fixture
def registry(sdk):
    return sdk.registry()


def refused(status, function, *arguments):
    with pytest.raises(HttpOperationError) as caught:
        function(*arguments)
    assert caught.value.response.status_code == status
    return caught.value.response.json()["Message"]


def devices(registry):
    assert registry.create_device_with_sas("sas", KEY, OTHER_KEY, "enabled").authentication.type == "sas"
    assert registry.create_device_with_x509("x509", SHA1, SHA256, "enabled").authentication.type == "selfSigned"
    made = registry.create_device_with_certificate_authority("ca", "enabled", iot_edge=True)
    assert (made.authentication.type, made.capabilities.iot_edge) == ("certificateAuthority", True)
    etags = {device.device_id: device.etag for device in registry.get_devices()}
    updated = [
        registry.update_device_with_sas("sas", etags["sas"], OTHER_KEY, KEY, "disabled", status_reason="lost"),
        registry.update_device_with_x509(
            "x509", etags["x509"], SHA256, SHA1, "disabled", device_scope=made.device_scope
        ),
        registry.update_device_with_certificate_authority("ca", etags["ca"], "disabled"),
    ]
    assert {device.status for device in updated} == {"disabled"}
    assert updated[0].authentication.symmetric_key.primary_key == OTHER_KEY
    assert updated[1].authentication.x509_thumbprint.primary_thumbprint == SHA256
    assert updated[1].parent_scopes == [made.device_scope]
    assert registry.get_device("sas").status_reason == "lost"
    assert len(registry.get_devices(2)) == 2
    statistics = registry.get_device_registry_statistics()
    assert (statistics.total_device_count, statistics.enabled_device_count) == (3, 0)
    assert statistics.disabled_device_count == 3
    assert registry.get_service_statistics().connected_device_count == 0
    registry.delete_device("sas", updated[0].etag)
    assert "DeviceNotFound" in refused(404, registry.get_device, "sas")


def modules(registry):
    registry.create_device_with_sas("d", KEY, OTHER_KEY, "enabled")
    made = {
        "sas": registry.create_module_with_sas("d", "sas", "me", KEY, OTHER_KEY),
        "x509": registry.create_module_with_x509("d", "x509", "me", SHA1, SHA256),
        "ca": registry.create_module_with_certificate_authority("d", "ca", "me"),
    }
    assert [module.authentication.type for module in made.values()] == ["sas", "selfSigned", "certificateAuthority"]
    assert "ModuleAlreadyExistsOnDevice" in refused(409, registry.create_module_with_sas, "d", "sas", "me", KEY, KEY)
    stale = made["sas"].etag
    changed = [
        registry.update_module_with_sas("d", "sas", "you", stale, OTHER_KEY, KEY),
        registry.update_module_with_x509("d", "x509", "you", made["x509"].etag, SHA256, SHA1),
        registry.update_module_with_certificate_authority("d", "ca", "you", made["ca"].etag),
    ]
    assert {module.managed_by for module in changed} == {"you"}
    assert changed[0].authentication.symmetric_key.primary_key == OTHER_KEY
    refused(412, registry.delete_module, "d", "sas", stale)
    assert registry.get_module("d", "sas").etag == changed[0].etag
    assert [module.module_id for module in registry.get_modules("d")] == ["sas", "x509", "ca"]
    registry.delete_module("d", "x509", changed[1].etag)
    registry.delete_module("d", "ca")
    assert "ModuleNotFound" in refused(404, registry.get_module, "d", "ca")
    found = registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices.modules WHERE deviceId = 'd'"))
    assert [twin.module_id for twin in found.items] == ["sas"]
    registry.delete_device("d")
    assert "DeviceNotFound" in refused(404, registry.get_modules, "d")


def twins(registry):
    registry.create_device_with_sas("d", KEY, OTHER_KEY, "enabled")
    registry.create_module_with_sas("d", "m", "me", KEY, OTHER_KEY)
    patch = Twin(tags={"room": "lab"}, properties=TwinProperties(desired={"interval": 5}))
    for get, update, replace, who in (
        (registry.get_twin, registry.update_twin, registry.replace_twin, ("d",)),
        (registry.get_module_twin, registry.update_module_twin, registry.replace_module_twin, ("d", "m")),
    ):
        first = get(*who)
        second = update(*who, patch, first.etag)
        assert (second.version, second.properties.desired["$version"]) == (first.version + 1, 2)
        assert second.properties.desired["$metadata"]["interval"]["$lastUpdatedVersion"] == 2
        assert "PreconditionFailed" in refused(412, update, *who, patch, first.etag)
        third = replace(*who, Twin(tags={"floor": 1}), second.etag)
        assert (third.tags, "interval" in third.properties.desired) == ({"floor": 1}, False)
        assert "'a.b'" in refused(400, update, *who, Twin(tags={"room": {"a.b": 1}}))


def bulk(registry):
    def entry(**fields):
        return ExportImportDevice(authentication=AuthenticationMechanism(type="sas"), **fields)

    created = registry.bulk_create_or_update_devices([entry(id=f"d-{n}", import_mode="create") for n in range(100)])
    assert (created.is_successful, created.errors) == (True, [])
    mixed = registry.bulk_create_or_update_devices(
        [
            entry(id="d-1", import_mode="create"),
            entry(id="d-2", import_mode="update", status="disabled"),
            entry(id="d-3", import_mode="deleteIfMatchETag", e_tag="old"),
            ExportImportDevice(id="d-4", import_mode="delete"),
            ExportImportDevice(id="d-5", import_mode="updateTwin", tags={"room": "lab"}),
            entry(id="d-6", module_id="m", tags={"room": "lab"}),
        ]
    )
    assert not mixed.is_successful
    assert [(error.device_id, error.error_code) for error in mixed.errors] == [("d-1", "409001"), ("d-3", "412001")]
    assert registry.get_device("d-2").status == "disabled"
    assert registry.get_twin("d-5").tags == registry.get_module_twin("d-6", "m").tags == {"room": "lab"}
    refused(404, registry.get_device, "d-4")
    too_many = [entry(id=f"e-{number}") for number in range(101)]
    assert "TooManyDevices" in refused(413, registry.bulk_create_or_update_devices, too_many)
    twice = registry.bulk_create_or_update_devices([entry(id="f"), entry(id="f")])
    assert [(error.device_id, error.error_code) for error in twice.errors] == [("f", "400011")]


def methods(registry):
    registry.create_device_with_sas("d", KEY, OTHER_KEY, "enabled")
    registry.create_module_with_sas("d", "m", "me", KEY, OTHER_KEY)
    method = CloudToDeviceMethod(method_name="reboot", connect_timeout_in_seconds=0)
    assert "DeviceNotOnline" in refused(404, registry.invoke_device_method, "d", method)
    assert "DeviceNotOnline" in refused(404, registry.invoke_device_module_method, "d", "m", method)


#: What each part of the round calls.
ROUND = {
    devices: """create_device_with_sas create_device_with_x509 create_device_with_certificate_authority
        update_device_with_sas update_device_with_x509 update_device_with_certificate_authority get_device get_devices
        delete_device get_service_statistics get_device_registry_statistics""",
    modules: """create_module_with_sas create_module_with_x509 create_module_with_certificate_authority
        update_module_with_sas update_module_with_x509 update_module_with_certificate_authority get_module get_modules
        delete_module query_iot_hub""",
    twins: "get_twin update_twin replace_twin get_module_twin update_module_twin replace_module_twin",
    bulk: "bulk_create_or_update_devices",
    methods: "invoke_device_method invoke_device_module_method",
}


def test_no_operation_is_forgotten():
    done = [name for names in ROUND.values() for name in names.split()]
    assert sorted(done) == sorted(operations_of(azure_iot_hub.IoTHubRegistryManager) - BY_AMQP)


@pytest.mark.parametrize("part", ROUND, ids=lambda part: part.__name__)
def test_a_round_of(part, registry):
    called = set()

    class Watched:
        def __getattr__(self, name):
            called.add(name)
            return getattr(registry, name)

    part(Watched())
    assert set(ROUND[part].split()) <= called


OTHERS = [
    azure_iot_hub.IoTHubConfigurationManager,
    azure_iot_hub.IoTHubJobManager,
    azure_iot_hub.IoTHubHttpRuntimeManager,
    azure_iot_hub.DigitalTwinClient,
]


def test_no_class_is_forgotten():
    assert {cls.__name__ for cls in OTHERS} | {"IoTHubRegistryManager"} == set(azure_iot_hub.__all__)


def made(sdk, cls):
    client = cls.from_connection_string(sdk.running.hubs[0].connection_string)
    client.protocol.config.proxies.add("https", sdk.running.proxy_url)
    client.protocol.config.connection.verify = str(sdk.running.certificate_authority_file)
    client.protocol.config.retry_policy.retries = 0
    return client


def test_feedback_over_https(sdk):
    client = made(sdk, azure_iot_hub.IoTHubHttpRuntimeManager)
    assert client.receive_feedback_notification() is None
    for settle in (client.complete_feedback_notification, client.abandon_feedback_notification):
        assert "DeviceMessageLockLost" in refused(412, settle, "no-lock")


@pytest.mark.parametrize(
    ("cls", "operation"),
    [
        (cls, operation)
        for cls in OTHERS
        for operation in sorted(operations_of(cls))
        if not operation.endswith("_feedback_notification")
    ],
)
def test_what_the_other_classes_offer_says_that_it_is_not_supported(sdk, cls, operation):
    client = made(sdk, cls)
    function = getattr(client, operation)
    arguments = [
        Configuration(id="c") if name == "configuration" else "x"
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if operation in ("create_import_export_job", "create_scheduled_job", "test_configuration_queries"):
        arguments[-1] = {}
    if operation == "apply_configuration_on_edge_device":
        arguments[-1] = {}
    if operation == "update_digital_twin":
        arguments[-1] = []
    assert "not supported by this simulator" in refused(501, function, *arguments)
