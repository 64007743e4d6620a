"""The example product: its versions run as they say, its folder is the same everywhere, its images share layers."""

import gzip
import hashlib
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import parse_handwritten, read_handwritten
from manifests.authored.rollback_yaml import compile_rollback

MAKE = Path(__file__).parents[2] / "examples" / "inkwell" / "make.py"
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
DIGEST = "ab" * 32


def make(version: str, out: Path, **environment: str) -> Path:
    command = [sys.executable, str(MAKE), version, str(out)]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]} | environment)
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: make(version, tmp_path_factory.mktemp("vendor") / version) for version in VERSIONS}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# The service


@dataclass
class Running:
    port: int
    process: subprocess.Popen[bytes]

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data=body, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def json(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        status, answer = self.ask(path, body)
        return status, json.loads(answer)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(folder: Path, data: Path, module: str = "inkwell", **config: object) -> Iterator[Running]:
    """The service as the release's install plan starts it; its end by SIGTERM is part of what is tested."""
    port = free_port()
    written = data.parent / "config.json"
    written.write_text(json.dumps({"hostname": "inkwell.example", "port": port} | config))
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", module],
        cwd=folder / "service",
        env={"PATH": os.environ["PATH"], "WAYBILL_CONFIG": str(written), "WAYBILL_DATA": str(data)},
        stderr=subprocess.PIPE,
    )
    try:
        found = Running(port, process)
        for _ in range(200):
            try:
                found.ask("/")
                break
            except urllib.error.URLError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
        yield found
        process.terminate()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_good_version_is_healthy_signs_and_counts(folders: dict[str, Path], tmp_path: Path, version: str) -> None:
    before = contents(folders[version])
    with running(folders[version], tmp_path / "data", greeting="Grüß Gott") as service:
        status, health = service.json("/healthz")
        assert (status, health["status"], health["version"]) == (200, "passing", version)
        assert service.json(f"/healthz/{version}")[0] == 200
        assert service.json("/healthz/1.2.0")[0] == 404
        assert service.ask("/") == (200, "Grüß Gott\n".encode())
        body = json.dumps({"document": "contract.pdf", "digest": DIGEST}).encode()
        status, job = service.json("/jobs", body)
        assert (status, job["number"], job["state"]) == (201, 1, "waiting")
        for _ in range(100):
            listed = service.json("/jobs")[1]
            if listed[0]["state"] == "signed":
                break
            time.sleep(0.05)
        assert listed[0]["state"] == "signed"
        assert len(listed[0]["signature"]) == 64
        text = service.ask("/metrics")[1].decode()
        assert 'inkwell_request_seconds_count{route="intake"} 1' in text.splitlines()
        assert 'inkwell_request_seconds_bucket{route="intake",le="+Inf"} 1' in text.splitlines()
        assert 'inkwell_jobs{state="signed"} 1' in text.splitlines()
        assert f'inkwell_build_info{{version="{version}"}} 1' in text.splitlines()
    assert (tmp_path / "data" / "signing.key").stat().st_mode & 0o777 == 0o600
    assert contents(folders[version]) == before, "the versioned folder must stay as it was checked"


def test_1_1_0_brings_a_feature_and_a_fix(folders: dict[str, Path], tmp_path: Path) -> None:
    job = json.dumps({"document": "a", "digest": DIGEST}).encode()
    padded = job + b" " * (512 << 10)
    with running(folders["1.0.0"], tmp_path / "data") as service:
        assert service.json("/jobs", padded)[0] == 201
        assert service.json("/jobs/1")[0] == 404
    with running(folders["1.1.0"], tmp_path / "data") as service:
        assert service.json("/jobs", padded)[0] == 413
        status, found = service.json("/jobs/1")
        assert (status, found["document"]) == (200, "a"), "jobs outlive versions"
    with running(folders["1.0.0"], tmp_path / "data") as service:
        assert [one["number"] for one in service.json("/jobs")[1]] == [1], "and the way back"


def test_1_2_0_is_never_healthy(folders: dict[str, Path], tmp_path: Path) -> None:
    with running(folders["1.2.0"], tmp_path / "data") as service:
        status, health = service.json("/healthz")
        assert (status, health["status"], health["version"]) == (500, "failing", "1.2.0")
        assert service.ask("/healthz/1.2.0")[0] == 500
        assert service.ask("/")[0] == 200, "it runs; only its health is wrong"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"document":"a"}', 400),
        (b'{"document":"a\\n","digest":"%s"}' % DIGEST.encode(), 400),
        (b'{"document":"a","digest":"%s"}' % DIGEST.upper().encode(), 400),
        (b'{"document":"a","digest":1}', 400),
    ],
)
def test_bad_job_is_refused_and_not_kept(folders: dict[str, Path], tmp_path: Path, body: bytes, status: int) -> None:
    with running(folders["1.0.0"], tmp_path / "data") as service:
        assert service.json("/jobs", body)[0] == status
        assert service.json("/jobs") == (200, [])
        assert service.json("/elsewhere")[0] == 404
        assert service.json("/metrics", b"")[0] == 405


