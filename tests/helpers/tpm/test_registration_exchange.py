"""What a registration sends, and what it makes of every answer, without network and TPM."""

import base64
import json

import pytest
from azure.iot.device import RegistrationResult
from azure.iot.device.exceptions import OperationTimeout, ServiceError
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_service import OPERATION, assigned, assigning, challenge
from thoroughness import examples

from helpers.credentials import Secret
from helpers.tpm.client import registration_exchange as exchanges
from helpers.tpm.client.registration_exchange import (
    MAX_ANSWER_SIZE,
    TRANSITIONS,
    Activate,
    Answer,
    Finished,
    Meaning,
    RegistrationExchange,
    Send,
    State,
    pause_of,
)

TOKEN = Secret("SharedAccessSignature sr=x&sig=NOTASECRET&se=1&skn=registration")


def begun(**changes):
    arguments = {
        "id_scope": "0ne00000A01",
        "registration_id": "gateway:1",
        "endorsement_key": "RUs=",
        "storage_root_key": "U1JL",
        "user_agent": "test",
    }
    return RegistrationExchange(**{**arguments, **changes})


def answer(prepared):
    status, headers, document = prepared
    return Answer(status, json.dumps(document).encode(), headers.get("Retry-After", ""))


def tell(exchange, *answers):
    """Give answers one after the other; the TPM does its part in between."""
    for each in answers:
        exchange.answered(answer(each) if isinstance(each, tuple) else each)
        if isinstance(exchange.step, Activate):
            exchange.activated(TOKEN if exchange.step.resource else None)
    return exchange


def refused(status, /, **document):
    return status, {}, document


def test_the_whole_registration():
    exchange = begun(payload={"modelId": "dtmi:x;1"})
    assert exchange.state is State.PRESENTING
    first = exchange.step
    assert (first.method, first.pause) == ("PUT", 0)
    assert first.target == "/0ne00000A01/registrations/gateway%3A1/register?api-version=2021-06-01"
    assert json.loads(first.body) == {
        "registrationId": "gateway:1",
        "tpm": {"endorsementKey": "RUs=", "storageRootKey": "U1JL"},
        "payload": {"modelId": "dtmi:x;1"},
    }
    assert "Authorization" not in first.headers
    assert first.headers["User-Agent"] == "test"

    exchange.answered(answer(challenge(b"first")))
    assert exchange.step == Activate(b"first", "0ne00000A01/registrations/gateway:1", "registration")
    exchange.activated(TOKEN)

    second = exchange.step
    assert (second.method, second.target, second.body, second.pause) == ("PUT", first.target, first.body, 0)
    assert second.headers["Authorization"] == TOKEN.reveal()
    exchange.answered(answer(assigning("3")))

    question = exchange.step
    assert (question.method, question.body, question.pause) == ("GET", b"", 3)
    assert question.target == f"/0ne00000A01/registrations/gateway%3A1/operations/{OPERATION}?api-version=2021-06-01"
    assert question.headers["Authorization"] == TOKEN.reveal()
    assert "Content-Type" not in question.headers
    exchange.answered(answer(assigning("")))
    assert exchange.step.pause == 2
    exchange.answered(answer(assigned(b"hub key", payload={"a": 1})))

    assert exchange.step == Activate(b"hub key")
    exchange.activated()
    result = exchange.step.result
    assert isinstance(result, RegistrationResult)
    state = result.registration_state
    assert (result.status, result.operation_id) == ("assigned", OPERATION)
    assert (state.device_id, state.sub_status) == ("greenhouse-gateway", "initialAssignment")
    assert (state.created_date_time, state.last_update_date_time) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
    assert (state.assigned_hub, state.etag) == ("contoso-hub.azure-devices.test", "IjEi")
    assert json.loads(state.response_payload) == {"a": 1}


def test_assigned_at_once():
    assert isinstance(tell(begun(), challenge(), assigned()).step, Finished)


def test_without_payload_there_is_none():
    assert "payload" not in json.loads(begun().step.body)


def test_payloads_as_the_sdk_takes_them():
    class Facts:
        def __init__(self):
            self.model = "x"

    assert json.loads(begun(payload=Facts()).step.body)["payload"] == {"model": "x"}
    assert json.loads(begun(payload=0).step.body)["payload"] == 0
    assert json.loads(begun(payload="grün").step.body)["payload"] == "grün"
    for wrong in ({1, 2}, {(1, 2): 3}, object()):
        with pytest.raises(ValueError, match="provisioning_payload"):
            begun(payload=wrong)


