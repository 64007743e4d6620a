"""Layers that a manifest names by addresses: refused, fetched at build, or left to the site."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bundler.access import Access
from bundler.build import BuiltBundle
from content.bundle.oci import OCI_MANIFEST, Descriptor
from manifests.authored.registries_yaml import RegistriesFile, RegistryFile
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError
from tests.images import LayoutWriter, layer
from tests.real import certificate
from tests.vectors.surgery import request
from tests.vendor import Vendor
from tests.workshop import Workshop
from verifier.trust.bundle import verify_path
from waybill import cli

LAYER, DIFF_ID = layer({"base/data": b"not ours to distribute"})
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


class LayerServer(BaseHTTPRequestHandler):
    """Answers each path as ``answers`` says: bytes, or an address to go to, or a status."""

    answers: dict[str, bytes | str | int]
    seen: list[tuple[str, str]]

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        answer = self.answers.get(self.path, 404)
        status = 200 if isinstance(answer, bytes) else 302 if isinstance(answer, str) else answer
        body = answer if isinstance(answer, bytes) else b""
        self.send_response(status)
        if isinstance(answer, str):
            self.send_header("Location", answer)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="layers"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Layers:
    """A server over TLS. Attributes: access: trusts its authority; answers: by path, for the test to fill."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, bytes | str | int] = {}
        self.seen: list[tuple[str, str]] = []
        self.access = Access(ca=certificate(folder), folder=folder)
        bound = type("Bound", (LayerServer,), {"answers": self.answers, "seen": self.seen})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"localhost:{self.server.server_address[1]}"

    def url(self, path: str = "/base.tgz") -> str:
        return f"https://{self.host}{path}"


@contextmanager
def serving(folder: Path) -> Iterator[Layers]:
    folder.mkdir()
    layers = Layers(folder)
    thread = threading.Thread(target=layers.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield layers
    finally:
        layers.server.shutdown()
        layers.server.server_close()
        thread.join()


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[Layers]:
    with serving(tmp_path / "layers") as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "shop")


def foreign_image(writer: LayoutWriter, *urls: str, platform: str = "linux/amd64") -> Descriptor:
    """An image whose second layer is foreign and not in the layout."""
    plain = writer.image([{"app/version": b"1"}], platform=platform)
    document = json.loads(writer.read(plain))
    entry = {"mediaType": FOREIGN, "digest": digest_of(LAYER), "size": len(LAYER), "urls": list(urls)}
    document["layers"].append(entry)
    return replace(writer.blob(json.dumps(document).encode(), OCI_MANIFEST), platform=platform)


def layout(shop: Workshop, *urls: str, **changes: Any) -> Descriptor:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = foreign_image(writer, *urls)
    writer.tag(image, "1.0.0")
    writer.save()
    shop.image(**{"sbom": "none", "sbom_reason": "a test"} | changes)
    return image


def packed(built: BuiltBundle) -> set[str]:
    return {member.digest for member in built.release.members}


def findings(built: BuiltBundle) -> list[str]:
    return [one.finding for one in built.findings]


def verified(built: BuiltBundle) -> str:
    """The verifier takes what was built; what it says of the members."""
    found = verify_path(built.path, request(Vendor().pin(), now=datetime(2026, 12, 1, tzinfo=UTC)))
    assert found.end == "complete", found.findings
    return next(one.text for one in found.findings if one.id == "members")


def test_without_a_choice_it_is_refused_and_both_ways_are_named(shop: Workshop) -> None:
    image = layout(shop, "https://layers.example.com/base.tgz")
    with pytest.raises(RefusedError, match=r"image 'app' .*https://layers\.example\.com/base\.tgz") as caught:
        shop.build()
    assert caught.value.finding == "foreign-layer"
    assert image.digest in caught.value.where
    for way in ("foreign_layers: fetch", "foreign_layers: absent", "platforms"):
        assert way in caught.value.remedy


