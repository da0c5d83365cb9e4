"""Both clients against a service that says what a test wants, over a real proxy and real TLS."""

import asyncio
import base64
import contextlib
import hmac
import inspect
import ssl
import threading
import time
import traceback
import warnings
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from azure.iot.device import ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.exceptions import ClientError, ConnectionFailedError, OperationTimeout, ServiceError
from azure.iot.device.provisioning import abstract_provisioning_device_client as sdk
from azure.iot.device.provisioning import provisioning_device_client as sdk_client
from patience import PATIENCE, wait_until
from scripted_service import (
    HOST,
    HUB,
    SCOPE,
    PaperTpm,
    ScriptedService,
    assigned,
    assigning,
    be_silent,
    challenge,
    hang_up,
    stop_in_the_middle,
    trickle,
)

from dps_simulator.server.tls.authority import CertificateAuthority
from helpers.tpm import ActivationError, TpmConnectionError
from helpers.tpm.client import aio, client_options, provisioning, tokens
from helpers.tpm.client.client_options import OPTIONS, ClientOptions

BLOB = bytes.fromhex("0001aa 0001bb 0001cc 0001dd 0001ee 0001ff")
PAYLOAD = {"modelId": "dtmi:contoso:greenhouse;1"}
NOW = 1_800_000_000
GONE = "took the place of the hub key that the TPM had before"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: NOW + 0.9))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service(tmp_path):
    scripted = ScriptedService(tmp_path)
    yield scripted
    scripted.close()


@pytest.fixture
def tpm():
    return PaperTpm()


class Flavour:
    """One of the two clients, called in the same way."""

    def __init__(self, module):
        self.module = module
        self.client_class = module.TpmProvisioningDeviceClient

    def client(self, tpm, registration_id="", **options):
        return self.client_class.create_from_tpm(HOST, SCOPE, tpm, registration_id, **options)

    def call(self, method):
        result = method()
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    def register(self, tpm, **options):
        return self.call(self.client(tpm, **options).register)


async def _awaited(coroutine):
    result = await coroutine
    assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks were left behind"
    return result


@pytest.fixture(params=[provisioning, aio], ids=["sync", "aio"])
def flavour(request):
    return Flavour(request.param)


@contextlib.contextmanager
def refused(kind, text, cause=None):
    """The registration fails with this class and text, and this kind of cause, and says nothing secret."""
    with pytest.raises(kind) as caught:
        yield caught
    assert type(caught.value) is kind
    assert text in str(caught.value)
    if cause is not None:
        assert isinstance(caught.value.__cause__, cause), repr(caught.value.__cause__)
    # what a notebook shows, with everything that it came from
    shown = "".join(traceback.format_exception(caught.value))
    assert "SharedAccessSignature" not in shown
    assert base64.b64encode(b"first key").decode() not in shown


# --- the way it should go -----------------------------------------------------------------------------------------


def test_registration(flavour, service, tpm):
    service.answers = [challenge(), assigning(), assigning(), assigned()]
    client = flavour.client(tpm, **service.options)
    client.provisioning_payload = PAYLOAD
    assert client.provisioning_payload == PAYLOAD
    result = flavour.call(client.register)
    assert (result.status, result.registration_state.assigned_hub) == ("assigned", HUB)
    assert tpm.keys == [b"first key", b"hub key"]

    assert [each.method for each in service.requests] == ["PUT", "PUT", "GET", "GET"]
    first, second, *questions = service.requests
    assert first.body == second.body
    assert first.body["payload"] == PAYLOAD
    assert first.body["registrationId"] == client.registration_id == "gateway"
    assert "authorization" not in first.headers
    assert {name: first.headers[name] for name in ("host", "accept", "content-type", "user-agent")} == {
        "host": HOST,
        "accept": "application/json",
        "content-type": "application/json; charset=utf-8",
        "user-agent": client_options.USER_AGENT,
    }
    for question in questions:
        assert question.body is None
        assert question.headers["authorization"] == second.headers["authorization"]
    check_token(second.headers["authorization"], b"first key")


