import http.client
import json
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from patience import PATIENCE

from helpers.webhook import BODY_LIMIT, PATH, Unreachable, Webhook, example_request, publish


class FakeTarget:
    def __init__(self, is_simulator):
        self.is_simulator = is_simulator


def choose(request):
    return {"iotHubHostName": request["linkedHubs"][-1]}


@pytest.fixture
def hook():
    with Webhook(choose) as served:
        yield served


def ask(hook, body, *, path=None, headers=None):
    """Status and document of the answer to a request."""
    parts = urlsplit(hook.url)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", path or f"{parts.path}?{parts.query}")
        for name, value in (headers or {"Content-Length": str(len(content))}).items():
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_the_function_is_asked_and_its_answer_given(hook):
    request = example_request(group_id="ovens", registration_id="ovens-001", hubs=("a", "b"), payload={"model": "pro"})
    assert ask(hook, request) == (200, {"iotHubHostName": "b"})
    assert list(hook.requests) == [request]
    assert hook.definition == {"webhookUrl": hook.url, "apiVersion": "2021-10-01"}
    assert hook.url.startswith("http://127.0.0.1:")


def test_one_connection_serves_many_requests(hook):
    parts = urlsplit(hook.url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)) as connection:
        for _ in range(3):
            connection.request("POST", f"{parts.path}?{parts.query}", json.dumps({"linkedHubs": ["a"]}))
            assert json.loads(connection.getresponse().read()) == {"iotHubHostName": "a"}


@pytest.mark.parametrize("path", [PATH, f"{PATH}?code=", f"{PATH}?code=wrong", "/", f"{PATH}/more"])
def test_who_does_not_know_the_code_is_refused(hook, path):
    status, document = ask(hook, {"linkedHubs": ["a"]}, path=path)
    assert status == 401
    assert "code" in document["error"]
    assert not hook.requests


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[1]", 400), (b"[" * 100_000, 400), (b"\xff", 400), (b"{}", 500)]
)
def test_what_cannot_be_answered_gets_a_status(hook, body, status):
    got, document = ask(hook, body)
    assert got == status
    assert document["error"]


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", str(BODY_LIMIT + 1), "9" * 30, "²"])
def test_a_length_that_is_none_or_too_large_is_refused(hook, length):
    assert ask(hook, b"", headers={"Content-Length": length.encode("utf-8")})[0] == 413


def test_a_request_without_length_is_refused(hook):
    assert ask(hook, b"", headers={"X-Nothing": "1"})[0] == 413


@pytest.mark.parametrize("answer", [None, 7, {"a": {1, 2}}], ids=["nothing", "number", "set"])
def test_a_function_that_answers_something_else_ends_as_an_error(answer):
    with Webhook(lambda request: answer) as hook:
        status, document = ask(hook, {})
    assert status == 500
    assert document["error"]


def test_a_caller_that_hangs_up_is_no_news(hook, capfd):
    parts = urlsplit(hook.url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", f"{parts.path}?{parts.query}")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"{")
    assert ask(hook, {"linkedHubs": ["a"]})[0] == 200
    hook._server.handle_error(None, None)
    assert capfd.readouterr().err == ""


def test_its_address_is_a_secret_and_it_leaves_nothing_behind():
    hook = Webhook(choose)
    code = hook.url.partition("code=")[2]
    assert len(code) > 20
    assert code not in repr(hook)
    hook.close()
    hook.close()
    with pytest.raises(OSError, match="refused"):
        ask(hook, {})
    assert "webhook" not in {thread.name for thread in threading.enumerate()}


def test_it_is_published_where_the_target_can_ask_it(capsys):
    with publish(FakeTarget(is_simulator=True), choose) as here:
        assert repr(here) == "Webhook(on this machine)"
        assert here.try_out(lambda definition: [definition["webhookUrl"]]) == [here.url]
    elsewhere = publish(FakeTarget(is_simulator=False), choose, "https://contoso.azurewebsites.net/api/x?code=secret")
    assert isinstance(elsewhere, Webhook)
    assert repr(elsewhere) == "Webhook(https://contoso.azurewebsites.net/api/x)"
    assert elsewhere.definition["webhookUrl"].endswith("?code=secret")
    elsewhere.close()
    nowhere = publish(FakeTarget(is_simulator=False), choose)
    assert isinstance(nowhere, Unreachable)
    assert repr(nowhere) == "Webhook(not published)"
    assert nowhere.try_out(lambda definition: ["never"]) == []
    nowhere.close()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "The webhook is published on this machine."
    assert "webhook_url" in said[2]
    assert said[3] == "Left out: nobody can ask the webhook."
    assert "secret" not in str(said)


def test_the_example_is_a_request_as_documented_without_any_key():
    request = example_request(group_id="ovens", registration_id="ovens-001", hubs=("a", "b"), payload=None)
    assert set(request) == {"enrollmentGroup", "deviceRuntimeContext", "linkedHubs"}
    assert request["deviceRuntimeContext"]["symmetricKey"] == {}
    assert "Key" not in json.dumps(request["enrollmentGroup"]).replace("symmetricKey", "")
    assert request["enrollmentGroup"]["customAllocationDefinition"]["webhookUrl"].endswith("?****")
