"""Many at once on the same thing: exactly one wins each round, nobody's change is lost, and the state fits together."""

import contextlib
import itertools
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient, exceptions
from patience import PATIENCE, wait_until
from sdk_clients import KEY, Https

pytestmark = pytest.mark.sdk

THREADS, ROUNDS = 6, 4
KEYS = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
AUTHENTICATION = {"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
TWIN, MODULE_TWIN = "/twins/device-1", "/twins/device-1/modules/module-1"
#: What is raced for: endpoint, method, path, body of a writer, what a reader finds of it.
THINGS = {
    "enrollment": (
        *("service", "PUT", "/enrollments/one"),
        lambda name: {"registrationId": "one", "attestation": KEYS, "deviceId": name},
        lambda found: found["deviceId"],
    ),
    "group": (
        *("service", "PUT", "/enrollmentGroups/all"),
        lambda name: {"enrollmentGroupId": "all", "attestation": KEYS, "initialTwin": {"tags": {"by": name}}},
        lambda found: found["initialTwin"]["tags"]["by"],
    ),
    "device": (
        *("hub", "PUT", "/devices/device-1"),
        lambda name: {"deviceId": "device-1", "authentication": AUTHENTICATION, "statusReason": name},
        lambda found: found["statusReason"],
    ),
    "twin": ("hub", "PATCH", TWIN, lambda name: {"tags": {"by": name}}, lambda found: found["tags"]["by"]),
    "whole twin": ("hub", "PUT", TWIN, lambda name: {"tags": {"by": name}}, lambda found: found["tags"]["by"]),
    "twin of a module": (
        *("hub", "PATCH", MODULE_TWIN),
        lambda name: {"properties": {"desired": {"by": name}}},
        lambda found: found["properties"]["desired"]["by"],
    ),
    "service": ("resource", "PATCH", "", lambda name: {"tags": {"by": name}}, lambda found: found["tags"]["by"]),
}


@pytest.fixture
def client(dps_simulator):
    client = Https(dps_simulator.running)
    with client.session:
        client.hub("PUT", "/devices/device-1", {"deviceId": "device-1", "authentication": AUTHENTICATION})
        client.hub("PUT", "/devices/device-1/modules/module-1", {"deviceId": "device-1", "moduleId": "module-1"})
        client.service("PUT", "/enrollments/one", {"registrationId": "one", "attestation": KEYS})
        client.service("PUT", "/enrollmentGroups/all", {"enrollmentGroupId": "all", "attestation": KEYS})
        yield client


@pytest.fixture
def at_once(dps_simulator):
    """Runs a function in several threads, each with connections of its own that are open already."""

    def run(function, threads=THREADS):
        start, failures = threading.Barrier(threads), []

        def work(number):
            client = Https(dps_simulator.running)
            try:
                with client.session:
                    function(client, number, lambda: start.wait(PATIENCE))
            except BaseException as error:
                failures.append(error)
                start.abort()

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
        assert failures == []

    return run


def tag(answer):
    return answer.headers.get("ETag") or answer.json()["etag"]


@pytest.mark.parametrize("thing", THINGS)
def test_of_those_who_saw_the_same_exactly_one_wins(client, at_once, thing):
    endpoint, method, path, body, look = THINGS[thing]
    rounds = [{} for _ in range(ROUNDS)]

    def race(client, number, together):
        for outcome in rounds:
            seen = client.send(endpoint, "GET", path)
            version = seen.json()["etag"]
            together()
            name = f"by-{number}"
            answer = client.send(endpoint, method, path, body(name), **{"If-Match": quoted(version)})
            outcome[name] = answer.status_code
            together()

    at_once(race)
    for outcome in rounds:
        assert sorted(status // 100 for status in outcome.values()) == [2] + [4] * (THREADS - 1)
        assert {status for status in outcome.values() if status >= 400} == {412}
    (winner,) = (name for name, status in rounds[-1].items() if status < 300)
    assert look(client.send(endpoint, "GET", path).json()) == winner


def quoted(version):
    return version if version.startswith('"') else f'"{version}"'


def test_whoever_reads_again_and_tries_again_loses_nothing(client, at_once):
    client.hub("PATCH", TWIN, {"tags": {"count": 0}})
    tries = []

    def count(client, number, together):
        together()
        for _ in range(ROUNDS):
            for attempt in itertools.count(1):
                twin = client.send("hub", "GET", TWIN).json()
                body, version = {"tags": {"count": twin["tags"]["count"] + 1}}, quoted(twin["etag"])
                if client.send("hub", "PATCH", TWIN, body, **{"If-Match": version}).ok:
                    tries.append(attempt)
                    break

    at_once(count)
    assert client.hub("GET", TWIN)["tags"]["count"] == THREADS * ROUNDS == len(tries)


def test_a_device_is_made_and_deleted_once(client, at_once):
    made, deleted = [[] for _ in range(ROUNDS)], [[] for _ in range(ROUNDS)]

    def race(client, number, together):
        for turn, (creations, deletions) in enumerate(zip(made, deleted, strict=True)):
            path = f"/devices/new-{turn}"
            together()
            creations.append(client.send("hub", "PUT", path, {"deviceId": f"new-{turn}"}).status_code)
            together()
            version = quoted(client.send("hub", "GET", path).json()["etag"])
            together()
            deletions.append(client.send("hub", "DELETE", path, **{"If-Match": version}).status_code)
            together()

    at_once(race)
    assert [sorted(each) for each in made] == [[200] + [409] * (THREADS - 1)] * ROUNDS
    assert [sorted(each) for each in deleted] == [[204] + [404] * (THREADS - 1)] * ROUNDS


def test_changes_of_different_things_are_all_kept(client, at_once):
    def change(client, number, together):
        together()
        for turn in range(ROUNDS):
            client.hub("PATCH", TWIN, {"tags": {f"by-{number}-{turn}": turn}})

    at_once(change)
    tags = client.hub("GET", TWIN)["tags"]
    assert tags == {f"by-{number}-{turn}": turn for number in range(THREADS) for turn in range(ROUNDS)}


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_no_device_stays_connected_that_may_not(client, at_once, sdk, how):
    for _ in range(ROUNDS):
        client.hub("PUT", "/devices/racer", {"deviceId": "racer", "authentication": AUTHENTICATION})
        options = sdk.device_options(connection_retry=False)
        device = IoTHubDeviceClient.create_from_symmetric_key(KEY, sdk.hub, "racer", **options)

        def race(client, number, together, device=device):
            together()
            if number == 0:
                with contextlib.suppress(exceptions.ClientError, exceptions.CredentialError):
                    device.connect()
            elif how == "deleted":
                client.hub("DELETE", "/devices/racer")
            else:
                body = {"deviceId": "racer", "authentication": AUTHENTICATION, "status": "disabled"}
                assert client.send("hub", "PUT", "/devices/racer", body, **{"If-Match": "*"}).ok

        try:
            at_once(race, threads=2)
            wait_until(lambda: not device.connected, "the end of the connection")  # noqa: B023 - called at once
            assert client.hub("GET", "/statistics/service")["connectedDeviceCount"] == 0
            if how == "disabled":
                client.hub("DELETE", "/devices/racer")
        finally:
            device.shutdown()


def test_no_registration_outlives_its_enrollment(client, at_once):
    for turn in range(ROUNDS):
        name = f"racer-{turn}"
        client.service("PUT", f"/enrollments/{name}", {"registrationId": name, "attestation": KEYS})
        statuses = []

        def race(client, number, together, name=name, statuses=statuses):
            together()
            if number == 0:
                client.service("DELETE", f"/enrollments/{name}")
            else:
                statuses.append(client.send_as_device("PUT", name, "register", {"registrationId": name}).status_code)

        at_once(race, threads=4)
        assert len(statuses) == 3
        assert set(statuses) <= {200, 202, 401}
        assert client.service("GET", f"/registrations/{name}") is None
