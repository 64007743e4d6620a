"""Judge signatures and attestations of carried images offline, by the signer that the signed release names.

Two forms are read (cosign's SIGNATURE_SPEC and BUNDLE_SPEC): the tag ``sha256-<hex>.sig`` with simple-signing payloads,
and OCI 1.1 referrers that hold Sigstore bundles. One valid signature by the named signer over the digest that installs
is required. Everybody who can write to a registry can add others, so these are reported and not counted. A signature
over an index covers what the index names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from content.bundle.graph import Graph, Node
from content.bundle.oci import REF_NAME, Descriptor, ImageIndex, ImageManifest, Texts, parse_oci, read_json
from content.sigstore.judge import CERTIFICATE, SIGNATURE, FindJudge, ImageJudge, NotBySignerError, ReadBlob
from content.sigstore.rekor import REKOR_BUNDLE
from content.sigstore.sigstore_bundle import (
    BUNDLES,
    MAX_SIGNED,
    SigstoreBundle,
    as_object,
    json_object,
    parse_sigstore_bundle,
    plain_text,
    text_field,
)
from manifests.documents.release import Image, Release
from manifests.trust.envelope import INTOTO, STATEMENT, pae
from manifests.trust.keys import decode_base64
from manifests.words.errors import MalformedError, UntrustedError, WaybillError

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_LAYER = "application/vnd.dsse.envelope.v1+json"
SIGN_V1 = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE_V1 = "https://slsa.dev/provenance/v1"
# cosign's older attestations say this; a signature never does.
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
SIMPLE_TYPE = "cosign container image signature"
NONE = "none"
MAX_SUBJECTS = 1024
MAX_CANDIDATES = 1024
MAX_FINDINGS = 16
_NOTES = frozenset({SIGNATURE, CERTIFICATE, REKOR_BUNDLE})
_MARKS = (b'"critical"', b'"payloadType"', b'"dsseEnvelope"', b'"messageSignature"')
Opinion = Literal["good", "wrong", "unknown", "junk"]


@dataclass(frozen=True)
class ImageFinding:
    """A result about one image; ``refused`` carries its error. The ids are stable (docs/cli.md)."""

    id: str
    level: Literal["ok", "warning", "refused"]
    text: str
    error: WaybillError | None = None


@dataclass(frozen=True)
class _Candidate:
    """One layer that could be a signature or an attestation, with the digest that its manifest refers to."""

    layer: Descriptor
    subject: str
    form: str


@dataclass(frozen=True)
class _JudgedCandidate:
    """The judgement on one candidate; ``attests`` is the predicate type of an attestation."""

    candidate: _Candidate
    opinion: Opinion
    text: str
    attests: str | None = None


def looks_signed(data: bytes) -> bool:
    """Whether these bytes can be one of the documents that are read here; others are not parsed."""
    return any(mark in data for mark in _MARKS)


def judge_images(release: Release, graph: Graph, read: ReadBlob, find_judge: FindJudge) -> tuple[ImageFinding, ...]:
    """Judge every image that names a signer, in the order of the release.

    ``read`` gives hashed bytes of a member by digest. ``find_judge`` is called once per signer; its errors pass.
    """
    attached = _attached(graph)
    judges: dict[str, ImageJudge] = {}
    findings: list[ImageFinding] = []
    for image in release.images:
        if image.signed_by == NONE:
            continue
        if image.signed_by not in judges:
            judge = judges[image.signed_by] = find_judge(image.signed_by, release.signers[image.signed_by])
            if judge.weakness:
                findings.append(ImageFinding("weak", "warning", f"images are signed by {judge.name}: {judge.weakness}"))
        findings += _judge(image, graph, attached, read, judges[image.signed_by])
    return tuple(findings)


def _attached(graph: Graph) -> Mapping[str, tuple[Node, ...]]:
    """Referrers by the digest of their subject, and cosign's tags by their name, ``<to>:sha256-<hex>.sig``."""
    attached: dict[str, dict[str, Node]] = {}
    for entry in graph.top:
        node = graph.nodes.get(entry.digest)
        if node is None:
            continue
        if node.document.subject is not None:
            attached.setdefault(node.document.subject.digest, {})[entry.digest] = node
        name = entry.annotation(REF_NAME)
        if name.endswith((".sig", ".att")):
            attached.setdefault(name, {})[entry.digest] = node
    return {key: tuple(nodes.values()) for key, nodes in attached.items()}


