from __future__ import annotations

import asyncio
import base64
import itertools
import json
from urllib.parse import quote_plus

import pytest
from x509_family import make

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.credentials.sas import sign
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.api.device_methods import MAX_METHOD_PAYLOAD
from dps_simulator.hub.api.device_topics import METHODS_FILTER
from dps_simulator.hub.api.service import UNSUPPORTED, HubServiceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe

HOST = "contoso-hub-1.azure-devices.test"
KEY = b"o" * 32
OWNER = "iothubowner"


class World:
    def __init__(self, policy_name=OWNER):
        self.clock = ManualClock()
        self.store = Store()
        self.trace = Trace(self.clock)
        self.policy_name = policy_name
        key = base64.b64encode(KEY).decode()
        self.hub = IotHub(host=HOST, storage=self.store, clock=self.clock)
        shared = {"clock": self.clock, "trace": self.trace, "policy_name": policy_name, "policy_key": key}
        self.devices = HubDeviceEndpoint(
            hub=self.hub, call_later=lambda *_: asyncio.get_running_loop().call_later(1e6, int), **shared
        )
        self.endpoint = HubServiceEndpoint(
            hub=self.hub, devices=self.devices, transaction=self.store.transaction, **shared
        )

    def token(self, resource=HOST, key=KEY, ttl=3600, policy=None):
        expiry = int(self.clock.now().timestamp()) + ttl
        return sign(quote_plus(resource), key, expiry, self.policy_name if policy is None else policy)

    async def ask(self, method, path, body=None, *, raw=None, peer_host=HOST, query=None, certificates=(), **headers):
        names = {"authorization": self.token(), **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        request = Request(
            method,
            path,
            {"api-version": "2021-04-12", **(query or {})},
            {name: value for name, value in names.items() if value is not None},
            data,
            Peer(peer_host, "https", certificates),
        )
        return await self.endpoint.handle(request)

    def __call__(self, *arguments, **named):
        return asyncio.run(self.ask(*arguments, **named))

    def reason(self):
        return self.trace.events()[-1].detail.get("reason")


@pytest.fixture
def world():
    world = World()
    yield world
    world.store.close()


def error_of(answer, status, code, name):
    assert answer.status == status
    assert answer.headers["x-ms-error-code"] == str(code)
    assert set(answer.body) == {"Message", "ExceptionMessage"}
    assert answer.body["Message"].startswith(f"ErrorCode:{name};")
    return answer.body["Message"]


# ---- devices


def test_devices_are_created_read_updated_listed_and_deleted(world):
    created = world("PUT", "/devices/a%3Ab", {"deviceId": "a:b", "status": "enabled"})
    assert created.status == 200
    assert created.headers["ETag"] == f'"{created.body["etag"]}"'
    assert world("GET", "/devices/a%3Ab").body == created.body
    assert world("GET", "/devices/").body == [created.body]
    updated = world("PUT", "/devices/a:b", {"status": "disabled"}, if_match=f'"{created.body["etag"]}"')
    assert updated.body["status"] == "disabled"
    assert world("GET", "/statistics/devices").body == {
        "totalDeviceCount": 1,
        "enabledDeviceCount": 0,
        "disabledDeviceCount": 1,
    }
    deleted = world("DELETE", "/devices/a:b", if_match='"*"')
    assert (deleted.status, deleted.body, deleted.encoded()) == (204, None, b"")
    error_of(world("GET", "/devices/a:b"), 404, 404001, "DeviceNotFound")


def test_conflicts_and_stale_etags(world):
    world("PUT", "/devices/d", {})
    assert error_of(world("PUT", "/devices/d", {}), 409, 409001, "DeviceAlreadyExists").endswith(";Conflict")
    error_of(world("PUT", "/devices/d", {}, if_match='"old"'), 412, 412001, "PreconditionFailed")
    error_of(world("DELETE", "/devices/d", if_match="old"), 412, 412001, "PreconditionFailed")
    error_of(world("PATCH", "/twins/d", {"tags": {}}, if_match='"old"'), 412, 412001, "PreconditionFailed")


def test_lists_are_cut(world):
    for number in range(3):
        world.hub.put_device(f"d{number}", {})
    assert len(world("GET", "/devices", query={"top": "2"}).body) == 2
    assert len(world("GET", "/devices", query={"top": "5000"}).body) == 3
    for top in ("0", "-1", "x", "1.5", "²"):
        assert repr(top) in error_of(world("GET", "/devices", query={"top": top}), 400, 400004, "ArgumentInvalid")


def test_wrong_bodies_are_named(world):
    error_of(world("PUT", "/devices/d", raw=b"{"), 400, 400006, "IotHubFormatError")
    error_of(world("PUT", "/devices/d", raw=b'{"status": NaN}'), 400, 400006, "IotHubFormatError")
    error_of(world("PUT", "/devices/d"), 400, 400004, "ArgumentInvalid")
    error_of(world("PUT", "/devices/a%20b", {}), 400, 400004, "ArgumentInvalid")
    error_of(world("PUT", "/devices/d", {}, content_type="text/plain"), 415, 415000, "UnsupportedMediaType")
    assert not world.hub.devices()


def test_keys_never_reach_the_trace(world):
    keys = {"primaryKey": base64.b64encode(b"p" * 32).decode(), "secondaryKey": base64.b64encode(b"q" * 32).decode()}
    world("PUT", "/devices/d", {"authentication": {"symmetricKey": keys}})
    world("PUT", "/devices/d/modules/m", {"authentication": {"symmetricKey": keys}})
    world("GET", "/devices/d/modules")
    world("POST", "/devices", [{"id": "e", "authentication": {"symmetricKey": keys}}])
    seen = str([event.to_json() for event in world.trace.events()])
    assert "create or update device" in seen
    assert not any(key in seen for key in keys.values())


def test_keys_in_the_wrong_place_are_not_repeated(world):
    keys = {"primaryKey": base64.b64encode(b"p" * 32).decode()}
    misplaced = [
        {"authentication": keys["primaryKey"]},
        {"authentication": {"symmetricKey": keys["primaryKey"]}},
        {"capabilities": keys["primaryKey"]},
    ]
    answer = world("POST", "/devices", [{"id": f"f{n}", **fields} for n, fields in enumerate(misplaced)])
    assert len(answer.body["errors"]) == 3
    assert keys["primaryKey"] not in str(answer.body)


# ---- twins


def test_twins_are_read_patched_and_replaced(world):
    world("PUT", "/devices/d", {})
    first = world("GET", "/twins/d")
    assert first.headers["ETag"] == '"AAAAAAAAAAE="'
    second = world("PATCH", "/twins/d", {"tags": {"a": 1}}, if_match=f'"{first.body["etag"]}"')
    assert (second.status, second.body["tags"]) == (200, {"a": 1})
    third = world("PUT", "/twins/d", {"tags": {"b": 1}}, if_match='"*"')
    assert third.body["tags"] == {"b": 1}
    error_of(world("PATCH", "/twins/d", {"tags": {"$a": 1}}), 400, 400004, "ArgumentInvalid")
    error_of(world("GET", "/twins/nobody"), 404, 404001, "DeviceNotFound")


def test_a_device_hears_of_a_change_after_it_is_stored(world):
    world("PUT", "/devices/d", {})
    told = []

    class Connection:
        def desired_changed(self, patch):
            told.append((patch, world.store._connection.in_transaction))

    world.hub.connections.opened("d", Connection())
    world("PATCH", "/twins/d", {"properties": {"desired": {"x": 1}}})
    assert told == [({"x": 1, "$version": 2}, False)]
    assert world("GET", "/statistics/service").body == {"connectedDeviceCount": 1}


# ---- modules


def test_modules_are_created_read_updated_listed_and_deleted(world):
    error_of(world("PUT", "/devices/d/modules/m", {}), 404, 404001, "DeviceNotFound")
    world("PUT", "/devices/d", {})
    created = world("PUT", "/devices/d/modules/%24m", {"moduleId": "$m", "deviceId": "d", "managedBy": "me"})
    assert created.status == 201
    assert created.headers["ETag"] == f'"{created.body["etag"]}"'
    assert world("GET", "/devices/d/modules/$m").body == created.body
    assert world("GET", "/devices/d/modules/").body == [created.body]
    error_of(world("PUT", "/devices/d/modules/$m", {}), 409, 409301, "ModuleAlreadyExistsOnDevice")
    error_of(world("PUT", "/devices/d/modules/$m", {}, if_match='"old"'), 412, 412001, "PreconditionFailed")
    changed = world("PUT", "/devices/d/modules/$m", {"managedBy": "you"}, if_match=f'"{created.body["etag"]}"')
    assert (changed.status, changed.body["managedBy"]) == (200, "you")
    found = world("POST", "/devices/query", {"query": "SELECT * FROM devices.modules WHERE moduleId = '$m'"})
    assert [(twin["deviceId"], twin["moduleId"]) for twin in found.body] == [("d", "$m")]
    deleted = world("DELETE", "/devices/d/modules/$m", if_match='"*"')
    assert (deleted.status, deleted.encoded()) == (204, b"")
    error_of(world("GET", "/devices/d/modules/$m"), 404, 404010, "ModuleNotFound")
    error_of(world("GET", "/devices/nobody/modules"), 404, 404001, "DeviceNotFound")


def test_twins_of_modules_are_read_patched_and_replaced(world):
    world("PUT", "/devices/d", {})
    world("PUT", "/devices/d/modules/m", {})
    path = "/twins/d/modules/m"
    first = world("GET", path)
    assert (first.body["moduleId"], first.headers["ETag"]) == ("m", '"AAAAAAAAAAE="')
    second = world("PATCH", path, {"tags": {"a": 1}}, if_match=first.headers["ETag"])
    assert (second.status, second.body["tags"]) == (200, {"a": 1})
    assert world("PUT", path, {"tags": {"b": 1}}, if_match='"*"').body["tags"] == {"b": 1}
    error_of(world("PATCH", path, {}, if_match="old"), 412, 412001, "PreconditionFailed")
    error_of(world("GET", "/twins/d/modules/n"), 404, 404010, "ModuleNotFound")
    error_of(world("GET", "/twins/e/modules/m"), 404, 404001, "DeviceNotFound")
    assert "tags" not in world("GET", "/twins/d").body


def test_a_path_cannot_reach_into_another_record(world):
    world("PUT", "/devices/d", {})
    world("PUT", "/devices/d/modules/m", {})
    for method, path in (
        ("GET", "/devices/d%2Fm"),
        ("DELETE", "/devices/d%2Fm"),
        ("GET", "/twins/d%2Fm"),
        ("PATCH", "/twins/d%2Fm"),
        ("GET", "/devices/d%2Fm/modules"),
        ("GET", "/devices/d/modules/m%2Fx"),
        ("GET", "/twins/d/modules/m%2Fx"),
        ("GET", "/twins/d%0Am"),
    ):
        error_of(world(method, path, {} if method == "PATCH" else None), 400, 400004, "ArgumentInvalid")
    assert world("GET", "/devices/d/modules/m").status == 200


# ---- many at once


def test_bulk_operations(world):
    done = world("POST", "/devices", [{"id": "a", "importMode": "create"}, {"id": "b", "status": "disabled"}])
    assert (done.status, done.body) == (200, {"isSuccessful": True, "errors": [], "warnings": []})
    partly = world("POST", "/devices/", [{"id": "a", "importMode": "create"}, {"id": "b", "importMode": "delete"}])
    assert (partly.status, partly.body["isSuccessful"]) == (400, False)
    assert partly.body["errors"] == [{"deviceId": "a", "errorCode": 409001, "errorStatus": "Conflict"}]
    assert [device["deviceId"] for device in world.hub.devices()] == ["a"]
    error_of(world("POST", "/devices", {}), 400, 400004, "ArgumentInvalid")
    error_of(world("POST", "/devices", [{"id": f"d{n}"} for n in range(101)]), 413, 413002, "TooManyDevices")


# ---- queries


def test_queries_are_paged(world):
    for number in range(3):
        world.hub.put_device(f"d{number}", {})
    body = {"query": "SELECT * FROM devices"}
    first = world("POST", "/devices/query", body, x_ms_max_item_count="2")
    assert [twin["deviceId"] for twin in first.body] == ["d0", "d1"]
    assert first.headers["x-ms-item-type"] == "Twin"
    token = first.headers["x-ms-continuation"]
    second = world("POST", "/devices/query", body, x_ms_max_item_count="2", x_ms_continuation=token)
    assert [twin["deviceId"] for twin in second.body] == ["d2"]
    assert "x-ms-continuation" not in second.headers
    counted = world("POST", "/devices/query", {"query": "SELECT COUNT() AS n FROM devices"}, x_ms_continuation="")
    assert (counted.body, counted.headers["x-ms-item-type"]) == ([{"n": 3}], "Raw")


def test_wrong_queries_are_refused(world):
    wrong = world("POST", "/devices/query", {"query": "SELECT * FORM devices"})
    assert "at character 10" in error_of(wrong, 400, 400004, "ArgumentInvalid")
    error_of(world("POST", "/devices/query", []), 400, 400004, "ArgumentInvalid")
    error_of(world("POST", "/devices/query", {}), 400, 400004, "ArgumentInvalid")
    unsupported = world("POST", "/devices/query", {"query": "SELECT * FROM devices.jobs"})
    assert "not supported by this simulator" in error_of(unsupported, 501, 501900, "NotSupported")
    size = world("POST", "/devices/query", {"query": "SELECT * FROM devices"}, x_ms_max_item_count="0")
    error_of(size, 400, 400004, "ArgumentInvalid")


# ---- direct methods


class Link:
    peer = Peer(HOST, "mqtt")

    def __init__(self):
        self.published = []
        self.answer = None

    def accept(self):
        pass

    def grant(self, packet_id, return_codes):
        pass

    def acknowledge(self, message):
        pass

    def publish(self, topic, payload, qos=0):
        self.published.append((topic, payload))
        request = topic.partition("$rid=")[2]
        answer = Publish(f"$iothub/methods/res/200/?$rid={request}", b'{"ok":true}', 0, None)
        asyncio.get_running_loop().call_soon(self.session.published, answer)

    def close(self):
        pass


def method(world, body, online=True):
    async def scenario():
        link = Link()
        if online:
            link.session = world.devices.application(link)
            password = world.token(f"{HOST}/devices/d")
            link.session.connected(Connect("MQTT", 4, True, 60, "d", f"{HOST}/d", password))
            link.session.subscribe(Subscribe(1, ((METHODS_FILTER, 0),)))
        answer = await world.ask("POST", "/twins/d/methods", body)
        if online:
            link.session.disconnected(True)
        return answer, link.published

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        ({"methodName": "reboot", "payload": {"a": "ü"}, "responseTimeoutInSeconds": 5}, b'{"a":"\\u00fc"}'),
        ({"methodName": "reboot", "payload": "", "connectTimeoutInSeconds": "0"}, b'""'),
        ({"methodName": "reboot", "payload": None}, b"null"),
        ({"methodName": "reboot"}, b""),
    ],
)
def test_methods_reach_the_device_and_come_back(world, body, payload):
    world.hub.put_device("d", {})
    answer, published = method(world, body)
    assert (answer.status, answer.body) == (200, {"status": 200, "payload": {"ok": True}})
    assert published == [("$iothub/methods/POST/reboot/?$rid=1", payload)]