def test_fetched_layers_are_packed_and_the_digest_of_the_image_stays(shop: Workshop, layers: Layers) -> None:
    image = layout(shop, layers.url(), foreign_layers="fetch")
    layers.answers["/base.tgz"] = LAYER
    built = shop.build(access=layers.access)
    assert built.release.images[0].manifest.digest == image.digest
    assert digest_of(LAYER) in packed(built)
    assert built.release.absent == ()
    verified(built)


def test_no_credentials_are_sent_and_none_are_exchanged(shop: Workshop, layers: Layers, tmp_path: Path) -> None:
    layout(shop, layers.url(), foreign_layers="fetch")
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {layers.host: {"auth": "YW5uOnNlY3JldA=="}}}))
    auth.chmod(0o600)
    layers.answers["/base.tgz"] = 401
    with pytest.raises(HostError, match="answered 401") as caught:
        shop.build(access=replace(layers.access, auth_file=auth))
    assert {header for _, header in layers.seen} == {""}
    assert "image app from" in caught.value.where
    assert layers.host in caught.value.where
    assert "foreign_layers: absent" in caught.value.remedy


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (LAYER[:-1] + b"?", "sent bytes with sha256:"),
        (LAYER + b"?", f"has {len(LAYER) + 1} bytes"),
        (LAYER[:-1], f"has {len(LAYER) - 1} bytes"),
    ],
    ids=["changed", "longer", "shorter"],
)
def test_size_and_digest_decide(shop: Workshop, layers: Layers, answer: bytes, problem: str) -> None:
    layout(shop, layers.url(), foreign_layers="fetch")
    layers.answers["/base.tgz"] = answer
    with pytest.raises(DamagedError, match=problem) as caught:
        shop.build(access=layers.access)
    assert "image app from" in caught.value.where
    assert not any((shop.path / "out").iterdir())


def test_only_https_is_spoken(shop: Workshop, layers: Layers) -> None:
    layout(shop, f"http://{layers.host}/base.tgz", foreign_layers="fetch")
    access = replace(layers.access, plain_http=frozenset({layers.host}))
    with pytest.raises(RefusedError, match="fetched over https only") as caught:
        shop.build(access=access)
    assert caught.value.finding == "foreign-address"
    assert layers.seen == []


def test_redirects_go_by_the_rules_of_blobs(shop: Workshop, layers: Layers, tmp_path: Path) -> None:
    layout(shop, layers.url(), foreign_layers="fetch")
    with serving(tmp_path / "cdn") as cdn:
        cdn.answers["/stored"] = LAYER
        both = tmp_path / "both.pem"
        both.write_bytes((layers.access.ca or both).read_bytes() + (cdn.access.ca or both).read_bytes())
        layers.answers["/base.tgz"] = cdn.url("/stored")
        access = replace(layers.access, ca=both)
        closed = RegistriesFile(waybill=1, registries={layers.host: RegistryFile(content_hosts=())})
        with pytest.raises(RefusedError, match=r"the server redirects elsewhere") as caught:
            shop.build(access=replace(access, registries=closed))
        assert caught.value.finding == "foreign-host"
        assert cdn.seen == []
        shop.build(access=access)
        layers.answers["/base.tgz"] = f"http://{cdn.host}/stored"
        with pytest.raises(RefusedError, match=r"the server redirects elsewhere"):
            shop.build(shop.path / "second", access=access)


def test_the_next_address_is_asked_where_the_first_does_not_answer(shop: Workshop, layers: Layers) -> None:
    layout(shop, layers.url("/gone"), layers.url("/here"), foreign_layers="fetch")
    layers.answers["/here"] = LAYER
    shop.build(access=layers.access)
    assert [path for path, _ in layers.seen] == ["/gone", "/here"]


def test_a_layer_that_the_layout_holds_is_not_fetched(shop: Workshop, layers: Layers) -> None:
    layout(shop, layers.url(), foreign_layers="fetch")
    (shop.path / "dist" / "app" / blob_name(digest_of(LAYER))).write_bytes(LAYER)
    assert digest_of(LAYER) in packed(shop.build(access=layers.access))
    assert layers.seen == []


