"""A thousand devices come and go; nothing of them stays."""

import asyncio
import gc
import os
import ssl
import threading
from pathlib import Path

import pytest
from patience import wait_until

from benchmarks import wire
from dps_simulator import Simulator
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

KEY = b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES"
CYCLES = 1_000


def resident_kilobytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def settled(simulator):
    """Tasks and connections once everything that was closed has gone."""
    wait_until(
        lambda: simulator.call(lambda runtime: runtime._server.open_connections) == 0, "the end of all connections"
    )
    return simulator.call(lambda runtime: len(asyncio.all_tasks()))


# slow, and the memory that tracing coverage takes is none of the simulator's
@pytest.mark.anywhere
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_a_thousand_registrations_leave_no_task_thread_socket_or_memory():
    with Simulator(pace="instant") as simulator:
        running = simulator.running
        context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
        encoded = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"
        body = {
            "registrationId": "bench",
            "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": encoded, "secondaryKey": encoded}},
        }
        simulator.call(
            lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put("bench", body, None)
        )

        def cycle(count):
            for _ in range(count):
                wire.register(running.tls_port, context, running.provisioning_host, running.id_scope, "bench", KEY)

        # caches, pools and the bounded trace fill up first
        cycle(CYCLES)
        gc.collect()
        before = settled(simulator), threading.active_count(), open_files(), resident_kilobytes()
        cycle(CYCLES)
        gc.collect()
        after = settled(simulator), threading.active_count(), open_files(), resident_kilobytes()
        assert after[:3] == before[:3]
        # kept operations are bounded; a leak of one connection's buffers would be tens of megabytes here
        assert after[3] - before[3] < 8_000
