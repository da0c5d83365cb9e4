"""Enrollments, hubs, registrations, webhooks and deletions in random order, against a small model of the rules.

The sequences are those of fixed seeds. One that fails is made as short as possible and printed, to be pasted into
:func:`run`. ``DPS_MODEL_SEEDS=1000`` tries more of them.
"""

import os
import random
from dataclasses import dataclass, field

import pytest
from provisioning_parts import FakeHub, Provisioning

from dps_simulator.common.hub_links import HubLink
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.provisioning.registration.custom_allocation import failed_with_status

HOSTS = [f"hub-{number}.azure-devices.test" for number in (1, 2, 3)]
NAMES = ["a", "b", "c"]
GROUP = "group"
WEBHOOK = {"webhookUrl": "https://example.test/allocate", "apiVersion": "2021-10-01"}
POLICIES = {None: None, "migrate": (True, True), "reset": (True, False), "never": (False, False)}
SEEDS = int(os.environ.get("DPS_MODEL_SEEDS", "150"))
STEPS = 40


class PickyHub(FakeHub):
    """A hub that can be told to take no device."""

    refuses = False

    def provision_device(self, device_id, *arguments, **fields):
        if self.refuses:
            raise ServiceError(Hub.ARGUMENT_INVALID, "no")
        super().provision_device(device_id, *arguments, **fields)


def twin(label):
    return {"tags": {"label": label}, "properties": {"desired": {}}}


class FailedError(Exception):
    """The model expects a registration to fail with this code."""


@dataclass
class Registration:
    owner: str
    old_client: bool = False
    assignment: tuple | None = None
    shown: dict = field(default_factory=dict)
    waits: bool = False


class Model:
    """The documented rules, once more and without a store, an API or a hash function."""

    def __init__(self):
        self.links = dict.fromkeys(HOSTS, (1, True))
        self.policy = "hashed"
        self.refusing = set()
        self.enrollments = {}
        self.registrations = {}
        self.devices = {}
        self.hashed = {}

    def register(self, name, old_client):
        owner = name if name in self.enrollments else GROUP
        before = self.registrations.get(name)
        now = Registration(owner, old_client, before.assignment if before else None)
        self.registrations[name] = now
        enrollment = self.enrollments[owner]
        if enrollment["enabled"] and enrollment["policy"] == "custom":
            now.waits, now.shown = True, {"status": "assigning"}
        else:
            self.settle(name, None)

    def settle(self, name, answer):
        registration = self.registrations[name]
        registration.waits = False
        enrollment = self.enrollments[registration.owner]
        if not enrollment["enabled"]:
            registration.shown = {"status": "disabled"}
            return
        try:
            registration.shown = self.assign(name, registration, enrollment, answer)
        except FailedError as error:
            registration.shown = {"status": "failed", "errorCode": error.args[0]}

    def candidates(self, enrollment):
        if not self.links:
            raise FailedError(400208)
        found = [host for host in enrollment["hubs"] or self.links if host in self.links]
        if not found:
            raise FailedError(401001)
        return found

    def choose(self, name, enrollment):
        found = self.candidates(enrollment)
        policy = enrollment["policy"] or self.policy
        if policy != "static" or not enrollment["hubs"]:
            found = [host for host in found if self.links[host][1]]
        if not found:
            raise FailedError(400208)
        if policy == "static" or len(found) == 1:
            return found[0]
        # whatever the hash function is, it always says the same
        return self.hashed.get((name, frozenset((host, self.links[host][0]) for host in found)), tuple(found))

    def assign(self, name, registration, enrollment, answer):
        given = None
        if enrollment["policy"] == "custom":
            found = self.candidates(enrollment)
            host, given = answer
            if host not in found:
                raise FailedError(400207)
        policy = POLICIES[enrollment["reprovision"]]
        updates, migrates = policy or ((False, False) if registration.old_client else (True, True))
        before = registration.assignment
        if before and not updates:
            target, given = before, None
            if target[0] not in self.links:
                raise FailedError(401001)
        else:
            if enrollment["policy"] != "custom":
                host = self.choose(name, enrollment)
            target = (host, enrollment["device"] or name)
        if isinstance(target[0], tuple):
            return {"one of": target[0], "rest": (target[1], before, updates, migrates)}
        return self.move(registration, enrollment, before, target, updates, migrates, given)

    def move(self, registration, enrollment, before, target, updates, migrates, given):
        if target[0] in self.refusing:
            raise FailedError(400004)
        content = given or (self.devices.get(target) or enrollment["twin"])
        substatus = "initialAssignment"
        if before:
            substatus = "initialAssignment" if registration.old_client else "reprovisionedToInitialAssignment"
            if updates and (given or not migrates):
                content, substatus = given or enrollment["twin"], "deviceDataReset"
            elif updates and before != target:
                old = self.devices.get(before) if before[0] in self.links else None
                content = old or enrollment["twin"]
                substatus = "deviceDataMigrated" if old else "deviceDataReset"
        self.devices[target] = content
        if before and before != target and before[0] in self.links:
            self.devices.pop(before, None)
        registration.assignment = target
        return {"status": "assigned", "assignedHub": target[0], "deviceId": target[1], "substatus": substatus}

    def learn(self, name, host):
        """The service chose among several hubs by its hash: from now on the model knows what it says."""
        registration = self.registrations[name]
        expected = registration.shown
        if "one of" not in expected:
            return
        if host is None and self.refusing & set(expected["one of"]):
            registration.shown = {"status": "failed", "errorCode": 400004}
            return
        assert host in expected["one of"], f"{name} is in {host}, not in one of {expected['one of']}"
        device, before, updates, migrates = expected["rest"]
        weights = frozenset((candidate, self.links[candidate][0]) for candidate in expected["one of"])
        self.hashed[name, weights] = host
        enrollment = self.enrollments[registration.owner]
        registration.shown = self.move(registration, enrollment, before, (host, device), updates, migrates, None)

    def forget(self, owner):
        for name in [name for name, kept in self.registrations.items() if kept.owner == owner]:
            del self.registrations[name]