def test_absent_layers_are_listed_with_their_address_and_a_warning(shop: Workshop) -> None:
    image = layout(shop, "https://layers.example.com/base.tgz", foreign_layers="absent")
    # Its licence may be the reason: it is not packed, even where it is there.
    (shop.path / "dist" / "app" / blob_name(digest_of(LAYER))).write_bytes(LAYER)
    built = shop.build()
    (absent,) = built.release.absent
    assert (absent.parent, absent.digest, absent.platform) == (image.digest, digest_of(LAYER), None)
    assert absent.url == "https://layers.example.com/base.tgz"
    assert digest_of(LAYER) not in packed(built)
    assert built.release.images[0].manifest.digest == image.digest
    assert findings(built) == ["foreign-absent"]
    assert "without 1 foreign layer, which the site gets elsewhere" in verified(built)


def test_one_image_may_fetch_what_another_leaves_out(shop: Workshop, layers: Layers) -> None:
    layout(shop, layers.url(), foreign_layers="absent")
    shop.image("again", **{"from": "oci:dist/app", "sbom": "none", "sbom_reason": "a test", "foreign_layers": "fetch"})
    layers.answers["/base.tgz"] = LAYER
    built = shop.build(access=layers.access)
    assert digest_of(LAYER) in packed(built)
    assert built.release.absent == ()
    verified(built)


def test_platforms_leave_out_the_image_that_has_one(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    windows = foreign_image(writer, "https://layers.example.com/base.tgz", platform="windows/amd64")
    here = writer.image([{"app/version": b"1"}])
    writer.tag(writer.index([here, windows]), "1.0.0")
    writer.save()
    shop.image(sbom="none", sbom_reason="a test", platforms=["linux/amd64"])
    built = shop.build()
    assert [one.digest for one in built.release.absent] == [windows.digest]


def test_a_referrer_with_a_foreign_layer_is_a_warning(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    image = writer.image([{"app/version": b"1"}])
    writer.tag(image, "1.0.0")
    referrer = writer.referrer(image, b"{}", "application/example")
    document = json.loads(writer.read(referrer))
    document["layers"][0]["urls"] = ["https://layers.example.com/statement"]
    writer.entries[-1] = writer.blob(json.dumps(document).encode(), OCI_MANIFEST)
    writer.save()
    shop.image(sbom="none", sbom_reason="a test", foreign_layers="absent")
    built = shop.build()
    assert findings(built) == ["beside-image"]
    assert built.release.absent == ()


def test_other_descriptors_must_not_have_addresses(shop: Workshop) -> None:
    writer = LayoutWriter(shop.path / "dist" / "app")
    document = json.loads(writer.read(writer.image([{"app/version": b"1"}])))
    document["config"]["urls"] = ["https://layers.example.com/config"]
    writer.tag(writer.blob(json.dumps(document).encode(), OCI_MANIFEST), "1.0.0")
    writer.save()
    shop.image(sbom="none", sbom_reason="a test", foreign_layers="fetch")
    with pytest.raises(Exception, match="which only a layer may have") as caught:
        shop.build()
    assert "image app from" in getattr(caught.value, "where", "")


def test_show_and_compare_name_what_is_elsewhere(shop: Workshop) -> None:
    url = "https://layers.example.com/base.tgz"
    layout(shop, url, foreign_layers="fetch")
    (shop.path / "dist" / "app" / blob_name(digest_of(LAYER))).write_bytes(LAYER)
    packed_bundle = shop.build(shop.path / "packed.tar")
    shop.release["images"][0]["foreign_layers"] = "absent"
    without = shop.build(shop.path / "without.tar")
    shown = CliRunner().invoke(cli, ["show", str(without.path)])
    assert f"absent    layer {digest_of(LAYER)[:19]}, at {url}, of " in shown.output
    assert url not in CliRunner().invoke(cli, ["show", str(packed_bundle.path)]).output
    compared = CliRunner().invoke(cli, ["compare", str(packed_bundle.path), str(without.path)])
    assert f"foreign layers at: {url}" in compared.output
