"""SBOMs as tools write them: what is read, what is counted, and what is refused by its name."""

import bz2
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from manifests.foreign.sbom import MAX_SBOM, SbomComponent, format_of, read_sbom, read_sbom_file
from manifests.words.errors import MalformedError

ALPHA = {"type": "library", "name": "alpha", "version": "1", "purl": "pkg:pypi/alpha@1"}
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [ALPHA]}
SPDX = {"spdxVersion": "SPDX-2.3", "name": "doc", "packages": [{"name": "alpha", "versionInfo": "1"}]}
CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
TOOL = {"type": "application", "name": "tool", "version": "1"}
HASH = {"type": "Hash", "algorithm": "sha256", "hashValue": "ab" * 32}


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def cyclonedx(*components: object, **more: object) -> dict[str, Any]:
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": list(components), **more}


def spdx(**more: object) -> dict[str, Any]:
    return {"spdxVersion": "SPDX-2.3", "packages": [], **more}


def graph(*elements: object, context: object = CONTEXT) -> dict[str, Any]:
    return {"@context": context, "@graph": list(elements)}


def listed(value: object) -> list[str]:
    """Everything that is read, as ``identity version``, and ``? N`` for entries without a name."""
    document = read_sbom(dump(value), "x")
    found = [f"{one.identity} {one.version}".strip() for one in document.components]
    return found + ([f"? {document.unnamed}"] if document.unnamed else [])


@pytest.mark.parametrize(
    ("value", "spoken", "format_"),
    [
        (CYCLONEDX, "CycloneDX 1.6", "cyclonedx"),
        (CYCLONEDX | {"specVersion": "1.7"}, "CycloneDX 1.7", "cyclonedx"),
        (SPDX, "SPDX 2.3", "spdx"),
        (graph({"type": "software_Package", "name": "alpha"}), "SPDX 3.0.1", "spdx"),
    ],
)
def test_formats(value: object, spoken: str, format_: str) -> None:
    document = read_sbom(dump(value), "x")
    assert (document.spoken, document.format) == (spoken, format_)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (cyclonedx(ALPHA, {"name": "beta", "version": None}), ["beta", "pkg:pypi/alpha 1"]),
        (cyclonedx({"name": "beta", "purl": None, "group": None, "components": None}), ["beta"]),
        (
            cyclonedx({"name": "beta", "group": "org.example", "components": [TOOL, None]}),
            ["org.example/beta", "tool 1"],
        ),
        (cyclonedx(ALPHA, metadata=None), ["pkg:pypi/alpha 1"]),
        (cyclonedx(ALPHA, metadata={"component": TOOL}), ["pkg:pypi/alpha 1"]),
        (cyclonedx(metadata={"component": TOOL}), ["tool 1"]),
        (cyclonedx(metadata={"component": TOOL | {"components": [ALPHA]}}), ["pkg:pypi/alpha 1"]),
        (cyclonedx() | {"components": None, "metadata": {"component": TOOL}}, ["tool 1"]),
        (spdx(packages=[{"name": "a", "versionInfo": None, "externalRefs": None}, None]), ["a"]),
        (spdx(packages=[{"name": "a", "hasFiles": ["SPDXRef-f"]}], files=[{"fileName": "./f"}]), ["a"]),
        (spdx(files=[{"fileName": "./f"}]), ["./f"]),
        (spdx(packages=None, files=[{"fileName": "./f", "checksums": None}, None]), ["./f"]),
        (
            spdx(files=[{"fileName": "./f", "checksums": [{"algorithm": "SHA1", "checksumValue": "cd" * 20}]}]),
            ["./f sha1:cdcdcdcdcdcd"],
        ),
    ],
)
def test_null_is_absent_and_all_content_counts(value: object, found: list[str]) -> None:
    assert listed(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (cyclonedx(ALPHA, {"name": "", "version": "", "purl": "pkg:cran/"}), ["pkg:pypi/alpha 1", "? 1"]),
        (cyclonedx(ALPHA, {"name": None}, {"name": " ", "group": "g"}, {}), ["pkg:pypi/alpha 1", "? 3"]),
        (cyclonedx({"name": "", "purl": "pkg:npm/beta@2"}), ["pkg:npm/beta 2"]),
        (cyclonedx({"name": ""}), ["? 1"]),
        (spdx(packages=[{"name": "a"}, {"name": ""}]), ["a", "? 1"]),
        (graph({"type": "software_Package"}, {"type": "software_Package", "name": "a"}), ["a", "? 1"]),
    ],
)
def test_an_entry_without_a_name_is_counted(value: object, found: list[str]) -> None:
    assert listed(value) == found


