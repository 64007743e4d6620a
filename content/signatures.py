"""Signatures and attestations of carried images: judged offline, by the signer whom the signed release names.

Two forms lie in a bundle, and both are read (cosign's SIGNATURE_SPEC and BUNDLE_SPEC): the tag ``sha256-<hex>.sig``
with simple-signing payloads, and OCI 1.1 referrers that hold Sigstore bundles. One good signature by the named signer
over the digest that installs is required; whatever else hangs there was put there by whoever could write to a
registry, so it is said and decides nothing. A signature over an index covers what the index names.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol

from content.graph import Graph, Node
from content.oci import REF_NAME, Descriptor, ImageIndex, ImageManifest, read_json
from content.rekor import BUNDLE as REKOR
from content.rekor import Logs, Signed, verify_entries, verify_promise
from manifests.envelope import BUNDLE, INTOTO, STATEMENT, pae
from manifests.errors import MalformedError, NewerError, UntrustedError, WaybillError
from manifests.keys import CarriedKey, decode_base64, load_carried
from manifests.release import Image, ImageSigner, Release

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_LAYER = "application/vnd.dsse.envelope.v1+json"
BUNDLES = (BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
SIGN_V1 = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE_V1 = "https://slsa.dev/provenance/v1"
# cosign's older attestations say this; a signature never does.
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
SIMPLE_TYPE = "cosign container image signature"
NONE = "none"

MAX_SIGNED = 4 << 20  # an attestation may hold a whole SBOM
MAX_SUBJECTS = 1024
MAX_CANDIDATES = 1024
MAX_SAID = 16
_MARKS = (b'"critical"', b'"payloadType"', b'"dsseEnvelope"', b'"messageSignature"')

Read = Callable[[str], bytes]
JudgeOf = Callable[[str, ImageSigner], "Judge"]
Opinion = Literal["good", "wrong", "unknown", "junk"]


@dataclass(frozen=True)
class Judged:
    """One thing that was looked at; ``refused`` carries its failure. The ids are a public promise (docs/cli.md)."""

    id: str
    level: Literal["ok", "warning", "refused"]
    text: str
    error: WaybillError | None = None


@dataclass(frozen=True)
class Opened:
    """A Sigstore bundle that was parsed strictly, and not believed.

    Attributes:
        raw: The bytes as they lie in the image; whoever verifies verifies these.
        hint: Key id that it claims, or empty.
        certificate: DER of the certificate that it brings instead, or empty; before 0.3 there may be a chain of them.
        payload_type: Of the DSSE envelope; empty for a signature over the manifest itself.
        payload: Of the envelope, or empty.
        digest: SHA-256 that a signature over the manifest claims to be about, 32 bytes, or empty.
        entries: Of transparency logs, as they are; usually a list.
    """

    raw: bytes
    hint: str
    certificate: bytes
    payload_type: str
    payload: bytes
    digest: bytes
    signature: bytes
    entries: object = ()

    @property
    def keyless(self) -> bool:
        return bool(self.certificate)

    @property
    def is_envelope(self) -> bool:
        return bool(self.payload_type)


class Judge(Protocol):
    """Whoever can say whether something was signed by one signer. A method that returns has verified."""

    @property
    def name(self) -> str:
        """The signer in a finding."""
        ...

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        """A simple-signing payload with what its layer's annotations bring. Raises NotBySigner."""
        ...

    def envelope(self, message: bytes, signature: bytes) -> None:
        """One signature of a DSSE envelope over ``message``, its pre-authentication encoding. Raises NotBySigner."""
        ...

    def bundle(self, opened: Opened, message: bytes) -> None:
        """A Sigstore bundle over ``message``: the encoding of its envelope, or the manifest. Raises NotBySigner."""
        ...


class NotBySigner(Exception):  # noqa: N818 - a verdict on its way, not an error that a user meets
    """Not a signature by this signer.

    Attributes:
        opinion: ``wrong`` when it claims to be theirs, ``unknown`` when it is somebody else's.
    """

    def __init__(self, opinion: Literal["wrong", "unknown"], text: str) -> None:
        super().__init__(text)
        self.opinion: Literal["wrong", "unknown"] = opinion
        self.text = text