def test_methods_of_devices_that_are_offline_or_unknown(world):
    answer, _ = method(world, {"methodName": "reboot"}, online=False)
    error_of(answer, 404, 404001, "DeviceNotFound")
    world.hub.put_device("d", {})
    answer, _ = method(world, {"methodName": "reboot"}, online=False)
    message = error_of(answer, 404, 404103, "DeviceNotOnline")
    assert message.endswith("Timed out waiting for device to connect.")
    assert "is not connected" in world.reason()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (None, "The body"),
        ([], "The body"),
        ({}, "methodName is None"),
        ({"methodName": ""}, "methodName is ''"),
        ({"methodName": "m" * 101}, "methodName is"),
        ({"methodName": "m", "responseTimeoutInSeconds": 4}, "responseTimeoutInSeconds is 4"),
        ({"methodName": "m", "responseTimeoutInSeconds": 301}, "from 5 to 300"),
        ({"methodName": "m", "responseTimeoutInSeconds": True}, "responseTimeoutInSeconds is True"),
        ({"methodName": "m", "connectTimeoutInSeconds": 301}, "from 0 to 300"),
        ({"methodName": "m", "connectTimeoutInSeconds": "²"}, "connectTimeoutInSeconds is '²'"),
        ({"methodName": "m", "connectTimeoutInSeconds": 1.5}, "connectTimeoutInSeconds is 1.5"),
        ({"methodName": "m", "payload": "x" * MAX_METHOD_PAYLOAD}, "at most 131072 are allowed"),
    ],
)
def test_wrong_invocations_are_named(world, body, what):
    world.hub.put_device("d", {})
    answer, _ = method(world, body, online=False)
    assert what in error_of(answer, 400, 400004, "ArgumentInvalid")


