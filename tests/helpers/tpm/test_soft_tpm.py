"""The embedded TPM: its state file, several of them on one file, and bytes that are no commands."""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from blob_maker import made_for
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples
from tpm_messages import (
    AES_128,
    EMPTY,
    SHA256,
    answer,
    authorization,
    create_primary,
    evict,
    flush,
    handle_from,
    hmac_of,
    load,
    message,
    policy_secret,
    response_code,
    start_hmac,
    start_session,
    template,
    update,
)

from helpers.tpm import TpmConnectionError, TpmDevice, TpmUnavailableError, open_tpm
from helpers.tpm.commands import Tpm
from helpers.tpm.embedded import memory as soft_memory
from helpers.tpm.embedded.tpm import SHAPES, SoftTpm
from helpers.tpm.structures import (
    EK_HANDLE,
    ID_KEY_HANDLE,
    MAX_MESSAGE_SIZE,
    SRK_HANDLE,
    SRK_TEMPLATE,
    CommandCode,
    Handle,
    sized,
    u16,
    u32,
)

KEY = bytes(range(32))
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "device" / "soft_tpm.json"


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A state file with all keys, to be copied."""
    folder = tmp_path_factory.mktemp("grown")
    with open_tpm("embedded", folder) as device:
        device.activate(made_for(device, KEY))
    return (folder / "soft_tpm.json").read_bytes()


@pytest.fixture
def kept(state, grown):
    """The path of a state file with all keys."""
    state.parent.mkdir(mode=0o700)
    state.write_bytes(grown)
    state.chmod(0o600)
    return state


def device_on(path, **options):
    return TpmDevice(Tpm(SoftTpm(path, **options)), "under test")


# --- the state file ---------------------------------------------------------------------------------------------


def test_the_state_is_readable_by_its_owner_only(state):
    device = device_on(state)
    assert device.endorsement_key
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    assert {path.name for path in state.parent.iterdir()} == {"soft_tpm.json", "soft_tpm.json.lock"}
    for path in state.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_state_says_what_it_is(kept):
    document = json.loads(kept.read_text())
    assert (document["format"], document["version"]) == ("embedded-tpm", 1)
    assert "private keys" in document["warning"]
    assert [entry["handle"] for entry in document["content"]["persistent"]] == [
        "0x81000001",
        "0x81000100",
        "0x81010001",
    ]


def test_the_state_is_used_again(kept, grown):
    device = device_on(kept)
    assert device.sign(b"text") == hmac.digest(KEY, b"text", "sha256")
    assert kept.read_bytes() == grown


def test_an_empty_key_survives(state):
    device = device_on(state)
    device.activate(made_for(device, b""))
    assert device_on(state).sign(b"text") == hmac.digest(b"", b"text", "sha256")


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    device = device_on(None)
    device.activate(made_for(device, KEY))
    assert device.sign(b"text") == hmac.digest(KEY, b"text", "sha256")
    assert not list(tmp_path.iterdir())


def test_a_state_that_is_deleted_is_a_new_tpm(kept):
    device = device_on(kept)
    before = device.endorsement_key
    kept.unlink()
    assert not device.has_key
    assert device_on(kept).endorsement_key != before


def test_a_folder_that_is_deleted_is_a_new_tpm(kept):
    device = device_on(kept)
    for path in kept.parent.iterdir():
        path.unlink()
    kept.parent.rmdir()
    assert not device.has_key
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def damaged(change):
    """A state whose content was changed without its digest."""

    def apply(data):
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def forged(change):
    """A state whose content was changed, and its digest with it."""

    def apply(data):
        document = json.loads(data)
        change(document["content"])
        content = json.dumps(document["content"], sort_keys=True).encode("utf-8", "surrogatepass")
        document["sha256"] = hashlib.sha256(content).hexdigest()
        return json.dumps(document).encode()

    return apply


def set_in(*path):
    *path, value = path

    def change(document):
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


def with_many_keys(content):
    content["persistent"] = [
        {**content["persistent"][0], "handle": f"0x{0x81000000 + number:08X}"} for number in range(33)
    ]


FOREIGN = {
    "empty": lambda _: b"",
    "text": lambda _: b"hello",
    "binary": lambda _: b"\xff\xfe\0",
    "a list": lambda _: b"[]",
    "a number": lambda _: b"7",
    "another document": lambda _: b'{"format": "something else"}',
    "no format": lambda _: b"{}",
    "deep": lambda _: b"[" * 100_000,
    "huge": lambda data: data + b" " * 1_000_000,
    "cut off": lambda data: data[: len(data) // 2],
}
DAMAGED = {
    "a changed key": damaged(set_in("content", "persistent", 0, "key", "00")),
    "no digest": damaged(lambda document: document.pop("sha256")),
    "a digest that is none": damaged(set_in("sha256", None)),
    "a digest that is no ASCII": damaged(set_in("sha256", "ü\ud800")),
    "no content": damaged(lambda document: document.pop("content")),
    "content of another kind": forged(lambda content: content.clear()),
    "a proof that is no text": forged(set_in("proof", 7)),
    "a proof that is no hex": forged(set_in("proof", "xyz")),
    "a text with half a character": forged(set_in("proof", "\ud800")),
    "primaries of another kind": forged(set_in("primaries", 7)),
    "a template that is none": forged(set_in("primaries", 0, "template", "00")),
    "a template with bytes behind it": forged(set_in("primaries", 0, "template", (SRK_TEMPLATE + b"x").hex())),
    "a primary key that is none": forged(set_in("primaries", 0, "key", "3000")),
    "a modulus of another size": forged(set_in("primaries", 0, "modulus", "00")),
    "a seed of another size": forged(set_in("primaries", 0, "seed", "00")),
    "a hierarchy that is none": forged(set_in("primaries", 0, "hierarchy", "owner")),
    "a public half that is none": forged(set_in("persistent", 0, "public", "00")),
    "a private half that is none": forged(set_in("persistent", 0, "key", "3000")),
    "a handle that is none": forged(set_in("persistent", 0, "handle", "first")),
    "a handle of another kind": forged(set_in("persistent", 0, "handle", "0x80000000")),
    "too many keys": forged(with_many_keys),
}
# an elliptic curve key, where an RSA key should be
EC_KEY = (
    "30770201010420" + "11" * 32 + "a00a06082a8648ce3d030107a14403420004"
    "0217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed"
    "194a7debcb97712d2dda3ca85aa8765a56f45fc758599652f2897c65306e5794"
)
DAMAGED["a key of another kind"] = forged(set_in("primaries", 0, "key", EC_KEY))


@pytest.mark.parametrize(
    ("change", "text"),
    [(change, "is not a state of the embedded TPM") for change in FOREIGN.values()]
    + [(change, "is damaged") for change in DAMAGED.values()]
    + [(damaged(set_in("version", 2)), "another version of these notebooks (this one reads version 1)")],
    ids=[*FOREIGN, *DAMAGED, "another version"],
)
def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(kept, change, text):
    content = change(kept.read_bytes())
    kept.write_bytes(content)
    with pytest.raises(TpmUnavailableError) as caught:
        SoftTpm(kept)
    assert text in str(caught.value)
    assert str(kept) in str(caught.value)
    assert "Move it away" in str(caught.value)
    assert kept.read_bytes() == content
    # parsers repeat what they read in their exceptions, and these are keys
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_file_that_is_damaged_later(kept):
    device = device_on(kept)
    assert device.has_key
    kept.write_bytes(b"hello")
    with pytest.raises(TpmUnavailableError, match="is not a state of the embedded TPM"):
        device.sign(b"text")
    assert kept.read_bytes() == b"hello"


def test_a_folder_in_place_of_the_file(state):
    state.mkdir(parents=True, mode=0o700)
    with pytest.raises(TpmUnavailableError, match=r"cannot be read \(Is a directory\)"):
        SoftTpm(state)


def test_a_file_in_place_of_the_folder(state):
    state.parent.write_text("in the way")
    with pytest.raises(TpmUnavailableError, match=r"for the embedded TPM cannot be made \(File exists\)"):
        SoftTpm(state)


def test_a_folder_that_others_may_write_to(state):
    state.parent.mkdir()
    (state.parent / "something").touch()
    state.parent.chmod(0o777)
    with pytest.raises(TpmUnavailableError, match=r"Other users may put files into the folder"):
        SoftTpm(state)
    assert [path.name for path in state.parent.iterdir()] == ["something"]


def test_an_empty_folder_is_closed_to_others(state):
    state.parent.mkdir()
    state.parent.chmod(0o777)
    SoftTpm(state)
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700


def test_a_state_that_cannot_be_written(kept, grown, monkeypatch):
    device = device_on(kept)
    blob = made_for(device, b"new")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(TpmUnavailableError, match=r"cannot be written to .*soft_tpm\.json \(No space left"):
            device.activate(blob)
    assert kept.read_bytes() == grown
    assert {path.name for path in kept.parent.iterdir()} == {"soft_tpm.json", "soft_tpm.json.lock"}
    # nothing of it happened in memory either
    assert device.sign(b"text") == hmac.digest(KEY, b"text", "sha256")


def test_a_state_that_cannot_be_looked_at(kept, monkeypatch):
    device = device_on(kept)

    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fail)
        with pytest.raises(TpmUnavailableError, match=r"cannot be read \(Permission denied\)"):
            device.sign(b"text")


def test_a_lock_that_cannot_be_opened(kept):
    kept.with_name("soft_tpm.json.lock").mkdir()
    with pytest.raises(TpmUnavailableError, match=r"lock .*soft_tpm\.json\.lock of the embedded TPM cannot be opened"):
        SoftTpm(kept)


def test_the_memory_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(soft_memory, "_MOST_KEYS", 2)
    transport = SoftTpm(tmp_path / "soft_tpm.json")
    for where in (0x81000001, 0x81000002, 0x81000003):
        handle = handle_from(transport, create_primary())
        last = response_code(transport, evict(handle, where))
        assert response_code(transport, flush(handle)) == 0
    assert last == 0x14B
    assert response_code(transport, message(CommandCode.ReadPublic, [0x81000003])) == 0x18B
    assert response_code(transport, evict(0x81000001, 0x81000001)) == 0


@pytest.mark.parametrize("in_a_file", [True, False])
def test_the_templates_are_limited(tmp_path, monkeypatch, in_a_file):
    monkeypatch.setattr(soft_memory, "_MOST_KEYS", 1)
    transport = SoftTpm(tmp_path / "soft_tpm.json" if in_a_file else None)
    assert response_code(transport, create_primary()) == 0
    assert response_code(transport, create_primary(template(unique=b"x"))) == 0x14B
    assert response_code(transport, create_primary()) == 0


# --- several at a time ------------------------------------------------------------------------------------------


def test_two_on_one_file_are_one_tpm(state):
    one, two = device_on(state), device_on(state)
    assert one.endorsement_key == two.endorsement_key
    one.activate(made_for(one, b"first"))
    assert two.sign(b"text") == hmac.digest(b"first", b"text", "sha256")
    two.activate(made_for(two, b"second"))
    assert one.sign(b"text") == hmac.digest(b"second", b"text", "sha256")


def test_what_is_loaded_belongs_to_one_of_them(kept):
    one, two = SoftTpm(kept), SoftTpm(kept)
    handle = handle_from(one, create_primary())
    assert response_code(two, message(CommandCode.ReadPublic, [handle])) == 0x910
    session = handle_from(one, start_session())
    assert response_code(two, flush(session)) == 0x1CB


def test_many_make_the_same_keys_at_the_same_time(state):
    keys = []

    def work():
        device = device_on(state)
        keys.append((device.endorsement_key, device.storage_root_key))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1


def test_another_one_makes_the_key_while_this_one_waits(state, monkeypatch):
    one, two = SoftTpm(state), SoftTpm(state)
    changing = one._commands.permanent.changing
    theirs = []

    def late():
        theirs.append(answer(two, create_primary()))
        return changing()

    monkeypatch.setattr(one._commands.permanent, "changing", late)
    ours = answer(one, create_primary())
    size = 14 + 4 + 284
    assert theirs[0][:size] == ours[:size]
    assert ours[18:20] == b"\1\x1a"


OTHER_PROCESS = """
import sys
from pathlib import Path
from helpers.tpm import open_tpm
with open_tpm("embedded", Path(sys.argv[1])) as device:
    print(device.endorsement_key, device.sign(b"text").hex())
