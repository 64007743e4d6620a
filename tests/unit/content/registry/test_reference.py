"""References are taken apart by OCI's grammar, and short names by Docker's rules."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.registry.reference import Reference, is_short, parse_reference
from manifests.words.errors import MalformedError

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example.com/app:1.0", Reference("registry.example.com", "app", "1.0", None)),
        ("127.0.0.1:5000/a/b_c/d--e", Reference("127.0.0.1:5000", "a/b_c/d--e", None, None)),
        (f"localhost/app@{DIGEST}", Reference("localhost", "app", None, DIGEST)),
        (f"h:1/my.org/app:v1@{DIGEST}", Reference("h:1", "my.org/app", "v1", DIGEST)),
        ("[::1]:5000/app:_x", Reference("[::1]:5000", "app", "_x", None)),
        ("Registry.Example.com/app", Reference("Registry.Example.com", "app", None, None)),
    ],
)
def test_good(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text
    assert expected.pointer == (expected.digest or expected.tag)


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("app:1.0", "library/app"),
        ("docker.io/app:1.0", "library/app"),
        ("index.docker.io/app:1.0", "library/app"),
        ("team/app:1.0", "team/app"),
        ("docker.io/team/app:1.0", "team/app"),
    ],
)
def test_short_names(text: str, repository: str) -> None:
    reference = parse_reference(text)
    assert reference.host in ("docker.io", "index.docker.io")
    assert (reference.repository, reference.pointer) == (repository, "1.0")
    assert is_short(text) is not text.startswith(("docker.io", "index"))
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "App",
        "/app",
        "h.example/",
        "h.example/App",
        "h.example/app:",
        "h.example/app:-x",
        "h.example/app:" + "x" * 129,
        "h.example/app:1:2",
        "h.example/app@",
        "h.example/app@sha256:abc",
        f"h.example/app@{DIGEST}\n",
        f"h.example/app@{DIGEST.upper()}",
        "h.example/app@sha512:" + "0" * 128,
        "h.example/app\n",
        "h.example/../app",
        "h.example/a//b",
        "h.example/a/",
        "h.example/a..b",
        "h.example/a___b",
        "h.example/" + "a" * 256,
        "h.example:0/app",
        "h.example:65536/app",
        "h.example:x/app",
        "-h.example/app",
        "h_x.example/app",
        "user@h.example/app",
        "https://h.example/app",
        "h.example/app?x=1",
        "h.example/app#x",
        "h.example/%2e",
        "h.example/app:1.0 ",
        "h.éxample/app",
        "a." * 400 + "x/app",
    ],
)
def test_bad(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_reference(text)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="ab.:/@-_[]1", max_size=40))
def test_any_text_round_trips_or_is_malformed(text: str) -> None:
    with contextlib.suppress(MalformedError):
        reference = parse_reference(text)
        assert parse_reference(str(reference)) == reference
        assert is_short(text) or reference.repository.startswith("library/") or str(reference) == text
