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


def test_a_nested_transaction_that_fails_leaves_nothing_when_the_failure_is_caught(store):
    items = store.collection("items")

    def half_done():
        with store.transaction():
            items.put("half", {})
            raise ZeroDivisionError

    with store.transaction():
        items.put("before", {})
        with pytest.raises(ZeroDivisionError):
            half_done()
        items.put("after", {})
    assert [stored.key for stored in items.page(limit=9)] == ["before", "after"]


def test_actions_wait_until_everything_is_kept(store):
    items, done = store.collection("items"), []
    store.when_committed(lambda: done.append("at once"))
    with store.transaction():
        with store.transaction():
            items.put("a", {})
            store.when_committed(lambda: done.append(items.count()))
        items.put("b", {})
        assert done == ["at once"]
    assert done == ["at once", 2]


def test_actions_of_what_is_undone_never_run(store):
    done = []

    def fails(name):
        with store.transaction():
            store.when_committed(lambda: done.append(name))
            raise ZeroDivisionError

    with store.transaction():
        store.when_committed(lambda: done.append("kept"))
        with pytest.raises(ZeroDivisionError):
            fails("inner")
    with pytest.raises(ZeroDivisionError):
        fails("outer")
    with store.transaction():
        pass
    assert done == ["kept"]


class FailingConnection:
    """Hands everything on, but one statement fails."""

    def __init__(self, connection, statement, undoes=False):
        self._connection, self._statement, self._undoes = connection, statement, undoes

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *arguments):
        if statement == self._statement:
            if self._undoes:
                self._connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *arguments)


@pytest.mark.parametrize("undoes", [False, True], ids=["still open", "already undone by SQLite"])
def test_a_commit_that_fails_does_not_block_the_store_for_ever(tmp_path, undoes):
    store = Store(tmp_path)
    real = store._connection
    store._connection = FailingConnection(real, "COMMIT", undoes)
    with pytest.raises(sqlite3.OperationalError, match="full"), store.transaction():
        store.collection("items").put("a", {})
    store._connection = real
    with store.transaction():
        store.collection("items").put("b", {})
    assert [stored.key for stored in store.collection("items").page(limit=9)] == ["b"]
    store.close()
