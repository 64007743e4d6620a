"""Every error of a registry during a build says which image, which host and which repository."""

from pathlib import Path

import pytest

from content.bundle.oci import OCI_MANIFEST
from content.registry.answer import BrokenError
from content.registry.image_errors import ImagePlace
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError, WaybillError
from tests.referrers_server import Handler, ReferrersRegistry, serving
from tests.unit.bundler.test_registries import CONFIG, IMAGE, NAME, build, quirky
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr("content.registry.answer.PAUSES", (0.0,))
    return Workshop(tmp_path)


def error_of(shop: Workshop, reference: str, *plain: str) -> WaybillError:
    with pytest.raises(WaybillError) as caught:
        build(shop, reference, *plain)
    return caught.value


def named(error: WaybillError, host: str, exit_code: int = 6) -> None:
    assert error.where.startswith(f"image app from {host}/{NAME}"), str(error)
    assert str(error).count(f"{host}/{NAME}") == 1, str(error)
    assert error.exit_code == exit_code


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_answer_that_is_no_image(shop: Workshop, kind: str, status: int) -> None:
    with quirky(kind=kind, status=status) as registry:
        named(error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host), registry.host)


def test_a_registry_that_is_gone(shop: Workshop) -> None:
    with quirky() as registry:
        host = registry.host
    named(error_of(shop, f"{host}/{NAME}:1.0", host), host)


def test_a_registry_without_tls(shop: Workshop) -> None:
    with quirky() as registry:
        error = error_of(shop, f"{registry.host}/{NAME}:1.0")
    named(error, registry.host)
    assert error.finding == "registry-tls"


def spoil_blob(registry: ReferrersRegistry) -> None:
    registry.blobs[NAME, digest_of(CONFIG)] = CONFIG.replace(b"linux", b"Linux")


def shorten_blob(registry: ReferrersRegistry) -> None:
    registry.blobs[NAME, digest_of(CONFIG)] = CONFIG[:-1]


def spoil_manifest(registry: ReferrersRegistry) -> None:
    registry.manifests[NAME, digest_of(IMAGE)] = (IMAGE + b" ", OCI_MANIFEST)


@pytest.mark.parametrize("spoil", [spoil_blob, shorten_blob])
def test_other_bytes(shop: Workshop, spoil: object) -> None:
    with quirky() as registry:
        assert callable(spoil)
        spoil(registry)
        error = error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    named(error, registry.host, exit_code=7)
    assert digest_of(CONFIG) in str(error)


def test_other_bytes_under_a_digest(shop: Workshop) -> None:
    with quirky() as registry:
        spoil_manifest(registry)
        named(error_of(shop, f"{registry.host}/{NAME}@{digest_of(IMAGE)}", registry.host), registry.host, exit_code=7)


def test_a_page_instead_of_a_manifest(shop: Workshop) -> None:
    with quirky(kind="manifests", status=200, answered=b"<!doctype html>") as registry:
        named(error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host), registry.host, exit_code=3)


def test_a_redirect_that_is_not_allowed(shop: Workshop) -> None:
    with quirky(redirect="https://user@elsewhere.example") as registry:
        named(error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host), registry.host, exit_code=5)


HTML = b"<!doctype html><title>Sign in</title>"


class TokenService(Handler):
    """Answers every request in one way."""

    reply: tuple[int, bytes, dict[str, str]]

    def handle_request(self) -> None:
        self.registry.log.append(self.path)
        status, body, headers = type(self).reply
        self.answer(status, body, **headers)


@pytest.mark.parametrize(
    ("status", "body", "headers", "answered", "hint"),
    [
        (401, b"", {}, "answered 401", "check the name and the password for"),
        (500, b"", {}, "answered 500", "look at the log of"),
        (302, b"", {"Location": "https://login.example/?s=x"}, "a redirect to login.example)", "check the address of"),
        (302, b"", {"Location": "http://["}, "answered 302 (a redirect)", "check the address of"),
        (
            200,
            HTML,
            {},
            "answered 200 without a token: a page of HTML or XML",
            "check the address of the token service",
        ),
        (200, b"{}", {}, "answered 200 without a token", "check the address of the token service"),
        (200, b'{"token":"a b"}', {}, "a token that no header can carry", "check the address of the token service"),
    ],
)
def test_a_token_service_is_named_and_not_the_registry(
    shop: Workshop, status: int, body: bytes, headers: dict[str, str], answered: str, hint: str
) -> None:
    service = {"registry": ReferrersRegistry(), "reply": (status, body, headers)}
    with serving(type("Bound", (TokenService,), service)) as issuer:
        challenge = f'Bearer realm="http://{issuer}/token",service="x"'
        with quirky(kind="manifests", status=401, answered=b"{}", challenge=challenge) as registry:
            error = error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    named(error, registry.host)
    assert error.where == f"image app from {registry.host}/{NAME}: {issuer}"
    assert error.problem.startswith(f"the token service of {registry.host} ")
    assert answered in error.problem
    assert hint in error.remedy


@pytest.mark.parametrize(
    ("status", "body", "answered", "exit_code"),
    [
        (404, b"", f"answered 404 for blob {digest_of(CONFIG)}", 6),
        (500, b"", f"answered 500 for blob {digest_of(CONFIG)}", 6),
        (200, CONFIG.replace(b"linux", b"Linux"), "sent bytes with sha256:", 7),
        (200, HTML, f"has {len(HTML)} bytes, expected {len(CONFIG)}", 7),
    ],
)
def test_a_host_behind_a_redirect_is_named_and_not_the_registry(
    shop: Workshop, status: int, body: bytes, answered: str, exit_code: int
) -> None:
    store = {"registry": ReferrersRegistry(), "reply": (status, body, {})}
    with (
        serving(type("Bound", (TokenService,), store)) as content,
        quirky(redirect=f"http://{content}") as registry,
    ):
        error = error_of(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    named(error, registry.host, exit_code)
    assert error.where.startswith(f"image app from {registry.host}/{NAME}: {content}")
    assert error.problem.startswith(f"the host of the registry's content {answered}")
    assert registry.host in error.remedy


def test_layouts_are_named_too(shop: Workshop) -> None:
    error = error_of(shop, "oci:service")
    assert isinstance(error, MalformedError)
    assert "image app" in error.where


def test_another_port_of_the_same_host_is_not_shortened() -> None:
    error = ImagePlace("app", "r.example/a").named(MalformedError("answered 500", where="r.example:5001"))
    assert error.where == "image app from r.example/a: r.example:5001"


def test_image_and_place_are_added_once() -> None:
    place = ImagePlace("app", "registry.example.com/team/app")
    twice = place.named(place.named(DamagedError("sent other bytes", where="registry.example.com sha256:00")))
    assert twice.where == "image app from registry.example.com/team/app: sha256:00"
    own = RefusedError("image 'app' has no SBOM attached", where="registry.example.com/team/app")
    assert place.named(own) is own


def test_an_error_that_can_be_repeated_keeps_its_class() -> None:
    error = ImagePlace("app", "r.example/a").named(BrokenError("the connection broke", where="r.example", pause=2.0))
    assert isinstance(error, BrokenError)
    assert error.pause == 2.0
    assert error.where == "image app from r.example/a"
