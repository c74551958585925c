"""The process of tests/fault_proxy.py: `python fault_proxy_process.py CONTROL_FD LISTEN_FD HOST PORT SEED`.

It reads heads and nothing else of what passes.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
import sys
from typing import Any

import tied_process

_ANSWERS = {"500": "Internal Server Error", "503": "Service Unavailable", "403": "Forbidden", "404": "Not Found"}
_TRICKLE = 5.0  # bytes a second
_MOST = 1 << 18
_FLIPPED_EACH = 64
_FLIP = bytes(value ^ 0x10 for value in range(256))


class _ClosedError(Exception):
    """A connection has ended, or an answer is to end with it."""


class _Peer:
    """One end of a connection, with what was read of it beyond a head."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.rest = sock, b""
        self.buffer = memoryview(bytearray())
        self.loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """Returns what is there, at least a byte."""
        data = self.rest or await self.loop.sock_recv(self.sock, _MOST)
        self.rest = b""
        if not data:
            raise _ClosedError
        return data

    async def some(self, most: int) -> memoryview:
        """Returns what is there, up to so many bytes; it is overwritten by the next call."""
        if self.rest:
            data, self.rest = memoryview(self.rest)[:most], self.rest[most:]
            return data
        if not self.buffer:
            self.buffer = memoryview(bytearray(_MOST))
        size = await self.loop.sock_recv_into(self.sock, self.buffer[:most])
        if not size:
            raise _ClosedError
        return self.buffer[:size]

    async def until(self, mark: bytes) -> bytes:
        """Returns all up to a mark and that."""
        data = await self.read()
        while (end := data.find(mark)) < 0:
            data += await self.read()
        end += len(mark)
        self.rest = data[end:]
        return data[:end]

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def rest_for(self, seconds: float | None) -> None:
        """Waits, but ends at once where the other end closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    more = await self.loop.sock_recv(self.sock, _MOST)
                    if not more:
                        raise _ClosedError
                    self.rest += more


def _field(head: bytes, name: bytes) -> str:
    """Returns a header's value; the name in lower case."""
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1].decode("latin-1").strip() if found else ""


