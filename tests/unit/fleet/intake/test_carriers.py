"""Reports that come as text, as pictures, by telephone: taken in like files, refused by name when something is off.

Symbols are drawn by segno and read by zxing-cpp; nothing here reads with what it was drawn with.
"""

import hashlib
import io
import json
import random
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from PIL import Image, ImageDraw
from sqlalchemy import Engine, select

from fleet.commands.group import fleet_group
from fleet.intake.intake import import_paths
from fleet.intake.result import ImportResult
from fleet.intake.telephone import record_claim
from fleet.intake.transports import MAX_PIXELS, read_symbols
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import quarantine, reports
from fleet.outgoing.enrol import enroll
from fleet.outgoing.views import show_site
from manifests.documents import report as r
from manifests.documents.enrolment import verify_enrolment
from manifests.transport.armour import armour_report
from manifests.transport.packed import pack_report
from manifests.transport.symbols import (
    MAX_PIECE,
    MAX_SYMBOLS,
    base45,
    cut_report,
    gather,
    join_report,
    parse_symbol,
    unbase45,
)
from manifests.transport.telephone import telephone_line
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor
from verifier.reporting.qr import as_blocks, as_png, draw

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_fleet(find_fleet(str(tmp_path / "fleet"), {}, tmp_path, create=True))
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine) -> Reporter:
    return enrolled(engine, Reporter(root=ONE.pin()))


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    folder = tmp_path / "medium"
    folder.mkdir()
    return folder


def enrolled(engine: Engine, site: Reporter) -> Reporter:
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    return site


def bring(engine: Engine, *paths: Path) -> ImportResult:
    return import_paths(engine, paths, NOW)


def with_images(site: Reporter, count: int) -> bytes:
    parts = tuple(
        r.ReportedComponent(
            kind="image",
            name=f"svc{i:04}",
            step="images",
            expected="sha256:" + hashlib.sha256(b"%d" % i).hexdigest(),
            found="same",
            level="running",
        )
        for i in range(count)
    )
    return site.sign(replace(site.next(ONE), components=r.Components(listed=parts)))


def draw_to(folder: Path, raw: bytes, prefix: str = "") -> list[Path]:
    """Pictures whose names say nothing and whose order is not that of the symbols."""
    pictures = [as_png(one) for one in draw(raw)]
    random.Random(7).shuffle(pictures)
    names = [folder / f"{prefix}IMG_{i}" for i in range(len(pictures))]
    for name, data in zip(names, pictures, strict=True):
        name.write_bytes(data)
    return names


def held(engine: Engine) -> list[bytes]:
    with engine.connect().execution_options(waybill_reading=True) as connection:
        return list(connection.execute(select(reports.c.raw).order_by(reports.c.seq)).scalars())


def findings(done: ImportResult) -> list[str]:
    return [one.finding for one in done.files if one.finding]


def test_armoured_text_is_taken_in_as_the_file(engine: Engine, site: Reporter, medium: Path) -> None:
    raws = [site.report(), site.report(ONE)]
    mail = "Hello,\n\n" + "\n".join(armour_report(raw) for raw in raws) + "\n-- \nops\n"
    (medium / "mail.eml").write_text("".join(f"> {line}\r\n" for line in mail.splitlines()))
    assert bring(engine, medium).counts == {"report": 2}
    assert held(engine) == raws
    (medium / "same.json").write_bytes(raws[0])
    assert bring(engine, medium).counts == {"known": 3}