# ---- what is not supported


@pytest.mark.parametrize(
    ("http_method", "path"),
    [(name, path) for names, path, _ in UNSUPPORTED for name in names.split()],
)
def test_known_routes_that_are_not_supported_say_so(world, http_method, path):
    answer = world(http_method, path.replace("{", "").replace("}", ""), raw=b"x")
    assert "not supported by this simulator" in error_of(answer, 501, 501900, "NotSupported")


def test_unknown_routes_methods_and_versions(world):
    error_of(world("GET", "/nowhere"), 404, 404900, "RouteNotFound")
    assert "DELETE, GET, PUT" in error_of(world("PATCH", "/devices/d"), 405, 405000, "MethodNotAllowed")
    error_of(world("GET", "/devices", query={"api-version": ""}), 400, 400004, "ArgumentInvalid")
    for version in ("2016-11-14", "2018-05-01", "x"):
        answer = world("GET", "/devices", query={"api-version": version})
        assert version in error_of(answer, 400, 400900, "ApiVersionNotSupported")
    for version in ("2018-06-30", "2020-09-30", "2021-04-12", "2024-03-31", "2020-05-31-preview", "2017-11-08-preview"):
        assert world("GET", "/devices", query={"api-version": version}).status == 200


# ---- access


@pytest.mark.parametrize(
    ("resource", "peer_host"),
    [
        (HOST, HOST),
        (f"{HOST}:8443", HOST),
        (f"https://{HOST}/", HOST),
        (HOST.upper(), HOST),
        (f"{HOST}/devices", HOST),
        (f"{HOST}/devices/d", HOST),
        ("localhost:18443", "localhost"),
    ],
)
def test_tokens_that_are_accepted(world, resource, peer_host):
    world.hub.put_device("d", {})
    token = world.token(resource)
    assert world("GET", "/devices/d", authorization=token, peer_host=peer_host).status == 200


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"resource": "other.test"}, "for the host 'other.test'"),
        ({"resource": "localhost"}, "for the host 'localhost'"),
        ({"resource": f"{HOST}/devices/D"}, "does not contain"),
        ({"resource": f"{HOST}/twins"}, "does not contain"),
        ({"resource": f"{HOST}/devices/d/x"}, "does not contain"),
        ({"key": b"w" * 32}, "not signed with the key"),
        ({"policy": "service"}, "no shared access policy 'service'"),
        ({"policy": ""}, "no shared access policy ''"),
        ({"ttl": -5}, "expired 5 s ago"),
    ],
)
def test_tokens_that_are_refused(world, token, reason):
    world.hub.put_device("d", {})
    answer = world("GET", "/devices/d", authorization=world.token(**token))
    expired = "ttl" in token
    name = "IotHubUnauthorized" if expired else "IotHubUnauthorizedAccess"
    message = error_of(answer, 401, 401003 if expired else 401002, name)
    assert reason in world.reason()
    assert reason not in message