def check_token(token, key):
    kind, _, fields = token.partition(" ")
    values = dict(field.split("=", 1) for field in fields.split("&"))
    assert kind == "SharedAccessSignature"
    assert list(values) == ["sr", "sig", "se", "skn"]
    assert (values["sr"], values["skn"]) == (f"{SCOPE}%2Fregistrations%2Fgateway", "registration")
    assert int(values["se"]) == NOW + 3_600
    expected = hmac.digest(key, f"{values['sr']}\n{values['se']}".encode(), "sha256")
    assert values["sig"] == base64.b64encode(expected).decode().translate({43: "%2B", 47: "%2F", 61: "%3D"})


def test_it_says_what_it_does_in_the_words_of_the_sdk(flavour, service, tpm, caplog):
    caplog.set_level("INFO", "helpers.tpm")
    service.answers = [challenge(), assigned(), (404, {}, {})]
    flavour.register(tpm, **service.options)
    with pytest.raises(ClientError):
        flavour.register(tpm, **service.options)
    assert [record.getMessage() for record in caplog.records if record.name == "helpers.tpm"] == [
        "Registering with Provisioning Service...",
        "Opening the challenge in the TPM...",
        "Taking the hub key into the TPM...",
        "Successfully registered with Provisioning Service",
        "Registering with Provisioning Service...",
        "Failed registering with Provisioning Service",
    ]
    # so that who knows the one log can read the other
    words = inspect.getsource(sdk) + inspect.getsource(sdk_client)
    for record in caplog.records:
        assert "TPM" in record.getMessage() or record.name != "helpers.tpm" or record.getMessage() in words


def test_registering_again(flavour, service, tpm):
    service.answers = [challenge(b"1"), assigned(b"2"), challenge(b"3"), assigned(b"4")]
    client = flavour.client(tpm, **service.options)
    flavour.call(client.register)
    flavour.call(client.register)
    assert tpm.keys == [b"1", b"2", b"3", b"4"]


def test_a_registration_id_of_one_s_own_and_a_short_token(flavour, service, tpm):
    service.answers = [challenge(), assigned()]
    client = flavour.client(tpm, "Gateway:7", sastoken_ttl=60, **service.options)
    assert client.registration_id == "Gateway:7"
    flavour.call(client.register)
    assert unquote(service.requests[0].path).startswith(f"/{SCOPE}/registrations/Gateway:7/register?")
    token = service.requests[1].headers["authorization"]
    assert f"sr={SCOPE}%2Fregistrations%2FGateway%3A7&" in token
    assert int(token.rpartition("&se=")[2].partition("&")[0]) == NOW + 60


def test_a_challenge_alone(flavour, service, tpm):
    service.answers = [(429, {"Retry-After": "0"}, b""), challenge(BLOB)]
    blob = flavour.call(flavour.client(tpm, **service.options).request_challenge)
    assert blob.credential_blob + blob.encrypted_uri == b"\xaa\xff"
    assert tpm.keys == []
    assert [each.method for each in service.requests] == ["PUT", "PUT"]


def test_a_challenge_that_is_none(flavour, service, tpm):
    service.answers = [challenge(b"xyz")]
    with refused(ClientError, "The TPM cannot open what", ActivationError) as caught:
        flavour.call(flavour.client(tpm, **service.options).request_challenge)
    assert GONE not in str(caught.value)


def test_a_service_that_is_busy(flavour, service, tpm):
    busy = (429, {"Retry-After": "0"}, {"errorCode": 429001})
    service.answers = [busy, challenge(), busy, assigning(), (503, {"Retry-After": "0"}, b"<html>"), assigned()]
    assert flavour.register(tpm, **service.options).status == "assigned"