@dataclass(frozen=True)
class KeyJudge:
    """Judges by one pinned key. Key ids in signatures are only good for telling a stranger's from a broken one.

    Attributes:
        logs: The transparency logs that a pinned trusted root names; without one their entries are not looked at.
    """

    signer: str
    key: CarriedKey
    logs: Logs | None = None

    @property
    def name(self) -> str:
        return f"{self.signer}, key {self.key.record.keyid[:12]}"

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        try:
            signature = decode_base64(layer.annotation(SIGNATURE), "signature")
        except MalformedError:
            raise NotBySigner("wrong", "its signature is not base64") from None
        if not signature:
            raise NotBySigner("wrong", "its signature is empty")
        by = "made without a key (by a certificate)" if layer.annotation(CERTIFICATE) else "by none of this key"
        self._verify(signature, payload, "unknown", by)
        promise = layer.annotation(REKOR)
        if self.logs is not None and promise:
            about = Signed(sha256(payload).digest(), b"", signature, self.key.record.spki)
            self._logged(lambda logs: verify_promise(promise, logs, about, "image"))

    def envelope(self, message: bytes, signature: bytes) -> None:
        self._verify(signature, message, "unknown", "by none of this key")

    def bundle(self, opened: Opened, message: bytes) -> None:
        ours = opened.hint == self.key.record.keyid
        by = "by a certificate" if opened.keyless else f"by key {opened.hint[:12] or '?'}"
        self._verify(opened.signature, message, "wrong" if ours else "unknown", "does not match" if ours else by)
        if self.logs is not None:
            about = Signed(sha256(message).digest(), opened.payload, opened.signature, self.key.record.spki)
            self._logged(lambda logs: verify_entries(opened.entries, logs, about, "image"))

    def _logged(self, check: Callable[[Logs], None]) -> None:
        """An entry of a log that is there must hold (F-198)."""
        assert self.logs is not None
        try:
            check(self.logs)
        except (MalformedError, UntrustedError) as error:
            raise NotBySigner("wrong", f"and logged wrongly: {error.problem}") from None

    def _verify(self, signature: bytes, message: bytes, else_: Literal["wrong", "unknown"], text: str) -> None:
        try:
            self.key.verify(signature, message, "image")
        except UntrustedError:
            raise NotBySigner(else_, text) from None


@dataclass(frozen=True)
class _Candidate:
    """One layer that could be a signature or an attestation, with the digest of what it hangs on."""

    layer: Descriptor
    subject: str
    form: str


@dataclass(frozen=True)
class _Looked:
    """What one candidate turned out to be; ``attests`` is the predicate type when it is no signature."""

    candidate: _Candidate
    opinion: Opinion
    text: str
    attests: str = ""


def looks_signed(data: bytes) -> bool:
    """Whether these bytes can be one of the documents that are read here; anything else is not even parsed."""
    return any(mark in data for mark in _MARKS)


def judge_images(release: Release, graph: Graph, read: Read, judge_of: JudgeOf) -> tuple[Judged, ...]:
    """Judge every image that names a signer, in the order of the release.

    Args:
        read: Hashed bytes of a member by digest.
        judge_of: From the name and record of a signer to whoever judges it; asked once per signer.

    Raises:
        WaybillError: As ``judge_of``.
    """
    hanging = _hanging(graph)
    judges: dict[str, Judge] = {}
    findings: list[Judged] = []
    for image in release.images:
        if image.signed_by == NONE:
            continue
        if image.signed_by not in judges:
            judges[image.signed_by] = judge_of(image.signed_by, release.signers[image.signed_by])
        findings += _judge(image, graph, hanging, read, judges[image.signed_by])
    return tuple(findings)


def key_judge(name: str, signer: ImageSigner, logs: Logs | None = None) -> KeyJudge:
    """The judge of a signer that is a key.

    Raises:
        MalformedError: The record is no key.
        NewerError: Its kind is not known here.
    """
    assert signer.key is not None
    where = f"release.json $.signers.{name}"
    try:
        return KeyJudge(signer=name, key=load_carried(signer.key, where), logs=logs)
    except NewerError as error:
        error.finding = "image-signer-algorithm"
        raise


def _hanging(graph: Graph) -> Mapping[str, tuple[Node, ...]]:
    """Referrers by the digest of their subject, and cosign's tags by their name, ``<to>:sha256-<hex>.sig``."""
    found: dict[str, dict[str, Node]] = {}
    for entry in graph.top:
        node = graph.nodes.get(entry.digest)
        if node is None:
            continue
        if node.document.subject is not None:
            found.setdefault(node.document.subject.digest, {})[entry.digest] = node
        name = entry.annotation(REF_NAME)
        if name.endswith((".sig", ".att")):
            found.setdefault(name, {})[entry.digest] = node
    return {key: tuple(nodes.values()) for key, nodes in found.items()}


