"""What one notebook hands to the next, kept in files that only you can read.

A *document* is a small JSON object under a name such as ``symmetric_key.enrollments``. Documents of different targets
and ID scopes never mix. A *recipe* (see :mod:`helpers.recipes`) knows how to make a document's contents with the same
SDK calls that the notebook uses, so that every notebook can be run on its own.

The folder is ``$DPS_WORKSPACE``, else ``.workspace`` beside ``helpers``; never the working directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dps_simulator import SettingsError
from dps_simulator.rules import FolderError, check_owner, make_folders, state_folder, write_private

from .credentials import Secret
from .masking import MaskedError, shown

Document = dict[str, Any]

#: A document is a handful of names and keys; a larger file is not one of ours.
SIZE_LIMIT = 1_000_000

#: The format of the documents, counted on by whoever changes what stands in them. Where the member is missing it is 1.
FORMAT = 1
#: What makes the next format of an older one, from the name and the document, by the older format. Documents are
#: brought up to date when they are read, and stay as they are until they are written again.
UPGRADES: dict[int, Callable[[str, Document], Document]] = {}

_FORMAT_MEMBER = "format_version"
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_CLAIMS = "claims"


class WorkspaceError(MaskedError):
    """The workspace cannot be read or written; the text names the file and the way out."""


class NewerFormatError(WorkspaceError):
    """A newer version of this project wrote the file, and this one does not know how."""


class Place(Protocol):
    """What the workspace needs to know of a target."""

    @property
    def name(self) -> str:
        """``simulator`` or ``azure``."""

    @property
    def id_scope(self) -> str:
        """The ID scope, which tells one DPS from another."""


class Recipe(Protocol):
    """How the contents of a document come about, and how they go away again."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """The document when everything it speaks of is still there, else ``None``: it is made anew, as always here."""
        return None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Make everything with the SDKs and return the document."""

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove whatever an earlier run left; nothing there is fine."""

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """The lines to print when the contents are there, however they came about."""

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """The lines to print when nothing of it is there (any more)."""


def register(name: str, recipe: Recipe) -> None:
    """Make a recipe of your own known under the name of its document. Those of the notebooks are known already."""
    _recipes()[_checked(name)] = recipe


def root() -> Path:
    """The workspace folder, made when missing, readable by you alone.

    Raises:
        WorkspaceError: when it cannot be made.
    """
    try:
        return _private(state_folder.workspace(os.environ))
    except SettingsError as problem:
        raise WorkspaceError(f"The workspace folder cannot be used: {problem}") from None


def simulator_state() -> Path:
    """Where the simulator that the notebooks use keeps its state: as for the command ``dps-simulator``.

    Raises:
        WorkspaceError: the workspace cannot be made.
    """
    top = root()
    try:
        return state_folder.state({**os.environ, state_folder.WORKSPACE_VARIABLE: str(top)})
    except SettingsError as problem:
        raise WorkspaceError(f"The state folder of the simulator cannot be used: {problem}") from None


def save(name: str, dps: Place, document: Mapping[str, Any]) -> None:
    """Keep a document; secrets inside it are written in clear, into a file that only you can read.

    Raises:
        WorkspaceError: it cannot be written, or a newer version of this project wrote the one that is there.
    """
    _write(_path(name, dps), _changed(document, _plain))


def load(name: str, dps: Place) -> Document | None:
    """The document, its keys wrapped as :class:`~helpers.credentials.Secret`, or ``None`` when there is none.

    Raises:
        WorkspaceError: when the file is damaged, or of a newer version. It is left as it is.
    """
    found = _read(_path(name, dps))
    return None if found is None else _changed(found, _guarded)


def need(name: str, dps: Any, **names: str) -> Document:
    """What an earlier notebook made; made now, with the same SDK calls, where it did not run.

    Arguments:
        name: name of the document, e.g. ``symmetric_key.enrollments``.
        dps: the target, from ``connect(...)``.
        names: the registration IDs and so on that the notebook works with.
    """
    document = made(name, dps, names)
    print(*_recipe(name).ready(names), sep="\n")  # noqa: T201  (the notebook's output)
    return _changed(document, _guarded)


def found(name: str, dps: Any, names: Mapping[str, str]) -> Document | None:
    """The document, when everything it speaks of is still there under these names, else ``None``."""
    return _recipe(name).find(dps, load(name, dps), names)


def made(name: str, dps: Any, names: Mapping[str, str]) -> Document:
    """The same, made where it is not there; what an earlier run left in its place goes."""
    document = found(name, dps, names)
    if document is None:
        recipe = _recipe(name)
        recipe.remove(dps, names)
        document = recipe.make(dps, names)
        save(name, dps, document)
    return document


def start_over(name: str, dps: Any, **names: str) -> None:
    """Remove what an earlier run made under these names, so that the notebook begins from nothing."""
    recipe = _recipe(name)
    recipe.remove(dps, names)
    forget(name, dps)
    print(*recipe.removed(names), sep="\n")  # noqa: T201  (the notebook's output)


def forget(name: str, dps: Place) -> None:
    """Delete the document; nothing there is fine.

    Raises:
        WorkspaceError: a newer version of this project wrote it.
    """
    path = _path(name, dps)
    _spare_newer(path)
    path.unlink(missing_ok=True)


def claim(dps: Place, kind: str, identifier: str) -> None:
    """Note that this workspace makes something, before it is made: what is claimed is cleaned up later."""
    claims = claimed(dps)
    entry = (kind, identifier)
    if entry not in claims:
        _write(_path(_CLAIMS, dps), {"claims": [list(each) for each in [*claims, entry]]})


def release(dps: Place, kind: str, identifier: str) -> None:
    """Take a claim back: the thing is gone."""
    rest = [list(each) for each in claimed(dps) if each != (kind, identifier)]
    _write(_path(_CLAIMS, dps), {"claims": rest})


def claimed(dps: Place) -> list[tuple[str, str]]:
    """Everything that this workspace made on the target: pairs of kind and identifier, oldest first."""
    document = _read(_path(_CLAIMS, dps)) or {}
    entries = document.get("claims", [])
    if not isinstance(entries, list) or not all(isinstance(each, list) and len(each) == 2 for each in entries):
        raise _damaged(_path(_CLAIMS, dps), "its list of claims is not one")
    return [(str(kind), str(identifier)) for kind, identifier in entries]


def clear(dps: Place) -> None:
    """Delete every document of the target, keys included."""
    folder = root() / _folder(dps)
    if folder.exists():
        shutil.rmtree(folder)


def documents(dps: Place) -> list[str]:
    """Names of the documents that are kept for the target."""
    return sorted(path.stem for path in (root() / _folder(dps)).glob("*.json"))


def folder(name: str, dps: Place) -> Path:
    """A folder for files of the target, such as certificates; made when missing, readable by you alone.

    :func:`clear` deletes it with everything else.
    """
    return _private(_private(root() / _folder(dps)) / _checked(name))


def empty_folder(name: str, dps: Place) -> None:
    """Delete a folder of the target with all its files; nothing there is fine."""
    place = root() / _folder(dps) / _checked(name)
    if place.exists():
        shutil.rmtree(place)


def files(dps: Place) -> list[str]:
    """Every file that is kept for the target, by its path within the target's folder: documents, certificates, keys."""
    top = root() / _folder(dps)
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())


