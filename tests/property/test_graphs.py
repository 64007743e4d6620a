"""What `build` writes, `verify` takes: images, referrers and indexes at random, some of them not there."""

import json
import re
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from content.bundle.oci import DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from content.bundle.oci import Descriptor as Entry
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_index, encode_manifest
from manifests.words.digest import blob_name
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from tests.images import CYCLONEDX, LayoutWriter, sbom
from tests.vectors.surgery import request
from tests.workshop import Workshop
from verifier.trust.bundle import verify_path, verify_pipe

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PLATFORMS = (None, "linux/amd64", "linux/arm64/v8", "windows/amd64", "unknown/unknown")
TAGS = ("", "", "app", "app", "other:1.0", "{}.sig", "{}.sbom", "{}")


@st.composite
def layouts(draw: Any, writer: LayoutWriter) -> None:
    """Write a layout of up to nine documents, each of which may name any that was made before it."""
    made: list[Entry] = []
    writer.blob(EMPTY_BYTES, EMPTY.media_type)

    def subject() -> Entry | None:
        chosen = draw(st.sampled_from((None, None, *made)))
        return None if chosen is None else replace(chosen, platform=None, annotations=(), artifact_type=None)

    def image(n: int) -> tuple[bytes, str]:
        platform = draw(st.sampled_from(PLATFORMS)) or "linux/amd64"
        system, architecture = platform.split("/")[:2]
        config = writer.blob(json.dumps({"os": system, "architecture": architecture}).encode(), OCI_CONFIG)
        layers = [writer.blob(b"layer %d" % (n // 2), OCI_LAYER_GZIP)]
        manifest = encode_manifest(config, layers, subject=subject())
        if draw(st.integers(0, 3)) == 0:  # a foreign layer, which the layout holds all the same
            document = json.loads(manifest)
            document["layers"][0]["urls"] = ["https://layers.example.com/base.tgz"]
            manifest = json.dumps(document).encode()
        return manifest, OCI_MANIFEST

    def artifact(n: int) -> tuple[bytes, str]:
        kind = draw(st.sampled_from((CYCLONEDX, "application/vnd.example.note")))
        layer = writer.blob(sbom("1.0.0") if kind == CYCLONEDX else b"note %d" % n, kind)
        return encode_manifest(EMPTY, [layer], subject=subject(), artifact_type=kind), OCI_MANIFEST

    def index(_: int) -> tuple[bytes, str]:
        children = draw(st.lists(st.sampled_from(made), max_size=4)) if made else []
        platforms = [draw(st.sampled_from(PLATFORMS)) for _ in children]
        entries = [replace(child, platform=platform) for child, platform in zip(children, platforms, strict=True)]
        return encode_index(entries, subject=subject()), OCI_INDEX

    for n in range(draw(st.integers(1, 9))):
        data, media_type = draw(st.sampled_from((image, image, artifact, index, index)))(n)
        if draw(st.integers(0, 3)) == 0:  # Docker's family, or a document that does not say what it is
            other = {OCI_MANIFEST: DOCKER_MANIFEST, OCI_INDEX: DOCKER_INDEX}[media_type]
            data = data.replace(media_type.encode(), other.encode())
            media_type = other
        elif draw(st.integers(0, 7)) == 0:
            document = json.loads(data)
            del document["mediaType"]
            data = draw(st.sampled_from((b"", b"\n ", b" " * 70000))) + json.dumps(document, indent=1).encode()
            media_type = draw(st.sampled_from((media_type, {OCI_MANIFEST: DOCKER_MANIFEST}.get(media_type, OCI_INDEX))))
        made.append(writer.blob(data, media_type))
    for entry in draw(st.lists(st.sampled_from(made), min_size=1, max_size=5)):
        about = draw(st.sampled_from(made)).digest.replace(":", "-")
        writer.tag(entry, draw(st.sampled_from(TAGS)).format(about))
    for gone in draw(st.sampled_from((*([] for _ in range(3)), *([one] for one in made)))):
        (writer.path / blob_name(gone.digest)).unlink(missing_ok=True)
    writer.save()


@settings(max_examples=150, deadline=None, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large))
@given(st.data())
def test_what_build_writes_verify_takes(data: Any) -> None:
    """Either a refusal of the build, with nothing written, or a bundle that is complete for its verifier."""
    with tempfile.TemporaryDirectory() as name:
        shop = Workshop(Path(name) / "vendor")
        writer = LayoutWriter(shop.path / "dist" / "app")
        data.draw(layouts(writer))
        for n in range(data.draw(st.integers(1, 2))):
            ref = data.draw(st.sampled_from([*(f":{one.digest}" for one in writer.entries), ":app", ""]))
            sboms = data.draw(st.sampled_from(("sbom.json", "sbom.json", "sbom.json", "attached", "none")))
            shop.image(
                f"image{n}",
                sbom=sboms,
                sbom_reason="a test" if sboms == "none" else None,
                platforms=data.draw(st.sampled_from((*(None,) * 4, ["linux/amd64"], ["linux/arm64"]))),
                foreign_layers=data.draw(st.sampled_from((None, "fetch", "absent"))),
                **{"from": f"oci:dist/app{ref}"},
            )
        shop.write("sbom.json", sbom("1.0.0"))
        try:
            built = shop.build()
        except (RefusedError, MalformedError, DamagedError) as error:
            event(
                f"refused: {type(error).__name__} {error.finding} {re.sub('[0-9a-f]{64}', 'HEX', error.problem)[:70]}"
            )
            assert error.problem and error.remedy
            assert not list((shop.path / "out").glob("*"))
            return
        event("built")
        found = verify_path(built.path, request(shop.pin(), now=NOW))
        assert found.end == "complete", found.findings
        with built.path.open("rb") as pipe:
            assert verify_pipe(pipe, request(shop.pin(), now=NOW)).end == "complete"
