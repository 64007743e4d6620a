"""Take reports out of what mail programs make of them: mails, web archives, zips, HTML, other encodings, copied text.

Nothing is believed here: what comes out is judged like a file from a medium.
"""

import re
from codecs import lookup
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from html.parser import HTMLParser

from fleet.intake.scan import MAX_MAIL, PICTURES
from fleet.intake.zips import Unpacking, is_zip, members_of, nested
from manifests.words.errors import MalformedError
from manifests.words.packers import packer_of

MAX_PARTS = 256
_SEARCHED = 16 << 10
_FIRST_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,16}(?:>?From [^\n]{0,998}\n)?[A-Za-z][A-Za-z0-9-]{0,63}:")
_MAIL_HEADER = re.compile(rb"(?im)^(?:mime-version|content-type|content-transfer-encoding|message-id|received):")
_HTML = re.compile(r"<(?:!doctype html|html|body|head|div|p|pre|br|span|table)\b", re.IGNORECASE)
# The declaration of a page that was saved; only of single-byte codes, which have the letters of a report in common.
_CHARSET = re.compile(rb"(?i)<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}[\"']?((?:windows-|iso-8859-|cp)[0-9]{1,5})\b")
_BREAKS = frozenset({"br", "p", "div", "pre", "tr", "li", "table", "blockquote", "h1", "h2", "h3"})
# What word processors and mail programs put in place of spaces and hyphens, and what they add unseen.
_SPACES = "\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_UNSEEN = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_PLAIN: dict[int, str | None] = {
    **dict.fromkeys(map(ord, _SPACES), " "),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(map(ord, _UNSEEN), None),
}
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclass(frozen=True)
class MailPart:
    """A part of a carrier.

    Attributes:
        raw: As it was sent.
        text: The same in plain text, None for other files.
        error: Why a member of an archive could not be read; then it has no bytes.
    """

    name: str
    raw: bytes
    text: str | None
    error: MalformedError | None = None


def is_carrier(start: bytes) -> bool:
    """Whether a file that begins so is unpacked: a mail, a zip, or text that is not plain ASCII lines of its own."""
    # A packed file and a picture may have any bytes, those of a page or a mail too.
    packer = packer_of(start)
    if start.startswith(PICTURES) or (packer is not None and packer.name != "zip"):
        return False
    return (
        is_zip(start)
        or _is_mail(start)
        or _wide(start) is not None
        or start.startswith(b"\xef\xbb\xbf")
        or _is_html(start)
    )


def _is_mail(start: bytes) -> bool:
    return _FIRST_HEADER.match(start) is not None and _MAIL_HEADER.search(start[:_SEARCHED]) is not None


def _is_html(start: bytes) -> bool:
    return _HTML.search(start[:_SEARCHED].decode("latin-1")) is not None


def parts_of(raw: bytes, name: str) -> Iterator[MailPart]:
    """Yield the parts of a mail or zip, decoded; another file is its own only part.

    A zip attached to a mail and a mail in a zip are taken apart, nothing further inside them: what is packed there has
    an error.

    Raises MalformedError for a mail or zip that cannot be taken apart, or of more than 256 parts.
    """
    for part in _opened_parts(raw, name):
        packer = packer_of(part.raw)
        yield part if packer is None else MailPart(part.name, b"", None, nested(packer.name, part.name))


def _opened_parts(raw: bytes, name: str) -> Iterator[MailPart]:
    unpacking = Unpacking()
    if is_zip(raw):
        for part in _members(raw, name, unpacking):
            yield from _mail_parts(part.raw, part.name) if _is_mail(part.raw) else (part,)
    elif _is_mail(raw):
        for part in _mail_parts(raw, name):
            yield from _members(part.raw, part.name, unpacking) if is_zip(part.raw) else (part,)
    else:
        yield MailPart(name, raw, plain_text(raw))


