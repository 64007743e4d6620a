"""Vectors: who signed the release, in which encoding, and what was said."""

import json
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from content.bundle.head import Head, Signature
from content.bundle.head_writer import sign_release
from manifests.trust.envelope import INTOTO, bundle_payload, pae
from manifests.trust.envelope_writer import encode_root, seal, wrap_signature
from manifests.trust.keys import P256_ORDER, decode_base64, encode_base64
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROOT_TYPE, Leaver, Mark
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.surgery import Case, Paper, Variants, edit, sign_bytes, signed, swap
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, SECOND, STRANGER, Vendor

GOOD = Vendor(signers=(RELEASE, SECOND))
SIGNERS = sorted((RELEASE, SECOND), key=lambda one: one.public.keyid)
BOTH = Vendor(signers=(RELEASE, SECOND), threshold=2)


def high_s(signature: bytes) -> bytes:
    """The other signature that the same key makes valid for the same message."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def _integers(signature: bytes) -> tuple[bytes, bytes]:
    r_length = signature[3]
    return signature[4 : 4 + r_length], signature[6 + r_length :]


def _der(r: bytes, s: bytes) -> bytes:
    body = bytes([2, len(r)]) + r + bytes([2, len(s)]) + s
    return bytes([0x30, len(body)]) + body


# The same two numbers otherwise encoded (or, for high-s, the other valid pair): all of them must refuse.
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "high-s": high_s,
    "zero-before-r": lambda sig: _der(b"\0" + _integers(sig)[0], _integers(sig)[1]),
    "zero-before-s": lambda sig: _der(_integers(sig)[0], b"\0" + _integers(sig)[1]),
    "long-length": lambda sig: b"\x30\x81" + sig[1:],
    "longer-length": lambda sig: b"\x30\x82\x00" + sig[1:],
    "long-length-of-r": lambda sig: b"\x30" + bytes([sig[1] + 1]) + b"\x02\x81" + sig[3:],
    "indefinite-length": lambda sig: b"\x30\x80" + sig[2:] + b"\0\0",
    "byte-after": lambda sig: sig + b"\0",
    "byte-inside": lambda sig: b"\x30" + bytes([sig[1] + 1]) + sig[2:] + b"\0",
    "cut": lambda sig: sig[:-1],
    "empty": lambda _: b"",
    "negative-r": lambda sig: _der(bytes([_integers(sig)[0][-32] | 0x80]) + _integers(sig)[0][-31:], _integers(sig)[1]),
    "zeros": lambda _: _der(b"\0", b"\0"),
    "s-plus-order": lambda sig: encode_dss_signature(
        decode_dss_signature(sig)[0], decode_dss_signature(sig)[1] + P256_ORDER
    ),
    "raw": lambda sig: b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(sig)),
    "set-for-sequence": lambda sig: b"\x31" + sig[1:],
}


def with_head(change: Callable[[Head], Head], vendor: Vendor = GOOD) -> Callable[[], Case]:
    return lambda: Case(vendor.bundle(change(vendor.head())), vendor.pin())


def with_pairs(
    change: Callable[[tuple[Signature, ...]], tuple[Signature, ...]], vendor: Vendor = GOOD
) -> Callable[[], Case]:
    return with_head(lambda head: replace(head, signatures=change(head.signatures)), vendor)


def in_sig(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return with_pairs(lambda pairs: (replace(pairs[0], sig=change(pairs[0].sig or b"")), *pairs[1:]))


def _sigstore(change: Callable[[dict[str, object]], None]) -> Callable[[bytes], bytes]:
    def swap_fields(data: bytes) -> bytes:
        fields = json.loads(data)
        change(fields)
        return encode(fields)

    return swap_fields


def in_sigstore(change: Callable[[dict[str, object]], None]) -> Callable[[], Case]:
    """The fields of the first signer's Sigstore bundle changed, in canonical form."""
    return with_pairs(lambda pairs: (replace(pairs[0], bundle=_sigstore(change)(pairs[0].bundle)), *pairs[1:]))


