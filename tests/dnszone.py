"""A small name server on 127.0.0.1, over UDP and TCP on one port, with zones and with everything that goes wrong.

It answers as a resolver does: aliases are followed, a name that is not there is NXDOMAIN, negative answers carry an
SOA. `asked` has every question as (name, type, "udp" or "tcp"), in order.
"""

import socket
import socketserver
import threading
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum, auto
from types import TracebackType
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, DNSError, DNSRecord

__all__ = ["Trouble", "ZoneServer", "zone"]

_NEGATIVE_SECONDS = 120
_LONGEST_CHAIN = 40


class Trouble(Enum):
    """What a name can do instead of having an answer."""

    SERVFAIL = auto()
    REFUSED = auto()
    SILENT = auto()  # the question is dropped
    GARBAGE = auto()  # bytes that are no DNS message
    OTHER_QUESTION = auto()  # an answer to what nobody asked
    REFERRAL = auto()  # only other servers' names, as from one that does not recurse
    TRUNCATED = auto()  # over UDP; the answer is had over TCP
    ONE_LINK = auto()  # an alias without what it leads to
    DENIES_MX = auto()  # NXDOMAIN for MX, although the name exists


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class ZoneServer:
    """Serves what `add` gave it.

    `hold` stops every answer until it is set again: so a test decides when one comes, and no test waits for a time.
    """

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.heard = threading.Event()  # a question has come
        self._records: dict[str, list[RR]] = defaultdict(list)
        self._troubles: dict[tuple[str, str | None], Trouble] = {}
        self._servers: list[Any] = []
        self.port = 0

    def add(self, *lines: str) -> None:
        """Records as a zone file has them: "example.com. 300 IN MX 10 mx.example.com."."""
        for record in RR.fromZone("\n".join(lines)):
            self._records[_key(record.rname)].append(record)

    def remove(self, name: str) -> None:
        self._records.pop(name, None)

    def trouble(self, name: str, trouble: Trouble | None, kind: str | None = None) -> None:
        """Have a name, or its questions of one kind, go wrong; None mends it."""
        if trouble is None:
            self._troubles.pop((name, kind), None)
        else:
            self._troubles[name, kind] = trouble

    def __enter__(self) -> "ZoneServer":
        self._servers = self._on_one_port()
        self.port = self._servers[0].server_address[1]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _on_one_port(self) -> list[Any]:
        """Both servers; a port that is free for TCP may be another program's for UDP."""
        for _ in range(50):
            tcp = _Tcp((self.host, 0), _handler(self, "tcp"))
            try:
                return [tcp, _Udp(tcp.server_address, _handler(self, "udp"))]
            except OSError:
                tcp.server_close()
        raise OSError("no port is free for both UDP and TCP")

    def answer(self, asked: bytes, over: str) -> bytes | None:
        """What goes back for a question; None for silence."""
        try:
            question = DNSRecord.parse(asked)
        except DNSError:
            return None
        name, kind = _key(question.q.qname), QTYPE[question.q.qtype]
        self.asked.append((name, kind, over))
        self.heard.set()
        self.hold.wait(30)
        match self._troubles.get((name, kind), self._troubles.get((name, None))):
            case Trouble.SILENT:
                return None
            case Trouble.GARBAGE:
                return asked[:2] + b"\xff" * 40
            case Trouble.OTHER_QUESTION:
                other = DNSRecord.question("other.test.", kind)
                other.header.id = question.header.id
                return bytes(self._filled(other, kind).pack())
            case Trouble.TRUNCATED if over == "udp":
                cut = question.reply()
                cut.header.tc = 1
                return bytes(cut.pack())
            case trouble:
                return bytes(self._answered(question, kind, trouble).pack())

    def _answered(self, question: DNSRecord, kind: str, trouble: Trouble | None) -> DNSRecord:
        rcodes = {Trouble.SERVFAIL: RCODE.SERVFAIL, Trouble.REFUSED: RCODE.REFUSED}
        if trouble in rcodes or (trouble is Trouble.DENIES_MX and kind == "MX"):
            reply = question.reply()
            reply.header.rcode = rcodes.get(trouble, RCODE.NXDOMAIN)
            return reply
        if trouble is Trouble.REFERRAL:
            reply = question.reply(ra=0, aa=0)
            reply.add_auth(*RR.fromZone("test. 300 IN NS ns.elsewhere.test."))
            return reply
        return self._filled(question, kind, links=1 if trouble is Trouble.ONE_LINK else _LONGEST_CHAIN)

    def _filled(self, question: DNSRecord, kind: str, links: int = _LONGEST_CHAIN) -> DNSRecord:
        """The reply from the zones, over at most so many aliases."""
        reply, name = question.reply(), _key(question.q.qname)
        for _ in range(links):
            alias = [record for record in self._records.get(name, ()) if record.rtype == QTYPE.CNAME]
            if not alias:
                break
            reply.add_answer(alias[0])
            name = _key(alias[0].rdata.label)
        else:
            return reply
        found = [record for record in self._records.get(name, ()) if QTYPE[record.rtype] == kind]
        reply.add_answer(*found)
        if not found:
            reply.header.rcode = RCODE.NOERROR if self._exists(name) else RCODE.NXDOMAIN
            soa = f". 3600 IN SOA ns.test. admin.test. 1 2 3 4 {_NEGATIVE_SECONDS}"
            reply.add_auth(*RR.fromZone(soa))
        return reply

    def _exists(self, name: str) -> bool:
        return any(one == name or one.endswith(f".{name}") for one in self._records if self._records[one])


def _handler(zones: ZoneServer, over: str) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if over == "udp":
                asked, back = self.request
                if answer := zones.answer(asked, over):
                    back.sendto(answer, self.client_address)
                return
            while head := _exactly(self.request, 2):
                answer = zones.answer(_exactly(self.request, int.from_bytes(head)), over)
                if answer is None:
                    return
                self.request.sendall(len(answer).to_bytes(2) + answer)

    return Handler


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size and (more := connection.recv(size - len(read))):
        read += more
    return read


def _key(name: object) -> str:
    return str(name).lower().rstrip(".")


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    """A running name server without any zone."""
    with ZoneServer() as server:
        yield server
