"""How a server of ours refuses a command: with a reply, and nothing has changed."""

__all__ = ["Refused", "require"]


class Refused(Exception):  # no error: the answer of a correct server
    """The command gets this reply and changes nothing."""


def require(condition: object, refusal: str) -> None:
    """Goes on where the condition holds.

    >>> require("mx.example", "501 5.5.4 Say your name too")

    Raises:
        Refused: with this reply, where it does not.
    """
    if not condition:
        raise Refused(refusal)
