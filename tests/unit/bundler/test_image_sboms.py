"""The SBOMs beside an image: found in every form in which they hang there, one used, all carried, all verified."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.build import BuiltBundle
from content.bundle.oci import OCI_MANIFEST, Descriptor
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_manifest
from manifests.documents.release import Sbom
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError
from tests.images import CYCLONEDX, SPDX, LayoutWriter
from tests.unit.bundler.test_build import verified
from tests.workshop import Workshop

IN_TOTO = "application/vnd.in-toto+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SPDX_TYPE = "https://spdx.dev/Document"
CYCLONEDX_TYPE = "https://cyclonedx.org/bom"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "vendor")


@pytest.fixture
def writer(shop: Workshop) -> LayoutWriter:
    return LayoutWriter(shop.path / "dist" / "app")


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def spdx(*names: str, title: str = "sbom") -> dict[str, Any]:
    return {"spdxVersion": "SPDX-2.3", "name": title, "packages": [{"name": name} for name in names]}


def cyclonedx(*names: str) -> dict[str, Any]:
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": name} for name in names]}


def statement(about: Descriptor, predicate: object, type_: str = SPDX_TYPE) -> bytes:
    subject = [{"name": "_", "digest": {"sha256": about.digest.removeprefix("sha256:")}}]
    head = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": type_, "subject": subject}
    return dump({**head, "predicate": predicate})


def envelope(data: bytes) -> dict[str, Any]:
    return {"payloadType": IN_TOTO, "payload": base64.b64encode(data).decode(), "signatures": [{"sig": "AA=="}]}


def manifest(writer: LayoutWriter, layers: list[Descriptor], subject: Descriptor | None = None) -> Descriptor:
    """A manifest of an attestation; its config is of no interest."""
    writer.blob(EMPTY_BYTES, EMPTY.media_type)
    bare = None if subject is None else replace(subject, annotations=(), platform=None)
    return writer.blob(encode_manifest(EMPTY, layers, subject=bare), OCI_MANIFEST)


def layer(writer: LayoutWriter, data: bytes, media_type: str = IN_TOTO, type_: str = SPDX_TYPE) -> Descriptor:
    key = "in-toto.io/predicate-type" if media_type == IN_TOTO else "predicateType"
    return replace(writer.blob(data, media_type), annotations=((key, type_),))


def buildkit(about: Descriptor, *layers: Descriptor, writer: LayoutWriter, subject: bool = False) -> Descriptor:
    """An attestation manifest as BuildKit puts it into the index; newer ones have a subject too."""
    notes = (("vnd.docker.reference.digest", about.digest), ("vnd.docker.reference.type", "attestation-manifest"))
    made = manifest(writer, list(layers), about if subject else None)
    return replace(made, annotations=notes, platform="unknown/unknown")


def cosign(writer: LayoutWriter, about: Descriptor, ending: str, *layers: Descriptor) -> Descriptor:
    return writer.tag(manifest(writer, list(layers)), about.digest.replace(":", "-") + ending)


def built(shop: Workshop, writer: LayoutWriter, **changes: Any) -> tuple[tuple[Sbom, ...], BuiltBundle, set[str]]:
    """The SBOMs of the release, the bundle, which a verifier takes, and the digests of all its members."""
    writer.save()
    shop.image(**({"sbom": "attached"} | changes))
    bundle = shop.build()
    release = verified(shop, bundle.path).head.release
    return release.image("app").sboms, bundle, {member.digest for member in release.members}


@pytest.mark.parametrize("subject", [False, True])
def test_attestations_of_buildkit_for_each_platform(shop: Workshop, writer: LayoutWriter, subject: bool) -> None:
    images = [writer.image([{"a": b"1"}]), writer.image([{"a": b"2"}], platform="linux/arm64")]
    provenance = [layer(writer, statement(one, {}, PROVENANCE_TYPE), type_=PROVENANCE_TYPE) for one in images]
    stages = [layer(writer, statement(one, spdx("gcc", "make", title="sbom-build"))) for one in images]
    scans = [layer(writer, statement(one, spdx(f"app-{one.platform}", title="/run/src/core/sbom"))) for one in images]
    attested = [
        buildkit(one, provenance[i], stages[i], scans[i], writer=writer, subject=subject)
        for i, one in enumerate(images)
    ]
    writer.tag(writer.index([*images, *attested]), "1.0.0")
    sboms, bundle, members = built(shop, writer)
    expected = {digest_of(dump(spdx(f"app-{one.platform}", title="/run/src/core/sbom"))) for one in images}
    assert {sbom.digest for sbom in sboms} == expected
    assert {sbom.format for sbom in sboms} == {"spdx"}
    assert members >= {one.digest for one in (*attested, *stages, *scans, *provenance)}
    assert len(bundle.sboms) == 2
    assert all("SPDX 2.3, 1 component, sha256:" in line for line in bundle.sboms)
    assert "not used: SPDX 2.3, 2 components" in bundle.sboms[-1]


def test_a_platform_that_is_left_out_takes_its_attestation_with_it(shop: Workshop, writer: LayoutWriter) -> None:
    images = [writer.image([{"a": b"1"}]), writer.image([{"a": b"2"}], platform="linux/arm64")]
    attested = [buildkit(one, layer(writer, statement(one, spdx(str(one.platform)))), writer=writer) for one in images]
    writer.tag(writer.index([*images, *attested]), "1.0.0")
    sboms, _, members = built(shop, writer, platforms=["linux/arm64"])
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("linux/arm64")))]
    assert attested[0].digest not in members


@pytest.mark.parametrize("name", ["att", "referrer", "sigstore", "bare referrer"])
def test_statements_of_cosign(shop: Workshop, writer: LayoutWriter, name: str) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    data = statement(image, cyclonedx("alpha"), CYCLONEDX_TYPE)
    other = layer(writer, dump(envelope(statement(image, {}, PROVENANCE_TYPE))), DSSE, PROVENANCE_TYPE)
    if name == "att":
        cosign(writer, image, ".att", other, layer(writer, dump(envelope(data)), DSSE, CYCLONEDX_TYPE))
    elif name == "referrer":
        writer.referrer(image, dump(envelope(data)), DSSE)
    elif name == "sigstore":
        signed = {"mediaType": SIGSTORE, "verificationMaterial": {}, "dsseEnvelope": envelope(data)}
        writer.referrer(
            image, dump(signed), SIGSTORE, annotations={"dev.sigstore.bundle.predicateType": CYCLONEDX_TYPE}
        )
    else:
        writer.referrer(image, data, IN_TOTO)
    sboms, bundle, _ = built(shop, writer)
    assert [(sbom.format, sbom.digest) for sbom in sboms] == [("cyclonedx", digest_of(dump(cyclonedx("alpha"))))]
    assert bundle.sboms == (f"app: CycloneDX 1.6, 1 component, {sboms[0].digest}, from an in-toto statement",)
    assert bundle.findings == ()


@pytest.mark.parametrize(
    "predicate",
    [
        spdx("alpha"),
        json.dumps(spdx("alpha")),
        {"Data": spdx("alpha"), "Timestamp": "t"},
        {"Data": json.dumps(spdx("alpha"))},
    ],
)
def test_predicates_as_cosign_has_written_them(shop: Workshop, writer: LayoutWriter, predicate: object) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    cosign(writer, image, ".att", layer(writer, dump(envelope(statement(image, predicate))), DSSE))
    sboms, _, _ = built(shop, writer)
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("alpha")))]


def test_several_are_carried_and_one_is_used(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    short, long = (writer.referrer(image, dump(spdx(*names)), SPDX) for names in (("a",), ("a", "b")))
    best = writer.referrer(image, dump(cyclonedx("a")), CYCLONEDX)
    attested = writer.referrer(image, statement(image, cyclonedx("a", "b", "c"), CYCLONEDX_TYPE), IN_TOTO)
    sboms, bundle, members = built(shop, writer)
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(cyclonedx("a")))]
    assert members >= {one.digest for one in (short, long, best, attested)}
    (line,) = bundle.sboms
    assert line.startswith("app: CycloneDX 1.6, 1 component, ")
    assert "attached; not used: SPDX 2.3, 2 components, " in line
    assert "SPDX 2.3, 1 component, " in line
    assert "CycloneDX 1.6, 3 components, " in line


def test_the_file_of_the_vendor_is_used_first(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    attached = writer.referrer(image, dump(cyclonedx("a")), CYCLONEDX)
    shop.write("sbom.json", dump(spdx("mine")))
    sboms, bundle, members = built(shop, writer, sbom="sbom.json")
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("mine")))]
    assert attached.digest in members
    assert "from a file; not used: CycloneDX 1.6, 1 component" in bundle.sboms[0]


def test_a_statement_about_another_image_is_not_used(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    other = writer.image([{"a": b"2"}])
    writer.referrer(image, statement(other, spdx("alpha")), IN_TOTO)
    with pytest.raises(MalformedError, match=f"the statement is not about {image.digest}"):
        built(shop, writer)
    shop.release["images"].clear()
    writer.referrer(image, dump(spdx("beta")), SPDX)
    sboms, bundle, _ = built(shop, writer)
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("beta")))]
    assert [finding.finding for finding in bundle.findings] == ["beside-image"]
    assert "is carried and not used: the statement is not about" in bundle.findings[0].text


def test_a_statement_beside_an_index_may_be_about_a_platform(shop: Workshop, writer: LayoutWriter) -> None:
    images = [writer.image([{"a": b"1"}]), writer.image([{"a": b"2"}], platform="linux/arm64")]
    index = writer.tag(writer.index(images), "1.0.0")
    for one in images:
        writer.referrer(index, statement(one, spdx(str(one.platform))), IN_TOTO)
    sboms, _, _ = built(shop, writer)
    assert {sbom.digest for sbom in sboms} == {digest_of(dump(spdx(str(one.platform)))) for one in images}


@pytest.mark.parametrize(
    ("data", "media_type", "problem"),
    [
        (b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>', "application/vnd.cyclonedx+xml", "CycloneDX in XML"),
        (b"SPDXVersion: SPDX-2.3\n", "text/spdx", "SPDX in tag-value form"),
        (dump(cyclonedx()), CYCLONEDX, "the SBOM lists no components"),
        (b"{", IN_TOTO, "not an in-toto statement"),
        (dump(envelope(b"{}") | {"payload": "*"}), DSSE, "the payload of the envelope is not base64"),
    ],
)
def test_what_cannot_be_read_is_an_error_only_when_it_is_needed(
    shop: Workshop, writer: LayoutWriter, data: bytes, media_type: str, problem: str
) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    attached = writer.referrer(image, data, media_type)
    with pytest.raises(MalformedError, match=problem):
        built(shop, writer)
    shop.release["images"].clear()
    _, bundle, members = built(shop, writer, sbom="none", sbom_reason="a test")
    assert attached.digest in members
    assert problem in bundle.findings[0].text


def test_an_attested_sbom_contradicts_none(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    attested = buildkit(image, layer(writer, statement(image, spdx("alpha"))), writer=writer)
    writer.tag(writer.index([image, attested]), "1.0.0")
    with pytest.raises(RefusedError, match=r"has an SBOM, and release.yaml says sbom: none"):
        built(shop, writer, sbom="none", sbom_reason="forgotten")


def test_entries_without_a_name_are_warned_of(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    writer.referrer(image, dump(cyclonedx("a", "", " ")), CYCLONEDX)
    _, bundle, _ = built(shop, writer)
    (finding,) = bundle.findings
    assert finding.finding == "sbom-unnamed"
    assert "lists 2 entries without a name; carried, and not compared" in finding.text


def test_a_large_sbom_is_taken_out_of_its_statement_when_it_is_packed(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.tag(writer.image([{"a": b"1"}]), "1.0.0")
    large = spdx(*(f"package-{number:06}" for number in range(50_000)))
    assert len(dump(large)) > 1 << 20
    cosign(writer, image, ".att", layer(writer, dump(envelope(statement(image, large))), DSSE))
    sboms, _, _ = built(shop, writer)
    assert [(sbom.digest, sbom.size) for sbom in sboms] == [(digest_of(dump(large)), len(dump(large)))]


def test_what_no_listed_referrer_has_gets_one(shop: Workshop, writer: LayoutWriter) -> None:
    """A referrer inside the index that index.json does not list, and one of a manifest two indexes down."""
    deep = writer.image([{"a": b"1"}])
    writer.referrer(deep, dump(spdx("deep")), SPDX)
    writer.tag(writer.index([writer.index([deep])]), "1.0.0")
    sboms, _, _ = built(shop, writer)
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("deep")))]


def test_a_referrer_inside_the_index(shop: Workshop, writer: LayoutWriter) -> None:
    image = writer.image([{"a": b"1"}])
    inside = manifest(writer, [writer.blob(dump(spdx("inside")), SPDX)], image)
    writer.tag(writer.index([image, inside]), "1.0.0")
    sboms, _, _ = built(shop, writer)
    assert [sbom.digest for sbom in sboms] == [digest_of(dump(spdx("inside")))]
