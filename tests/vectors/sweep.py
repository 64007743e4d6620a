"""Releases that are signed and changed in one place each: `python -m tests.vectors.sweep` judges them all.

Every value of `release.json` is replaced, taken away or doubled, and every blob that it names by kind holds other
content, always with right digests and a right signature. A bundle is accepted by `verify` from a file, from a pipe,
and by `receive` at a site, or refused by all three, with a code of the documentation and a hint.
"""

import copy
import io
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from content.bundle.head import Head
from content.bundle.head_writer import choose_bulk_at, encode_head
from manifests.documents.release import release_statement
from manifests.documents.release_reader import parse_release
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.stored import FIRST, SECOND, hostile
from tests.vectors.surgery import request, sign_bytes
from tests.vendor import Vendor, bulk, sign_any
from verifier.commands.review import review_command
from verifier.site.releases import facts_of
from verifier.trust.bundle import VerifiedBundle, verify_path, verify_pipe
from verifier.trust.findings import refusal
from verifier.trust.release_rules import SiteFacts

Fields = dict[str, Any]  # release.json on its way to being wrong
DOCUMENTED = {3, 4, 5, 7, 8}


@dataclass(frozen=True)
class Changed:
    """A re-signed release: what was changed in words, its fields, and its blobs by digest."""

    what: str
    fields: Fields
    blobs: dict[str, bytes]


def changed_values(fields: Fields, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Fields]]:
    """Yield the document with one value changed, for every value below ``at``; ``members`` follow the blobs."""
    node: Any = fields
    for part in at:
        node = node[part]
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        if not at and key in ("members", "bulk_at", "type", "format"):
            continue
        for name, value in _others(node[key]):
            other = copy.deepcopy(fields)
            place: Any = other
            for part in at:
                place = place[part]
            if name == "without":
                del place[key]
            else:
                place[key] = value
            yield f"{'.'.join(map(str, (*at, key)))} {name}", other
        yield from changed_values(fields, (*at, key))


def _others(value: object) -> Iterator[tuple[str, object]]:
    yield "without", None
    yield "null", None
    if isinstance(value, bool):
        yield "turned", not value
    elif isinstance(value, int):
        yield from (("zero", 0), ("more", value + 1), ("negative", -1), ("large", 2**53))
    elif isinstance(value, str):
        yield from (("empty", ""), ("other", value + "x"), ("capital", value.upper()), ("newline", value + "\n"))
    elif isinstance(value, list):
        yield from (("emptied", []), ("twice", value + value[-1:]), ("backwards", value[::-1]))
    elif isinstance(value, dict):
        yield from (("emptied", {}), ("with-more", {**value, "x": 1}))


def _renamed(value: Any, old: str, new: str, size: int) -> Any:
    """The document with a blob replaced wherever it is named."""
    if isinstance(value, list):
        return [_renamed(item, old, new, size) for item in value]
    if isinstance(value, dict):
        fields = {key: _renamed(item, old, new, size) for key, item in value.items()}
        return {**fields, "digest": new, "size": size} if value.get("digest") == old and "size" in value else fields
    return value


def changed_releases(vendor: Vendor) -> Iterator[Changed]:
    release, blobs, _ = vendor.release()
    fields: Fields = json.loads(encode(release))
    for what, other in changed_values(fields):
        yield Changed(what, other, blobs)
    platform = {"parent": fields["images"][0]["manifest"]["digest"], "digest": "sha256:" + "0" * 64, "platform": "a/b"}
    yield Changed("absent of nothing", {**fields, "absent": [platform]}, blobs)
    yield Changed("absent twice", {**fields, "absent": [platform, platform]}, blobs)
    images = [{**fields["images"][0], "platforms": ["linux/amd64"]}]
    yield Changed("platforms of no index", {**fields, "images": images}, blobs)
    kinds = {"contract": fields["contract"], "rollback": fields["rollback"], "schema": fields["config"]["schema"],
             "notes": fields["notes"], "vex": fields["advisories"][0], "sbom": fields["images"][0]["sboms"][0],
             "permit": fields["authorisations"][0], "manifest": fields["images"][0]["manifest"]}  # fmt: skip
    for kind, blob in kinds.items():
        for name, data in hostile(blobs[blob["digest"]]).items():
            if name == "huge":
                continue
            digest = digest_of(data)
            others = {key: value for key, value in blobs.items() if key != blob["digest"]} | {digest: data}
            yield Changed(f"{kind} {name}", _renamed(fields, blob["digest"], digest, len(data)), others)


