"""The permanent memory of the embedded TPM: keys that survive, in a file.

Several processes may have the same file open, as notebooks that follow each other do. The file is read anew when
another one changed it, and replaced as a whole, under a lock. It is readable by its owner only, and that is all its
protection: whoever reads it has the keys.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dps_simulator.rules import FolderError, FolderLock, make_folders, write_private
from helpers.tpm.errors import TpmUnavailableError
from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import Algorithm

from .arguments import RefusedError
from .objects import RSA_BITS, Sensitive, SoftObject, load_rsa_key, whole_public

#: How long to wait for another process that changes the file, in seconds.
LOCK_TIMEOUT = 10.0

_FORMAT, _VERSION = "embedded-tpm", 1
_WARNING = "This file holds private keys of a TPM for learning. Do not share it; delete it to get a new TPM."
_LARGEST_FILE = 1_000_000
_SEED_SIZE = 32
_PERSISTENT_HANDLES = range(0x81000000, 0x82000000)
_MOST_KEYS = 32
_POLL = 0.02


@dataclass(frozen=True, repr=False)
class PrimaryKey:
    """An RSA key that was made for a template, so that the same template gives the same key again.

    Attributes:
        modulus: its public half.
        key: the private key in DER.
        seed: what it protects other keys with.
    """

    modulus: bytes
    key: bytes
    seed: bytes


@dataclass(repr=False)
class Keys:
    """What the permanent memory holds.

    Attributes:
        proof: what tickets of this TPM are made with.
        primaries: the keys of templates, by hierarchy and TPMT_PUBLIC of the template.
        persistent: the kept keys, by handle.
    """

    proof: bytes = field(default_factory=lambda: secrets.token_bytes(_SEED_SIZE))
    primaries: dict[tuple[int, bytes], PrimaryKey] = field(default_factory=dict)
    persistent: dict[int, SoftObject] = field(default_factory=dict)

    def copy(self) -> Keys:
        """The same keys, to be changed."""
        return Keys(self.proof, dict(self.primaries), dict(self.persistent))


class PermanentMemory:
    """The keys that survive.

    Arguments:
        path: the file; ``None`` keeps them in this process only.

    Raises:
        TpmUnavailableError: the file or its folder cannot be used; it is left as it is.
    """

    def __init__(self, path: Path | None, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._keys = Keys()
        self._stamp: tuple[int, int, int] | None = None
        if path is not None:
            self._refresh(path)

    @property
    def keys(self) -> Keys:
        """The keys as they are now. Not to be changed: see :meth:`changing`.

        Raises:
            TpmUnavailableError: another process changed the file, and it cannot be read.
        """
        if self._path is not None and self._stamp != _stamp_of(self._path):
            self._refresh(self._path)
        return self._keys

    @contextmanager
    def changing(self) -> Iterator[Keys]:
        """The keys, to be changed; written when the block ends without an exception.

        Raises:
            RefusedError: there would be more of them than the memory holds.
            TpmUnavailableError: the file is held by another process, or cannot be read or written.
        """
        path = self._path
        with _locked(path, self._lock_timeout) if path is not None else nullcontext():
            if path is not None:
                self._read(path)
            keys = self._keys.copy()
            yield keys
            _check_space(keys)
            if path is not None:
                self._write(path, keys)
            self._keys = keys

    def _refresh(self, path: Path) -> None:
        with _locked(path, self._lock_timeout):
            self._read(path)

    def _read(self, path: Path) -> None:
        """Read the file if it changed. Where there is none, this is a new TPM."""
        stamp = _stamp_of(path)
        if stamp is None:
            self._write(path, Keys())
        elif stamp != self._stamp:
            self._keys = _parse(path)
            self._stamp = stamp

    def _write(self, path: Path, keys: Keys) -> None:
        try:
            _make_folder(path.parent)
            write_private(path, _marshal(keys))
        except OSError as error:
            raise TpmUnavailableError(
                f"The state of the embedded TPM cannot be written to {path} ({error.strerror or error})."
            ) from error
        self._keys = keys
        self._stamp = _stamp_of(path)


def _check_space(keys: Keys) -> None:
    if len(keys.primaries) > _MOST_KEYS or len(keys.persistent) > _MOST_KEYS:
        raise RefusedError(ResponseCode.NV_SPACE)


# --- the file ---------------------------------------------------------------------------------------------------


def _marshal(keys: Keys) -> bytes:
    content = {
        "proof": keys.proof.hex(),
        "primaries": [
            {"hierarchy": hierarchy, **_hex(template=template, **vars(primary))}
            for (hierarchy, template), primary in keys.primaries.items()
        ],
        "persistent": [
            {
                "handle": f"0x{handle:08X}",
                **_hex(
                    public=kept.public.area,
                    auth=kept.sensitive.auth,
                    seed=kept.sensitive.seed,
                    key=kept.sensitive.key,
                    parent=kept.parent,
                ),
            }
            for handle, kept in sorted(keys.persistent.items())
        ],
    }
    head = {"format": _FORMAT, "version": _VERSION, "warning": _WARNING}
    document = {**head, "content": content, "sha256": _digest(content)}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def _digest(content: object) -> str:
    """What tells damage apart from a file that is whole. It does not protect against people."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _parse(path: Path) -> Keys:
    """Read the file.

    Raises:
        TpmUnavailableError: it is damaged, or something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    found = _keys_or_problem(data)
    if isinstance(found, Keys):
        return found
    problem, remedy = found
    raise TpmUnavailableError(
        f"{path} {problem}. It was left as it is. {remedy} it away to get a new TPM, which has another endorsement "
        "key and so needs a new enrollment, or choose another folder."
    )


def _keys_or_problem(data: bytes) -> Keys | tuple[str, str]:
    """What is in the file; else what is wrong with it, and what to do with it before it is moved away.

    Exceptions of the parsers may repeat what they read, so they do not become causes.
    """
    problem = "is not a state of the embedded TPM"
    try:
        document = json.loads(data) if len(data) <= _LARGEST_FILE else {}
        if document["format"] != _FORMAT:
            return problem, "Move"
        problem = "is damaged"
        if (version := document.get("version")) == _VERSION:
            return _keys_of(document)
    except (ValueError, TypeError, LookupError, RefusedError, RecursionError):
        return problem, "Move"
    return (
        f"has format {version!r:.20} of another version of these notebooks (this one reads version {_VERSION})",
        "Use it with that version. Move",
    )


def _keys_of(document: dict[str, Any]) -> Keys:
    content = document["content"]
    if not hmac.compare_digest(str(document["sha256"]).encode("utf-8", "replace"), _digest(content).encode()):
        raise ValueError
    keys = Keys(_unhex(content, "proof")[0])
    for entry in content["primaries"]:
        template, *halves = _unhex(entry, "template", "modulus", "key", "seed")
        whole_public(template)
        primary = PrimaryKey(*halves)
        if len(primary.modulus) != RSA_BITS // 8 or len(primary.seed) != _SEED_SIZE:
            raise ValueError
        load_rsa_key(primary.key)
        keys.primaries[int(entry["hierarchy"]), template] = primary
    for entry in content["persistent"]:
        area, auth, seed, key, parent = _unhex(entry, "public", "auth", "seed", "key", "parent")
        public, handle = whole_public(area), int(entry["handle"], 16)
        if public.algorithm == Algorithm.RSA:
            load_rsa_key(key)
        if handle not in _PERSISTENT_HANDLES:
            raise ValueError
        keys.persistent[handle] = SoftObject(public, Sensitive(public.algorithm, auth, seed, key), parent)
    _check_space(keys)
    return keys


def _hex(**values: bytes) -> dict[str, str]:
    return {name: value.hex() for name, value in values.items()}


def _unhex(entry: Mapping[str, str], *names: str) -> list[bytes]:
    """The reverse of :func:`_hex`, in the order of the names."""
    return [bytes.fromhex(entry[name]) for name in names]


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever the file is replaced; ``None`` when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _unreadable(path: Path, error: OSError) -> TpmUnavailableError:
    return TpmUnavailableError(f"The state of the embedded TPM, {path}, cannot be read ({error.strerror or error}).")


def _make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter; an empty one that is there already is closed to others."""
    try:
        make_folders(path)
        mode = path.stat().st_mode
        if os.name == "posix" and mode & 0o077 and not any(path.iterdir()):
            path.chmod(0o700)
            mode = path.stat().st_mode
    except OSError as error:
        raise TpmUnavailableError(
            f"The folder {path} for the embedded TPM cannot be made ({error.strerror or error}). Choose another one."
        ) from error
    if os.name == "posix" and mode & 0o022:
        raise TpmUnavailableError(
            f"Other users may put files into the folder {path}. Choose a folder of your own for the embedded TPM."
        )


# --- the lock ---------------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    """Keep other processes from the file. The lock ends with the process, however that ends."""
    _make_folder(path.parent)
    place = path.with_name(f"{path.name}.lock")
    lock, deadline = FolderLock(place), time.monotonic() + timeout
    try:
        while not lock.acquire():
            if time.monotonic() >= deadline:
                number = lock.holder()
                raise TpmUnavailableError(
                    f"The embedded TPM in {path} is held by {f'process {number}' if number else 'another process'} for "
                    f"more than {timeout:g} seconds. Restart the notebook that hangs, then try again."
                )
            time.sleep(_POLL)
    except FolderError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise TpmUnavailableError(
            f"The lock {place} of the embedded TPM cannot be opened ({reason}). Choose another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
