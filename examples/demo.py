"""Run the whole loop on an example product, with the commands that a person would type: `make demo`.

    python examples/demo.py FOLDER

FOLDER is replaced. A vendor builds three releases of `inkwell`. A site with only the kit file installs the first,
upgrades to the second, and rolls back from the third, which is broken. Support reads its reports. This program uses
the standard library and Waybill's command line. The service listens on loopback and is stopped at the end.
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
import urllib.error
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
    """A shell prompt: a name, a working folder and an environment."""

    def __init__(self, name: str, folder: Path, words: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.words = words
        self.environ = dict(environ)

    def __call__(self, line: str, *, expect: int = 0, quiet: bool = False) -> str:
        """Run ``line``, its first word mapped by ``words``; return its output. Another exit code ends the demo."""
        if not quiet:
            print(f"{DIM}{self.name}{PLAIN} $ {BOLD}{line}{PLAIN}", flush=True)
        first, *rest = shlex.split(line)
        command = [*shlex.split(self.words.get(first, first)), *rest]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            # A person sees both streams, in the order of their lines.
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


def use(url: str, *, good: int, bad: int) -> None:
    """Send ``good`` jobs to the service, and ``bad`` bodies that it refuses."""
    for i in range(good + bad):
        job = json.dumps({"document": f"document-{i}", "digest": f"{i:064x}"}) if i < good else "not a job"
        try:
            urllib.request.urlopen(url, data=job.encode(), timeout=5).close()  # our own service on loopback
        except urllib.error.HTTPError as error:
            error.close()
    print(f"{good} jobs and {bad} bodies that are none were sent to {url}\n", flush=True)


def flip(source: Path, target: Path, at: int) -> None:
    """Write a copy with one bit changed."""
    data = bytearray(source.read_bytes())
    data[at] ^= 1
    target.write_bytes(data)


def vendor_builds(folder: Path) -> tuple[Shell, dict[str, str]]:
    """Build three releases and the kit in a vendor folder. Return the shell and the fingerprint for the paper."""
    vendor = Shell("vendor", folder, {"python3": sys.executable}, os.environ)
    make = REPO / "examples" / "inkwell" / "make.py"
    say("The vendor makes a commented folder, a practice root and one key for each role.")
    vendor("waybill init vendor --product inkwell")
    say("The vendor builds and signs release 1.0.0. Its files come from examples/inkwell.")
    vendor(f"python3 {make} 1.0.0 vendor", quiet=True)
    vendor("waybill lint vendor/release.yaml")
    vendor("waybill build vendor/release.yaml -o medium")
    say("The vendor builds release 1.1.0. With --after, build checks its floor and ranges against 1.0.0.")
    vendor(f"python3 {make} 1.1.0 vendor", quiet=True)
    vendor("waybill build vendor/release.yaml -o medium-2 --after medium/inkwell-1.0.0.tar")
    say("The vendor builds release 1.2.0. Its health check will fail at the site.")
    vendor(f"python3 {make} 1.2.0 vendor", quiet=True)
    vendor("waybill build vendor/release.yaml -o medium-3 --after medium-2/inkwell-1.1.0.tar")
    say("Show a bundle, verify it, and compare two bundles.")
    vendor("waybill show medium-2/inkwell-1.1.0.tar --root vendor/trust/1.root.json")
    vendor("waybill verify medium-2/inkwell-1.1.0.tar --root vendor/trust/1.root.json")
    vendor("waybill compare medium/inkwell-1.0.0.tar medium-2/inkwell-1.1.0.tar")
    say("One bit is changed in a blob, and one in the head. Both bundles are refused.")
    bundle = folder / "medium" / "inkwell-1.0.0.tar"
    flip(bundle, folder / "tampered-bulk.tar", bundle.stat().st_size - 4000)
    flip(bundle, folder / "tampered-head.tar", bundle.read_bytes().index(b'"sequence":1') + 11)
    vendor("waybill verify tampered-bulk.tar --root vendor/trust/1.root.json", expect=7)
    vendor("waybill verify tampered-head.tar --root vendor/trust/1.root.json", expect=4)
    say("The kit is the verifier as one file for the site. Print its digest and the fingerprint on paper.")
    kit = json.loads(vendor("waybill kit medium --json", quiet=True))
    root = json.loads(vendor("waybill show vendor/trust/1.root.json --json", quiet=True))
    print(f"{DIM}vendor{PLAIN} $ {BOLD}waybill kit medium{PLAIN}\nkit     {kit['kit']}\ndigest  {kit['digest']}\n")
    words = vendor("waybill show vendor/trust/1.root.json")
    return vendor, {"words": words.partition("words")[2].splitlines()[0].strip(), "digest": root["fingerprint"]}


def site_shell(folder: Path) -> Shell:
    """Return the site's shell: the kit file, a Python without our packages, a minimal environment."""
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
    say("The site has only the medium: `waybill` is `python3 medium/waybill.pyz`. An approver makes a key.")
    site("waybill keygen ../home/ops-1.key")
    say("Enroll the site with the fingerprint from the vendor's paper. A practice root needs --practice.")
    site(
        f'waybill enroll ../medium --fingerprint "{words}" --customer northern-grid --product inkwell '
        "--environment production --name east --person ops-1=../home/ops-1.pub --practice --site ."
    )
    say("The operator edits site.yaml: the addresses of the service, and its configuration.")
    path = site.folder / "site.yaml"
    # supervisord even where systemd runs: the demo must not leave a systemd unit behind.
    text = path.read_text().replace("files: {root: srv}", "files: {root: srv, keeper: supervisord}")
    kept = [line for line in text.splitlines() if not line.startswith(("endpoints:", "config:"))]
    added = [
        "endpoints:",
        f'  api: "http://127.0.0.1:{port}"',
        f'  metrics: "http://127.0.0.1:{port}/metrics"',
        f'  app_log: "file:{site.folder}/logs/app.log"',
        f'  traces: "file:{site.folder}/data/app/traces"',
        f"config: {{hostname: inkwell.east.example, port: {port}}}",
    ]
    path.write_text("\n".join([*kept, *added]) + "\n")
    print("\n".join(added))


