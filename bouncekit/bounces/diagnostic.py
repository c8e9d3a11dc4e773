"""What a bounce mail quotes of a server: the reply, or why there was none, and the command that it answered.

A Diagnostic-Code (RFC 3464 2.3.6), or the lines that an MTA writes for people. The reply is often not alone: MTAs put
their own words before it, the code once more behind it, the lines of a long reply behind one another.
"""

import re
from dataclasses import dataclass

from bouncekit.words.quick import quick
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage

__all__ = ["Diagnostic", "read_diagnostic"]

MAX_CHARACTERS = 4096

# Where a text says "... said: 550 5.1.1 ...": what stands behind the first of these words is the server's.
_COLON_AND_CODE = re.compile(r":\s{0,40}[\[(\"'*]{0,3}\s{0,40}(?=[245][0-9][0-9][\s:#;-])").finditer
_ANNOUNCING = frozenset(
    "said replied responded answered returned response reply was follows failure message status got says".split()
) | {"failed with"}
_LAST_WORD = re.compile(r"(?:failed )?\w+\Z").search
_ANNOUNCING_ENDS = ("end of data", "initial connection")
_ANNOUNCING_COMMAND = re.compile(
    r"""
    (?: \bRCPT\ TO:?\s*<[^<>\s]{1,254}> | \bMAIL\ FROM:?\s*<[^<>\s]{0,254}>(?:\s+SIZE=[0-9]+)?
      | \bhost\ [^\s:]{1,255}(?:\ \[[0-9a-fA-F.:]{2,45}\])? ) \Z
    """,
    re.VERBOSE | re.IGNORECASE,
).search
_COMMAND_WORDS = ("rcpt to", "mail from", "host ")
_LONGEST_ANNOUNCEMENT = 320
_ANY_CODE = re.compile(r"[245][0-9][0-9]").search
_AT_START = re.compile(
    r"[\s#\"'(<\[*>=:;,-]{0,12}(?:SMTP;\s*)?([2345][0-9][0-9])(?=[\s:;#<,.'\"-]|$)(?![.,][0-9])"
).match
_TRANSCRIPT = re.compile(r"(?:<<<|<<-|<--|>>>|\bReceived\s*>>>)\s*([45][0-9][0-9](?:[ \t-].*|$))", re.MULTILINE)
_ARROWS = (">>>", "-->", "<<<")
_SENT = re.compile(r"(?:>>>|-->|<<<)\s*(RCPT|MAIL|DATA|EHLO|HELO|STARTTLS|QUIT|\.)\b|>>>\s*(\.)\s*$", re.MULTILINE)
# A code with its enhanced code is a reply wherever it stands; "#550 5.1.1 ...##", "550-5.7.1", "550 #5.1.0".
_CODE_AND_ENHANCED = re.compile(
    r"(?<![\w.:/#-])#?([45])([0-9][0-9])[\s:,-]{1,3}#?\(?\1\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])"
)
# Amazon's older servers and IronPort: "5.1.0 - Unknown address error 550-'5.2.2 <jo@example.com>... Full'".
_BEHIND = re.compile(r"(?<![\w.:/#-])([45][0-9][0-9])-'([^']{1,1000})'")
_NAMED = re.compile(
    r"\b(?:error|code|reply|response|status|reason|smtp)[\s_]*(?:code|message)?\s*(?:is|was|[:=#(])?\s*([45][0-9][0-9])(?![0-9.])[)\]:,;]?\s*",
    re.IGNORECASE,
)
_LINE_START = re.compile(
    r"^[ \t>*-]{0,12}([45][0-9][0-9])(?:[ :-]{1,3}(?=[<A-Za-z\"'\[(#\u0080-\uffff])|[ -]*$)", re.MULTILINE
)
_BEHIND_COLON = re.compile(r"[:,\]]\s+([45][0-9][0-9])(?:[ -](?=[<A-Za-z\"'\[(#])|[ ]*$)", re.MULTILINE)
_STATUS = re.compile(r"(?<![0-9.])([45])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9]|\.[0-9])").search
_IN_REPLY = re.compile(r"\(in reply to (?:the )?([a-z ]{2,30})(?: command)?\){0,2}\s*$", re.IGNORECASE).search
_FIRST_CODES = re.compile(r"#?(?:[245][0-9]{2}[\s:-]+)?#?([245]\.[0-9]{1,3}\.[0-9]{1,3})?").match
_TYPE = re.compile(r"\s*([A-Za-z][\w.-]{0,40})\s*;\s*").match

