"""The next command that is offered while the site still lacks something: `check`, and never `approve` or `install`."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.trust.private_keys import encode_private
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import RefusedError
from tests.faults.model import QuickDisk
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import Vendor
from verifier.commands.approve import approve_command
from verifier.commands.check import check_command
from verifier.commands.review import review_command

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "port": {"type": "integer", "minimum": 1024},
            "db_password": {"type": "string", "minLength": 12},
            "owner": {"type": "object", "properties": {"pin": {"writeOnly": True}}, "maxProperties": 1},
        },
        "required": ["port"],
        "additionalProperties": False,
    },
    separators=(",", ":"),
    sort_keys=True,
).encode()
CONFIG = r.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1)
PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="ready"))
CONFIGURED = Vendor(extra={"schema": SCHEMA}, change={"config": CONFIG})
PROBED = Vendor(change={"probes": (PROBE,)})


def place_with(folder: Path, vendor: Vendor, config: str = "") -> Place:
    place = make_place(folder / "place", Vendor(), disk=QuickDisk())
    configure(place, config)
    place.receive(vendor.write(folder / "1.tar"))
    key = place.path.parent / "ops-1.key"
    key.write_bytes(encode_private(place.people["ops-1"], None))
    key.chmod(0o600)
    return place


def configure(place: Place, config: str, endpoints: str = ENDPOINTS) -> None:
    yaml = place.path / "site.yaml"
    kept = [line for line in yaml.read_text().splitlines() if not line.startswith(("config:", "endpoints:"))]
    yaml.write_text("\n".join([*kept, endpoints, *([f"config: {config}"] if config else [])]) + "\n")


def run(command: click.Command, place: Place, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(command, [*words, "--site", str(place.path)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def data(command: click.Command, place: Place, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*words, "--json", "--site", str(place.path)], catch_exceptions=False)
    return dict(json.loads(done.stdout))


def key_of(place: Place) -> tuple[str, str]:
    return "--key", str(place.path.parent / "ops-1.key")


def test_a_review_offers_check_while_an_endpoint_is_missing(tmp_path: Path) -> None:
    place = place_with(tmp_path, PROBED)
    text = run(review_command, place, "r-1.0.0")
    assert "result                waits for 1 operator; not ready: the site lacks 1 thing, see the warnings" in text
    assert "next: waybill check r-1.0.0" in text
    assert "waybill approve" not in text
    configure(place, "", 'endpoints: {ready: "tcp://127.0.0.1:9"}')
    text = run(review_command, place, "r-1.0.0")
    assert "next: waybill approve r-1.0.0 --plan sha256:" in text
    assert "not ready" not in text


def test_after_an_approval_check_comes_before_install(tmp_path: Path) -> None:
    place = place_with(tmp_path, PROBED)
    text = run(approve_command, place, "r-1.0.0", *key_of(place))
    assert "agreed; not ready: the site lacks 1 thing" in text
    assert "next: waybill check r-1.0.0" in text
    assert "waybill install" not in text
    assert data(approve_command, place, "r-1.0.0", *key_of(place))["lacks"] == 1
    configure(place, "", 'endpoints: {ready: "tcp://127.0.0.1:9"}')
    text = run(approve_command, place, "r-1.0.0", *key_of(place))
    assert "next: waybill install r-1.0.0 --contract sha256:" in text


def test_a_request_folder_says_that_the_site_is_not_ready(tmp_path: Path) -> None:
    place = place_with(tmp_path, PROBED)
    folder = tmp_path / "request"
    text = run(review_command, place, "r-1.0.0", "--out", str(folder))
    assert "not ready: the site lacks 1 thing; first: waybill check r-1.0.0" in text
    done = CliRunner().invoke(review_command, [str(folder)], catch_exceptions=False)
    assert "next, at the site: waybill check r-1.0.0" in done.output
    assert "waybill approve" not in done.output


WRONG = "{port: 80, db_password: hunter2, owner: {pin: 4711, name: x}, extra: 1}"


def test_a_config_that_does_not_fit_is_shown_with_the_whole_release(tmp_path: Path) -> None:
    place = place_with(tmp_path, CONFIGURED, WRONG)
    text = run(review_command, place, "r-1.0.0", "--verbose")
    assert "failed: port: 80 is less than the minimum of 1024 (" in text
    assert "; correct `config` in site.yaml" in text
    assert "failed: config: additional properties are not allowed: 'extra'" in text
    assert "result                waits for 1 operator; not ready: the site lacks 4 things" in text
    assert "next: waybill check r-1.0.0" in text
    # The rest of the release is there, and the config as it stands.
    for part in ("release 1.0.0", "telemetry contract", "what will be done", "software inside the images"):
        assert f"\n{part}" in text
    assert "config port" in text
    text = run(check_command, place, "r-1.0.0", code=5)
    assert "r-1.0.0: 4 missing" in text
    listed = run(review_command, place)
    assert "site not ready; waits: operator 0 of 1" in listed
    assert "next: waybill check r-1.0.0" in listed


def test_no_secret_is_in_the_text_about_a_config_that_does_not_fit(tmp_path: Path) -> None:
    place = place_with(tmp_path, CONFIGURED, WRONG)
    shown = run(check_command, place, "r-1.0.0", code=5) + run(review_command, place, "r-1.0.0", "--verbose")
    assert "failed: db_password: does not fit `minLength` of the schema (value not shown)" in shown
    assert "failed: owner: does not fit `maxProperties` of the schema (value not shown)" in shown
    assert "hunter2" not in shown
    assert "4711" not in shown


def test_what_does_not_fit_is_neither_approved_nor_carried_away_nor_installed(tmp_path: Path) -> None:
    place = place_with(tmp_path, CONFIGURED, WRONG)
    assert "(and 3 more)" in run(approve_command, place, "r-1.0.0", *key_of(place), code=5)
    run(review_command, place, "r-1.0.0", "--out", str(tmp_path / "request"), code=5)
    assert not (tmp_path / "request").exists()
    with pytest.raises(RefusedError):
        place.approve("r-1.0.0")
    assert place.open().state.trust.verdicts == ()
    configure(place, "{port: 8080}")
    place.approve("r-1.0.0")
    assert place.install("r-1.0.0").error is None


def test_a_changed_config_that_does_not_fit_is_an_item_that_is_not_ready(tmp_path: Path) -> None:
    place = place_with(tmp_path, CONFIGURED, "{port: 8080}")
    place.approve("r-1.0.0")
    assert place.install("r-1.0.0").error is None
    configure(place, "{port: 80}")
    listed = run(review_command, place)
    assert "site not ready; waits: operator 0 of 1" in listed
    assert "config: port: 80 is less than the minimum of 1024" in listed
    text = run(review_command, place, "config")
    assert "~  config port  8080  80" in text
    assert "next: waybill check config" in text
    assert ": port: 80 is less than the minimum" in run(approve_command, place, "config", *key_of(place), code=5)
