"""Read reports from armoured text and from QR symbols, on pictures or scanned.

Pictures are read with a library other than the one that draws the symbols.
"""

import io
import quopri
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module

from fleet.intake.carriers import MailPart, parts_of, plain_text
from fleet.intake.pasted import is_pasted, pasted_reports
from fleet.intake.scan import PICTURES, recognise
from fleet.intake.zips import UNREADABLE
from manifests.transport.armour import find_armour, open_armour
from manifests.transport.symbols import Symbol, SymbolSet, gather, join_report, parse_symbol
from manifests.words.errors import HostError, MalformedError, WaybillError

# A thousand reports of sixteen symbols; the rest is named, and taken by another import.
MAX_SYMBOLS = 16_000
MAX_PICTURE = 32 << 20
MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class CarriedReport:
    """What one carrier held: the bytes of a report file, or the reason why there is none."""

    name: str
    content: bytes | WaybillError


def from_armour(data: bytes | str, name: str) -> Iterator[CarriedReport]:
    """Yield every armoured report of a text; a broken one does not keep the others out."""
    for block in find_armour(data):
        place = f"{name}, line {block.first}"
        try:
            yield CarriedReport(place, open_armour(block, place))
        except MalformedError as error:
            yield CarriedReport(place, error)


def unpack(raw: bytes, name: str, pool: "SymbolPool") -> tuple[CarriedReport, ...]:
    """Return every report of a mail, or of a text in whatever encoding; its symbols go to ``pool``.

    A mail often holds one text twice, plain and as HTML: errors of a part count only if fewer reports were read than
    that part has. A member of an archive that cannot be read counts where the archive has a report, else the archive is
    somebody else's.
    """
    reports: dict[bytes, CarriedReport] = {}
    failed: list[list[CarriedReport]] = []
    unread: list[CarriedReport] = []
    try:
        for part in parts_of(raw, name):
            if part.error is not None:
                unread.append(CarriedReport(part.name, part.error))
                continue
            carried = list(_carried(part, pool))
            good = [one for one in carried if isinstance(one.content, bytes)]
            reports |= {one.content: one for one in good if isinstance(one.content, bytes)}
            if len(good) < len(carried):
                failed.append(carried)
    except MalformedError as error:
        if error.finding == UNREADABLE:
            unread.append(CarriedReport(name, error))
        else:
            failed.append([CarriedReport(name, error)])
    wrong = [part for part in failed if len(part) > len(reports)]
    errors = [one for part in wrong[:1] for one in part if not isinstance(one.content, bytes)]
    return (*reports.values(), *errors, *unread)


def _carried(part: MailPart, pool: "SymbolPool") -> Iterator[CarriedReport]:
    content = part.raw if part.text is None else part.text.strip().encode("utf-8", "replace")
    if part.raw.startswith(PICTURES):
        try:
            yield from (
                CarriedReport(part.name, error) for error in pool.add(read_symbols(part.raw, part.name), part.name)
            )
        except WaybillError as error:
            yield CarriedReport(part.name, error)
        return
    claim = recognise(content)
    if claim == "report":
        yield from _from_json(content, part)
    elif claim == "telemetry":
        yield CarriedReport(part.name, content)
    elif claim == "armour":
        yield from _from_text(part.text if part.text is not None else plain_text(part.raw), part.name)
    elif claim == "scanned":
        yield from (CarriedReport(part.name, error) for error in pool.add(scanned_texts(content), part.name))


def _from_json(content: bytes, part: MailPart) -> tuple[CarriedReport, ...]:
    """Return the report files of a part: the part itself, or those that were pasted into its text."""
    text = content.decode("utf-8", "replace")
    if not is_pasted(content):
        return (CarriedReport(part.name, content),)
    reports = pasted_reports(text)
    if not reports and "=" in text:
        reports = pasted_reports(plain_text(quopri.decodestring(content)))
    if reports or content.startswith(b"{"):
        return tuple(CarriedReport(part.name, report) for report in reports or (content,))
    problem = "it holds the text of a report file, and parts of it were changed or are missing"
    remedy = "ask the site to send the report file as an attachment, or the text of: waybill report --text"
    return (CarriedReport(part.name, MalformedError(problem, where=part.name, remedy=remedy, finding="report-pasted")),)


