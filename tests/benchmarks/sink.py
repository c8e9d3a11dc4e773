"""A server that takes everything as fast as it can, in a process of its own, so that only the client is measured."""

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["running_sink"]

_EHLO = b"250-sink.test\r\n250-SIZE 10485760\r\n250-8BITMIME\r\n%s250 ENHANCEDSTATUSCODES\r\n"
_ANSWERS = {b"DATA": b"354 Go ahead\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}
_OK = b"250 2.1.0 Ok\r\n"


def _serve(listener: socket.socket, offers: bytes, delay: float) -> None:
    answers = {**_ANSWERS, b"EHLO": _EHLO % offers}
    while True:
        line, _ = listener.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_talk, args=(line, answers, delay), daemon=True).start()


def _talk(line: socket.socket, answers: dict[bytes, bytes], delay: float) -> None:
    line.sendall(b"220 sink.test ESMTP\r\n")
    buffer = b""
    in_data = False
    while data := line.recv(262_144):
        buffer += data
        if in_data:
            # What stands behind the dot in the same packet is the next message's envelope.
            _, dot, behind = buffer.rpartition(b"\r\n.\r\n")
            if not dot and not buffer.startswith(b".\r\n"):
                buffer = buffer[-4:]
                continue
            in_data = False
            said, buffer = [_OK], behind if dot else buffer[3:]
        else:
            said = []
        *commands, buffer = buffer.split(b"\r\n")
        verbs = [command[:4].upper() for command in commands]
        in_data = b"DATA" in verbs
        replies = said + [answers.get(verb, _OK) for verb in verbs]
        if replies and delay:
            time.sleep(delay)
        line.sendall(b"".join(replies))  # in one write (RFC 2920 3.2)


@contextmanager
def running_sink(*, pipelining: bool = False, delay: float = 0.0) -> Iterator[tuple[str, int]]:
    """Its address, as long as the block lasts. `delay` is seconds before it answers: what a round trip would take."""
    offers = b"250-PIPELINING\r\n" if pipelining else b""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, offers, delay), daemon=True
        )
        process.start()
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.join()
