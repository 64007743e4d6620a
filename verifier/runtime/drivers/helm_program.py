"""Runs the site's Helm: fixed arguments, an environment of its own, no plugins; and heals what a crash left behind.

Helm marks a release as pending while it works on it, and refuses every later change of one that stayed so. Whether a
pending release is ours is in ``run/helm/<step>.json``, which is written before Helm is started.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from content.kubernetes.render import find_program, helm_environment, limit_files
from manifests.authored.site_yaml import HelmDriverFile
from manifests.documents.release import InstallStep
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Name, Positive
from manifests.words.errors import HostError, MalformedError, RefusedError
from manifests.words.quantities import parse_duration
from manifests.words.text import one_line
from verifier.runtime.drivers.driver import DriverContext, read_secret
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.drivers.processes import MARK, ProcessClock, processes_of, stop_processes
from verifier.runtime.kubernetes.client import Json, KubernetesClient, without_secrets
from verifier.runtime.kubernetes.kubeconfig import ClusterAccess, parse_kubeconfig
from verifier.runtime.kubernetes.objects import texts_at

GENERATION = "waybill-generation"
PENDING = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
OLDEST = (3, 8)
_VERSION = re.compile(r"\Av?([0-9]{1,3})\.([0-9]{1,4})\.[0-9A-Za-z.+-]{1,60}\s*\Z")
_KEPT_OUTPUT = 8 << 10
_MAX_RECORD = 64 << 10
_VERSION_SECONDS = 20


@dataclass(frozen=True)
class HelmRelease:
    """What Helm keeps of one revision of what it installed.

    Attributes:
        generation: Of this site, as the label says; 0 without one.
    """

    revision: int
    status: str
    generation: int


class HelmRecord(Document, frozen=True, kw_only=True):
    """``run/helm/<step>.json``: what Helm was started for.

    Attributes:
        former: The generation that ran before, 0 for none.
        ended: Whether that run of Helm ended, well or not.
    """

    generation: Positive
    former: Count
    namespace: Name
    ended: bool


@dataclass(frozen=True)
class HelmSite:
    """One step's Helm and its cluster."""

    context: DriverContext
    step: InstallStep
    settings: HelmDriverFile
    kubeconfig: Path
    access: ClusterAccess
    hidden: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.step.step

    @property
    def definitions_name(self) -> str:
        return f"{self.step.step}-crds"

    @property
    def record_path(self) -> Path:
        return self.context.site / "run" / "helm" / f"{self.step.step}.json"

    @property
    def mark(self) -> Path:
        """Helm has it in its environment, so that one whose command was killed is found."""
        return self.context.site / "run" / "helm" / self.step.step

    def read_record(self) -> HelmRecord | None:
        try:
            data = self.record_path.read_bytes()
            return parse(data, HelmRecord, str(self.record_path), max_bytes=_MAX_RECORD)
        except (FileNotFoundError, MalformedError):
            return None

    def write_record(self, record: HelmRecord) -> None:
        with host_errors(self.record_path):
            self.context.disk.make_folder(self.record_path.parent)
            self.context.disk.write(self.record_path, encode(record))


def open_helm_site(context: DriverContext, step: InstallStep, settings: HelmDriverFile) -> HelmSite:
    """Return how Helm and the cluster are reached. Raises RefusedError or HostError for a kubeconfig."""
    path, data = read_secret(context, settings.kubeconfig.secret, "helm.kubeconfig.secret")
    return HelmSite(context, step, settings, path, parse_kubeconfig(path, data))


def helm_path(settings: HelmDriverFile, context: DriverContext) -> str:
    return settings.program or find_program("helm", context.search_path)


def check_version(settings: HelmDriverFile, context: DriverContext) -> None:
    """Raise HostError unless Helm starts and states a version that is new enough."""
    helm = helm_path(settings, context)
    with tempfile.TemporaryDirectory(prefix="waybill-helm-") as folder:
        code, out, err = _run([helm, "version", "--template", "{{.Version}}"], Path(folder), {}, _VERSION_SECONDS)
    match = _VERSION.match(out)
    remedy = f"install Helm {OLDEST[0]}.{OLDEST[1]} or newer, or name it: drivers: {{helm: {{program: /path/to/helm}}}}"
    if code or match is None:
        stated = one_line(out.strip() or err.strip())[:100] or "nothing"
        raise HostError(f"it states no version, but {stated}", where=helm, remedy=remedy, finding="helm-version")
    if (int(match[1]), int(match[2])) < OLDEST:
        problem = f"it is Helm {out.strip()}, expected {OLDEST[0]}.{OLDEST[1]} or newer"
        raise HostError(problem, where=helm, remedy=remedy, finding="helm-version")


def revisions(client: KubernetesClient, namespace: str, name: str) -> tuple[HelmRelease, ...]:
    """Return what Helm keeps of a release, oldest first, by the labels of its Secrets alone."""
    listed = client.items(
        f"/api/v1/namespaces/{namespace}/secrets", selector=f"owner=helm,name={name}", metadata_only=True
    )
    return tuple(sorted((_revision(item) for item in listed), key=lambda release: release.revision))


