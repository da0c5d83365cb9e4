"""What both ways to a hub's registry make of a hub that fails: equally many attempts, equal pauses, equal errors."""

import re
import types

import pytest
import urllib3.util.retry

from helpers import faults
from helpers.credentials import ConnectionString, Secret, new_key
from helpers.diagnosis import explain
from helpers.problems import status_of
from helpers.recipes.symmetric_key import register_device
from helpers.target import registry as registries
from helpers.target.registry import open_official, twin_patch

DONE = ("done",)
KEY = new_key().reveal()

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.skipif(not registries.official_available(), reason="azure-iot-hub is not installed here"),
]

CALLS = {
    "get_device": lambda registry: registry.get_device("a"),
    "get_devices": lambda registry: registry.get_devices(),
    "get_twin": lambda registry: registry.get_twin("a"),
    "update_twin": lambda registry: registry.update_twin("a", twin_patch(tags={"x": 1})),
    "delete_device": lambda registry: registry.delete_device("a"),
}
#: Each fault, the longest pauses that it leads to, and those of update_twin: urllib3 repeats a PATCH only when it was
#: not sent, and does not understand any more what msrest tells it about that.
FAULTS = {
    "not available": (faults.unavailable, {}, [1.6, 3.2], []),
    "not available for some seconds": (faults.unavailable, {"retry_after": 4}, [4, 4, 4], []),
    "too much": (faults.throttle, {"retry_after": 7}, [7, 7, 7], []),
    "cut": (faults.cut, {}, [1.6, 3.2], [1.6, 3.2]),
}


@pytest.fixture
def pauses(monkeypatch):
    """What urllib3 waits between attempts, without the waiting."""
    waited = []
    clock = types.SimpleNamespace(time=urllib3.util.retry.time.time, sleep=waited.append)
    monkeypatch.setattr(urllib3.util.retry, "time", clock)
    return waited


@pytest.fixture
def hub(dps):
    """A hub with one device, ``a``."""
    enrollment = {"registrationId": "a", "attestation": {"type": "symmetricKey"}}
    made = dps.service_client().enrollment.create_or_update("a", enrollment)
    return register_device(dps, "a", Secret(made["attestation"]["symmetricKey"]["primaryKey"])).assigned_hub


@pytest.fixture
def both(dps, hub):
    """Both ways to the registry of a hub, for a connection or for the right one."""
    opened = []

    def make(connection=None):
        for way in (open_official, registries.RestRegistry):
            opened.append(way(connection or dps._connection(hub), **dps._way()))
        return opened[-2:]

    yield make
    for registry in opened:
        registries.close_registry(registry)


def outcome(call, registry):
    """What comes of a call, as somebody sees it who reads the error or lets it be explained."""
    try:
        call(registry)
    except Exception as problem:
        chain, current = [], problem
        while current is not None:
            chain.append(f"{type(current).__module__}.{type(current).__name__}: {current}")
            current = current.__cause__ or current.__context__
        told = (status_of(problem), *chain, str(explain(problem)))
        return tuple(re.sub(r"0x[0-9a-f]+", "0x", str(each)) for each in told)
    return DONE


@pytest.mark.parametrize("count", [3, None], ids=["three times", "for long"])
@pytest.mark.parametrize("fault", FAULTS)
def test_equal_attempts_pauses_and_errors(dps, hub, both, pauses, fault, count):
    make, options, waits, waits_of_patch = FAULTS[fault]
    official, rest = both()
    seen = {}
    for name, call in CALLS.items():
        for registry in (official, rest):
            if name == "delete_device" and registry is rest and seen[name, official][0] == DONE:
                official.create_device_with_sas("a", KEY, KEY, "enabled")
            pauses.clear()
            with make(dps, hub, count=count, **options) as struck:
                came = outcome(call, registry)
            seen[name, registry] = (came, struck.struck, list(pauses))
        assert seen[name, rest] == seen[name, official]
        came, attempts, waited = seen[name, rest]
        assert waited == (waits_of_patch if name == "update_twin" else waits), name
        # before the first repetition there is no pause, unless the hub asks for one
        most = 4 if waited else 1
        assert attempts == min(count or most, most), name
        assert (came == DONE) == (count is not None and count < most), name


@pytest.mark.parametrize(
    "call",
    [
        lambda registry: registry.get_device("nobody"),
        lambda registry: registry.get_twin("no/body?#"),
        lambda registry: registry.delete_device("nobody"),
        lambda registry: registry.update_twin("nobody", twin_patch(tags={"x": 1})),
        lambda registry: registry.update_twin("a", twin_patch(tags={"x": 1}), "AAAAAAAAAP8="),
        lambda registry: registry.update_twin("a", twin_patch(tags={"x.y": 1})),
        lambda registry: registry.delete_device("a", "AAAAAAAAAP8="),
        lambda registry: registry.get_device(None),
        lambda registry: registry.get_devices("many"),
    ],
    ids=range(9),
)
def test_equal_refusals(both, pauses, call):
    official, rest = (outcome(call, registry) for registry in both())
    assert rest == official != DONE
    assert pauses == []


def test_equal_refusals_of_a_wrong_key(hub, both):
    wrong = both(ConnectionString(hub, "iothubowner", new_key()))
    official, rest = (outcome(lambda registry: registry.get_device("a"), registry) for registry in wrong)
    assert rest == official
    assert official[0] == "401"
