"""A provisioning service that answers what a test tells it to, behind a proxy and real TLS; and a TPM made of paper."""

import base64
import contextlib
import hmac
import http.server
import json
import socket
import ssl
import threading
import time

from azure.iot.device import ProxyOptions
from patience import PATIENCE, wait_until

from dps_simulator.server.tls.authority import CertificateAuthority

HOST = "dps.test"
HUB = "contoso-hub.azure-devices.test"
SCOPE = "0ne00000A01"
OPERATION = "5.0123456789abcdef.11111111-2222-3333-4444-555555555555"


def challenge(key=b"first key", **more):
    """The answer to a device that shows its keys."""
    return 401, {}, {"authenticationKey": base64.b64encode(key).decode(), "keyName": "registration", **more}


def assigning(retry_after="0"):
    return 202, {"Retry-After": retry_after}, {"operationId": OPERATION, "status": "assigning"}


def assigned(key=b"hub key", **changes):
    state = {
        "tpm": {"authenticationKey": base64.b64encode(key).decode()},
        "registrationId": "gateway",
        "createdDateTimeUtc": "2026-01-01T00:00:00Z",
        "assignedHub": HUB,
        "deviceId": "greenhouse-gateway",
        "status": "assigned",
        "substatus": "initialAssignment",
        "lastUpdatedDateTimeUtc": "2026-01-01T00:00:01Z",
        "etag": "IjEi",
        **changes,
    }
    return 200, {}, {"operationId": OPERATION, "status": "assigned", "registrationState": state}


class PaperTpm:
    """As much of a TPM as a registration asks for; every blob is the key itself."""

    endorsement_key, storage_root_key, registration_id = "RUs=", "U1JL", "gateway"

    def __init__(self):
        self.keys = []

    def activate(self, blob):
        self.keys.append(blob)

    def sign(self, data):
        return hmac.digest(self.keys[-1], data, "sha256")


class ScriptedService:
    """Answers requests with a list of answers, in order; what is a function is called with the handler.

    Arguments:
        folder: where its certificate lies.
        names: host names in its certificate.
    """

    def __init__(self, folder, names=(HOST,)):
        authority = CertificateAuthority(folder)
        certificate_file, key_file = authority.issue_server_certificate(list(names))
        self.certificate = authority.certificate_file.read_text()
        self.answers = []
        self.requests = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_file, key_file)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, context))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def options(self):
        return {
            "proxy_options": ProxyOptions("HTTP", "127.0.0.1", self.port),
            "server_verification_cert": self.certificate,
        }

    def wait_for_requests(self, count):
        wait_until(lambda: len(self.requests) >= count, lambda: f"{count} requests instead of {len(self.requests)}")

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Request:
    """What a client sent."""

    def __init__(self, handler, body):
        self.method, self.path = handler.command, handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = json.loads(body) if body else None


def _handler(service, context):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE

        def do_CONNECT(self):
            if self.path != f"{HOST}:443":
                self.send_error(403, "Forbidden")
                return
            self.send_response(200)
            self.end_headers()
            try:
                self.request = self.connection = context.wrap_socket(self.connection, server_side=True)
            except OSError:
                self.close_connection = True
                return
            self.rfile.close()
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
            self.close_connection = False

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service.requests.append(Request(self, body))
            prepared = service.answers.pop(0)
            if callable(prepared):
                prepared(self)
                return
            status, headers, document = prepared
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                self.close_connection = True

        def do_PUT(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def finish(self):
            super().finish()
            # the server closes what it accepted, not the TLS around it
            self.connection.close()

        def log_message(self, *arguments):
            pass

    return Handler


def hang_up(handler):
    """Close the connection instead of answering."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def be_silent(handler):
    """Say nothing until the client is gone."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while handler.connection.recv(1):
            pass


def stop_in_the_middle(handler):
    """Send the beginning of an answer."""
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    be_silent(handler)


def trickle(handler):
    """Send an answer so slowly that it never ends."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)
