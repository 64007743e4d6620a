"""Registries that lie, refuse, hang, send too much, die in the middle or point elsewhere."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from content.bundle.oci import OCI_INDEX, OCI_MANIFEST
from content.bundle.oci_writer import EMPTY, describe, encode_index, encode_manifest
from content.registry.answer import PAUSES, printable
from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError, WaybillError
from tests.referrers_server import Handler, ReferrersRegistry, referrers_server, serving

NAME = "team/app"
IMAGE = encode_manifest(EMPTY, [EMPTY])
BLOB = os.urandom(3 << 20)
DIGEST = digest_of(BLOB)
Respond = Callable[[Handler], None]


class Scripted(Handler):
    """Does whatever the test says; the test sees each request in `registry.log`."""

    respond: Respond

    def handle_request(self) -> None:
        self.registry.log.append(f"{self.command} {self.path}")
        self.registry.authorizations.append(self.headers.get("Authorization", ""))
        type(self).respond(self)

    def do_DELETE(self) -> None:
        self.handle_request()

    def start(self, status: int, *headers: tuple[str, str]) -> None:
        """Status and headers exactly as given."""
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def hang_up(self, *, reset: bool = False) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close_connection = True
        if reset:
            self.connection.close()


@contextmanager
def hostile(respond: Callable[[Scripted], None], **options: object) -> Iterator[tuple[Registry, ReferrersRegistry]]:
    seen = ReferrersRegistry()
    settings: dict[str, object] = {"plain_http": True, "environ": {}, "timeout": 0.5, **options}
    handler = type("Bound", (Scripted,), {"registry": seen, "respond": staticmethod(respond)})
    with serving(handler) as host, Registry(host, RegistryOptions(**settings)) as registry:  # type: ignore[arg-type]  # options of one test
        seen.host = host
        yield registry, seen


def download(registry: Registry, size: int = len(BLOB)) -> bytes:
    return b"".join(registry.blob(NAME, DIGEST, size))


def upload(registry: Registry, data: bytes = BLOB) -> None:
    registry.push_blob(
        NAME, digest_of(data), len(data), lambda: (data[at : at + 65536] for at in range(0, len(data), 65536))
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("content.registry.answer.PAUSES", (0.02,))


# -- lies --------------------------------------------------------------------------------------------


def test_other_bytes_of_the_right_length() -> None:
    with (
        hostile(lambda web: web.answer(200, BLOB[:-1] + bytes([BLOB[-1] ^ 1]))) as (registry, _),
        pytest.raises(DamagedError) as caught,
    ):
        download(registry)
    assert "sent bytes with sha256:" in caught.value.problem
    assert caught.value.where.startswith("127.0.0.1:")


def test_a_length_that_is_not_the_descriptors_is_refused_before_the_body() -> None:
    with (
        hostile(lambda web: web.answer(200, BLOB + b"x")) as (registry, _),
        pytest.raises(DamagedError, match=f"has {len(BLOB) + 1} bytes, expected {len(BLOB)}"),
    ):
        download(registry)


def test_a_digest_header_convinces_nobody() -> None:
    def respond(web: Scripted) -> None:
        web.answer(200, IMAGE, Content_Type=OCI_MANIFEST, Docker_Content_Digest=DIGEST)

    with hostile(respond) as (registry, _):
        with pytest.raises(DamagedError, match="sent bytes with sha256:"):
            registry.manifest(NAME, DIGEST)
        assert registry.manifest(NAME, digest_of(IMAGE))[0] == IMAGE


def test_an_endless_body_ends_with_the_size() -> None:
    sent = 0

    def respond(web: Scripted) -> None:
        nonlocal sent
        web.start(200, ("Connection", "close"))
        web.close_connection = True
        try:
            while sent < 1 << 30:
                web.wfile.write(BLOB)
                sent += len(BLOB)
        except OSError:
            pass

    with hostile(respond) as (registry, _), pytest.raises(DamagedError, match=f"sent more than {len(BLOB)} bytes"):
        download(registry)
    assert sent < 64 << 20


def test_an_endless_manifest_ends_with_the_bound() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Content-Type", OCI_MANIFEST), ("Connection", "close"))
        web.close_connection = True
        try:
            for _ in range(4096):
                web.wfile.write(b" " * (1 << 20))
        except OSError:
            pass

    with hostile(respond) as (registry, _):
        for call in (
            lambda: registry.manifest(NAME, "1.0"),
            lambda: registry.tags(NAME),
            lambda: registry.referrers(NAME, DIGEST),
        ):
            with pytest.raises(MalformedError, match="more than 4194304 bytes"):
                call()


def test_a_manifest_that_claims_to_be_large_is_not_read() -> None:
    with (
        hostile(lambda web: web.start(200, ("Content-Length", "9999999999"))) as (registry, _),
        pytest.raises(MalformedError, match="document of 9999999999 bytes, at most 100 are read"),
    ):
        registry.manifest(NAME, "1.0", max_bytes=100)


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b"<html>", "text/html", "the registry sent no manifest for team/app 1.0: a page of HTML or XML"),
        (b"", OCI_MANIFEST, "the registry sent no manifest for team/app 1.0: not JSON"),
        (b"{}", OCI_MANIFEST, r"the registry sent no manifest for team/app 1.0: \$.schemaVersion: "),
        (IMAGE, OCI_INDEX, "calls itself"),
    ],
)
def test_what_is_no_manifest(body: bytes, media_type: str, words: str) -> None:
    with (
        hostile(lambda web: web.answer(200, body, Content_Type=media_type)) as (registry, _),
        pytest.raises(MalformedError, match=words) as refused,
    ):
        registry.manifest(NAME, "1.0")
    host = registry.host
    assert refused.value.where == host
    assert refused.value.remedy == (
        f"check that {host} is the registry, and that no proxy or login page answers for it"
    )


def test_a_stored_document_that_is_no_manifest_is_the_image_s_fault() -> None:
    with (
        hostile(lambda web: web.answer(200, b"{}", Content_Type=OCI_MANIFEST)) as (registry, _),
        pytest.raises(MalformedError, match="schemaVersion is null, expected 2") as refused,
    ):
        registry.manifest(NAME, digest_of(b"{}"))
    assert refused.value.remedy == "the image is stored like this: push a correct one"


def test_a_content_type_that_says_nothing_is_forgiven() -> None:
    with hostile(lambda web: web.answer(200, IMAGE, Content_Type="application/json")) as (registry, _):
        assert registry.manifest(NAME, "1.0") == (IMAGE, OCI_MANIFEST)


def test_a_push_that_stores_something_else_is_found() -> None:
    def respond(web: Scripted) -> None:
        if web.command == "PUT":
            web.body()
            web.answer(201, Docker_Content_Digest=digest_of(IMAGE))
        else:
            web.answer(200, IMAGE + b"\n", Content_Type=OCI_MANIFEST)

    with hostile(respond) as (registry, _):
        for pointer in ("1.0", digest_of(IMAGE)):
            with pytest.raises(DamagedError, match="stored the manifest, and now has sha256:"):
                registry.push_manifest(NAME, pointer, IMAGE, OCI_MANIFEST)


def test_a_push_that_stores_nothing_is_found() -> None:
    def respond(web: Scripted) -> None:
        web.body()
        web.answer(201 if web.command == "PUT" else 404)

    with hostile(respond) as (registry, _), pytest.raises(DamagedError, match="and now has nothing"):
        registry.push_manifest(NAME, "1.0", IMAGE, OCI_MANIFEST)


def test_a_registry_that_forgets_each_upload_is_given_up() -> None:
    def respond(web: Scripted) -> None:
        web.body()
        if web.command == "POST":
            web.answer(202, Location=f"/v2/{NAME}/blobs/uploads/1")
        else:
            web.answer(404)

    with hostile(respond) as (registry, seen), pytest.raises(HostError, match="did not keep the upload"):
        upload(registry)
    assert len([line for line in seen.log if line.startswith("PATCH")]) == 4


@pytest.mark.parametrize("link", ["same", "next", "circle"])
def test_endless_lists_end(link: str) -> None:
    """Pages that never bring anything new, or always something new, with a next one each time."""
    count = 0

    def respond(web: Scripted) -> None:
        nonlocal count
        count += 1
        path = web.path if link == "same" else f"/v2/{NAME}/x/list?p={count if link == 'next' else count % 3}"
        document = json.loads(encode_index([])) if "referrers" in web.path or "p=" in web.path else {}
        body = json.dumps({**document, "tags": [f"t{count}"]}).encode()
        web.answer(200, body, Content_Type=OCI_INDEX, Link=f'<{path}>; rel="next"')

    with hostile(respond) as (registry, _):
        with pytest.raises(MalformedError, match="a list of more than 200 pages"):
            registry.tags(NAME)
        with pytest.raises(MalformedError, match="a list of more than 200 pages"):
            registry.referrers(NAME, DIGEST)


def test_ten_thousand_referrers_are_too_many() -> None:
    many = encode_index(describe(str(n).encode(), media_type=OCI_MANIFEST, artifact_type="a/b") for n in range(10_000))
    with (
        hostile(lambda web: web.answer(200, many, Content_Type=OCI_INDEX)) as (registry, _),
        pytest.raises(MalformedError, match="more than 4096 referrers"),
    ):
        registry.referrers(NAME, DIGEST)


def test_tags_outside_the_grammar_are_left_out() -> None:
    listed = ["../x", "a b", "x" * 129, "ok\n", "1.0"]
    with hostile(lambda web: web.answer(200, json.dumps({"tags": listed}).encode())) as (registry, _):
        assert registry.tags(NAME) == ("1.0",)


def test_an_entry_that_is_no_text_does_not_hide_the_other_tags() -> None:
    warnings: list[str] = []
    with hostile(lambda web: web.answer(200, b'{"tags":["b",5,null,{"a":1},"a"]}')) as (registry, _):
        assert registry.tags(NAME, warnings.append) == ("a", "b")
    assert warnings == [f"3 of 5 entries in the list of tags of {NAME} are no text and were left out"]


@pytest.mark.parametrize("tags", ["x", {"a": 1}])
def test_tags_that_are_no_tags(tags: object) -> None:
    with (
        hostile(lambda web: web.answer(200, json.dumps({"tags": tags}).encode())) as (registry, _),
        pytest.raises(MalformedError),
    ):
        registry.tags(NAME)


def test_a_manifest_under_the_fallback_tag_is_not_overwritten() -> None:
    with referrers_server(ReferrersRegistry(api=False)) as server:
        subject = describe(IMAGE, media_type=OCI_MANIFEST)
        tag = subject.digest.replace(":", "-")
        server.manifests[NAME, tag] = (IMAGE, OCI_MANIFEST)
        referrer = encode_manifest(EMPTY, [EMPTY], subject=subject, artifact_type="a/b")
        with Registry(server.host, RegistryOptions(plain_http=True, environ={})) as registry:
            with pytest.raises(MalformedError):
                registry.push_referrer(NAME, referrer, OCI_MANIFEST)
            with pytest.raises(MalformedError):
                registry.referrers(NAME, subject.digest)
        assert server.manifests[NAME, tag] == (IMAGE, OCI_MANIFEST)


def test_an_api_without_the_header_gets_the_fallback_tag_too() -> None:
    with referrers_server(ReferrersRegistry(subject_header=False)) as server:
        subject = describe(IMAGE, media_type=OCI_MANIFEST)
        referrer = encode_manifest(EMPTY, [EMPTY], subject=subject, artifact_type="a/b")
        with Registry(server.host, RegistryOptions(plain_http=True, environ={})) as registry:
            entry = registry.push_referrer(NAME, referrer, OCI_MANIFEST)
            assert registry.referrers(NAME, subject.digest) == (entry,)
        assert digest_of(referrer).encode() in server.manifests[NAME, subject.digest.replace(":", "-")][0]


def test_two_writers_of_one_fallback_tag() -> None:
    """Another client's write lands between our read and our write: ours looks again and adds itself."""
    with referrers_server(ReferrersRegistry(api=False)) as server:
        subject = describe(IMAGE, media_type=OCI_MANIFEST)
        tag = subject.digest.replace(":", "-")
        others = describe(b"others", media_type=OCI_MANIFEST, artifact_type="a/others")
        referrer = encode_manifest(EMPTY, [EMPTY], subject=subject, artifact_type="a/b")
        overwritten = False

        class Racing(dict[tuple[str, str], tuple[bytes, str]]):
            def __setitem__(self, key: tuple[str, str], value: tuple[bytes, str]) -> None:
                nonlocal overwritten
                if key == (NAME, tag) and not overwritten:
                    overwritten = True
                    value = (encode_index([others]), OCI_INDEX)
                super().__setitem__(key, value)

        server.manifests = Racing()
        with Registry(server.host, RegistryOptions(plain_http=True, environ={})) as registry:
            entry = registry.push_referrer(NAME, referrer, OCI_MANIFEST)
            assert set(registry.referrers(NAME, subject.digest)) == {entry, others}
        assert overwritten


