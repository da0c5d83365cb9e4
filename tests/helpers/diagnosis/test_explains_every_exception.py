"""Exceptions without an answer of a service: each class that the clients and the helpers have, and usual beginnings."""

import asyncio
import binascii
import concurrent.futures
import http.client
import importlib
import inspect
import socket
import ssl
from types import SimpleNamespace

import pytest
import requests
import urllib3
from azure.core import exceptions as azure_exceptions
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device import exceptions as device_exceptions
from azure.iot.device.common import transport_exceptions
from azure.iot.device.common.pipeline import pipeline_exceptions
from msrest import exceptions as msrest_exceptions

from helpers.diagnosis import causes, explain

HELPERS = (
    "helpers.target.settings",
    "helpers.certificates.files",
    "helpers.checks",
    "helpers.credentials",
    "helpers.faults",
    "helpers.recipes.cleanup",
    "helpers.course.line",
    "helpers.target.registry",
    "dps_simulator.process.launcher",
    "helpers.target.target",
    "helpers.tpm.errors",
    "helpers.workspace",
)


class Answer:
    """As much of an answer as azure-core keeps."""

    def __init__(self, status, path, headers=None):
        self.status_code = status
        self.reason = "reason"
        self.headers = headers or {}
        self.request = requests.Request("GET", f"https://contoso.test{path}").prepare()

    def body(self):
        return b""

    def text(self, encoding=None):
        return ""


#: What these need to be made; all others take a text.
SPECIAL = {
    "TpmResponseError": ("TPM2_Import", 0x3DF),
    "ODataV4Error": (Answer(418, "/enrollments/a"),),
    "StreamClosedError": (Answer(418, "/enrollments/a"),),
    "StreamConsumedError": (Answer(418, "/enrollments/a"),),
    "ValidationError": ("required", "name", None),
}


def classes(module):
    """Those that leave the module: private ones are caught within it."""
    return [
        kind
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseException) and kind.__module__ == module.__name__ and not name.startswith("_")
    ]


def made(kind):
    if kind.__name__ == "HttpOperationError":
        answer = requests.Response()
        answer.status_code = 418
        return kind(lambda name, response: None, answer)
    if kind.__name__ == "ResponseNotReadError":
        return kind(Answer(418, "/enrollments/a"))
    return kind(*SPECIAL.get(kind.__name__, ("something",)))


def all_classes():
    modules = [azure_exceptions, device_exceptions, transport_exceptions, pipeline_exceptions, msrest_exceptions]
    modules += [importlib.import_module(name) for name in HELPERS]
    found = [kind for module in modules for kind in classes(module)]
    return [pytest.param(kind, id=f"{kind.__module__}.{kind.__name__}") for kind in found]


@pytest.mark.parametrize("kind", all_classes())
def test_every_class_is_explained(kind):
    found = explain(made(kind))
    assert found.symptom.name != "not in the table"
    assert all(cause.cause and cause.remedy and cause.taught for cause in found.causes)


def caused(outer, *inner):
    """An exception with its chain of causes, as a client raises it."""
    current = outer
    for each in inner:
        current.__cause__ = each
        current = each
    return outer


