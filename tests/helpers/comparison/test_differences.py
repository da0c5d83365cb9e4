"""Every kind of difference is found; what was only asked more often is none."""

import pytest

from helpers.comparison.differences import Difference, compare


def answer(operation="GET /a", **changed):
    return {
        "channel": "https",
        "service": "<dps>",
        "operation": operation,
        "status": 200,
        "headers": ["content-type"],
        "type": "application/json",
        "body": {"a": 1, "b": ["x"]},
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"status": 201}, ("status", "", "201", "200")),
        ({"headers": ["content-type", "etag"]}, ("header", "etag", "there", "")),
        ({"headers": []}, ("header", "content-type", "", "there")),
        ({"type": "text/plain"}, ("type", "content-type", "text/plain", "application/json")),
        ({"body": {"a": 2, "b": ["x"]}}, ("value", ".a", "2", "1")),
        ({"body": {"a": 1, "b": ["x"], "c": {"d": 1}}}, ("shape", ".c", "{d}", "")),
        ({"body": {"b": ["x"]}}, ("shape", ".a", "", "1")),
        ({"body": {"a": "1", "b": ["x"]}}, ("shape", ".a", "1", "1")),
        ({"body": {"a": True, "b": ["x"]}}, ("shape", ".a", "true", "1")),
        ({"body": {"a": 1, "b": ["x", "y"]}}, ("shape", ".b", "2 items", "1 items")),
        ({"body": {"a": 1, "b": ["y"]}}, ("value", ".b[0]", "y", "x")),
        ({"body": None}, ("shape", ".", "null", "{a, b}")),
    ],
)
def test_a_difference_is_found(changed, found):
    (call,) = compare("00", [answer(**changed)], [answer()])
    assert call.differences == [Difference(*found)]


def test_another_error_code_is_called_so():
    here, there = ({"errorCode": code, "message": "no"} for code in (404201, 404202))
    (call,) = compare("00", [answer(status=404, body=here)], [answer(status=404, body=there)])
    assert call.differences == [Difference("error code", ".errorCode", "404201", "404202")]


def test_who_waits_asks_more_often_and_nothing_differs():
    waiting, ready = answer(status=202), answer()
    (call,) = compare("00", [waiting, waiting, waiting, ready], [waiting, ready])
    assert call.differences == []
    assert call.azure == [waiting, ready]


def test_an_answer_that_one_side_never_gives():
    waiting, ready = answer(status=202), answer()
    (call,) = compare("00", [waiting, ready], [ready])
    assert call.differences == [Difference("answer", "", "status 202", "")]
    (call,) = compare("00", [ready], [waiting, ready])
    assert call.differences == [Difference("answer", "", "", "status 202")]


def test_of_several_answers_the_nearest_is_taken():
    old, new = answer(body={"a": 1, "b": 1}), answer(body={"a": 2, "b": 2})
    (call,) = compare("00", [old, answer(body={"a": 2, "b": 2, "c": 3})], [old, new])
    assert call.differences == [Difference("shape", ".c", "3", "")]


def test_a_call_that_one_side_never_saw():
    first, second = compare("00", [answer("GET /a")], [answer("GET /b")])
    assert first.differences == [Difference("call", "", "made", "")]
    assert second.differences == [Difference("call", "", "", "made")]


def test_answers_of_other_services_and_ways_are_not_mixed():
    calls = compare("00", [answer(), answer(service="<hub>"), answer(channel="mqtt")], [answer()])
    assert [bool(call.differences) for call in calls] == [False, True, True]


def test_a_list_that_is_read_while_it_grows_is_compared_thing_by_thing():
    listed = [answer(body=[{"id": name, "n": 1} for name in names]) for names in ("", "a", "ab", "abc")]
    (call,) = compare("00", [listed[1], listed[3]], [listed[0], listed[2], listed[3]])
    assert call.differences == []
    # who reads it once more is not told of that either, but of anything in it
    (call,) = compare("00", [listed[3]], [listed[2], listed[3]])
    assert call.differences == []
    (call,) = compare("00", [listed[3]], [listed[2], answer(body=[{"id": "a", "n": 1}, {"id": "c", "n": 2}])])
    assert Difference("value", "[0].n", "1", "2") in call.differences
    # read once on both sides, its length counts; and so does a list that is always empty
    (call,) = compare("00", [listed[3]], [listed[2]])
    assert call.differences == [Difference("shape", ".", "3 items", "2 items")]
    (call,) = compare("00", [listed[0]], [listed[1], listed[2]])
    assert {(each.kind, each.azure) for each in call.differences} == {("shape", "0 items")}
