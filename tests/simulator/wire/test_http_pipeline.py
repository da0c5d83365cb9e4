"""The pipeline that every HTTP request passes: route, version, authentication, body, operation, in this order."""

import logging

import pytest
from http_parts import BODY, DENIED, INTERNAL, MEDIA, NO_VERSION, OTHER_VERSION, ROUTE, Things

from dps_simulator.common.http import Peer, Request, Response
from dps_simulator.wire.http import Call


@pytest.fixture
def things():
    things = Things()
    yield things
    things.store.close()


def test_a_request_and_its_answer_are_traced(things):
    response = things.send("PUT", "/things/lamp", b'{"on": true, "key": "NOT-A-SECRET-BUT-MASKED"}')
    assert (response.status, response.body, response.encoded()) == (204, None, b"")
    assert things.did == ["authenticate write", "write"]
    assert things.events() == [("in", "write thing", "lamp", None), ("out", "write thing", "lamp", 204)]
    first = things.trace.events()[0]
    assert (first.service, first.host, first.protocol) == ("things", "things.test", "https")
    assert first.detail == {"body": {"on": True, "key": "****SKED"}}
    assert things.things.get("lamp")["body"]["key"] == "NOT-A-SECRET-BUT-MASKED"


class TestOrder:
    """Everything is wrong at once; the first step in order is the one that complains."""

    @pytest.mark.parametrize(
        ("path", "version", "authorization", "content_type", "body", "expected"),
        [
            ("/nothing", None, "", "text/plain", b"{", ROUTE),
            ("/things/lamp/parts", None, "", "text/plain", b"{", ROUTE),
            ("/things/lamp", None, "", "text/plain", b"{", NO_VERSION),
            ("/things/lamp", "", "", "text/plain", b"{", NO_VERSION),
            ("/things/lamp", "2019-03-31", "", "text/plain", b"{", OTHER_VERSION),
            ("/things/lamp", "2021-10-01", "", "text/plain", b"{", DENIED),
            ("/things/lamp", "2021-10-01", "yes", "text/plain", b"{", MEDIA),
            ("/things/lamp", "2021-10-01", "yes", "application/json", b"{", BODY),
        ],
    )
    def test_step_by_step(self, things, path, version, authorization, content_type, body, expected):
        response = things.send(
            "PUT", path, body, version=version, authorization=authorization, content_type=content_type
        )
        assert (response.status, response.body["errorCode"]) == (expected.status, expected.code)
        assert response.headers["x-ms-error-code"] == str(expected.code)
        assert "write" not in things.did
        directions = [event.direction for event in things.trace.events()]
        assert directions == ["in", "out"]
        assert things.trace.events()[-1].status == expected.status

    def test_a_wrong_method_comes_before_the_version(self, things):
        assert things.send("DELETE", "/things/lamp", version=None).status == 405

    def test_who_is_refused_learns_no_reason_but_the_trace_does(self, things):
        response = things.send("GET", "/things/lamp", authorization="no")
        assert "yes" not in str(response.body)
        assert things.trace.events()[-1].detail["reason"] == "the authorization is not 'yes'"

    def test_a_route_without_a_right_asks_nobody(self, things):
        assert things.send("GET", "/things/special", authorization="").status == 200
        assert things.did == []

    def test_an_endpoint_without_versions_and_rights(self, things):
        endpoint = things.make(traced=False)
        assert things.send("GET", "/things/lamp", version=None, authorization="", endpoint=endpoint).status == 200
        assert things.did == ["read lamp"]
        assert things.events() == []


