"""Images from registries as people have them: what hangs beside an image, proxies, mirrors, `registries.yaml`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.access import Access, read_registries
from bundler.build import BuiltBundle
from content.bundle.oci import OCI_INDEX, OCI_MANIFEST
from content.bundle.oci_writer import describe, encode_index, encode_manifest
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, WaybillError
from tests.real import put_helm_on_path
from tests.referrers_server import Handler, ReferrersRegistry, serving
from tests.workshop import Workshop

CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
IMAGE = encode_manifest(describe(CONFIG, media_type="application/vnd.oci.image.config.v1+json"), ())
NAME = "team/app"


class Quirky(Handler):
    """A registry that answers one kind of request in another way."""

    kind = ""
    status = 0
    answered = b'{"errors":[{"code":"DENIED","message":"not for you"}]}'
    redirect = ""
    challenge = ""

    def handle_request(self) -> None:
        path = self.path.partition("?")[0]
        self.registry.authorizations.append(self.headers.get("Authorization", ""))
        if self.kind and f"/{self.kind}/" in path and self.status:
            self.registry.log.append(f"{self.command} {path}")
            self.answer(self.status, self.answered, **({"WWW_Authenticate": self.challenge} if self.challenge else {}))
        elif self.redirect and "/blobs/" in path:
            self.answer(307, Location=f"{self.redirect}{path}")
        else:
            super().handle_request()


@contextmanager
def quirky(**changes: object) -> Iterator[ReferrersRegistry]:
    """A registry with the image ``team/app:1.0``."""
    registry = ReferrersRegistry()
    registry.blobs[NAME, digest_of(CONFIG)] = CONFIG
    for reference in ("1.0", digest_of(IMAGE)):
        registry.manifests[NAME, reference] = (IMAGE, OCI_MANIFEST)
    with serving(type("Bound", (Quirky,), {"registry": registry, **changes})) as registry.host:
        yield registry


def build(shop: Workshop, reference: str, *plain: str, **changes: object) -> BuiltBundle:
    image = {"name": "app", "from": reference, "to": "small/app", "signed_by": "none", "reason": "a test"}
    spec = {**image, "sbom": "none", "sbom_reason": "a test", **changes}
    shop.release["images"] = [{key: value for key, value in spec.items() if value is not None}]
    shop.release["install"].insert(0, {"step": "images", "driver": "store", "images": ["app"]})
    folder = shop.path
    shop.save()
    return shop.build(access=Access(frozenset(plain), registries=read_registries(folder), folder=folder))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("tags", 403, Quirky.answered),
        ("tags", 404, Quirky.answered),
        ("tags", 401, Quirky.answered),
        ("tags", 504, b"<html>"),
        ("tags", 200, b"<!doctype html>"),
        ("referrers", 502, b"<html>"),
        ("referrers", 503, b"<html>"),
        ("referrers", 400, Quirky.answered),
        ("referrers", 403, Quirky.answered),
        ("referrers", 500, Quirky.answered),
        ("referrers", 200, b"<!doctype html>"),
    ],
)
def test_what_the_registry_does_not_list_beside_an_image_is_a_warning(
    shop: Workshop, kind: str, status: int, body: bytes
) -> None:
    with quirky(kind=kind, status=status, answered=body) as registry:
        built = build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    (finding,) = [one for one in built.findings if one.finding == "beside-image"]
    assert f"image app from {registry.host}/{NAME}:1.0" in finding.text
    if status != 200:
        assert f"/v2/{NAME}/{kind}/" in finding.text or status in (401, 404)


def test_a_registry_that_asks_for_fewer_requests_is_an_error_that_names_the_request(shop: Workshop) -> None:
    with quirky(kind="tags", status=429) as registry, pytest.raises(HostError) as caught:
        build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    assert f"answered 429 to GET /v2/{NAME}/tags/list: DENIED" in caught.value.problem
    assert caught.value.where == f"image app from {registry.host}/{NAME}"


def test_an_entry_of_the_list_of_tags_that_is_no_text_is_left_out_with_one_warning(shop: Workshop) -> None:
    tag = digest_of(IMAGE).replace(":", "-") + ".sig"
    listed = json.dumps({"name": NAME, "tags": ["1.0", 5, None, tag]}).encode()
    with quirky(kind="tags", status=200, answered=listed) as registry:
        registry.manifests[NAME, tag] = (IMAGE, OCI_MANIFEST)
        built = build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
        assert f"GET /v2/{NAME}/manifests/{tag}" in registry.log
    (finding,) = [one for one in built.findings if one.finding == "beside-image"]
    assert f"2 of 4 entries in the list of tags of {NAME} are no text and were left out" in finding.text


SIGNED = b'{"schemaVersion":1,"name":"team/app","tag":"1.0","architecture":"amd64","fsLayers":[],"history":[]}'
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"


@pytest.mark.parametrize("media_type", [f"{SCHEMA_1}+prettyjws", f"{SCHEMA_1}+json", "application/json"])
@pytest.mark.parametrize("by_digest", [False, True])
def test_an_image_of_schema_version_1_is_called_so(shop: Workshop, media_type: str, by_digest: bool) -> None:
    # The digest of the signed form is that of other bytes than those that are sent.
    reference = digest_of(SIGNED if media_type == "application/json" else b"payload") if by_digest else "1.0"
    with quirky() as registry:
        registry.manifests[NAME, reference] = (SIGNED, media_type)
        name = f"{registry.host}/{NAME}{'@' if by_digest else ':'}{reference}"
        with pytest.raises(RefusedError) as caught:
            build(shop, name, registry.host)
    error = caught.value
    assert error.finding == "image-schema-1"
    assert error.problem == f"{NAME} {reference} is an image of schema version 1, expected schema version 2 or OCI"
    assert error.where == f"image app from {registry.host}/{NAME}"
    assert f"skopeo copy --format oci docker://{name} oci:PATH:NAME" in error.remedy


def test_an_index_in_a_registry_with_an_image_of_schema_version_1(shop: Workshop) -> None:
    old = replace(describe(SIGNED, media_type=f"{SCHEMA_1}+prettyjws"), platform="linux/386")
    index = encode_index([replace(describe(IMAGE, media_type=OCI_MANIFEST), platform="linux/amd64"), old])
    with quirky() as registry:
        registry.manifests[NAME, "1.0"] = (index, OCI_INDEX)
        built = build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    (finding,) = [one for one in built.findings if one.finding == "left-out"]
    assert f"{old.digest} (linux/386) is left out: it is an image of schema version 1" in finding.text


def test_without_a_list_of_tags_each_derived_tag_is_asked_for(shop: Workshop) -> None:
    tag = digest_of(IMAGE).replace(":", "-") + ".sig"
    with quirky(kind="tags", status=403) as registry:
        for reference in (tag, digest_of(IMAGE)):
            registry.manifests[NAME, reference] = (IMAGE, OCI_MANIFEST)
        build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
        assert f"GET /v2/{NAME}/manifests/{tag}" in registry.log


def test_a_list_that_names_what_was_deleted_is_a_warning(shop: Workshop) -> None:
    gone = describe(b"gone", media_type=OCI_MANIFEST, artifact_type="a/b")
    with quirky() as registry:
        registry.api = False
        fallback = digest_of(IMAGE).replace(":", "-")
        registry.manifests[NAME, fallback] = (encode_index([gone]), OCI_INDEX)
        built = build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    assert [one.finding for one in built.findings if gone.digest in one.text] == ["beside-image"]


def test_what_a_release_needs_is_still_an_error_and_says_why(shop: Workshop) -> None:
    with quirky(kind="referrers", status=403) as registry, pytest.raises(RefusedError) as caught:
        build(shop, f"{registry.host}/{NAME}:1.0", registry.host, sbom="attached", sbom_reason=None)
    assert caught.value.finding == "sbom-missing"
    assert "the referrers API could not be read" in caught.value.problem


def test_a_registry_that_does_not_answer_is_an_error(shop: Workshop) -> None:
    with quirky() as registry:
        host = registry.host
    with pytest.raises(HostError) as caught:
        build(shop, f"{host}/{NAME}:1.0", host)
    assert caught.value.finding == "registry-unreachable"


def test_blobs_from_another_host_get_no_credentials_and_their_digest_decides(shop: Workshop) -> None:
    with ExitStack() as stack:
        cdn = stack.enter_context(quirky())
        registry = stack.enter_context(quirky(redirect=f"http://{cdn.host}"))
        build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
        assert set(cdn.authorizations) == {""}
        cdn.blobs[NAME, digest_of(CONFIG)] = CONFIG.replace(b"linux", b"Linux")
        with pytest.raises(WaybillError) as caught:
            build(Workshop(shop.path / "second"), f"{registry.host}/{NAME}:1.0", registry.host)
        assert caught.value.exit_code == 7


def test_content_hosts_can_be_closed(shop: Workshop) -> None:
    with ExitStack() as stack:
        cdn = stack.enter_context(quirky())
        registry = stack.enter_context(quirky(redirect=f"http://{cdn.host}"))
        write(shop, {registry.host: {"content_hosts": []}})
        with pytest.raises(RefusedError) as caught:
            build(shop, f"{registry.host}/{NAME}:1.0", registry.host)
    assert caught.value.finding == "foreign-host"
    assert "content_hosts" in caught.value.remedy


def write(shop: Workshop, registries: dict[str, object], **more: object) -> None:
    (shop.path / "registries.yaml").write_text(json.dumps({"waybill": 1, "registries": registries, **more}))


def test_a_mirror_is_read_instead(shop: Workshop) -> None:
    with quirky() as registry:
        registry.blobs["hub/library/app", digest_of(CONFIG)] = CONFIG
        for reference in ("1.0", digest_of(IMAGE)):
            registry.manifests["hub/library/app", reference] = (IMAGE, OCI_MANIFEST)
        write(shop, {"docker.io": {"mirror": f"{registry.host}/hub"}, registry.host: {"plain_http": True}})
        built = build(shop, "app:1.0")
        assert built.release.images[0].manifest.digest == digest_of(IMAGE)


def test_a_warning_names_the_registry_that_was_asked(shop: Workshop) -> None:
    with quirky(kind="tags", status=403) as registry:
        registry.blobs["hub/library/app", digest_of(CONFIG)] = CONFIG
        for reference in ("1.0", digest_of(IMAGE)):
            registry.manifests["hub/library/app", reference] = (IMAGE, OCI_MANIFEST)
        write(shop, {"docker.io": {"mirror": f"{registry.host}/hub"}, registry.host: {"plain_http": True}})
        built = build(shop, "app:1.0")
    (finding,) = [one for one in built.findings if one.finding == "beside-image"]
    assert finding.text.startswith(f"image app from app:1.0 ({registry.host}/hub/library/app): ")


def test_short_names_can_be_refused(shop: Workshop) -> None:
    write(shop, {}, short_names=False)
    with pytest.raises(MalformedError, match=r"'app:1\.0' names no registry") as caught:
        build(shop, "app:1.0")
    assert "docker.io/library/app:1.0" in caught.value.remedy


def test_the_longest_name_in_registries_yaml_counts(shop: Workshop) -> None:
    write(
        shop,
        {
            "r.example.com": {"user_agent": "a"},
            "r.example.com/team": {"user_agent": "b", "requests_per_second": 5},
            "r.example.com/te": {"user_agent": "c"},
        },
    )
    access = Access(registries=read_registries(shop.path), folder=shop.path)
    agents = [access.source(f"r.example.com/{name}:1", "x")[1].user_agent for name in ("team/app", "other", "te/x")]
    assert agents == ["b", "a", "c"]
    assert access.source("r.example.com/team/app:1", "x")[1].rate == 5


def test_a_mirror_of_a_mirror_is_refused(shop: Workshop) -> None:
    write(shop, {"docker.io": {"mirror": "a.example"}, "a.example": {"mirror": "b.example"}})
    with pytest.raises(MalformedError, match=r"the mirror a\.example has a mirror itself"):
        read_registries(shop.path)


def test_proxies_of_the_environment_are_used(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with quirky() as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        monkeypatch.setenv("no_proxy", "")
        build(shop, f"registry.example.invalid/{NAME}:1.0", "registry.example.invalid")
        assert proxy.authorizations
        monkeypatch.setenv("no_proxy", "example.invalid")
        proxy.authorizations.clear()
        with pytest.raises(HostError, match="no known address"):
            build(Workshop(shop.path / "b"), f"registry.example.invalid/{NAME}:1.0", "registry.example.invalid")
        assert not proxy.authorizations


def test_an_index_that_names_more_than_the_registry_holds(shop: Workshop) -> None:
    """A mirror of one platform: the rest is absent, with a warning, unless the release asks for it."""
    here = replace(describe(IMAGE, media_type=OCI_MANIFEST), platform="linux/amd64")
    gone = replace(describe(b"gone", media_type=OCI_MANIFEST), platform="linux/arm64")
    index = encode_index([here, gone])
    with quirky() as registry:
        for reference in ("2.0", digest_of(index)):
            registry.manifests[NAME, reference] = (index, OCI_INDEX)
        built = build(shop, f"{registry.host}/{NAME}:2.0", registry.host)
        assert [one.digest for one in built.release.absent] == [gone.digest]
        assert built.release.images[0].platforms == ("linux/amd64",)
        assert [one.finding for one in built.findings if gone.digest in one.text] == ["left-out"]
        shop.release["install"].pop(0)
        built.path.unlink()
        with pytest.raises(RefusedError, match=r"image 'app' has no linux/arm64 to pack: .*404"):
            build(shop, f"{registry.host}/{NAME}:2.0", registry.host, platforms=["linux/arm64"])


def test_a_layer_that_must_not_travel_is_named_with_image_and_url(shop: Workshop) -> None:
    document = json.loads(IMAGE)
    foreign = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "size": 5}
    document["layers"] = [foreign | {"digest": digest_of(b"layer"), "urls": ["https://layers.example.com/base"]}]
    data = json.dumps(document).encode()
    with quirky() as registry:
        registry.manifests[NAME, "2.0"] = (data, OCI_MANIFEST)
        with pytest.raises(RefusedError, match=r"image 'app' .*https://layers\.example\.com/base") as caught:
            build(shop, f"{registry.host}/{NAME}:2.0", registry.host)
    assert registry.host in caught.value.where
    assert "platforms" in caught.value.remedy


def test_all_images_of_a_chart(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """`images_from: chart` and `images: all`: no image is listed by hand."""
    put_helm_on_path(monkeypatch)
    with quirky() as registry:
        shop.write("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n")
        shop.write(
            "charts/web/templates/pod.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
            f"spec: {{containers: [{{name: a, image: {registry.host}/{NAME}:1.0}}]}}\n",
        )
        taken = {"signed_by": "none", "reason": "a test", "sbom": "none", "sbom_reason": "a test"}
        shop.release["charts"] = [{"name": "web", "from": "charts/web", "images_from": "chart", "images": taken}]
        shop.release["install"].insert(0, {"step": "images", "driver": "store", "images": "all"})
        built = shop.build(access=Access(frozenset((registry.host,)), folder=shop.path))
    release = built.release
    assert [(image.name, image.to, image.tag) for image in release.images] == [("app", NAME, "1.0")]
    assert [(one.reference, one.image) for one in release.charts[0].references] == [
        (f"{registry.host}/{NAME}:1.0", "app")
    ]
    assert release.install[0].images == ("app",)
