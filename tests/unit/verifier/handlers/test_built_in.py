"""Each handler of the verifier at a real site: what it finds and changes, and that its values are bounded."""

import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from content.telemetry.counted import fits
from manifests.documents.contract import Keep, Signal, SignalSource, check_values
from manifests.documents.handler_catalogue import BUILT_IN, JOURNAL_KINDS, RESULTS, ROWS, WAYBILL
from manifests.documents.handler_use import arguments
from manifests.documents.release import Handler
from manifests.documents.telemetry import MAX_HANDLER_ROWS, Value, parse_telemetry
from manifests.words.canonical import decode, encode
from manifests.words.errors import RefusedError
from tests.handling import SIGNALS, consign, handling, handling_place, request, run
from tests.place import Place
from verifier.handlers import run as run_module
from verifier.runtime.drivers.driver import DriverContext, DriverPlan
from verifier.runtime.drivers.files import FilesDriver
from verifier.site.blobs import blob_path
from verifier.site.generations import read_running
from verifier.site.journal import events

ALLOWED = {name.replace("-", "_"): "allowed" for name in BUILT_IN}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return handling_place(tmp_path, None, "", **ALLOWED)


def checked(place: Place, name: str, **parameters: str) -> dict[str, object]:
    """The values, each of which the catalogue announces and bounds."""
    result = run(place, name, **parameters)
    bounds = Signal(
        name="x",
        kind="command-result",
        source=SignalSource(handler=name),
        fields=RESULTS[name],
        keep=Keep(site=1, vendor=1),
        why="a test",
    )
    assert [key for key, value in result.values.items() if not fits(bounds, key, value)] == []
    return dict(result.values)


def test_every_definition_is_whole_and_its_module_is_there() -> None:
    for name, handler in BUILT_IN.items():
        assert decode(encode(handler), Handler, name) == handler
        assert handler.run[:2] == (WAYBILL, name)
        assert (Path(run_module.__file__).parent / f"{name.replace('-', '_')}.py").is_file()
        assert handler.source.endswith(f"{name.replace('-', '_')}.py")
        for key, values in {**handler.parameters, **RESULTS[name]}.items():
            check_values(values, name, key)
        assert handler.may
    assert arguments(BUILT_IN["journal-excerpt"], {"kind": "note"}) == (WAYBILL, "journal-excerpt", "note")


def test_the_kinds_of_the_journal_are_all_there_are() -> None:
    assert set(JOURNAL_KINDS) == {kind.__struct_config__.tag for kind in get_args(events.Event)}


def test_health(place: Place) -> None:
    assert checked(place, "health-snapshot") == {
        "state": "confirmed",
        "generation": 1,
        "probes_passing": 0,
        "probes_failing": 0,
        "probes_unknown": 0,
    }


def test_inventory_sees_a_changed_file(place: Place) -> None:
    assert checked(place, "inventory")["differs"] == 0
    (file,) = (place.path / "srv").rglob("hello.txt")
    file.chmod(0o644)
    file.write_text("changed")
    assert checked(place, "inventory")["differs"] == 1


def test_store_check_sees_damage(place: Place) -> None:
    whole = checked(place, "store-check")
    assert (whole["missing"], whole["damaged"]) == (0, 0)
    running = read_running(place.open())
    assert running is not None
    one, two = (blob.digest for blob in running.release.members[2:4])
    path = blob_path(place.open().blobs, one)
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    blob_path(place.open().blobs, two).unlink()
    damaged = checked(place, "store-check")
    assert (damaged["missing"], damaged["damaged"], damaged["blobs"]) == (1, 1, whole["blobs"])


def test_no_config_is_no_seal(place: Place) -> None:
    result = run(place, "config-seal")
    assert (result.outcome, result.reason) == ("failed", "no-config")
    assert isinstance(result.error, RefusedError)


def test_resources(place: Place) -> None:
    values = checked(place, "resource-summary")
    total, free = values["disk_total_mib"], values["disk_free_mib"]
    assert isinstance(total, int)
    assert isinstance(free, int)
    assert total >= free > 0
    assert values["clock_synchronised"] in ("yes", "no", "unknown")
    assert values["kernel"] == os.uname().release.lower()


def certificate(place: Place, name: str, days: int) -> None:
    key, end = ec.generate_private_key(ec.SECP256R1()), place.clock.at + timedelta(days=days)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    (place.path / "tls").mkdir(exist_ok=True)
    (place.path / "tls" / name).write_bytes(made.public_bytes(Encoding.PEM))


def test_certificates(place: Place) -> None:
    assert checked(place, "certificate-expiry") == {"certificates": 0, "expired": 0, "unreadable": 0}
    certificate(place, "a.pem", 40)
    certificate(place, "b.pem", -3)
    (place.path / "tls" / "c.pem").write_text("no certificate")
    assert checked(place, "certificate-expiry") == {
        "certificates": 2,
        "expired": 1,
        "unreadable": 1,
        "days_left": -3,
    }


def test_journal_counts_and_never_quotes(place: Place) -> None:
    place.clock.at += timedelta(hours=1)
    policies = checked(place, "journal-excerpt", kind="policy")
    assert (policies["entries"], policies["last_age"]) == (2, 3600)
    assert checked(place, "journal-excerpt", kind="offboarded") == {"entries": 0}