def test_it_waits_as_long_as_it_is_told_to(flavour, service, tpm, monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(provisioning.time, "sleep", pauses.append)
    monkeypatch.setattr(aio.asyncio, "sleep", sleep)
    service.answers = [(429, {}, b""), challenge(), assigning("3"), assigning("1000"), assigned()]
    flavour.register(tpm, **service.options)
    assert pauses == [2, 3, 300]


def test_options_that_mean_nothing_here(flavour, service, tpm):
    service.answers = [challenge(), assigned()]
    assert flavour.register(tpm, websockets=True, keep_alive=30, **service.options).status == "assigned"


def test_a_cipher_of_one_s_choice(flavour, service, tpm):
    service.answers = [challenge(), assigned()]
    options = {**service.options, "cipher": ["ECDHE_ECDSA_AES256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]}
    assert flavour.register(tpm, **options).status == "assigned"


def test_the_environment_has_no_say_beside_proxy_options(flavour, service, tpm, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine {HOST} login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", HOST)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
    service.answers = [challenge(), assigned()]
    assert flavour.register(tpm, **service.options).status == "assigned"
    assert "authorization" not in service.requests[0].headers


def test_the_proxy_of_the_environment(flavour, service, tpm, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(f"machine {HOST} login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{service.port}")
    service.answers = [challenge(), assigned()]
    assert flavour.register(tpm, server_verification_cert=service.certificate).status == "assigned"
    assert "authorization" not in service.requests[0].headers


def test_nothing_stays_open(flavour, service, tpm):
    service.answers = [challenge(), assigned(), challenge(), (400, {}, b"")]
    threads = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flavour.register(tpm, **service.options)
        with pytest.raises(ClientError):
            flavour.register(tpm, **service.options)
    wait_until(lambda: set(threading.enumerate()) <= threads, "the end of all threads")


# --- what the service may answer instead --------------------------------------------------------------------------


def test_refused_at_once(flavour, service, tpm):
    service.answers = [(404, {}, {"errorCode": 404201, "message": "Enrollment not found."})]
    with refused(ClientError, "The provisioning service did not register the device.", ServiceError) as caught:
        flavour.register(tpm, **service.options)
    assert "status code 404 (404201; Enrollment not found.)" in str(caught.value.__cause__)
    assert GONE not in str(caught.value)
    assert tpm.keys == []


LATE = {
    "refused": [(401, {}, {"errorCode": 401002, "message": "Unauthorized"})],
    "disabled": [assigning(), (200, {}, {"status": "disabled"})],
    "failed": [(200, {}, {"status": "failed"})],
    "redirected": [(307, {"Location": "https://elsewhere.test/"}, b"")],
    "no JSON": [(200, {}, b"<html>")],
    "too large": [(200, {}, bytes(1_000_000))],
    "no hub key": [assigned(tpm={})],
}


@pytest.mark.parametrize("case", LATE)
def test_refused_after_the_challenge(flavour, service, tpm, case):
    service.answers = [challenge(), *LATE[case]]
    with refused(ClientError, GONE, ServiceError):
        flavour.register(tpm, **service.options)
    assert tpm.keys == [b"first key"]
    assert service.answers == []


def test_busy_without_end(flavour, service, tpm):
    service.answers = [challenge()] + [(503, {"Retry-After": "0"}, b"")] * 9
    with refused(OperationTimeout, "last 503") as caught:
        flavour.register(tpm, **service.options)
    assert GONE in str(caught.value)


def test_busy_without_end_from_the_start(flavour, service, tpm):
    service.answers = [(503, {"Retry-After": "0"}, b"")] * 9
    with refused(OperationTimeout, "last 503") as caught:
        flavour.register(tpm, **service.options)
    assert GONE not in str(caught.value)


# --- the TPM ------------------------------------------------------------------------------------------------------


class Broken(PaperTpm):
    """Breaks when it has taken some keys."""

    def __init__(self, after, error):
        super().__init__()
        self.after, self.error = after, error

    def activate(self, blob):
        if len(self.keys) == self.after:
            raise self.error
        super().activate(blob)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ActivationError("part 1", "credential_blob"), "The TPM cannot open what the provisioning service sent."),
        (TpmConnectionError("swtpm ended"), "The TPM of the device failed."),
    ],
)
def test_the_tpm_fails(flavour, service, after, error, text):
    service.answers = [challenge(), assigned()]
    with refused(ClientError, text) as caught:
        flavour.register(Broken(after, error), **service.options)
    assert caught.value.__cause__ is error
    assert (GONE in str(caught.value)) == bool(after)


def test_the_tpm_fails_to_sign(flavour, service):
    class Speechless(PaperTpm):
        def sign(self, data):
            raise TpmConnectionError("swtpm ended")

    service.answers = [challenge()]
    with refused(ClientError, GONE, TpmConnectionError):
        flavour.register(Speechless(), **service.options)


def test_the_tpm_fails_before_anything_is_sent(flavour, service):
    class Silent(PaperTpm):
        @property
        def endorsement_key(self):
            raise TpmConnectionError("swtpm ended")

    with refused(ClientError, "The TPM of the device failed.", TpmConnectionError):
        flavour.register(Silent(), **service.options)
    assert service.requests == []


# --- no connection ------------------------------------------------------------------------------------------------


def test_the_service_hangs_up(flavour, service, tpm):
    service.answers = [challenge(), hang_up]
    with refused(ConnectionFailedError, "Could not connect to the provisioning server dps.test") as caught:
        flavour.register(tpm, **service.options)
    assert GONE in str(caught.value)
    assert caught.value.__cause__ is not None


def test_the_answer_breaks_off(flavour, service, tpm):
    service.answers = [challenge(), (200, {"Content-Length": "5000", "Connection": "close"}, b"{")]
    with refused(ConnectionFailedError, GONE):
        flavour.register(tpm, **service.options)


def test_the_service_is_silent(flavour, service, tpm, monkeypatch):
    monkeypatch.setattr(flavour.module, "TIMEOUT", 0.3)
    service.answers = [be_silent]
    with refused(ClientError, "did not register the device", ServiceError) as caught:
        flavour.register(tpm, **service.options)
    assert "before provisioning service could respond for register operation" in str(caught.value.__cause__)
    assert caught.value.__cause__.__cause__ is not None


def test_the_answer_stops_in_the_middle(flavour, service, tpm, monkeypatch):
    monkeypatch.setattr(flavour.module, "TIMEOUT", 0.3)
    service.answers = [stop_in_the_middle]
    with refused(ClientError, "did not register the device", ServiceError) as caught:
        flavour.register(tpm, **service.options)
    assert "before provisioning service could respond for register operation" in str(caught.value.__cause__)


def test_the_answer_never_ends(flavour, service, tpm, monkeypatch):
    monkeypatch.setattr(flavour.module, "TIMEOUT", 10 * PATIENCE)
    monotonic, passed = time.monotonic, []

    def now(*_):
        return monotonic() + sum(passed)

    # the time is over in the middle of this answer, and not before, however slow the others are
    monkeypatch.setattr(provisioning, "time", SimpleNamespace(monotonic=now, sleep=time.sleep, time=time.time))
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", now)

    def trickle_too_long(handler):
        passed.append(20 * PATIENCE)
        trickle(handler)

    service.answers = [challenge(), assigning(), trickle_too_long]
    with refused(ClientError, GONE, ServiceError) as caught:
        flavour.register(tpm, **service.options)
    assert "before provisioning service could respond for query operation" in str(caught.value.__cause__)


def test_another_authority(flavour, service, tpm, tmp_path):
    authority = CertificateAuthority(tmp_path / "other")
    authority.issue_server_certificate([HOST])
    options = {**service.options, "server_verification_cert": authority.certificate_file.read_text()}
    with refused(ClientError, "The TLS exchange with dps.test failed") as caught:
        flavour.register(tpm, **options)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.__cause__)


def test_what_the_machine_trusts_does_not_include_the_test(flavour, service, tpm):
    with refused(ClientError, "The TLS exchange with dps.test failed"):
        flavour.register(tpm, proxy_options=service.options["proxy_options"])


def test_a_certificate_for_another_name(flavour, tpm, tmp_path):
    service = ScriptedService(tmp_path, ["elsewhere.test"])
    try:
        with refused(ClientError, "The TLS exchange with dps.test failed"):
            flavour.register(tpm, **service.options)
    finally:
        service.close()


def test_the_proxy_refuses_the_host(flavour, service, tpm):
    client = flavour.client_class.create_from_tpm("elsewhere.test", SCOPE, tpm, **service.options)
    with refused(ConnectionFailedError, "elsewhere.test through the proxy") as caught:
        flavour.call(client.register)
    assert "403 Forbidden" in f"{caught.value} {caught.value.__cause__}"


def test_no_proxy_there(flavour, service, tpm):
    options = {**service.options, "proxy_options": ProxyOptions("HTTP", "127.0.0.1", 9)}
    with refused(ConnectionFailedError, "dps.test through the proxy"):
        flavour.register(tpm, **options)


def test_no_service_there(flavour, tpm):
    # nobody may listen on port 443 of the machine of whoever runs the tests, and if so, not as DPS
    client = flavour.client_class.create_from_tpm("localhost", SCOPE, tpm)
    with pytest.raises(ClientError, match="localhost"):
        flavour.call(client.register)


def test_nobody_accepts_the_connection(flavour, service, tpm, monkeypatch):
    class Slow:
        def __init__(self, *arguments, **options):
            pass

        def __enter__(self):
            raise provisioning.requests.ConnectTimeout("no answer")

        async def __aenter__(self):
            raise aio.aiohttp.ConnectionTimeoutError("no answer")

        __exit__ = __aexit__ = None

    monkeypatch.setattr(provisioning.requests.Session, "request", lambda *_, **__: Slow())
    monkeypatch.setattr(aio.aiohttp.ClientSession, "request", lambda *_, **__: Slow())
    Slow.__exit__ = lambda *_: None

    async def nothing(*_):
        pass

    Slow.__aexit__ = nothing
    with refused(OperationTimeout, "Could not connect to dps.test, port 443, within 10 seconds."):
        flavour.register(tpm, **service.options)


def test_socks_proxies(service, tpm):
    options = {**service.options, "proxy_options": ProxyOptions("SOCKS5", "127.0.0.1", 9, "me", "pass/word")}
    with refused(ClientError, "knows no SOCKS proxies"):
        Flavour(aio).register(tpm, **options)
    with refused(ConnectionFailedError, "Could not connect to the provisioning server dps.test") as caught:
        Flavour(provisioning).register(tpm, **options)
    assert "pass" not in "".join(traceback.format_exception(caught.value))


# --- cancelling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [[be_silent], [challenge(), assigning("200")]])
def test_cancelled_while_waiting(service, tpm, answers):
    service.answers = list(answers)
    client = Flavour(aio).client(tpm, **service.options)

    async def scenario():
        task = asyncio.create_task(client.register())
        await asyncio.to_thread(service.wait_for_requests, len(answers))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [None, TpmConnectionError("swtpm ended")])
