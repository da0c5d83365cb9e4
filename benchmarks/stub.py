"""The bare stub that registrations are compared with: TLS, MQTT and one fixed answer, nothing else.

It exists to show what the SDK, TLS and sockets cost. It checks nothing and keeps nothing. Like the simulator it has two
ports: a proxy, and TLS from the first byte on.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path

ANSWER = {
    "operationId": "5.0.stub",
    "status": "assigned",
    "registrationState": {
        "registrationId": "bench",
        "deviceId": "bench",
        "assignedHub": "hub.azure-devices.test",
        "status": "assigned",
        "substatus": "initialAssignment",
        "createdDateTimeUtc": "2026-01-01T00:00:00Z",
        "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z",
        "etag": "stub",
    },
}


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return kind, await reader.readexactly(length)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            kind, body = await _packet(reader)
            if kind >> 4 == 1:
                writer.write(b"\x20\x02\x00\x00")
            elif kind >> 4 == 8:
                writer.write(b"\x90\x03" + body[:2] + b"\x01")
            elif kind >> 4 == 3:
                size = int.from_bytes(body[:2], "big")
                request = body[2 : 2 + size].decode()
                if kind & 0b110:
                    writer.write(b"\x40\x02" + body[2 + size : 4 + size])
                topic = f"$dps/registrations/res/200/?$rid={request.split('rid=')[1]}".encode()
                payload = len(topic).to_bytes(2, "big") + topic + json.dumps(ANSWER).encode()
                writer.write(bytes((0x30, len(payload) & 127 | 128, len(payload) >> 7)) + payload)
            else:
                return
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def _main(certificate: Path, key: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.drain()
            await writer.start_tls(context)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()
            return
        await _serve(reader, writer)

    server = await asyncio.start_server(proxied, "127.0.0.1", 0)
    direct = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=context)
    ports = [each.sockets[0].getsockname()[1] for each in (server, direct)]
    sys.stdout.write(f"{json.dumps(ports)}\n")
    sys.stdout.flush()
    await asyncio.gather(server.serve_forever(), direct.serve_forever())


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
