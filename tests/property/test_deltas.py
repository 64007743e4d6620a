"""A delta is judged like a full bundle: with what a site holds, the verdict on every release is the same.

The releases are those of the vectors: right ones, and ones whose contract, rollback document, schema, images,
signatures or authorisations are wrong. Any choice of blobs may be missing from the medium and lie in the store.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from content.bundle.head import open_head
from content.trust.head import verify_head
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import WaybillError
from tests.vectors.make import topics
from tests.vectors.surgery import Case, Part, join, split
from verifier.trust.bundle import verify_path
from verifier.trust.findings import refusal

TOPICS = (
    "good",
    "contract",
    "rollback",
    "config-schema",
    "oci-graph",
    "oci-document",
    "image-signatures",
    "release-authorisations",
)


@cache
def cases() -> dict[str, Case]:
    """The full bundles of these topics whose head is trusted and whose bytes are the signed ones."""
    made = {}
    for topic in TOPICS:
        for name, variant in topics()[topic].variants.items():
            case = variant()
            if isinstance(case, Case) and not case.held:
                made[f"{topic}/{name}"] = case
    return made


def verdict(case: Case, path: Path, parts: list[Part], stored: dict[str, bytes]) -> str:
    path.write_bytes(join(parts))

    def read(blob: Blob) -> bytes:
        return stored[blob.digest]

    request = replace(case.request, held=frozenset(stored), stored=read if stored else None)
    try:
        bundle = verify_path(path, request)
    except WaybillError as error:
        return f"{type(error).__name__} {error.finding}"
    refused = refusal(bundle.findings)
    return f"{type(refused).__name__} {refused.finding}" if refused else "accepted"


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_full_and_delta_verdicts_agree(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(cases())))
    case = cases()[name]
    path = tmp_path_factory.mktemp("delta") / "b.tar"
    parts = split(case.bundle)
    full = verdict(case, path, parts, {})
    try:
        release = verify_head(open_head(path), case.request.anchor.pin, case.request.anchor.known).release
    except WaybillError:
        return  # the head decides, and a delta has the same head
    blobs = {part.name: part for part in parts if part.name.startswith("blobs/")}
    left_out = data.draw(st.sets(st.sampled_from(sorted(blobs)), min_size=1)) if blobs else set()
    stored = {digest_of(blobs[part].data): blobs[part].data for part in left_out}
    if any(blob.digest in stored and len(stored[blob.digest]) != blob.size for blob in release.members):
        return
    delta = verdict(case, path, [part for part in parts if part.name not in left_out], stored)
    assert delta == full, (name, sorted(left_out))
