"""The whole loop on a real product, each command as a person would type it: `make demo`.

    python examples/demo.py FOLDER

Makes FOLDER anew: a vendor builds three releases of `inkwell`; a site that has only the kit file installs one,
upgrades, meets a broken one and goes back; support reads its reports. Only the standard library is used here: what
Waybill does, it does on the command line. The service listens on loopback and is stopped at the end.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).parents[1]
SITE_ID = "northern-grid/inkwell/production/east"
BOLD, DIM, PLAIN = (
    ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("",) * 3
)


def say(text: str) -> None:
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


class Shell:
    """A person at a prompt: a place, an environment, and one command after the other."""

    def __init__(self, name: str, folder: Path, words: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.words = words
        self.environ = dict(environ)

    def __call__(self, line: str, *, expect: int = 0, quiet: bool = False) -> str:
        """Run ``line``; its first word may be one of ours. The demo stops when the exit code is another."""
        if not quiet:
            print(f"{DIM}{self.name}{PLAIN} $ {BOLD}{line}{PLAIN}", flush=True)
        first, *rest = shlex.split(line)
        command = [*shlex.split(self.words.get(first, first)), *rest]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            # What a person sees is both, in the order in which they were said.
            stderr=subprocess.PIPE if quiet else subprocess.STDOUT,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if not quiet:
            shown = done.stdout.rstrip()
            print(shown + "\n" if shown else "", flush=True)
        if done.returncode != expect:
            sys.exit(
                f"the demo expected exit code {expect} and got {done.returncode}: {line}\n{done.stdout}{done.stderr}"
            )
        return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # a loopback address of our own service
        text: str = answer.read().decode()
        return text.strip()


def flip(source: Path, target: Path, at: int) -> None:
    """A copy with one bit changed."""
    data = bytearray(source.read_bytes())
    data[at] ^= 1
    target.write_bytes(data)


def vendor_builds(folder: Path) -> tuple[Shell, dict[str, str]]:
    """The connected side: a vendor folder, three releases, the kit. Returns the shell and what goes on the paper."""
    vendor = Shell("vendor", folder, {"python3": sys.executable}, os.environ)
    make = REPO / "examples" / "inkwell" / "make.py"
    say("A vendor begins: a commented folder, a practice root, one key for each role.")
    vendor("waybill init vendor --product inkwell")
    say("Release 1.0.0 of the example product, packed and signed. Its files come from examples/inkwell.")
    vendor(f"python3 {make} 1.0.0 vendor", quiet=True)
    vendor("waybill lint vendor/release.yaml")
    vendor("waybill build vendor/release.yaml -o medium")
    say("Release 1.1.0; 1.0.0 is named so that the promises about going back can be checked.")
    vendor(f"python3 {make} 1.1.0 vendor", quiet=True)
    vendor("waybill build vendor/release.yaml -o medium-2 --after medium/inkwell-1.0.0.tar")
    say("Release 1.2.0 will turn out to be broken.")
    vendor(f"python3 {make} 1.2.0 vendor", quiet=True)
    vendor("waybill build vendor/release.yaml -o medium-3 --after medium-2/inkwell-1.1.0.tar")
    say("What is in a bundle, and whether it is good.")
    vendor("waybill show medium-2/inkwell-1.1.0.tar --root vendor/trust/1.root.json")
    vendor("waybill verify medium-2/inkwell-1.1.0.tar --root vendor/trust/1.root.json")
    vendor("waybill compare medium/inkwell-1.0.0.tar medium-2/inkwell-1.1.0.tar")
    say("One bit changed in a blob, and one in the head: both are refused.")
    bundle = folder / "medium" / "inkwell-1.0.0.tar"
    flip(bundle, folder / "tampered-bulk.tar", bundle.stat().st_size - 4000)
    flip(bundle, folder / "tampered-head.tar", bundle.read_bytes().index(b'"sequence":1') + 11)
    vendor("waybill verify tampered-bulk.tar --root vendor/trust/1.root.json", expect=7)
    vendor("waybill verify tampered-head.tar --root vendor/trust/1.root.json", expect=4)
    say("The kit: the verifier as one file, which runs at the site. Its digest and the fingerprint go on the paper.")
    kit = json.loads(vendor("waybill kit medium --json", quiet=True))
    root = json.loads(vendor("waybill show vendor/trust/1.root.json --json", quiet=True))
    print(f"{DIM}vendor{PLAIN} $ {BOLD}waybill kit medium{PLAIN}\nkit     {kit['kit']}\ndigest  {kit['digest']}\n")
    words = vendor("waybill show vendor/trust/1.root.json")
    return vendor, {"words": words.partition("words")[2].splitlines()[0].strip(), "digest": root["fingerprint"]}


def site_shell(folder: Path) -> Shell:
    """The site: the kit file, a Python without any of our packages, an empty environment."""
    python = getattr(sys, "_base_executable", sys.executable)
    kit = folder / "medium" / "waybill.pyz"
    environ = {
        "PATH": os.pathsep.join([str(Path(python).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(folder / "home"),
        "WAYBILL_PASSPHRASE_FILE": str(folder / "home" / "passphrase"),
    }
    (folder / "home").mkdir()
    passphrase = folder / "home" / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a passphrase for the demo alone\n")
    (folder / "site").mkdir()
    return Shell("site", folder / "site", {"waybill": f"{python} -I {kit}"}, environ)


def site_begins(site: Shell, words: str, port: int) -> None:
    say("At the site there is only the medium: `waybill` is `python3 medium/waybill.pyz`. An approver makes a key.")
    site("waybill keygen ../home/ops-1.key")
    say("Enrolment: the fingerprint is typed from the vendor's paper. --practice, because the root is a practice root.")
    site(
        f'waybill enroll ../medium --fingerprint "{words}" --customer northern-grid --product inkwell '
        "--environment production --name east --person ops-1=../home/ops-1.pub --practice --site ."
    )
    say("The operator edits site.yaml: where the service answers, and its configuration.")
    path = site.folder / "site.yaml"
    # supervisord even where systemd runs: a demonstration must not leave a unit behind in the system.
    text = path.read_text().replace("files: {root: srv}", "files: {root: srv, keeper: supervisord}")
    kept = [line for line in text.splitlines() if not line.startswith(("endpoints:", "config:"))]
    added = [
        f'endpoints: {{api: "http://127.0.0.1:{port}", metrics: "http://127.0.0.1:{port}/metrics"}}',
        f"config: {{hostname: inkwell.east.example, port: {port}}}",
    ]
    path.write_text("\n".join([*kept, *added]) + "\n")
    print("\n".join(added))


def site_installs(site: Shell, port: int) -> None:
    say("What is on the medium, and what must be known before anybody agrees to it.")
    site("waybill receive ../medium")
    site("waybill review")
    review = site("waybill review r-1.0.0")
    contract = json.loads(site("waybill review r-1.0.0 --json", quiet=True))
    digest = find(contract, "contract") or review
    say("An approver signs the plan; then it may be installed. A first install names the telemetry contract.")
    site("waybill approve r-1.0.0 --key ../home/ops-1.key")
    site(f"waybill install r-1.0.0 --contract {digest}")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    site("waybill status")
    say("An upgrade. The approver sits elsewhere: a request is carried there, and the answer comes back.")
    site("waybill receive ../medium-2")
    site("waybill review r-1.1.0 --out ../stick")
    site("waybill review ../stick")
    site("waybill approve ../stick --key ../home/ops-1.key --condition 'not before the night shift'")
    site("waybill receive ../stick")
    site("waybill install r-1.1.0")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("The broken release: its probe fails, and the site goes back by itself.")
    site("waybill receive ../medium-3")
    site("waybill approve r-1.2.0 --key ../home/ops-1.key")
    site("waybill install r-1.2.0", expect=10)
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("Going back by hand, which the policy wants approved.")
    site("waybill rollback --reason 'the demo wants to see it' --key ../home/ops-1.key")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("The journal, its chain checked first; and the signed reports, handed out for the way home.")
    site("waybill history")
    (site.folder.parent / "home-coming").mkdir()
    site("waybill report --out ../home-coming")


def find(value: object, key: str) -> str:
    """The first digest under ``key`` anywhere in a JSON result."""
    if isinstance(value, dict):
        held = value.get(key)
        if isinstance(held, str) and held.startswith("sha256:"):
            return held
        return next((found for one in value.values() if (found := find(one, key))), "")
    if isinstance(value, list):
        return next((found for one in value if (found := find(one, key))), "")
    return ""


def support_reads(vendor: Shell) -> None:
    say("Support: the site's enrolment, its reports and the releases enter the ledger.")
    vendor("waybill fleet enroll site/outbox/enrolment.json --fleet ledger")
    vendor("waybill fleet import medium medium-2 medium-3 home-coming --fleet ledger")
    vendor("waybill fleet sites --fleet ledger")
    vendor(f"waybill fleet show {SITE_ID} --fleet ledger")


def support_writes(vendor: Shell, site: Shell) -> None:
    say("Support answers: a signed note for this one site, with a challenge that nobody could know before.")
    vendor(f"waybill fleet consign {SITE_ID} -o medium-4 --key vendor/keys/consignment-1.key --fleet ledger")
    say("At the site it is one medium more. The next report echoes the challenge, so support knows when it was made.")
    site("waybill receive ../medium-4")
    site("waybill report --out ../medium-4")
    vendor("waybill fleet import medium-4 --fleet ledger")
    vendor(f"waybill fleet show {SITE_ID} --fleet ledger")


def stop_service(folder: Path) -> None:
    """End what the site keeps running, by its own pid."""
    for path in (folder / "site").rglob("*.pid"):
        pid = int(path.read_text())
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                break
            time.sleep(0.1)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute()
    begun = time.monotonic()
    if folder.exists():
        if not (folder / ".waybill-demo").exists():
            sys.exit(f"{folder} exists and is not a demo's folder")
        stop_service(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / ".waybill-demo").touch()
    port = free_port()
    try:
        vendor, paper = vendor_builds(folder)
        site = site_shell(folder)
        site_begins(site, paper["words"], port)
        site_installs(site, port)
        support_reads(vendor)
        support_writes(vendor, site)
    finally:
        stop_service(folder)
    say(f"Done in {time.monotonic() - begun:.0f} seconds. Play with {folder}; the service is stopped.")


if __name__ == "__main__":
    main()