@pytest.mark.parametrize(("header", "reason"), [(None, "no Authorization"), ("", "no Auth"), ("Bearer x", "malformed")])
def test_requests_without_a_token_are_refused(world, header, reason):
    error_of(world("GET", "/devices", authorization=header), 401, 401002, "IotHubUnauthorizedAccess")
    assert reason in world.reason()


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("iothubowner", {"read", "write", "twin"}),
        ("my own", {"read", "write", "twin"}),
        ("service", {"twin"}),
        ("registryRead", {"read"}),
        ("registryReadWrite", {"read", "write"}),
        ("device", set()),
    ],
)
def test_a_policy_allows_what_its_rights_say(policy, allowed):
    world = World(policy)
    world.hub.put_device("d", {})
    asked = {"read": ("GET", "/devices/d"), "write": ("DELETE", "/devices/d"), "twin": ("GET", "/twins/d")}
    for right in ("read", "twin", "write"):
        assert (world(*asked[right]).status < 400) == (right in allowed)
        assert right in allowed or "lacks the right" in world.reason()
    world.store.close()


def test_a_method_name_that_cannot_stand_in_a_topic_is_refused(world):
    world("PUT", "/devices/d", {})
    answer = world("POST", "/twins/d/methods", raw=b'{"methodName": "\\ud800", "connectTimeoutInSeconds": 0}')
    error_of(answer, 400, 400006, "IotHubFormatError")