class _Proxy:
    """All that the proxy's process knows."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.server = host, port
        self.random = random.Random(seed)
        self.seen: list[list[Any]] = []
        self.connections = self.in_flight = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.run_clear()
        self.run_forget()

    def run_clear(self) -> None:
        self.delay_s, self.bandwidth, self.faults = 0.0, None, list[dict[str, Any]]()

    def run_set(self, delay_s: float, bandwidth: float | None) -> None:
        self.delay_s, self.bandwidth = delay_s, bandwidth

    def run_fault(self, **fault: Any) -> None:
        self.faults.append({**fault, "paths": re.compile(fault["paths"])})

    def run_requests(self) -> list[list[Any]]:
        return self.seen

    def run_forget(self) -> None:
        self.seen, self.most = [], [self.connections, self.in_flight]

    def run_open(self) -> list[int]:
        return [self.connections, self.in_flight]

    def run_peak(self) -> list[int]:
        return self.most

    def _count(self, connections: int, requests: int) -> None:
        self.connections += connections
        self.in_flight += requests
        self.most = [max(self.most[0], self.connections), max(self.most[1], self.in_flight)]

    def _fault_for(self, path: str) -> dict[str, Any]:
        for fault in self.faults:
            if fault["count"] != 0 and fault["paths"].search(path) and self.random.random() * 100 < fault["percent"]:
                if fault["count"]:
                    fault["count"] -= 1
                return fault
        return {"kind": ""}

    async def control(self, sock: socket.socket) -> None:
        """Does what the test asks until it ends."""
        peer = _Peer(sock)
        with contextlib.suppress(_ClosedError, OSError):
            while True:
                what, more = json.loads(await peer.until(b"\n"))
                await peer.write(json.dumps(getattr(self, f"run_{what}")(**more)).encode() + b"\n")

    async def accept(self, sock: socket.socket) -> None:
        """Serves each connection by a task."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            task = loop.create_task(self._connection((await loop.sock_accept(sock))[0]))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connection(self, sock: socket.socket) -> None:
        """Serves a client's connection: its requests, one after the other, by a connection of its own to the server."""
        self._count(1, 0)
        with contextlib.ExitStack() as keeper:
            keeper.callback(self._count, -1, 0)
            keeper.enter_context(sock)
            keeper.enter_context(contextlib.suppress(_ClosedError, OSError))
            client, links = _Peer(sock), list[_Peer]()
            keeper.callback(lambda: [link.sock.close() for link in links])
            while True:
                head = await client.until(b"\r\n\r\n")
                self._count(0, 1)
                method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                record = [method, path, _field(head, b"range"), _field(head, b"if-match"), 0, 0, ""]
                try:
                    await self._answer(client, links, head, record)
                finally:
                    self.seen.append(record)
                    self._count(0, -1)

    async def _answer(self, client: _Peer, links: list[_Peer], head: bytes, record: list[Any]) -> None:
        """Answers a request, and writes down what comes of it."""
        fault = self._fault_for(record[1])
        kind = record[6] = fault["kind"]
        bandwidth = _TRICKLE if kind == "trickle" else self.bandwidth
        if "100-continue" in _field(head, b"expect"):
            await client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, client.rest = client.rest, b""
        size = int(_field(head, b"content-length") or 0)
        while len(body) < size:
            body += await client.read()
        if delay_s := self.delay_s + (fault["seconds"] if kind == "delay" else 0):
            await client.rest_for(delay_s)
        if kind == "hang":
            await client.rest_for(None)
        if kind in _ANSWERS:
            await self._refuse(client, kind, record)
            return
        if kind == "ignore-range":
            if b"\r\nauthorization:" in head.lower():  # it is signed, but s3_server.py helps
                head = head[:-2] + b"X-Ignore-Range: yes\r\n\r\n"
            else:
                head = re.sub(rb"\r\nrange:[^\r]*", b"", head, flags=re.IGNORECASE)
        answer = await self._send(links, head + body)
        record[4] = int(answer.split(b" ", 2)[1])
        if "chunked" in _field(answer, b"transfer-encoding").lower():
            await self._pass_chunks(client, links[0], answer, record)
        else:
            bodiless = record[0] == "HEAD" or record[4] in (204, 304)
            size = 0 if bodiless else int(_field(answer, b"content-length") or -1)
            await self._pass_body(client, links, answer, size, bandwidth, record)
        if "close" in (_field(head, b"connection") + _field(answer, b"connection")).lower():
            raise _ClosedError

    async def _send(self, links: list[_Peer], request: bytes) -> bytes:
        """Returns the head of the server's answer; an old connection may have ended, so that it takes a new one."""
        for fresh in (False, True):
            if fresh:
                sock = socket.socket()
                links.append(_Peer(sock))
                await links[0].loop.sock_connect(sock, self.server)
            elif not links:
                continue
            try:
                await links[0].write(request)
                answer = await links[0].until(b"\r\n\r\n")
                while answer.split(b" ", 2)[1] == b"100":
                    answer = await links[0].until(b"\r\n\r\n")
                return answer
            except (_ClosedError, OSError):
                links.pop().sock.close()
        raise _ClosedError

    async def _refuse(self, client: _Peer, status: str, record: list[Any]) -> None:
        """Answers in the server's place."""
        body = b"" if record[0] == "HEAD" else f"{status} of the proxy\n".encode()
        head = f"HTTP/1.1 {status} {_ANSWERS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        head += "Retry-After: 1\r\n\r\n" if status == "503" else "\r\n"
        record[4:6] = int(status), len(body)
        await client.write(head.encode() + body)

    async def _pass_chunks(self, client: _Peer, server: _Peer, answer: bytes, record: list[Any]) -> None:
        """Passes on a body in chunks as it is."""
        await client.write(answer)
        while True:
            line = await server.until(b"\r\n")
            await client.write(line)
            left = int(line.split(b";")[0], 16)
            record[5] += left
            left += 2  # the line's end
            while left:
                data = await server.some(min(left, _MOST))
                left -= len(data)
                await client.write(data)
            if line.startswith(b"0"):
                return

    async def _pass_body(
        self, client: _Peer, links: list[_Peer], answer: bytes, size: int, bandwidth: float | None, record: list[Any]
    ) -> None:
        """Passes on a body of that size, or what the fault makes of it. A size of -1: it ends with the connection."""
        server, kind = links[0], record[6]
        left = size
        if kind in ("cut", "short") and size > 1:
            left = size // 2
        if kind == "short":
            answer = _shortened(answer, left)
        piece = max(1, min(_MOST, int(bandwidth / 20))) if bandwidth else _MOST
        begun = client.loop.time()
        if not left:
            await client.write(answer)
        while left:
            data: Any = await server.some(min(left, piece) if left > 0 else piece)
            if kind == "wrong":
                data = bytearray(data)
                first = -record[5] % _FLIPPED_EACH
                data[first::_FLIPPED_EACH] = data[first::_FLIPPED_EACH].translate(_FLIP)
            await client.write(b"".join((answer, data)) if answer else data)
            answer = b""
            record[5] += len(data)
            left -= len(data)
            if bandwidth and left:
                await client.rest_for(begun + record[5] / bandwidth - client.loop.time())
        if kind == "cut":
            raise _ClosedError
        if kind == "short":
            links.pop().sock.close()  # the rest of the answer is in it


def _shortened(answer: bytes, size: int) -> bytes:
    """Returns the head of an answer with that many bytes, which says so."""
    answer = re.sub(rb"(?<=\r\ncontent-length: )\d+", str(size).encode(), answer, flags=re.IGNORECASE)

    def range_of(found: re.Match[bytes]) -> bytes:
        return b"%s%d-%d/" % (found[1], int(found[2]), int(found[2]) + size - 1)

    return re.sub(rb"(\r\ncontent-range: bytes )(\d+)-\d+/", range_of, answer, flags=re.IGNORECASE)


async def _main() -> None:
    control, sock = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])
    proxy = _Proxy(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    accepting = asyncio.create_task(proxy.accept(sock))
    await proxy.control(control)
    accepting.cancel()


if __name__ == "__main__":
    tied_process.end_with_parent()
    asyncio.run(_main())
