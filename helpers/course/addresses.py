"""Where a public copy of the notebooks is, and the link that opens it in a browser with Binder.

The forms of the links are those that mybinder.org makes for GitHub (``gh/OWNER/NAME/REF``), GitLab (``gl/PATH/REF``,
the path escaped) and any other server with git over HTTPS (``git/ADDRESS/REF``, the address escaped).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from helpers.masking import shown

#: ``git@github.com:owner/name.git``, as ssh has it.
_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w-]+(?:\.[\w-]+)+):(?P<path>[^/\\:].*)")
_BARE = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)+)/(?P<path>.+)")
_PART = re.compile(r"[A-Za-z0-9_.~-]+")
_BINDER = "https://mybinder.org"
#: The layout of JupyterLab that `binder/start` lays out, and the notebook that is open in it.
LAYOUT, FIRST = "tutorial", "00_start_here"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a server that others can reach.

    Attributes:
        host: such as ``github.com``.
        path: such as ``contoso/lessons``; on GitLab there may be more parts.
    """

    host: str
    path: str

    @classmethod
    def parse(cls, address: str) -> Repository:
        """Read an address as a person copies it, or as ``git remote get-url`` says it.

        Arguments:
            address: over HTTPS or ssh, or without either, as in ``github.com/contoso/lessons``. What stands in it of
                who may log in is left out.

        Raises:
            ValueError: it is none, or leads to a folder of this machine.
        """
        text = str(address).strip()
        try:
            parts = urlsplit(text)
            found = (parts.hostname or "", parts.path) if parts.scheme in ("https", "http", "ssh", "git") else None
        except ValueError:
            found = None
        if found is None and "://" not in text and (match := _SCP.fullmatch(text) or _BARE.fullmatch(text)):
            found = match["host"].lower(), match["path"]
        host, path = found or ("", "")
        path = path.strip("/").removesuffix(".git")
        pieces = path.split("/")
        named = all(_PART.fullmatch(piece) and piece.strip(".") for piece in pieces)
        fits = len(pieces) == 2 if host == "github.com" else len(pieces) >= 2
        if "." not in host or not named or not fits:
            raise ValueError(
                f"{shown(address)} is no address of a public repository; it must be like "
                "'https://github.com/OWNER/REPOSITORY' or 'https://gitlab.com/GROUP/PROJECT'."
            )
        return cls(host, path)

    @property
    def page(self) -> str:
        """Its page for people."""
        return f"https://{self.host}/{self.path}"

    def binder_link(self, branch: str, notebook: str = "") -> str:
        """The link that opens a copy on mybinder.org, for anybody, without an account.

        Arguments:
            branch: a branch, or a tag.
            notebook: the name of the one to open, without its ending; by default the layout that ``binder/start``
                has laid out, with the first notebook.

        Raises:
            ValueError: the branch is empty.
        """
        if not str(branch).strip():
            raise ValueError("The branch is empty; it must be the name of a branch or a tag, such as 'main'.")
        if self.host == "github.com":
            where = f"gh/{self.path}"
        elif self.host == "gitlab.com":
            where = f"gl/{quote(self.path, safe='')}"
        else:
            where = f"git/{quote(self.page + '.git', safe='')}"
        layout = "" if notebook else f"workspaces/{LAYOUT}/"
        opened = quote(f"lab/{layout}tree/notebooks/{notebook or FIRST}.ipynb", safe="/")
        return f"{_BINDER}/v2/{where}/{quote(str(branch).strip(), safe='')}?urlpath={opened}"


#: The pictures of the buttons, as mybinder.org and GitHub give them out.
BUTTON = f"{_BINDER}/badge_logo.svg"
CODESPACES = "https://github.com/codespaces/badge.svg"