def test_connectivity_tells_the_answers_apart(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_one, socket.socket() as closed_one:
        closed_one.bind(("127.0.0.1", 0))
        endpoints = (
            f'endpoints: {{api: "tcp://127.0.0.1:{open_one.getsockname()[1]}", '
            f'other: "http://127.0.0.1:{closed_one.getsockname()[1]}", log: "file:/var/log/x"}}'
        )
        place = handling_place(tmp_path, None, "", endpoints, **ALLOWED)
        values = checked(place, "connectivity")
        result = run(place, "connectivity")
    assert values == {"endpoints": 2, "reachable": 1, "refused": 1, "timed_out": 0, "failed": 0}
    bounds = ROWS["connectivity"]["result"]
    assert bounds is not None
    assert bounds.enum is not None
    assert all(row["result"] in bounds.enum for row in result.rows)
    assert result.rows == (
        {"endpoint": "api", "result": "reachable"},
        {"endpoint": "other", "result": "refused"},
    )


REACHED = b"""\
  - name: reached
    kind: command-result
    from: {handler: connectivity}
    fields: {endpoint: {enum: [api, store]}, result: {enum: [reachable, refused, timed-out, failed]}}
    why: which of the services answers
"""


def test_each_endpoint_that_the_contract_names_leaves_as_a_row(tmp_path: Path) -> None:
    """`secret` is a name of the site that the contract does not know, and addresses are in no row."""
    vendor = replace(handling(), signals=SIGNALS + REACHED)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        addresses = (f"api: 'tcp://127.0.0.1:{port}'", f"store: 'tcp://127.0.0.1:{closed.getsockname()[1]}'")
        endpoints = f"endpoints: {{{', '.join(addresses)}, secret: 'tcp://127.0.0.1:{port}'}}"
        place = handling_place(tmp_path, vendor, "", endpoints, **ALLOWED)
        result = run(place, "connectivity")
    assert (result.leaves, len(result.rows), result.values["reachable"]) == ("reached", 3, 2)
    rows: list[dict[str, Value]] = []
    for path in (place.path / "outbox").glob("*.telemetry.json"):
        for signal in parse_telemetry(path.read_bytes()).signals:
            rows += [row.values for row in signal.rows if signal.signal == "reached"]
    assert rows == [{"endpoint": "api", "result": "reachable"}, {"endpoint": "store", "result": "refused"}]


def test_so_many_endpoints_that_not_all_are_rows(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        address = f"'tcp://127.0.0.1:{server.getsockname()[1]}'"
        names = ["api", *(f"e{i:03}" for i in range(99))]
        endpoints = f"endpoints: {{{', '.join(f'{name}: {address}' for name in names)}}}"
        place = handling_place(tmp_path, None, "", endpoints, **ALLOWED)
        result = run(place, "connectivity")
    assert (result.values["endpoints"], result.values["reachable"]) == (100, 100)
    assert (len(result.rows), result.rows[0]["endpoint"]) == (MAX_HANDLER_ROWS, "api")


def test_what_is_no_service_is_refused_before_it_becomes_an_item(place: Place, tmp_path: Path) -> None:
    """`app` and `tool` are parts of the release, and neither is kept running."""
    for name in ("app", "tool"):
        with pytest.raises(RefusedError) as error:
            run(place, "restart-component", component=name)
        assert error.value.finding == "wrong-parameters"
        assert f"is {name}, expected a service of the running release: there is none" in error.value.problem
    consign(place, tmp_path, request("restart-component", parameters={"component": "app"}))
    (use,) = place.open().state.reports.answered
    assert (use.outcome, use.reason) == ("refused", "wrong-parameters")
    assert place.open().state.reports.local == ()


def test_a_site_where_nothing_failed_has_no_step_to_retry(place: Place, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="needs the parameter step"):
        run(place, "retry-step")
    with pytest.raises(RefusedError) as error:
        run(place, "retry-step", step="app")
    assert "expected a failed step of an inconsistent site: there is none" in error.value.problem
    consign(place, tmp_path, request("retry-step", parameters={"step": "app"}))
    (use,) = place.open().state.reports.answered
    assert (use.outcome, use.reason) == ("refused", "wrong-parameters")


def test_no_registry(place: Place) -> None:
    assert run(place, "push-images-again").reason == "no-registry"


def test_another_key(place: Place) -> None:
    before = place.open().state.site_key
    assert checked(place, "rotate-site-key") == {"key_epoch": 2}
    assert place.open().state.site_key != before


def test_what_only_reads_is_ended_at_its_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = msgspec.structs.replace(
        BUILT_IN["inventory"], limits=msgspec.structs.replace(BUILT_IN["inventory"].limits, seconds=1)
    )
    monkeypatch.setitem(BUILT_IN, "inventory", slow)

    def observe(self: FilesDriver, plan: DriverPlan, context: DriverContext) -> tuple[()]:
        time.sleep(60)
        return ()

    monkeypatch.setattr(FilesDriver, "observe", observe)
    begun = time.monotonic()
    result = run(place, "inventory")
    assert (result.outcome, result.values) == ("timed-out", {})
    assert time.monotonic() - begun < 20