def _members(raw: bytes, name: str, unpacking: Unpacking) -> Iterator[MailPart]:
    for member in members_of(raw, name, unpacking):
        if isinstance(member.content, bytes):
            yield MailPart(member.name, member.content, _text_or_none(member.content))
        else:
            yield MailPart(member.name, b"", None, member.content)


def _mail_parts(raw: bytes, name: str) -> Iterator[MailPart]:
    count = 0
    for message in _messages(raw):
        try:
            # compat32: the parser of the newer policies reads every header, in quadratic time and not without errors.
            walked = message_from_bytes(message, policy=policy.compat32).walk()
            parts = [part for part in walked if not part.is_multipart()]
            decoded = [(part, part.get_payload(decode=True)) for part in parts]
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise _unreadable(f"the mail cannot be taken apart: {type(error).__name__}", name) from None
        count += len(parts)
        if count > MAX_PARTS:
            raise _unreadable(f"the mail has more than {MAX_PARTS} parts", name)
        for number, (part, content) in enumerate(decoded, 1):
            data = content if isinstance(content, bytes) else b""
            kind, charset = part.get_content_type(), part.get_content_charset()
            text = plain_text(data, charset, html=kind == "text/html") if kind.startswith("text/") else None
            yield MailPart(f"{name}, part {number}", data, text if text is not None else _text_or_none(data))


def _messages(raw: bytes) -> list[bytes]:
    """Return the mails of a mailbox file (RFC 4155), or the only one."""
    if not raw.startswith(b"From "):
        return [raw.removeprefix(b"\xef\xbb\xbf").lstrip()]
    return [one.partition(b"\n")[2] for one in re.split(rb"(?m)^(?=From )", raw)[1 : MAX_PARTS + 2]]


def _unreadable(problem: str, name: str) -> MalformedError:
    remedy = "ask for the report as a file, or save the mail's attachments and import those"
    return MalformedError(problem, where=name, remedy=remedy, finding="mail-unreadable")


def _text_or_none(data: bytes) -> str | None:
    """Attachments are often sent without their type."""
    return None if b"\0" in data and _wide(data) is None else plain_text(data)


def plain_text(raw: bytes, charset: str | None = None, *, html: bool | None = None) -> str:
    """Return text with plain spaces, hyphens and line breaks; HTML without its tags."""
    text = _decode(raw, charset)
    if html or (html is None and _HTML.search(text[:_SEARCHED])):
        text = _html_text(text)
    return text.translate(_PLAIN)


def _decode(raw: bytes, charset: str | None) -> str:
    wide = _wide(raw)
    if wide is not None:
        return raw.decode(wide, "replace")
    declared = _CHARSET.search(raw[:_SEARCHED])
    for name in ("utf-8-sig", charset, declared and declared[1].decode("ascii"), "cp1252"):
        try:
            if name:
                # What is called Latin-1 is Windows-1252, as for browsers: Latin-1 has controls in place of dashes.
                return raw.decode("cp1252" if lookup(name).name in ("iso8859-1", "ascii") else name)
        except (LookupError, ValueError):
            continue
    return raw.decode("latin-1")


def _wide(raw: bytes) -> str | None:
    """Return the codec of text in UTF-16 or UTF-32, with a mark at its beginning or by its zero bytes."""
    for mark, codec in _MARKS:
        if raw.startswith(mark):
            return codec
    start = raw[:512]
    if len(start) >= 8 and 0 not in start[0::2] and not any(start[1::2]):
        return "utf-16-le"
    return "utf-16-be" if len(start) >= 8 and 0 not in start[1::2] and not any(start[0::2]) else None


class _Text(HTMLParser):
    """Collects the text; a tag that begins a block begins a line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden = tag
        if tag in _BREAKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag in _BREAKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def _html_text(text: str) -> str:
    parser = _Text()
    try:
        parser.feed(text[:MAX_MAIL])
        parser.close()
    except (AssertionError, ValueError, RecursionError):  # the reader of HTML gives up on some broken declarations
        return re.sub(r"<[^<>]{0,2000}>", "\n", text)
    return "".join(parser.pieces)
