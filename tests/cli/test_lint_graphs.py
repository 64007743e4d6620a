"""`waybill lint` refuses, in the words of `waybill build`, what a verifier would refuse in the graph of all images."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from content.bundle.oci import Descriptor
from manifests.words.digest import digest_of
from tests.cli.test_lint_images import PLAIN, linted, same_problem
from tests.images import LayoutWriter
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def referrer_of(shop: Workshop, subject: Descriptor | None = None) -> tuple[Descriptor, Descriptor]:
    """Name a referrer as image ``app``; return it and its subject, which is not there unless it is given."""
    writer = LayoutWriter(shop.path / "dist" / "app")
    about = subject or replace(writer.image([]), digest=digest_of(b"gone"))
    referrer = writer.referrer(about, b"{}", "application/example+json")
    writer.entries = []
    writer.tag(referrer, "1.0.0")
    writer.save()
    shop.image(**PLAIN, **{"from": "oci:dist/app:1.0.0"})
    return referrer, about


def test_an_image_that_refers_to_nothing_here(shop: Workshop) -> None:
    referrer, gone = referrer_of(shop)
    problem = same_problem(shop)
    assert problem.problem == (
        f"image app: its subject {gone.digest} is not in the bundle; a verifier would refuse this release"
    )
    assert "may be named as an image of the release too" in problem.remedy
    assert referrer.digest in problem.where


def test_two_images_that_refer_to_nothing_here(shop: Workshop) -> None:
    _, gone = referrer_of(shop)
    shop.image("second", **PLAIN, **{"from": "oci:dist/app:1.0.0"})
    assert f"image app, second: its subject {gone.digest} is not in the bundle" in same_problem(shop).problem


def test_an_image_that_refers_to_another_image(shop: Workshop) -> None:
    other = LayoutWriter(shop.path / "dist" / "other")
    subject = other.image([{"a": b"1"}])
    other.tag(subject, "1.0.0")
    other.save()
    referrer_of(shop, subject)
    shop.image("other", **PLAIN, **{"from": "oci:dist/other"})
    assert linted(shop).problems == ()
    shop.build()


def test_an_image_that_refers_to_what_lies_beside_another_image(shop: Workshop) -> None:
    other = LayoutWriter(shop.path / "dist" / "other")
    image = other.image([{"a": b"1"}])
    other.tag(image, "1.0.0")
    beside = other.referrer(image, b"[]", "application/example+json")
    other.save()
    referrer_of(shop, beside)
    shop.image("other", **PLAIN, **{"from": "oci:dist/other:1.0.0"})
    assert linted(shop).problems == ()
    shop.build()


def test_a_registry_may_have_what_an_image_refers_to(shop: Workshop) -> None:
    _, gone = referrer_of(shop)
    shop.image("far", **PLAIN, **{"from": "registry.example.com/team/far:1.0"})
    result = linted(shop)
    assert result.problems == ()
    ((_, warning),) = result.warnings
    assert warning == (
        f"image app: its subject {gone.digest} is in no image that was read here; "
        "`build` refuses it unless far brings it"
    )


@pytest.mark.parametrize("second", ["layer", "config", "child"])
def test_a_blob_that_an_image_names_with_two_sizes(shop: Workshop, second: str) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.image([{"a": b"1"}])
    if second == "child":
        wrong = image.digest, image.size
        other = replace(image, size=image.size + 1)
    else:
        document = json.loads(writer.read(image))
        blob = document["layers"][0] if second == "layer" else document["config"]
        wrong = blob["digest"], blob["size"]
        blob["size"] += 1
        other = replace(writer.blob(json.dumps(document).encode(), image.media_type), platform="linux/arm64")
    writer.tag(writer.index([image, other]), "1.0.0")
    writer.save()
    shop.image(**PLAIN)
    problem = same_problem(shop)
    assert problem.finding == "two-sizes"
    assert problem.problem == f"{wrong[0]} is listed with {wrong[1] + 1} and {wrong[1]} bytes"


def test_two_images_that_name_a_blob_with_two_sizes(shop: Workshop) -> None:
    for name, more in (("app", 0), ("second", 1)):
        writer = LayoutWriter(shop.path / "dist" / name)
        image = writer.image([{"a": b"1"}])
        document = json.loads(writer.read(image))
        document["layers"][0]["size"] += more
        writer.tag(writer.blob(json.dumps(document).encode(), image.media_type), "1.0.0")
        writer.save()
        shop.image(name, **PLAIN, **{"from": f"oci:dist/{name}"})
    assert "is listed with" in same_problem(shop).problem