class TestRoutes:
    @pytest.mark.parametrize(
        ("path", "identifier"),
        [
            ("/things/lamp", "lamp"),
            ("/THINGS/lamp", "lamp"),
            ("/things/Lamp/", "Lamp"),
            ("/things/a%2Fb", "a/b"),
            ("/things/a%20b%25", "a b%"),
            ("/things/%C3%BC", "ü"),
            ("/things/%FF", "�"),
            ("/things/%", "%"),
            ("/things/100%25", "100%"),
            ("/things/a+b", "a+b"),
            ("/things/..", ".."),
        ],
    )
    def test_ids_are_decoded_once(self, things, path, identifier):
        assert things.send("GET", path).body == {"id": identifier}

    @pytest.mark.parametrize(
        "path", ["/things", "/things/", "/", "", "/things//parts/x", "/things/a/b", "/things/a/parts/"]
    )
    def test_ids_are_never_empty(self, things, path):
        response = things.send("POST", path)
        assert response.status == 404
        assert f"POST {path} is not supported by this simulator" in response.body["message"]

    def test_literal_routes_come_first(self, things):
        assert things.send("GET", "/things/special").body == {"special": True}
        assert things.send("GET", "/things/Special").body == {"special": True}

    def test_the_first_of_two_equal_routes_wins(self, things):
        assert things.send("PUT", "/things/lamp").status == 204

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PATCH", "get", "BREW"])
    def test_other_methods_are_told_the_right_ones(self, things, method):
        response = things.send(method, "/things/lamp")
        assert response.status == 405
        assert response.headers["Allow"] == "GET, PUT"
        assert "allowed: GET, PUT" in response.body["message"]
        assert things.events()[0][1] == f"{method} /things/lamp"

    def test_what_is_long_is_cut(self, things):
        message = things.send("M" * 500, "/" + "p" * 50_000).body["message"]
        assert len(message) < 400


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "parsed"),
        [(b"", None), (b"  \n", None), (b"null", None), (b"[1, 2.5]", [1, 2.5]), ('"ü"'.encode(), "ü"), (b"0", 0)],
    )
    def test_json(self, things, body, parsed):
        assert things.send("POST", "/things/lamp/parts/bulb", body).body == {
            "id": "lamp",
            "part": "bulb",
            "body": parsed,
        }

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"{", "line 1"),
            (b"{'a': 1}", "line 1"),
            (b'{"a": NaN}', "NaN"),
            (b"1e999", "too large"),
            (b"\xff\xfe{}", "JSON"),
            (b'"\xff"', "UTF-8"),
            (b"[" * 100 + b"]" * 100, "deeper"),
            (b"[" * 100_000, "deeper"),
        ],
    )
    def test_what_is_not_json(self, things, body, said):
        response = things.send("PUT", "/things/lamp", body)
        assert (response.status, response.body["errorCode"]) == (BODY.status, BODY.code)
        assert said in response.body["message"]
        assert things.things.count() == 0

    @pytest.mark.parametrize(
        "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
    )
    def test_content_types_of_json(self, things, content_type):
        assert things.send("PUT", "/things/lamp", b"{}", content_type=content_type).status == 204

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_other_content_types_are_named(self, things, content_type):
        response = things.send("PUT", "/things/lamp", b"{}", content_type=content_type)
        assert response.status == 415
        assert repr(content_type) in response.body["message"]

    def test_a_body_that_nobody_reads_is_not_looked_at(self, things):
        assert things.send("GET", "/things/lamp", b"{", content_type="text/plain").status == 200


class TestErrors:
    def test_an_exception_becomes_an_answer_and_a_line_in_the_log(self, things, caplog):
        with caplog.at_level(logging.ERROR):
            response = things.send("GET", "/broken")
        assert (response.status, response.body["errorCode"]) == (500, INTERNAL.code)
        assert response.body["message"] == "Internal by the table."
        assert "a detail" not in str(response.body)
        assert "break failed" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert things.events()[-1] == ("out", "break", "", 500)

    @pytest.mark.parametrize(("body", "status"), [(b'"broken"', 500), (b'"refused"', 400)])
    def test_what_an_operation_wrote_before_its_error_is_taken_back(self, things, body, status):
        assert things.send("POST", "/half", body).status == status
        assert things.things.count() == 0
        assert things.send("PUT", "/things/lamp").status == 204
        assert things.things.count() == 1

    def test_when_to_come_back(self, things):
        response = things.send("GET", "/busy")
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert response.body["message"] == "Come back later."
        assert "Allow" not in response.headers

    def test_headers(self, things):
        assert things.send("GET", "/things/lamp", x_etag='"1"').headers == {"ETag": '"1"'}

    def test_answers_are_ascii(self):
        assert Response(body={"name": "Übung"}).encoded() == b'{"name":"\\u00dcbung"}'

    def test_a_call_knows_its_headers(self):
        call = Call(Request("GET", "/", {}, {"if-match": "*"}, b"", Peer()), {})
        assert (call.header("if-match"), call.header("if-none-match")) == ("*", None)
