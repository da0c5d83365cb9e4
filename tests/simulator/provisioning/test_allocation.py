from collections import Counter
from dataclasses import replace

import pytest

from dps_simulator.common.hub_links import SERVICE_POLICIES, HubLink
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.fields import ALLOCATION_POLICIES
from dps_simulator.provisioning.registration.allocation import CUSTOM, POLICIES, allocate, allowed

HOSTS = [f"hub-{number}.azure-devices.test" for number in range(4)]
HUBS = [HubLink(host) for host in HOSTS]
NAMES = [f"device-{number}" for number in range(1_000)]


def hashed(links, names=NAMES, policy="hashed", chosen=()):
    return {name: allocate(policy, name, chosen, links) for name in names}


def test_every_policy_of_the_api_has_a_rule():
    assert {*POLICIES, CUSTOM} == set(ALLOCATION_POLICIES)
    assert set(POLICIES) == set(SERVICE_POLICIES)


@pytest.mark.parametrize("policy", ["hashed", "geoLatency"])
def test_hashing_is_stable_ignores_case_and_spreads(policy):
    chosen = hashed(HUBS, policy=policy)
    for name, host in chosen.items():
        assert allocate(policy, name.upper(), [], HUBS[::-1]) == host
    # 1000 devices on four hubs: 250 each, give or take four standard deviations
    assert all(195 <= count <= 305 for count in Counter(chosen.values()).values())
    assert len(set(chosen.values())) == 4


def test_weights_are_shares():
    weights = [1, 2, 3, 4]
    links = [replace(link, allocation_weight=weight) for link, weight in zip(HUBS, weights, strict=True)]
    count = Counter(hashed(links).values())
    for host, weight in zip(HOSTS, weights, strict=True):
        share = weight / 10
        assert abs(count[host] - 1_000 * share) < 4 * (1_000 * share * (1 - share)) ** 0.5, count


def test_the_extremes_of_weights():
    links = [HUBS[0], replace(HUBS[1], allocation_weight=1_000)]
    assert Counter(hashed(links).values())[HOSTS[1]] > 985
    # what all have in common does not matter
    heavy = [replace(link, allocation_weight=1_000) for link in HUBS]
    assert hashed(heavy) == hashed(HUBS)


def test_only_the_moved_share_moves():
    before = hashed(HUBS)
    without = hashed(HUBS[:-1])
    assert {name for name in NAMES if before[name] != without[name]} == {
        name for name in NAMES if before[name] == HOSTS[3]
    }
    heavier = hashed([*HUBS[:3], replace(HUBS[3], allocation_weight=2)])
    moved = [name for name in NAMES if before[name] != heavier[name]]
    assert {heavier[name] for name in moved} == {HOSTS[3]}
    # from a quarter to two fifths
    assert 100 < len(moved) < 200


def test_the_nearest_hub_wins_and_equals_are_hashed():
    far, near, equal, unknown = (
        replace(HUBS[0], latency=40.0),
        replace(HUBS[1], latency=7),
        replace(HUBS[2], latency=7.0),
        HUBS[3],
    )
    assert set(hashed([far, near, unknown], policy="geoLatency").values()) == {HOSTS[1]}
    assert hashed([far, near, equal, unknown], policy="geoLatency") == hashed([near, equal])
    # the weight counts among equals only
    heavy = replace(far, allocation_weight=1_000)
    assert set(hashed([heavy, near], policy="geoLatency").values()) == {HOSTS[1]}
    assert set(hashed([replace(near, latency=0), far], policy="geoLatency").values()) == {HOSTS[1]}
    assert hashed(HUBS, policy="geoLatency") == hashed(HUBS)


def test_static_takes_the_chosen_hub_else_the_first():
    assert allocate("static", "d", [HOSTS[2].upper()], HUBS) == HOSTS[2]
    assert allocate("static", "d", [], HUBS) == HOSTS[0]


def test_only_chosen_hubs_are_candidates():
    assert set(hashed(HUBS, chosen=HOSTS[1:3]).values()) == set(HOSTS[1:3])
    assert allocate("hashed", "d", ["gone.azure-devices.test", HOSTS[1]], HUBS) == HOSTS[1]
    assert allowed([HOSTS[3], HOSTS[1].upper()], HUBS) == [HUBS[3], HUBS[1]]


def test_a_hub_without_the_policy_is_passed_over():
    links = [replace(HUBS[0], apply_allocation_policy=False, latency=1), *HUBS[1:]]
    for policy in ("hashed", "geoLatency"):
        assert HOSTS[0] not in hashed(links, policy=policy).values()
        assert set(hashed(links, policy=policy, chosen=HOSTS[:2]).values()) == {HOSTS[1]}
    assert allocate("static", "d", [], links) == HOSTS[1]
    assert allocate("static", "d", [HOSTS[0]], links) == HOSTS[0]


@pytest.mark.parametrize(
    ("policy", "chosen", "linked", "kind"),
    [
        ("hashed", [], [], Dps.NO_HUB),
        ("static", [HOSTS[0]], [], Dps.NO_HUB),
        ("static", ["gone.azure-devices.test"], HUBS, Dps.HUB_NOT_FOUND),
        ("hashed", ["gone.azure-devices.test"], HUBS, Dps.HUB_NOT_FOUND),
        ("hashed", [], [replace(HUBS[0], apply_allocation_policy=False)], Dps.NO_HUB),
        ("geoLatency", [HOSTS[0]], [replace(HUBS[0], apply_allocation_policy=False), HUBS[1]], Dps.NO_HUB),
    ],
)
def test_no_hub_can_be_chosen(policy, chosen, linked, kind):
    with pytest.raises(ServiceError) as error:
        allocate(policy, "d", chosen, linked)
    assert error.value.kind is kind


def test_the_codes_are_those_of_the_service():
    assert (Dps.NO_HUB.code, Dps.HUB_NOT_FOUND.code, Dps.HUB_NOT_FOUND.message) == (400208, 401001, "iothub not found")
