import errno
import os
import random
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import pytest

from dps_simulator.process import store as module
from dps_simulator.process import store_errors
from dps_simulator.process.store import FILE_NAME, FILES, Store, empty
from dps_simulator.process.store_errors import (
    BusyStoreError,
    DamagedStoreError,
    ForeignStoreError,
    FullStoreError,
    ReadOnlyStoreError,
    StoreError,
    UnreadableStoreError,
)


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
    items.clear(parent="x")
    assert [stored.key for stored in items.page(limit=10)] == ["e"]
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


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(module, "FORMAT", 99)
        Store(tmp_path).close()
    with pytest.raises(ForeignStoreError, match="newer version"):
        Store(tmp_path)


#: In the head of a file, SQLite's "user version": file format, section 1.3.
FORMAT_AT = range(60, 64)


def unseal(folder):
    with closing(sqlite3.connect(folder / FILE_NAME)) as older:
        older.executescript("DROP TABLE seal; PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize(("version", "sealed"), [(1, False), (2, False), (1, True), (2, True), (3, True), (99, True)])
def test_a_damaged_format_is_told_from_a_newer_one(tmp_path, monkeypatch, version, sealed):
    """Whatever bit of the number it is, whichever version wrote it, and whether that one sealed it."""
    with monkeypatch.context() as other:
        other.setattr(module, "FORMAT", version)
        Store(tmp_path).close()
    if not sealed:
        unseal(tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    assert content[FORMAT_AT.start : FORMAT_AT.stop] == version.to_bytes(4, "big")
    for position in FORMAT_AT:
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            for name in FILES:
                (tmp_path / name).unlink(missing_ok=True)
            (tmp_path / FILE_NAME).write_bytes(damaged)
            for look in (check_opened, Store):
                with pytest.raises(DamagedStoreError, match=r"damaged \(the format -?\d+, .* was never written\)"):
                    look(tmp_path)
            assert (tmp_path / FILE_NAME).read_bytes() == damaged


def check_opened(folder):
    with module._reader(folder / FILE_NAME) as reader:
        module._format_of(reader, folder / FILE_NAME)


def test_a_damaged_seal_is_damage(tmp_path):
    for change in ("format = 3", "checksum = checksum + 1"):
        Store(tmp_path).close()
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as file:
            file.execute(f"UPDATE seal SET {change}")  # noqa: S608
        with pytest.raises(DamagedStoreError):
            Store(tmp_path)
        empty(tmp_path)


def test_a_state_without_seal_is_sealed_when_it_is_opened(tmp_path):
    with closing(Store(tmp_path)) as store:
        store.collection("items").put("a", {"n": 1})
    unseal(tmp_path)
    for _ in range(2):
        with closing(Store(tmp_path)) as store:
            assert store.collection("items").get("a") == {"n": 1}
            assert module._is_sealed(store._connection)


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
            raise sqlite_error(sqlite3.SQLITE_FULL)
        return self._connection.execute(statement, *arguments)


@pytest.mark.parametrize("undoes", [False, True], ids=["still open", "already undone by SQLite"])
def test_a_commit_that_fails_does_not_block_the_store_for_ever(tmp_path, undoes):
    store = Store(tmp_path)
    real = store._connection
    store._connection = FailingConnection(real, "COMMIT", undoes)
    with pytest.raises(FullStoreError, match="the disk is full"), store.transaction():
        store.collection("items").put("a", {})
    store._connection = real
    with store.transaction():
        store.collection("items").put("b", {})
    assert [stored.key for stored in store.collection("items").page(limit=9)] == ["b"]
    store.close()


def test_a_transaction_that_could_not_be_undone_is_undone_before_the_next(store):
    real, items = store._connection, store.collection("items")
    store._connection = FailingConnection(real, "ROLLBACK")

    def fails():
        with store.transaction():
            items.put("a", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    store._connection = real
    with store.transaction():
        items.put("b", {})
    assert [stored.key for stored in items.page(limit=9)] == ["b"]


def test_who_made_a_change_does_not_hear_of_what_fails_after_it(store, caplog):
    done = []
    with store.transaction():
        store.collection("items").put("a", {})
        store.when_committed(lambda: 1 / 0)
        store.when_committed(lambda: done.append("the next one"))
    assert done == ["the next one"]
    assert store.collection("items").count() == 1
    assert "ZeroDivisionError" in caplog.text


# --- what is wrong, told apart ------------------------------------------------------------------------------------


def sqlite_error(code, text="near 'c2VjcmV0': SharedAccessKey=c2VjcmV0"):
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode, error.sqlite_errorname = code, f"SQLITE_{code}"
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_CORRUPT, DamagedStoreError),
        (sqlite3.SQLITE_CORRUPT_INDEX, DamagedStoreError),
        (sqlite3.SQLITE_NOTADB, DamagedStoreError),
        (sqlite3.SQLITE_FULL, FullStoreError),
        (sqlite3.SQLITE_IOERR_WRITE, FullStoreError),
        (sqlite3.SQLITE_IOERR_SHMSIZE, FullStoreError),
        (sqlite3.SQLITE_READONLY, ReadOnlyStoreError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, ReadOnlyStoreError),
        (sqlite3.SQLITE_CANTOPEN, UnreadableStoreError),
        (sqlite3.SQLITE_IOERR_READ, UnreadableStoreError),
        (sqlite3.SQLITE_BUSY, BusyStoreError),
        (sqlite3.SQLITE_ERROR, StoreError),
    ],
)
def test_every_error_of_the_database_becomes_one_of_ours_and_quotes_nothing(tmp_path, code, kind):
    error = store_errors.explained(sqlite_error(code), tmp_path / FILE_NAME)
    assert type(error) is kind
    assert str(tmp_path) in str(error)
    assert "c2Vj" not in f"{error} {error.brief}"
    assert ("reset" in str(error)) == (kind is DamagedStoreError), "whoever resets a state that is whole loses it"
    assert str(tmp_path) not in error.brief


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, FullStoreError),
        (errno.EFBIG, FullStoreError),
        (errno.EROFS, ReadOnlyStoreError),
        (errno.EACCES, UnreadableStoreError),
        (errno.EIO, UnreadableStoreError),
    ],
)
def test_errors_of_the_operating_system_are_told_apart(tmp_path, number, kind):
    error = store_errors.explained(OSError(number, os.strerror(number)), tmp_path / FILE_NAME)
    assert type(error) is kind
    assert os.strerror(number) in str(error)


