"""The vectors as a folder of plain files, which a verifier in any language can run without Python.

`make vectors` writes it. README.md, "The folder of plain files", describes the layout; `read_case` and `judge_document`
read it back, and the test suite judges every line of the folder through them.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from content.trust.head import Known
from manifests.documents.authorisation import verify_authorisation
from manifests.documents.enrolment import verify_enrolment
from manifests.documents.signed_report import verify_report
from manifests.trust.keys import PublicKey
from manifests.trust.revocations import Revocations
from manifests.trust.root import Mark, Pin, verify_chain
from manifests.trust.rotation import SignedRotation, verify_rotation
from manifests.words import errors
from manifests.words.canonical import decode, encode
from manifests.words.time import parse_time, rfc3339
from tests.vectors.make import HERE, frozen, read_expect, topics
from tests.vectors.surgery import NOW, Case, Paper
from verifier.trust.release_rules import SiteFacts

INDEX = "index.jsonl"
# What a verifier must be able to judge beyond the minimal rules, by the topics that ask for it.
RELEASE_TOPICS = (
    "json-release",
    "release-authorisations",
    "release-contradicts",
    "release-fields",
    "release-text",
    "release-unread",
)
IMAGE_TOPICS = ("config-schema", "config-schema", "contract", "image-", "oci-", "rollback")
IDENTITY_TOPICS = ("image-identities", "release-identities", "root-identities")
Line = dict[str, Any]


def publish(folder: Path) -> None:
    """Write every vector that consists of files alone, and the index, into the new folder ``folder``."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text((HERE / "README.md").read_text())
    with (folder / INDEX).open("w") as index:
        for line in write_vectors(folder):
            index.write(json.dumps(line, sort_keys=True) + "\n")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.copyfile(HERE / path.name / "README", path / "README")


def write_vectors(folder: Path) -> Iterator[Line]:
    """Write the files of each vector and yield its line of the index."""
    for name, topic in topics().items():
        expected = read_expect(HERE / name)
        for variant, make in topic.variants.items():
            made = make()
            if isinstance(made, Case):
                yield write_bundle(folder, name, variant, made, expected[variant])
            elif made.kind:
                yield write_document(folder, name, variant, made, expected[variant])
    for name, case in frozen().items():
        yield write_bundle(folder, name, "bundle", case, (HERE / name / "expect").read_text().strip())


def write_bundle(folder: Path, topic: str, variant: str, case: Case, expected: str) -> Line:
    """Write a bundle and what its reader holds."""
    known = case.known or Known()
    line = _start(topic, variant, expected) | {
        "kind": "bundle",
        "file": _write(folder, f"{topic}/{variant}/bundle.tar", case.bundle),
        "pin": _pin(case.pin),
        "now": rfc3339(NOW),
        "held": sorted(case.held),
        "roots": _roots(folder, f"{topic}/{variant}", known.roots),
        "revocations": None,
        "own_keys": sorted(known.own_keys),
        "site": None if case.site is None else _site(case.site),
    }
    if known.revocations is not None:
        line["revocations"] = _write(folder, f"{topic}/{variant}/revocations.json", encode(known.revocations))
    line["needs"] = sorted(_needs(topic, line))
    return line


def write_document(folder: Path, topic: str, variant: str, paper: Paper, expected: str) -> Line:
    """Write a document that is no part of a bundle, and what its reader holds."""
    given = dict(paper.given)
    if "roots" in given:
        given["roots"] = _roots(folder, f"{topic}/{variant}", given["roots"])
    file = _write(folder, f"{topic}/{variant}/document.json", paper.raw)
    return _start(topic, variant, expected) | {"kind": paper.kind, "file": file, "needs": ["documents"]} | given


def _start(topic: str, variant: str, expected: str) -> Line:
    """The part of a line that says which vector it is and what is right."""
    kind, finding, *_ = f"{expected} ".split(" ")
    if kind == "ok":
        return {"vector": f"{topic}/{variant}", "exit": 0, "finding": None, "delta": "holds" in expected}
    exit_code = getattr(errors, kind).exit_code
    return {"vector": f"{topic}/{variant}", "exit": exit_code, "finding": finding, "delta": False}


