"""A service that a site keeps running: installed, lost with its supervisor, started again by `recover`."""

import time
import urllib.request
from pathlib import Path

import pytest

from tests.real import free_port
from tests.shop_site import enroll_shop, keep_running, ok, stop
from tests.waybill import waybill


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A vendor folder as `init` writes it, built, and a site that is enrolled for it."""
    ok(waybill("init", tmp_path / "shop"))
    site = enroll_shop(tmp_path / "shop", tmp_path)
    keep_running(site, free_port())
    ok(waybill("receive", tmp_path / "medium", "--site", site))
    return site


def test_lost_with_the_machine_and_started_again(site: Path, tmp_path: Path) -> None:
    ok(waybill("approve", "r-0.1.0", "--key", tmp_path / "me.key", "--site", site))
    refused = ok(waybill("install", "r-0.1.0", "--site", site), 9)
    assert "--contract" in refused.err
    contract = ok(waybill("review", "r-0.1.0", "--site", site, "--json")).out.split('"contract": "')[1][:71]
    try:
        ok(waybill("install", "r-0.1.0", "--contract", contract, "--site", site))
        address = next(line for line in (site / "site.yaml").read_text().splitlines() if line.startswith("endpoints"))
        url = address.split('"')[1] + "/healthz"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
        ok(waybill("status", "--site", site))
        stop(site)
        until = time.monotonic() + 15
        while (done := waybill("status", "--site", site)).code == 0 and time.monotonic() < until:
            time.sleep(0.2)
        assert done.code == 14
        assert "expected running" in done.err
        assert "started again: service" in ok(waybill("recover", "--site", site)).out
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
        ok(waybill("status", "--site", site))
        assert "nothing was unfinished" in ok(waybill("recover", "--site", site)).out
        history = ok(waybill("history", "--site", site)).out
        assert "start-again: service" in history
        assert "intent" not in history
        assert "intent act=stage" in ok(waybill("history", "--verbose", "--site", site)).out
    finally:
        stop(site)


def children(site: Path) -> list[str]:
    """The processes that the supervisor of the site started: the service."""
    (pid,) = [path.read_text().strip() for path in site.glob("run/*.pid")]
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_the_review_of_a_configuration_says_that_the_service_restarts_and_it_does(site: Path, tmp_path: Path) -> None:
    key = tmp_path / "me.key"
    ok(waybill("approve", "r-0.1.0", "--key", key, "--site", site))
    first = ok(waybill("review", "r-0.1.0", "--site", site, "--json")).json
    assert "service-restarts" not in [name for _, name, _ in first["findings"]], "nothing runs yet"
    try:
        ok(waybill("install", "r-0.1.0", "--contract", first["contract"], "--site", site))
        before = children(site)
        assert len(before) == 1
        path = site / "site.yaml"
        path.write_text(path.read_text() + "labels: [night]\n")
        review = " ".join(ok(waybill("review", "config", "--site", site)).out.split())
        assert "downtime none stated; service restarts" in review
        assert "service restarts at the switch to generation 2; a new configuration states no downtime" in review
        # An approver elsewhere reads the same.
        ok(waybill("review", "config", "--out", tmp_path / "request", "--site", site))
        root = ok(waybill("show", tmp_path / "shop/trust/1.root.json", "--json")).json["fingerprint"]
        elsewhere = ok(waybill("review", tmp_path / "request", "--fingerprint", root, cwd=tmp_path)).out
        assert "downtime none stated; service restarts" in " ".join(elsewhere.split())
        ok(waybill("approve", "config", "--key", key, "--site", site))
        ok(waybill("install", "config", "--site", site))
        assert len(children(site)) == 1
        assert children(site) != before
        done = ok(waybill("rollback", "--key", key, "--site", site))
        assert "! service restarts at the switch to generation 1; a rollback states no downtime" in done.err
    finally:
        stop(site)