def test_full_queue_refuses(folders: dict[str, Path], tmp_path: Path) -> None:
    with running(folders["1.0.0"], tmp_path / "data", module="inkwell.api", most_waiting=2) as service:
        body = json.dumps({"document": "a", "digest": DIGEST}).encode()
        assert [service.json("/jobs", body)[0] for _ in range(3)] == [201, 201, 503], "nobody signs here"
        assert service.json("/healthz")[1]["jobs"] == {"waiting": 2, "signed": 0}


def test_one_part_that_fails_ends_the_process(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "signing.key").mkdir()
    code, message = start(folders["1.0.0"], tmp_path, {"hostname": "a", "port": free_port()})
    assert code == 1
    assert "signing.key" in message


def start(folder: Path, tmp_path: Path, config: object) -> tuple[int, str]:
    """Exit code and message of a service that cannot start."""
    written = tmp_path / "config.json"
    written.write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-B", "-m", "inkwell", "--config", str(written), "--data", str(tmp_path / "data")],
        cwd=folder / "service",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "found list, expected an object"),
        ({"hostname": "a"}, "port is missing"),
        ({"hostname": "a", "port": "80"}, "port is '80', expected int"),
        ({"hostname": "a", "port": True}, "port is True, expected int"),
        ({"hostname": "a", "port": 8080, "colour": "red"}, "colour is unknown"),
    ],
)
def test_wrong_configuration_ends_with_one_line(
    folders: dict[str, Path], tmp_path: Path, config: object, message: str
) -> None:
    code, found = start(folders["1.0.0"], tmp_path, config)
    assert code == 2
    assert message in found
    assert len(found.splitlines()) == 1


def test_port_in_use_ends_the_process(folders: dict[str, Path], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, found = start(folders["1.0.0"], tmp_path, {"hostname": "a", "port": taken.getsockname()[1]})
    assert code == 1
    assert "Address already in use" in found


def test_state_file_of_a_later_format_is_left_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "queue.sqlite3")) as file:
        file.execute("PRAGMA user_version = 9")
    before = (tmp_path / "data" / "queue.sqlite3").read_bytes()
    code, found = start(folders["1.0.0"], tmp_path, {"hostname": "a", "port": free_port()})
    assert code == 2
    assert "format 9, this version reads 1 to 1" in found
    assert (tmp_path / "data" / "queue.sqlite3").read_bytes() == before


# The folder


@pytest.mark.parametrize("version", VERSIONS)
def test_same_bytes_in_every_surrounding(folders: dict[str, Path], tmp_path: Path, version: str) -> None:
    umask = os.umask(0o077)
    try:
        other = make(version, tmp_path / "out", PYTHONHASHSEED="7", TZ="Pacific/Chatham", LC_ALL="C", PYTHONUTF8="0")
    finally:
        os.umask(umask)
    assert contents(other) == contents(folders[version])


