"""A body that is none is refused as soon as that shows, and not when the time for it is over."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import zlib
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server import http_adapter
from dps_simulator.server.content_coding import (
    BrokenBodyError,
    LargeBodyError,
    UnsupportedCodingError,
    codings,
    unpacked,
)

BODY = json.dumps({"a": list(range(100))}).encode()
PACKED = {"gzip": gzip.compress(BODY), "deflate": zlib.compress(BODY)}
RAW = zlib.compress(BODY)[2:-4]
HEAD = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def chunked(body: bytes, more: bytes = b"") -> tuple[bytes, bytes]:
    return HEAD + more + b"Transfer-Encoding: chunked\r\n\r\n", body


def packed(coding: bytes, body: bytes, more: bytes = b"") -> tuple[bytes, bytes]:
    return HEAD + more + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body)), body


GZIP, DEFLATE = PACKED["gzip"], PACKED["deflate"]
CONTINUE = b"Expect: 100-continue\r\n"
REFUSED = {
    "deflate that is none": (packed(b"deflate", b'{"a": 1}'), 400, "'deflate'"),
    "deflate that is cut off": (packed(b"deflate", DEFLATE[:-3]), 400, "cut off"),
    "deflate with more behind it": (packed(b"deflate", DEFLATE + b"x"), 400, "behind the end"),
    "gzip that is none": (packed(b"gzip", b"abcdefgh"), 400, "'gzip'"),
    "gzip that is cut off": (packed(b"gzip", GZIP[:-3]), 400, "cut off"),
    "gzip that is cut off in its head": (packed(b"gzip", GZIP[:5]), 400, "cut off"),
    "gzip with more behind it": (packed(b"gzip", GZIP + b"abc"), 400, "'gzip'"),
    "gzip with a wrong checksum": (packed(b"gzip", GZIP[:-8] + b"0000" + GZIP[-4:]), 400, "'gzip'"),
    "brotli": (packed(b"br", b"abcd"), 415, "'br' is not supported"),
    "zstandard": (packed(b"ZSTD", b"abcd"), 415, "'zstd' is not supported"),
    "packed again and again": (packed(b"gzip, gzip, gzip", b"abcd"), 415, "3 times"),
    "chunks of deflate that is none": (chunked(b"4\r\nabcd\r\n0\r\n\r\n", b"Content-Encoding: deflate\r\n"), 400, "'d"),
    "a continued one that is none": (packed(b"deflate", b"abcd", CONTINUE), 400, "'deflate'"),
    "no size of a chunk": (chunked(b"zz\r\nabc\r\n0\r\n\r\n"), 400, "chunk size"),
    "a negative size": (chunked(b"-1\r\nabc\r\n"), 400, "chunk size"),
    "a size without end": (chunked(b"f" * 40), 400, "overflow"),
    "a chunk longer than its size": (chunked(b"3\r\nabcdef\r\n0\r\n\r\n"), 400, "after chunk data"),
    "bare line feeds": (chunked(b"3\nabc\n0\n\n"), 400, "CR"),
    "a second chunk without size": (chunked(b"3\r\nabc\r\nzz\r\n"), 400, "chunk size"),
    "a trailer that is none": (chunked(b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n"), 400, "header"),
    "a continued one without size": (chunked(b"zz\r\n", CONTINUE), 400, "chunk size"),
    "a transfer coding": (
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        501,
        "'gzip, chunked'",
    ),
    "an expectation behind another": (
        (HEAD + CONTINUE + b"Expect: much\r\nContent-Length: 3\r\n\r\n", b"abc"),
        417,
        "much",
    ),
    "an expectation in a list": ((HEAD + b"Expect: 100-continue, x\r\nContent-Length: 3\r\n\r\n", b"abc"), 417, "x"),
    **{
        f"Content-Length {length!r}": ((HEAD + b"Content-Length: %s\r\n\r\n" % length, b"abc"), 400, "Content-Length")
        for length in (b"-1", b"+3", b"3, 3", b"3.0", b"0x3", b"1_0", b"", b"9" * 40, b"3\r\nContent-Length: 4")
    },
}
SERVED = {
    "gzip": (packed(b"gzip", GZIP), len(BODY)),
    "its other name": (packed(b"X-GZip", GZIP), len(BODY)),
    "gzip in two members": (packed(b"gzip", GZIP + GZIP), 2 * len(BODY)),
    "deflate": (packed(b"deflate", DEFLATE), len(BODY)),
    "deflate without its frame": (packed(b"deflate", RAW), len(BODY)),
    "packed twice": (packed(b"deflate, gzip", gzip.compress(DEFLATE)), len(BODY)),
    "a character set": (packed(b"utf-8", BODY), len(BODY)),
    "nothing to unpack": (packed(b"gzip", b""), 0),
    "nothing to unpack with brotli": (packed(b"br", b""), 0),
    "continued": (packed(b"gzip", GZIP, CONTINUE), len(BODY)),
    "continued twice": (packed(b"gzip", GZIP, b"Expect: 100-Continue, 100-continue\r\n"), len(BODY)),
    "chunks": (chunked(b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n"), 3),
}


async def answered(server: Any, context: Any, pieces: list[bytes]) -> tuple[int, dict[str, str], Any]:
    """The answer, and not whether it was told to go on before."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.tls_port, ssl=context, server_hostname="localhost"
    )
    for piece in pieces:
        with contextlib.suppress(ConnectionResetError):  # the answer has come already
            writer.write(piece)
            await writer.drain()
        # whatever the server has made of it: what comes next comes by itself
        for _ in range(20):
            await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
    writer.close()
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), json.loads(body)


