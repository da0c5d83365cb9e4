"""The comparison of Azure with the simulator, made where the names of the cloud lead to a simulator.

Nothing differs then, and nothing of whoever ran it stands in the report. With differences sown into the answers of that
cloud, the report shows these and no other.
"""

import json
import re

import pytest
from test_azure_target import namespaces, run_in_the_cloud

from helpers.comparison.report import private

REPORT = ("-m", "helpers.comparison", "--pace", "instant")

#: A simulator in the place of Azure whose answers are changed: a header more, another value, a field more, a field
#: less, another error code.
SOWN = """
import dataclasses, json, sys
from dps_simulator.__main__ import main
from dps_simulator.wire.http import HttpEndpoint

handle = HttpEndpoint.handle

async def changed(self, request):
    answer = await handle(self, request)
    if request.method == "GET" and request.path.startswith("/enrollments/") and answer.status == 404:
        return dataclasses.replace(answer, body={**json.loads(json.dumps(answer.body)), "errorCode": 404999})
    if request.method == "PUT" and request.path.startswith("/enrollments/") and answer.status == 200:
        body = json.loads(json.dumps(answer.body))
        body["deviceLimit"] = 7
        body["provisioningStatus"] = "Enabled"
        del body["createdDateTimeUtc"]
        headers = {**dict(answer.headers), "x-sown": "1"}
        return dataclasses.replace(answer, body=body, headers=headers)
    return answer

HttpEndpoint.handle = changed
sys.exit(main())
"""
#: A simulator in the place of Azure, and on the same machine the function that a learner has published.
WITH_FUNCTION = """
import json, os, ssl, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from dps_simulator.__main__ import main
from dps_simulator.server.tls.authority import CertificateAuthority

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # as `choose` in the notebook
        model = request["deviceRuntimeContext"].get("payload", {}).get("model")
        hubs = sorted(request["linkedHubs"])
        hub = hubs[1] if model == "pro" else hubs[0]
        answer = {"iotHubHostName": hub, "payload": {"welcome": f"an oven of the model {model}"}}
        content = json.dumps(answer).encode()
        self.send_response(200 if self.path == "/api/choose-hub?code=hush" else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass

authority = CertificateAuthority(Path(__file__).with_name("function"))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*authority.issue_server_certificate(["127.0.0.1"]))
server = ThreadingHTTPServer(("127.0.0.1", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["DPS_SIMULATOR_WEBHOOK_AUTHORITY"] = str(authority.certificate_file)
sys.exit(main())
"""
#: How a device can have come into its hub.
MOVES = {"initialAssignment", "deviceDataMigrated"}
FUNCTION = "https://127.0.0.1:8443/api/choose-hub?code=hush"
#: What no client accepts: the notebook fails.
FATAL = SOWN.replace('"PUT"', '"DELETE"').replace("== 200", "== 204").split("        body =")[0]
FATAL += """
        return dataclasses.replace(answer, status=207)
    return answer

HttpEndpoint.handle = changed
sys.exit(main())
"""