def test_nothing_secret_shows_itself():
    exchange = begun()
    exchange.answered(answer(challenge(b"first key")))
    shown = f"{exchange.step}"
    exchange.activated(TOKEN)
    shown += f"{exchange.step} {answer(challenge())}"
    assert "first key" not in shown
    assert "NOTASECRET" not in shown
    assert base64.b64encode(b"first key").decode() not in shown


@pytest.mark.parametrize("name", [7, "", "x y", "&se=9", "x" * 65])
def test_odd_names_of_the_key_are_not_taken(name):
    exchange = begun()
    exchange.answered(answer(challenge(keyName=name)))
    assert exchange.step.key_name == "registration"


def test_the_name_of_the_key_is_the_service_s():
    exchange = begun()
    exchange.answered(answer(challenge(keyName="other")))
    assert exchange.step.key_name == "other"


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSED = {
    "not enrolled": (
        [refused(404, errorCode=404201, message="Enrollment not found.")],
        r"^register request returned a service error status code 404 \(404201; Enrollment not found\.\)$",
    ),
    "another TPM": (
        [refused(401, errorCode=401002, message="Unauthorized", info={"simulatorReason": "It is for another TPM."})],
        r"status code 401 \(401002; Unauthorized; The simulator says: It is for another TPM\.\)$",
    ),
    "a refusal without JSON": ([Answer(403, b"<html>go away")], r"status code 403$"),
    "a refusal with odd JSON": (
        [refused(400, errorCode="x", message=7, info=[])],
        r"register request returned a service error status code 400$",
    ),
    "a challenge without key": ([refused(401, authenticationKey=None)], r"status code 401$"),
    "a challenge that is no base64": ([refused(401, authenticationKey="%%")], "the challenge is not valid base64"),
    "a challenge that is no text": ([refused(401, authenticationKey=7)], "the challenge is not valid base64"),
    "redirection": ([Answer(302)], "status code 302: a redirection, and DPS has none"),
    "no JSON": ([Answer(200, b"<html>")], "a body that is no JSON object. This is not DPS"),
    "no object": ([Answer(200, b"[]")], "a body that is no JSON object"),
    "deep JSON": ([Answer(200, b"[" * 90_000)], "a body that is no JSON object"),
    "too large": ([Answer(200, bytes(MAX_ANSWER_SIZE + 1))], "more than 98304 bytes. This is not DPS"),
    "too large and refused": ([Answer(401, bytes(MAX_ANSWER_SIZE + 1))], "more than 98304 bytes"),
    "no proof asked for": ([assigning()], "It asked for no proof of the TPM"),
    "assigned without proof": ([assigned()], "It asked for no proof of the TPM"),
    "token not taken": (
        [challenge(), refused(401, errorCode=401002, message="Unauthorized")],
        r"^register request returned a service error status code 401 \(401002; Unauthorized\)$",
    ),
    "another challenge": ([challenge(), challenge()], "status code 401, a challenge, .*Register again"),
    "challenge while waiting": ([challenge(), assigning(), challenge()], "^query request was answered .*401"),
    "poll refused": (
        [challenge(), assigning(), refused(404, errorCode=404204, message="Operation not found.")],
        r"^query request returned a service error status code 404 \(404204; ",
    ),
    "no operation": ([challenge(), refused(202, status="assigning")], "without an operationId"),
    "odd operation": ([challenge(), refused(202, status="assigning", operationId=7)], "without an operationId"),
    "failed": (
        [
            challenge(),
            assigning(),
            refused(200, status="failed", registrationState={"errorCode": 400208, "errorMessage": "No hub."}),
        ],
        r"^Query Status operation returned a failed registration status .* of 200 \(400208; No hub\.\)$",
    ),
    "failed without state": ([challenge(), refused(200, status="failed")], "failed registration status .* of 200$"),
    "disabled": (
        [challenge(), assigning(), refused(200, status="disabled")],
        "invalid registration status disabled with a status code of 200.*provisioningStatus to 'enabled'",
    ),
    "unassigned": ([challenge(), refused(200, status="unassigned")], "status unassigned with a status code of 200$"),
    "no status": ([challenge(), refused(200)], "invalid registration status of another kind than text"),
    "no state": ([challenge(), refused(200, status="assigned")], "registrationState has no assignedHub"),
    "no hub": ([challenge(), assigned(assignedHub="")], "no assignedHub"),
    "no device": ([challenge(), assigned(deviceId=None)], "no deviceId"),
    "no hub key": ([challenge(), assigned(tpm=None)], "no authenticationKey, so it got no hub key"),
    "empty tpm": ([challenge(), assigned(tpm={})], "no authenticationKey"),
    "odd hub key": ([challenge(), assigned(tpm={"authenticationKey": "?"})], "the hub key is not valid base64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    answers, text = REFUSED[case]
    with pytest.raises(ServiceError, match=text):
        tell(begun(), *answers)


def test_texts_of_the_service_are_cleaned():
    key = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()
    name = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"
    text = f"{name}\x1b[31m\n {key} SharedAccessSignature sr=a&sig=b {'x' * 9_000}"
    with pytest.raises(ServiceError) as error:
        tell(begun(), refused(400, message=text))
    shown = str(error.value)
    assert name in shown
    assert shown.isprintable()
    assert key not in shown
    assert "sig=b" not in shown
    assert len(shown) < 500


# --- waiting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        *[("", 2), ("0", 0), ("3", 3), (" 7 ", 7), ("300", 300), ("301", 300), ("9" * 5_000, 2), ("999999999", 300)],
        *[("-1", 2), ("1.5", 2), ("soon", 2), ("Wed, 21 Oct 2026 07:28:00 GMT", 2), ("٣", 2), ("²", 2)],
    ],
)
def test_pauses(header, pause):
    assert pause_of(header) == pause