"""


def test_another_process_sees_the_same_tpm(kept):
    result = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(kept.parent)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    endorsement_key, signature = result.stdout.split()
    assert endorsement_key == device_on(kept).endorsement_key
    assert signature == hmac.digest(KEY, b"text", "sha256").hex()


def test_a_process_that_holds_the_file_is_named(kept):
    device = device_on(kept, lock_timeout=0.1)
    blob = made_for(device, b"new")
    lock = kept.with_name("soft_tpm.json.lock")
    with lock.open("r+") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        for content, holder in (("4711", "process 4711"), ("", "another process"), ("ü", "another process")):
            lock.write_text(content)
            with pytest.raises(TpmUnavailableError, match=rf"held by {holder} for more than 0\.1 seconds"):
                device.activate(blob)
            with pytest.raises(TpmUnavailableError, match=f"held by {holder}"):
                SoftTpm(kept, lock_timeout=0.1)
        # what needs no writing goes on
        assert device.sign(b"text") == hmac.digest(KEY, b"text", "sha256")
    device.activate(blob)
    assert lock.read_text() == str(os.getpid())


def test_it_waits_for_the_other_one(kept):
    device = device_on(kept)
    blob = made_for(device, b"new")
    with kept.with_name("soft_tpm.json.lock").open("r+") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        release = threading.Timer(0.1, fcntl.flock, [file.fileno(), fcntl.LOCK_UN])
        release.start()
        device.activate(blob)
        release.join()
    assert device.sign(b"text") == hmac.digest(b"new", b"text", "sha256")


def test_a_holder_that_cannot_be_read_is_another_process(kept, monkeypatch):
    monkeypatch.setattr(soft_memory.FolderLock, "acquire", lambda _: False)
    monkeypatch.setattr(soft_memory.FolderLock, "holder", lambda _: "")
    with pytest.raises(TpmUnavailableError, match="is held by another process for more than 0 seconds"):
        SoftTpm(kept, lock_timeout=0.0)


def test_a_key_that_another_process_removes_in_between(kept):
    """Between the check of the authorization and the command, the file may change."""
    transport = SoftTpm(kept)
    find = transport._commands.find
    calls = []

    def vanishing(handle):
        calls.append(handle)
        return find(handle) if len(calls) == 1 else None

    transport._commands.find = vanishing
    assert response_code(transport, hmac_of(ID_KEY_HANDLE)) == 0x18B


# --- as a transport ---------------------------------------------------------------------------------------------


def test_after_closing_it_does_not_answer(kept):
    transport = SoftTpm(kept)
    transport.close()
    transport.close()
    with pytest.raises(TpmConnectionError, match=r"was closed already\. Open it again"):
        transport.exchange(message(CommandCode.GetRandom, [], u16(8)))


def test_nothing_shows_a_key(kept):
    transport = SoftTpm(kept)
    device = TpmDevice(Tpm(transport), "under test")
    memory = transport._commands.permanent.keys
    shown = [transport, device, memory, *memory.persistent.values(), *memory.primaries.values()]
    shown += [kept.sensitive for kept in memory.persistent.values()]
    handle = handle_from(transport, start_hmac(ID_KEY_HANDLE))
    shown += [transport._commands.working, transport._commands.working.objects[handle], transport._commands]
    secrets = [KEY] + [primary.seed for primary in memory.primaries.values()] + [memory.proof]
    for one in shown:
        text = repr(one) + str(one)
        for secret in secrets:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


def test_other_threads_wait_for_their_turn(kept):
    transport = SoftTpm(kept)
    wrong = []

    def work(number):
        expected = hmac.digest(KEY, bytes([number]), "sha256")
        wrong.extend(
            1 for _ in range(50) if answer(transport, hmac_of(ID_KEY_HANDLE, bytes([number])))[16:48] != expected
        )

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- what it does not do, and refuses ---------------------------------------------------------------------------

NOT_DONE = {
    "keys of the platform": (create_primary(hierarchy=Handle.PLATFORM), 0x185),
    "keys of nobody": (create_primary(hierarchy=Handle.NULL), 0x185),
    "kept for the platform": (evict(SRK_HANDLE, SRK_HANDLE, Handle.PLATFORM), 0x185),
    "primary HMAC keys": (create_primary(bytes.fromhex("0008000b 00040472 0000 0005 000b 0000")), 0x2CA),
    "keys to sign with": (create_primary(template(0x00040472, symmetric=u16(0x10))), 0x2C2),
    "other exponents": (create_primary(template(exponent=3)), 0x2CD),
    "long unique": (create_primary(template(unique=bytes(257))), 0x2D5),
    "AES in counter mode": (create_primary(template(symmetric=bytes.fromhex("0006 0080 0040"))), 0x2C9),
    "names with SHA-1": (create_primary(template(name_algorithm=4)), 0x2C3),
    "secrets from outside": (create_primary(secret=sized(EMPTY + sized(b"data"))), 0x1C4),
    "registers": (create_primary(registers=u32(1) + SHA256 + b"\3\0\0\0"), 0x4C4),
    "sessions with an HMAC": (start_session(kind=0), 0x3C4),
    "sessions to try a policy": (start_session(kind=3), 0x3C4),
    "sessions with salt": (start_session(key=SRK_HANDLE, salt=bytes(256)), 0x19C),
    "sessions bound to the owner": (start_session(bound=Handle.OWNER), 0x28B),
    "sessions that encrypt by XOR": (start_session(symmetric=u16(0x0A) + SHA256), 0x4D6),
    "policies that expire": (policy_secret(0x03000000, expiration=60), 0x4C4),
    "RSA keys from elsewhere": (
        message(
            CommandCode.Import,
            [SRK_HANDLE],
            EMPTY + sized(template(0x00030460)) + EMPTY + EMPTY + u16(0x10),
            [Handle.PASSWORD],
        ),
        0x2CA,
    ),
    "a tag of TPM 1.2": (bytes.fromhex("00c1 0000000a 00000099"), 0x01E),
    "a size that is too small": (bytes.fromhex("8001 00000009 0000017b"), 0x142),
    "a size that is too large": (bytes.fromhex("8001 0000000b 0000017b"), 0x142),
    "no bytes": (b"", 0x09A),
    "half a header": (bytes.fromhex("8001 0000"), 0x09A),
    "no command code": (bytes.fromhex("8001 00000006"), 0x09A),
    "a command that is too long": (message(CommandCode.HMAC, [ID_KEY_HANDLE], bytes(MAX_MESSAGE_SIZE)), 0x142),
    "update what is no sequence": (update(SRK_HANDLE), 0x189),
}


@pytest.mark.parametrize(("command", "code"), NOT_DONE.values(), ids=NOT_DONE)
def test_what_it_does_not_do(kept, grown, command, code):
    transport = SoftTpm(kept)
    assert handle_from(transport, start_session()) == 0x03000000
    response = answer(transport, command)
    assert hex(int.from_bytes(response[6:10], "big")) == hex(code)
    # a TPM answers a command that is none of TPM 2.0 as one of TPM 1.2 would
    assert response[:2].hex() == ("00c4" if code == 0x01E else "8001")
    assert len(response) == 10
    assert kept.read_bytes() == grown


def test_it_has_one_shape_for_each_command():
    assert set(SHAPES) == set(CommandCode)


def test_its_limits_are_told(kept):
    response = answer(SoftTpm(kept), message(CommandCode.GetCapability, [], u32(6) + u32(0x10E) + u32(100)))
    assert response[10:] == b"\0" + u32(6) + u32(5) + b"".join(
        u32(number) + u32(value)
        for number, value in [(0x10E, 3), (0x110, 3), (0x11E, 4096), (0x11F, 4096), (0x120, 32)]
    )


# --- any bytes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def target(tmp_path_factory, grown):
    """An embedded TPM with all keys, for whatever comes."""
    path = tmp_path_factory.mktemp("fuzz") / "soft_tpm.json"
    path.write_bytes(grown)
    return SoftTpm(path)


def check_response(response):
    assert response[:2] in (b"\x80\x01", b"\x80\x02", b"\x00\xc4")
    assert int.from_bytes(response[2:6], "big") == len(response)
    assert 10 <= len(response) <= MAX_MESSAGE_SIZE
    if response[6:10] != bytes(4):
        assert len(response) == 10


fuzz = settings(max_examples=examples(300), deadline=None, derandomize=True)


@fuzz
@given(data=st.binary(max_size=200))
def test_any_bytes_get_a_response(target, data):
    check_response(target.exchange(data))


HANDLES = [SRK_HANDLE, EK_HANDLE, ID_KEY_HANDLE, 0x80000000, 0x80000001, 0x03000000, 0, 0xFFFFFFFF]
HANDLES += [Handle.OWNER, Handle.NULL, Handle.ENDORSEMENT]


@fuzz
@given(
    code=st.sampled_from(CommandCode),
    tag=st.sampled_from([0x8001, 0x8002]),
    handles=st.lists(
        st.sampled_from(HANDLES),
        max_size=2,
    ),
    area=st.one_of(st.just(authorization()), st.just(authorization() * 2), st.binary(max_size=40)),
    parameters=st.one_of(
        st.binary(max_size=100),
        st.lists(
            st.sampled_from([EMPTY, SHA256, AES_128, u16(0x10), u32(0), u32(Handle.NULL), sized(SRK_TEMPLATE), b"\1"])
            | st.binary(max_size=20).map(sized),
            max_size=6,
        ).map(b"".join),
    ),
)
def test_anything_like_a_command_gets_a_response(target, code, tag, handles, area, parameters):
    body = b"".join(map(u32, handles)) + (u32(len(area)) + area if tag == 0x8002 else b"") + parameters
    check_response(target.exchange(u16(tag) + u32(10 + len(body)) + u32(code) + body))


def test_changed_commands_get_a_response(grown, tmp_path):
    """Commands of a whole registration, each changed in a few places: further inside than random bytes get."""
    recorded = []

    class Recorder(SoftTpm):
        def exchange(self, command):
            recorded.append(command)
            return super().exchange(command)

    path = tmp_path / "soft_tpm.json"
    path.write_bytes(grown)
    device = TpmDevice(Tpm(Recorder(path)), "under test")
    device.activate(made_for(device, KEY))
    device.sign(bytes(3000))
    recorded += [create_primary(), evict(0x80000000, 0x81000777), load(b"x" * 100, SRK_TEMPLATE)]
    target = SoftTpm(path)
    chance = random.Random(1)  # noqa: S311 - the same changes each time
    for command in recorded:
        for _ in range(60):
            changed = bytearray(command)
            for _ in range(chance.randint(1, 3)):
                changed[chance.randrange(6, len(changed))] = chance.choice(
                    [0, 1, 0x20, 0x80, 0xFF, chance.randrange(256)]
                )
            end = chance.choice([len(changed), len(changed), chance.randrange(10, len(changed) + 1)])
            changed = changed[:end] + bytes(chance.choice([0, 0, 0, 1]))
            changed[2:6] = len(changed).to_bytes(4, "big")
            check_response(target.exchange(bytes(changed)))
        for handle in (0x80000000, 0x80000001, 0x80000002, 0x03000000, 0x03000001, 0x03000002):
            target.exchange(flush(handle))
    assert base64.b64decode(device.endorsement_key) == Tpm(target).read_public(EK_HANDLE)