_ERROR_CODE = re.compile(r"ERROR_CODE\s*:\s*")  # Zoho puts it before each of the two

# sysexits.h, which sendmail and procmail report as "X-Unix; 67".
_EXITS = {
    "64": "usage error",
    "65": "data format error",
    "67": "User unknown",
    "68": "Host unknown",
    "69": "service unavailable",
    "70": "internal software error",
    "71": "operating system error",
    "73": "can't create output file",
    "75": "temporary failure",
    "77": "permission denied",
    "78": "configuration error",
}

# Words that tell why there was no reply; the first that is found holds.
_CAUSES = (
    ("null mx", Cause.NULL_MX),
    ("nullmx", Cause.NULL_MX),
    ("does not accept mail (nullmx)", Cause.NULL_MX),
    ("connection refused", Cause.REFUSED),
    ("no route to host", Cause.REFUSED),
    ("network is unreachable", Cause.REFUSED),
    ("network is down", Cause.REFUSED),
    ("host is unreachable", Cause.REFUSED),
    ("did not accept our requests to connect", Cause.REFUSED),
    ("able to establish an smtp connection", Cause.REFUSED),
    ("t establish an smtp connection", Cause.REFUSED),
    ("connection timed out", Cause.TIMED_OUT),
    ("operation timed out", Cause.TIMED_OUT),
    ("conversation with", Cause.TIMED_OUT),
    ("read timeout", Cause.TIMED_OUT),
    ("lost connection", Cause.LOST),
    ("connection reset", Cause.LOST),
    ("connection dropped", Cause.LOST),
    ("connection died", Cause.LOST),
    ("remote host closed connection", Cause.LOST),
    ("server dropped connection", Cause.LOST),
    ("responded with code nxdomain", Cause.NO_SUCH_DOMAIN),
    ("domain does not exist", Cause.NO_SUCH_DOMAIN),
    ("domain name not found", Cause.NO_SUCH_DOMAIN),
    ("no such domain", Cause.NO_SUCH_DOMAIN),
    ("non-existent domain", Cause.NO_SUCH_DOMAIN),
    ("couldn't find any host by that name", Cause.NO_SUCH_DOMAIN),
    ("couldn't find any host named", Cause.NO_SUCH_DOMAIN),
    ("couldn't find a mail exchanger or ip address", Cause.NO_ADDRESS),
    ("no mx record found", Cause.NO_ADDRESS),
    ("had no relevant answers", Cause.NO_ADDRESS),
    ("no usable mx", Cause.NO_ADDRESS),
    ("host not found, try again", Cause.DNS),
    ("name server timeout", Cause.DNS),
    ("host lookup did not complete", Cause.DNS),
    ("temporary failure in name resolution", Cause.DNS),
    ("cname lookup failed temporarily", Cause.DNS),
    ("malformed or unexpected name server reply", Cause.DNS),
)
_NAME_SERVICE = re.compile(r"name=([^\s,;]{1,255}) type=\w+: Host not found(?!, try again)", re.IGNORECASE).search

