"""
The bench's own servers, in a process of their own so that their work is nobody's figure: `python -m bench.servers PORT PEM`.

    objects   answers GET /bucket/name?… 20 ms after it was asked, with bytes made from the name
    plain     before the table engine on PORT, whose connections last for one request
    front     the same over TLS

Prints their ports as JSON and ends when its input does.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import sys
from pathlib import Path

from bench.tls_front import serve

FIRST_BYTE_SECONDS = 0.02
OBJECT_BYTES = 150_000


@functools.cache
def _reply(page: str) -> bytes:
    body = object_bytes(page)
    etag = hashlib.md5(body).hexdigest()
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: "{etag}"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + body


def object_bytes(name: str) -> bytes:
    """What is stored under a name: its first two letters say which page it is, the others are the upload's own."""
    return hashlib.sha256(name.rsplit("/", 1)[-1][:2].encode()).digest() * (OBJECT_BYTES // 32)


async def _objects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            name = line.split()[1].decode().split("?")[0]
            await asyncio.sleep(FIRST_BYTE_SECONDS)
            writer.write(_reply(name.rsplit("/", 1)[-1][:2]))
            await writer.drain()
    except (OSError, IndexError, asyncio.CancelledError):  # the last: the bench is over
        pass
    finally:
        writer.close()


async def main(port: int, server_pem: Path) -> None:
    objects = await asyncio.start_server(_objects, "127.0.0.1", 0)
    plain, front = await serve(("127.0.0.1", port), None), await serve(("127.0.0.1", port), server_pem)
    servers = {"objects": objects, "plain": plain, "front": front}
    print(json.dumps({name: server.sockets[0].getsockname()[1] for name, server in servers.items()}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