def compared(folder, *notebooks):
    said = run_in_the_cloud(folder, *REPORT, "--output", str(folder / "report"), *notebooks, seconds=1_200)
    text = (folder / "report" / "azure-report.md").read_text(encoding="utf-8")
    document = json.loads((folder / "report" / "azure-report.json").read_text(encoding="utf-8"))
    return said, text, document


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
@pytest.mark.parametrize("notebooks", [["0"], ["1", "2", "3", "9"], ["42"]], ids=["start", "tracks", "hubs"])
def test_a_simulator_in_the_place_of_azure_does_not_differ(tmp_path, notebooks):
    said, text, document = compared(tmp_path, *notebooks)
    differing = [call for call in document["calls"] if call["differences"]]
    assert differing == [], text[:4_000]
    assert re.search(r"\d+ calls compared, 0 with differences", said)
    assert "## Differences\n\nNone.\n" in text
    assert all(each == {"azure": "passed", "simulator": "passed"} for each in document["outcomes"].values())
    private_things_are_not_in(tmp_path, text + json.dumps(document))


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
def test_several_hubs_and_a_published_function_differ_only_in_who_goes_where_and_when(tmp_path):
    (tmp_path / "sown.py").write_text(WITH_FUNCTION)
    _, text, document = compared(tmp_path, "41", "--webhook-url", FUNCTION)
    assert document["outcomes"]["41_load_balanced_hubs"] == {"azure": "passed", "simulator": "passed"}
    differing = [
        (call["operation"], each)
        for call in document["calls"]
        for each in call["differences"]
        if not is_of_the_moment(call["operation"], each)
    ]
    assert differing == [], text[:4_000]
    assert len(document["calls"]) > 300
    bodies = json.dumps(document)
    assert '"webhookUrl": "<webhook>"' in bodies
    assert "hush" not in text + bodies
    assert "8443" not in text + bodies
    private_things_are_not_in(tmp_path, text + bodies)


def is_of_the_moment(operation, difference):
    """Whether something that 41 leaves open is all that differs."""
    if difference["where"].endswith(".substatus"):
        # whether a device moved: by the lowest latency another hub may be its own, and only a simulator is told of them
        return {difference["azure"], difference["simulator"]} <= MOVES
    if difference["kind"] == "answer":
        # a poll may come before the function has answered
        return "operationstatus" in operation and "status 202" in (difference["azure"], difference["simulator"])
    # twenty devices boot at a time, and the records are listed as they came
    return operation.startswith("https POST /registrations/ovens/query?") and difference["where"].startswith("[")


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
def test_what_differs_is_shown_and_nothing_else(tmp_path):
    (tmp_path / "sown.py").write_text(SOWN)
    said, text, document = compared(tmp_path, "00")
    found = {(each["kind"], each["where"], each["azure"], each["simulator"]) for each in differences(document)}
    assert sorted(found) == [
        ("error code", ".errorCode", "404999", "404201"),
        ("header", "x-sown", "there", ""),
        ("shape", ".createdDateTimeUtc", "", "<time>Z"),
        ("shape", ".deviceLimit", "7", ""),
        ("value", ".provisioningStatus", "Enabled", "enabled"),
    ]
    assert "**header** `x-sown`: Azure `there`, the simulator nothing" in text
    assert "`https PUT /enrollments/first-device?api-version=2021-10-01`" in text
    assert " 0 with differences" not in said
    assert document["outcomes"]["00_start_here"] == {"azure": "passed", "simulator": "passed"}
    private_things_are_not_in(tmp_path, text + json.dumps(document))


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.timeout(1_300)
@namespaces
def test_where_a_notebook_fails_on_azure_the_report_says_why(tmp_path):
    (tmp_path / "sown.py").write_text(FATAL)
    _, text, document = compared(tmp_path, "00")
    assert document["outcomes"]["00_start_here"] == {"azure": "failed", "simulator": "passed"}
    assert {"kind": "status", "where": "", "azure": "207", "simulator": "204"} in differences(document)
    assert "| 00_start_here | failed | passed |" in text
    private_things_are_not_in(tmp_path, text + json.dumps(document))


def differences(document):
    return [each for call in document["calls"] for each in call["differences"]]


def private_things_are_not_in(folder, text):
    """Whatever the simulator that plays Azure, or its subscriber, would not show to others."""
    secrets = json.loads((folder / "secrets.json").read_text())
    assert private(text) == []
    hosts = [secrets["service_host"], *(hub["host"] for hub in secrets["hubs"])]
    keys = re.findall(r"SharedAccessKey=([^\"]+)", json.dumps(secrets))
    assert len(keys) == 3
    things = [*hosts, *keys, secrets["management_token"], secrets["id_scope"], "11111111-2222-3333-4444-555555555555"]
    assert [thing for thing in things if thing in text] == []