# The command that was answered, by the words around the reply; the first that is found holds.
_STAGES = (
    ("end of data", Stage.END_OF_DATA),
    ("end of message", Stage.END_OF_DATA),
    ("after i sent the message", Stage.END_OF_DATA),
    ("message body", Stage.END_OF_DATA),
    ("rcpt", Stage.RCPT),
    ("does not like recipient", Stage.RCPT),
    ("recipient was rejected", Stage.RCPT),
    ("rejected recipient", Stage.RCPT),
    ("mail from", Stage.MAIL),
    ("mail_from", Stage.MAIL),
    ("sender was rejected", Stage.MAIL),
    ("data command", Stage.DATA),
    ("after data", Stage.DATA),
    ("(data)", Stage.END_OF_DATA),
    ("greeting failed", Stage.CONNECT),
    ("initial connection", Stage.CONNECT),
    ("my name was rejected", Stage.EHLO),
    ("ehlo", Stage.EHLO),
    ("helo", Stage.EHLO),
    ("starttls", Stage.STARTTLS),
)
_COMMANDS = {
    "rcpt": Stage.RCPT,
    "mail": Stage.MAIL,
    "data": Stage.DATA,
    "ehlo": Stage.EHLO,
    "helo": Stage.EHLO,
    "starttls": Stage.STARTTLS,
    ".": Stage.END_OF_DATA,
}


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """What was quoted. `text` is all of it on one line; `status` is an enhanced code outside of the reply."""

    text: str = ""
    reply: Reply | NoReply | None = None
    stage: Stage | None = None
    status: EnhancedStatusCode | None = None


def read_diagnostic(text: str, *, domain: str = "") -> Diagnostic:
    """The reply in a diagnostic; `domain` is the recipient's, to tell its name from its mail exchanger's.

    >>> said = read_diagnostic("X-Postfix; host mx.example.com said: 550 5.1.1 No (in reply to RCPT TO command)")
    >>> str(said.reply), said.stage.value
    ('550 5.1.1 No', 'RCPT')
    """
    text = text[:MAX_CHARACTERS]
    text = _ERROR_CODE.sub("", text)
    typed = _TYPE(text)
    if typed and typed[1].lower() in ("x-unix", "unix"):
        code = text[typed.end() :].strip()
        text = _EXITS.get(code, code)
    elif typed:
        text = text[typed.end() :]
    text = text.strip().rstrip("#").rstrip()
    stage = None
    if found := _IN_REPLY(text):
        stage, text = _stage_of(found[1]), text[: found.start()].rstrip()
    if quoted := _quoted_reply(text):
        start, reply = quoted
        return Diagnostic(
            text=_one_line(text),
            reply=_last_cause(reply),
            stage=stage or _stage_before(text[:start]),
            status=_status_in(text[:start]),
        )
    return Diagnostic(
        text=_one_line(text),
        reply=_no_reply(text, domain),
        stage=stage or _stage_before(text),
        status=_status_in(text),
    )


def _quoted_reply(text: str) -> tuple[int, Reply] | None:
    """Where the reply starts, and the reply."""
    if found := _AT_START(text):
        return 0, _reply(int(found[1]), text[found.end() :])
    if not _ANY_CODE(text):
        return None
    if lines := list(_TRANSCRIPT.finditer(text)):
        # A server that knows no EHLO has said so; that is not why the mail failed.
        own = [line for line in lines if _stage_before(text[: line.start()]) is not Stage.EHLO] or lines
        return own[0].start(), _reply_of_lines([line[1] for line in own])
    if (start := _announced(text)) is not None and (code := _AT_START(text[start:])):
        return start, _reply(int(code[1]), text[start + code.end() :])
    if found := _BEHIND.search(text):
        return found.start(), _reply(int(found[1]), found[2])
    if found := _CODE_AND_ENHANCED.search(text):
        return found.start(), _reply(int(found[1] + found[2]), text[found.start(2) + 2 :])
    for pattern in (_LINE_START, _NAMED, _BEHIND_COLON):
        if found := pattern.search(text):
            return found.start(), _reply(int(found[1]), text[found.end() :])
    return None


