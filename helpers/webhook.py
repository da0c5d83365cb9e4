"""A webhook in the notebook: the function that a provisioning service asks when an enrollment says ``custom``.

In production it is an Azure Function. The simulator asks any address on this machine, so the function can stand in a
cell; Azure asks only what it can reach, so there the function must have been published before.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: What a function gets and gives: the JSON documents of the request and of the answer.
Function = Callable[[Mapping[str, Any]], Mapping[str, Any]]

#: The version of the request's document. Source: Microsoft documentation, iot-dps concepts-custom-allocation.
API_VERSION = "2021-10-01"
PATH = "/api/choose-hub"
#: The document is a small one; more is not for us.
BODY_LIMIT = 256 * 1024
#: As many requests are kept for a look at them.
KEPT = 200
#: Seconds that a connection may stay silent.
_PATIENCE = 10.0


class Webhook:
    """A function behind an address. Close it when it is not needed any more.

    Arguments:
        function: what decides.
        url: where it is published already; empty: serve it here, on this machine.
    """

    def __init__(self, function: Function, url: str = "") -> None:
        self._function = function
        self._code = secrets.token_urlsafe(16)
        self._server: _Server | None = None
        self.requests: deque[Mapping[str, Any]] = deque(maxlen=KEPT)
        self.url = url or self._serve()

    def __repr__(self) -> str:
        # the address holds a code that lets in whoever knows it
        return f"Webhook({self.url.partition('?')[0] if self._server is None else 'on this machine'})"

    def __enter__(self) -> Webhook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def definition(self) -> dict[str, str]:
        """The enrollment's ``customAllocationDefinition``."""
        return {"webhookUrl": self.url, "apiVersion": API_VERSION}

    def try_out(self, step: Callable[[Mapping[str, str]], Sequence[str]]) -> Sequence[str]:
        """Take a step that needs the webhook.

        Arguments:
            step: gets the ``customAllocationDefinition``.
        """
        return step(self.definition)

    def close(self) -> None:
        """Stop serving; the address answers no more, and requests that were kept stay. Closing twice is fine."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def admits(self, target: str) -> bool:
        """Whether a request is for this function and brings its code."""
        parts = urlsplit(target)
        code = parse_qs(parts.query).get("code", [""])[0]
        return parts.path == PATH and hmac.compare_digest(code.encode(), self._code.encode())

    def answer(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
        """Status and document for the body of a request. What the function raises becomes a status, as on Azure."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return 400, {"error": "The body is not JSON."}
        if not isinstance(request, Mapping):
            return 400, {"error": "The body is no JSON object."}
        self.requests.append(request)
        try:
            return 200, dict(self._function(request))
        except Exception as problem:
            # a learner's function may raise anything; whoever asks only needs to know that there is no answer
            return 500, {"error": f"{type(problem).__name__}: {problem}"}

    def _serve(self) -> str:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.webhook = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="webhook", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}?code={self._code}"


class _Server(ThreadingHTTPServer):
    """The server of one webhook."""

    daemon_threads = True
    webhook: Webhook

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a caller that hangs up is no news for a notebook."""


class _Handler(BaseHTTPRequestHandler):
    """Passes requests to the webhook of its server."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: _Server

    def do_POST(self) -> None:
        """Answer a request."""
        length = self.headers.get("Content-Length", "")
        status: int
        document: Mapping[str, Any]
        if not self.server.webhook.admits(self.path):
            status, document = 401, {"error": "There is no such function, or the code is wrong."}
        elif not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= BODY_LIMIT):
            status, document = 413, {"error": f"Expected a body of at most {BODY_LIMIT} bytes, with its length."}
        else:
            status, document = self.server.webhook.answer(self.rfile.read(int(length)))
        try:
            content = json.dumps(dict(document)).encode()
        except (TypeError, ValueError) as problem:
            status, content = 500, json.dumps({"error": f"The answer is not JSON: {problem}"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status in (401, 413):
            # the body was not read, so nothing else can follow on this connection
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the base class's)
        """Write nothing: what appears on stderr would stand below the cell."""


class Unreachable:
    """A webhook that nobody can ask: on Azure, when no address is given."""

    url = ""
    requests: Sequence[Mapping[str, Any]] = ()

    def __repr__(self) -> str:
        return "Webhook(not published)"

    def try_out(self, step: Callable[[Mapping[str, str]], Sequence[str]]) -> Sequence[str]:
        """Leave the step out, and say so."""
        _say("Left out: nobody can ask the webhook.")
        return []

    def close(self) -> None:
        """Nothing to close."""


def publish(dps: Any, function: Function, url: str = "") -> Webhook | Unreachable:
    """Give a function an address that the target can ask, and say which.

    Arguments:
        dps: the target, from ``connect(...)``.
        function: what decides.
        url: where the same function is published already, for Azure; it beats everything else.
    """
    if url:
        _say("The webhook is published at the address in the parameters.")
        return Webhook(function, url)
    if dps.is_simulator:
        _say("The webhook is published on this machine.")
        return Webhook(function)
    _say("The webhook is not published: Azure cannot reach this notebook. Publish the function and set webhook_url.")
    return Unreachable()


def example_request(*, group_id: str, registration_id: str, hubs: Sequence[str], payload: object) -> dict[str, Any]:
    """What a provisioning service asks, as documented. Keys are left out, and so is the code in the address.

    Source: Microsoft documentation, iot-dps concepts-custom-allocation.
    """
    return {
        "enrollmentGroup": {
            "enrollmentGroupId": group_id,
            "attestation": {"type": "symmetricKey"},
            "provisioningStatus": "enabled",
            "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
            "allocationPolicy": "custom",
            "iotHubs": list(hubs),
            "customAllocationDefinition": {
                "webhookUrl": "https://contoso.azurewebsites.net/api/choose-hub?****",
                "apiVersion": API_VERSION,
            },
        },
        "deviceRuntimeContext": {"registrationId": registration_id, "symmetricKey": {}, "payload": payload},
        "linkedHubs": list(hubs),
    }


def _say(text: str) -> None:
    print(text)  # noqa: T201  (the notebook's output)