def _candidates(
    image: Image, subject: str, attached: Mapping[str, tuple[Node, ...]], read: ReadBlob
) -> Iterator[_Candidate]:
    tag = f"{image.to}:{subject.replace(':', '-')}"
    for key, form in ((f"{tag}.sig", "signature tag"), (f"{tag}.att", "attestation tag"), (subject, "referrer")):
        for node in attached.get(key, ()):
            if not isinstance(node.document, ImageManifest):
                continue
            # artifactType of the manifest, else its config's media type; never what an index says about it.
            whole = node.document.referrer_type in BUNDLES
            for layer in _annotated(node.descriptor, node.document, read):
                if layer.urls:  # F-11.6
                    continue
                if whole or layer.media_type in (SIMPLE_SIGNING, DSSE_LAYER, *BUNDLES):
                    yield _Candidate(layer=layer, subject=subject, form=form)


def _annotated(descriptor: Descriptor, document: ImageManifest, read: ReadBlob) -> tuple[Descriptor, ...]:
    """The layers of a manifest; the annotations of its signatures, which the graph left out, are read again."""
    if all(layer.media_type != SIMPLE_SIGNING for layer in document.layers):
        return document.layers
    texts = Texts(_NOTES, longest=MAX_SIGNED)
    return parse_oci(read(descriptor.digest), media_type=descriptor.media_type, texts=texts).children[1:]


def _below(graph: Graph, digest: str) -> tuple[str, ...]:
    """The manifests and indexes below an index that are in the bundle, each once."""
    below: dict[str, None] = {}
    queue = [digest]
    while queue:
        document = graph.nodes[queue.pop(0)].document
        for child in document.children if isinstance(document, ImageIndex) else ():
            if child.digest in graph.nodes and child.digest not in below:
                below[child.digest] = None
                queue.append(child.digest)
    return tuple(below)


def _judge(
    image: Image, graph: Graph, attached: Mapping[str, tuple[Node, ...]], read: ReadBlob, judge: ImageJudge
) -> Iterator[ImageFinding]:
    """The findings of one image: the signature first, then attestations, then what was not counted."""
    below = _below(graph, image.manifest.digest)
    candidates = list(_candidates(image, image.manifest.digest, attached, read))
    # Of a platform only attestations count: the index is what is signed.
    platforms = [candidate for digest in below for candidate in _candidates(image, digest, attached, read)]
    judged = [_look(candidate, read, judge) for candidate in candidates[:MAX_CANDIDATES]]
    attested = [item for item in (_look(entry, read, judge) for entry in platforms[:MAX_CANDIDATES]) if item.attests]
    signatures = [item for item in judged if not item.attests]
    # F-11.1
    good = next((item for item in signatures if item.opinion == "good"), None)
    if good is None:
        yield _refuse(image, signatures, judge)
    else:
        covered = f", which covers the {len(below)} manifests below it" if below else ""
        yield ImageFinding(
            "image-signature", "ok", f"{image.name}: signed by {judge.name} ({good.candidate.form}){covered}"
        )
    findings: dict[str, ImageFinding] = {}  # by text: the same referrer may be listed twice
    for item in (*judged, *attested):
        if item.attests and item.opinion == "good":
            text = f"{image.name}: {item.text}, by {judge.name}"
            findings.setdefault(text, ImageFinding("image-attestation", "ok", text))
        elif item.attests:
            text = f"{image.name}: attestation {item.attests} {item.text}; it is not counted"
            findings.setdefault(text, ImageFinding("image-attestation-unverified", "warning", text))
        elif item.opinion != "good":
            layer = item.candidate.layer.digest[:19]
            text = f"{image.name}: {item.candidate.form} {layer} {item.text}; it is not counted"
            findings.setdefault(text, ImageFinding("image-signature-extra", "warning", text))
    ordered = sorted(findings.values(), key=lambda finding: finding.level != "ok")
    yield from ordered[:MAX_FINDINGS]
    left = len(ordered[MAX_FINDINGS:]) + len(candidates[MAX_CANDIDATES:]) + len(platforms[MAX_CANDIDATES:])
    if left:
        yield ImageFinding("image-signature-extra", "warning", f"{image.name}: {left} more of these are not listed")


