"""From what an application hands over to a delivery: addresses checked, content canonical, labels read (RFC 6409).

Everything here happens before the first byte is sent. An address that cannot be used is refused alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from bouncekit.delivery.steps import Delivery
from bouncekit.protocol.classmark import NO_CLASS_MARKS, ClassMarks
from bouncekit.protocol.rendering import Rendered, canonical, read_headers, with_message_id
from bouncekit.words.address import Address, a_label, ascii_form, parse_address, wire_addresses
from bouncekit.words.envelope import Envelope, Labels, Recipient
from bouncekit.words.errors import AddressError

__all__ = ["forget_addresses", "submission"]

_MOST_KNOWN = 4096  # recipients that are not looked at anew: applications write to the same ones again
_NOTHING: Mapping[str, str] = MappingProxyType({})
_TRUE = frozenset({"1", "true", "yes", "on"})


def submission(
    sender: str,
    recipients: str | Iterable[str],
    message: str | bytes,
    *,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
    labels: Labels | None = None,
    new_id: Callable[[], str] | None = None,
    relay: str | None = None,
    known: ClassMarks = NO_CLASS_MARKS,
) -> Delivery:
    """A delivery of a message.

    With `new_id` the message is dressed: X-Bouncekit-* headers become labels and leave it, a missing Message-ID is
    added. Without, not a byte of it changes but its line ends. `relay` names the one through which a worker may send
    what is left. `known` are other headers by which its class is known; they count where neither it nor `labels` says.

    Raises:
        AddressError: the sender cannot be used.
        UnicodeEncodeError: the sender needs SMTPUTF8, and `mail_options` do not ask for it.
        ValueError: an option holds a line end.
    """
    if mail_options or rcpt_options:
        _check_options((*mail_options, *rcpt_options))
    utf8 = bool(mail_options) and "smtputf8" in [option.lower() for option in mail_options]
    people, refused, given = _people([recipients] if isinstance(recipients, str) else list(recipients), utf8=utf8)
    return_path = parse_address(sender)
    if return_path.needs_utf8 and not utf8:
        return_path = ascii_form(return_path)
    content = canonical(message)
    rendered = Rendered(content) if new_id is None else _dressed(content, return_path, new_id, known)
    return Delivery(
        id=new_id() if new_id else "",
        envelope=Envelope(
            sender=return_path,
            recipients=tuple([one.address for one in people]),
            content=rendered.content,
            message_id=rendered.message_id,
            mail_options=tuple(mail_options),
            rcpt_options=tuple(rcpt_options),
        ),
        recipients=people,
        labels=_labelled(labels or Labels(), rendered),
        refused=refused,
        relay=relay,
        given=given,
    )


def _people(
    texts: list[str], *, utf8: bool
) -> tuple[tuple[Recipient, ...], tuple[AddressError, ...], Mapping[str, str]]:
    """The recipients that mail may go to, why it may not to the others, and what was written where that differs."""
    plain = tuple(map(_plain, dict.fromkeys(texts)))
    if all(plain):
        return plain, (), _NOTHING  # type: ignore[return-value]  # no None is among them
    usable, refused = wire_addresses(texts)
    if not utf8 and any(address.needs_utf8 for address in usable):
        usable, refused = _in_ascii(usable, refused)
    return tuple(map(Recipient.of, usable)), refused, _given(texts)


@lru_cache(maxsize=_MOST_KNOWN)
def _plain(text: str) -> Recipient | None:
    """The recipient at an address that is ASCII and is written as it goes over the wire; None for any other."""
    try:
        address = parse_address(text)
    except AddressError:
        return None
    return Recipient.of(address) if address.wire == text and text and not address.needs_utf8 else None


def forget_addresses() -> None:
    """Keep no address that this process has sent to."""
    _plain.cache_clear()


def _check_options(options: Iterable[str]) -> None:
    for option in options:
        if "\r" in option or "\n" in option:
            raise ValueError(f"command and arguments contain prohibited newline characters: {option!a}")
        if not (option.isascii() and option.isprintable()):
            raise ValueError(f"{option!a}: an ESMTP parameter is printable ASCII (RFC 5321 4.1.2)")


def _in_ascii(
    usable: Iterable[Address], refused: tuple[AddressError, ...]
) -> tuple[tuple[Address, ...], tuple[AddressError, ...]]:
    """Without SMTPUTF8 a domain travels as A-labels; a local part beyond ASCII cannot travel at all (RFC 6531)."""
    fit: dict[str, Address] = {}
    unfit = list(refused)
    for address in usable:
        try:
            written = ascii_form(address) if address.needs_utf8 else address
        except UnicodeEncodeError:
            unfit.append(
                AddressError(address.wire, "the local part needs SMTPUTF8, which was not asked for (RFC 6531)")
            )
        else:
            fit.setdefault(written.wire, written)
    return tuple(fit.values()), tuple(unfit)


def _dressed(content: bytes, return_path: Address, new_id: Callable[[], str], known: ClassMarks) -> Rendered:
    rendered = read_headers(content, known)
    if rendered.message_id is not None:
        return rendered
    domain = a_label(return_path.domain)
    message_id = f"<{new_id()}@{domain if domain and domain.isascii() else 'localhost'}>"
    content = with_message_id(rendered.content, message_id)
    return Rendered(content, message_id, rendered.marks, rendered.implied_class)


def _labelled(labels: Labels, rendered: Rendered) -> Labels:
    """Labels with what the message's own headers say, which is nearer to it than what the connection was given."""
    marks = rendered.marks
    if not marks and rendered.implied_class is None:
        return labels
    return Labels(
        message_class=marks.get("class") or labels.message_class or rendered.implied_class,
        tenant=marks.get("tenant", labels.tenant),
        stream=marks.get("stream", labels.stream),
        test=marks["test"].lower() in _TRUE if "test" in marks else labels.test,
    )


def _given(texts: Iterable[str]) -> dict[str, str]:
    """What the caller wrote for each wire address, and for each refused one: the first spelling of it."""
    given: dict[str, str] = {}
    for text in texts:
        try:
            address = parse_address(text)
        except AddressError as error:
            given.setdefault(error.address, text)
            continue
        given.setdefault(address.wire, text)
        if address.needs_utf8:
            given.setdefault(f"{address.wire.rpartition('@')[0]}@{a_label(address.domain)}", text)
    return given
