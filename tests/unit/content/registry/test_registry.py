"""The registry client against registries that others wrote, and against ours."""

import hashlib
import itertools
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from content.bundle.oci import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, parse_oci
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, describe, encode_manifest
from content.registry.client import Registry, checked_chunks
from content.registry.pull import RegistryReader
from content.registry.session import RegistryOptions
from manifests.words.digest import blob_name, digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError
from tests.images import CYCLONEDX, LayoutWriter, debian_images, full_layout, sbom
from tests.real import ROOT, docker_registry, free_port, referrers_registry, tool
from tests.referrers_server import ReferrersRegistry, referrers_server

NAME = "team/app"
Connect = Callable[..., Registry]


@pytest.fixture(params=["docker-registry", "docker-registry-tls", "referrers-registry", "ours", "ours-without-api"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """The same client, on every kind of registry that can be had here."""
    with ExitStack() as stack:
        host, ca, credentials = "", None, None
        if request.param.startswith("docker-registry"):
            tls = request.param.endswith("tls")
            running = stack.enter_context(
                docker_registry(tmp_path, tls=tls, htpasswd={"ann": "secret"} if tls else None)
            )
            host, ca, credentials = running.host, running.ca, ("ann", "secret")
        elif request.param == "referrers-registry":
            host = stack.enter_context(referrers_registry(tmp_path)).host
        else:
            ours = ReferrersRegistry(api=request.param == "ours", page=2)
            host = stack.enter_context(referrers_server(ours)).host
        yield stack.enter_context(
            Registry(
                host, RegistryOptions(plain_http=ca is None, ca=ca, credentials=credentials, environ={}, timeout=10)
            )
        )


def pieces(data: bytes, size: int = 65536) -> Callable[[], Iterator[bytes]]:
    return lambda: (data[at : at + size] for at in range(0, len(data), size))


def push(registry: Registry, data: bytes, repository: str = NAME) -> str:
    registry.push_blob(repository, digest_of(data), len(data), pieces(data))
    return digest_of(data)


def push_layout(registry: Registry, writer: LayoutWriter, repository: str = NAME) -> None:
    """Every blob and manifest of a layout, children first."""

    def store(entry: Descriptor) -> None:
        data = writer.read(entry)
        document = parse_oci(data, media_type=entry.media_type)
        for child in document.children:
            if child.media_type == OCI_MANIFEST:
                store(child)
            else:
                push(registry, writer.read(child), repository)
        if document.subject:
            registry.push_referrer(repository, data, entry.media_type)
        else:
            registry.push_manifest(repository, entry.digest, data, entry.media_type)

    for entry in writer.entries:
        store(entry)
        if name := entry.annotation("org.opencontainers.image.ref.name"):
            registry.push_manifest(repository, name, writer.read(entry), entry.media_type)


def test_blobs_of_all_sizes_go_and_come_back(registry: Registry) -> None:
    for size in (0, 1, 2, 65536, 3_000_001):
        data = os.urandom(size)
        digest = digest_of(data)
        assert not registry.blob_exists(NAME, digest)
        push(registry, data)
        assert registry.blob_exists(NAME, digest)
        push(registry, data)
        assert b"".join(registry.blob(NAME, digest, size)) == data


def test_a_whole_layout_keeps_every_digest(registry: Registry, tmp_path: Path) -> None:
    writer = full_layout(tmp_path / "layout")
    push_layout(registry, writer)
    index, referrer, signature = writer.entries
    data, media_type = registry.manifest(NAME, "1.0.0")
    assert (digest_of(data), media_type) == (index.digest, OCI_INDEX)
    assert registry.manifest(NAME, index.digest) == (writer.read(index), OCI_INDEX)
    for child in parse_oci(data).children:
        # One of the two has no mediaType of its own; the registry still knows what it is.
        assert registry.manifest(NAME, child.digest) == (writer.read(child), OCI_MANIFEST)
    (found,) = registry.referrers(NAME, index.digest)
    assert (found.digest, found.size, found.artifact_type) == (referrer.digest, referrer.size, CYCLONEDX)
    assert found.annotation("org.opencontainers.image.created")
    (layer,) = parse_oci(registry.manifest(NAME, found.digest)[0]).children[1:]
    assert b"".join(registry.blob(NAME, layer.digest, layer.size)) == sbom("1.0.0")
    tag = index.digest.replace(":", "-") + ".sig"
    assert tag in registry.tags(NAME)
    assert registry.manifest_exists(NAME, tag)
    assert digest_of(registry.manifest(NAME, tag)[0]) == signature.digest


def test_referrers_of_others_stay(registry: Registry) -> None:
    push(registry, EMPTY_BYTES)
    image = encode_manifest(EMPTY, [EMPTY])
    registry.push_manifest(NAME, "1.0", image, OCI_MANIFEST)
    subject = describe(image, media_type=OCI_MANIFEST)
    assert registry.referrers(NAME, subject.digest) == ()
    pushed = [
        registry.push_referrer(
            NAME,
            encode_manifest(EMPTY, [EMPTY], subject=subject, artifact_type=f"application/x-{n}"),
            OCI_MANIFEST,
        )
        for n in range(5)
    ]
    registry.push_referrer(NAME, registry.manifest(NAME, pushed[0].digest)[0], OCI_MANIFEST)
    assert registry.referrers(NAME, subject.digest) == tuple(sorted(pushed, key=lambda entry: entry.digest))
    assert registry.referrers(NAME, "sha256:" + "0" * 64) == ()
    assert registry.referrers("nobody/here", subject.digest) == ()


def test_tags_are_all_there(registry: Registry) -> None:
    push(registry, EMPTY_BYTES)
    names = tuple(f"v{n}" for n in range(7))
    for name in names:
        registry.push_manifest(NAME, name, encode_manifest(EMPTY, [EMPTY]), OCI_MANIFEST)
    assert registry.tags(NAME) == names
    with pytest.raises(HostError, match=r"has no repository nobody/here \(404\)"):
        registry.tags("nobody/here")


def test_what_is_not_there(registry: Registry) -> None:
    missing = digest_of(b"missing")
    with pytest.raises(HostError, match=r"has no manifest team/app 9.9 \(404\)") as caught:
        registry.manifest(NAME, "9.9")
    assert (caught.value.finding, caught.value.where) == ("registry-missing", registry.host)
    assert not registry.manifest_exists(NAME, missing)
    assert not registry.blob_exists(NAME, missing)
    with pytest.raises(HostError, match="has no blob sha256:"):
        list(registry.blob(NAME, missing, 7))


def test_a_source_with_other_bytes_is_not_stored(registry: Registry) -> None:
    data = os.urandom(100_000)
    digest = digest_of(data)
    for wrong in (data[:-1], data + b"x", data[:-1] + bytes([data[-1] ^ 1]), b""):
        with pytest.raises(DamagedError):
            registry.push_blob(NAME, digest, len(data), pieces(wrong))
        assert not registry.blob_exists(NAME, digest)


def test_a_source_that_cannot_be_read_is_named(registry: Registry) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 70_000
        raise OSError(5, "Input/output error")

    with pytest.raises(HostError, match="cannot read what is to be uploaded: Input/output error"):
        registry.push_blob(NAME, digest_of(b"whatever"), 100_000, broken)


def test_several_threads_share_one_client(registry: Registry) -> None:
    blobs = [os.urandom(200_000) for _ in range(12)]
    failures: list[BaseException] = []

    def work(data: bytes, number: int) -> None:
        try:
            repository = f"team/app{number % 3}"
            push(registry, data, repository)
            assert b"".join(registry.blob(repository, digest_of(data), len(data))) == data
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(data, number)) for number, data in enumerate(blobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_list_referrers_of_one_subject(registry: Registry) -> None:
    push(registry, EMPTY_BYTES)
    image = encode_manifest(EMPTY, [EMPTY])
    registry.push_manifest(NAME, "1.0", image, OCI_MANIFEST)
    subject = describe(image, media_type=OCI_MANIFEST)

    def refer(number: int) -> str:
        data = encode_manifest(EMPTY, [EMPTY], subject=subject, artifact_type=f"application/x-{number}")
        return registry.push_referrer(NAME, data, OCI_MANIFEST).digest

    with ThreadPoolExecutor(8) as pool:
        pushed = sorted(pool.map(refer, range(16)))
    assert [entry.digest for entry in registry.referrers(NAME, subject.digest)] == pushed


def test_wrong_arguments_never_become_a_request(registry: Registry) -> None:
    image = encode_manifest(EMPTY, [EMPTY])
    with pytest.raises(DamagedError, match="the manifest has sha256:"):
        registry.push_manifest(NAME, digest_of(b"other"), image, OCI_MANIFEST)
    with pytest.raises(MalformedError, match="a referrer without subject"):
        registry.push_referrer(NAME, image, OCI_MANIFEST)
    for call in (
        lambda: registry.manifest("../x", "1"),
        lambda: registry.manifest("Team/App", "1"),
        lambda: registry.manifest(NAME, "../../blobs"),
        lambda: registry.manifest(NAME, "sha256:" + "A" * 64),
        lambda: list(registry.blob(NAME, "sha512:" + "0" * 128, 1)),
        lambda: registry.blob_exists(NAME, digest_of(b"")[:-1] + "\n"),
        lambda: registry.referrers(NAME, "1.0"),
        lambda: registry.tags("x" * 300),
    ):
        with pytest.raises(MalformedError):
            call()


# -- docker-registry only ----------------------------------------------------------------------


def test_mount_from_another_repository(tmp_path: Path) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("read although the registry has it")

    with (
        docker_registry(tmp_path) as running,
        Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry,
    ):
        data = os.urandom(1000)
        push(registry, data, "team/one")
        registry.push_blob("team/two", digest_of(data), len(data), never, mount_from="team/one")
        assert registry.blob_exists("team/two", digest_of(data))
        # A mount that does not work becomes an upload.
        other = os.urandom(1000)
        registry.push_blob("team/two", digest_of(other), 1000, pieces(other), mount_from="team/one")
        assert registry.blob_exists("team/two", digest_of(other))


def test_a_flipped_bit_in_the_store_is_found(tmp_path: Path) -> None:
    with (
        docker_registry(tmp_path) as running,
        Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry,
    ):
        data = os.urandom(300_000)
        push(registry, data)
        stored = running.blob_path(digest_of(data))
        stored.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(DamagedError, match="sent bytes with sha256:") as caught:
            list(registry.blob(NAME, digest_of(data), len(data)))
        assert digest_of(data) in caught.value.where
        with pytest.raises(DamagedError, match="has 300000 bytes, expected 299999"):
            list(registry.blob(NAME, digest_of(data), len(data) - 1))


def test_an_upload_heals_after_a_power_cut(tmp_path: Path) -> None:
    """The registry is killed in the middle of the body and comes back.

    This one cannot continue inside a request: the offset in its upload address is that of the last whole one. So the
    blob goes again from its start; tests of broken registries see the rest alone being sent where that is possible.
    """
    with (
        docker_registry(tmp_path) as running,
        Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry,
    ):
        data = os.urandom(24 << 20)
        starts = 0

        def cut() -> Iterator[bytes]:
            nonlocal starts
            starts += 1
            for at in range(0, len(data), 1 << 20):
                if starts == 1 and at == 16 << 20:
                    time.sleep(0.3)  # so that the registry has written what it was sent
                    running.kill()
                    running.start()
                yield data[at : at + (1 << 20)]

        registry.push_blob(NAME, digest_of(data), len(data), cut)
        assert starts == 2
        assert b"".join(registry.blob(NAME, digest_of(data), len(data))) == data


def test_a_full_disk_is_the_registrys_failure(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("mount of a tmpfs is not allowed here")
    try:
        with (
            docker_registry(tmp_path, root=small) as running,
            Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry,
        ):
            data = os.urandom(8 << 20)
            with pytest.raises(HostError, match="answered 500") as caught:
                push(registry, data)
            assert caught.value.where == running.host
            assert "free space" in caught.value.remedy
            assert not registry.blob_exists(NAME, digest_of(data))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_plain_http_and_tls_are_not_mixed_up(tmp_path: Path) -> None:
    with docker_registry(tmp_path) as plain, docker_registry(tmp_path, tls=True) as secure:
        with (
            Registry(plain.host, RegistryOptions(environ={})) as registry,
            pytest.raises(HostError, match="no TLS connection") as caught,
        ):
            registry.tags(NAME)
        assert "plain HTTP" in caught.value.remedy
        with (
            Registry(secure.host, RegistryOptions(environ={})) as registry,
            pytest.raises(HostError, match="verify failed") as caught,
        ):
            registry.tags(NAME)
        assert caught.value.finding == "registry-tls"
        with (
            Registry(secure.host, RegistryOptions(plain_http=True, environ={})) as registry,
            pytest.raises(HostError, match="400"),
        ):
            registry.tags(NAME)
        with pytest.raises(HostError, match="cannot read the certificate"):
            Registry(secure.host, RegistryOptions(ca=tmp_path / "none.pem", environ={}))


def test_the_environment_does_not_choose_roots_or_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with docker_registry(tmp_path, tls=True) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca))
        monkeypatch.setenv("CURL_CA_BUNDLE", str(running.ca))
        with (
            Registry(running.host, RegistryOptions(environ={})) as registry,
            pytest.raises(HostError, match="verify failed"),
        ):
            registry.tags(NAME)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with Registry(running.host, RegistryOptions(ca=running.ca, environ={})) as registry:
            assert not registry.blob_exists(NAME, digest_of(b"x"))


def test_a_refused_port_answers_at_once() -> None:
    with Registry(f"127.0.0.1:{free_port()}", RegistryOptions(plain_http=True, environ={})) as registry:
        started = time.monotonic()
        with pytest.raises(HostError, match="connection refused") as caught:
            registry.manifest(NAME, "1.0")
        assert time.monotonic() - started < 1
        assert caught.value.finding == "registry-unreachable"


def test_an_unknown_host_answers_at_once() -> None:
    with (
        Registry("registry.invalid", RegistryOptions(environ={})) as registry,
        pytest.raises(HostError, match="no such host"),
    ):
        registry.manifest(NAME, "1.0")


def test_only_a_host_is_taken_for_one() -> None:
    for host in ("", "a b", "host/x", "host:0", "host:65536", "http://host", "user@host", "-x", "host\n"):
        with pytest.raises(MalformedError):
            Registry(host)


# -- others as witnesses -----------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_skopeo_reads_what_we_wrote(tmp_path: Path, tls: bool) -> None:
    skopeo = tool("skopeo")
    writer = full_layout(tmp_path / "layout")
    with docker_registry(tmp_path, tls=tls, htpasswd={"ann": "secret"} if tls else None) as running:
        with Registry(
            running.host, RegistryOptions(plain_http=not tls, ca=running.ca, credentials=("ann", "secret"), environ={})
        ) as registry:
            push_layout(registry, writer)
        flags = ["--src-tls-verify=false"]
        if running.ca:
            certificates = tmp_path / "certificates"
            certificates.mkdir()
            (certificates / "ca.crt").write_bytes(running.ca.read_bytes())
            flags = [f"--src-cert-dir={certificates}", "--src-creds=ann:secret"]
        target = tmp_path / "copied"
        subprocess.run(
            [
                *(skopeo, "copy", "-q", "--all", "--preserve-digests", *flags),
                *(f"docker://{running.host}/{NAME}:1.0.0", f"oci:{target}:1.0.0"),
            ],
            check=True,
        )
        (entry,) = json.loads((target / "index.json").read_bytes())["manifests"]
        assert entry["digest"] == writer.entries[0].digest


@pytest.mark.slow
def test_we_read_what_skopeo_and_umoci_wrote(tmp_path: Path) -> None:
    skopeo = tool("skopeo")
    layout = debian_images()
    with (
        docker_registry(tmp_path) as running,
        Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry,
    ):
        for version in ("1.0.0", "1.1.0"):
            subprocess.run(
                [
                    *(skopeo, "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"),
                    *(f"oci:{layout}:{version}", f"docker://{running.host}/{NAME}:{version}"),
                ],
                check=True,
            )
        layers = []
        for version in ("1.0.0", "1.1.0"):
            data, media_type = registry.manifest(NAME, version)
            assert "mediaType" not in json.loads(data)
            assert media_type == OCI_MANIFEST
            image = parse_oci(data, media_type=media_type)
            layers.append([entry.digest for entry in image.children[1:]])
            for entry in image.children:
                found = hashlib.sha256()
                for chunk in registry.blob(NAME, entry.digest, entry.size):
                    found.update(chunk)
                assert (layout / blob_name(entry.digest)).stat().st_size == entry.size
        assert layers[0][0] == layers[1][0]
        assert layers[0][1] != layers[1][1]


def test_oras_pulls_what_we_wrote(tmp_path: Path) -> None:
    import oras.client

    with docker_registry(tmp_path) as running:
        with Registry(running.host, RegistryOptions(plain_http=True, environ={})) as registry:
            data = b"a file for oras"
            push(registry, data)
            push(registry, EMPTY_BYTES)
            layer = describe(data, media_type=OCI_LAYER)
            named = Descriptor(
                media_type=OCI_LAYER,
                digest=layer.digest,
                size=layer.size,
                annotations=(("org.opencontainers.image.title", "file.txt"),),
            )
            registry.push_manifest(NAME, "1.0", encode_manifest(EMPTY, [named]), OCI_MANIFEST)
        client = oras.client.OrasClient(insecure=True)
        client.pull(target=f"{running.host}/{NAME}:1.0", outdir=str(tmp_path / "out"))
        client.session.close()
        assert (tmp_path / "out" / "file.txt").read_bytes() == data


# -- memory ------------------------------------------------------------------------------------

FLAT = """
import hashlib, re, sys
from pathlib import Path
from content.registry.client import Registry
from content.registry.pull import RegistryReader
from content.registry.session import RegistryOptions

size, block = int(sys.argv[2]), b"0123456789abcdef" * 65536
def chunks():
    for n in range(size >> 20):
        yield n.to_bytes(8, "big") + block[8:]
digest = hashlib.sha256()
for chunk in chunks():
    digest.update(chunk)
name = "sha256:" + digest.hexdigest()
with Registry(sys.argv[1], RegistryOptions(plain_http=True, environ={})) as registry:
    registry.push_blob("big/blob", name, size, chunks)
    assert sum(len(chunk) for chunk in registry.blob("big/blob", name, size)) == size
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    """512 MiB up and down in a process of its own, which reads its own high-water mark."""
    with docker_registry(tmp_path) as running:
        found = subprocess.run(
            [sys.executable, "-c", FLAT, running.host, str(512 << 20)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert int(found.stdout) < 120_000


# -- the source of an upload -------------------------------------------------------------------


@pytest.mark.parametrize("skip", [0, 1, 9, 10, 11, 29, 30])
def test_checked_chunks_skip_what_was_sent(skip: int) -> None:
    data = os.urandom(30)
    parts = [data[:10], b"", data[10:20], data[20:]]
    assert b"".join(checked_chunks(iter(parts), digest_of(data), 30, skip=skip)) == data[skip:]


def test_checked_chunks_hold_the_last_back() -> None:
    data = os.urandom(30)
    given = checked_chunks(iter([data[:10], data[10:]]), digest_of(b"other"), 30)
    assert next(given) == data[:10]
    with pytest.raises(DamagedError, match="found bytes with sha256:"):
        next(given)


def test_checked_chunks_stop_an_endless_source() -> None:
    with pytest.raises(DamagedError, match="more than 100 bytes"):
        list(checked_chunks(itertools.repeat(b"x" * 10), digest_of(b"x"), 100))


@pytest.mark.parametrize(
    ("answer", "scheme", "reason", "step"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "http", "407", "USER:PASSWORD@"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "http", "403 forbidden", "check HTTP_PROXY"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "https", "ssl", "without TLS is http://HOST:PORT"),
        (None, "http", "connection refused", "check HTTP_PROXY"),
    ],
    ids=["no password", "forbidden", "a proxy without TLS", "not there"],
)
def test_why_a_proxy_does_not_let_through(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None, scheme: str, reason: str, step: str
) -> None:
    class Proxy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        if answer is None:
            server.server_close()
        else:
            thread.start()
        monkeypatch.setenv("https_proxy", f"{scheme}://ann:secret@127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(HostError, match="cannot be reached through the proxy: ") as caught:
            RegistryReader("registry.example.invalid").tags("team/app")
        if answer is not None:
            server.shutdown()
            thread.join()
    assert reason in caught.value.problem.lower()
    assert step in caught.value.remedy
    assert "secret" not in str(caught.value)
    assert caught.value.where == "registry.example.invalid"