def test_a_full_disk_keeps_what_was_and_refuses_what_comes(store):
    items = store.collection("items")
    items.put("a", {"n": 1})
    store.rows("PRAGMA max_page_count=1", ())  # not below what there is

    def fill():
        with store.transaction():
            items.put("b", {"n": 2})
            items.put("c", {"text": "x" * 100_000})

    with pytest.raises(FullStoreError, match="the disk is full"):
        fill()
    assert [stored.key for stored in items.page(limit=9)] == ["a"]
    store.rows("PRAGMA max_page_count=10000", ())
    items.put("c", {"text": "x" * 100_000})


def every_operation(store):
    items = store.collection("items")

    def begin():
        with store.transaction():
            pass

    return {
        "get": lambda: items.get("a"),
        "put": lambda: items.put("a", {}),
        "delete": lambda: items.delete("a"),
        "page": lambda: items.page(limit=1),
        "page of a parent": lambda: items.page(limit=1, parent="p"),
        "everything": items.everything,
        "count": items.count,
        "clear a collection": items.clear,
        "clear": store.clear,
        "transaction": begin,
    }


def test_no_operation_lets_an_error_of_the_database_out(tmp_path):
    store = Store(tmp_path)
    store.close()
    for name, operation in every_operation(store).items():
        with pytest.raises(StoreError) as caught:
            operation()
        assert type(caught.value) is StoreError, name


def test_the_log_tells_of_it_in_one_line(tmp_path, caplog):
    store = Store(tmp_path)
    store.rows("PRAGMA query_only=1", ())
    with pytest.raises(ReadOnlyStoreError):
        store.collection("items").put("a", {})
    (record,) = caplog.records
    assert "is read-only" in record.getMessage()
    assert (record.exc_info, "\n" in record.getMessage()) == (None, False)
    store.close()


