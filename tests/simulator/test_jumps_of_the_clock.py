"""A clock that is set back or forward, and a process that was stopped meanwhile: nobody waits for long."""

import datetime
import functools
import socket
import ssl
import time
from types import SimpleNamespace

import pytest
from patience import PATIENCE
from provisioning_parts import Provisioning

from helpers.simulator import ManualClock, Simulator, launcher, runtime
from helpers.simulator.domain.connections import Connections
from helpers.simulator.domain.faults import Fault
from helpers.simulator.domain.registration_states import Status
from helpers.simulator.domain.service_faults import ServiceFault, ServiceFaults
from helpers.simulator.domain.throttling import Limits, Throttle
from helpers.simulator.errors import ServiceError

HOUR, YEAR = 3_600, 366 * 86_400
JUMPS = pytest.mark.parametrize("jump", [-YEAR, -HOUR, -1, HOUR, YEAR])


@JUMPS
def test_a_registration_that_has_begun_ends(jump):
    parts = Provisioning("azure")
    parts.enroll()
    status = parts.register()
    assert status.status is Status.ASSIGNING
    parts.clock.advance(jump)
    parts.clock.advance(0.3)
    assert parts.registrations.poll("device-1", status.operation_id).status is Status.ASSIGNED
    parts.clock.advance(-jump)
    again = parts.register()
    parts.clock.advance(0.3)
    assert parts.registrations.poll("device-1", again.operation_id).status is Status.ASSIGNED
    parts.store.close()


@JUMPS
def test_a_limit_lets_through_what_it_promises(jump):
    clock = ManualClock()
    throttle = Throttle(clock, Limits.parse("registrations_per_minute=2"))
    throttle.take("registrations_per_minute")
    throttle.take("registrations_per_minute")
    clock.advance(jump)
    passed, waits = 0, []
    for _ in range(4):
        try:
            throttle.take("registrations_per_minute")
        except ServiceError as refusal:
            waits.append(refusal.retry_after)
            clock.advance(refusal.retry_after)
        else:
            passed += 1
    assert passed >= 2
    assert all(wait <= 60 for wait in waits)


@JUMPS
def test_a_fault_lasts_no_longer_than_it_was_to_last(jump):
    clock = ManualClock()
    faults = ServiceFaults(clock, list)
    faults.put(ServiceFault.of({"service": "provisioning", "kind": "latency", "delay": 1, "duration": 60}))
    connections = Connections(clock)
    connections.strike("device-1", Fault("KillTcp", "", 0, 60))
    clock.advance(jump)
    assert [each["left"] for each in faults.to_json()] == ([60.0] if jump < 0 else [])
    assert (connections.fault("device-1") is not None) is (jump < 0)
    clock.advance(60)
    assert faults.delay("provisioning") == 0
    assert (faults.to_json(), connections.fault("device-1")) == ([], None)


def test_a_simulator_that_was_stopped_itself_waits_for_those_who_called_meanwhile(monkeypatch):
    ahead, touched = [0.0], []

    def now():
        return time.monotonic() + ahead[0]

    monkeypatch.setattr(runtime, "time", SimpleNamespace(monotonic=now))
    with Simulator(idle_stop=0.2) as simulator:
        server = simulator.call(lambda runtime: runtime._server)
        server._table._monotonic = now
        # stopped for a minute, as by SIGSTOP
        server.touch, touch = lambda: touched.append(touch()), server.touch
        ahead[0] = 60.0
        # and after that it was idle as usual
        simulator._thread.join(PATIENCE)
        assert not simulator._thread.is_alive()
    assert touched


class TestTheServerCertificate:
    @pytest.fixture
    def start(self, monkeypatch, tmp_path):
        """Starts a simulator whose clock is wrong by some days; gives it and what puts the clock right."""
        simulators = []

        def make(days):
            clock = ManualClock(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days))
            timed = functools.partial(runtime.CertificateAuthority, clock=clock)
            monkeypatch.setattr(runtime, "CertificateAuthority", timed)
            simulators.append(Simulator(state=tmp_path / "state").start())
            return simulators[-1].running, lambda: clock.advance(-days * 86_400)

        yield make
        for simulator in simulators:
            simulator.stop()

    @pytest.mark.parametrize(("days", "problem"), [(-8, "expired"), (-40, "expired"), (3, "not yet valid")])
    def test_after_a_jump_it_is_a_new_one(self, start, days, problem):
        running, put_right = start(days)
        with pytest.raises(ssl.SSLCertVerificationError, match=problem):
            launcher.manage(running, "GET", "/health", timeout=PATIENCE)
        put_right()
        if days != -8:
            # the authority is a new one, too: who has read the file of the old one is refused once
            with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate in certificate chain"):
                launcher.manage(running, "GET", "/health", timeout=PATIENCE)
        assert launcher.manage(running, "GET", "/health", timeout=PATIENCE)["status"] == "ready"
        renewed = (running.certificate_authority_file.parent / "server.pem").read_bytes()
        launcher.manage(running, "GET", "/health", timeout=PATIENCE)
        assert (running.certificate_authority_file.parent / "server.pem").read_bytes() == renewed

    def test_where_it_cannot_be_renewed_the_old_one_serves_on(self, start, caplog):
        running, put_right = start(4)
        context = ssl.create_default_context(cafile=running.certificate_authority_file)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # the authority's key is gone
        (running.certificate_authority_file.parent / "authority.key").unlink()
        put_right()
        shown = []
        for _ in range(2):
            with (
                socket.create_connection((running.address, running.tls_port), PATIENCE) as plain,
                context.wrap_socket(plain, server_hostname=running.provisioning_host) as connection,
            ):
                shown.append(connection.getpeercert(binary_form=True))
        assert shown[0] == shown[1]
        assert "the server certificate could not be renewed" in caplog.text
