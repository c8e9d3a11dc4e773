"""Ports of this machine where no server answers: one that refuses, one that lets the client wait."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

__all__ = ["deaf_port", "refusing_port"]

_QUEUE = 4  # Linux lets one more in than the backlog says, others some more


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port on 127.0.0.1 that refuses connections, kept from others meanwhile."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port on 127.0.0.1 where a connection is never made and never refused: the queue is full and nobody accepts."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(_QUEUE):
            filler = stack.enter_context(closing(socket.socket()))
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]
