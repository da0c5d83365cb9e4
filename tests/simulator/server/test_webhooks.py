"""Calls of webhooks, from the registration of a device to its hub, with real connections on this machine."""

import asyncio
import json
import logging
import socket
import ssl
import threading
import time

import pytest
from patience import PATIENCE, wait_until
from provisioning_parts import Provisioning, individual_body
from webhook_server import WebhookServer

from dps_simulator import Simulator, SimulatorError
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.common.webhooks import MAX_ANSWER_SIZE, PendingAllocation, WebhookRequest
from dps_simulator.process.store import Store
from dps_simulator.provisioning.api.webhooks import AllocationWebhooks
from dps_simulator.server.tls.authority import CertificateAuthority
from dps_simulator.server.webhooks import MAX_CALLS, WebhookError, Webhooks, checked_address

HUBS = ("hub-1.azure-devices.test", "hub-2.azure-devices.test")
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.fixture
def webhook():
    server = WebhookServer()
    yield server
    server.close()


async def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "that never happened"
        await asyncio.sleep(0.005)


async def turns(count):
    """Let the loop turn so often; what nothing outside delays has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)


class Calling:
    """A provisioning service whose webhooks are really called."""

    def __init__(self, parts=None, *, timeout=PATIENCE, authority=None):
        self.parts = parts or Provisioning(hubs=HUBS)
        self.trace = Trace(self.parts.clock)
        self.endpoint = AllocationWebhooks(self.parts.registrations, self.trace)
        self.webhooks = Webhooks(self.endpoint, timeout=timeout, authority=authority)
        self.parts.registrations.when_allocation_pending(self.webhooks.wake)

    async def __aenter__(self):
        self.webhooks.start()
        return self

    async def __aexit__(self, *error):
        await self.webhooks.stop()
        assert not self.webhooks._calls
        assert len(asyncio.all_tasks()) == 1

    def enroll(self, url, name="device-1", **fields):
        definition = {"webhookUrl": url, "apiVersion": "2021-10-01"}
        known = self.parts.individuals.find(name)
        self.parts.enroll(
            name,
            "*" if known else None,
            allocationPolicy="custom",
            customAllocationDefinition=definition,
            **fields,
        )

    async def settled(self, name="device-1"):
        await eventually(lambda: self.parts.registrations.get(name)["status"] != "assigning")
        return self.parts.registrations.get(name)

    async def register(self, url, **fields):
        self.enroll(url, **fields)
        assert self.parts.register().http_status == 202
        return await self.settled()


def test_a_device_gets_the_hub_that_the_webhook_chose(webhook):
    webhook.answer = lambda document: {"iotHubHostName": HUBS[1], "payload": {"to": "device"}}

    async def scenario():
        async with Calling() as calling:
            state = await calling.register(f"{webhook.url}?code={SECRET}")
            assert (state["status"], state["assignedHub"], state["payload"]) == ("assigned", HUBS[1], {"to": "device"})
            return calling.trace.events()

    events = asyncio.run(scenario())
    ((path, headers, document),) = webhook.requests
    assert path == f"/allocate?code={SECRET}"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers
    assert document["deviceRuntimeContext"]["registrationId"] == "device-1"
    asked, answered = events
    assert (asked.service, asked.host, asked.direction, asked.operation) == ("webhook", "127.0.0.1", "out", "allocate")
    assert asked.detail["url"] == f"{webhook.url}?****"
    assert asked.detail["body"] == document
    assert (answered.direction, answered.status, answered.device) == ("in", 200, "device-1")
    assert answered.detail["body"]["iotHubHostName"] == HUBS[1]
    assert SECRET not in json.dumps([event.to_json() for event in events])


def answer(status=200, body=b"", **headers):
    return lambda document: (status, body, headers)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer(500, b"{}"), "Custom allocation failed with status code: 500"),
        (answer(400, b"no"), "Custom allocation failed with status code: 400"),
        (answer(302, b"", Location="http://127.0.0.1:1/elsewhere"), "Custom allocation failed with status code: 302"),
        (answer(307, b"", Location="https://example.test/"), "Custom allocation failed with status code: 307"),
        (answer(200, b""), "did not answer JSON"),
        (answer(200, b"<html>"), "did not answer JSON"),
        (answer(200, b'{"iotHubHostName": NaN}'), "NaN is not a JSON number"),
        (answer(200, b"[" * 1_000 + b"]" * 1_000), "nested deeper"),
        (answer(200, b"\xff\xfe"), "did not answer JSON"),
        (answer(200, b"5"), "the webhook answered 5"),
        (answer(200, b"{}"), "lacks iotHubHostName"),
        (answer(200, b'{"iotHubHostName": "other.test"}'), "iotHubHostName is 'other.test'"),
        (answer(200, b'{"iotHubHostName": "hub-1.azure-devices.test", "initialTwin": []}'), "initialTwin is an array"),
        (answer(200, b" " * (MAX_ANSWER_SIZE + 1)), "answered more than 65536 bytes"),
        (answer(200, b" " * 3_000_000), "answered more than 65536 bytes"),
        (answer(200, b"{", **{"Content-Length": "1000"}), "gave no valid answer (ClientPayloadError)"),
        (answer(200, b"{}", **{"X-Long": "x" * 100_000}), "gave no valid answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_that_cannot_be_used(webhook, given, said):
    webhook.answer = given

    async def scenario():
        async with Calling() as calling:
            state = await calling.register(webhook.url)
            assert (state["status"], state["errorCode"]) == ("failed", 400207)
            assert said in state["errorMessage"]
            assert calling.trace.events()[-1].detail["reason"] == state["errorMessage"]
            assert not any(hub.devices for hub in calling.parts.hubs)
            # the next one is as good as ever
            webhook.answer = lambda document: {"iotHubHostName": HUBS[0]}
            assert (await calling.register(webhook.url))["status"] == "assigned"

    asyncio.run(scenario())


def test_the_largest_answer(webhook):
    padding = b" " * (MAX_ANSWER_SIZE - 46)
    webhook.answer = answer(200, b'{"iotHubHostName": "hub-1.azure-devices.test"}' + padding)

    async def scenario():
        async with Calling() as calling:
            assert (await calling.register(webhook.url))["status"] == "assigned"

    asyncio.run(scenario())


def test_a_webhook_that_is_too_slow(webhook):
    release = threading.Event()
    webhook.answer = lambda document: release.wait(PATIENCE) and {"iotHubHostName": HUBS[0]}

    async def scenario():
        async with Calling(timeout=0.2) as calling:
            state = await calling.register(webhook.url)
            # the webhook has not answered yet
            assert not release.is_set()
            assert state["errorMessage"].endswith("the webhook at 127.0.0.1 did not answer within 0.2 s.")

    try:
        asyncio.run(scenario())
    finally:
        release.set()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]

    async def scenario():
        async with Calling() as calling:
            state = await calling.register(f"http://127.0.0.1:{port}/x?code={SECRET}")
            assert "the webhook at 127.0.0.1 cannot be reached" in state["errorMessage"]
            assert SECRET not in state["errorMessage"]

    asyncio.run(scenario())


def test_somebody_hangs_up_or_speaks_something_else():
    def talk(listener, said):
        for words in said:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.sendall(words)
            connection.close()

    async def scenario(url):
        async with Calling() as calling:
            for _ in range(2):
                assert "gave no valid answer" in (await calling.register(url))["errorMessage"]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk, args=(listener, [b"", b"220 mail.test ESMTP\r\n"]))
        thread.start()
        asyncio.run(scenario(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.test/allocate", "webhookUrl leads to example.test without TLS"),
        ("http://10.0.0.1/allocate", "without TLS"),
        ("http://127.0.0.1.example.test/", "without TLS"),
        ("http://localhost.example.test/", "without TLS"),
        ("ftp://127.0.0.1/", "webhookUrl is no address"),
        ("file:///etc/passwd", "webhookUrl is no address"),
        ("//127.0.0.1/x", "webhookUrl is no address"),
        ("https:///x", "webhookUrl is no address"),
        ("nothing", "webhookUrl is no address"),
        ("https://[::1/x", "webhookUrl is no address"),
        ("https://example.test:port/", "webhookUrl is no address"),
        (f"https://user:{SECRET}@example.test/", "webhookUrl holds a user name"),
        (f"https://{SECRET}@example.test/", "webhookUrl holds a user name"),
    ],
)
def test_addresses_that_are_not_called(url, said):
    with pytest.raises(WebhookError, match=said) as error:
        checked_address(url)
    assert SECRET not in str(error.value)

    async def scenario():
        async with Calling() as calling:
            assert said in (await calling.register(url))["errorMessage"]

    asyncio.run(scenario())


def test_nothing_is_left_of_a_call_that_ended_in_the_moment_of_the_stop():
    """Its task is done, and what follows that has not run yet."""

    async def scenario():
        async with Calling() as calling:
            ended = asyncio.ensure_future(asyncio.sleep(0))
            await ended
            calling.webhooks._calls["ended just now"] = ended

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.test/api?code=x", ("example.test", True)),
        ("http://127.0.0.1:8080/", ("127.0.0.1", False)),
        ("http://127.9.9.9/", ("127.9.9.9", False)),
        ("http://[::1]:80/", ("::1", False)),
        ("http://LOCALHOST/", ("localhost", False)),
    ],
)
def test_addresses_that_are_called(url, expected):
    assert checked_address(url) == expected


@pytest.fixture(scope="module")
def own_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authority")
    authority = CertificateAuthority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue_server_certificate(["localhost", "127.0.0.1"]))
    return authority.certificate_file, context


class TestTls:
    @pytest.fixture
    def secure(self, own_root):
        server = WebhookServer(own_root[1])
        yield server
        server.close()

    def test_an_authority_of_ones_own_is_trusted(self, own_root, secure):
        async def scenario():
            async with Calling(authority=own_root[0]) as calling:
                for _ in range(2):
                    assert (await calling.register(secure.url))["status"] == "assigned"

        asyncio.run(scenario())

    def test_nobody_else_is(self, secure):
        async def scenario():
            async with Calling() as calling:
                message = (await calling.register(secure.url))["errorMessage"]
                assert "the certificate of the webhook at 127.0.0.1 is not trusted" in message
                assert "webhook_authority" in message

        asyncio.run(scenario())
        assert secure.requests == []

    def test_the_name_has_to_be_right(self, own_root, secure):
        async def scenario():
            async with Calling(authority=own_root[0]) as calling:
                message = (await calling.register(secure.url.replace("127.0.0.1", "127.0.0.2")))["errorMessage"]
                assert "not trusted" in message or "cannot be reached" in message

        asyncio.run(scenario())
        assert secure.requests == []

    def test_plain_http_is_no_tls(self, own_root, webhook):
        async def scenario():
            async with Calling(authority=own_root[0]) as calling:
                message = (await calling.register(webhook.url.replace("http:", "https:")))["errorMessage"]
                assert "speaks no TLS" in message

        asyncio.run(scenario())

    @pytest.mark.parametrize("content", [None, b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nx\n"])
    def test_a_file_that_holds_no_authority(self, tmp_path, content):
        file = tmp_path / "root.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(WebhookError, match=r"webhook_authority: .*root\.pem cannot be used"):
            Calling(authority=file)


def test_a_simulator_does_not_start_with_an_authority_that_is_none(tmp_path):
    file = tmp_path / "root.pem"
    file.write_text("nothing")
    with pytest.raises(SimulatorError, match="webhook_authority"), Simulator(webhook_authority=file):
        pass


def test_so_many_calls_at_once_and_no_more(webhook):
    count = MAX_CALLS * 2 + 3
    release = threading.Event()

    def slow(document):
        release.wait(PATIENCE)
        return {"iotHubHostName": HUBS[0]}

    webhook.answer = slow

    async def scenario():
        async with Calling() as calling:
            for number in range(count):
                calling.enroll(webhook.url, f"device-{number}")
                calling.parts.register(f"device-{number}")
            await eventually(lambda: webhook.at_once >= MAX_CALLS)
            # asked again, it begins no more
            calling.webhooks.wake()
            await turns(20)
            assert len(calling.webhooks._calls) == MAX_CALLS
            release.set()
            for number in range(count):
                assert (await calling.settled(f"device-{number}"))["status"] == "assigned"

    asyncio.run(scenario())
    assert webhook.most_at_once == MAX_CALLS
    assert len(webhook.requests) == count


def test_a_newer_registration_ends_the_call_of_the_older_one(webhook):
    release = threading.Event()

    def first_is_slow(document):
        if document["deviceRuntimeContext"]["payload"] == 1:
            release.wait(PATIENCE)
            return {"iotHubHostName": HUBS[0]}
        return {"iotHubHostName": HUBS[1]}

    webhook.answer = first_is_slow

    async def scenario():
        async with Calling() as calling:
            calling.enroll(webhook.url)
            calling.parts.register(payload=1)
            await asyncio.to_thread(webhook.wait_for, 1)
            calling.parts.register(payload=2)
            assert (await calling.settled())["assignedHub"] == HUBS[1]
            release.set()
            # the late answer has been sent
            await eventually(lambda: not webhook.at_once)
            await turns(20)
            assert (await calling.settled())["assignedHub"] == HUBS[1]
            assert not calling.endpoint._calls

    try:
        asyncio.run(scenario())
    finally:
        release.set()
    assert len(webhook.requests) == 2


def test_a_registration_that_is_deleted_ends_its_call(webhook):
    release = threading.Event()
    webhook.answer = lambda document: release.wait(PATIENCE) and {"iotHubHostName": HUBS[0]}

    async def scenario():
        async with Calling() as calling:
            calling.enroll(webhook.url)
            for forget in (lambda: calling.parts.registrations.delete("device-1"), calling.parts.service.clear):
                calling.parts.register()
                await eventually(lambda: webhook.at_once)
                forget()
                await eventually(lambda: not calling.webhooks._calls)
                assert not calling.endpoint._calls
                release.set()
                await eventually(lambda: not webhook.at_once)
                release.clear()

    try:
        asyncio.run(scenario())
    finally:
        release.set()


def test_an_enrollment_that_asks_nobody_any_more(webhook):
    async def scenario():
        async with Calling() as calling:
            calling.enroll(webhook.url)
            calling.parts.register()
            # in the same moment, so that nobody has been asked yet
            calling.parts.enroll(if_match="*", allocationPolicy="static", iotHubs=[HUBS[1]])
            assert (await calling.settled())["assignedHub"] == HUBS[1]

    asyncio.run(scenario())
    assert webhook.requests == []


def test_who_was_waiting_at_the_end_is_asked_for_again(webhook, tmp_path):
    release = threading.Event()
    webhook.answer = lambda document: release.wait(PATIENCE) and {"iotHubHostName": HUBS[0]}

    async def stopped_in_the_middle():
        async with Calling(Provisioning(hubs=HUBS, store=Store(tmp_path))) as calling:
            calling.enroll(webhook.url)
            calling.parts.register(payload={"n": 1})
            await asyncio.to_thread(webhook.wait_for, 1)
        # what comes afterwards wakes nobody
        calling.parts.register(payload={"n": 2})
        await turns(20)
        calling.parts.store.close()

    async def started_again():
        async with Calling(Provisioning(hubs=HUBS, store=Store(tmp_path))) as calling:
            assert (await calling.settled())["status"] == "assigned"

    try:
        asyncio.run(stopped_in_the_middle())
        assert len(webhook.requests) == 1
    finally:
        release.set()
    asyncio.run(started_again())
    assert [document["deviceRuntimeContext"]["payload"] for document in webhook.documents] == [{"n": 1}, {"n": 2}]


def test_a_simulator_that_is_started_again_asks_again(webhook, tmp_path):
    release = threading.Event()
    webhook.answer = lambda document: release.wait(PATIENCE) and {"iotHubHostName": document["linkedHubs"][0]}

    def register(runtime):
        service = runtime.services.provisioning
        definition = {"webhookUrl": webhook.url, "apiVersion": "2021-10-01"}
        body = individual_body(allocationPolicy="custom", customAllocationDefinition=definition)
        service.registrations.register("device-1", service.enrollments.individuals.put("device-1", body))

    def status(runtime):
        return runtime.services.provisioning.registrations.get("device-1")["status"]

    try:
        with Simulator(state=tmp_path, pace="instant") as simulator:
            simulator.call(register)
            webhook.wait_for(1)
            assert simulator.call(status) == "assigning"
    finally:
        release.set()
    with Simulator(state=tmp_path) as simulator:
        webhook.wait_for(2)
        assert wait_until(lambda: simulator.call(status) != "assigning" and simulator.call(status)) == "assigned"


def test_a_stop_right_after_a_wake():
    class Nobody:
        def pending(self, limit):
            raise AssertionError("nobody is to be asked any more")

    async def scenario():
        webhooks = Webhooks(Nobody(), timeout=1)
        webhooks.wake()
        webhooks.start()
        await webhooks.stop()
        await asyncio.sleep(0)
        webhooks.wake()
        await asyncio.sleep(0)

    asyncio.run(scenario())


def test_what_nobody_expected_is_logged_and_not_tried_for_ever(webhook, caplog):
    waiting = PendingAllocation("device-1", "5.a.b")

    class Broken:
        asked = 0

        def __init__(self):
            self.given_up_for = []

        def pending(self, limit):
            return [waiting]

        def request(self, pending):
            self.asked += 1
            return WebhookRequest(webhook.url, b"{}")

        def answered(self, pending, status, body):
            raise ZeroDivisionError

        def given_up(self, pending):
            self.given_up_for.append(pending)

    async def scenario():
        endpoint = Broken()
        webhook.answer = answer(200, b"{}")
        webhooks = Webhooks(endpoint, timeout=PATIENCE)
        webhooks.start()
        await eventually(lambda: endpoint.given_up_for)
        for _ in range(3):
            webhooks.wake()
            await turns(20)
        assert (endpoint.asked, endpoint.given_up_for) == (1, [waiting])
        await webhooks.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert "the call of a webhook failed" in caplog.text


@pytest.mark.parametrize("fails", ["pending", "request", "answered"])
def test_a_state_that_fails_for_a_while_is_asked_again(webhook, caplog, fails):
    waiting = PendingAllocation("device-1", "5.0.0")

    class Ailing:
        def __init__(self):
            self.steps, self.failed_once = [], False

        def __getattr__(self, name):
            def step(*_):
                self.steps.append(name)
                if name == fails and not self.failed_once:
                    self.failed_once = True
                    raise StorageError("the disk is full")
                return {"pending": [waiting], "request": WebhookRequest(webhook.url, b"{}")}.get(name)

            return step

    async def scenario():
        endpoint = Ailing()
        webhook.answer = answer(200, b"{}")
        webhooks = Webhooks(endpoint, timeout=PATIENCE, retry=0)
        webhooks.start()
        await eventually(
            lambda: endpoint.failed_once and "answered" in endpoint.steps[endpoint.steps.index(fails) + 1 :]
        )
        await webhooks.stop()

    asyncio.run(scenario())
    assert "Traceback" not in caplog.text


def test_an_address_that_cannot_be_read_has_no_host_in_the_trace():
    async def scenario():
        async with Calling() as calling:
            await calling.register("https://[::1/x")
            return [event.host for event in calling.trace.events()]

    assert asyncio.run(scenario()) == ["", ""]
