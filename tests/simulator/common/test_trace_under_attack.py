"""No secret waits in the trace for a reader, whatever was written; and a reader gets what redaction makes of it."""

import base64
import gc
import json
import pickle
import types
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dps_simulator.common import trace as module
from dps_simulator.common.clock import ManualClock
from dps_simulator.common.trace import Trace, redact
from dps_simulator.errors.masking import is_secret_name, mask_in_name, mask_in_text, may_hold_secret

KEY = base64.b64encode(bytes(range(100, 132))).decode()
PIECE = KEY[4:20]
FACTS = {"service": "hub", "direction": "in", "protocol": "mqtt"}
PEM = f"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE{KEY}\n-----END EC PRIVATE KEY-----\n"


def record(trace, host="h", device="d", operation="connect", **detail):
    trace.record(host=host, device=device, operation=operation, detail=detail, **FACTS)


def texts_within(thing):
    """Every text and every bytes that can be reached from something, whatever hides it."""
    seen, waiting, found = set(), [thing], []
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(each))
        if isinstance(each, (str, bytes, bytearray)):
            found.append(each if isinstance(each, str) else bytes(each).decode("latin-1"))
        waiting += gc.get_referents(each)
    return found


SECRETS = {
    "a key in a body": {"body": {"attestation": {"symmetricKey": {"primaryKey": KEY}}}},
    "a key in JSON in a text": {"body": json.dumps({"primaryKey": KEY})},
    "a key in JSON in JSON": {"body": json.dumps(json.dumps({"primaryKey": KEY}))},
    "a key in bytes": {"payload": f'{{"secondaryKey": "{KEY}"}}'.encode()},
    "a token": {"userName": f"hub/d/SharedAccessSignature sr=h&sig={quote(KEY, safe='')}&se=1"},
    "a token in a path": {"topic": f"$iothub/x?{quote(f'sig={KEY}', safe='')}"},
    "escaped twice": {"topic": quote(quote(f"SharedAccessKey={KEY}", safe=""), safe="")},
    "signs between": {"s-i-g": KEY, "k.e.y": KEY, "Pass Phrase": KEY},
    "signs around": {"body": {"_sig": KEY, "sig_": KEY}},
    "an escaped name": {"body": {"%6bey": KEY, "s%69g": KEY, "k%22ey": KEY, "&#107;ey": KEY}},
    "a letter that is small k elsewhere": {"body": {"%E2%84%AAey": KEY, "\N{KELVIN SIGN}ey": KEY}},
    "a private key": {"reason": PEM},
    "a private key without its lines": {"reason": "MHcCAQEE" + KEY * 2},
    "an address": {"webhookUrl": f"https://f.test/api?code={KEY}"},
    "a header": {"headers": {"Authorization": "Basic " + KEY}},
    "in words": {"reason": f"the key of group 'x', primary key: {KEY}"},
    "deep": {"body": [[[[[{"a": [{"connectionString": "HostName=h;SharedAccessKey=" + KEY}]}]]]]]},
    "beside much": {"body": ["x" * 1_900] * 20, "reason": f"SharedAccessKey={KEY}"},
    "no JSON": {"body": {("a", "pair"): f"SharedAccessKey={KEY}"}},
    "no JSON beside it": {"body": {"value": {1, 2}, "primaryKey": KEY}},
}


@pytest.mark.parametrize("detail", SECRETS.values(), ids=SECRETS)
def test_no_secret_stays_in_memory_once_its_event_is_written(detail):
    trace = Trace(ManualClock())
    record(trace, **detail)
    assert not [text for text in texts_within(trace) if PIECE in text]
    [event] = trace.events()
    shown = (repr(event), str(event.to_json()), repr(vars(trace)))
    assert not any(PIECE in text for text in shown)


@pytest.mark.parametrize("place", ["host", "device", "operation"])
@pytest.mark.parametrize(
    "spelled", [KEY, quote(KEY, safe=""), f"SharedAccessKey={KEY}", KEY.replace("=", "&#61;"), f"a {KEY} é"]
)
def test_no_key_stays_where_a_name_is_expected(place, spelled):
    trace = Trace(ManualClock())
    record(trace, **{place: spelled})
    assert not [text for text in texts_within(trace) if PIECE in text]
    assert PIECE not in repr(trace.events())


def test_what_is_remembered_of_harmless_texts_holds_no_secret_and_no_more_than_its_bound():
    trace = Trace(ManualClock())
    for number in range(2 * module._REMEMBERED):
        record(trace, device=f"device-{number}", operation="n" * (number % 300), returnCodes=[number])
        record(trace, device=f"SharedAccessKey={KEY}", operation=KEY, filters=[f"sig={KEY}"])
        record(trace, sig=number, body={"key": number})
    for known in (trace._harmless._names, trace._harmless._details):
        assert 0 < len(known) <= module._REMEMBERED
        assert max(map(len, known)) <= module._LONGEST_NAME
        assert not any("sig" in text or "SharedAccess" in text or KEY in text for text in known)
    trace.clear()
    assert not [text for text in texts_within(trace) if "device-" in text or "returnCodes" in text]


def test_a_text_that_is_harmless_in_one_place_is_asked_again_in_another():
    trace = Trace(ManualClock())
    for name in (KEY, "{}", '{"a":1}'):
        record(trace, device="d", filters=[name])
        record(trace, device=name)
    assert [event.device for event in trace.events()] == ["d", mask_in_name(KEY), "d", "{}", "d", '{"a":1}']
    assert not [text for text in texts_within([each.device for each in trace._events]) if PIECE in text]


