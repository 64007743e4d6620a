"""Vectors: what release.json says, well signed and contradicting itself."""

import json
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from manifests.documents.contract import Contract, Keep, Signal, Values
from manifests.documents.release import MAX_MEMBERS
from manifests.documents.rollback import Backup, Formats, Rollback, StateFormats, Step
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.surgery import Case, Part, join, signed, split
from tests.vendor import RELEASE, SECOND, Vendor

GOOD = Vendor(signers=(RELEASE, SECOND))
ZEROS = "sha256:" + "0" * 64
Fields = dict[str, Any]  # a document on its way to being wrong


def saying(change: Callable[[Fields], object], vendor: Vendor = GOOD) -> Callable[[], Case]:
    """release.json with changed fields; both signers sign it, with a statement that agrees where it can."""

    def of_release(data: bytes) -> bytes:
        fields = json.loads(data)
        change(fields)
        return encode(fields)

    def of_statement(data: bytes) -> bytes:
        said, fields = json.loads(data), json.loads(of_release(vendor.head().release))
        for name in ("product", "version", "channel", "epoch", "sequence"):
            if type(fields.get(name)) is type(said["predicate"][name]):
                said["predicate"][name] = fields[name]
        said["predicate"]["kits"] = fields.get("kits", [])
        return encode(said)

    return lambda: Case(signed(vendor, release=of_release, payload=of_statement), vendor.pin())


def put(path: str, value: object) -> Callable[[Fields], object]:
    """Set what is at a path such as ``images.0.to``; None takes it away."""

    def change(fields: Fields) -> None:
        *way, last = [int(name) if name.isdigit() else name for name in path.split(".")]
        at: Any = fields
        for name in way:
            at = at[name]
        if value is None:
            del at[last]
        elif isinstance(last, int) and last == len(at):
            at.append(value)
        else:
            at[last] = value

    return change


def _members(count: int) -> Callable[[Fields], object]:
    """So many members; those that are added are not in the bundle."""

    def change(fields: Fields) -> None:
        members = fields["members"]
        members += [{"digest": f"sha256:{number:064x}", "size": 1} for number in range(count - len(members))]

    return change


def both(*changes: Callable[[Fields], object]) -> Callable[[Fields], object]:
    return lambda fields: [change(fields) for change in changes]


def again(path: str) -> Callable[[Fields], object]:
    """The first entry of a list comes a second time."""
    return lambda fields: fields[path].append(fields[path][0])


PROBE = {"every_seconds": 5, "name": "up", "tcp": {"endpoint": "api"}}
PROGRAM = {"files": {"linux/amd64": {"digest": ZEROS, "size": 1}}, "name": "tool"}


def _reference(text: str, image: str = "api") -> Fields:
    return {"image": image, "reference": text}


HANDLER = {
    "does": "x",
    "limits": {"memory_bytes": 1, "output_bytes": 1, "seconds": 1},
    "may": ["nothing"],
    "name": "collect",
    "repeatable": True,
    "risk": "read-only",
    "run": ["tool", "{days}"],
    "source": "x",
    "parameters": {"days": {"integer": [1, 7]}},
}


def _first_file(fields: Fields) -> Fields:
    """A blob that is there: the bytes of the service's first file."""
    return {key: fields["files"][0]["entries"][0][key] for key in ("digest", "size")}


def with_handler(**changes: object) -> Callable[[Fields], object]:
    """A handler and its program, whose bytes are those of the service's file."""

    def change(fields: Fields) -> None:
        blob = _first_file(fields)
        fields["programs"] = [{"files": {"linux/amd64": blob}, "name": "tool"}]
        fields["handlers"] = [{key: value for key, value in {**HANDLER, **changes}.items() if value is not None}]

    return change


def with_files(*paths: str) -> Callable[[Fields], object]:
    def change(fields: Fields) -> None:
        blob = _first_file(fields)
        fields["files"][0]["entries"] = [{**blob, "path": path} for path in paths]

    return change


def with_probe(**changes: object) -> Callable[[Fields], object]:
    probe = {key: value for key, value in {**PROBE, **changes}.items() if value is not None}
    return put("probes", [probe])


class Documents(Vendor):
    """A vendor whose contract or rollback document was made without the compiler."""

    def contract(self) -> Contract:
        changed: Contract = replace(super().contract(), **CONTRACT.get(self.version, {}))
        return changed

    def rollback(self) -> Rollback:
        changed: Rollback = replace(super().rollback(), **ROLLBACK.get(self.version, {}))
        return changed