def _from_text(text: str, name: str) -> tuple[CarriedReport, ...]:
    """Return the armoured reports of a text, which may still be as quoted-printable wrote it (RFC 2045, 6.7)."""
    first = tuple(from_armour(text, name))
    if first and all(isinstance(one.content, bytes) for one in first):
        return first
    if "=" in text:
        again = tuple(from_armour(plain_text(quopri.decodestring(text.encode("utf-8", "replace"))), name))
        if again and all(isinstance(one.content, bytes) for one in again):
            return again
    if first:
        return first
    problem = "it holds the words of a report as text, and no BEGIN line of their own"
    remedy = "copy the text again, from BEGIN to END, or ask for the report as a file"
    return (CarriedReport(name, MalformedError(problem, where=name, remedy=remedy, finding="armour-broken")),)


def scanned_texts(data: bytes) -> tuple[str, ...]:
    return tuple(line for line in data.decode("latin-1").splitlines() if line.startswith("WB1:"))


@dataclass
class SymbolPool:
    """Symbols of one import, from any number of pictures; ``left_out`` counts those beyond ``MAX_SYMBOLS``."""

    symbols: list[Symbol] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    def add(self, texts: tuple[str, ...], name: str) -> Iterator[WaybillError]:
        """Add the symbols of ours among ``texts``; yield an error for each that claims to be ours and is damaged."""
        for text in texts:
            try:
                symbol = parse_symbol(text, name)
            except MalformedError as error:
                yield error
                continue
            if symbol is None:
                continue
            if len(self.symbols) >= MAX_SYMBOLS:
                self.left_out += 1
                continue
            self.symbols.append(symbol)
            self.names.setdefault(symbol.of, name)

    def reports(self) -> Iterator[CarriedReport]:
        """Yield the report of every complete set; for the others what is missing, or that two reports were mixed."""
        sets = gather(self.symbols)
        open_sets = [group for group in sets.values() if group.missing and not group.contradiction]
        for group in sets.values():
            name = f"QR symbols of report {group.of.lower()}… (first in {self.names[group.of]})"
            try:
                yield CarriedReport(name, join_report(group, name))
            except MalformedError as error:
                mixed = group in open_sets and len(open_sets) > 1
                yield CarriedReport(name, _mixed(group, open_sets, error) if mixed else error)


def _mixed(group: SymbolSet, open_sets: list[SymbolSet], error: MalformedError) -> WaybillError:
    others = ", ".join(f"{other.of.lower()}…" for other in open_sets if other is not group)
    problem = f"{error.problem}; symbols of another report are among them: {others}"
    remedy = "photograph one report at a time, and import all pictures of it together"
    return MalformedError(problem, where=error.where, remedy=remedy, finding="qr-mixed")


def check_decoder() -> None:
    """Raise HostError, with what to install, if pictures cannot be read here."""
    try:
        for name in ("PIL", "zxingcpp"):
            import_module(name)
    except ImportError as error:
        problem = f"the QR reader for pictures is not installed: {error.name}"
        remedy = "pip install 'airgap-waybill[fleet]', or ask for the report as text or file"
        raise HostError(problem, remedy=remedy, finding="pictures-unsupported") from None


def read_symbols(data: bytes, what: str) -> tuple[str, ...]:
    """Return the text of every QR symbol in a picture, in no particular order.

    Raises MalformedError for a picture that is broken or too large, HostError without the decoder.
    """
    check_decoder()
    import zxingcpp
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture,
        ):
            width, height = picture.size
            if width * height > MAX_PIXELS:
                problem = f"the picture has {width} by {height} pixels; at most {MAX_PIXELS} are decoded"
                raise MalformedError(problem, where=what, finding="picture-too-large")
            grey = picture.convert("L").tobytes()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's PNG reader raises SyntaxError for a broken chunk.
        raise MalformedError("the picture cannot be opened", where=what, finding="picture-broken") from None
    view = memoryview(grey).cast("B", shape=(height, width))
    codes = zxingcpp.read_barcodes(view, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return tuple(code.text for code in codes if code.valid)