# -- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 418, 500, 501])
def test_each_failing_status_is_named_and_not_repeated(status: int) -> None:
    body = b'{"errors":[{"code":"BAD","message":"no \\u001b[31mred\\nlines"}]}'

    def respond(web: Scripted) -> None:
        web.body()
        web.answer(status, body, Content_Type="application/json")

    with hostile(respond) as (registry, seen):
        with pytest.raises(HostError) as caught:
            registry.manifest(NAME, "1.0")
        assert str(status) in caught.value.problem
        assert caught.value.where == seen.host
        assert caught.value.remedy
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert len(seen.log) == 1
        with pytest.raises(HostError):
            registry.push_manifest(NAME, "1.0", IMAGE, OCI_MANIFEST)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_can_heal_is_repeated(status: int) -> None:
    def respond(web: Scripted) -> None:
        if len(web.registry.log) < 3:
            web.answer(status, b"{}", Retry_After="0")
        else:
            web.answer(200, IMAGE, Content_Type=OCI_MANIFEST)

    with hostile(respond) as (registry, seen):
        assert registry.manifest(NAME, "1.0")[0] == IMAGE
        assert len(seen.log) == 3


def test_what_does_not_heal_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("content.registry.answer.PAUSES", PAUSES)
    with hostile(lambda web: web.answer(503)) as (registry, seen):
        started = time.monotonic()
        with pytest.raises(HostError, match="answered 503 to GET"):
            registry.manifest(NAME, "1.0")
        assert len(seen.log) == 4
        assert 1 < time.monotonic() - started < 4