def _announced(text: str) -> int | None:
    """Where a reply begins of which the words in front of it say that a server gave it."""
    for found in _COLON_AND_CODE(text):
        before = text[max(found.start() - _LONGEST_ANNOUNCEMENT, 0) : found.start()].rstrip()
        folded = before.lower()
        last = _LAST_WORD(folded[-40:])
        if last and (last[0] in _ANNOUNCING or last[0].removeprefix("failed ") in _ANNOUNCING):
            return found.end()
        if folded.endswith(_ANNOUNCING_ENDS):
            return found.end()
        if any(words in folded for words in _COMMAND_WORDS) and _ANNOUNCING_COMMAND(before):
            return found.end()
    return None


def _last_cause(reply: Reply) -> Reply:
    """The reply; of one that only says "expired", the last one that it quotes: `554 4.4.7 expired <421 4.4.2 lost>`."""
    if "expired" not in (text := reply.text)[:200].lower():
        return reply
    inner = _CODE_AND_ENHANCED.search(text)
    return _reply(int(inner[1] + inner[2]), text[inner.start(2) + 2 :].rstrip("> ")) if inner else reply


def _status_in(text: str) -> EnhancedStatusCode | None:
    found = _STATUS(text)
    return EnhancedStatusCode(*map(int, found.groups())) if found else None


def _reply(code: int, rest: str) -> Reply:
    """The reply of a code and what stands behind it, the code's repetitions on its further lines taken out."""
    text = "\n".join(line.strip() for line in rest.strip(" \t\n:;,-'\"").split("\n"))
    start = _FIRST_CODES(text)
    head = start.end() if start else 0
    if str(code) in text[head:]:
        enhanced = re.escape(start[1]) if start and start[1] else r"[245]\.[0-9]{1,3}\.[0-9]{1,3}"
        again = re.compile(rf"(?<![\w.]){code}(?:-(?:{enhanced}(?:\s|$))?|[ ]{enhanced}(?:\s|$)|[ ](?=\n))")
        text = text[:head] + again.sub("", text[head:])
    codes = (f"{code} ", f"{code}-", f"{start[1]} " if start and start[1] else f"{code} ")
    first, *more = text.split("\n")
    lines = [_without(first, codes[:2]), *(_without(_without(line, codes[:2]), codes[2:]) for line in more)]
    return Reply(code, "\n".join(filter(None, lines)).encode("utf-8", "replace"))


def _without(line: str, codes: tuple[str, ...]) -> str:
    """A line without the one of these codes that it begins with."""
    found = next((code for code in codes if line.startswith(code)), "")
    return line[len(found) :].strip()


def _reply_of_lines(lines: list[str]) -> Reply:
    """The first reply of a transcript, whose further lines carry the same code."""
    code = lines[0][:3]
    own = [lines[0]]
    for line in lines[1:]:
        if line[:3] != code or own[-1][3:4] != "-":
            break
        own.append(line)
    return _reply(int(code), "\n".join(line[4:] for line in own))


def _no_reply(text: str, domain: str) -> NoReply | None:
    """Why there was no reply, where the words are known."""
    said = _one_line(text)
    if found := _NAME_SERVICE(text):
        own = found[1].lower().rstrip(".") == domain.lower().rstrip(".")
        return NoReply(Cause.NO_SUCH_DOMAIN if own else Cause.NO_ADDRESS, said)
    folded = said.lower()
    for words, cause in _CAUSES:
        if words in folded:
            return NoReply(cause, said)
    return None


def _stage_of(words: str) -> Stage | None:
    folded = words.lower()
    return next((stage for known, stage in _STAGES if known in folded), _COMMANDS.get(folded.split()[0]))


def _stage_before(text: str) -> Stage | None:
    """The command that the words in front of a reply name; of a transcript, the last one sent."""
    if any(arrow in text for arrow in _ARROWS) and (sent := list(_SENT.finditer(text))):
        return _COMMANDS.get((sent[-1][1] or sent[-1][2]).lower())
    folded = text[-600:].lower()
    return next((stage for known, stage in _STAGES if known in folded), None)


def _one_line(text: str) -> str:
    return " ".join(text.split())
