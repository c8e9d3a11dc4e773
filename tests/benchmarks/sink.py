"""A server that takes everything as fast as it can, in a process of its own, so that only the client is measured."""

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["running_sink"]

_EHLO = b"250-sink.test\r\n250-SIZE 10485760\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
_ANSWERS = {b"EHLO": _EHLO, b"DATA": b"354 Go ahead\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}
_OK = b"250 2.1.0 Ok\r\n"


def _serve(listener: socket.socket) -> None:
    while True:
        line, _ = listener.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_talk, args=(line,), daemon=True).start()


def _talk(line: socket.socket) -> None:
    line.sendall(b"220 sink.test ESMTP\r\n")
    buffer = b""
    in_data = False
    while data := line.recv(262_144):
        buffer += data
        if in_data:
            if not buffer.endswith(b"\r\n.\r\n") and buffer != b".\r\n":
                buffer = buffer[-5:]
                continue
            buffer, in_data = b"", False
            line.sendall(_OK)
            continue
        while b"\r\n" in buffer:
            command, _, buffer = buffer.partition(b"\r\n")
            verb = command[:4].upper()
            line.sendall(_ANSWERS.get(verb, _OK))
            in_data = verb == b"DATA"


@contextmanager
def running_sink() -> Iterator[tuple[str, int]]:
    """Its address, as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.join()
