import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.common import etags, identifiers
from dps_simulator.common.clock import ManualClock
from dps_simulator.common.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page_size, read_page
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.process.store import Store


@pytest.mark.parametrize("text", ["a", "-", "A.b_c:d-1", ".a", "_-", "x" * 128])
def test_registration_ids(text):
    assert identifiers.RegistrationId(text) == text


@pytest.mark.parametrize("value", ["", "a.", "a_", "a:", "a b", "ä", "a/b", "x" * 129, 5, ["a"], "a\n"])
def test_wrong_registration_ids_are_named(value):
    with pytest.raises(ServiceError) as error:
        identifiers.RegistrationId(value, field="enrollmentGroupId")
    assert error.value.kind is Dps.INVALID_BODY
    assert "enrollmentGroupId is " in error.value.message
    assert repr(value)[:40] in error.value.message


def test_a_missing_registration_id():
    with pytest.raises(ServiceError, match="registrationId is missing"):
        identifiers.RegistrationId(None)


@pytest.mark.parametrize("text", ["a", "a.", "A@b#c%d$e'(1)", "x" * 128])
def test_device_ids(text):
    assert identifiers.device_id(text) == text


@pytest.mark.parametrize("value", ["", "a b", "a/b", "x" * 129, None, 1])
def test_wrong_device_ids(value):
    with pytest.raises(ServiceError, match="deviceId is "):
        identifiers.device_id(value)


def test_registration_ids_ignore_case():
    assert identifiers.lookup_key("Dev-A") == identifiers.lookup_key("dEV-a")


def test_an_etag_says_when_it_was_made_and_is_never_repeated():
    now = ManualClock().now()
    tags = {etags.new_etag(now) for _ in range(1000)}
    assert len(tags) == 1000
    decoded = base64.b64decode(tags.pop()).decode()
    assert decoded[0] == decoded[-1] == '"'
    assert int(decoded.strip('"').split("-")[-1][:8], 16) == int(now.timestamp())


@pytest.mark.parametrize("text", ["abc", '"abc"', 'W/"abc"', " abc ", "*", '"*"'])
def test_preconditions_that_fit(text):
    etags.check(text, "abc")
    etags.check(None, "abc")


@pytest.mark.parametrize("text", ["abd", '"abc', '""', '"', "", "**"])
def test_stale_preconditions(text):
    with pytest.raises(ServiceError, match="Read it again") as error:
        etags.check(text, "abc")
    assert error.value.kind is Dps.PRECONDITION_FAILED


def test_page_sizes():
    assert page_size(None) == DEFAULT_PAGE_SIZE == 100
    assert page_size("7") == 7
    assert page_size("99999") == MAX_PAGE_SIZE


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "ten", "²", "1" * 11])
def test_wrong_page_sizes(text):
    with pytest.raises(ServiceError, match="x-ms-max-item-count"):
        page_size(text)


@given(st.integers(0, 12), st.integers(1, 5))
def test_pages_contain_everything_once_in_order(count, size):
    store = Store()
    documents = store.collection("list")
    for number in range(count):
        documents.put(f"other {number}", {}, parent="b")
        documents.put(str(number), {"n": number}, parent="a")
    found, token, pages = [], None, 0
    while pages == 0 or token is not None:
        page = read_page(documents, scope="list", size=size, continuation=token, parent="a")
        assert page.documents or count == 0
        found += [document.body["n"] for document in page.documents]
        token, pages = page.continuation, pages + 1
    assert found == list(range(count))
    store.close()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "?",
        "ä",
        "x" * 2000,
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(json.dumps({"list": "other", "after": 1}).encode()).decode(),
        base64.b64encode(json.dumps({"list": "list", "after": "1"}).encode()).decode(),
        base64.b64encode(json.dumps({"list": "list", "after": -1}).encode()).decode(),
        base64.b64encode(json.dumps({"list": "list", "after": 2**63}).encode()).decode(),
    ],
)
def test_foreign_continuation_tokens(token):
    store = Store()
    with pytest.raises(ServiceError, match="x-ms-continuation"):
        read_page(store.collection("list"), scope="list", size=1, continuation=token)
    store.close()
