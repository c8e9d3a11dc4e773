"""From what an application hands over to a delivery: addresses checked, content canonical, labels read (RFC 6409).

Everything here happens before the first byte is sent. An address that cannot be used is refused alone.
"""

from collections.abc import Callable, Iterable, Sequence

from bouncekit.address import Address, a_label, parse_address, wire_addresses
from bouncekit.envelope import Envelope, Labels, Recipient
from bouncekit.errors import AddressError
from bouncekit.rendering import Rendered, canonical, read_headers, with_message_id
from bouncekit.steps import Delivery

__all__ = ["submission"]

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
) -> Delivery:
    """A delivery of a message.

    With `new_id` the message is dressed: X-Bouncekit-* headers become labels and leave it, a missing Message-ID is
    added. Without, not a byte of it changes but its line ends. `relay` names the one through which a worker may send
    what is left.

    Raises:
        AddressError: the sender cannot be used.
        UnicodeEncodeError: the sender needs SMTPUTF8, and `mail_options` do not ask for it.
        ValueError: an option holds a line end.
    """
    if mail_options or rcpt_options:
        _check_options((*mail_options, *rcpt_options))
    utf8 = "smtputf8" in [option.lower() for option in mail_options]
    texts = [recipients] if isinstance(recipients, str) else list(recipients)
    usable, refused = wire_addresses(texts)
    if not utf8 and any(address.needs_utf8 for address in usable):
        usable, refused = _in_ascii(usable, refused)
    return_path = parse_address(sender)
    if return_path.needs_utf8 and not utf8:
        return_path = _ascii_form(return_path)
    rendered = Rendered(canonical(message)) if new_id is None else _dressed(canonical(message), return_path, new_id)
    return Delivery(
        id=new_id() if new_id else "",
        envelope=Envelope(
            sender=return_path,
            recipients=usable,
            content=rendered.content,
            message_id=rendered.message_id,
            mail_options=tuple(mail_options),
            rcpt_options=tuple(rcpt_options),
        ),
        recipients=tuple(map(Recipient.of, usable)),
        labels=_labelled(labels or Labels(), rendered) if rendered.marks else labels or Labels(),
        refused=refused,
        relay=relay,
        given={} if not refused and all(map(_is_wire, texts, usable)) else _given(texts),
    )


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
            ascii_form = _ascii_form(address) if address.needs_utf8 else address
        except UnicodeEncodeError:
            unfit.append(
                AddressError(address.wire, "the local part needs SMTPUTF8, which was not asked for (RFC 6531)")
            )
        else:
            fit.setdefault(ascii_form.wire, ascii_form)
    return tuple(fit.values()), tuple(unfit)


def _ascii_form(address: Address) -> Address:
    local, at, _ = address.wire.rpartition("@")
    wire = f"{local}@{a_label(address.domain)}" if at else address.wire
    wire.encode("ascii")
    return Address(wire, a_label(address.domain), False)


def _dressed(content: bytes, return_path: Address, new_id: Callable[[], str]) -> Rendered:
    rendered = read_headers(content)
    if rendered.message_id is not None:
        return rendered
    domain = a_label(return_path.domain)
    message_id = f"<{new_id()}@{domain if domain and domain.isascii() else 'localhost'}>"
    return Rendered(with_message_id(rendered.content, message_id), message_id, rendered.marks)


def _labelled(labels: Labels, rendered: Rendered) -> Labels:
    """Labels with what the message's own headers say, which is nearer to it than what the connection was given."""
    marks = rendered.marks
    return Labels(
        message_class=marks.get("class") or labels.message_class,
        tenant=marks.get("tenant", labels.tenant),
        stream=marks.get("stream", labels.stream),
        test=marks["test"].lower() in _TRUE if "test" in marks else labels.test,
    )


def _is_wire(text: str, address: Address) -> bool:
    return text == address.wire


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
