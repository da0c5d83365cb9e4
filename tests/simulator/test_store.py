import sqlite3

import pytest

from helpers.simulator.store import FILE_NAME, Store, StoreError


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    opened = Store(tmp_path if request.param == "file" else None)
    yield opened
    opened.close()


def test_documents_are_kept_by_collection_and_key(store):
    first, second = store.collection("first"), store.collection("second")
    first.put("a", {"n": 1})
    second.put("a", {"n": 2})
    first.put("a", {"n": 3})
    assert first.get("a") == {"n": 3}
    assert second.get("a") == {"n": 2}
    assert first.get("b") is None
    assert first.delete("a") is True
    assert first.delete("a") is False
    assert second.count() == 1


def test_pages_follow_the_order_of_insertion_also_after_a_replacement(store):
    items = store.collection("items")
    items.put_all([(name, {"name": name}) for name in "dbca"], parent="x")
    items.put("e", {"name": "e"}, parent="y")
    items.put("b", {"name": "b again"}, parent="x")
    page = items.page(limit=2)
    assert [stored.body["name"] for stored in page] == ["d", "b again"]
    rest = items.page(after=page[-1].sequence, limit=10)
    assert [stored.key for stored in rest] == ["c", "a", "e"]
    assert [stored.key for stored in items.page(limit=10, parent="y")] == ["e"]
    assert (items.count(), items.count("x")) == (5, 4)
    items.clear()
    assert items.page(limit=1) == []


def test_a_failed_transaction_leaves_nothing_also_when_nested(store):
    items = store.collection("items")

    def change_and_fail():
        with store.transaction():
            items.put("a", {})
            with store.transaction():
                items.put("b", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert items.count() == 0
    with store.transaction(), store.transaction():
        items.put("c", {})
    assert items.count() == 1
    store.clear()
    assert items.count() == 0


def test_everything_is_there_after_reopening(tmp_path):
    store = Store(tmp_path)
    store.collection("items").put("a", {"n": 1})
    store.close()
    again = Store(tmp_path)
    assert again.collection("items").get("a") == {"n": 1}
    again.close()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_named_and_left_alone(tmp_path):
    file = tmp_path / FILE_NAME
    file.write_bytes(b"this is not a database, whatever its name says" * 100)
    before = file.read_bytes()
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
    assert file.read_bytes() == before


def test_a_foreign_database_is_refused(tmp_path):
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="another program"):
        Store(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    Store(tmp_path).close()
    newer = sqlite3.connect(tmp_path / FILE_NAME)
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(StoreError, match="newer version"):
        Store(tmp_path)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "missing")
