"""Render charts with Helm: fixed arguments, an environment of its own, no plugins."""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from content.kubernetes.objects import MAX_MANIFESTS
from manifests.words.errors import HostError, MalformedError
from manifests.words.text import visible

SECONDS = 60
# Helm takes another version for granted in each of its builds, and charts ask for it.
KUBERNETES = "1.33"
_KEPT_ERROR = 2000
_MAX_FILE = 64 << 20


def find_program(name: str, search_path: str | None = None) -> str:
    """Return the path of a program of this host. Raises HostError when it has none."""
    path = shutil.which(name, path=search_path)
    if path is None:
        problem = f"this host has no program {name} in {search_path or os.environ.get('PATH', '')}"
        raise HostError(problem, where=name, remedy=f"install {name}, version 3 or 4", finding=f"{name}-missing")
    return path


@dataclass(frozen=True)
class ChartInstall:
    """What a chart is rendered for.

    Attributes:
        name, namespace: Of the installed chart.
        kubernetes: The version, as ``1.30``; None for `KUBERNETES`. Build and site state the same, so that a site
            installs the objects whose images were compared at build.
    """

    name: str
    namespace: str = "default"
    kubernetes: str | None = None


def render_chart(helm: str, chart: bytes, values: Iterable[bytes], install: ChartInstall, where: str) -> str:
    """Return what ``helm template`` makes of a chart: its CRDs, objects and hooks, without tests.

    Args:
        chart: The archive that travels.
        values: Files of values, later ones first.
        install: What Helm is told of the install.

    Raises:
        MalformedError: Helm refuses the chart or the values, or the result is too large.
        HostError: Helm cannot be started, or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="waybill-render-") as text:
        folder = Path(text)
        (folder / "chart.tgz").write_bytes(chart)
        arguments = [helm, "template", install.name, str(folder / "chart.tgz"), "--include-crds", "--skip-tests"]
        arguments += ["--namespace", install.namespace, "--kube-version", install.kubernetes or KUBERNETES]
        for i, data in enumerate(values):
            (folder / f"values-{i}.yaml").write_bytes(data)
            arguments += ["--values", str(folder / f"values-{i}.yaml")]
        return run_renderer(arguments, helm_environment(folder), folder, where)


def helm_environment(folder: Path) -> dict[str, str]:
    """Return the whole environment of a run of Helm: its folders are below ``folder``, its plugins none."""
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": "",
        "HELM_CACHE_HOME": str(folder / "cache"),
        "HELM_CONFIG_HOME": str(folder / "config"),
        "HELM_DATA_HOME": str(folder / "data"),
        "HELM_PLUGINS": str(folder / "no-plugins"),
    }


def limit_files() -> None:
    """Let this process, which becomes a program, write no file longer than the limit: it ends then."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))


def run_renderer(arguments: list[str], environment: Mapping[str, str], folder: Path, where: str) -> str:
    """Return the output of a program that renders manifests. Raises what `render_chart` raises."""
    with (folder / "rendered.yaml").open("w+b") as out, (folder / "errors.txt").open("w+b") as errors:
        try:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=dict(environment),
                cwd=folder,
                timeout=SECONDS,
                check=False,
                preexec_fn=limit_files,
            )
        except subprocess.TimeoutExpired:
            problem = f"{Path(arguments[0]).name} did not end in {SECONDS} seconds"
            raise HostError(problem, where=where, remedy="run it by hand to see why") from None
        except OSError as error:
            problem = f"cannot be started: {(error.strerror or str(error)).lower()}"
            raise HostError(problem, where=arguments[0], remedy="check the program") from None
        out.seek(0)
        errors.seek(0)
        data, messages = out.read(MAX_MANIFESTS + 1), errors.read(_KEPT_ERROR)
    if done.returncode != 0 and len(data) <= MAX_MANIFESTS:
        reason = " ".join(visible(messages.decode("utf-8", "replace")).split()).removeprefix("Error: ")
        problem = f"{Path(arguments[0]).name} does not render it: {reason or f'exit {done.returncode}'}"
        raise MalformedError(problem, where=where, finding="not-rendered")
    if len(data) > MAX_MANIFESTS:
        raise MalformedError(f"the rendered manifests have more than {MAX_MANIFESTS} bytes", where=where)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"the rendered manifests are not UTF-8 at byte {error.start}", where=where) from None
