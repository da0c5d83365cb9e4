"""A process that was stopped itself, and a server certificate that a jump of the clock leaves behind."""

import datetime
import functools
import socket
import ssl
import time
from types import SimpleNamespace

import pytest
from patience import PATIENCE

from dps_simulator import ManualClock, Simulator, runtime
from dps_simulator.process import launcher


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