def _refuse(image: Image, signatures: list[_JudgedCandidate], judge: ImageJudge) -> ImageFinding:
    """Missing, by another signer, or wrong: three ids, because different people have to act (F-11.7)."""
    wrong = [item for item in signatures if item.opinion == "wrong"]
    unknown = [item for item in signatures if item.opinion == "unknown"]
    needs = f"expected one by {judge.name}"
    if wrong:
        id_, problem = "image-signature-wrong", f"a signature of image {image.name} is wrong ({wrong[0].text}); {needs}"
    elif unknown:
        id_ = "image-signature-unknown"
        problem = f"image {image.name} is signed only by others ({unknown[0].text}); {needs}"
    else:
        id_, problem = "image-signature-missing", f"image {image.name} is not signed; {needs}"
    error = UntrustedError(
        problem,
        where=f"images {image.name} {image.manifest.digest}",
        remedy="sign the image and build again; at a site, ask the vendor for a corrected release",
        finding=id_,
    )
    return ImageFinding(id_, "refused", problem, error)


def _look(candidate: _Candidate, read: ReadBlob, judge: ImageJudge) -> _JudgedCandidate:
    """Judge one candidate; malformed content gives the opinion ``junk``."""
    junk = _JudgedCandidate(candidate, "junk", "is no signature")
    if candidate.layer.size > MAX_SIGNED:  # F-11.6
        return _JudgedCandidate(candidate, "junk", f"has more than {MAX_SIGNED} bytes")
    try:
        data = read(candidate.layer.digest)
        if not looks_signed(data):
            return junk
        if candidate.layer.media_type == SIMPLE_SIGNING:
            return _look_simple(candidate, data, judge)
        if candidate.layer.media_type == DSSE_LAYER:
            return _look_envelope(candidate, data, judge)
        opened = parse_sigstore_bundle(data)
        message = pae(opened.payload_type, opened.payload) if opened.is_envelope else read(candidate.subject)
        return _look_bundle(candidate, opened, message, judge)
    except MalformedError:
        return junk


def _look_simple(candidate: _Candidate, data: bytes, judge: ImageJudge) -> _JudgedCandidate:
    try:
        judge.simple(candidate.layer, data)
    except NotBySignerError as not_by:
        return _JudgedCandidate(candidate, not_by.opinion, not_by.text)
    critical = json_object(read_json(data, max_bytes=MAX_SIGNED), "critical")
    about = json_object(critical, "image").get("docker-manifest-digest")
    if critical.get("type") != SIMPLE_TYPE:  # F-11.3
        return _JudgedCandidate(candidate, "wrong", "is signed and of another type")
    if about != candidate.subject:
        return _JudgedCandidate(candidate, "wrong", f"is signed over {plain_text(about)}")
    return _JudgedCandidate(candidate, "good", "")


