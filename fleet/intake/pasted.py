"""Report files that were pasted into a text: the canonical JSON of one has no space, so that wrapping is undone."""

import json

from manifests.documents.report import MAX_REPORT

# Of one text; a report with another order of keys is not canonical.
MAX_PASTED = 64
_BEGIN = '{"dsseEnvelope":'
_DECODER = json.JSONDecoder()
# What mail programs put before a quoted line.
_QUOTE = "> \t"
# Quotation marks of word processors.
_STRAIGHT = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02"), '"')


def pasted_reports(text: str) -> tuple[bytes, ...]:
    """Return every report file that is whole in ``text``, without quote marks, breaks and spaces of a mail program.

    What was changed otherwise shows by its signature.
    """
    joined = "".join("".join(line.lstrip(_QUOTE).split()) for line in text.translate(_STRAIGHT).splitlines())
    reports: list[bytes] = []
    at = joined.find(_BEGIN)
    for _ in range(MAX_PASTED):
        if at < 0:
            break
        piece = joined[at : at + MAX_REPORT]
        try:
            _, end = _DECODER.raw_decode(piece)
        except (ValueError, RecursionError):
            end = len(_BEGIN)
        else:
            reports.append(piece[:end].encode("utf-8", "replace"))
        at = joined.find(_BEGIN, at + end)
    return tuple(reports)


def is_pasted(raw: bytes) -> bool:
    """Whether a file with words of a report has other lines beside them; a report file is one line."""
    return not raw.startswith(b"{") or b"\n" in raw