# --- damage -------------------------------------------------------------------------------------------------------

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.fixture
def written(tmp_path):
    """A state with some documents, and its bytes."""
    folder = tmp_path / "state"
    folder.mkdir()
    with closing(Store(folder)) as store:
        for name in ("policy key", "device"):
            documents = [(f"{name} {number}", {"key": SECRET, "text": "x" * 37 * number}) for number in range(30)]
            store.collection(name).put_all(documents, parent="p")
    return folder, (folder / FILE_NAME).read_bytes()


def read(folder):
    with closing(Store(folder)) as store:
        return {name: store.collection(name).everything() for name in ("policy key", "device")}


def all_texts(error):
    """Everything that a traceback of this exception shows."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("value", [0xFF, 0x00, ord("x"), ord('"')])
def test_one_damaged_byte_anywhere_in_a_record_is_found_and_nothing_is_quoted(written, value):
    folder, content = written
    begin = content.index(b'{"key":"' + SECRET.encode())
    place = begin - len("policy key 0p")
    for position in range(place, begin + len(SECRET) + 20, 3):
        if content[position] == value:
            continue
        damaged = bytearray(content)
        damaged[position] = value
        (folder / FILE_NAME).write_bytes(damaged)
        with pytest.raises(DamagedStoreError, match="Nothing was changed") as caught:
            Store(folder)
        assert SECRET[:8] not in all_texts(caught.value), position
    assert (folder / FILE_NAME).read_bytes() == damaged


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_damaged_nothing_else_comes_out_and_reset_always_helps(written, seed):
    folder, content = written
    before = read(folder)
    chance = random.Random(seed)  # noqa: S311 - the same damage in every run

    def flip(damaged):
        for _ in range(chance.choice((1, 1, 20))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)

    def overwrite(damaged):
        page = chance.randrange(len(damaged) // 4096) * 4096
        damaged[page : page + 4096] = chance.choice((bytes(4096), chance.randbytes(4096)))

    def cut(damaged):
        del damaged[chance.randrange(1, len(damaged)) :]

    def stride(damaged):
        damaged[4096::97] = bytes(255 ^ each for each in damaged[4096::97])

    def beginning(damaged):
        # not the number of the format: a higher one is that of a version to come
        damaged[chance.choice((*range(60), *range(64, 100)))] ^= 1 << chance.randrange(8)

    for damage in (flip, overwrite, cut, stride, beginning) * 4:
        damaged = bytearray(content)
        damage(damaged)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        (folder / FILE_NAME).write_bytes(damaged)
        found, told = None, ""
        try:
            found = read(folder)
        except DamagedStoreError as error:
            told = all_texts(error)
        # what no program ever reads may change
        assert found in (before, None)
        assert SECRET[:8] not in told
        empty(folder, keep=["policy key"])
        assert read(folder)["device"] == []


def test_damage_that_comes_while_it_runs_is_told_of_the_one_record(written, caplog):
    folder, _ = written
    with closing(Store(folder)) as store:
        with closing(sqlite3.connect(folder / FILE_NAME)) as other, other:
            other.execute("UPDATE documents SET body = CAST(x'ff' || body AS TEXT) WHERE key = 'device 3'")
        devices = store.collection("device")
        for reads in (lambda: devices.get("device 3"), lambda: devices.page(limit=99), devices.everything):
            with pytest.raises(DamagedStoreError, match="document 34 of the collection 'device'") as caught:
                reads()
            assert SECRET[:8] not in all_texts(caught.value) + caplog.text
        assert devices.get("device 4")["key"] == SECRET


def test_a_reset_keeps_what_lasts_also_where_nothing_can_be_written(written, monkeypatch):
    folder, _ = written
    before = read(folder)["policy key"]

    def full(*_):
        raise store_errors.of(FullStoreError, folder / FILE_NAME, "SQLITE_FULL")

    monkeypatch.setattr(Store, "clear", full)
    empty(folder, keep=["policy key"])
    assert read(folder) == {"policy key": before, "device": []}


def test_a_reset_leaves_alone_what_is_not_ours(tmp_path):
    empty(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("CREATE TABLE songs (title)")
    with pytest.raises(ForeignStoreError, match="another program"):
        empty(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ForeignStoreError, match="no file of this simulator"):
        empty(tmp_path)


def test_files_that_cannot_be_removed_are_named(written, monkeypatch):
    folder, content = written
    (folder / FILE_NAME).write_bytes(content[:5000])

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UnreadableStoreError, match="Permission denied"):
        empty(folder)