def test_a_changed_letter_goes_to_quarantine_with_its_line(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = site.report(ONE)
    lines = armour_report(raw).splitlines()
    lines[9] = lines[9][:20] + ("B" if lines[9][20] == "A" else "A") + lines[9][21:]
    text = "\n".join(["see below", *lines, armour_report(site.report())])
    (medium / "mail.txt").write_text(text)
    done = bring(engine, medium)
    assert done.counts == {"quarantined": 1, "report": 1}
    (outcome,) = [one for one in done.files if one.status == "quarantined"]
    assert (outcome.finding, "line 11 of the text" in outcome.text) == ("armour-line", True)
    with engine.connect().execution_options(waybill_reading=True) as connection:
        assert connection.execute(select(quarantine.c.raw)).scalar_one() == text.encode()


def test_armour_of_a_stranger_is_a_stranger(engine: Engine, site: Reporter, medium: Path) -> None:
    (medium / "mail.txt").write_text(armour_report(Reporter(site="a/b/c/d").report()))
    assert findings(bring(engine, medium)) == ["site-unknown"]


@pytest.mark.parametrize("symbols", range(1, MAX_SYMBOLS + 1))
def test_every_number_of_symbols_is_drawn_and_read_back(symbols: int) -> None:
    """As many images as make just so many symbols; each picture is read by the other library."""
    site = Reporter(root=ONE.pin())
    low, high = 0, 340
    while True:
        count = (low + high) // 2
        copy = site.clone()
        raw = with_images(copy, count)
        found = -(-len(pack_report(raw)) // MAX_PIECE)
        if found == symbols:
            break
        low, high = (count + 1, high) if found < symbols else (low, count)
        assert low < high, "no report of this size"
    drawn = draw(raw)
    assert len(drawn) == symbols
    versions = {one.version for one in drawn}
    assert len(versions) == 1
    assert all(isinstance(one, int) and one <= 25 for one in versions)
    assert {one.error for one in drawn} == {"M"}
    texts = [text for one in drawn for text in read_symbols(as_png(one), "picture")]
    assert sorted(texts) == sorted(cut_report(raw))
    random.Random(symbols).shuffle(texts)
    (group,) = gather(one for text in texts if (one := parse_symbol(text, "picture"))).values()
    assert join_report(group, "picture") == raw


def test_what_needs_more_than_sixteen_is_refused_and_told_where_to_go() -> None:
    raw = with_images(Reporter(root=ONE.pin()), 380)
    with pytest.raises(RefusedError, match="at most 16 are drawn") as caught:
        draw(raw)
    assert (caught.value.finding, "--text" in caught.value.remedy) == ("qr-too-large", True)


def test_pictures_in_any_order_beside_other_pictures(engine: Engine, site: Reporter, medium: Path) -> None:
    raws = [with_images(site, 60), site.report()]
    for i, raw in enumerate(raws):
        draw_to(medium, raw, f"{i}-")
    Image.new("L", (64, 64), 128).save(medium / "holiday.png")
    done = bring(engine, medium)
    assert done.counts == {"report": 2, "skipped": 1}
    assert held(engine) == raws
    assert findings(bring(engine, medium)) == ["report-replayed"] * 2


def test_a_sheet_photographed_askew(engine: Engine, site: Reporter, medium: Path) -> None:
    """Two symbols on one large JPEG: turned, grey on grey, noisy; longer than a report may be."""
    raw = with_images(site, 20)
    sheet = Image.new("L", (2400, 1300), 210)
    drawn = draw(raw)
    assert len(drawn) == 2
    for i, one in enumerate(drawn):
        picture = Image.open(io.BytesIO(as_png(one))).convert("L").resize((1000, 1000))
        sheet.paste(picture.point(lambda value: 60 + value // 2), (100 + 1150 * i, 150))
    sheet = sheet.rotate(4, expand=True, fillcolor=200, resample=Image.Resampling.BICUBIC)
    pixels = ImageDraw.Draw(sheet)
    noise = random.Random(3)
    for _ in range(30_000):
        pixels.point((noise.randrange(sheet.width), noise.randrange(sheet.height)), noise.randrange(256))
    sheet.save(medium / "photo", "JPEG", quality=80)
    assert (medium / "photo").stat().st_size > r.MAX_REPORT
    assert bring(engine, medium).counts == {"report": 1}
    assert held(engine) == [raw]


def test_what_a_terminal_shows_is_read_too(site: Reporter) -> None:
    """The blocks, painted as a dark terminal paints them: half a character a module."""
    raw = site.report()
    (symbol,) = draw(raw)
    lines = as_blocks(symbol).splitlines()
    size = 8
    picture = Image.new("L", (len(lines[0]) * size, 2 * len(lines) * size), 0)
    paint = ImageDraw.Draw(picture)
    for y, line in enumerate(lines):
        for x, block in enumerate(line):
            for half in (0, 1):
                if block in ("▀█", "▄█")[half]:
                    top = (2 * y + half) * size
                    paint.rectangle((x * size, top, x * size + size - 1, top + size - 1), fill=255)
    out = io.BytesIO()
    picture.save(out, "PNG")
    assert read_symbols(out.getvalue(), "screen") == cut_report(raw)


def test_a_missing_symbol_is_named(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = with_images(site, 60)
    names = draw_to(medium, raw)
    texts = {name: read_symbols(name.read_bytes(), "x")[0] for name in names}
    second = next(name for name in names if ":02.04:" in texts[name])
    kept = second.read_bytes()
    second.unlink()
    done = bring(engine, medium)
    assert done.counts == {"unreadable": 1}
    (outcome,) = done.files
    assert outcome.finding == "qr-missing"
    assert f"symbol 2 of 4 is missing of report {digest_of(raw)[7:23]}" in outcome.text
    second.write_bytes(kept)
    assert bring(engine, medium).counts == {"report": 1}


def test_symbols_of_two_reports_that_were_mixed_are_named(engine: Engine, site: Reporter, medium: Path) -> None:
    first, second = with_images(site, 60), with_images(site, 61)
    draw_to(medium, first)
    a = medium / "IMG_0"
    of_a = read_symbols(a.read_bytes(), "x")[0].split(":")[2]
    for one in draw(second):
        if read_symbols(as_png(one), "x")[0].split(":")[2] == of_a:
            a.write_bytes(as_png(one))
    done = bring(engine, medium)
    assert done.counts == {"unreadable": 2}
    assert findings(done) == ["qr-mixed", "qr-mixed"]
    index = int(of_a.split(".")[0])
    assert any(f"symbol {index} of 4 is missing" in one.text for one in done.files)
    assert all(digest_of(raw)[7:23] in "".join(one.text for one in done.files) for raw in (first, second))
    # A whole report beside the mixed ones is taken in.
    draw_to(medium, site.report(), "other-")
    assert bring(engine, medium).counts == {"unreadable": 2, "report": 1}


def test_lines_of_a_hand_scanner(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = with_images(site, 20)
    texts = list(cut_report(raw))
    (medium / "scan.txt").write_text("\r\n".join(reversed(texts)))
    assert bring(engine, medium).counts == {"report": 1}
    at = texts[0].index(":", 28) + 30
    texts[0] = texts[0][:at] + ("A" if texts[0][at] != "A" else "B") + texts[0][at + 1 :]
    (medium / "scan.txt").write_text("\n".join(texts))
    done = bring(engine, medium)
    assert findings(done) == ["qr-damaged", "qr-missing"]
    assert "symbol 1 of 2 was mistyped" in done.files[0].text


def test_symbols_that_contradict_each_other(engine: Engine, site: Reporter, medium: Path) -> None:
    """Somebody drew a second symbol under the name of the first: nothing is joined by guessing."""
    from manifests.transport.checked_text import check_letters

    raw = with_images(site, 20)
    texts = list(cut_report(raw))
    of, place = texts[0].split(":")[1:3]
    for forged_place in (place, "01.03"):
        piece = base45(b"something else")
        forged = f"WB1:{of}:{forged_place}:{check_letters(of, forged_place, piece)}:{piece}"
        (medium / "scan.txt").write_text("\n".join([*texts, forged]))
        done = bring(engine, medium)
        assert findings(done) == ["qr-contradiction"]
    # Under a name of its own it makes no report either.
    own = f"WB1:{of}:01.01:{check_letters(of, '01.01', piece)}:{piece}"
    (medium / "scan.txt").write_text(own)
    assert bring(engine, medium).counts == {"unreadable": 1}
    assert held(engine) == []


@pytest.mark.parametrize(
    "text",
    [
        "WB1:",
        "WB1:0123456789ABCDEF:01.01:0000:AB",
        "WB1:0123456789ABCDEF:02.01:0000:AB",
        "WB1:0123456789abcdef:01.01:0000:AB",
        "WB1:0123456789ABCDEF:01.99:0000:AB",
        "WB1:" + "A" * 2000,
    ],
)
def test_broken_symbols(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_symbol(text, "x")
    assert parse_symbol("https://example.com/", "x") is None


def test_base45_is_the_one_of_the_rfc() -> None:
    """RFC 9285, section 4.3."""
    for data, text in ((b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581"), (b"", "")):
        assert base45(data) == text
        assert unbase45(text, "x") == data
    for wrong in ("A", "AAAA", ":::", "::"):
        with pytest.raises(MalformedError):
            unbase45(wrong, "x")


def test_hostile_pictures(engine: Engine, site: Reporter, medium: Path) -> None:
    good = as_png(draw(site.report())[0])
    (medium / "cut.png").write_bytes(good[: len(good) // 2])
    (medium / "magic.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\xff" * 500)
    (medium / "magic.jpg").write_bytes(b"\xff\xd8\xff" + b"\x00" * 500)
    (medium / "huge.png").write_bytes(_claims(30_000, 30_000))
    (medium / "wide.png").write_bytes(_claims(MAX_PIXELS + 1, 1))
    (medium / "none.png").write_bytes(_claims(0, 0))
    (medium / "good.png").write_bytes(good)
    done = bring(engine, medium)
    assert done.counts["report"] == 1
    assert done.counts["unreadable"] == 6
    assert set(findings(done)) == {"picture-broken", "picture-too-large"}


def _claims(width: int, height: int) -> bytes:
    """A PNG that is small and says that it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("gone", ["zxingcpp", "PIL"])
def test_without_the_decoder_pictures_are_refused_by_name(
    engine: Engine, site: Reporter, medium: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    draw_to(medium, site.report())
    raw = site.report()
    (medium / "next.json").write_bytes(raw)
    monkeypatch.setitem(sys.modules, gone, None)
    done = bring(engine, medium)
    assert done.counts == {"unreadable": 1, "report": 1}
    (outcome,) = [one for one in done.files if one.status == "unreadable"]
    assert outcome.finding == "pictures-unsupported"
    assert "airgap-waybill[fleet]" in str(outcome.hint)
    with pytest.raises(HostError):
        read_symbols(b"\x89PNG\r\n\x1a\n", "x")


def test_a_line_is_a_claim_until_the_report_comes(engine: Engine, site: Reporter, medium: Path) -> None:
    raw = site.report()
    line = telephone_line(site.signer.public.keyid, 1, digest_of(raw))
    heard = record_claim(engine, line.lower(), NOW)
    assert (heard.site, heard.seq, heard.standing) == (site.site, 1, "claimed")
    assert record_claim(engine, line, NOW) == heard
    page = show_site(engine, site.site)
    assert [one.standing for one in page.claims] == ["claimed"]
    assert (page.row.newest, page.row.shown_release) == (None, "never reported")
    (medium / "1.json").write_bytes(raw)
    done = bring(engine, medium)
    assert [one.finding for _, one in done.sites[site.site].findings if one.finding.startswith("line")] == [
        "line-proven"
    ]
    assert done.alarms == ()
    assert [one.standing for one in show_site(engine, site.site).claims] == ["proven"]


def test_a_line_that_its_report_contradicts_is_an_alarm(engine: Engine, site: Reporter, medium: Path) -> None:
    other = site.clone()
    other.made_at = "2026-05-09T00:00:00Z"
    record_claim(engine, telephone_line(site.signer.public.keyid, 1, digest_of(other.report())), NOW)
    (medium / "1.json").write_bytes(site.report())
    done = bring(engine, medium)
    assert "line-contradicted" in [one.finding for _, one in done.sites[site.site].findings]
    assert done.alarms == (site.site,)


def test_lines_on_the_command_line(engine: Engine, site: Reporter, tmp_path: Path, medium: Path) -> None:
    engine.dispose()
    raw = site.report()
    (medium / "1.json").write_bytes(raw)
    line = telephone_line(site.signer.public.keyid, 1, digest_of(raw))

    def asked(*words: str, code: int = 0) -> dict[str, object]:
        found = CliRunner().invoke(fleet_group, ["import", *words, "--fleet", str(tmp_path / "fleet"), "--json"])
        assert found.exit_code == code, found.output
        shown: dict[str, object] = json.loads(found.stdout)
        return shown

    asked(code=2)
    first = asked("--line", line)
    assert first["lines"][0]["standing"] == "claimed"  # type: ignore[index]  # JSON
    swapped = " ".join([*line.split()[:2][::-1], *line.split()[2:]])
    error = asked("--line", swapped, code=2)["error"]
    assert error["finding"] == "line-group"  # type: ignore[index]  # JSON
    stranger = telephone_line(Reporter().signer.public.keyid, 1, digest_of(raw))
    assert asked("--line", stranger, code=5)["error"]["finding"] == "site-unknown"  # type: ignore[index]  # JSON
    assert asked(str(medium), "--line", line)["counts"] == {"report": 1}
    other = telephone_line(site.signer.public.keyid, 1, digest_of(b"other"))
    assert asked("--line", other, code=14)["lines"][0]["standing"] == "contradicted"  # type: ignore[index]  # JSON