_KEEP = Keep(site=1, vendor=1)
_STATE = StateFormats(name="db", before=Formats(reads=(1, 2), writes=2), after=Formats(reads=(2, 3), writes=3))
_STEP = Step(name="move", do=("x",), repeatable=True, after_crash="stop", takes_seconds=1)
_BACKUP = Backup(name="dump", make=("x",), restore=("x",), try_=("x",), at_most_bytes=1, takes_seconds=1)
_CORE: Signal = Vendor().contract().signals[0]


def _signal(**changes: object) -> tuple[Signal, ...]:
    from manifests.documents.contract import SignalSource

    given: dict[str, Any] = {
        "name": "up",
        "kind": "health",
        "source": SignalSource(probe="up"),
        "fields": {"n": Values(integer=(0, 1))},
        "keep": _KEEP,
        "why": "x",
        **changes,
    }
    return (_CORE, Signal(**given))


# By a version that names the variant: the vendor is a frozen value and has no other place to put it.
CONTRACT: dict[str, Fields] = {
    "1.0.0-right": {"signals": _signal()},
    "1.0.0-no-signal": {"signals": ()},
    "1.0.0-no-state": {"signals": _signal()[1:]},
    "1.0.0-two-states": {"signals": (_CORE, _signal()[0])},
    "1.0.0-name-twice": {"signals": (*_signal(), _signal()[1])},
    "1.0.0-fields-missing": {"signals": _signal(fields={})},
    "1.0.0-values-open": {"signals": _signal(fields={"n": Values()})},
    "1.0.0-values-both": {"signals": _signal(fields={"n": Values(enum=("a",), integer=(0, 1))})},
    "1.0.0-values-turned": {"signals": _signal(fields={"n": Values(integer=(1, 0))})},
    "1.0.0-values-twice": {"signals": _signal(labels={"n": Values(enum=("a", "a"))})},
    "1.0.0-values-unbounded": {"signals": _signal(fields={"n": Values(integer=(0, 2**60))})},
    "1.0.0-source-missing": {"signals": _signal(source=None)},
    "1.0.0-source-of-another-kind": {"signals": _signal(kind="traces")},
    "1.0.0-core-in-another": {"signals": _signal(core=("identity",))},
    "1.0.0-core-short": {"signals": (Signal(name="s", kind="deployment-state", core=("chain",), keep=_KEEP, why="x"),)},
    "1.0.0-budget-zero": {"telemetry_bytes": 0},
}
ROLLBACK: dict[str, Fields] = {
    "1.0.0-reversible": {"class_": "reversible", "state": (_STATE,), "steps": (_STEP,)},
    "1.0.0-stateless-with-state": {"state": (_STATE,)},
    "1.0.0-restore-without-backup": {"class_": "restore-only"},
    "1.0.0-restore-with-backup": {"class_": "restore-only", "backup": (_BACKUP,)},
    "1.0.0-proves-rows": {"class_": "restore-only", "backup": (replace(_BACKUP, proves="rows"),)},
    "1.0.0-proves-digest": {"class_": "restore-only", "backup": (replace(_BACKUP, proves="digest"),)},
    "1.0.0-proves-other": {"class_": "restore-only", "backup": (replace(_BACKUP, proves="size"),)},
    "1.0.0-incompatible": {"class_": "compatible", "state": (_STATE,)},
    "1.0.0-no-return-unknown": {"class_": "irreversible", "no_return": "move"},
    "1.0.0-no-return-of-compatible": {"class_": "compatible", "no_return": "move", "steps": (_STEP,)},
    "1.0.0-step-twice": {"class_": "irreversible", "steps": (_STEP, _STEP)},
    "1.0.0-touches-unknown": {
        "class_": "irreversible",
        "steps": (Step(name="m", do=("x",), repeatable=True, after_crash="stop", takes_seconds=1, touches=("db",)),),
    },
    "1.0.0-recovery-half": {"recovery": {"rolled-back": ("x",)}},
    "1.0.0-range": {"back_to": ("1.0 or so",)},
    "1.0.0-forever": {"offered_for_seconds": 0},
}


def another_text() -> Case:
    """Listed, signed and there, and not the constant."""
    text = b"Trust the key beside this file.\n"
    made = saying(put("members.1", {"digest": digest_of(text), "size": len(text)}))()
    return made.but(
        join([Part(one.name, text if one.name == "VERIFY.txt" else one.data) for one in split(made.bundle)])
    )


