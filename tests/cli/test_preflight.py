"""What a release needs of its host, from release.yaml to the refusal of the install, as people type it."""

import os
import socket
from pathlib import Path

from tests.real import free_port
from tests.shop_site import enroll_shop, keep_running, ok, stop
from tests.waybill import waybill


def with_host(vendor: Path, host: str) -> None:
    """Write ``host`` where the file of `init` has it as a comment."""
    path = vendor / "release.yaml"
    lines = [
        f"host: {host}" if line.startswith(("# host:", "host:")) else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def test_from_the_file_to_the_refusal_and_on_once_the_host_has_it(tmp_path: Path) -> None:
    vendor, port = tmp_path / "shop", free_port()
    ok(waybill("init", vendor))
    with_host(vendor, "{disk: 20GB}")
    assert "'20GB' is not a size" in ok(waybill("lint", vendor / "release.yaml"), 3).out
    with_host(vendor, f"{{disk: 1MiB, cores: 1, memory: 900TiB, ports: [{port}], warn: [memory]}}")
    ok(waybill("lint", vendor / "release.yaml"))
    site = enroll_shop(vendor, tmp_path)
    keep_running(site, port)
    ok(waybill("receive", tmp_path / "medium", "--site", site))
    with socket.create_server(("127.0.0.1", port)):
        done = ok(waybill("check", "r-0.1.0", "--site", site), 5)
        assert f"  failed: port {port}: process {os.getpid()} (" in done.out
        assert "  warned: memory: " in done.out
        assert "  passed: disk: " in done.out
        host = ok(waybill("check", "r-0.1.0", "--site", site, "--json"), 5).json["items"][0]["host"]
        assert {look["check"]: look["status"] for look in host} == {
            "disk": "passed",
            "memory": "warned",
            "cores": "passed",
            f"port {port}": "failed",
        }
        review = ok(waybill("review", "r-0.1.0", "--site", site)).out
        assert "not ready: the site lacks 1 thing" in review
        assert "nothing else listens there" in review
        ok(waybill("review", "r-0.1.0", "--page", tmp_path / "review.html", "--site", site))
        assert "nothing else listens there" in (tmp_path / "review.html").read_text()
        ok(waybill("approve", "r-0.1.0", "--key", tmp_path / "me.key", "--site", site))
        refused = ok(waybill("install", "r-0.1.0", "--dry-run", "--site", site), 5)
        assert f"failed: port {port}: " in refused.out
        looks = ok(waybill("install", "r-0.1.0", "--dry-run", "--json", "--site", site), 5).json["host"]
        assert [look["check"] for look in looks if look["status"] == "failed"] == [f"port {port}"]
        refused = ok(waybill("install", "r-0.1.0", "--site", site), 5)
        assert "hint: end it, or let it use another port" in refused.err
    contract = ok(waybill("review", "r-0.1.0", "--site", site, "--json")).json["contract"]
    try:
        ok(waybill("install", "r-0.1.0", "--contract", contract, "--site", site))
        # The service of this site has the port now. A new configuration is the same release, and is not in its own way.
        yaml = site / "site.yaml"
        yaml.write_text(yaml.read_text().replace("config: {port", "config: {greeting: good day, port"))
        done = ok(waybill("check", "config", "--site", site))
        assert f"  passed: port {port}: a service of this site listens there" in done.out
        done = waybill("check", "--site", site)
        assert "  passed: drift: " in done.out
        assert "  passed: store: " in done.out
    finally:
        stop(site)