def test_a_long_pause_is_not_waited_for() -> None:
    with hostile(lambda web: web.answer(429, Retry_After="3600")) as (registry, seen):
        with pytest.raises(HostError, match="asks to wait 3600 seconds"):
            registry.manifest(NAME, "1.0")
        assert len(seen.log) == 1


def test_a_server_that_never_answers() -> None:
    with hostile(lambda web: time.sleep(2)) as (registry, seen):
        started = time.monotonic()
        with pytest.raises(HostError, match=r"no answer for 0\.5 seconds"):
            registry.manifest(NAME, "1.0")
        assert time.monotonic() - started < 1.5
        assert len(seen.log) == 1


def test_a_server_that_stops_in_the_middle() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Content-Length", str(len(BLOB))))
        web.wfile.write(BLOB[:1000])
        time.sleep(2)

    with hostile(respond) as (registry, _), pytest.raises(HostError, match=r"no answer for 0\.5 seconds"):
        download(registry)


def test_a_trickle_runs_past_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("content.registry.answer.MIN_BYTES_PER_SECOND", 1 << 20)

    def respond(web: Scripted) -> None:
        web.start(200, ("Content-Length", str(len(BLOB))))
        try:
            for at in range(100):
                web.wfile.write(BLOB[at : at + 1])
                time.sleep(0.1)
        except OSError:
            pass

    with hostile(respond) as (registry, _):
        started = time.monotonic()
        with pytest.raises(HostError, match=r"sent \d+ bytes in \d+ seconds"):
            download(registry)
        assert time.monotonic() - started < 2


