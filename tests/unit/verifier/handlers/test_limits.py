"""The limits of the verifier's own handlers: at a large site their output is bounded, and so is what they allocate."""

import resource
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from manifests.documents import release as r
from manifests.documents.handler_catalogue import BUILT_IN
from manifests.words.canonical import encode
from tests.handling import handling, handling_place, run
from tests.place import Place
from verifier.handlers.limits import bounded_output
from verifier.handlers.output import HandlerOutput
from verifier.handlers.run import RunResult
from verifier.runtime.drivers.files import FilesDriver
from verifier.site.blobs import blob_path
from verifier.site.generations import read_running
from verifier.site.journal.events import Note

READING = sorted(name for name, handler in BUILT_IN.items() if handler.risk == "read-only")
LONG = "x" * 56
NOTES = 1000
# What the process had freed before and not given back; it may be used again.
FREE = 64 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A site whose lists are all longer than an output may be."""
    folder = tmp_path_factory.mktemp("large")
    vendor = handling(service={f"{i:04}-{LONG}": b"file %d" % i for i in range(1000)}, handlers=())
    whole = vendor.release()[0].files[0]
    names = [f"s{i:03}-{LONG}" for i in range(999)]
    files = [msgspec.structs.replace(whole, entries=whole.entries[999:])]
    files += [
        msgspec.structs.replace(whole, name=name, entries=whole.entries[i : i + 1]) for i, name in enumerate(names)
    ]
    files.sort(key=lambda one: one.name)
    steps = tuple(
        r.InstallStep(step=f"app-{i}", driver="files", files=tuple(one.name for one in files[i * 250 : i * 250 + 250]))
        for i in range(4)
    )
    probes = tuple(r.Probe(name=f"p{i:02}-{LONG}", tcp=r.TcpProbe(endpoint="api")) for i in range(64))
    parts = {"files": tuple(files), "install": steps, "probes": probes}
    vendor = replace(vendor, change={**vendor.change, **parts})
    others = "".join(f", e{i:02}-{LONG}: 'tcp://127.0.0.1:9'" for i in range(99))
    endpoints = f"endpoints: {{api: 'tcp://127.0.0.1:9'{others}}}"
    allowed = {name.replace("-", "_"): "allowed" for name in BUILT_IN}
    place = handling_place(folder, vendor, "", endpoints, **allowed)
    running = read_running(place.open())
    assert running is not None
    for digest in {entry.digest for files in running.release.files for entry in files.entries}:
        blob_path(place.open().blobs, digest).unlink()
    for path in (place.path / "srv").rglob("*"):
        if path.is_file():
            path.unlink()
    (place.path / "tls").mkdir(exist_ok=True)
    for name in ("a.pem", "b.pem"):
        (place.path / "tls" / name).write_bytes(certificate() * 1200)
    with place.hold() as site:
        for i in range(NOTES):
            site.record(Note(code="tick", detail=f"{i} {LONG * 10}"))
    return place


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def output_bytes(result: RunResult) -> int:
    """The length of all that a handler put out, without the line that counts what was left out."""
    lines = [line for line in result.lines if not line.endswith("more lines are left out")]
    return len(encode({"rows": list(result.rows), "values": result.values})) + sum(len(f"{line}\n") for line in lines)


@pytest.mark.parametrize("name", READING)
def test_output_at_a_large_site(large: Place, name: str) -> None:
    result = run(large, name, **({"kind": "note"} if name == "journal-excerpt" else {}))
    limit = BUILT_IN[name].limits.output_bytes
    assert output_bytes(result) <= limit
    assert result.outcome == ("failed" if name == "config-seal" else "ran"), result.error
    if name == "journal-excerpt":
        assert (result.values["entries"], result.lines) == (NOTES, ())
    # Where a list is longer than that, the values count all of it, and the lines say how many are left out.
    counts = {"store-check": "missing", "certificate-expiry": "certificates", "inventory": "components"}
    if name in counts:
        all_of_them = result.values[counts[name]]
        assert isinstance(all_of_them, int)
        left_out = int(result.lines[-1].split()[0])
        assert result.lines[-1] == f"{left_out} more lines are left out"
        assert left_out + len(result.lines) - 1 == all_of_them
        assert output_bytes(result) > limit - 200
    # Nothing of it is in the journal beyond one bounded line.
    assert max(len(encode(entry.record)) for entry in large.open().entries[-3:]) < 4096


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_output_of_any_is_cut_at_its_limit(name: str) -> None:
    handler = BUILT_IN[name]
    long = HandlerOutput(values={"entries": 1}, lines=tuple(f"{i} {LONG}" for i in range(100_000)))
    cut = bounded_output(handler, long)
    assert (cut.values, cut.reason) == ({"entries": 1}, None)
    assert cut.lines[:-1] == long.lines[: len(cut.lines) - 1]
    assert cut.lines[-1] == f"{100_000 - len(cut.lines) + 1} more lines are left out"
    size = sum(len(line) + 1 for line in cut.lines[:-1])
    assert handler.limits.output_bytes - 200 < size <= handler.limits.output_bytes
    short = HandlerOutput(values={"entries": 1}, lines=("a", "b"))
    assert bounded_output(handler, short) == short
    stated = HandlerOutput(values={"entries": 1}, rows=tuple({"endpoint": LONG} for _ in range(2000)))
    assert bounded_output(handler, stated).reason == "output-too-long"
    assert bounded_output(handler, stated).rows == ()


@pytest.mark.parametrize("name", ["inventory", "health-snapshot"])
def test_memory_has_an_end_and_the_limit_is_taken_away_again(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks for four times what it may have; in its own thread, or in one of those of the probes."""
    probe = r.Probe(name="api", tcp=r.TcpProbe(endpoint="api"))
    vendor = handling(handlers=())
    vendor = replace(vendor, change={**vendor.change, "probes": (probe,)})
    place = handling_place(tmp_path, vendor, "", inventory="allowed", health_snapshot="allowed")
    before = (resource.getrlimit(resource.RLIMIT_DATA), threading.stack_size())
    held: list[bytearray] = []

    def fill(*_: object) -> tuple[()]:
        held.extend(bytearray(16 << 20) for _ in range(64))
        return ()

    monkeypatch.setattr(FilesDriver, "observe", fill)
    monkeypatch.setattr(place, "look", fill)
    result = run(place, name)
    size = sum(len(block) for block in held)
    held.clear()
    assert (result.outcome, result.reason, result.values) == ("failed", "out-of-memory", {})
    assert BUILT_IN[name].limits.memory_bytes // 2 < size < BUILT_IN[name].limits.memory_bytes + FREE
    assert (resource.getrlimit(resource.RLIMIT_DATA), threading.stack_size()) == before
    assert len(bytearray(BUILT_IN[name].limits.memory_bytes * 2)) > 0