def test_spdx_3_in_its_spellings() -> None:
    package = {"type": "software_Package", "name": "alpha", "software_packageVersion": "1"}
    file = {"type": "software_File", "name": "./f", "verifiedUsing": [HASH]}
    purl = {"type": "ExternalIdentifier", "externalIdentifierType": "packageUrl", "identifier": "pkg:npm/a@2"}
    document = {"type": "SpdxDocument", "name": "mine", "element": ["https://x.example/1"], "rootElement": "_:a"}
    creation = {"type": "CreationInfo", "@id": "_:c", "specVersion": "3.0.0", "createdBy": ["https://x.example/me"]}
    assert listed(graph(creation, document, package, file)) == ["alpha 1"]
    assert read_sbom(dump(graph(creation, document, package)), "x").name == "mine"
    assert listed(graph(creation, file)) == ["./f sha256:abababababab"]
    assert listed(graph(package | {"software_packageUrl": "pkg:deb/debian/alpha@1.1"})) == ["pkg:deb/debian/alpha 1.1"]
    assert listed(graph(package | {"externalIdentifier": [purl]})) == ["pkg:npm/a 2"]
    assert listed(graph(package | {"externalIdentifier": purl})) == ["pkg:npm/a 2"]
    assert listed(
        graph({"type": "ai_AIPackage", "name": "model"}, {"type": "dataset_DatasetPackage", "name": "data"})
    ) == [
        "data",
        "model",
    ]
    assert listed(graph({"@type": ["https://spdx.org/rdf/3.0.1/terms/Software/Package"], "name": "alpha"})) == ["alpha"]
    assert listed(graph(document | {"element": [package]})) == ["alpha 1"]
    assert listed(graph(package, context=[CONTEXT, {"more": "https://x.example/"}])) == ["alpha 1"]
    assert listed({"@context": CONTEXT, **package}) == ["alpha 1"]
    # Drafts, which public documents still follow, had neither prefixes nor this address.
    draft = {"type": "Package", "name": "alpha", "packageVersion": "3", "creationInfo": {"specVersion": "3.0.0"}}
    address = "https://spdx.github.io/spdx-3-model/context.json"
    assert listed({"@context": address, **draft}) == ["alpha 3"]
    assert listed(graph(draft | {"packageUrl": "pkg:npm/a@3"}, context=address)) == ["pkg:npm/a 3"]
    # Digests that are not known here, single values instead of lists, elements that nobody names.
    agent = {"type": "Person", "name": "somebody", "externalIdentifier": {"externalIdentifierType": "email"}}
    hashes = {"type": "Hash", "algorithm": "sha3_512", "hashValue": "no digest at all"}
    sbom = {"type": "software_Sbom", "element": "https://x.example/1", "rootElement": ["https://x.example/2"]}
    snippet = {"type": "software_Snippet", "software_byteRange": {"beginIntegerRange": 1, "endIntegerRange": 2}}
    assert listed(graph(agent, sbom, snippet, package | {"verifiedUsing": hashes})) == ["alpha 1"]
    assert listed(graph(package, context="https://spdx.org/rdf/3.1/spdx-context.jsonld")) == ["alpha 1"]
    version = read_sbom(dump(graph(creation, package, context="https://x.example/spdx-context.jsonld")), "x").version
    assert version == "3.0.0"


def test_a_byte_order_mark_is_taken() -> None:
    assert read_sbom(b"\xef\xbb\xbf" + dump(CYCLONEDX), "x").components == (
        SbomComponent(identity="pkg:pypi/alpha", version="1"),
    )


@pytest.mark.parametrize(
    ("data", "problem", "command"),
    [
        (dump(CYCLONEDX).decode().encode("utf-16"), "text in UTF-16, expected UTF-8", "iconv -f UTF-16 "),
        (dump(CYCLONEDX).decode().encode("utf-16-le"), "text in UTF-16LE", "iconv -f UTF-16LE "),
        (dump(CYCLONEDX).decode().encode("utf-32"), "text in UTF-32", "iconv -f UTF-32 "),
        (dump(CYCLONEDX).replace(b"alpha", b"alph\xe4"), r"byte \d+ is not UTF-8", "iconv -f ISO-8859-1 "),
        (gzip.compress(dump(CYCLONEDX)), "packed with gzip", "gunzip "),
        (bz2.compress(dump(CYCLONEDX)), "packed with bzip2", "bunzip2 -c "),
        (b"PK\x03\x04" + bytes(60), "packed with zip", "unzip "),
        (
            b'<?xml version="1.0"?>\n<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>',
            "CycloneDX in XML",
            "cyclonedx convert ",
        ),
        (b'\xef\xbb\xbf<rdf:RDF xmlns:spdx="http://spdx.org/rdf/terms#"/>', "SPDX in RDF/XML", "pyspdxtools "),
        (b"<html/>", "XML, expected", "syft convert "),
        (b"SPDXVersion: SPDX-2.3\nPackageName: a\n", "SPDX in tag-value form", "pyspdxtools "),
        (b"# made by hand\n\nSPDXVersion: SPDX-2.3\n", "SPDX in tag-value form", "syft convert "),
        (b'SPDXID: "SPDXRef-DOCUMENT"\nspdxVersion: "SPDX-2.3"\n', "SPDX in YAML", "pyspdxtools "),
        (dump({"artifacts": [], "descriptor": {"name": "syft"}}), "the JSON of syft itself", "syft convert "),
        (dump({"_type": "s", "predicateType": "p", "predicate": SPDX}), "an in-toto statement", "jq .predicate "),
        (dump({"payloadType": "p", "payload": "e30=", "signatures": []}), "a DSSE envelope", "jq -r .payload "),
    ],
)
def test_another_encoding_is_called_by_its_name(data: bytes, problem: str, command: str) -> None:
    with pytest.raises(MalformedError, match=problem) as caught:
        read_sbom(data, "x")
    assert caught.value.remedy.startswith("convert it and name the new file: ")
    assert command in caught.value.remedy