def pieces_of(request: tuple[bytes, bytes], cut: str) -> list[bytes]:
    head, body = request
    if cut == "in one piece":
        return [head + body]
    return [head, body] if cut == "body later" else [head + body[:2], body[2:]]


@pytest.fixture
def no_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that waits for the end of the time would never come."""
    monkeypatch.setattr(http_adapter, "BODY_TIMEOUT", 100 * PATIENCE)


CUTS = ["in one piece", "body later", "in the middle"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_time_out")
@pytest.mark.parametrize("cut", CUTS)
async def test_what_is_no_body_is_refused_at_once(
    running: Any, client_context: Any, frontend: Any, caplog: pytest.LogCaptureFixture, cut: str
) -> None:
    async with running() as server:
        for name, (request, status, words) in REFUSED.items():
            found, headers, body = await answered(server, client_context(), pieces_of(request, cut))
            assert (found, words in body["message"]) == (status, True), (name, found, body)
            assert body["Message"] == body["message"], name
            assert body["errorCode"] // 1_000 == status, name
            assert ("accept-encoding" in headers) is (status == 415), name
    assert frontend.requests == []
    assert not [entry for entry in caplog.records if entry.levelno > logging.INFO]


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_time_out")
@pytest.mark.parametrize("cut", CUTS)
async def test_what_is_one_is_served(running: Any, client_context: Any, cut: str) -> None:
    async with running() as server:
        for name, (request, size) in SERVED.items():
            status, _, body = await answered(server, client_context(), pieces_of(request, cut))
            assert (status, body["size"]) == (200, size), name


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_time_out")
async def test_a_mistake_in_the_second_request_does_not_harm_the_first(
    running: Any, client_context: Any, frontend: Any
) -> None:
    first = b"PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(first + chunked(b"")[0])
        await writer.drain()
        writer.write(b"zz\r\n")
        answers = await asyncio.wait_for(reader.read(-1), PATIENCE)
        writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"HTTP/1.1 400 Bad Request") == 1
    assert [each.path for each in frontend.requests] == ["/1"]


@pytest.mark.asyncio
async def test_a_client_of_the_older_version_is_not_told_to_go_on(running: Any, client_context: Any) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
        writer.close()
    assert answer.startswith(b"HTTP/1.0 200 OK")


def test_every_cut_of_a_packed_body_is_noticed() -> None:
    for name, body in PACKED.items():
        for length in range(1, len(body)):
            with pytest.raises(BrokenBodyError):
                unpacked(body[:length], [name], 10_000)
    for length in range(1, len(RAW)):
        with pytest.raises(BrokenBodyError):
            unpacked(RAW[:length], ["deflate"], 10_000)


@pytest.mark.parametrize("name", PACKED)
def test_the_largest_body(name: str) -> None:
    assert unpacked(PACKED[name], [name], len(BODY)) == BODY
    with pytest.raises(LargeBodyError):
        unpacked(PACKED[name], [name], len(BODY) - 1)


def test_members_count_together() -> None:
    assert unpacked(GZIP * 3, ["gzip"], 3 * len(BODY)) == 3 * BODY
    with pytest.raises(LargeBodyError):
        unpacked(GZIP * 3, ["gzip"], 3 * len(BODY) - 1)


def test_names_of_codings() -> None:
    assert codings(["GZIP , utf-8", "deflate", ""]) == ("gzip", "deflate")
    for name in ("br", "identity, Compress"):
        with pytest.raises(UnsupportedCodingError, match=r"use gzip, deflate, identity"):
            codings([name])