def test_queries_let_everybody_else_have_a_turn(world):
    """One step of one query, then the others, however many queries there are."""
    with world.hub.transaction():
        for number in range(60):
            world.hub.put_device(f"d{number}", {})
    long = {"query": f"SELECT COUNT() AS n FROM devices WHERE {'+'.join(['1'] * 2_000)} > 0"}  # noqa: S608 - no SQL
    turns = []
    stepped = world.hub.query

    def watched(*arguments, **named):
        steps = stepped(*arguments, **named)
        while True:
            turns.append("query")
            try:
                next(steps)
            except StopIteration as done:
                return done.value
            yield

    world.hub.query = watched

    async def ask():
        queries = [asyncio.ensure_future(world.ask("POST", "/devices/query", long)) for _ in range(3)]
        while not all(query.done() for query in queries):
            turns.append("somebody else")
            await asyncio.sleep(0)
        return [query.result() for query in queries]

    assert [answer.body for answer in asyncio.run(ask())] == [[{"n": 60}]] * 3
    assert turns.count("query") > 30
    # at least one turn for others after each step
    assert not any(pair == ("query", "query") for pair in itertools.pairwise(turns))
    # and a query does not wait for anything else: then others would have had thousands
    in_a_row = [len(list(same)) for who, same in itertools.groupby(turns) if who == "somebody else"]
    assert max(in_a_row) < 50