def _needs(topic: str, line: Line) -> Iterator[str]:
    for need, prefixes in (("release", RELEASE_TOPICS), ("images", IMAGE_TOPICS), ("identities", IDENTITY_TOPICS)):
        if topic.startswith(prefixes):
            yield need
    for need in ("site", "held"):
        if line[need]:
            yield need
    if line["roots"] or line["revocations"] or line["own_keys"]:
        yield "known"


def _write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def _roots(folder: Path, name: str, files: tuple[bytes, ...]) -> list[str]:
    return [_write(folder, f"{name}/known-{number}.root.json", data) for number, data in enumerate(files, 1)]


def _pin(pin: Pin) -> Line:
    return {"version": pin.version, "digest": pin.digest}


def _mark(mark: Mark | None) -> Line | None:
    return None if mark is None else {"epoch": mark.epoch, "sequence": mark.sequence}


def _site(site: SiteFacts) -> Line:
    return {
        "customer": site.customer,
        "product": site.product,
        "environment": site.environment,
        "name": site.name,
        "channel": site.channel,
        "practice": site.practice,
        "running": site.running or None,
        "running_release": site.running_release or None,
        "received": [{"mark": _mark(mark), "digest": digest} for mark, digest in sorted(site.known.items())],
        "highest": _mark(site.highest),
        "floor": _mark(site.floor),
        "time_floor": None if site.time_floor is None else rfc3339(site.time_floor),
    }


# --- reading it back --------------------------------------------------------------------------------------------------


def read_index(folder: Path) -> list[Line]:
    return [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]


def read_case(folder: Path, line: Line) -> Case:
    """The bundle of a line and its reader, from the files alone."""
    roots = tuple((folder / name).read_bytes() for name in line["roots"])
    revocations = None
    if line["revocations"] is not None:
        revocations = decode((folder / line["revocations"]).read_bytes(), Revocations, "revocations")
    return Case(
        (folder / line["file"]).read_bytes(),
        Pin(**line["pin"]),
        None if line["site"] is None else _read_site(line["site"], Pin(**line["pin"])),
        frozenset(line["held"]),
        Known(roots=roots, revocations=revocations, own_keys=frozenset(line["own_keys"])),
    )


def _read_site(fields: Line, pin: Pin) -> SiteFacts:
    given = {name: value for name, value in fields.items() if value is not None}
    for name in ("highest", "floor"):
        if name in given:
            given[name] = Mark(**given[name])
    if "time_floor" in given:
        given["time_floor"] = parse_time(given["time_floor"])
    known = {Mark(**one["mark"]): one["digest"] for one in given.pop("received")}
    return SiteFacts(pin=pin, known=known, **given)


def judge_document(folder: Path, line: Line) -> None:
    """Let the program judge a document of the folder. Raises WaybillError when it is not good."""
    JUDGES[line["kind"]](folder, line, (folder / line["file"]).read_bytes())


def _judge_authorisation(folder: Path, line: Line, data: bytes) -> None:
    chain = verify_chain(tuple((folder / name).read_bytes() for name in line["roots"]), Pin(**line["pin"]))
    verify_authorisation(data, replace(chain, revoked=frozenset(line["revoked_keys"])))


def _judge_rotation(_: Path, line: Line, data: bytes) -> None:
    verify_rotation(decode(data, SignedRotation, "rotation"), PublicKey(**line["key"]))


JUDGES: dict[str, Callable[[Path, Line, bytes], object]] = {
    "authorisation": _judge_authorisation,
    "enrolment": lambda _, line, data: verify_enrolment(data),
    "report": lambda _, line, data: verify_report(data, PublicKey(**line["key"])),
    "rotation": _judge_rotation,
}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tests.vectors.published FOLDER")
    target = Path(sys.argv[1])
    if (target / INDEX).is_file():
        shutil.rmtree(target)
    publish(target)
    print(f"{len(read_index(target))} vectors in {target}")