@pytest.mark.parametrize(
    "data", [gzip.compress(dump(CYCLONEDX)), dump(CYCLONEDX).decode().encode("utf-16-le")], ids=["gzip", "utf-16"]
)
def test_the_command_in_the_hint_can_be_pasted(data: bytes, tmp_path: Path) -> None:
    """It names the file itself, quoted, and writes another one beside it."""
    path = tmp_path / "an sbom's.json"
    path.write_bytes(data)
    with pytest.raises(MalformedError) as caught:
        read_sbom_file(data, path)
    _, _, command = caught.value.remedy.partition(": ")
    subprocess.run(["sh", "-c", command], check=True)
    (made,) = (file for file in tmp_path.iterdir() if file != path)
    assert read_sbom_file(made.read_bytes(), made).format == "cyclonedx"
    assert path.read_bytes() == data


def test_a_converter_that_goes_by_the_ending_gets_one(tmp_path: Path) -> None:
    tag_value = b"SPDXVersion: SPDX-2.3\nPackageName: a\n"
    for name, command in (
        ("a.spdx", "pyspdxtools --infile {0} --outfile"),
        ("a.txt", "cp {0} {0}.spdx && pyspdxtools --infile {0}.spdx --outfile"),
    ):
        with pytest.raises(MalformedError) as caught:
            read_sbom_file(tag_value, tmp_path / name)
        assert command.format(tmp_path / name) in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        b'{"bomFormat":"CycloneDX","bomFormat":"SPDX"}',
        dump(CYCLONEDX).replace(b'"name"', b'"name": "beta", "name"', 1),
        dump(SPDX).replace(b'"packages"', b'"packages": [], "p\\u0061ckages"', 1),
    ],
)
def test_a_key_that_comes_twice_is_refused(text: bytes) -> None:
    """Two readers would take two values: one file would be two SBOMs."""
    with pytest.raises(MalformedError, match="appears twice in one object") as caught:
        read_sbom(text, "x")
    assert caught.value.finding == "json-doubled-key"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n", "the file is empty"),
        (b"[]", "not an SBOM"),
        (b"{}", "neither CycloneDX nor SPDX"),
        (dump({"@context": "https://openvex.dev/ns/v0.2.0", "@graph": []}), "neither CycloneDX nor SPDX"),
        (dump({"@context": None, "@graph": None}), "neither CycloneDX nor SPDX"),
        (dump(cyclonedx()), "the SBOM lists no components"),
        (dump(cyclonedx(None)), "the SBOM lists no components"),
        (dump({"bomFormat": "CycloneDX", "specVersion": "1.6"}), "the SBOM lists no components"),
        (dump(cyclonedx({"name": "a", "version": 1.5})), "expected `str | null`, got `float`"),
        (dump(CYCLONEDX | {"specVersion": "1.0"}), r"CycloneDX 1\.0, expected"),
        (dump(CYCLONEDX | {"specVersion": None}), "CycloneDX without a version, expected"),
        (dump(spdx()), "the SBOM lists no packages and no files"),
        (dump(graph({"type": "SpdxDocument", "name": "a"})), "the SBOM lists no packages and no files"),
        (dump(graph(context="https://spdx.org/rdf/4.0/spdx-context.jsonld")), r"JSON-LD of SPDX 4\.0, expected SPDX 3"),
        (dump(SPDX | {"spdxVersion": "SPDX-1.2"}), r"SPDX-1\.2, expected"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than"),
        (dump(CYCLONEDX)[:-1], "not an SBOM"),
        (b" " * (MAX_SBOM + 1), "an SBOM has at most"),
    ],
)
def test_what_is_no_sbom(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        read_sbom(data, "x")


def test_media_types() -> None:
    assert format_of("application/vnd.cyclonedx+json; version=1.6") == "cyclonedx"
    assert [format_of(one) for one in ("application/spdx+json", "text/spdx+json", "spdx+json")] == ["spdx"] * 3
    assert [format_of(one) for one in ("application/vnd.cyclonedx+xml", "text/spdx")] == ["cyclonedx", "spdx"]
    assert format_of("application/vnd.in-toto+json") is None