def site_installs(site: Shell, port: int) -> None:
    say("Receive the medium, and review the release before the approval.")
    site("waybill receive ../medium")
    site("waybill review")
    review = site("waybill review r-1.0.0")
    contract = json.loads(site("waybill review r-1.0.0 --json", quiet=True))
    digest = find(contract, "contract") or review
    say("An approver signs the plan. Then the site installs it. A first install needs the contract's digest.")
    site("waybill approve r-1.0.0 --key ../home/ops-1.key")
    site(f"waybill install r-1.0.0 --contract {digest}")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    site("waybill status")
    say("The contract allows counts of metrics, log patterns and traces. The first look begins at the end of each log.")
    site("waybill collect")
    use(f"http://127.0.0.1:{port}/jobs", good=20, bad=3)
    site("waybill collect")
    say("An upgrade. The approver is elsewhere, so a request folder goes there and comes back with the answer.")
    site("waybill receive ../medium-2")
    site("waybill review r-1.1.0 --out ../stick")
    site("waybill review ../stick")
    site("waybill approve ../stick --key ../home/ops-1.key --condition 'not before the night shift'")
    site("waybill receive ../stick")
    site("waybill install r-1.1.0")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("The broken release: its probe fails, and the site rolls back automatically.")
    site("waybill receive ../medium-3")
    site("waybill approve r-1.2.0 --key ../home/ops-1.key")
    site("waybill install r-1.2.0", expect=10)
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("A rollback by hand. The policy requires an approval.")
    site("waybill rollback --reason 'shown in the demo' --key ../home/ops-1.key")
    print(f"the service answers: {ask(f'http://127.0.0.1:{port}/healthz')}")
    say("Check and print the journal. Then write the signed reports for support.")
    site("waybill history")
    (site.folder.parent / "reports").mkdir()
    site("waybill report --out ../reports")


def find(value: object, key: str) -> str:
    """Return the first digest under ``key`` in a JSON result."""
    if isinstance(value, dict):
        held = value.get(key)
        if isinstance(held, str) and held.startswith("sha256:"):
            return held
        return next((found for one in value.values() if (found := find(one, key))), "")
    if isinstance(value, list):
        return next((found for one in value if (found := find(one, key))), "")
    return ""


def support_reads(vendor: Shell) -> None:
    say("Support imports the site's enrolment, its reports and the releases into the ledger.")
    vendor("waybill fleet enroll site/outbox/enrolment.json --fleet ledger")
    vendor("waybill fleet import medium medium-2 medium-3 reports --fleet ledger")
    vendor("waybill fleet sites --fleet ledger")
    vendor(f"waybill fleet show {SITE_ID} --fleet ledger")


def support_writes(vendor: Shell, site: Shell) -> None:
    say("Support writes a signed consignment for this site, with a random challenge.")
    vendor(f"waybill fleet consign {SITE_ID} -o medium-4 --key vendor/keys/consignment-1.key --fleet ledger")
    say("The next report of the site repeats the challenge, so support knows the earliest time of the report.")
    site("waybill receive ../medium-4")
    site("waybill report --out ../medium-4")
    vendor("waybill fleet import medium-4 --fleet ledger")
    vendor(f"waybill fleet show {SITE_ID} --fleet ledger")


def stop_service(folder: Path) -> None:
    """Stop the site's service processes, by pid."""
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
    started = time.monotonic()
    if folder.exists():
        if not (folder / ".waybill-demo").exists():
            sys.exit(f"{folder} exists and is no folder of the demo")
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
    say(f"Done in {time.monotonic() - started:.0f} seconds. The service is stopped. The files are in {folder}.")


if __name__ == "__main__":
    main()
