"""Three charts of different shapes, and releases of a vendor that install them.

`WEB` has no state; `STORE` a StatefulSet, a migration Job and hooks; `OPERATOR` a CRD, and an object of its kind.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from content.bundle.charts import collect_chart
from manifests.documents import release as r
from manifests.words.digest import Blob, digest_of
from tests.cluster import Cluster, kube_tool
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor

SCHEMA = json.dumps(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "minimum": 0},
            "greeting": {"type": "string"},
            "password": {"type": "string"},
            "image": {"type": "string"},
        },
        "additionalProperties": False,
    }
).encode()
# As the vendor's chart writes it; nothing is ever pulled from there.
REFERENCE = "registry.vendor.example/small/api:1.0"
REGISTRY = "registry.plant.example:5000"

WEB = {
    "values.yaml": f"replicas: 2\ngreeting: hello\npassword: ''\nimage: {REFERENCE}\n",
    "templates/deployment.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {app: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
        - name: web
          image: {{ .Values.image }}   # in the vendor's registry
          ports: [{containerPort: 8080}]
          env:
            - {name: GREETING, value: {{ .Values.greeting | quote }}}
""",
    "templates/service.yaml": """\
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80, targetPort: 8080}]
""",
    "templates/config.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-config}
data:
  greeting: {{ .Values.greeting | quote }}
  mode: "0640"
  braces: "{{ "{{" }} not a template }}"
---
{{- if .Values.password }}
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-login}
stringData: {password: {{ .Values.password | quote }}}
{{- end }}
""",
}

STORE = {
    "values.yaml": f"replicas: 1\nimage: {REFERENCE}\n",
    "templates/set.yaml": """\
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {clusterIP: None, selector: {app: {{ .Release.Name }}}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {{ .Release.Name }}}
spec:
  serviceName: {{ .Release.Name }}
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}, chart: {{ .Chart.Version | quote }}}}
    spec:
      initContainers: [{name: prepare, image: {{ .Values.image }}}]
      containers: [{name: store, image: {{ .Values.image }}}]
""",
    "templates/hooks.yaml": """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "1"
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: migrate, image: {{ .Values.image }}, args: ["migrate", {{ .Chart.Version | quote }}]}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-done
  annotations: {helm.sh/hook: "post-install,post-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
data: {version: {{ .Chart.Version | quote }}}
---
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: test, image: registry.vendor.example/never-listed:1}]}
""",
}

OPERATOR = {
    "values.yaml": f"image: {REFERENCE}\n",
    "crds/widget.yaml": """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.vendor.example}
spec:
  group: vendor.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer}, image: {type: string}}}
""",
    "templates/operator.yaml": """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name }}}
rules: [{apiGroups: [vendor.example], resources: [widgets], verbs: [get, list, watch]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: 1
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers:
        - {name: operator, image: {{ .Values.image }}, env: [{name: WIDGET_IMAGE, value: {{ .Values.image }}}]}
---
apiVersion: vendor.example/v1
kind: Widget
metadata: {name: first}
spec: {size: 3, image: {{ .Values.image }}}
""",
}


def pack(folder: Path, name: str, version: str, files: Mapping[str, str]) -> bytes:
    """Write a chart as a vendor has it, and return its archive."""
    for path, text in {**files, "Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\n"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return collect_chart(folder)


@dataclass
class ChartVendor:
    """Makes releases with one chart, one image and the schema of its configuration."""

    folder: Path
    name: str
    files: Mapping[str, str]
    step: str = ""
    change: dict[str, object] = field(default_factory=dict)

    def release(self, number: int, **files: str | None) -> Vendor:
        """Version ``1.<number - 1>.0``; ``files`` change the chart, by its path with ``_`` for ``/`` and ``.``."""
        version = f"1.{number - 1}.0"
        named = {path.replace("/", "_").replace(".", "_"): path for path in self.files}
        changed = {named[key]: text for key, text in files.items()}
        kept = {path: text for path, text in {**self.files, **changed}.items() if text is not None}
        chart = pack(self.folder / f"{self.name}-{number}", self.name, version, kept)
        plain = Vendor(version=version, sequence=number, needs_from=(">=1.0.0, <9.0.0",))
        (image,) = plain.blobs()[2]
        entry = r.Chart(
            name=self.name,
            digest=digest_of(chart),
            size=len(chart),
            references=(r.ImageReference(reference=REFERENCE, image=image.name),),
        )
        steps = (
            r.InstallStep(step="images", driver="store", images=("api",)),
            r.InstallStep(step=self.step or self.name, driver="helm", chart=self.name),
        )
        change = {
            "charts": (entry,),
            "install": steps,
            "config": r.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1),
            **self.change,
        }
        return plain.but(extra={"chart": chart, "schema": SCHEMA}, change=change)


def cluster_place(folder: Path, cluster: Cluster, vendor: Vendor, namespace: str = "") -> tuple[Place, str]:
    """A site whose charts go to a fresh namespace of the cluster; return it with the namespace."""
    namespace = namespace or cluster.namespace()
    place = make_place(folder, vendor, disk=QuickDisk())
    (place.path / "secrets").mkdir(exist_ok=True)
    cluster.write_kubeconfig(place.path / "secrets" / "kubeconfig", namespace="elsewhere")
    registry = f"registry: {{endpoint: {json.dumps(REGISTRY)}, prefix: plant}}"
    settings = (
        f'kubeconfig: {{secret: "file:secrets/kubeconfig"}}, namespace: {namespace}, '
        f"program: {kube_tool('helm')}, timeout: 6s"
    )
    edit(
        place,
        "files: {root: srv}",
        f"files: {{root: srv}}\n  {registry}\n  helm: {{{settings}}}",
    )
    return place, namespace


def edit(place: Place, old: str, new: str) -> None:
    yaml = place.path / "site.yaml"
    assert old in yaml.read_text(), yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))


def configure(place: Place, **config: object) -> None:
    """Replace the configuration in ``site.yaml``."""
    yaml = place.path / "site.yaml"
    lines = [
        f"config: {json.dumps(config)}" if line.startswith("config:") else line
        for line in yaml.read_text().splitlines()
    ]
    yaml.write_text("\n".join(lines) + "\n")