def _candidates(image: Image, subject: str, hanging: Mapping[str, tuple[Node, ...]]) -> Iterator[_Candidate]:
    tag = f"{image.to}:{subject.replace(':', '-')}"
    for key, form in ((f"{tag}.sig", "signature tag"), (f"{tag}.att", "attestation tag"), (subject, "referrer")):
        for node in hanging.get(key, ()):
            if not isinstance(node.document, ImageManifest):
                continue
            # artifactType of the manifest, else its config's media type; never what an index says about it.
            whole = node.document.referrer_type in BUNDLES
            for layer in node.document.layers:
                if whole or layer.media_type in (SIMPLE_SIGNING, DSSE_LAYER, *BUNDLES):
                    yield _Candidate(layer=layer, subject=subject, form=form)


def _below(graph: Graph, digest: str) -> tuple[str, ...]:
    """The manifests and indexes below an index that are in the bundle, each once."""
    found: dict[str, None] = {}
    queue = [digest]
    while queue:
        document = graph.nodes[queue.pop(0)].document
        for child in document.children if isinstance(document, ImageIndex) else ():
            if child.digest in graph.nodes and child.digest not in found:
                found[child.digest] = None
                queue.append(child.digest)
    return tuple(found)


def _judge(
    image: Image, graph: Graph, hanging: Mapping[str, tuple[Node, ...]], read: Read, judge: Judge
) -> Iterator[Judged]:
    """The findings of one image: the signature first, then attestations, then what was of no use."""
    below = _below(graph, image.manifest.digest)
    candidates = list(_candidates(image, image.manifest.digest, hanging))
    # On a platform only attestations are looked at: what is signed is the index.
    platforms = [one for digest in below for one in _candidates(image, digest, hanging)]
    looked = [_look(one, read, judge) for one in candidates[:MAX_CANDIDATES]]
    attested = [one for one in (_look(one, read, judge) for one in platforms[:MAX_CANDIDATES]) if one.attests]
    signatures = [one for one in looked if not one.attests]
    # F-190
    good = next((one for one in signatures if one.opinion == "good"), None)
    if good is None:
        yield _refuse(image, signatures, judge)
    else:
        covered = f", which covers the {len(below)} manifests below it" if below else ""
        yield Judged("image-signature", "ok", f"{image.name}: signed by {judge.name} ({good.candidate.form}){covered}")
    said: dict[str, Judged] = {}
    for one in (*looked, *attested):
        if one.attests and one.opinion == "good":
            text = f"{image.name}: {one.text}, by {judge.name}"
            said.setdefault(text, Judged("image-attestation", "ok", text))
        elif one.attests:
            text = f"{image.name}: attestation {one.attests} {one.text}; it says nothing"
            said.setdefault(text, Judged("image-attestation-unverified", "warning", text))
        elif one.opinion != "good":
            text = f"{image.name}: {one.candidate.form} {one.candidate.layer.digest[:19]} {one.text}; it does not count"
            said.setdefault(text, Judged("image-signature-extra", "warning", text))
    found = sorted(said.values(), key=lambda one: one.level != "ok")
    yield from found[:MAX_SAID]
    left = len(found[MAX_SAID:]) + len(candidates[MAX_CANDIDATES:]) + len(platforms[MAX_CANDIDATES:])
    if left:
        yield Judged("image-signature-extra", "warning", f"{image.name}: {left} more things like these, not listed")


def _refuse(image: Image, signatures: list[_Looked], judge: Judge) -> Judged:
    """Missing, somebody else's, or wrong: three ids, because three different people have to act (F-196)."""
    wrong = [one for one in signatures if one.opinion == "wrong"]
    unknown = [one for one in signatures if one.opinion == "unknown"]
    needs = f"it needs one by {judge.name}"
    if wrong:
        id_, problem = "image-signature-wrong", f"a signature of image {image.name} is wrong ({wrong[0].text}); {needs}"
    elif unknown:
        id_ = "image-signature-unknown"
        problem = f"image {image.name} is signed by others alone ({unknown[0].text}); {needs}"
    else:
        id_, problem = "image-signature-missing", f"image {image.name} is not signed; {needs}"
    error = UntrustedError(
        problem,
        where=f"images {image.name} {image.manifest.digest}",
        remedy="sign the image and build again; at a site, ask the vendor for a corrected release",
        finding=id_,
    )
    return Judged(id_, "refused", problem, error)