def test_a_second_run_replaces_the_first_and_leaves_trust_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    out = make("1.0.0", tmp_path / "out")
    (out / "trust.yaml").write_text("waybill: 1\n")
    (out / "keys").mkdir()
    (out / "keys" / "release-1.key").write_text("x")
    make("1.1.0", out)
    found = contents(out)
    assert found.pop("trust.yaml")[1] == b"waybill: 1\n"
    assert found.pop("keys/release-1.key")[1] == b"x"
    assert found == contents(folders["1.1.0"])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "precious").write_text("x")
    done = subprocess.run(
        [sys.executable, str(MAKE), "1.0.0", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert (tmp_path / "service" / "precious").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["service"]


@pytest.mark.parametrize("version", VERSIONS)
def test_documents_compile(folders: dict[str, Path], version: str) -> None:
    folder = folders[version]
    contract = compile_contract(read_handwritten(folder / "contract.yaml"))
    rollback = compile_rollback(read_handwritten(folder / "rollback.yaml"))
    release = read_handwritten(folder / "release.yaml").plain
    assert isinstance(release, dict)
    assert release["version"] == version
    written = {path: data for path, (_, data) in contents(folder).items() if not path.startswith("service/")}
    assert not [path for path, data in written.items() if re.search(rb"\{\{[a-z_]+\}\}", data) and "blobs/" not in path]
    assert rollback.class_ == "compatible"
    probes = {probe["name"] for probe in release["probes"]}  # type: ignore[index, union-attr, call-overload]  # plain YAML
    assert {one.source.probe for one in contract.signals if one.source and one.source.probe} <= probes
    named = [release["notes"], *release["advisories"]] + [one["sbom"] for one in release["images"]]  # type: ignore[index, union-attr, call-overload, misc]  # plain YAML
    assert all((folder / str(name)).is_file() for name in named)


def test_every_version_may_be_left_for_the_first() -> None:
    for version in VERSIONS[1:]:
        facts = json.loads((MAKE.parent / "versions" / version / "facts.json").read_bytes())
        assert facts["back_to"] == facts["from"] == f'[">=1.0.0, <{version}"]'


@pytest.mark.parametrize(
    ("config", "good"),
    [
        ("{hostname: inkwell.example, port: 8080}", True),
        ("{hostname: inkwell.example, port: 8080, greeting: Hello, most_waiting: 5, data: /srv/x}", True),
        ("{hostname: inkwell.example}", False),
        ("{hostname: inkwell.example, port: 80}", False),
        ("{hostname: inkwell.example, port: 8080, colour: red}", False),
    ],
)
def test_schema_judges_configuration(folders: dict[str, Path], config: str, good: bool) -> None:
    schema = json.loads((folders["1.0.0"] / "config.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    value = parse_handwritten(config.encode(), "config").plain
    assert Draft202012Validator(schema).is_valid(value) is good


# The images


def read_blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    data: bytes = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert len(data) == descriptor["size"]
    assert descriptor["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
    return data


def manifests(layout: Path) -> list[dict[str, Any]]:
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    document = json.loads(read_blob(layout, top))
    return (
        [json.loads(read_blob(layout, one)) for one in document["manifests"]] if "manifests" in document else [document]
    )


def layers(layout: Path) -> list[str]:
    return [one["digest"] for one in manifests(layout)[0]["layers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "platforms"), [("api", ["amd64", "arm64"]), ("worker", ["amd64"])])
def test_image_is_complete(folders: dict[str, Path], version: str, name: str, platforms: list[str]) -> None:
    layout = folders[version] / "dist" / name
    reached = set()
    for manifest, architecture in zip(manifests(layout), platforms, strict=True):
        config = json.loads(read_blob(layout, manifest["config"]))
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        unpacked = [gzip.decompress(read_blob(layout, one)) for one in manifest["layers"]]
        assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(one).hexdigest() for one in unpacked]
        reached |= {one["digest"] for one in [manifest["config"], *manifest["layers"]]}
    kept = {f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").iterdir()}
    assert reached < kept
    assert len(kept - reached) == len(platforms) + (len(platforms) > 1), "manifests, the index, nothing else"


def test_layers_are_shared(folders: dict[str, Path]) -> None:
    found = {(v, name): layers(folders[v] / "dist" / name) for v in VERSIONS for name in ("api", "worker")}
    assert len({digests[0] for digests in found.values()}) == 1, "one base for all"
    assert len({digests[1] for digests in found.values()}) == len(found), "and a layer of its own for each"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_sbom_lists_what_is_in_the_image(folders: dict[str, Path], name: str) -> None:
    folder = folders["1.1.0"]
    sbom = json.loads((folder / "sbom" / f"{name}.cdx.json").read_bytes())
    listed: dict[str, str] = {}
    pending = list(sbom["components"])
    while pending:
        one = pending.pop()
        pending += one.get("components", [])
        if one["type"] == "file":
            listed[one["name"]] = one["hashes"][0]["content"]
        else:
            assert one["purl"].startswith("pkg:generic/")
    packed: dict[str, str] = {}
    layout = folder / "dist" / name
    for layer in manifests(layout)[0]["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(read_blob(layout, layer)))) as tar:
            for entry in tar.getmembers():
                if file := tar.extractfile(entry):
                    packed[f"/{entry.name}"] = hashlib.sha256(file.read()).hexdigest()
    assert listed == packed
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert top["digest"].replace(":", "%3A") in sbom["metadata"]["component"]["purl"]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_image_holds_every_module_that_its_program_needs(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    layout = folders["1.1.0"] / "dist" / name
    for layer in manifests(layout)[0]["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(read_blob(layout, layer)))) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
            tar.extractall(tmp_path)
    command = [sys.executable, "-B", "-m", f"inkwell.{name}", "--help"]
    done = subprocess.run(command, cwd=tmp_path / "opt" / "inkwell", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WAYBILL_CONFIG" in done.stdout