def _recipes() -> dict[str, Recipe]:
    # the recipes keep what they make in the workspace, so they import this module
    from .recipes import RECIPES  # noqa: PLC0415

    return RECIPES


def _recipe(name: str) -> Recipe:
    recipes = _recipes()
    if name not in recipes:
        raise WorkspaceError(f"Nothing is known as {shown(name)}. Known: {', '.join(sorted(recipes))}.")
    return recipes[name]


def _checked(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WorkspaceError(f"{shown(name)} is no name for a document: use small letters, digits, '_' and '.'.")
    return name


def _folder(dps: Place) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", f"{dps.name}-{dps.id_scope}")


def _path(name: str, dps: Place) -> Path:
    return _private(root() / _folder(dps)) / f"{_checked(name)}.json"


def _private(folder: Path) -> Path:
    try:
        make_folders(folder)
        check_owner(folder)
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except FolderError as problem:
        raise WorkspaceError(f"{problem} DPS_WORKSPACE names the folder.") from None
    except OSError as problem:
        raise WorkspaceError(
            f"The workspace folder {folder} cannot be made ({problem.strerror}). "
            "Set DPS_WORKSPACE to a folder that you may write to."
        ) from None
    return folder


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, which a reader meets as it was or as it is, never half of one."""
    _spare_newer(path)
    if FORMAT > 1:
        document = {**document, _FORMAT_MEMBER: FORMAT}
    try:
        write_private(path, json.dumps(document, indent=2, sort_keys=True))
    except OSError as problem:
        raise WorkspaceError(
            f"{path} cannot be written ({problem.strerror}). Free some space or set DPS_WORKSPACE to another folder."
        ) from None


def _spare_newer(path: Path) -> None:
    """Refuse to replace what a newer version wrote. What is damaged may be replaced."""
    try:
        _read(path)
    except NewerFormatError:
        raise
    except WorkspaceError:
        return


def _read(path: Path) -> Document | None:
    """The document in the format of today."""
    document = _parsed(path)
    if document is None:
        return None
    found = document.pop(_FORMAT_MEMBER, 1)
    if type(found) is not int or found < 1:
        raise _damaged(path, f"its {_FORMAT_MEMBER} is {found!r:.40}")
    if found > FORMAT:
        raise NewerFormatError(
            f"The workspace file {path} has format {found} of a newer version (this one knows {FORMAT}). It was left "
            "as it is. Get the newer version of this project, or set DPS_WORKSPACE to another folder."
        )
    for step in range(found, FORMAT):
        document = UPGRADES[step](path.stem, document)
    return document


def _parsed(path: Path) -> Document | None:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise _damaged(path, f"it has more than {SIZE_LIMIT} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None
    except OSError as problem:
        raise WorkspaceError(f"{path} cannot be read ({problem.strerror}).") from None
    if not isinstance(document, dict):
        raise _damaged(path, "it holds no JSON object")
    return document


def _damaged(path: Path, how: str) -> WorkspaceError:
    return WorkspaceError(
        f"The workspace file {path} is damaged: {how}. It was left as it is. Move it away (or repair it) and run the "
        "notebook again; what it described is then made anew."
    )


def _is_secret(name: str) -> bool:
    return name == "key" or name.endswith("_key")


def _changed(document: Mapping[str, Any], change: Callable[[str, Any], Any]) -> Document:
    """A copy in which every value, also of the mappings inside, is what a function makes of its name and itself."""
    return {
        name: _changed(value, change) if isinstance(value, Mapping) else change(name, value)
        for name, value in document.items()
    }


def _guarded(name: str, value: Any) -> Any:
    """A key wrapped as a Secret, everything else as it is."""
    return Secret(value) if _is_secret(name) and isinstance(value, str) else value


def _plain(name: str, value: Any) -> Any:
    """A Secret revealed, for the file; everything else as it is."""
    if not isinstance(value, Secret):
        return value
    if not _is_secret(name):
        raise WorkspaceError(f"A secret must be kept under a name that ends in 'key', not {name!r}.")
    return value.reveal()