class Run:
    """One sequence, done to the service and to the model."""

    def __init__(self):
        self.parts = Provisioning(hubs=())
        self.real = {host: PickyHub(host) for host in HOSTS}
        self.links = self.parts.service.links
        for host in HOSTS:
            self.links.put(HubLink(host))
        self.relink()
        self.model = Model()

    def relink(self):
        linked = [link.host for link in self.links.all()]
        self.parts.hubs[:] = [self.real[host] for host in linked]

    def do(self, step):
        name, *arguments = step
        getattr(self, name)(*arguments)
        self.compare()

    # every step can be done at any time, so that a sequence stays one when steps are left out

    def enroll(self, owner, policy, hubs, reprovision, device, enabled, label):
        model = self.model
        if policy in (None, "static") and len(hubs) > 1:
            hubs = hubs[:1]
        if policy is None:
            hubs = []
        body = {
            "provisioningStatus": "enabled" if enabled else "disabled",
            "initialTwin": twin(label),
            "allocationPolicy": policy,
            "iotHubs": hubs,
            "customAllocationDefinition": WEBHOOK if policy == "custom" else None,
        }
        if POLICIES[reprovision]:
            body["reprovisionPolicy"] = dict(
                zip(("updateHubAssignment", "migrateDeviceData"), POLICIES[reprovision], strict=True)
            )
        match = "*" if owner in model.enrollments else None
        if owner == GROUP:
            device = None
        else:
            body["deviceId"] = device
        put = self.parts.enroll_group if owner == GROUP else self.parts.enroll
        if not set(hubs) <= set(model.links):
            with pytest.raises(ServiceError, match="linked to the provisioning service"):
                put(owner, match, **body)
            return
        put(owner, match, **body)
        model.enrollments[owner] = {
            "policy": policy,
            "hubs": hubs,
            "reprovision": reprovision,
            "device": device,
            "enabled": enabled,
            "twin": twin(label),
        }

    def disenroll(self, owner):
        book = self.parts.groups if owner == GROUP else self.parts.individuals
        if owner not in self.model.enrollments:
            with pytest.raises(ServiceError):
                book.delete(owner)
            return
        book.delete(owner)
        del self.model.enrollments[owner]
        self.model.forget(owner)

    def register(self, name, old_client):
        owner = name if name in self.model.enrollments else GROUP
        if owner not in self.model.enrollments:
            return
        book = self.parts.groups if owner == GROUP else self.parts.individuals
        version = "2018-04-01" if old_client else "2021-06-01"
        self.parts.register(name, book.get(owner), api_version=version)
        self.model.register(name, old_client)

    def answer(self, host, label):
        """The webhook answers for whoever waits longest; without a host, with an error."""
        waiting = self.parts.registrations.pending_allocations(1)
        assert bool(waiting) == any(kept.waits for kept in self.model.registrations.values())
        if not waiting:
            return
        name = waiting[0].registration
        given = twin(label) if label else None
        if self.parts.registrations.allocation_call(waiting[0]) is not None:
            answer = {"iotHubHostName": host, "initialTwin": given} if host else failed_with_status(500)
            self.parts.registrations.decide(waiting[0], answer)
        self.model.settle(name, (host, given))

    def delete_registration(self, name):
        if name not in self.model.registrations:
            with pytest.raises(ServiceError):
                self.parts.registrations.delete(name)
            return
        self.parts.registrations.delete(name)
        del self.model.registrations[name]

    def link(self, host, weight, apply):
        self.links.put(HubLink(host, apply, weight))
        self.relink()
        self.model.links[host] = (weight, apply)

    def unlink(self, host):
        self.links.remove(host)
        self.relink()
        self.model.links.pop(host, None)

    def refuse(self, host, refuses):
        self.real[host].refuses = refuses
        (self.model.refusing.add if refuses else self.model.refusing.discard)(host)

    def policy(self, policy):
        self.links.allocation_policy = self.model.policy = policy

    def grow(self, number, label):
        """Somebody changes the twin of a device in its hub."""
        known = sorted(self.model.devices)
        if known:
            host, device = known[number % len(known)]
            self.real[host].devices[device]["twin"] = self.model.devices[host, device] = twin(label)

    def remove(self, number):
        """Somebody deletes a device in its hub."""
        known = sorted(self.model.devices)
        if known:
            host, device = known[number % len(known)]
            del self.real[host].devices[device]
            del self.model.devices[host, device]

    def compare(self):
        for name, kept in self.model.registrations.items():
            state = self.parts.registrations.find(name)
            assert state is not None, f"{name} has no registration"
            self.model.learn(name, state.get("assignedHub"))
            keys = ("status", "assignedHub", "deviceId", "substatus", "errorCode")
            shown = {key: state[key] for key in keys if key in state}
            assert shown == kept.shown, f"{name}: {shown} instead of {kept.shown}"
        for name in set(NAMES) - set(self.model.registrations):
            assert self.parts.registrations.find(name) is None, f"{name} has a registration"
        real = {(host, name): device["twin"] for host, hub in self.real.items() for name, device in hub.devices.items()}
        assert real == self.model.devices
        waiting = {pending.registration for pending in self.parts.registrations.pending_allocations(10)}
        assert waiting == {name for name, kept in self.model.registrations.items() if kept.waits}


