"""Which image a reference means: the same registry, repository and tag, by Docker's rules, or the same digest."""

from typing import Any

import pytest

from content.kubernetes.image_names import image_named, taken_images
from manifests.authored.release_yaml import ChartFile, ChartImagesFile, ImageFile

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"


def _image(from_: str, name: str = "app", **changes: Any) -> ImageFile:
    return ImageFile(name=name, from_=from_, to=f"team/{name}", signed_by="none", reason="a test", **changes)


@pytest.mark.parametrize(
    ("text", "from_", "same"),
    [
        ("nginx:1.27", "docker.io/library/nginx:1.27", True),
        ("nginx", "docker.io/nginx:latest", True),
        ("a.example/x:1", "a.example/x:1", True),
        ("a.example/x:1", "a.example/x:2", False),
        ("a.example/x:1", "b.example/x:1", False),
        ("a.example/x:1", "a.example/y:1", False),
        ("a.example/x", "a.example/x:1", False),
        (f"a.example/x@{DIGEST}", f"a.example/x@{DIGEST}", True),
        (f"a.example/x:1@{DIGEST}", f"a.example/x@{DIGEST}", True),
        (f"a.example/x@{OTHER}", f"a.example/x@{DIGEST}", False),
        ("a.example/x:1", f"a.example/x@{DIGEST}", False),
        ("a.example/x", f"a.example/x@{DIGEST}", False),
        ("a.example/x:1", f"a.example/x:1@{DIGEST}", True),
        ("a.example/x:1", "oci:dist/x:a.example/x:1", True),
        ("a.example/x:1", "oci-archive:x.tar:a.example/x:1", True),
        ("x:1", "oci:dist/x", False),
        ("NOT A REFERENCE", "a.example/x:1", False),
    ],
)
def test_the_same_image(text: str, from_: str, same: bool) -> None:
    assert image_named(text, [_image(from_)]) == ("app" if same else None)


def test_a_digest_decides_once_it_is_known() -> None:
    images = [_image("a.example/x:1")]
    text = f"a.example/x:1@{DIGEST}"
    assert image_named(text, images) == "app"
    assert image_named(text, images, {"app": DIGEST}) == "app"
    assert image_named(text, images, {"app": OTHER}) is None
    assert image_named(f"a.example/x@{DIGEST}", images, {"app": DIGEST}) == "app"


def test_other_names_and_doubt() -> None:
    assert image_named("any-name:1", [_image("oci:dist/x", known_as=("any-name:1",))]) == "app"
    assert image_named("$(IMAGE)", [_image("oci:dist/x", known_as=("$(IMAGE)",))]) == "app"
    two = [_image("a.example/x:1"), _image("oci:dist/x", "other", known_as=("a.example/x:1",))]
    assert image_named("a.example/x:1", two) is None


def test_images_are_taken_with_their_repositories() -> None:
    chart = ChartFile(name="web", from_="web", images_from="chart", images=ChartImagesFile(signed_by="ci"))
    texts = ("a.example/team/web:1", "b.example/web", f"b.example/web:2@{DIGEST}", "nginx:1")
    taken = taken_images(chart, texts, ())
    assert [(one.name, one.from_, one.to, one.signed_by, one.sbom) for one in taken] == [
        ("web", "a.example/team/web:1", "team/web:1", "ci", "attached"),
        ("web-2", "b.example/web:latest", "web", "ci", "attached"),
        ("web-3", f"b.example/web:2@{DIGEST}", "web:2", "ci", "attached"),
        ("nginx", "nginx:1", "library/nginx:1", "ci", "attached"),
    ]