def of_documents(version: str) -> Callable[[], Case]:
    vendor = Documents(version=version)
    return lambda: Case(vendor.bundle(), vendor.pin())


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "release-fields": (
        "Fields of release.json beyond their type or bounds (F-8.1): keys of maps (F-4.7), defaults that are written "
        "out (F-4.8), names (F-4.9), text (F-4.10), digests (F-4.11); times that are in no calendar (F-8.2), versions "
        "and ranges that are none (F-8.11).",
        {
            "title-in-any-script": saying(put("images.0.reason", "prêt · готово · 準備 · e\u0301")),
            "text-with-escape": saying(put("images.0.reason", "red \x1b[31m")),
            "text-with-delete": saying(put("images.0.reason", "gone\x7f")),
            "text-with-c1": saying(put("images.0.reason", "next\x85line")),
            "text-with-newline": saying(put("images.0.reason", "two\nlines")),
            "text-4096": saying(put("images.0.reason", "x" * 4096)),
            "text-4097": saying(put("images.0.reason", "x" * 4097)),
            "product-upper-case": saying(put("product", "Small")),
            "product-slash": saying(put("product", "small/api")),
            "product-trailing-newline": saying(put("product", "small\n")),
            "product-not-ascii": saying(put("product", "smäll")),
            "product-128": saying(put("channel", "c" * 128)),
            "product-129": saying(put("channel", "c" * 129)),
            "product-empty": saying(put("channel", "")),
            "product-dot-first": saying(put("channel", ".c")),
            "sequence-zero": saying(put("sequence", 0)),
            "floor-zero": saying(put("floor", 0)),
            "format-zero": saying(put("format", 0)),
            "format-text": saying(put("format", "1")),
            "another-type": saying(put("type", "application/vnd.waybill.release.v2+json")),
            "type-missing": saying(put("type", None)),
            "contract-missing": saying(put("contract", None)),
            "digest-upper-case": saying(put("contract.digest", "sha256:" + "A" * 64)),
            "digest-short": saying(put("contract.digest", "sha256:" + "a" * 63)),
            "digest-newline": saying(put("contract.digest", "sha256:" + "a" * 64 + "\n")),
            "digest-sha512": saying(put("contract.digest", "sha512:" + "a" * 128)),
            "digest-md5": saying(put("contract.digest", "md5:" + "a" * 32)),
            "digest-bare": saying(put("contract.digest", "a" * 64)),
            "size-negative": saying(put("contract.size", -1)),
            "size-beyond-2-53": saying(put("contract.size", 2**53)),
            "default-written": saying(put("needs.from", [])),
            "default-written-kits": saying(put("kits", [])),
            "key-of-map": saying(put("extensions", {"späť": {"critical": False, "digest": ZEROS, "size": 1}})),
            "key-of-map-slash-first": saying(
                put("extensions", {"/x": {"critical": False, "digest": ZEROS, "size": 1}})
            ),
            "key-of-map-long": saying(put("extensions", {"x" * 129: {"critical": False, "digest": ZEROS, "size": 1}})),
            "issued-in-february-30": saying(put("issued_at", "2026-02-30T00:00:00Z")),
            "issued-at-25": saying(put("issued_at", "2026-02-03T25:00:00Z")),
            "issued-without-zone": saying(put("issued_at", "2026-02-03T05:00:00")),
            "issued-with-fraction": saying(put("issued_at", "2026-02-03T05:00:00.5Z")),
            "issued-in-year-0": saying(put("issued_at", "0000-01-01T00:00:00Z")),
            "expected-in-month-13": saying(put("next_expected_by", "2026-13-01")),
            "supported-until-day-0": saying(put("supported_until", "2026-01-00")),
            "version-two-numbers": saying(put("version", "1.0")),
            "version-leading-zero": saying(put("version", "1.00.0")),
            "version-letter": saying(put("version", "v1.0.0")),
            "version-upper-case": saying(put("version", "1.0.0-RC1")),
            "version-newline": saying(put("version", "1.0.0\n")),
            "range-words": saying(put("needs.from", ["since 1.0"])),
            "range-caret": saying(put("needs.from", ["^1.0.0"])),
            "range-empty": saying(put("needs.from", [""])),
            "bulk-at-odd": saying(put("bulk_at", 65537)),
            "bulk-at-zero": saying(put("bulk_at", 0)),
            "bulk-at-above": saying(put("bulk_at", (32 << 20) + 65536)),
            "verifier-text": saying(put("needs.verifier", "new")),
        },
    ),
    "release-contradicts": (
        "Parts of release.json that do not agree: audience (F-8.3), floor (F-8.4), ways (F-8.5), members (F-8.12, "
        "F-8.13) and how many there may be, names given twice (F-8.14), what is absent (F-8.21), "
        "images and their signers (F-8.6, F-8.15, "
        "F-8.16), files (F-8.7), handlers (F-8.8), the install plan (F-8.9), probes (F-8.10), "
        "needs of the host (F-8.22), references to images in manifests (F-8.23).",
        {
            "references": saying(put("files.0.references", [_reference("a.example/x:1"), _reference("b.example/x:1")])),
            "references-turned": saying(
                put("files.0.references", [_reference("b.example/x:1"), _reference("a.example/x:1")])
            ),
            "reference-twice": saying(put("files.0.references", [_reference("a.example/x:1")] * 2)),
            "reference-to-another": saying(put("files.0.references", [_reference("a.example/x:1", "other")])),
            "reference-with-space": saying(put("files.0.references", [_reference("a.example/x: 1")])),
            "audience-nobody": saying(put("audience", {})),
            "audience-everyone-and-some": saying(put("audience.everyone", True)),
            "audience-customers-alone": saying(put("audience", {"customers": ["a"]})),
            "audience-environments-alone": saying(put("audience", {"environments": ["a"]})),
            "audience-everyone": saying(put("audience", {"everyone": True})),
            "floor-above-sequence": saying(put("floor", 2)),
            "no-way": saying(put("needs", {"trust_root": 1, "verifier": "0.1"})),
            "members-two": saying(lambda fields: fields.update(members=fields["members"][:2])),
            "members-one": saying(lambda fields: fields.update(members=fields["members"][:1])),
            "member-twice": saying(lambda fields: fields["members"].append(fields["members"][-1])),
            "member-size": saying(put("members.4.size", 1)),
            "members-most": saying(_members(MAX_MEMBERS), GOOD.but(reserve=4 << 20)),
            "members-too-many": saying(_members(MAX_MEMBERS + 1), GOOD.but(reserve=4 << 20)),
            "contract-not-a-member": saying(put("contract.digest", ZEROS)),
            "rollback-size": saying(lambda fields: fields["rollback"].update(size=fields["rollback"]["size"] + 1)),
            "notes-not-a-member": saying(put("notes", {"digest": ZEROS, "size": 1})),
            "advisory-not-a-member": saying(put("advisories", [{"digest": ZEROS, "size": 1}])),
            "config-not-a-member": saying(put("config", {"schema": {"digest": ZEROS, "size": 1}, "version": 1})),
            "file-not-a-member": saying(put("files.0.entries.0.digest", ZEROS)),
            "image-not-a-member": saying(put("images.0.manifest.digest", ZEROS)),
            "sbom-not-a-member": saying(put("images.0.sboms.0.digest", ZEROS)),
            "chart-not-a-member": saying(put("charts", [{"digest": ZEROS, "name": "c", "size": 1}])),
            "program-not-a-member": saying(put("programs", [PROGRAM])),
            "extension-not-a-member": saying(put("extensions", {"x": {"critical": False, "digest": ZEROS, "size": 1}})),
            "absent-twice": saying(put("absent", [{"parent": ZEROS, "digest": ZEROS, "platform": "linux/arm64"}] * 2)),
            "absent-without-platform-and-url": saying(put("absent", [{"parent": ZEROS, "digest": ZEROS}])),
            "absent-with-platform-and-url": saying(
                put("absent", [{"parent": ZEROS, "digest": ZEROS, "platform": "a/b", "url": "https://a.example/x"}])
            ),
            "absent-with-another-address": saying(
                put("absent", [{"parent": ZEROS, "digest": ZEROS, "url": "file:///etc/passwd"}])
            ),
            "absent-twice-as-two-platforms": saying(
                put("absent", [{"parent": ZEROS, "digest": ZEROS, "platform": name} for name in ("a/b", "a/c")])
            ),
            "image-twice": saying(again("images")),
            "image-place-twice": saying(
                lambda fields: fields["images"].append({**fields["images"][0], "name": "other"})
            ),
            "files-twice": saying(again("files")),
            "step-twice": saying(again("install")),
            "probe-twice": saying(put("probes", [PROBE, PROBE])),
            "signer-unknown": saying(put("images.0.signed_by", "vendor")),
            "signer-none-without-reason": saying(put("images.0.reason", None)),
            "signer-called-none": saying(put("signers", {"none": {"identity": "a", "issuer": "b"}})),
            "signer-without-anything": saying(put("signers", {"a": {}})),
            "signer-half": saying(put("signers", {"a": {"identity": "x"}})),
            "signer-identity-without-trusted-root": saying(put("signers", {"a": {"identity": "x", "issuer": "y"}})),
            "trusted-root-without-identity": saying(lambda fields: fields.update(sigstore=_first_file(fields))),
            "sbom-missing": saying(put("images.0.sboms", None)),
            "sbom-and-reason": saying(put("images.0.sbom_reason", "x")),
            "files-unsorted": saying(with_files("b", "a")),
            "files-same-path": saying(with_files("a", "a")),
            "files-file-and-folder": saying(with_files("a", "a/b")),
            "files-empty": saying(with_files()),
            "files-dot-dot": saying(with_files("../a")),
            "files-dot-dot-inside": saying(with_files("a/../b")),
            "files-dot": saying(with_files("./a")),
            "files-absolute": saying(with_files("/a")),
            "files-double-slash": saying(with_files("a//b")),
            "files-slash-after": saying(with_files("a/")),
            "files-backslash": saying(with_files("a\\b")),
            "files-colon": saying(with_files("C:a")),
            "files-nul": saying(with_files("a\0b")),
            "files-not-ascii": saying(with_files("ä")),
            "files-hidden": saying(put("files.0.entries.0.path", ".config/x")),
            "handler": saying(with_handler()),
            "handler-program-unknown": saying(with_handler(run=["sh", "-c"])),
            "handler-parameter-unknown": saying(with_handler(run=["tool", "{weeks}"])),
            "handler-parameter-open": saying(with_handler(parameters={"days": {}})),
            "handler-parameter-turned": saying(with_handler(parameters={"days": {"integer": [7, 1]}})),
            "handler-without-limits": saying(with_handler(limits=None)),
            "step-after-later": saying(put("install.0.after", ["app"])),
            "step-after-itself": saying(put("install.1.after", ["app"])),
            "step-after-unknown": saying(put("install.1.after", ["before"])),
            "step-after": saying(put("install.1.after", ["images"])),
            "step-files-unknown": saying(put("install.1.files", ["other"])),
            "step-images-unknown": saying(put("install.0.images", ["other"])),
            "step-chart-unknown": saying(put("install.0.chart", "other")),
            "steps-missing": saying(put("install", [])),
            "probe": saying(with_probe()),
            "probe-of-nothing": saying(with_probe(tcp=None)),
            "probe-of-two": saying(with_probe(step="app")),
            "probe-step-unknown": saying(with_probe(tcp=None, step="other")),
            "probe-file": saying(with_probe(tcp=None, file={"files": "service", "path": "run.py"})),
            "probe-file-unknown": saying(with_probe(tcp=None, file={"files": "service", "path": "other"})),
            "probe-file-set-unknown": saying(with_probe(tcp=None, file={"files": "other", "path": "run.py"})),
            "host": saying(put("host", {"disk_bytes": 1, "ports": [80, 443], "warn": ["ports"]})),
            "host-of-nothing": saying(put("host", {"warn": []})),
            "host-only-warns": saying(put("host", {"warn": ["disk"]})),
            "host-warns-of-another": saying(put("host", {"cores": 2, "warn": ["memory"]})),
            "host-warns-twice": saying(put("host", {"cores": 2, "warn": ["cores", "cores"]})),
            "host-port-twice": saying(put("host", {"ports": [80, 80]})),
            "host-port-above": saying(put("host", {"ports": [65536]})),
            "host-certificate-twice": saying(
                put("host", {"certificates": [{"days": days, "endpoint": "api"} for days in (1, 2)]})
            ),
            "host-look-unknown": saying(put("host", {"cores": 2, "warn": ["weather"]})),
            "host-default-written": saying(put("host", {"cores": 2, "ports": []})),
            "probe-url-escape": saying(with_probe(tcp=None, http={"endpoint": "a", "path": "http://x", "status": 200})),
        },
    ),
    "release-extensions": (
        "What a later version added: an unknown critical extension refuses by name, another is kept and shown "
        "(F-8.18).",
        {
            "unknown": lambda: Case(
                Vendor(extra={"colour": b"blue"}).bundle(), Vendor(extra={"colour": b"blue"}).pin()
            ),
            "unknown-critical": saying(put("extensions.colour.critical", True), Vendor(extra={"colour": b"blue"})),
        },
    ),
    "release-text": (
        "VERIFY.txt is a constant of the format (F-9.6).",
        {"another": another_text},
    ),
    "contract": (
        "The telemetry contract is read back by the rules by which it was compiled (F-12.1).",
        {name.removeprefix("1.0.0-"): of_documents(name) for name in CONTRACT},
    ),
    "rollback": (
        "The rollback document is read back by the rules by which it was compiled (F-12.2). A backup proves one of "
        "the two values that its programs may state (F-12.4).",
        {name.removeprefix("1.0.0-"): of_documents(name) for name in ROLLBACK},
    ),
}