def _look_bundle(candidate: _Candidate, opened: SigstoreBundle, message: bytes, judge: ImageJudge) -> _JudgedCandidate:
    attests = None
    if opened.is_envelope and opened.payload_type == INTOTO:
        claimed = _statement(opened.payload).get("predicateType")
        attests = None if claimed == SIGN_V1 else plain_text(claimed)
    try:
        judge.bundle(opened, message)
    except NotBySignerError as not_by:
        return _JudgedCandidate(candidate, not_by.opinion, f"is signed {not_by.text}", attests)
    if not opened.is_envelope:  # F-11.4
        if f"sha256:{opened.digest.hex()}" != candidate.subject:
            return _JudgedCandidate(candidate, "wrong", "claims another digest")
        return _JudgedCandidate(candidate, "good", "")
    if opened.payload_type != INTOTO:
        return _JudgedCandidate(candidate, "wrong", f"is signed and of type {plain_text(opened.payload_type)}")
    return _look_statement(candidate, opened.payload, attests)


def _look_envelope(candidate: _Candidate, data: bytes, judge: ImageJudge) -> _JudgedCandidate:
    """An attestation of cosign's older form: a bare DSSE envelope, any of whose signatures may be the signer's."""
    fields = read_json(data, max_bytes=MAX_SIGNED)
    payload_type, payload = text_field(fields, "payloadType"), decode_base64(text_field(fields, "payload"), "payload")
    if payload_type != INTOTO:
        return _JudgedCandidate(candidate, "junk", f"is of type {plain_text(payload_type)}")
    attests = plain_text(_statement(payload).get("predicateType"))
    signatures = fields.get("signatures")
    text = "by nobody"
    for entry in signatures[:64] if isinstance(signatures, list) else ():
        if not isinstance(entry, dict):
            continue
        try:
            judge.envelope(pae(payload_type, payload), decode_base64(text_field(entry, "sig"), "sig"))
        except NotBySignerError as not_by:
            text = not_by.text
        else:
            return _look_statement(candidate, payload, attests)
    return _JudgedCandidate(candidate, "unknown", f"is signed {text}", attests)


def _look_statement(candidate: _Candidate, payload: bytes, attests: str | None) -> _JudgedCandidate:
    """A verified statement must be about this digest, and about nothing else when it is a signature."""
    statement = _statement(payload)
    subjects = statement.get("subject")
    digests = [_digest(subject) for subject in subjects] if isinstance(subjects, list) else []
    # F-11.4, F-11.8
    if statement.get("_type") not in ((STATEMENT, STATEMENT_V01) if attests else (STATEMENT,)):
        return _JudgedCandidate(candidate, "wrong", "is signed and no Statement", attests)
    if len(digests) > MAX_SUBJECTS or candidate.subject not in digests or (not attests and len(digests) != 1):
        return _JudgedCandidate(
            candidate, "wrong", f"is signed and about {plain_text(next(iter(digests), 'nothing'))}", attests
        )
    text = f"signed {attests}{_summary(statement) if attests == PROVENANCE_V1 else ''}" if attests else ""
    return _JudgedCandidate(candidate, "good", text, attests)


def _summary(statement: dict[str, object]) -> str:
    """The builder's id and the source of SLSA provenance v1."""
    predicate = json_object(statement, "predicate")
    builder = json_object(json_object(predicate, "runDetails"), "builder").get("id")
    definition = json_object(predicate, "buildDefinition")
    parameters = json_object(definition, "externalParameters")
    workflow = json_object(parameters, "workflow")
    dependencies = definition.get("resolvedDependencies")
    first = dependencies[0] if isinstance(dependencies, list) and dependencies else None
    source = workflow.get("repository") or parameters.get("source") or as_object(first).get("uri")
    return f", built by {plain_text(builder)} from {plain_text(source)}"


def _statement(payload: bytes) -> dict[str, object]:
    return read_json(payload, max_bytes=MAX_SIGNED, where="statement")


def _digest(subject: object) -> str:
    value = json_object(as_object(subject), "digest").get("sha256")
    return f"sha256:{value}" if isinstance(value, str) else ""
