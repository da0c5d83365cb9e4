"""The management API: who may use it, every route, and everything that can be wrong about a request."""

import errno
import json
import socket
import ssl

import pytest
import requests
from patience import PATIENCE, wait_until

from dps_simulator import ManualClock, Simulator
from dps_simulator.common.trace import CAPACITY, Trace
from dps_simulator.console import refusals
from dps_simulator.console.endpoint import PIECE, _trace_pieces
from dps_simulator.errors.table import ErrorKind, Provenance, ascii_json
from dps_simulator.process import launcher
from dps_simulator.process.address import RunningSimulator
from dps_simulator.settings.settings import MAX_HUBS, HubSettings

SECOND = "contoso-hub-2.azure-devices.test"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    with Simulator(state=tmp_path_factory.mktemp("state")) as simulator:
        yield simulator


@pytest.fixture
def api(simulator):
    running = simulator.running
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.certificate_authority_file)
        session.headers["Authorization"] = f"Bearer {running.management_token}"

        def call(method, path, *, base=running.management_url, **options):
            return session.request(method, base + path, timeout=PATIENCE, **options)

        yield call


ROUTES = [
    ("GET", "/health"),
    ("GET", "/pace"),
    ("PUT", "/pace"),
    ("GET", "/hubs"),
    ("PUT", f"/hubs/{SECOND}"),
    ("DELETE", f"/hubs/{SECOND}"),
    ("GET", "/faults"),
    ("PUT", "/faults"),
    ("DELETE", "/faults"),
    ("GET", f"/hubs/{SECOND}/telemetry"),
    ("POST", f"/hubs/{SECOND}/devices/d/messages"),
    ("GET", "/trace"),
    ("DELETE", "/trace"),
    ("POST", "/reset"),
    ("POST", "/stop"),
]


# every route without a token, and every wrong spelling at one route: one piece of code looks at all of them
@pytest.mark.parametrize(
    ("method", "path", "header"),
    [(method, path, None) for method, path in ROUTES]
    + [
        ("POST", "/stop", header)
        for header in ("", "Bearer", "Bearer wrong", "bearer {}", "{}", "Basic {}", "Bearer {} ")
    ],
)
def test_nobody_gets_in_without_the_token(api, simulator, method, path, header):
    token = simulator.running.management_token
    value = None if header is None else header.replace("{}", token[:-1] if header == "Bearer {} " else token)
    answer = api(method, path, headers={"Authorization": value})
    assert (answer.status_code, answer.json()["errorCode"]) == (401, 401_900)
    assert answer.json()["message"].startswith("The management token is missing or wrong.")
    assert "connect(...) again" in answer.json()["message"]
    assert token not in answer.text


def test_a_token_that_is_not_even_text(simulator):
    running = simulator.running
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    for host, path in (
        ("127.0.0.1", "/simulator/health"),
        (running.service_host, "/enrollments/x?api-version=2021-10-01"),
        (running.hubs[0].host, "/devices/x?api-version=2021-04-12"),
    ):
        plain = socket.create_connection(("127.0.0.1", running.tls_port))
        with context.wrap_socket(plain, server_hostname=host) as connection:
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: "
            connection.sendall(head.encode() + b"Bearer \xff\xfe\r\n\r\n")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 401 ")


def test_health(api, simulator):
    assert api("GET", "/health").json() == {
        "status": "ready",
        "version": simulator.running.version,
        "processId": simulator.running.process_id,
        "code": simulator.running.code,
        "codeFolder": simulator.running.code_folder,
    }


def test_it_answers_under_every_name(api, simulator):
    running = simulator.running
    answer = api("GET", "/health", base=f"https://localhost:{running.tls_port}/simulator")
    assert answer.json()["processId"] == running.process_id
    for host in (running.provisioning_host, running.service_host, running.hubs[0].host):
        answer = api("GET", "/health", base=f"https://{host}/SIMULATOR", proxies={"https": running.proxy_url})
        assert answer.json()["processId"] == running.process_id


def test_pace(api, simulator):
    for pace in ("instant", "polls=3", "azure"):
        assert api("PUT", "/pace", json={"pace": pace}).json() == {"pace": pace}
        assert api("GET", "/pace").json() == {"pace": pace}
        assert simulator.pace == pace


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pace": "slow"}, "slow"),
        ({"pace": "polls=-1"}, "polls=-1"),
        ({"pace": 3}, "The body must be"),
        ({}, "The body must be"),
        ([], "The body must be"),
        (None, "The body must be"),
        ("instant", "The body must be"),
    ],
)
def test_wrong_paces(api, body, said):
    answer = api(
        "PUT", "/pace", data=b"" if body is None else json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 400_901)
    assert said in answer.json()["message"]