PROXY = urllib3.exceptions.ProxyError("Unable to connect to proxy", OSError())
BROKEN = requests.ConnectionError(
    urllib3.exceptions.ProtocolError("Connection aborted.", http.client.RemoteDisconnected("Remote end closed"))
)
BROKEN.__context__ = http.client.RemoteDisconnected("Remote end closed connection without response")


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        pytest.param(
            device_exceptions.CredentialError("x"), "connection refused for these credentials", id="credential"
        ),
        pytest.param(device_exceptions.ConnectionFailedError("x"), "host not reachable", id="no connection"),
        pytest.param(
            caused(device_exceptions.ConnectionFailedError("x"), socket.gaierror(-2, "Name or service not known")),
            "host not reachable",
            id="no such host",
        ),
        pytest.param(
            caused(device_exceptions.ConnectionFailedError("x"), TimeoutError(110, "timed out")),
            "host not reachable",
            id="port closed",
        ),
        pytest.param(device_exceptions.ConnectionDroppedError("x"), "connection lost", id="dropped"),
        pytest.param(device_exceptions.NoConnectionError("x"), "connection lost", id="not connected"),
        pytest.param(device_exceptions.OperationTimeout("x"), "no answer in time", id="operation timeout"),
        pytest.param(TimeoutError(), "no answer in time", id="asyncio timeout"),
        pytest.param(concurrent.futures.TimeoutError(), "no answer in time", id="futures timeout"),
        pytest.param(requests.ReadTimeout("x"), "no answer in time", id="read timeout"),
        pytest.param(device_exceptions.OperationCancelled("x"), "work given up", id="operation cancelled"),
        pytest.param(asyncio.CancelledError(), "work given up", id="task cancelled"),
        pytest.param(device_exceptions.ServiceError("x"), "service refuses the device", id="service error"),
        pytest.param(device_exceptions.ClientError("x"), "client failed", id="client error"),
        pytest.param(
            caused(device_exceptions.ClientError("Unexpected failure"), ValueError("x is not valid")),
            "value not usable by the client",
            id="value error inside",
        ),
        pytest.param(
            caused(device_exceptions.ClientError("Client has already been shut down"), Exception()),
            "client shut down",
            id="shut down",
        ),
        pytest.param(
            caused(device_exceptions.ClientError("TLS"), ssl.SSLCertVerificationError("certificate verify failed")),
            "certificate not trusted",
            id="not trusted",
        ),
        pytest.param(requests.exceptions.ProxyError(PROXY), "proxy unreachable", id="proxy"),
        pytest.param(BROKEN, "answer cut off", id="cut"),
        pytest.param(azure_exceptions.ServiceResponseError("x"), "answer cut off", id="no response"),
        pytest.param(azure_exceptions.ServiceRequestError("x"), "host not reachable", id="no request"),
        pytest.param(azure_exceptions.ServiceRequestTimeoutError("x"), "host not reachable", id="request timeout"),
        pytest.param(azure_exceptions.ServiceResponseTimeoutError("x"), "answer cut off", id="response timeout"),
        pytest.param(azure_exceptions.HttpResponseError("x"), "refused in another way", id="http response"),
        pytest.param(azure_exceptions.ResourceNotFoundError("x"), "not found", id="not found"),
        pytest.param(azure_exceptions.ResourceExistsError("x"), "exists already", id="exists"),
        pytest.param(azure_exceptions.ResourceModifiedError("x"), "changed meanwhile", id="modified"),
        pytest.param(azure_exceptions.ClientAuthenticationError("x"), "not logged in", id="not logged in"),
        pytest.param(binascii.Error("Incorrect padding"), "key not usable", id="padding"),
    ],
)
def test_what_the_clients_raise(problem, name):
    assert explain(problem).symptom.name == name