def _look(candidate: _Candidate, read: Read, judge: Judge) -> _Looked:
    """Judge one candidate; nothing that it holds can raise."""
    junk = _Looked(candidate, "junk", "is no signature")
    if candidate.layer.size > MAX_SIGNED:  # F-195
        return _Looked(candidate, "junk", f"has more than {MAX_SIGNED} bytes")
    try:
        data = read(candidate.layer.digest)
        if not looks_signed(data):
            return junk
        if candidate.layer.media_type == SIMPLE_SIGNING:
            return _look_simple(candidate, data, judge)
        if candidate.layer.media_type == DSSE_LAYER:
            return _look_envelope(candidate, data, judge)
        opened = open_bundle(data)
        message = pae(opened.payload_type, opened.payload) if opened.is_envelope else read(candidate.subject)
        return _look_bundle(candidate, opened, message, judge)
    except MalformedError:
        return junk


def _look_simple(candidate: _Candidate, data: bytes, judge: Judge) -> _Looked:
    try:
        judge.simple(candidate.layer, data)
    except NotBySigner as not_by:
        return _Looked(candidate, not_by.opinion, not_by.text)
    critical = _object(read_json(data, max_bytes=MAX_SIGNED), "critical")
    about = _object(critical, "image").get("docker-manifest-digest")
    if critical.get("type") != SIMPLE_TYPE:  # F-192
        return _Looked(candidate, "wrong", "is signed and of another type")
    if about != candidate.subject:
        return _Looked(candidate, "wrong", f"is signed over {plain_text(about)}")
    return _Looked(candidate, "good", "")


def _look_bundle(candidate: _Candidate, opened: Opened, message: bytes, judge: Judge) -> _Looked:
    attests = ""
    if opened.is_envelope:
        said = _statement(opened.payload) if opened.payload_type == INTOTO else {}
        claimed = said.get("predicateType")
        attests = "" if claimed == SIGN_V1 or opened.payload_type != INTOTO else plain_text(claimed)
    try:
        judge.bundle(opened, message)
    except NotBySigner as not_by:
        return _Looked(candidate, not_by.opinion, f"is signed {not_by.text}", attests)
    if not opened.is_envelope:  # F-193
        if f"sha256:{opened.digest.hex()}" != candidate.subject:
            return _Looked(candidate, "wrong", "claims another digest")
        return _Looked(candidate, "good", "")
    if opened.payload_type != INTOTO:
        return _Looked(candidate, "wrong", f"is signed and of type {plain_text(opened.payload_type)}")
    return _look_statement(candidate, opened.payload, attests, "signed ")


def _look_envelope(candidate: _Candidate, data: bytes, judge: Judge) -> _Looked:
    """An attestation of cosign's older form: a bare DSSE envelope, any of whose signatures may be the signer's."""
    fields = read_json(data, max_bytes=MAX_SIGNED)
    payload_type, payload = _word(fields, "payloadType"), decode_base64(_word(fields, "payload"), "payload")
    if payload_type != INTOTO:
        return _Looked(candidate, "junk", f"is of type {plain_text(payload_type)}")
    attests = plain_text(_statement(payload).get("predicateType"))
    signatures = fields.get("signatures")
    text = "by nobody"
    for one in signatures[:64] if isinstance(signatures, list) else ():
        if not isinstance(one, dict):
            continue
        try:
            judge.envelope(pae(payload_type, payload), decode_base64(_word(one, "sig"), "sig"))
        except NotBySigner as not_by:
            text = not_by.text
        else:
            return _look_statement(candidate, payload, attests, "signed ")
    return _Looked(candidate, "unknown", f"is signed {text}", attests)


def _look_statement(candidate: _Candidate, payload: bytes, attests: str, how: str) -> _Looked:
    """What the signer said, now that it is theirs: about this digest, and about nothing else when it is a signature."""
    said = _statement(payload)
    subjects = said.get("subject")
    digests = [_digest(one) for one in subjects] if isinstance(subjects, list) else []
    # F-193, F-197
    if said.get("_type") not in ((STATEMENT, STATEMENT_V01) if attests else (STATEMENT,)):
        return _Looked(candidate, "wrong", "is signed and no Statement", attests)
    if len(digests) > MAX_SUBJECTS or candidate.subject not in digests or (not attests and len(digests) != 1):
        return _Looked(candidate, "wrong", f"is signed and about {plain_text(next(iter(digests), 'nothing'))}", attests)
    text = f"{how}{attests}{_summary(said) if attests == PROVENANCE_V1 else ''}" if attests else ""
    return _Looked(candidate, "good", text, attests)