def test_cancelled_while_the_tpm_works(service, error):
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Busy(PaperTpm):
        def activate(self, blob):
            started.set()
            assert go_on.wait(PATIENCE)
            super().activate(blob)
            ended.set()
            if error:
                raise error

    service.answers = [challenge(), assigned()]
    client = Flavour(aio).client(Busy(), **service.options)

    async def scenario():
        task = asyncio.create_task(client.register())
        await asyncio.to_thread(started.wait, PATIENCE)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scenario())


# --- arguments ----------------------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_sdk():
    sdk._validate_kwargs(**dict.fromkeys(OPTIONS))
    given = list(inspect.signature(ProvisioningDeviceClient.create_from_symmetric_key).parameters)
    ours = list(inspect.signature(provisioning.TpmProvisioningDeviceClient.create_from_tpm).parameters)
    assert {"provisioning_host", "registration_id", "id_scope"} <= set(given) & set(ours)


@pytest.mark.parametrize("name", ["gateway_hostname", "symmetric_key", "verify"])
def test_unknown_options(flavour, tpm, name):
    with pytest.raises(TypeError, match=f"^Unsupported keyword argument '{name}'$"):
        flavour.client(tpm, **{name: "x"})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"provisioning_host": "https://dps.test"}, "provisioning_host is 'https://dps.test'; give the bare host name"),
        ({"provisioning_host": "dps.test:443"}, "provisioning_host"),
        ({"provisioning_host": "dps.test/x"}, "provisioning_host"),
        ({"provisioning_host": "dps.test\n"}, "provisioning_host"),
        ({"provisioning_host": ""}, "provisioning_host"),
        ({"provisioning_host": None}, "provisioning_host"),
        ({"id_scope": " "}, "id_scope"),
        ({"id_scope": None}, "id_scope"),
        ({"registration_id": " "}, "Registration Id can not be blank"),
        ({"sastoken_ttl": 0}, "sastoken_ttl"),
        ({"sastoken_ttl": "3600"}, "sastoken_ttl"),
        ({"server_verification_cert": "/etc/ssl/cert.pem"}, "server_verification_cert is no certificate in PEM"),
        ({"server_verification_cert": 7}, "server_verification_cert"),
        ({"server_verification_cert": "grün"}, "server_verification_cert"),
        ({"cipher": "NOTHING"}, "cipher is 'NOTHING'"),
        ({"cipher": 7}, "cipher is 7"),
    ],
)
def test_wrong_arguments(flavour, tpm, arguments, text):
    with pytest.raises(ValueError, match=text):
        flavour.client_class.create_from_tpm(**{"provisioning_host": HOST, "id_scope": SCOPE, "tpm": tpm, **arguments})