def test_bodies_that_are_not_json(api):
    assert api("PUT", "/pace", data=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert api("PUT", "/pace", data=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_hubs(api, simulator):
    first = simulator.running.hubs[0].host
    file = simulator.call(lambda runtime: runtime.endpoint_file)
    linked = {"linked": True, "allocationWeight": 1, "applyAllocationPolicy": True, "latency": None}
    assert api("GET", "/hubs").json() == {"hubs": [{"host": first, **linked}]}
    for _ in range(2):
        answer = api("PUT", f"/hubs/{SECOND.upper()}").json()
        assert answer == {"hubs": [{"host": first, **linked}, {"host": SECOND, **linked}]}
        assert [hub.host for hub in simulator.running.hubs] == [first, SECOND]
        assert [hub["host"] for hub in json.loads(file.read_text())["hubs"]] == [first, SECOND]
        assert file.stat().st_mode & 0o777 == 0o600
    # it is there at once: behind the proxy, with a certificate that stands for it
    answer = api(
        "GET",
        "/devices/x?api-version=2021-04-12",
        base=f"https://{SECOND}",
        proxies={"https": simulator.running.proxy_url},
    )
    assert answer.status_code == 401
    assert api("DELETE", f"/hubs/{SECOND}").status_code == 204
    assert [hub.host for hub in simulator.running.hubs] == [first]
    assert [hub["host"] for hub in json.loads(file.read_text())["hubs"]] == [first]
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get(f"https://{SECOND}/", proxies={"https": simulator.running.proxy_url}, timeout=PATIENCE)
    missing = api("DELETE", f"/hubs/{SECOND}")
    assert (missing.status_code, missing.json()["errorCode"]) == (404, 404_901)
    assert SECOND in missing.json()["message"]


def test_hubs_change_also_where_the_endpoint_file_cannot_be_renewed(api, simulator, monkeypatch, caplog):
    file = simulator.call(lambda runtime: runtime.endpoint_file)
    before = file.read_text()

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunningSimulator, "write", refuse)
        assert api("PUT", f"/hubs/{SECOND}").status_code == 200
        assert SECOND in str(api("GET", "/hubs").json())
        assert api("DELETE", f"/hubs/{SECOND}").status_code == 204
    assert SECOND not in str(api("GET", "/hubs").json())
    assert file.read_text() == before
    assert "endpoint.json could not be renewed (No space left on device)" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_hub_that_cannot_be_stored_is_not_there(api, simulator):
    def lock(runtime, locked):
        runtime.services._store.rows(f"PRAGMA query_only={int(locked)}", ())

    simulator.call(lambda runtime: lock(runtime, True))
    for method in ("PUT", "DELETE"):
        simulator.call(lambda runtime: lock(runtime, False))
        if method == "DELETE":
            assert api("PUT", f"/hubs/{SECOND}").status_code == 200
        simulator.call(lambda runtime: lock(runtime, True))
        answer = api(method, f"/hubs/{SECOND}")
        assert (answer.status_code, answer.json()["errorCode"]) == (500, 500_900)
        assert "could not keep this" in answer.json()["message"]
        assert (SECOND in str(api("GET", "/hubs").json())) == (method == "DELETE")
    simulator.call(lambda runtime: lock(runtime, False))
    assert api("DELETE", f"/hubs/{SECOND}").status_code == 204


def hub_of(answer, host):
    assert answer.status_code == 200, answer.text
    (found,) = [hub for hub in answer.json()["hubs"] if hub["host"] == host]
    return {name: value for name, value in found.items() if name != "host"}


def test_how_a_hub_is_linked(api, simulator):
    first = simulator.running.hubs[0].host
    try:
        body = {"allocationWeight": 5, "applyAllocationPolicy": False, "latency": 12.5}
        assert hub_of(api("PUT", f"/hubs/{SECOND}", json=body), SECOND) == {"linked": True, **body}
        # what is not named stays as it was
        assert hub_of(api("PUT", f"/hubs/{SECOND}", json={"allocationWeight": 6}), SECOND)["latency"] == 12.5
        assert hub_of(api("PUT", f"/hubs/{SECOND}"), SECOND)["allocationWeight"] == 6
        assert hub_of(api("PUT", f"/hubs/{SECOND}", json={"latency": None}), SECOND)["latency"] is None
        # the hub of the settings as well; unlinked, it is still there
        assert hub_of(api("PUT", f"/hubs/{first}", json={"linked": False}), first) == {"linked": False}
        assert [hub.host for hub in simulator.running.hubs] == [first, SECOND]
        assert [link.host for link in simulator.call(lambda runtime: runtime.services.provisioning.links.all())] == [
            SECOND
        ]
        assert hub_of(api("PUT", f"/hubs/{first}", json={"linked": True}), first)["linked"] is True
    finally:
        api("DELETE", f"/hubs/{SECOND}")
    assert [hub["host"] for hub in api("GET", "/hubs").json()["hubs"]] == [first]
    assert simulator.call(lambda runtime: runtime.hubs.links.find(SECOND)) is None


def test_a_hub_may_be_new_and_not_linked(api, simulator):
    try:
        assert hub_of(api("PUT", f"/hubs/{SECOND}", json={"linked": False}), SECOND) == {"linked": False}
        assert simulator.running.hubs[1].host == SECOND
        linked = simulator.call(lambda runtime: [hub.host for hub in runtime.hubs.linked()])
        assert linked == [simulator.running.hubs[0].host]
    finally:
        assert api("DELETE", f"/hubs/{SECOND}").status_code == 204


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"allocationWeight": 0}, "allocationWeight is 0; it must be a whole number from 1 to 1000"),
        ({"allocationWeight": 1001}, "allocationWeight is 1001"),
        ({"allocationWeight": "1"}, "allocationWeight is '1'"),
        ({"latency": -1}, "latency is -1"),
        ({"latency": []}, "latency is []"),
        ({"applyAllocationPolicy": None}, "applyAllocationPolicy is None"),
        ({"linked": "no"}, "linked must be true or false"),
        ({"linked": False, "allocationWeight": 2}, "A hub that is not linked has no allocationWeight"),
        ({"weight": 1}, "'weight' is unknown"),
        ([], "The body must be a JSON object with linked, allocationWeight, applyAllocationPolicy, latency"),
        ("x", "The body must be a JSON object"),
    ],
)
def test_links_that_cannot_be(api, simulator, body, said):
    for host in (SECOND, simulator.running.hubs[0].host):
        answer = api("PUT", f"/hubs/{host}", json=body)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, 400_901)
        assert said in answer.json()["message"]
    assert len(simulator.running.hubs) == 1