def in_dsse(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    def apply(fields: dict[str, object]) -> None:
        envelope = fields["dsseEnvelope"]
        assert isinstance(envelope, dict)
        envelope["signatures"] = [{"sig": encode_base64(change(decode_base64(envelope["signatures"][0]["sig"], "")))}]

    return in_sigstore(apply)


def in_root(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    def apply(data: bytes) -> bytes:
        fields = json.loads(data)
        for one in fields["signatures"]:
            one["sig"] = encode_base64(change(decode_base64(one["sig"], "")))
        return encode(fields)

    return lambda: Case(edit(GOOD.bundle(), "trust/1.root.json", apply), GOOD.pin())


def _set(path: str, value: object) -> Callable[[dict[str, object]], None]:
    """Put ``value`` at a dotted path; None takes the field away."""

    def apply(fields: dict[str, object]) -> None:
        *way, last = path.split(".")
        at = fields
        for name in way:
            inner = at[name]
            assert isinstance(inner, dict)
            at = inner
        if value is None:
            del at[last]
        else:
            at[last] = value

    return apply


def saying(change: Callable[[dict[str, object]], None]) -> Callable[[], Case]:
    """All signers sign a statement whose fields were changed."""
    return lambda: Case(signed(GOOD, payload=_sigstore(change)), GOOD.pin())


def _subject(**changes: object) -> Callable[[dict[str, object]], None]:
    def apply(fields: dict[str, object]) -> None:
        subjects = fields["subject"]
        assert isinstance(subjects, list)
        subjects[0].update(changes)

    return apply


def _two_subjects(fields: dict[str, object]) -> None:
    subjects = fields["subject"]
    assert isinstance(subjects, list)
    subjects.append({"digest": {"sha256": "0" * 64}, "name": "other"})


def _payload_of_another(fields: dict[str, object]) -> None:
    envelope = fields["dsseEnvelope"]
    assert isinstance(envelope, dict)
    other = json.loads(GOOD.but(sequence=2).head().signatures[0].bundle)
    envelope["payload"] = other["dsseEnvelope"]["payload"]


def _two_signatures(fields: dict[str, object]) -> None:
    envelope = fields["dsseEnvelope"]
    assert isinstance(envelope, dict)
    envelope["signatures"] = envelope["signatures"] * 2


def _no_signature(fields: dict[str, object]) -> None:
    envelope = fields["dsseEnvelope"]
    assert isinstance(envelope, dict)
    envelope["signatures"] = []


def over(message: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """Signed by the right key, over other bytes than the payload's PAE."""

    def change(pairs: tuple[Signature, ...]) -> tuple[Signature, ...]:
        first = next(one for one in pairs if one.keyid == RELEASE.public.keyid)
        payload = bundle_payload(first.bundle, "")
        forged = wrap_signature(payload, RELEASE.sign(message(payload)), RELEASE.public)
        return tuple(replace(one, bundle=forged) if one is first else one for one in pairs)

    return with_pairs(change)


def pair(signer: FileSigner, vendor: Vendor = GOOD) -> Signature:
    return sign_release(vendor.head().release, signer)


def _renamed(one: Signature, signer: FileSigner) -> Signature:
    return replace(one, keyid=signer.public.keyid)


def _hinted(one: Signature, signer: FileSigner) -> Signature:
    fields = json.loads(one.bundle)
    fields["verificationMaterial"]["publicKey"]["hint"] = encode_base64(bytes.fromhex(signer.public.keyid))
    return replace(one, bundle=encode(fields))


def _both_kinds(sig: Signature, bundle: Signature) -> Signature:
    return Signature(keyid=sig.keyid, sig=sig.sig, bundle=bundle.bundle)


def _other_statement(signer: FileSigner, change: Callable[[dict[str, object]], None]) -> Signature:
    head = GOOD.head()
    return sign_bytes(head.release, _sigstore(change)(bundle_payload(head.signatures[0].bundle, "")), signer)


def leaving(
    how: Leaver, *signers: FileSigner, sequence: int = 1, epoch: int = 1, root_epoch: int = 1
) -> Callable[[], Case]:
    """RELEASE left the role; SECOND is in it. The release is signed by ``signers``.

    A key that leaves must have been in the role before: root 1 has both, root 2 has SECOND alone.
    """
    from msgspec.structs import replace as struct_replace

    def make() -> Case:
        vendor = Vendor(signers=signers, sequence=sequence, epoch=epoch)
        before = Vendor()
        first = before.root_file()
        role = before.root().roles["release"]
        second = struct_replace(
            before.root(),
            version=2,
            epoch=max(epoch, how.last.epoch if how.last else 1),
            previous=digest_of(first),
            roles={
                **before.root().roles,
                "release": struct_replace(role, keys=(SECOND.public.keyid,)),
            },
            leave={RELEASE.public.keyid: how},
        )
        file = seal(encode_root(second), ROOT_TYPE, (ROOT,))
        head = replace(vendor.head(), roots=(first, file))
        return Case(vendor.bundle(head), before.pin())

    return make


REVOKED = Leaver(how="revoked")
RETIRED = Leaver(how="retired", last=Mark(epoch=1, sequence=5))


def judged_by_newest(
    *signers: FileSigner, held: tuple[FileSigner, ...], threshold: int = 1, before: int = 1
) -> Callable[[], Case]:
    """Root 1 asks for ``before`` of RELEASE and SECOND, root 2 for ``threshold`` of ``held``."""
    from msgspec.structs import replace as struct_replace

    def make() -> Case:
        old = Vendor(threshold=before)
        first = old.root_file()
        role = struct_replace(
            old.root().roles["release"], keys=tuple(sorted(one.public.keyid for one in held)), threshold=threshold
        )
        second = struct_replace(
            old.root(), version=2, previous=digest_of(first), roles={**old.root().roles, "release": role}
        )
        vendor = Vendor(signers=signers)
        head = replace(vendor.head(), roots=(first, seal(encode_root(second), ROOT_TYPE, (ROOT,))))
        return Case(vendor.bundle(head), old.pin())

    return make


GARBAGE = {
    "empty": b"",
    "open": b"{",
    "no-text": b"\xff" * 100,
    "deep": b"[" * 30_000,
    "of-a-later-format": b'{"format":2}',
}


def garbage(release: bytes, *signers: FileSigner, format_: int = 1) -> Callable[[], Case]:
    """Anything in the place of release.json, signed all the same; by nobody: beside the signature of the good one."""

    def make() -> Case:
        head = Vendor().head()
        said = json.loads(bundle_payload(head.signatures[0].bundle, "vector"))
        said["subject"][0]["digest"]["sha256"] = digest_of(release)[7:]
        said["predicate"]["format"] = format_
        pairs = tuple(sign_bytes(release, encode(said), one) for one in signers) or head.signatures
        return Case(Vendor().bundle(replace(head, release=release, signatures=pairs)), Vendor().pin())

    return make


def offered(raw: bytes) -> Callable[[], Paper]:
    """Bytes that a release key is asked to sign."""

    def judge(data: bytes) -> str:
        sign_release(data, RELEASE)
        return ""

    return lambda: Paper(raw, judge)


def root_signed_by(*signers: FileSigner) -> Callable[[], Case]:
    file = seal(encode_root(GOOD.root()), ROOT_TYPE, signers)
    return with_head(lambda head: replace(head, roots=(file,)))


TOPICS: dict[str, tuple[str, Variants]] = {
    "signature-encodings": (
        "A signature has one spelling: strict DER, no number longer than it must be, s at most half the order (F-5.4).",
        {
            **{f"sig-{name}": in_sig(change) for name, change in ENCODINGS.items()},
            **{f"dsse-{name}": in_dsse(change) for name, change in ENCODINGS.items()},
            **{f"root-{name}": in_root(change) for name, change in ENCODINGS.items()},
        },
    ),
    "sigstore-bundle": (
        "A Sigstore bundle has one form: media type, one hint, no log entries, one DSSE envelope with one signature "
        "(F-5.6), of one payload type (F-5.8), over its pre-authentication encoding (F-5.9); its hint is the key of "
        "its file name (F-5.7).",
        {
            "media-type-0.2": in_sigstore(_set("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2")),
            "media-type-missing": in_sigstore(_set("mediaType", None)),
            "log-entries-missing": in_sigstore(_set("verificationMaterial.tlogEntries", None)),
            "log-entry": in_sigstore(_set("verificationMaterial.tlogEntries", ["x"])),
            "certificate": in_sigstore(_set("verificationMaterial.certificate", {"rawBytes": "AA=="})),
            "message-signature": in_sigstore(_set("messageSignature", {"signature": "AA=="})),
            "no-signature": in_sigstore(_no_signature),
            "two-signatures": in_sigstore(_two_signatures),
            "keyid": in_sigstore(_set("dsseEnvelope.keyid", "x")),
            "payload-type": in_sigstore(_set("dsseEnvelope.payloadType", "application/json")),
            "payload-type-near-miss": in_sigstore(_set("dsseEnvelope.payloadType", "application/vnd.in-toto+json ")),
            "payload-of-another-release": in_sigstore(_payload_of_another),
            "over-payload": over(lambda payload: payload),
            "over-release": over(lambda _: GOOD.head().release),
            "over-other-type": over(lambda payload: pae("application/json", payload)),
            "over-shifted-length": over(
                lambda payload: b"DSSEv1 %d %s %d %s" % (len(INTOTO) - 1, INTOTO.encode(), len(payload) + 1, payload)
            ),
            "hint-of-other-signer": with_pairs(lambda pairs: (_hinted(pairs[0], _other(pairs[0])), *pairs[1:])),
            "hint-of-stranger": with_pairs(lambda pairs: (_hinted(pairs[0], STRANGER), *pairs[1:])),
            "hint-short": in_sigstore(_set("verificationMaterial.publicKey.hint", "AAAA")),
        },
    ),
    "statement": (
        "The Statement is of one kind (F-5.10): type, predicate type, one subject that is release.json by its digest "
        "(F-7.10), and a predicate that says what release.json says (F-7.12).",
        {
            "type-0.1": saying(_set("_type", "https://in-toto.io/Statement/v0.1")),
            "predicate-type-near-miss": saying(_set("predicateType", "urn:waybill:release:1 ")),
            "predicate-type-report": saying(_set("predicateType", "urn:waybill:report:1")),
            "predicate-type-later": saying(_set("predicateType", "urn:waybill:release:2")),
            "no-subject": saying(_set("subject", [])),
            "two-subjects": saying(_two_subjects),
            "subject-digest": saying(_subject(digest={"sha256": "0" * 64})),
            "subject-digest-upper-case": saying(_subject(digest={"sha256": "A" * 64})),
            "subject-digest-newline": saying(_subject(digest={"sha256": "0" * 64 + "\n"})),
            "subject-sha512": saying(_subject(digest={"sha512": "0" * 128})),
            "subject-name": saying(_subject(name="release.txt")),
            "product": saying(_set("predicate.product", "other")),
            "version": saying(_set("predicate.version", "1.0.1")),
            "channel": saying(_set("predicate.channel", "beta")),
            "sequence": saying(_set("predicate.sequence", 2)),
            "epoch": saying(_set("predicate.epoch", 2)),
            "root-version-zero": saying(_set("predicate.root_version", 0)),
            "format-zero": saying(_set("predicate.format", 0)),
            "kits": saying(_set("predicate.kits", ["sha256:" + "0" * 64])),
            "predicate-field-more": saying(_set("predicate.more", 1)),
            "predicate-field-less": saying(_set("predicate.kits", None)),
        },
    ),
    "signers": (
        "Both files of every signer verify, needed or not (F-7.3), with a key that the root chain records; a "
        "stranger's refuses (F-7.1). All make the same statement (F-7.4). Distinct keys are counted up to the "
        "threshold (F-7.7).",
        {
            "nobody": with_pairs(lambda _: ()),
            "one-of-two-needed": lambda: Case(BOTH.but(signers=(RELEASE,)).bundle(), BOTH.pin()),
            "two-of-two-needed": lambda: Case(BOTH.bundle(), BOTH.pin()),
            "one-stripped-of-two": with_pairs(lambda pairs: pairs[:1]),
            "same-key-under-two-names": with_pairs(
                lambda pairs: tuple(_renamed(pair(RELEASE), signer) for signer in SIGNERS),
                BOTH,
            ),
            "same-key-hinted-as-another": with_pairs(
                lambda pairs: tuple(_hinted(_renamed(pair(RELEASE), signer), signer) for signer in SIGNERS),
                BOTH,
            ),
            "stranger-added": with_pairs(lambda pairs: (*pairs, pair(STRANGER))),
            "stranger-alone": with_pairs(lambda _: (pair(STRANGER),)),
            "stranger-as-signer": with_pairs(lambda pairs: (_renamed(pair(STRANGER), _of(pairs[0])), *pairs[1:])),
            "root-key": with_pairs(lambda _: (pair(ROOT),)),
            "consignment-key": with_pairs(lambda _: (pair(CONSIGNMENT),)),
            "rollback-key": with_pairs(lambda _: (pair(ROLLBACK),)),
            "root-key-added": with_pairs(lambda pairs: (*pairs, pair(ROOT))),
            "sig-of-another-release": with_pairs(
                lambda pairs: (_both_kinds(pair(_of(pairs[0]), GOOD.but(sequence=2)), pairs[0]), *pairs[1:])
            ),
            "bundle-of-another-release": with_pairs(
                lambda pairs: (_both_kinds(pairs[0], pair(_of(pairs[0]), GOOD.but(sequence=2))), *pairs[1:])
            ),
            "pair-of-another-release": with_pairs(
                lambda pairs: (pair(_of(pairs[0]), GOOD.but(sequence=2)), *pairs[1:])
            ),
            "files-of-two-signers": with_pairs(lambda pairs: (_both_kinds(pairs[0], pairs[1]), pairs[1])),
            "sig-empty": with_pairs(lambda pairs: (replace(pairs[0], sig=b""), *pairs[1:])),
            "unneeded-wrong": with_pairs(lambda pairs: (*pairs[:1], replace(pairs[1], sig=pairs[0].sig))),
            "two-statements": with_pairs(
                lambda pairs: tuple(
                    sorted(
                        (pair(RELEASE), _other_statement(SECOND, _set("predicate.sequence", 2))),
                        key=lambda one: one.keyid,
                    )
                )
            ),
            "release-of-another-signature": lambda: Case(
                edit(GOOD.bundle(), "release.json", swap(b'"sequence":1', b'"sequence":2')), GOOD.pin()
            ),
        },
    ),
    "leavers": (
        "A revoked key counts for nothing, a retired one up to its last release (F-6.18); both must still sign rightly "
        "(F-7.3). Root 1 holds both keys, root 2 let the first one go. The newest root judges, whatever the older ones "
        "say (F-6.17).",
        {
            "revoked-alone": leaving(REVOKED, RELEASE),
            "revoked-and-good": leaving(REVOKED, RELEASE, SECOND),
            "retired-in-time": leaving(RETIRED, RELEASE, sequence=5),
            "retired-too-late": leaving(RETIRED, RELEASE, sequence=6),
            "retired-later-epoch": leaving(RETIRED, RELEASE, epoch=2),
            "retired-earlier-epoch": leaving(
                Leaver(how="retired", last=Mark(epoch=2, sequence=1)), RELEASE, sequence=9, epoch=1
            ),
            "retired-too-late-and-good": leaving(RETIRED, RELEASE, SECOND, sequence=6),
            "never-in-the-role": leaving(RETIRED, CONSIGNMENT),
            "still-in-the-role": leaving(RETIRED, SECOND, sequence=6),
            "not-in-the-newest-role": judged_by_newest(RELEASE, held=(SECOND,)),
            "in-the-newest-role": judged_by_newest(SECOND, held=(SECOND,)),
            "newest-asks-for-two": judged_by_newest(SECOND, held=(RELEASE, SECOND), threshold=2),
            "newest-asks-for-two-of-two": judged_by_newest(RELEASE, SECOND, held=(RELEASE, SECOND), threshold=2),
            "newest-asks-for-one": judged_by_newest(SECOND, held=(RELEASE, SECOND), before=2),
        },
    ),
    "release-unread": (
        "Garbage in the place of release.json. Its signatures are judged before one byte of it is parsed (F-7.11): as "
        "long as nobody who counts has signed it, that is what is said; a later format is for a newer verifier "
        "(F-7.9).",
        {
            **{f"{name}-signed-by-nobody": garbage(data) for name, data in GARBAGE.items()},
            **{f"{name}-signed-by-stranger": garbage(data, STRANGER) for name, data in GARBAGE.items()},
            **{f"{name}-signed-by-vendor": garbage(data, RELEASE) for name, data in GARBAGE.items()},
            **{f"{name}-signed-as-a-later-format": garbage(data, RELEASE, format_=2) for name, data in GARBAGE.items()},
        },
    ),
    "signing": (
        "What a release key is asked to sign: a canonical release.json that holds every rule, and nothing else "
        "(F-7.13).",
        {
            "release": offered(GOOD.head().release),
            "nothing": offered(b""),
            "object": offered(b"{}"),
            "encoding-of-another-envelope": offered(pae("text/plain", b"x")),
            "encoding-of-its-statement": offered(
                pae(INTOTO, bundle_payload(GOOD.head().signatures[0].bundle, "vector"))
            ),
            "statement": offered(bundle_payload(GOOD.head().signatures[0].bundle, "vector")),
            "root": offered(encode_root(GOOD.root())),
            "contract": offered(encode(GOOD.contract())),
            "release-with-a-space": offered(GOOD.head().release.replace(b":", b": ", 1)),
            "release-and-more": offered(GOOD.head().release + b"\n"),
            "release-that-contradicts-itself": offered(encode(Vendor(change={"floor": 9}).release()[0])),
        },
    ),
    "scope": (
        "A release key speaks for the products that its role names (F-7.8), under no root older than the release asks "
        "for (F-7.5), and in no epoch that a root has not begun (F-7.6).",
        {
            "another-product": lambda: Case(Vendor(product="other").bundle(), Vendor().pin()),
            "epoch-not-begun": lambda: Case(Vendor(epoch=2).bundle(_under_first_epoch()), Vendor().pin()),
            "root-too-old": lambda: Case(Vendor(change={"needs": _needs(2)}).bundle(), Vendor().pin()),
        },
    ),
    "root-signers": (
        "The pinned root is signed by its own threshold (F-6.15); every signature in it verifies with a key that it "
        "records (F-6.14).",
        {
            "nobody": root_signed_by(),
            "release-key": root_signed_by(RELEASE),
            "stranger": root_signed_by(STRANGER),
            "stranger-added": root_signed_by(ROOT, STRANGER),
            "release-key-added": root_signed_by(ROOT, RELEASE),
        },
    ),
}


def _of(one: Signature) -> FileSigner:
    return next(signer for signer in (RELEASE, SECOND) if signer.public.keyid == one.keyid)


def _other(one: Signature) -> FileSigner:
    return next(signer for signer in (RELEASE, SECOND) if signer.public.keyid != one.keyid)


def _under_first_epoch() -> Head:
    return replace(Vendor(epoch=2).head(), roots=(Vendor().root_file(),))


def _needs(root: int) -> object:
    from manifests.documents.release import Needs

    return Needs(verifier="0.1", trust_root=root, fresh=True)