def raised(function, *arguments, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which class it is, is the SDK's business)
        function(*arguments, **options)
    return caught.value


def test_values_that_the_device_client_refuses():
    found = explain(raised(IoTHubDeviceClient.create_from_connection_string, "HostName=a"))
    assert found.symptom.name == "connection string not usable"
    options = {"hostname": "hub.test", "device_id": "d"}
    found = explain(raised(IoTHubDeviceClient.create_from_symmetric_key, symmetric_key="no key!", **options))
    assert found.symptom.name == "key not usable"
    found = explain(raised(ProvisioningDeviceClient.create_from_symmetric_key, "host", "", "0ne00000A01", "a2V5"))
    assert found.symptom.name == "value not usable by the client"
    client = IoTHubDeviceClient.create_from_symmetric_key(symmetric_key="a2V5", **options)
    try:
        found = explain(raised(client.send_message, "x" * 300_000))
    finally:
        client.shutdown()
    assert found.symptom.name == "message too large"
    found = explain(raised(client.send_message, "x"))
    assert found.symptom.name == "client shut down"


@pytest.mark.parametrize(
    ("status", "path", "name"),
    [
        (401, "/enrollments/a", "service key refused"),
        (401, "/subscriptions/s/resourceGroups/g", "login refused"),
        (403, "/enrollments/a", "access forbidden"),
        (404, "/enrollments/a", "not found"),
        (404, "/subscriptions/s/resourceGroups/g", "resource not found"),
        (409, "/enrollments/a", "exists already"),
        (429, "/enrollments/a", "too much at once"),
        (500, "/enrollments/a", "service in trouble"),
        (418, "/enrollments/a", "refused in another way"),
    ],
)
def test_answers_without_a_code(status, path, name):
    found = explain(azure_exceptions.HttpResponseError(response=Answer(status, path)))
    assert found.symptom.name == name
    assert not found.code
    assert "Error code" not in str(found) + found.html()
    assert not found.is_simulator_only


def test_the_code_of_azure_is_found_in_headers_and_texts():
    given = Answer(404, "/enrollments/a", {"x-ms-error-code": "404201"})
    assert explain(azure_exceptions.HttpResponseError(response=given)).code == "404201"
    odd = Answer(404, "/enrollments/a", {"x-ms-error-code": "odd"})
    assert explain(azure_exceptions.HttpResponseError(response=odd)).code == ""
    text = 'Operation returned "Not Found"; Content: {"errorCode":404201,"message":"Enrollment not found."}'
    found = explain(azure_exceptions.ResourceNotFoundError(text))
    assert found.code == "404201"
    assert "Error code\n  404201\n" in str(found)
    assert ">404201</dd>" in found.html()
    assert len(found.causes) == 1


def test_a_record_of_a_registration_is_explained():
    record = {"status": "failed", "errorCode": 400208, "errorMessage": "No IoT hub. sig=abc"}
    found = explain(record)
    assert found.chain == ["status failed", "No IoT hub. sig=****"]
    assert found.code == "400208"
    assert len(found.causes) == 1
    assert explain({"status": "disabled"}).symptom.name == "enrollment disabled"
    assert explain({"status": "assigned"}).symptom.name == "not in the table"

    state = SimpleNamespace(error_code=400207, error_message=None)
    result = SimpleNamespace(status="failed", registration_state=state)
    assert "webhook" in explain(result).causes[0].cause


def test_nobody_is_taken_for_the_simulator_without_being_it():
    found = explain(azure_exceptions.ServiceRequestError("x"))
    assert causes.SIMULATOR_GONE in found.causes
    assert not found.is_simulator_only


class Watching:
    """As much of a target as the explanation of a refusal needs."""

    is_simulator = True

    def __init__(self, *events):
        self.seen = events

    def last_event(self):
        return len(self.seen)

    def events(self, after=0):
        if not self.seen:
            raise OSError("the simulator has gone")
        return list(self.seen)


def refusal(status, body, **detail):
    return {"service": "provisioning", "operation": "register", "status": status, "detail": {"body": body, **detail}}


TIMEOUT = device_exceptions.OperationTimeout("Could not complete operation before timeout")


def test_what_the_trace_answered_tells_why_nobody_answered():
    found = explain(TIMEOUT, Watching(refusal(429, {"errorCode": 429001, "message": "Too many requests."})))
    assert found.causes == (causes.TOO_MANY_REQUESTS,)
    assert found.code == "429001"
    assert "Error code\n  429001, which the SDK does not show\n" in str(found)
    assert found.reason == ""
    # as text, and with the name that a hub gives
    found = explain(TIMEOUT, Watching(refusal(503, '{"Message": "ErrorCode:ServiceUnavailable;not available"}')))
    assert found.causes == (causes.NOT_AVAILABLE,)
    assert found.code == ""


@pytest.mark.parametrize("body", [None, "no JSON", "[1]", [1], {"errorCode": "odd"}], ids=repr)
def test_an_answer_that_says_nothing_proves_nothing(body):
    found = explain(TIMEOUT, Watching(refusal(429, body)))
    assert len(found.causes) == len(found.symptom.causes)
    assert found.code == ""


def test_on_azure_nothing_is_said_of_the_simulator():
    azure = SimpleNamespace(is_simulator=False)
    found = explain(TIMEOUT, azure)
    assert found.causes
    assert "simulator" not in str(found)
    unknown = azure_exceptions.HttpResponseError("(404900) Not here.")
    assert explain(unknown).is_simulator_only
    found = explain(unknown, azure)
    assert found.code == "404900"
    assert not found.is_simulator_only


def test_a_simulator_that_has_gone_is_no_second_error():
    assert len(explain(TIMEOUT, Watching()).causes) > 1


def test_an_answer_that_cannot_be_read_is_explained_all_the_same():
    class Unread(Answer):
        def text(self, encoding=None):
            raise ValueError("not read")

    found = explain(SimpleError(Unread(404, "/enrollments/a")))
    assert found.symptom.name == "not in the table"


class SimpleError(Exception):
    """An error of some other client, with an answer."""

    def __init__(self, response):
        super().__init__("some client failed")
        self.response = response