def test_what_was_linked_and_unlinked_outlives_the_simulator(tmp_path):
    first = "contoso-hub-1.azure-devices.test"
    with Simulator(state=tmp_path) as simulator:
        simulator.link_hub(SECOND, allocation_weight=3)
        simulator.unlink_hub(first)
    with Simulator(state=tmp_path) as simulator:
        hubs = simulator.call(lambda runtime: {hub["host"]: hub for hub in runtime.hubs.show()})
        assert (hubs[first]["linked"], hubs[SECOND]["allocationWeight"]) == (False, 3)
    # a hub that the settings name no more leaves no link
    with Simulator(state=tmp_path, hubs=(HubSettings("other.azure-devices.test"),)) as simulator:
        hubs = simulator.call(lambda runtime: [hub["host"] for hub in runtime.hubs.show()])
        links = simulator.call(lambda runtime: [link.host for link in runtime.hubs.links.all()])
        assert hubs == ["other.azure-devices.test", SECOND]
        assert sorted(links) == sorted(hubs)


@pytest.mark.parametrize(
    "host",
    [
        "x",
        "hub.example.test",
        "a.b.azure-devices.test",
        "%20.azure-devices.test",
        "-.azure-devices.test",
        "x" * 300,
        "azure-devices.test",
    ],
)
def test_hubs_that_cannot_be(api, simulator, host):
    answer = api("PUT", f"/hubs/{host}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 400_901)
    assert "contoso-hub-2.azure-devices.test" in answer.json()["message"]
    assert len(simulator.running.hubs) == 1


def test_a_hub_cannot_take_the_name_of_another_service():
    with Simulator(service_host=SECOND) as simulator, pytest.raises(ValueError, match="another service"):
        simulator.link_hub(SECOND)


def test_a_hub_of_the_settings_stays(api, simulator):
    answer = api("DELETE", f"/hubs/{simulator.running.hubs[0].host}")
    assert answer.status_code == 400
    assert "stands in the settings" in answer.json()["message"]


def test_there_is_an_end_to_hubs(tmp_path):
    hubs = tuple(HubSettings(f"h{number}.azure-devices.test") for number in range(MAX_HUBS))
    with Simulator(hubs=hubs) as simulator, pytest.raises(ValueError, match=f"at most {MAX_HUBS} hubs"):
        simulator.link_hub(SECOND)


def test_a_long_trace_is_made_in_pieces_and_nobody_waits_for_all_of_them():
    trace = Trace(ManualClock())
    for number in range(CAPACITY):
        trace.record(
            service="hub",
            host="h",
            direction="in",
            protocol="https",
            operation="telemetry",
            detail={"body": f"ä{number} " + "x" * 300, "nested": {"n": [number]}},
        )
    pieces = list(_trace_pieces(trace.events(), trace.last_sequence))
    longest = max(len(ascii_json(event.to_json())) for event in trace.events())
    assert len(pieces) > 20
    assert all(len(piece) <= PIECE + longest + 20 for piece in pieces)
    document = json.loads(b"".join(pieces))
    assert document == {"events": [event.to_json() for event in trace.events()], "last": CAPACITY}
    assert json.loads(b"".join(_trace_pieces([], 7))) == {"events": [], "last": 7}


def test_the_trace_is_read_in_pages(api, simulator):
    api("DELETE", "/trace")
    last = api("GET", "/trace").json()["last"]
    for number in range(5):
        simulator.call(lambda runtime, n=number: runtime.connection_refused(f"h{n}.test", "made for the test"))
    document = api("GET", "/trace").json()
    assert document["last"] == last + 5
    assert [event["host"] for event in document["events"]] == [f"h{number}.test" for number in range(5)]
    # the management API itself leaves no trace
    seen, after = [], last
    while page := api("GET", f"/trace?after={after}&limit=2").json()["events"]:
        assert len(page) <= 2
        seen += page
        after = page[-1]["sequence"]
    assert seen == document["events"]
    assert api("GET", "/trace?limit=0").json()["events"] == []
    assert api("GET", "/trace?after=999999").json() == {"events": [], "last": last + 5}
    assert api("DELETE", "/trace").status_code == 204
    assert api("GET", "/trace").json() == {"events": [], "last": last + 5}


def test_reset(api, simulator):
    simulator.call(lambda runtime: runtime.connection_refused("h.test", "made for the test"))
    assert api("POST", "/reset").status_code == 204
    assert api("GET", "/trace").json()["events"] == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=1.5", "limit=", "after=%C2%B2", "limit=" + "9" * 16])
def test_wrong_pages(api, query):
    answer = api("GET", f"/trace?{query}")
    assert answer.status_code == 400
    assert f"{query.partition('=')[0]} is '" in answer.json()["message"]
    assert "expected a whole number" in answer.json()["message"]


def test_unknown_routes_and_methods(api):
    answer = api("GET", "/nothing")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 404_900)
    assert "not supported by this simulator" in answer.json()["message"]
    answer = api("PATCH", "/pace")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT")
    # by this machine's own name there is nothing else
    assert (
        api("GET", "/enrollments/x", base=api("GET", "/health").url.removesuffix("/simulator/health")).status_code
        == 404
    )


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_other_methods_on_the_wire(api, method):
    answer = api(method, "/pace")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT")
    assert bool(answer.content) == (method != "HEAD")


def test_stop(tmp_path):
    with Simulator(state=tmp_path) as simulator:
        running = simulator.running
        assert launcher.manage(running, "POST", "/stop") == {"status": "stopping"}
        wait_until(lambda: not (tmp_path / "endpoint.json").exists(), "the removal of the endpoint file")
        assert launcher.find(tmp_path) is None
        simulator._thread.join(PATIENCE)
        with pytest.raises(RuntimeError, match="not running"):
            simulator.call(lambda _: None)


def test_every_error_says_that_only_the_simulator_knows_it():
    kinds = [value for value in vars(refusals).values() if isinstance(value, ErrorKind)]
    assert len(kinds) == 7
    assert {kind.provenance for kind in kinds} == {Provenance.SIMULATOR_ONLY}