def _summary(said: dict[str, object]) -> str:
    """Who built it, and from what: the builder's id and the source of SLSA provenance v1."""
    predicate = _object(said, "predicate")
    builder = _object(_object(predicate, "runDetails"), "builder").get("id")
    definition = _object(predicate, "buildDefinition")
    parameters = _object(definition, "externalParameters")
    workflow = _object(parameters, "workflow")
    dependencies = definition.get("resolvedDependencies")
    first = dependencies[0] if isinstance(dependencies, list) and dependencies else None
    source = workflow.get("repository") or parameters.get("source") or (_object({"": first}, "").get("uri"))
    return f", built by {plain_text(builder)} from {plain_text(source)}"


def open_bundle(data: bytes, media_types: tuple[str, ...] = BUNDLES) -> Opened:
    """Parse a Sigstore bundle v0.3 strictly: no duplicate key, exactly one content, exactly one signature.

    Args:
        media_types: Which versions are taken; before 0.3 a certificate came with its chain.

    Raises:
        MalformedError: Anything else.
    """
    fields = read_json(data, max_bytes=MAX_SIGNED, where="bundle")
    if fields.get("mediaType") not in media_types:
        raise MalformedError(f"media type is {plain_text(fields.get('mediaType'))}", where="bundle")
    material = _object(fields, "verificationMaterial")
    hint = _object(material, "publicKey").get("hint", "")
    certificate = _certificate(material)
    if ("publicKey" in material) == bool(certificate) or not isinstance(hint, str):
        raise MalformedError("neither a key nor a certificate, or both", where="bundle")
    if ("dsseEnvelope" in fields) == ("messageSignature" in fields):
        raise MalformedError("neither an envelope nor a signature, or both", where="bundle")
    # The hint is opaque text to the specification; cosign writes the digest of the key.
    try:
        claimed = decode_base64(hint, "hint").hex()
    except MalformedError:
        claimed = ""
    entries = material.get("tlogEntries", [])
    if "dsseEnvelope" in fields:
        envelope = _object(fields, "dsseEnvelope")
        signatures = envelope.get("signatures")
        if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
            raise MalformedError("an envelope has exactly one signature", where="bundle")
        payload_type = _word(envelope, "payloadType")
        return Opened(
            raw=data,
            hint=claimed,
            certificate=certificate,
            payload_type=payload_type,
            payload=decode_base64(_word(envelope, "payload"), "payload"),
            digest=b"",
            signature=decode_base64(_word(signatures[0], "sig"), "sig"),
            entries=entries,
        )
    message = _object(fields, "messageSignature")
    about = _object(message, "messageDigest")
    if about.get("algorithm") != "SHA2_256":
        raise MalformedError(f"digest is {plain_text(about.get('algorithm'))}, expected SHA2_256", where="bundle")
    return Opened(
        raw=data,
        hint=claimed,
        certificate=certificate,
        payload_type="",
        payload=b"",
        digest=decode_base64(_word(about, "digest"), "digest"),
        signature=decode_base64(_word(message, "signature"), "signature"),
        entries=entries,
    )


def _certificate(material: Mapping[str, object]) -> bytes:
    chain = _object(material, "x509CertificateChain").get("certificates")
    found = chain[0] if isinstance(chain, list) and chain else material.get("certificate")
    raw = found.get("rawBytes") if isinstance(found, dict) else None
    return decode_base64(raw, "certificate") if isinstance(raw, str) else b""


def _statement(payload: bytes) -> dict[str, object]:
    return read_json(payload, max_bytes=MAX_SIGNED, where="statement")


def _object(fields: Mapping[str, object], key: str) -> dict[str, object]:
    """The object under ``key``, or an empty one: what is not there matches nothing."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _word(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{key} is missing", where="bundle")
    return value


def _digest(subject: object) -> str:
    value = _object(_object({"": subject}, ""), "digest").get("sha256")
    return f"sha256:{value}" if isinstance(value, str) else ""


def plain_text(value: object) -> str:
    """Somebody else's text in a finding: short, one line, nothing that a terminal would act on."""
    if not isinstance(value, str) or not value:
        return "?"
    text = value if value.isascii() and value.isprintable() else json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "..."
