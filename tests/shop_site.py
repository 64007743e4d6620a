"""A site of the product that `init` begins, made by the commands that people type."""

import os
import signal
from pathlib import Path

from tests.waybill import Done, waybill


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done
    return done


def enroll_shop(vendor: Path, folder: Path, person: str = "me", name: str = "one") -> Path:
    """Build the release of ``vendor`` to ``folder``/medium; return the site ``folder``/site, enrolled for it.

    The key of its one person is ``folder``/``person``.key.
    """
    medium, site, key = folder / "medium", folder / "site", folder / f"{person}.key"
    ok(waybill("build", vendor / "release.yaml", "-o", medium))
    ok(waybill("keygen", key, "--no-passphrase"))
    digest = ok(waybill("show", vendor / "trust/1.root.json", "--json")).json["fingerprint"]
    names = ["--customer", "first-customer", "--product", "shop", "--environment", "test", "--name", name]
    people = ["--person", f"{person}={key.with_suffix('.pub')}", "--practice", "--site", site]
    ok(waybill("enroll", medium, "--fingerprint", digest, *names, *people))
    return site


def keep_running(site: Path, port: int) -> None:
    """Fill in site.yaml: the site keeps the service of the product running by its own supervisor, at ``port``."""
    text = (site / "site.yaml").read_text()
    text = text.replace("files: {root: srv}", "files: {root: srv, keeper: supervisord}")
    text = text.replace("api: FILL-IN", f'api: "http://127.0.0.1:{port}"')
    (site / "site.yaml").write_text(text.replace("port: FILL-IN", f"port: {port}"))


def stop(site: Path) -> None:
    """End the supervisor by its own pid, and with it the service."""
    for path in site.glob("run/*.pid"):
        try:
            os.kill(int(path.read_text()), signal.SIGTERM)
        except (ProcessLookupError, FileNotFoundError):
            continue
