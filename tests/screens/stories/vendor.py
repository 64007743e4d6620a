"""A vendor from the folder to the signed bundle."""

from pathlib import Path

from tests.screens.stage import Stage


def vendor_day(stage: Stage) -> None:
    """Write a vendor folder, check it, build, sign, and change the root."""
    stage.screen("keygen", "keygen", "officer.key", "--no-passphrase")
    stage.screen("init", "init", "pump")
    stage.screen("lint", "lint", "pump/release.yaml", "pump/trust.yaml")
    release = Path("pump/release.yaml")
    text = release.read_text()
    release.write_text(text.replace('version: "0.1.0"', "version: 1.10"))
    stage.screen("lint-problem", "lint", release)
    release.write_text(text)
    stage.screen("build-unsigned", "build", release, "--unsigned", "-o", "pump/out")
    bundle = "pump/out/pump-0.1.0.tar"
    stage.screen("sign-prepare", "sign", bundle, "--prepare", "request")
    stage.screen("show-to-sign", "show", "request")
    stage.screen("sign-request", "sign", "request", "--key", "pump/keys/release-1.key")
    stage.screen("sign-attach", "sign", bundle, "--attach", "request")
    stage.preview("sign-preview", "sign", bundle, "--key", "pump/keys/release-1.key")
    stage.screen("sign-stranger", "sign", bundle, "--key", "officer.key")
    stage.screen("build", "build", release, "-o", "pump/again.tar")
    stage.screen("show-paper", "show", "pump/trust/1.root.json", "--page", "paper.html", "--minimum-sequence", "3")
    trust = Path("pump/trust.yaml")
    trust.write_text(trust.read_text().replace("epoch: 1", "epoch: 2"))
    stage.screen("trust", "trust", trust)
    stage.screen("trust-unfinished", "trust", trust)
    stage.preview("sign-preview-root", "sign", "pump/trust/2.root.json", "--key", "officer.key")
    stage.screen("show-paper-unsigned", "show", "pump/trust/2.root.json", "--page", "paper-2.html")
    stage.screen("sign-root", "sign", "pump/trust/2.root.json", "--key", "pump/keys/root-1.key")
