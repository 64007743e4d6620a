"""The example at the head of docs/format.md: a whole bundle, small enough to print, from published keys.

`python -m tests.vectors.example --write` puts it into the document between its two marks; a test compares.
"""

import sys
import textwrap
from pathlib import Path

from content.bundle.archive import BLOCK, END
from manifests.trust.envelope import Envelope, bundle_payload, pae
from manifests.trust.root import ROOT_TYPE
from manifests.words.digest import digest_of
from tests.vectors.surgery import Part, split
from tests.vendor import Vendor

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
BEGIN, FINISH = "<!-- example: made by tests/vectors/example.py -->\n", "<!-- end of example -->\n"
EXAMPLE = Vendor(images=False, service={"hello.txt": b"hello\n"})


def dump(data: bytes, at: int) -> str:
    """Hex and text, sixteen bytes a line, without lines of zeros."""
    lines = []
    for row in range(0, len(data), 16):
        part = data[row : row + 16]
        if part.strip(b"\0"):
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            lines.append(f"{at + row:06x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)


def block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def wrapped(data: bytes) -> str:
    """Canonical bytes broken into lines for the page; the file has no line breaks."""
    text = data.decode()
    return "\n".join(text[at : at + 118] for at in range(0, len(text), 118))


def example() -> str:
    bundle = EXAMPLE.bundle()
    parts = split(bundle)
    rows, at = ["| offset | member | bytes |", "|---|---|---|"], 0
    starts = {}
    for part in parts:
        rows.append(f"| {at} | `{part.name}` | {len(part.data)} |")
        starts[part.name] = at
        at += len(part.raw)
    rows.append(f"| {at} | end: zeros | {len(END)} |")
    release = _named(parts, "release.json")
    sig, sigstore = parts[2], parts[3]
    root = EXAMPLE.root_file()
    from manifests.words.canonical import decode

    envelope = decode(root, Envelope, "root")
    payload = bundle_payload(sigstore.data, "bundle")
    return "\n".join(
        [
            f"The vendor `small-works` releases `small` 1.0.0: one file, no image. {len(bundle)} bytes, digest of the "
            f"release `{digest_of(release.data)}`:\n",
            "\n".join(rows) + "\n",
            "The first block, the header of `oci-layout`, and the block after it (lines of zeros left out):\n",
            block(dump(bundle[: 2 * BLOCK], 0)),
            f"The header of `release.json`, {len(release.data)} bytes:\n",
            block(dump(bundle[starts["release.json"] :][:BLOCK], starts["release.json"])),
            "`release.json`, broken into lines here and nowhere else:\n",
            block(wrapped(release.data)),
            f"`{sig.name}`, DER over the bytes of `release.json`:\n",
            block("\n".join(textwrap.wrap(sig.data.hex(), 96))),
            f"`{sigstore.name}`:\n",
            block(wrapped(sigstore.data)),
            "Its payload, the Statement:\n",
            block(wrapped(payload)),
            f"What is signed is its pre-authentication encoding, {len(pae('application/vnd.in-toto+json', payload))} "
            "bytes that begin with:\n",
            block(pae("application/vnd.in-toto+json", payload)[:48].decode() + "…"),
            f"`trust/1.root.json` is an envelope of type `{ROOT_TYPE}` with {len(envelope.signatures)} signature; its "
            f"payload, whose digest `{digest_of(envelope.payload_bytes)}` is on the paper:\n",
            block(wrapped(envelope.payload_bytes)),
        ]
    )


def _named(parts: list[Part], name: str) -> Part:
    return next(part for part in parts if part.name == name)


def in_document(text: str) -> str:
    """The example as the document has it."""
    return text[text.index(BEGIN) + len(BEGIN) : text.index(FINISH)]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python -m tests.vectors.example --write")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + example() + FINISH + rest.partition(FINISH)[2])