def bundle_of(vendor: Vendor, changed: Changed) -> bytes:
    """The re-signed bundle; its bulk is what `release.json` lists, as far as the blobs are there."""
    index = vendor.release()[2]
    fields = {**changed.fields, "bulk_at": 1 << 16}
    data = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    fields["bulk_at"] = choose_bulk_at(len(data) + 16, (vendor.root_file(),), None, 0)
    data = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        release = parse_release(data)
        signature = sign_any(data, vendor.signers[0])
    except WaybillError:
        # The head alone refuses it. It is signed as the release that it was made from, but for the digest.
        release = vendor.release()[0]
        signature = sign_bytes(data, encode(release_statement(release, digest_of(data))), vendor.signers[0])
    head = Head(
        release=data,
        signatures=(signature,),
        roots=(vendor.root_file(),),
        bulk_at=fields["bulk_at"],
        revocations=None,
    )
    return encode_head(head) + bulk(release, changed.blobs, index)


def verdict(error: WaybillError | None) -> str:
    if error is None:
        return "accepted"
    assert error.exit_code in DOCUMENTED, repr(error)
    assert error.problem and error.remedy and error.finding, repr(error)
    return f"{error.exit_code} {error.finding}"


def judge(path: Path, vendor: Vendor, site: SiteFacts) -> tuple[str, str]:
    """The verdicts from a file and from a pipe."""
    asked = request(vendor.pin(), site)

    def ask(way: Callable[[], VerifiedBundle]) -> str:
        try:
            return verdict(refusal(way().findings))
        except WaybillError as error:
            return verdict(error)

    pipe = io.BytesIO(path.read_bytes())
    return ask(lambda: verify_path(path, asked)), ask(lambda: verify_pipe(pipe, asked))


def received(path: Path, site: Path) -> str:
    """The verdict of `receive` at a copy of the site; of what it accepts, every review answers."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(site, Path(folder) / "site", symlinks=True)
        place = Place(path=Path(folder) / "site", disk=QuickDisk())
        try:
            item = place.receive(path).item
        except WaybillError as error:
            return verdict(error)
        for arguments in ([], [item]):
            done = CliRunner().invoke(review_command, [*arguments, "--site", str(place.path)])
            assert isinstance(done.exception, SystemExit | None), repr(done.exception)
            assert done.exit_code in {0, *DOCUMENTED}, done.output
        return "accepted"


def sweep(folder: Path, every: int = 1) -> dict[str, str]:
    """Judge every so manieth release in each way; return the verdict on each. Raises AssertionError."""
    place = make_place(folder, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(folder / "1.tar")).error is None
    verdicts = {}
    facts = facts_of(place.open().state)
    for changed in islice(changed_releases(SECOND), 0, None, every):
        path = folder / "changed.tar"
        path.write_bytes(bundle_of(SECOND, changed))
        ways = (*judge(path, SECOND, facts), received(path, place.path))
        assert len(set(ways)) == 1, (changed.what, ways)
        verdicts[changed.what] = ways[0]
    return verdicts


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        verdicts = sweep(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for what, result in verdicts.items():
        if result == "accepted":
            print(f"accepted: {what}")
    counts = Counter(verdicts.values())
    for result, count in sorted(counts.items()):
        print(f"{count:6} {result}")
    print(f"{len(verdicts)} tried, {counts['accepted']} accepted, {len(verdicts) - counts['accepted']} refused")


if __name__ == "__main__":
    main()
