"""A simulator that was stopped, as by SIGSTOP: the time of the stop counts for no time limit."""

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest
from patience import PATIENCE

from dps_simulator.credentials import sas
from dps_simulator.server import event_loop

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stopping a process, and the selector, are of POSIX")

KEY = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"


class Stopped:
    """A process whose time goes on while it is stopped."""

    def __init__(self):
        self.ahead = 0.0
        self.loop = event_loop.SteadyEventLoop(lambda: time.monotonic() + self.ahead)

    def run(self, main):
        try:
            return self.loop.run_until_complete(main)
        finally:
            self.loop.close()


def test_what_has_arrived_comes_before_the_timers_that_came_due_meanwhile():
    stopped, order = Stopped(), []

    async def main():
        loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            over = loop.create_future()
            begun = loop.time()
            loop.add_reader(ours, lambda: (order.append(ours.recv(1)), loop.remove_reader(ours)))
            loop.call_later(0.05, lambda: (order.append("timer"), over.set_result(None)))
            # within one turn: it is stopped for an hour, and somebody sends something
            stopped.ahead += 3_600
            theirs.send(b"x")
            await over
            return loop.time() - begun

    # the hour was none
    assert stopped.run(main()) < 3_000
    assert order == [b"x", "timer"]


def test_a_selector_that_reports_nothing_after_a_stop_is_asked_again(monkeypatch):
    """As Python's does when the time-out was over during the stop."""
    stopped, order = Stopped(), []
    select = event_loop.selectors.DefaultSelector.select

    def interrupted(self, timeout=None):
        if timeout is not None and timeout > 0 and not stopped.ahead:
            stopped.ahead += 3_600
            theirs.send(b"x")
            return []
        return select(self, timeout)

    async def main():
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        loop.add_reader(ours, lambda: (order.append(ours.recv(1)), loop.remove_reader(ours)))
        loop.call_later(0.05, lambda: (order.append("timer"), over.set_result(None)))
        monkeypatch.setattr(event_loop.selectors.DefaultSelector, "select", interrupted)
        await over

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        stopped.run(main())
    assert order == [b"x", "timer"]


def test_run_returns_what_the_coroutine_does():
    async def main():
        return type(asyncio.get_running_loop())

    assert event_loop.run(main()) is event_loop.SteadyEventLoop


CHILD = f"""
import json, sys
from dps_simulator import Simulator
with Simulator() as simulator:
    keys = {{"primaryKey": {KEY!r}, "secondaryKey": {KEY!r}}}
    device = {{"authentication": {{"type": "sas", "symmetricKey": keys}}}}
    simulator.call(lambda runtime: runtime.hubs.find(runtime.hubs.hosts[0]).put_device("pump-1", device))
    running = simulator.running
    print(json.dumps([running.tls_port, running.hubs[0].host, str(running.certificate_authority_file)]), flush=True)
    sys.stdin.read()
"""


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def test_a_device_that_spoke_while_the_simulator_was_stopped_stays_connected():
    """For real. Its keep alive time is over several times, and it did not stay silent."""
    simulator = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        port, host, authority = json.loads(simulator.stdout.readline())
        token = sas.sign(f"{host}/devices/pump-1", base64.b64decode(KEY), int(time.time()) + 3_600)
        body = text("MQTT") + b"\x04\xc2\x00\x01" + text("pump-1") + text(f"{host}/pump-1/?api-version=2019-10-01")
        body += text(token)
        packet = bytes([0x10, len(body) & 127 | 128, len(body) >> 7]) + body
        context = ssl.create_default_context(cafile=authority)
        answer = b""
        while not answer:
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
                context.wrap_socket(plain, server_hostname=host) as device,
            ):
                begun = time.monotonic()
                device.sendall(packet)
                assert device.recv(4) == b"\x20\x02\x00\x00"
                os.kill(simulator.pid, signal.SIGSTOP)
                assert os.WIFSTOPPED(os.waitpid(simulator.pid, os.WUNTRACED)[1])
                in_time = time.monotonic() < begun + 1.4
                device.sendall(b"\xc0\x00")
                # it has to last longer than the keep alive time does, with half of it again, and than what is no stop
                time.sleep(3 if in_time else 0)
                os.kill(simulator.pid, signal.SIGCONT)
                # a machine that is so busy that the time was over before the stop tries again
                answer = device.recv(2) if in_time else b""
                assert answer == b"\xd0\x00" or not in_time
    finally:
        simulator.kill()
        simulator.communicate()
