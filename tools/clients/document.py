"""The tables of docs/clients.md, made from what the tests tried."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tools.clients.table import DEVICES, OF_DEVICES, OF_SERVICES, SERVICES, WORKS, Client
from tools.clients.tried import Tried, TriedError

_PLACE = "<!-- {0}: made by `make clients`, do not edit -->"
_END = "<!-- end of {0} -->"


def renewed(document: str, tried: Iterable[Tried]) -> str:
    """The document with the tables of today.

    Arguments:
        document: the text, with the places of both tables.
        tried: what the tests tried.

    Raises:
        TriedError: a place is missing, a test names what no table knows, or a cell would say nothing or two things.
    """
    tried = list(tried)
    known = {(client.name, name) for rows, columns in _tables().values() for client in rows for name in columns}
    for each in tried:
        if (each.client, each.feature) not in known:
            raise TriedError(
                f"{each.test} tried {each.feature!r} with {each.client!r}; tools/clients/table.py has no such cell."
            )
    works = {(each.client, each.feature) for each in tried}
    for name, (rows, columns) in _tables().items():
        begin, end = _PLACE.format(name), _END.format(name)
        place = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", document, re.DOTALL)
        if place is None:
            raise TriedError(f"The document has no lines {begin} and {end}.")
        before, after = document[: place.start()], document[place.end() :]
        document = f"{before}{begin}\n\n{_table(rows, columns, works)}\n\n{end}{after}"
    return document


def _tables() -> dict[str, tuple[Sequence[Client], Mapping[str, str]]]:
    return {"devices": (DEVICES, OF_DEVICES), "services": (SERVICES, OF_SERVICES)}


def _table(rows: Sequence[Client], columns: Mapping[str, str], works: set[tuple[str, str]]) -> str:
    lines = [["client", *columns.values()], ["---"] * (len(columns) + 1)]
    lines += [
        [client.name, *(_cell(client, name, (client.name, name) in works) for name in columns)] for client in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(client: Client, feature: str, works: bool) -> str:
    instead = client.instead.get(feature, "")
    if works and instead:
        raise TriedError(f"A test tried {feature!r} with {client.name!r}, and the table says {instead!r}: remove that.")
    text = WORKS if works else instead or client.otherwise
    if not text:
        raise TriedError(f"No test tried {feature!r} with {client.name!r}, and the table does not say what to use.")
    return text
