from collections import Counter

import pytest

from helpers.simulator.domain.allocation import POLICIES, allocate
from helpers.simulator.domain.enrollment_fields import ALLOCATION_POLICIES
from helpers.simulator.errors import Dps, ServiceError

HUBS = [f"hub-{number}.azure-devices.test" for number in range(4)]


def test_every_policy_of_the_api_has_a_rule():
    assert set(POLICIES) == set(ALLOCATION_POLICIES)


@pytest.mark.parametrize("policy", [None, "hashed", "geoLatency"])
def test_hashing_is_stable_ignores_case_and_spreads(policy):
    chosen = {f"device-{number}": allocate(policy, f"device-{number}", [], HUBS) for number in range(400)}
    assert chosen == {name: allocate(policy, name.upper(), [], list(reversed(HUBS))) for name in chosen}
    assert all(count > 60 for count in Counter(chosen.values()).values())
    assert len(set(chosen.values())) == 4


def test_only_devices_of_a_removed_hub_move():
    for number in range(100):
        before = allocate("hashed", f"d-{number}", [], HUBS)
        after = allocate("hashed", f"d-{number}", [], HUBS[:-1])
        assert before in (after, HUBS[-1])


def test_static_takes_the_chosen_hub_else_the_first():
    assert allocate("static", "d", [HUBS[2].upper()], HUBS) == HUBS[2]
    assert allocate("static", "d", [], HUBS) == HUBS[0]


def test_only_chosen_hubs_are_candidates():
    assert {allocate("hashed", f"d-{n}", HUBS[1:3], HUBS) for n in range(50)} == set(HUBS[1:3])
    assert allocate("hashed", "d", ["gone.azure-devices.test", HUBS[1]], HUBS) == HUBS[1]


@pytest.mark.parametrize(
    ("policy", "chosen", "linked", "kind"),
    [
        ("hashed", [], [], Dps.NO_HUB),
        ("static", ["gone.azure-devices.test"], HUBS, Dps.HUB_NOT_FOUND),
        ("custom", [], HUBS, Dps.NOT_SUPPORTED),
    ],
)
def test_no_hub_can_be_chosen(policy, chosen, linked, kind):
    with pytest.raises(ServiceError) as error:
        allocate(policy, "d", chosen, linked)
    assert error.value.kind is kind
