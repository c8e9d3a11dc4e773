"""JSON on one line and in ASCII, as the stores keep it; what JSON does not know is written as text.

An event goes this way for every recipient, and `json` makes its encoder anew for every value, which takes a third of
the time. Here it is made once.
"""

import json
from collections.abc import Callable
from typing import Any

__all__ = ["json_text"]


def _encoder() -> Callable[[object], str]:
    plain = json.JSONEncoder(separators=(",", ":"), default=str)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without C
        return plain.encode
    quote = json.encoder.encode_basestring_ascii
    pieces = make(None, plain.default, quote, None, ":", ",", plain.sort_keys, plain.skipkeys, plain.allow_nan)
    return lambda value: "".join(pieces(value, 0))


json_text = _encoder()
