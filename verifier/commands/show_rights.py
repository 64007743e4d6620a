"""waybill show BUNDLE --rbac NAMESPACE"""

from pathlib import Path

import yaml

from console.output import say
from console.result import Result
from content.bundle.charts import MAX_CHART
from content.differences.bundle_documents import opened_bundle
from content.kubernetes.objects import image_fields
from content.kubernetes.render import ChartInstall, find_program, render_chart
from manifests.words.digest import Blob
from manifests.words.errors import RefusedError
from verifier.runtime.kubernetes.manifests import Manifest, split_manifests
from verifier.runtime.kubernetes.rights import least_rights, role_documents

ACCOUNT = "waybill"


def show_rights(file: Path, namespace: str) -> Result:
    """Return roles for a service account that can install the charts of a release into ``namespace``.

    The charts are rendered with their defaults by the Helm of this host. No signature is checked.
    """
    manifests: list[Manifest] = []
    with opened_bundle(file) as bundle:
        release = bundle.release
        charts = {chart.name: chart for chart in release.charts}
        steps = [step for step in release.install if step.driver == "helm" and step.chart is not None]
        if not steps:
            problem = f"{release.product} {release.version} installs no chart"
            raise RefusedError(problem, where=str(file), remedy="leave out --rbac", finding="no-chart")
        for step in steps:
            chart = charts[step.chart or ""]
            data = bundle.read(Blob(digest=chart.digest, size=chart.size), MAX_CHART)
            install = ChartInstall(step.step, namespace, release.host.kubernetes if release.host else None)
            text = render_chart(find_program("helm"), data, (), install, f"chart {chart.name}")
            image_fields(text, f"chart {chart.name}")  # within the limits
            manifests += split_manifests(text, f"chart {chart.name}")
    rights = least_rights(manifests, namespace)
    documents = role_documents(rights, ACCOUNT, namespace)
    say(f"for the charts of {release.product} {release.version} with their defaults; other values may need more")
    for kind in rights.guessed:
        say(f"the resource of {kind} is guessed, because neither Kubernetes nor the chart defines it")
    text = "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents)
    return Result(text.rstrip("\n"), {"rbac": list(documents), "guessed": list(rights.guessed)}, exact=True)
