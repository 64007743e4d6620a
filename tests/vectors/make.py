"""The vectors: every way in which a bundle, or a document beside one, can be wrong, and the right ones, made from
published keys.

A folder here is one topic: README says what is done to the bundle and which rules of docs/format.md it is about,
`expect` has one line for each variant, `<variant>: <verdict>`. `python -m tests.vectors.make --write` adds what a new
topic lacks; a line of `expect` that is there is never changed by a program. Frozen topics keep their bundles as bytes:
a later version of this project must read them as this one does.
"""

import lzma
import sys
from pathlib import Path

from tests.vectors.surgery import Case, Variants, from_file, verdict

HERE = Path(__file__).parent


class Topic:
    """One folder: what it shows, and how its variants are made."""

    def __init__(self, text: str, variants: Variants) -> None:
        self.text = " ".join(text.split())
        self.variants = variants


def topics() -> dict[str, Topic]:
    from tests.vectors import (
        of_authorisations,
        of_consignments,
        of_documents,
        of_identities,
        of_image_signatures,
        of_images,
        of_releases,
        of_reports,
        of_roots,
        of_schemas,
        of_signatures,
        of_sites,
        of_tar,
    )

    found: dict[str, Topic] = {}
    for module in (
        of_tar,
        of_documents,
        of_signatures,
        of_roots,
        of_releases,
        of_schemas,
        of_images,
        of_image_signatures,
        of_identities,
        of_sites,
        of_authorisations,
        of_consignments,
        of_reports,
    ):
        for name, (text, variants) in module.TOPICS.items():
            assert name not in found
            found[name] = Topic(text, variants)
    return found


def read_expect(folder: Path) -> dict[str, str]:
    """From variant to verdict."""
    lines = (folder / "expect").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def frozen() -> dict[str, Case]:
    """Bundles kept as bytes: from folder to case."""
    from manifests.trust.root import Pin

    found = {}
    for path in sorted(HERE.glob("*/bundle.tar.xz")):
        version, digest = (path.parent / "pin").read_text().split()
        found[path.parent.name] = Case(lzma.decompress(path.read_bytes()), Pin(version=int(version), digest=digest))
    return found


def write() -> None:
    from tests.vectors.of_frozen import FROZEN

    for name, topic in topics().items():
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        (folder / "README").write_text(topic.text + "\n")
        known = read_expect(folder) if (folder / "expect").exists() else {}
        lines = [f"{one}: {known.get(one) or verdict(make()).line}\n" for one, make in topic.variants.items()]
        (folder / "expect").write_text("".join(lines))
    for name, (text, make) in FROZEN.items():
        folder = HERE / name
        if folder.exists():
            continue
        case = make()
        folder.mkdir()
        (folder / "README").write_text(" ".join(text.split()) + "\n")
        (folder / "bundle.tar.xz").write_bytes(lzma.compress(case.bundle, preset=9))
        (folder / "pin").write_text(f"{case.pin.version} {case.pin.digest}\n")
        (folder / "expect").write_text(from_file(case).line + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python -m tests.vectors.make --write")
    write()
