"""A webhook on this machine that answers whatever a test wants, over plain HTTP or TLS."""

import contextlib
import http.server
import json
import threading

from patience import wait_until


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # a client beyond that would be made to wait for a second
    request_queue_size = 128


class WebhookServer:
    """Answers with what :attr:`answer` makes of the request's document: a status, a body and headers.

    Attributes:
        requests: what came: (path, headers, document).
        answer: called with the document; a mapping means 200 and JSON.
    """

    def __init__(self, context=None):
        self.requests = []
        self.answer = lambda document: {"iotHubHostName": document["linkedHubs"][0]}
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                owner._serve(self)

            def log_message(self, *arguments):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *arguments: None
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}/allocate"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)
        self._thread.start()

    def _serve(self, handler):
        document = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.requests.append((handler.path, dict(handler.headers), document))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.answer(document)
        finally:
            with self._lock:
                self.at_once -= 1
        status, body, headers = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode(), {})
        with contextlib.suppress(OSError):
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

    @property
    def documents(self):
        return [document for _, _, document in self.requests]

    def wait_for(self, count):
        wait_until(lambda: len(self.requests) >= count, lambda: f"{count} requests instead of {len(self.requests)}")

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