def made(seed):
    """The sequence of a seed."""
    dice = random.Random(seed)  # noqa: S311 - no secret

    def hubs():
        return dice.sample(HOSTS, dice.choice([0, 0, 1, 1, 2, 3]))

    labels = iter(range(1_000_000))
    makers = [
        (
            4,
            lambda: (
                "enroll",
                dice.choice([*NAMES, GROUP]),
                dice.choice([None, "hashed", "hashed", "static", "static", "geoLatency", "custom", "custom"]),
                hubs(),
                dice.choice(list(POLICIES)),
                dice.choice([None, None, None, "x", "y"]),
                dice.random() < 0.9,
                f"initial-{next(labels)}",
            ),
        ),
        (8, lambda: ("register", dice.choice(NAMES), dice.random() < 0.2)),
        (
            4,
            lambda: (
                "answer",
                dice.choice([*HOSTS, *HOSTS, "other.azure-devices.test", ""]),
                dice.choice(["", "", f"given-{next(labels)}"]),
            ),
        ),
        (1, lambda: ("disenroll", dice.choice([*NAMES, GROUP]))),
        (1, lambda: ("delete_registration", dice.choice(NAMES))),
        (2, lambda: ("link", dice.choice(HOSTS), dice.choice([1, 1, 5, 1_000]), dice.random() < 0.8)),
        (1, lambda: ("unlink", dice.choice(HOSTS))),
        (1, lambda: ("refuse", dice.choice(HOSTS), dice.random() < 0.4)),
        (1, lambda: ("policy", dice.choice(["hashed", "geoLatency", "static"]))),
        (2, lambda: ("grow", dice.randrange(10), f"grown-{next(labels)}")),
        (1, lambda: ("remove", dice.randrange(10))),
    ]
    weights = [weight for weight, _ in makers]
    return [dice.choices(makers, weights)[0][1]() for _ in range(STEPS)]


def run(steps):
    """Do a sequence; gives what was wrong, empty when nothing was."""
    this = Run()
    try:
        for step in steps:
            this.do(step)
    except Exception as error:
        return f"{step}: {type(error).__name__}: {error}"
    finally:
        this.parts.store.close()
    return ""


def shrunk(steps):
    """A sequence that fails, without every step that it does not need for that."""
    length = len(steps) // 2
    while length:
        start = 0
        while start < len(steps):
            shorter = steps[:start] + steps[start + length :]
            if run(shorter):
                steps = shorter
            else:
                start += length
        length //= 2
    return steps


@pytest.mark.parametrize("part", range(5))
def test_random_sequences_agree_with_the_model(part):
    for seed in range(part, SEEDS, 5):
        steps = made(seed)
        if run(steps):
            short = shrunk(steps)
            lines = "\n".join(f"    {step!r}," for step in short)
            pytest.fail(f"the sequence of seed {seed} disagrees:\n{run(short)}\n[\n{lines}\n]", pytrace=False)


def test_the_model_sees_what_is_wrong(monkeypatch):
    """A rule that is broken is found, and the sequence that shows it is short."""
    monkeypatch.setattr(PickyHub, "remove_device", lambda self, device_id: None)
    failing = next(steps for steps in map(made, range(SEEDS)) if run(steps))
    short = shrunk(failing)
    assert len(short) <= 8
    assert run(short)
