"""With no file descriptors left, newcomers are told so, and nothing is logged again and again."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server import accepting, listeners, open_files

pytestmark = pytest.mark.asyncio


async def read_all(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(listeners.time, "monotonic", lambda: now[0])
    return now


async def test_newcomers_are_turned_away_with_a_reason(
    running: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: Any
) -> None:
    async with running() as server:
        # every socket has a number above this
        monkeypatch.setattr(open_files, "limit", lambda: 2)
        for _ in range(100):
            assert await read_all(server.tls_port) == b""
        answer = await read_all(server.proxy_port)
        clock[0] += 2
        await read_all(server.tls_port)
        monkeypatch.undo()
        assert server.open_connections == 0
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"ulimit -n" in answer
    assert [host for host, _ in frontend.refused] == ["", ""]
    assert "and 102 more were turned away" in frontend.refused[1][1]
    logged = [entry for entry in caplog.records if entry.name == listeners.__name__]
    assert len(logged) == 1
    assert logged[0].levelno == logging.WARNING
    assert not logged[0].exc_info


async def test_the_system_has_none_left(
    running: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    """Clients are accepted with the spare descriptor and turned away; asyncio hears nothing of it, or would log it."""
    original = socket.socket.accept
    failing = [OSError(errno.EMFILE, "too many"), OSError(errno.ENFILE, "too many")]
    calls: list[int] = []

    def accept(self: socket.socket) -> Any:
        calls.append(1)
        # every second time: the first one fails, the one with the spare succeeds
        if failing and len(calls) % 2:
            raise failing.pop()
        return original(self)

    async with running() as server:
        monkeypatch.setattr(socket.socket, "accept", accept)
        assert await read_all(server.tls_port) == b""
        await eventually(lambda: frontend.refused)
        monkeypatch.undo()
        # and no spare to be had
        monkeypatch.setattr(accepting.os, "open", _no_files)
        monkeypatch.setattr(socket.socket, "accept", lambda _: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
        listening = accepting.AcceptingSocket(socket.AF_INET, turned_away=lambda: None)
        with pytest.raises(BlockingIOError):
            listening.accept()
        monkeypatch.setattr(
            socket.socket, "accept", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "not listening"))
        )
        with pytest.raises(OSError, match="not listening"):
            listening.accept()
        listening.close()
        monkeypatch.undo()


def _no_files(*_: Any) -> int:
    raise OSError(errno.EMFILE, "too many")


async def test_connections_leave_some_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, highest in ((65_536, 65_472), (1_024, 960), (100, 50)):
        monkeypatch.setattr(open_files, "limit", lambda limit=limit: limit)
        assert accepting.highest() == highest