# ---- what a device may do with its own modules

DEVICE_KEY, OTHER_KEY = b"d" * 32, b"x" * 32


def device_token(world, resource=f"{HOST}/devices/d", key=DEVICE_KEY, ttl=3600):
    return sign(quote_plus(resource), key, int(world.clock.now().timestamp()) + ttl)


@pytest.fixture
def device(world):
    keys = {"primaryKey": base64.b64encode(DEVICE_KEY).decode()}
    world.hub.put_device("d", {"authentication": {"symmetricKey": keys}})
    return lambda method, path, body=None, **named: world(
        method, path, body, **{"authorization": device_token(world), **named}
    )


def test_a_device_manages_its_own_modules_with_its_own_token(world, device):
    made = device("PUT", "/devices/d/modules/m", {"moduleId": "m"})
    assert made.status == 201
    assert device("GET", "/devices/d/modules/m").body == made.body
    assert device("PUT", "/devices/d/modules/m", {"managedBy": "me"}, if_match="*").body["managedBy"] == "me"
    assert [each["moduleId"] for each in device("GET", "/Devices/d/Modules/").body] == ["m"]
    assert device("DELETE", "/devices/d/modules/m", if_match="*").status == 204


@pytest.mark.parametrize(
    ("path", "token", "reason"),
    [
        ("/devices/e/modules/m", {}, "not registered"),
        ("/devices/other/modules", {}, "the token is for"),
        ("/devices/d/modules", {"key": OTHER_KEY}, "signed with neither key"),
        ("/devices/d/modules", {"ttl": -1}, "expired"),
        ("/devices/d/modules", {"resource": f"{HOST}/devices/d/modules/m"}, "which does not contain"),
        ("/devices/d/modules", {"resource": HOST}, "a device signs for"),
        ("/devices/d", {}, "there is no shared access policy"),
        ("/devices", {}, "which does not contain"),
        ("/twins/d/modules/m", {}, "which does not contain"),
    ],
)
def test_a_device_may_do_nothing_else(world, device, path, token, reason):
    world.hub.put_device("other", {})
    assert world("GET", path, authorization=device_token(world, **token)).status == 401
    assert reason in world.reason()