def test_a_payload_that_is_no_json(flavour, tpm, service):
    client = flavour.client(tpm, **service.options)
    client.provisioning_payload = {1, 2}
    with pytest.raises(ValueError, match="provisioning_payload cannot be written as JSON"):
        flavour.call(client.register)
    assert service.requests == []


def test_certificates_are_always_checked(service):
    options = ClientOptions.read(HOST, SCOPE, service.options)
    assert options.trust.verify_mode is ssl.CERT_REQUIRED
    assert options.trust.check_hostname
    assert len(options.trust.get_ca_certs()) == 1
    assert options.trust.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (None, ""),
        (ProxyOptions("HTTP", "10.0.0.1", 8080), "http://10.0.0.1:8080"),
        (ProxyOptions("HTTP", "10.0.0.1", 8080, "a b", "c/d"), "http://a%20b:c%2Fd@10.0.0.1:8080"),
        (ProxyOptions("SOCKS4", "proxy.test", 1080, "me"), "socks4a://me:@proxy.test:1080"),
        (ProxyOptions("SOCKS5", "proxy.test", "1080"), "socks5h://proxy.test:1080"),
    ],
)
def test_proxies(options, url):
    assert ClientOptions.read(HOST, SCOPE, {"proxy_options": options}).proxy() == url


def test_proxies_of_the_environment(monkeypatch):
    options = ClientOptions.read(HOST, SCOPE, {})
    monkeypatch.setenv("ALL_PROXY", "http://10.0.0.2:1")
    assert options.proxy() == "http://10.0.0.2:1"
    monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.1:1")
    assert options.proxy() == "http://10.0.0.1:1"
    monkeypatch.setenv("NO_PROXY", ".test")
    assert options.proxy() == ""


def test_secrets_are_not_in_the_options(service):
    proxy = ProxyOptions("HTTP", "10.0.0.1", 8080, "me", "NOTASECRET")
    assert "NOTASECRET" not in repr(ClientOptions.read(HOST, SCOPE, {"proxy_options": proxy}))