def _revision(item: Json) -> HelmRelease:
    labels = texts_at(item, "metadata", "labels")
    version, generation = labels.get("version", ""), labels.get(GENERATION, "")
    return HelmRelease(
        revision=int(version) if version.isdecimal() else 0,
        status=labels.get("status", "unknown"),
        generation=int(generation) if generation.isdecimal() else 0,
    )


def upgrade(site: HelmSite, name: str, chart: Path) -> None:
    """Install or upgrade to a chart of plain files, and wait until everything of it is ready. Raises HostError."""
    words = ["upgrade", name, str(chart), "--install", "--wait", "--timeout", _timeout(site)]
    run(site, [*words, "--labels", f"{GENERATION}={site.context.generation}"])


def uninstall(site: HelmSite, name: str, *, hooks: bool = True) -> None:
    words = ["uninstall", name, "--wait", "--timeout", _timeout(site)]
    run(site, words if hooks else [*words, "--no-hooks"])


def heal(site: HelmSite, client: KubernetesClient, name: str) -> None:
    """Bring a release whose last change was cut off, or failed, back to where Helm takes the next one.

    Steps: 1 end a Helm whose command was killed; 2 go back to the revision that was deployed last, so that objects of
    the failed one go; 3 without one remove what a first install left.

    Raises:
        RefusedError: Somebody else is at work on it.
        HostError: It cannot be done.
    """
    stop_processes(processes_of(str(site.mark)), ProcessClock())  # 1
    known = revisions(client, site.settings.namespace, name)
    if not known or known[-1].status not in (*PENDING, "failed"):
        return
    newest = known[-1]
    record = site.read_record()
    if newest.status in PENDING and (record is None or record.ended):
        raise not_ours(site, name, newest)
    deployed = [release.revision for release in known if release.status == "deployed"]
    if deployed and newest.status != "uninstalling":  # 2
        run(site, ["rollback", name, str(deployed[-1]), "--no-hooks", "--timeout", _timeout(site)])
    elif newest.generation or newest.status in PENDING:  # 3
        uninstall(site, name, hooks=False)


def not_ours(site: HelmSite, name: str, newest: HelmRelease) -> RefusedError:
    return RefusedError(
        f"Helm has release {name} as {newest.status} (revision {newest.revision}), and this site did not start that",
        where=f"namespace {site.settings.namespace}",
        remedy="wait until it ends; if nobody works on it, end it with `helm rollback` and run the command again",
        finding="helm-pending",
    )


def run(site: HelmSite, words: Sequence[str]) -> str:
    """Run Helm against the cluster and return its output. Raises HostError, in words without anything secret."""
    argv = [helm_path(site.settings, site.context), *words, "--namespace", site.settings.namespace]
    argv += ["--kubeconfig", str(site.kubeconfig)]
    # Hooks before and after have the time-out each.
    seconds = 4 * parse_duration(site.settings.timeout) + 60
    with tempfile.TemporaryDirectory(prefix="waybill-helm-") as folder:
        code, out, err = _run(argv, Path(folder), {MARK: str(site.mark)}, seconds)
    if code:
        reason = _reason(err or out, (*site.access.secrets, *site.hidden))
        raise HostError(
            f"helm {words[0]} failed: {without_secrets(reason, site.access)}",
            where=f"release {words[1]} in namespace {site.settings.namespace}",
            remedy="look at the pods of this namespace, and at their events",
            finding="helm-failed",
        )
    return out


def _reason(text: str, hidden: Iterable[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "(secret)")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("WARNING", "NAME:"))]
    errors = [line for line in lines if line.startswith("Error: ")]
    return one_line(" ".join(errors or lines[-3:]).removeprefix("Error: "))[:600] or "no reason"


def _timeout(site: HelmSite) -> str:
    return f"{parse_duration(site.settings.timeout)}s"


def _run(argv: list[str], folder: Path, more: dict[str, str], seconds: int) -> tuple[int, str, str]:
    """Run a program in ``folder``; return code, and the ends of output and errors. Raises HostError."""
    with (folder / "out").open("w+b") as out, (folder / "err").open("w+b") as err:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**helm_environment(folder), **more},
                cwd=folder,
                timeout=seconds,
                check=False,
                preexec_fn=limit_files,
            )
        except subprocess.TimeoutExpired:
            problem = f"it did not end in {seconds} seconds"
            raise HostError(problem, where=argv[0], remedy="run it by hand to see why", finding="helm-hangs") from None
        except OSError as error:
            problem = f"it cannot be started: {(error.strerror or str(error)).lower()}"
            raise HostError(problem, where=argv[0], remedy="check the program", finding="helm-missing") from None
        texts = []
        for file in (out, err):
            file.seek(max(0, file.seek(0, 2) - _KEPT_OUTPUT))
            texts.append(file.read().decode("utf-8", "replace"))
    return done.returncode, texts[0], texts[1]