def test_a_disabled_device_manages_nothing(world, device):
    world.hub.put_device("d", {"status": "disabled"}, "*")
    assert device("GET", "/devices/d/modules").status == 401
    assert world.reason() == "the device 'd' is disabled"


def test_a_device_with_a_certificate_manages_its_modules_as_well(world):
    own = make("d")
    thumbprint = {"primaryThumbprint": own.parsed.sha256_thumbprint}
    world.hub.put_device("d", {"authentication": {"type": "selfSigned", "x509Thumbprint": thumbprint}})

    def ask(*certificates):
        return world("GET", "/devices/d/modules", authorization=None, certificates=certificates).status

    assert (ask(own.der), ask(make("d", key_name="another").der), ask()) == (200, 401, 401)


# ---- new keys


def test_keys_are_regenerated_for_devices_and_modules(world):
    world("PUT", "/devices/d", {})
    world("PUT", "/devices/d/modules/m", {})
    world("PUT", "/devices/ca", {"authentication": {"type": "certificateAuthority"}})
    before = world.hub.device("d")["authentication"]["symmetricKey"]
    devices = [{"id": "d"}, {"id": "d", "moduleId": "m"}, {"id": "ca"}, {"id": "nobody"}, {"id": "a b"}]
    answer = world("POST", "/devices/keys/regenerate", {"policyKey": "secondaryKey", "devices": devices})
    assert (answer.status, answer.body["policyKey"]) == (200, "secondaryKey")
    first, second = answer.body["rotatedKeys"]
    now = world.hub.device("d")["authentication"]["symmetricKey"]
    assert first == {"id": "d", **now}
    assert (now["primaryKey"] == before["primaryKey"], now["secondaryKey"] == before["secondaryKey"]) == (True, False)
    assert second == {"id": "d", "moduleId": "m", **world.hub.device("d/m")["authentication"]["symmetricKey"]}
    told = [(each["id"], each["errorCode"]) for each in answer.body["errors"]]
    assert told == [("ca", 400004), ("nobody", 404001), ("a b", 400004)]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ([], 400, "must be a JSON object"),
        ({"devices": []}, 400, "policyKey is None"),
        ({"policyKey": "swap", "devices": []}, 400, "policyKey is 'swap'; it must be 'primaryKey' or 'sec"),
        ({"policyKey": "PrimaryKey"}, 400, "devices is None"),
        ({"policyKey": "primaryKey", "devices": ["d"]}, 400, "devices is an array"),
        ({"policyKey": "primaryKey", "devices": [{"id": "d"}] * 101}, 413, "101 entries"),
    ],
)
def test_wrong_requests_for_new_keys(world, body, status, text):
    answer = world("POST", "/devices/keys/regenerate", body)
    assert (answer.status, text in answer.body["Message"]) == (status, True), answer.body