def test_a_download_goes_on_where_it_broke() -> None:
    ranges: list[str] = []

    def respond(web: Scripted) -> None:
        ranges.append(web.headers.get("Range", ""))
        start = int(ranges[-1].removeprefix("bytes=").removesuffix("-") or 0)
        part = BLOB[start : start + (1 << 20) + 7]
        status = 206 if start else 200
        where = (("Content-Range", f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"),) if start else ()
        web.start(status, ("Content-Length", str(len(BLOB) - start)), *where)
        web.wfile.write(part)
        web.close_connection = True

    with hostile(respond) as (registry, _):
        assert download(registry) == BLOB
    assert ranges == ["", "bytes=1048583-", "bytes=2097166-"]


def test_a_download_goes_on_without_ranges() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Content-Length", str(len(BLOB))))
        web.wfile.write(BLOB[: (2 << 20) * len(web.registry.log)])
        web.close_connection = True

    with hostile(respond) as (registry, seen):
        assert download(registry) == BLOB
        assert len(seen.log) == 2


def test_a_wrong_part_is_not_taken() -> None:
    def respond(web: Scripted) -> None:
        if len(web.registry.log) == 1:
            web.start(200, ("Content-Length", str(len(BLOB))))
            web.wfile.write(BLOB[:1000])
        else:
            web.start(
                206, ("Content-Length", str(len(BLOB))), ("Content-Range", f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}")
            )
        web.close_connection = True

    with (
        hostile(respond) as (registry, _),
        pytest.raises(DamagedError, match="another part than the one from byte 1000"),
    ):
        download(registry)


def test_a_download_that_always_breaks_is_given_up() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Content-Length", str(len(BLOB))))
        web.wfile.write(BLOB[:10])
        web.close_connection = True

    with hostile(respond) as (registry, seen):
        started = time.monotonic()
        with pytest.raises(HostError, match="the connection broke"):
            download(registry)
        assert len(seen.log) <= 4
        assert time.monotonic() - started < 4


def test_a_body_that_ends_early_without_a_length() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Connection", "close"))
        web.wfile.write(BLOB[:1000])
        web.close_connection = True

    with hostile(respond) as (registry, _), pytest.raises(DamagedError, match="sent 1000 bytes, expected"):
        download(registry)


def test_a_broken_chunked_body() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, ("Transfer-Encoding", "chunked"))
        web.wfile.write(b"5\r\nhello\r\nnonsense\r\n")
        web.close_connection = True

    with hostile(respond) as (registry, _), pytest.raises(WaybillError):
        download(registry)


@pytest.mark.parametrize("reset", [False, True])
def test_a_dropped_connection_is_opened_again(reset: bool) -> None:
    def respond(web: Scripted) -> None:
        if len(web.registry.log) < 3:
            web.hang_up(reset=reset)
        else:
            web.answer(200, IMAGE, Content_Type=OCI_MANIFEST)

    with hostile(respond) as (registry, seen):
        assert registry.manifest(NAME, "1.0")[0] == IMAGE
        assert len(seen.log) == 3


def test_what_is_no_http_at_all() -> None:
    def respond(web: Scripted) -> None:
        web.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        web.close_connection = True

    with hostile(respond) as (registry, _), pytest.raises(HostError):
        registry.manifest(NAME, "1.0")


def test_headers_without_end() -> None:
    def respond(web: Scripted) -> None:
        web.start(200, *((f"X-{n}", "x" * 100) for n in range(500)))
        web.close_connection = True

    with hostile(respond) as (registry, _), pytest.raises(HostError):
        registry.manifest(NAME, "1.0")


def test_an_upload_goes_on_where_it_broke() -> None:
    """The server keeps the first MiB, drops the connection, and says how much it has."""
    kept = bytearray()
    received: list[int] = []

    def respond(web: Scripted) -> None:
        here = f"/v2/{NAME}/blobs/uploads/1"
        if web.command == "HEAD":
            web.answer(404)
        elif web.command == "POST":
            web.answer(202, Location=here)
        elif web.command == "GET":
            web.answer(204, Location=here, Range=f"0-{len(kept) - 1}")
        elif web.command == "PATCH" and not kept:
            kept.extend(web.rfile.read(1 << 20))
            received.append(1 << 20)
            web.hang_up(reset=True)
        else:
            assert web.command == "PUT" or web.headers["Content-Range"] == f"{len(kept)}-{len(BLOB) - 1}"
            data = web.body()
            received.append(len(data))
            kept.extend(data)
            web.answer(202 if web.command == "PATCH" else 201, Location=here)

    with hostile(respond, timeout=5) as (registry, seen):
        upload(registry)
        assert bytes(kept) == BLOB
        assert received == [1 << 20, len(BLOB) - (1 << 20), 0]
        assert sum(line.startswith("POST") for line in seen.log) == 1


def stream(registry: Registry, pieces: Iterator[memoryview], sent: str = DIGEST) -> None:
    registry.push_stream(NAME, DIGEST, len(BLOB), pieces, lambda: sent)


def pieces_of(data: bytes) -> Iterator[memoryview]:
    return (memoryview(data)[at : at + 65536] for at in range(0, len(data), 65536))


def test_a_source_of_one_read_is_sent_and_closed_after_its_digest() -> None:
    received = bytearray()

    def respond(web: Scripted) -> None:
        received.extend(web.body())
        web.answer({"POST": 202, "PATCH": 202, "PUT": 201}[web.command], Location=f"/v2/{NAME}/blobs/uploads/1")

    with hostile(respond, timeout=5) as (registry, seen):
        stream(registry, pieces_of(BLOB))
        assert bytes(received) == BLOB
        assert [line.partition(" ")[0] for line in seen.log] == ["POST", "PATCH", "PUT"]
        assert seen.log[-1].endswith(f"digest={DIGEST}")


def test_an_upload_of_other_bytes_is_taken_back_and_never_closed() -> None:
    def respond(web: Scripted) -> None:
        web.body()
        web.answer(202, Location=f"/v2/{NAME}/blobs/uploads/1")

    with hostile(respond, timeout=5) as (registry, seen):
        with pytest.raises(DamagedError, match="found bytes with sha256:0"):
            stream(registry, pieces_of(BLOB), "sha256:" + "0" * 64)
        assert [line.partition(" ")[0] for line in seen.log] == ["POST", "PATCH", "DELETE"]


@pytest.mark.parametrize("data", [BLOB[:-1], BLOB[:65536], b"", BLOB + b"x"])
def test_a_source_of_another_length_is_never_closed(data: bytes) -> None:
    """The server would wait for the rest; the connection is dropped instead."""

    def respond(web: Scripted) -> None:
        if web.command == "POST":
            web.answer(202, Location=f"/v2/{NAME}/blobs/uploads/1")
        else:
            web.rfile.read(len(BLOB))
            web.hang_up()

    with hostile(respond, timeout=5) as (registry, seen):
        with pytest.raises(DamagedError, match="expected 3145728"):
            stream(registry, pieces_of(data))
        assert not any(line.startswith("PUT") for line in seen.log)


@pytest.mark.parametrize("status", [None, 401, 404, 500])
def test_a_source_of_one_read_is_not_sent_twice(status: int | None) -> None:
    """Whatever the server answers: what is left of the source is the caller's."""

    def respond(web: Scripted) -> None:
        if web.command == "POST":
            web.answer(202, Location=f"/v2/{NAME}/blobs/uploads/1")
        elif status is None:
            web.rfile.read(65536)
            web.hang_up(reset=True)
        else:
            web.body()
            web.answer(status, b"", **({"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}))

    left = pieces_of(BLOB)
    with hostile(respond, timeout=5, credentials=("user", "password")) as (registry, seen):
        with pytest.raises(HostError):
            stream(registry, left)
        assert [line.partition(" ")[0] for line in seen.log] == ["POST", "PATCH"]


@pytest.mark.parametrize("claim", ["0-0", "0-99999999999", "bytes", "", "5-10"])
def test_an_upload_starts_again_when_what_is_kept_is_not_clear(claim: str) -> None:
    kept = bytearray()
    broken = False

    def respond(web: Scripted) -> None:
        nonlocal broken
        here = f"/v2/{NAME}/blobs/uploads/1"
        if web.command == "HEAD":
            web.answer(404)
        elif web.command == "POST":
            kept.clear()
            web.answer(202, Location=here)
        elif web.command == "GET":
            web.answer(204, Location=here, Range=claim)
        elif web.command == "PATCH" and not broken:
            broken = True
            kept.extend(web.rfile.read(1 << 20))
            web.hang_up(reset=True)
        else:
            kept.extend(web.body())
            web.answer(202 if web.command == "PATCH" else 201, Location=here)

    with hostile(respond, timeout=5) as (registry, seen):
        upload(registry)
        assert bytes(kept) == BLOB
        assert sum(line.startswith("POST") for line in seen.log) == 2


# -- elsewhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused_where_hosts_are_listed(status: int) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(referrers_server())
        other.blobs[NAME, DIGEST] = BLOB
        place = f"http://{other.host}/v2/{NAME}/blobs/{DIGEST}"
        redirect = hostile(lambda web: web.answer(status, Location=place), content_hosts=frozenset())
        registry, seen = stack.enter_context(redirect)
        with pytest.raises(RefusedError, match=f"content would come from http://{other.host}") as caught:
            download(registry)
        assert caught.value.finding == "foreign-host"
        assert caught.value.where == seen.host
        assert other.log == []


def test_a_redirect_to_an_allowed_host_takes_no_credentials_along() -> None:
    with ExitStack() as stack:
        other = stack.enter_context(referrers_server())
        other.blobs[NAME, DIGEST] = BLOB

        def respond(web: Scripted) -> None:
            if not web.headers.get("Authorization"):
                web.answer(401, WWW_Authenticate='Basic realm="x"')
            else:
                web.answer(307, Location=f"http://{other.host}{web.path}")

        for allowed in (frozenset({other.host}), None):
            with hostile(respond, credentials=("ann", "secret"), content_hosts=allowed) as (registry, seen):
                assert download(registry) == BLOB
                assert seen.authorizations[-1].startswith("Basic ")
        assert other.authorizations == ["", ""]


def test_an_error_of_a_host_behind_a_redirect_names_that_host() -> None:
    with hostile(lambda web: web.answer(403)) as (_, other):
        place = f"http://{other.host}/x"
        with hostile(lambda web: web.answer(307, Location=place)) as (registry, seen):
            with pytest.raises(HostError, match="the host of the registry's content answered 403") as caught:
                download(registry)
            assert caught.value.where == other.host
            assert f"{seen.host} redirects there" in caught.value.remedy


@pytest.mark.parametrize("method", ["blob", "manifest", "upload"])
def test_a_redirect_that_leads_nowhere_is_called_so(method: str) -> None:
    with hostile(lambda web: web.answer(307)) as (registry, seen):
        with pytest.raises(HostError, match=r"answered 307, a redirect, and does not say where to") as caught:
            if method == "blob":
                download(registry)
            elif method == "manifest":
                registry.manifest(NAME, "1.0")
            else:
                registry.push_blob(NAME, DIGEST, len(BLOB), lambda: iter([BLOB]))
        assert caught.value.where == seen.host
        assert len(seen.log) == 1


@pytest.mark.parametrize(
    ("body", "problem"), [(b"{}", "sent bytes with sha256:"), (b"<html>", "sent bytes with sha256:")]
)
@pytest.mark.parametrize("by_tag", [False, True])
def test_a_manifest_from_behind_a_redirect_names_the_host_that_gave_it(body: bytes, problem: str, by_tag: bool) -> None:
    with hostile(lambda web: web.answer(200, body)) as (_, other):
        place = f"http://{other.host}/x"
        with hostile(lambda web: web.answer(307, Location=place)) as (registry, seen):
            with pytest.raises((DamagedError, MalformedError)) as caught:
                registry.manifest(NAME, "1.0" if by_tag else DIGEST)
            assert caught.value.where.startswith(other.host)
            expected = "sent no manifest for" if by_tag else problem
            assert f"the host of the registry's content {expected}" in caught.value.problem
            assert seen.host in caught.value.remedy


@pytest.mark.parametrize("password", [None, ("ann", "secret")])
def test_a_host_behind_a_redirect_cannot_ask_for_the_password(password: tuple[str, str] | None) -> None:
    def respond(web: Scripted) -> None:
        web.answer(401, WWW_Authenticate=f'Bearer realm="http://{web.headers["Host"]}/token"')

    with hostile(respond) as (_, other):
        with hostile(lambda web: web.answer(307, Location=f"http://{other.host}/x"), credentials=password) as (
            registry,
            _,
        ):
            with pytest.raises(HostError, match="the host of the registry's content answered 401") as caught:
                download(registry)
            assert caught.value.where == other.host
        assert other.log == ["GET /x"]
        assert other.authorizations == [""]


def test_a_dead_host_behind_a_redirect_is_named() -> None:
    def respond(web: Scripted) -> None:
        web.answer(307, Location="http://127.0.0.1:1/x")

    with hostile(respond) as (registry, _), pytest.raises(HostError, match="does not accept connections") as caught:
        download(registry)
    assert caught.value.where == "127.0.0.1:1"


def test_a_redirect_on_the_same_host_is_followed_and_bounded() -> None:
    def respond(web: Scripted) -> None:
        count = len(web.registry.log)
        if count <= limit:
            web.answer(307, Location=f"/elsewhere/{count}")
        else:
            web.answer(200, BLOB)

    limit = 3
    with hostile(respond) as (registry, _):
        assert download(registry) == BLOB
    limit = 99
    with hostile(respond) as (registry, seen), pytest.raises(HostError, match="redirects more than 3 times"):
        download(registry)
    assert len(seen.log) == 4


@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://[", "http://h:99999/"],
)
def test_a_redirect_to_nonsense_is_refused(location: str) -> None:
    for allowed in (frozenset[str](), None):
        with (
            hostile(lambda web: web.answer(307, Location=location), content_hosts=allowed) as (registry, _),
            pytest.raises(RefusedError),
        ):
            download(registry)


@pytest.mark.parametrize("kind", ["location", "redirect", "later"])
def test_an_upload_never_goes_to_another_host(kind: str) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(referrers_server())
        elsewhere = f"http://{other.host}/v2/{NAME}/blobs/uploads/1"

        def respond(web: Scripted) -> None:
            web.body()
            if web.command == "HEAD":
                web.answer(404)
            elif web.command == "POST" and kind == "redirect":
                web.answer(307, Location=elsewhere)
            elif web.command == "POST":
                web.answer(202, Location=elsewhere if kind == "location" else "/v2/x/blobs/uploads/1")
            else:
                web.answer(202, Location=elsewhere)

        registry, _ = stack.enter_context(hostile(respond, content_hosts=None))
        with pytest.raises(RefusedError, match="elsewhere"):
            upload(registry)
        assert other.log == []


def test_a_list_does_not_go_on_at_another_host() -> None:
    with referrers_server() as other:

        def respond(web: Scripted) -> None:
            web.answer(200, b'{"tags":["a"]}', Link=f'<http://{other.host}/v2/x/tags/list>; rel="next"')

        with hostile(respond, content_hosts=None) as (registry, _), pytest.raises(RefusedError):
            registry.tags(NAME)
        assert other.log == []


def test_cookies_are_not_kept() -> None:
    cookies: list[str | None] = []

    def respond(web: Scripted) -> None:
        cookies.append(web.headers.get("Cookie"))
        web.answer(200, IMAGE, Content_Type=OCI_MANIFEST, Set_Cookie="session=1")

    with hostile(respond) as (registry, _):
        registry.manifest(NAME, "1.0")
        registry.manifest(NAME, "1.0")
    assert cookies == [None, None]


def test_a_servers_words_are_made_safe() -> None:
    assert printable("a\x1b[2Jb\r\nc\u202e") == "a?[2Jb??c?"
    assert len(printable("x" * 1000)) == 200
