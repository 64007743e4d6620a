"""Reports as mail programs hand them on: each form gives the very file, and what gives none is named."""

import base64
import html
import quopri
import textwrap
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fleet.intake.carriers import MAX_PARTS
from fleet.intake.result import import_attention
from manifests.transport.armour import armour_report
from tests.unit.fleet.intake.test_carriers import bring, draw_to, engine, held, medium, site
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

__all__ = ["engine", "medium", "site"]
ONE = Vendor(version="1.0.0", sequence=1)


def mail(**parts: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ops@example.com", "support@example.com", "report"
    message.set_content("see below\n" + parts.get("text", ""), cte=parts.get("cte"))
    if "html" in parts:
        message.add_alternative(parts["html"], subtype="html", cte="quoted-printable")
    return message


def attached(raw: bytes, *, kind: str = "octet-stream") -> bytes:
    message = mail()
    message.add_attachment(raw, maintype="application", subtype=kind, filename="report.json")
    return message.as_bytes()


def as_html(text: str) -> str:
    lines = "<br>\r\n".join(html.escape(line).replace(" ", "&nbsp;") for line in text.splitlines())
    return f"<!DOCTYPE html><html><head><style>p {{}}</style></head><body><p>{lines}</p></body></html>"


def wrapped(text: str, width: int) -> str:
    return "\n".join("> " + part for line in text.splitlines() for part in textwrap.wrap(line, width))


def forwarded(text: str) -> bytes:
    outer = mail()
    outer.add_attachment(mail(text=text))
    return outer.as_bytes()


def dashed(text: str) -> str:
    """As word processors write hyphens."""
    return text.replace("-----", "\u2014\u2014-")


FORMS: dict[str, Callable[[bytes, str], bytes]] = {
    "base64 mail": lambda raw, text: mail(text=text, cte="base64").as_bytes(),
    "quoted-printable mail": lambda raw, text: mail(text=text, cte="quoted-printable").as_bytes(),
    "plain and HTML": lambda raw, text: mail(text=text, html=as_html(text)).as_bytes(),
    "HTML alone": lambda raw, text: mail(html=as_html(text)).as_bytes(),
    "forwarded": lambda raw, text: forwarded(text),
    "attached file": lambda raw, text: attached(raw),
    "attached text": lambda raw, text: attached(text.encode(), kind="x-unknown"),
    "web archive": lambda raw, text: (
        b"From: <Saved by a browser>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=B\r\n\r\n"
        b"--B\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + quopri.encodestring(as_html(text).encode())
        + b"\r\n--B--\r\n"
    ),
    "mailbox": lambda raw, text: b"From a@b Mon Jan  1 00:00:00 2026\n" + mail(text=text).as_bytes() + b"\n",
    "saved page": lambda raw, text: as_html(text).encode(),
    "UTF-16": lambda raw, text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda raw, text: text.encode("utf-16-le"),
    "UTF-8 with a mark": lambda raw, text: b"\xef\xbb\xbf" + text.encode(),
    "report in UTF-16": lambda raw, text: raw.decode().encode("utf-16"),
    "report with a mark and a line end": lambda raw, text: b"\xef\xbb\xbf" + raw + b"\r\n",
    "no-break spaces": lambda raw, text: text.replace(" ", "\u00a0").encode(),
    "no-break spaces in Latin-1": lambda raw, text: text.replace(" ", "\u00a0").encode("latin-1"),
    "long dashes": lambda raw, text: text.replace("-----", "\u2014\u2014-").encode(),
    "long dashes of Windows in a text": lambda raw, text: dashed(text).encode("cp1252"),
    "long dashes of Windows in a page": lambda raw, text: as_html(dashed(text)).encode("cp1252"),
    "long dashes of Windows in a page that says so": lambda raw, text: (
        b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">'
        + as_html(dashed(text)).encode("cp1252")
    ),
    "long dashes in a Russian page": lambda raw, text: (
        b"<meta charset=windows-1251>" + as_html("\u041e\u0442\u0447\u0451\u0442\n\n" + dashed(text)).encode("cp1251")
    ),
    "long dashes in a page that is said to be Latin-1": lambda raw, text: (
        b"<meta charset='iso-8859-1'>" + as_html(dashed(text)).encode("cp1252")
    ),
    "file pasted into a mail": lambda raw, text: mail(
        text=raw.decode() + "\nregards", cte="quoted-printable"
    ).as_bytes(),
    "file pasted and wrapped": lambda raw, text: mail(text=textwrap.fill(raw.decode(), 72), cte="7bit").as_bytes(),
    "file pasted and quoted": lambda raw, text: mail(text=wrapped(raw.decode(), 70), cte="base64").as_bytes(),
    "file pasted into a page": lambda raw, text: mail(html=as_html("see:\n" + wrapped(raw.decode(), 60))).as_bytes(),
    "file pasted into a text": lambda raw, text: f"see below\n\n{textwrap.fill(raw.decode(), 76)}\n-- \nops".encode(),
    "file pasted with other quotation marks": lambda raw, text: (
        f"see \u201chere\u201d\n{raw.decode()}".replace('":', "\u201d:").replace('{"', "{\u201c").encode()
    ),
    "source of a mail with a file pasted": lambda raw, text: b"see below\n\n" + quopri.encodestring(raw),
    "PGP": lambda raw, text: text.replace("-----", "- -----", 1).encode(),
    "wrapped at 60": lambda raw, text: wrapped(text, 60).encode(),
    "wrapped at 30": lambda raw, text: wrapped(text, 30).encode(),
    "source of quoted-printable": lambda raw, text: quopri.encodestring(text.encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_very_file_comes_out(engine: Engine, site: Reporter, medium: Path, form: str) -> None:
    raw = site.report(ONE)
    (medium / "saved").write_bytes(FORMS[form](raw, armour_report(raw)))
    done = bring(engine, medium)
    assert (done.counts, held(engine)) == ({"report": 1}, [raw]), done.files


def test_a_long_mail_with_photographs_of_symbols(engine: Engine, site: Reporter, medium: Path, tmp_path: Path) -> None:
    raw = site.report(ONE)
    message = mail()
    (tmp_path / "drawn").mkdir()
    for name in draw_to(tmp_path / "drawn", raw):
        message.add_attachment(name.read_bytes(), maintype="image", subtype="png")
    message.add_attachment(bytes(300_000), maintype="application", subtype="pdf")
    (medium / "mail.eml").write_bytes(message.as_bytes())
    assert bring(engine, medium).counts == {"report": 1}
    assert held(engine) == [raw]


def test_a_damaged_letter_in_a_mail_is_kept_with_its_reason(engine: Engine, site: Reporter, medium: Path) -> None:
    text = armour_report(site.report(ONE))
    at = text.index("0003 ") + 9
    text = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    (medium / "mail.eml").write_bytes(mail(text=text, html=as_html(text)).as_bytes())
    done = bring(engine, medium)
    assert done.counts == {"quarantined": 1}
    assert done.files[0].finding == "armour-line"


def test_hostile_mails(engine: Engine, site: Reporter, medium: Path) -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(400))
    head = b"MIME-Version: 1.0\n"
    part = b"--b0\nContent-Type: text/plain\n\nx\n"
    (medium / "deep.eml").write_bytes(head + deep)
    (medium / "many.eml").write_bytes(
        head + b"Content-Type: multipart/mixed; boundary=b0\n\n" + part * (MAX_PARTS + 1) + b"--b0--\n"
    )
    (medium / "odd.eml").write_bytes(
        head + b"Content-Type: text/plain; charset=no-such\nContent-Transfer-Encoding: base64\n\n!!\xff\n"
    )
    (medium / "page.html").write_bytes(b"<!DOCTYPE html><![" + b"<" * 5000)
    raw = site.report()
    (medium / "z").write_bytes(raw)
    done = bring(engine, medium)
    assert done.counts["report"] == 1
    assert "mail-unreadable" in [one.finding for one in done.files]


@pytest.mark.parametrize("at", [0, 2, 5, 40, 400, -3])
def test_a_report_with_a_damaged_byte_is_ours_wherever_it_is(
    engine: Engine, site: Reporter, medium: Path, at: int
) -> None:
    raw = bytearray(site.report(ONE))
    raw[at] ^= 1
    (medium / "report").write_bytes(raw)
    done = bring(engine, medium)
    attention = import_attention(done)
    assert done.counts == {"quarantined": 1}
    assert attention is not None
    assert attention.exit_code == 14


def test_a_report_whose_first_sector_is_lost(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = site.report(ONE)
    (medium / "report").write_bytes(bytes(512) + raw[512:])
    assert bring(engine, medium).counts == {"quarantined": 1}


def test_base64_of_a_mail_body_is_no_report_of_ours(engine: Engine, site: Reporter, medium: Path) -> None:
    """A mail without anything of ours is not ours, and so is a page."""
    (medium / "mail.eml").write_bytes(mail(text=base64.b64encode(bytes(range(200))).decode()).as_bytes())
    (medium / "page.html").write_text("<html><body>hello</body></html>")
    assert bring(engine, medium).counts == {"skipped": 2}


def test_a_file_that_was_pasted_in_part_is_named_with_what_to_send(
    engine: Engine, site: Reporter, medium: Path
) -> None:
    text = textwrap.fill(site.report(ONE).decode(), 72)
    (medium / "mail.eml").write_bytes(mail(text="see\n" + text[:-300]).as_bytes())
    done = bring(engine, medium)
    assert (done.counts, held(engine)) == ({"quarantined": 1}, [])
    assert done.files[0].finding == "report-pasted"
    assert "waybill report --text" in str(done.files[0].hint)


def test_a_changed_letter_in_a_pasted_file_shows_by_its_signature(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = site.report(ONE).decode()
    at = raw.index('"payload":"') + 200
    changed = raw[:at] + ("A" if raw[at] != "A" else "B") + raw[at + 1 :]
    (medium / "mail.eml").write_bytes(mail(text=textwrap.fill(changed, 72)).as_bytes())
    done = bring(engine, medium)
    assert (done.counts, held(engine)) == ({"quarantined": 1}, [])