def test_no_secret_stays_when_writing_fails():
    class Broken:
        def now(self):
            raise RuntimeError("no time")

    trace = Trace(Broken())
    with pytest.raises(RuntimeError) as caught:
        record(trace, body={"primaryKey": KEY})
    assert PIECE not in str(caught.value)
    assert not [text for text in texts_within(trace) if PIECE in text]


def test_a_buffer_that_gets_out_as_it_is_shows_no_secret():
    trace = Trace(ManualClock())
    for detail in SECRETS.values():
        record(trace, **detail)
    record(trace, body={"deviceId": "thermostat-001"})
    dumped = pickle.dumps(list(trace._events))
    assert PIECE.encode() not in dumped
    assert b"thermostat-001" in dumped


def test_what_holds_no_secret_is_redacted_for_its_reader_and_not_before(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "mask_in_text", lambda text: asked.append(text) or mask_in_text(text))
    trace = Trace(ManualClock())
    record(trace, topic="$dps/registrations/res/200/?$rid=1", body={"status": "assigned", "errorCode": 0})
    record(trace, userName="0ne/registrations/d/api-version=2019-03-31&ClientVersion=py%2F1.0")
    assert not asked
    assert trace.events()[1].detail["userName"].endswith("ClientVersion=py%2F1.0")
    assert "assigned" in asked


def test_an_event_does_not_change_with_what_it_was_made_of():
    trace = Trace(ManualClock())
    body = {"desired": {"interval": 1}, "tags": ["a"]}
    record(trace, body=body)
    body["desired"]["interval"] = 2
    body["tags"].append("b")
    body["primaryKey"] = KEY
    trace.events()[0].detail["body"]["tags"].append("c")
    assert trace.events()[0].detail == {"body": {"desired": {"interval": 1}, "tags": ["a"]}}


def test_the_buffer_keeps_within_its_bytes_whatever_is_written():
    trace = Trace(ManualClock(), max_bytes=200_000)
    for number in range(600):
        record(trace, body={"n": number, "text": "x" * (number % 300) * 10})
    kept = trace._events
    assert sum(each.size for each in kept) == trace._bytes <= 200_000
    assert trace.events()[-1].detail["body"]["n"] == 599
    for each in kept:
        taken = sum(map(gc_size, (each, each.text, each.moment)))
        assert taken < each.size


def gc_size(thing):
    return thing.__sizeof__() + 16


def test_a_reader_gets_the_events_that_were_there_when_he_asked():
    trace = Trace(ManualClock(), capacity=3)
    for number in range(3):
        record(trace, n=number)
    reading = trace.read(after=1)
    record(trace, n=3)
    trace.clear()
    assert [event.detail["n"] for event in reading] == [1, 2]


FRAGMENTS = st.sampled_from(
    [
        *("key", "KEY", "k", "e", "y", "sig", "s", "i", "g", "code", "pass", "word", "phrase", "pwd", "secret"),
        *("assigned", "signature", "errorCode", "key of group ", "connection", "string", "authorization"),
        *("bearer ", "basic ", "primary", "shared", "access", "client", "eyJ", "PRIVATE KEY-----", "-----BEGIN "),
        *("=", ":", "&", ";", "?", " ", "-", "_", ".", "/", "'", '"', "\\", "%", "%3d", "%22", "%25", "&#61;"),
        *("&amp;", "\\u006b", "\n", "\N{KELVIN SIGN}", "é", "%E2%84%AA", "&quot;", "IBAA", "MHcCAQEE", "MI"),
        *("iba", "AbC1", "20", KEY, quote(KEY), "x" * 30),
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=9).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def holds_secret(value):
    """What the exact rules say."""
    if isinstance(value, dict):
        return any(is_secret_name(name) or mask_in_text(name) != name or holds_secret(value[name]) for name in value)
    if isinstance(value, list):
        return any(map(holds_secret, value))
    return isinstance(value, str) and mask_in_text(value) != value


@given(VALUES, TEXTS)
@settings(max_examples=400, deadline=None)
@example({"key of x ": 1}, "key of group ")
@example({"s.i.g": "x"}, "assigned")
@example({"%73.%69.g": "x"}, "assigned")
@example({"_sig": "x"}, "assigned")
@example(["as sig=AbC1AbC1AbC1"], "assign")
@example(["assignature: AbC1AbC1AbC1AbC1AbC1AbC1"], "assign")
@example({"password": "x", "passphrase": "y"}, "pass")
@example(["MC4CAQAw" + "AbC1" * 9, "MHcCAQEE" + "AbC1" * 9], "")
def test_the_quick_question_never_says_no_where_the_exact_rules_find_something(value, name):
    assert may_hold_secret(json.dumps(value)) or not holds_secret(value)
    trace = Trace(ManualClock())
    record(trace, device=name, body=value)
    [event] = trace.events()
    assert event.detail == redact({"body": value})
    assert event.device == mask_in_name(name)


@pytest.mark.parametrize(
    "text",
    [
        '{"status":"assigned","substatus":"initialAssignment","errorCode":0}',
        '{"reason":"a key of individual enrollment \'bench\'"}',
        '{"returnCodes":[1],"filters":["$dps/registrations/res/#"]}',
        '{"userName":"0ne/registrations/d/api-version=2019-03-31&ClientVersion=azure%2Fpy%20"}',
    ],
)
def test_the_quick_question_says_no_to_what_devices_usually_send(text):
    assert not may_hold_secret(text)