@pytest.mark.parametrize("status", [429, 500, 503, 599])
@pytest.mark.parametrize("before", [[], [challenge()], [challenge(), assigning()]])
def test_a_busy_service_is_asked_again(status, before):
    exchange = tell(begun(), *before)
    request = exchange.step
    for _ in range(exchanges.MOST_DELAYS):
        tell(exchange, Answer(status, b"<html>", "5"))
        assert (exchange.step.target, exchange.step.body, exchange.step.pause) == (request.target, request.body, 5)
    with pytest.raises(OperationTimeout, match=f"{exchanges.MOST_DELAYS + 1} times in a row .* last {status}"):
        tell(exchange, Answer(status))


def test_what_it_was_busy_with_before_does_not_count():
    busy = [Answer(429)] * exchanges.MOST_DELAYS
    exchange = tell(begun(), *busy, challenge(), *busy, assigning(), *busy, assigning(), *busy, assigned())
    assert isinstance(exchange.step, Finished)


def test_an_operation_without_end():
    exchange = tell(begun(), challenge(), *[assigning()] * exchanges.MOST_POLLS)
    with pytest.raises(OperationTimeout, match="still says 'assigning'"):
        tell(exchange, assigning())


# --- the table ----------------------------------------------------------------------------------------------------


def test_the_table_leads_to_the_end_from_everywhere():
    assert set(TRANSITIONS) == set(State)
    for state in State:
        reached, rest = {state}, [state]
        while rest:
            new = set(TRANSITIONS[rest.pop()].values()) - reached
            reached |= new
            rest += new
        assert State.FINISHED in reached
    used = {meaning for row in TRANSITIONS.values() for meaning in row}
    assert used == set(Meaning)


def test_steps_out_of_order_are_mistakes_of_the_program():
    exchange = begun()
    with pytest.raises(RuntimeError, match="shows its public keys"):
        exchange.activated()
    exchange.answered(answer(challenge()))
    with pytest.raises(RuntimeError, match="challenge to open"):
        exchange.answered(answer(assigned()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "status": JSON | st.sampled_from(["assigning", "assigned", "failed", "disabled"]),
        "operationId": JSON,
        "registrationState": JSON
        | st.fixed_dictionaries({"assignedHub": JSON, "deviceId": JSON, "tpm": JSON, "errorCode": JSON}),
        "authenticationKey": JSON,
        "keyName": JSON,
        "errorCode": JSON,
        "message": JSON,
        "info": JSON,
    },
)


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([200, 202, 302, 400, 401, 429]),
            ANSWER.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20),
            st.text(max_size=5),
        ),
        max_size=6,
    )
)
def test_any_answer_leads_on_or_to_an_error(answers):
    for start in ([], [challenge()], [challenge(), assigning()]):
        exchange = tell(begun(), *start)
        for status, body, header in answers:
            try:
                tell(exchange, Answer(status, body, header))
            except (ServiceError, OperationTimeout):
                break
            if isinstance(exchange.step, Finished):
                break
            assert isinstance(exchange.step, Send)
            assert 0 <= exchange.step.pause <= 300
