"""Whom flufl.bounce finds in a bounce that names nobody as we read it; asked last, and only where it is installed."""

import re
from collections.abc import Collection
from email import message_from_bytes
from importlib.util import find_spec

from bouncekit.bounces.bouncemail import SecondReader

__all__ = ["second_reader"]

# flufl.bounce works on the standard library's parser, which takes long for hostile mail.
MAX_BYTES = 256 * 1024
MAX_LINES = 5000
MAX_LEVELS = 20
_LEVELS = re.compile(rb"boundary|message/rfc822", re.IGNORECASE)


def second_reader() -> SecondReader | None:
    """The reader; None without the extra `intake`."""
    return _addresses if find_spec("flufl") and find_spec("flufl.bounce") else None


def _addresses(content: bytes) -> Collection[str]:
    if len(content) > MAX_BYTES or content.count(b"\n") > MAX_LINES or len(_LEVELS.findall(content)) > MAX_LEVELS:
        return ()
    from flufl.bounce import all_failures

    try:
        temporary, permanent = all_failures(message_from_bytes(content))
    except Exception:  # noqa: BLE001 - what somebody else's reader raises on strange mail is no news
        return ()
    return {address.decode("utf-8", "replace") for address in temporary | permanent}
