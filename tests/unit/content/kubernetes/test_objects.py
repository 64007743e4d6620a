"""Images in manifests: every place where a pod names one, and nothing but these places is changed."""

from collections.abc import Callable
from textwrap import indent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from content.kubernetes.objects import MAX_OBJECTS, image_fields, replace_images, suspected_images
from manifests.words.errors import MalformedError

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: a
      image: registry.example.com/web:1.0   # the service
  initContainers:
    - {name: b, image: "busybox"}
  volumes:
    - name: models
      image: {reference: 'registry.example.com/models@sha256:MODELS', pullPolicy: Never}
    - name: other
      emptyDir: {}
""".replace("MODELS", "a" * 64)
JOB = """\
---
# Source: web/templates/job.yaml
apiVersion: batch/v1
kind: CronJob
metadata: {name: clean}
spec:
  jobTemplate: {spec: {template: {spec: {containers: [{image: tool:2}]}}}}
"""
ALIAS = """\
apiVersion: v1
kind: Pod
metadata: {name: twice}
spec:
  containers: [{name: a, image: &image quay.io/a:1}, {name: b, image: *image}]
"""
DATABASE = """\
apiVersion: example.com/v1
kind: Database
metadata: {name: main}
spec: {image: quay.io/db:15, sidecars: [{from: quay.io/side:1}], note: quay.io/left-out:1}
"""


def _places(text: str, **own: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [(field.place, field.reference, field.source) for field in image_fields(text, "x.yaml", own)]


def test_every_place_of_a_pod() -> None:
    assert _places(POD + JOB) == [
        ("Pod web spec.containers[0].image", "registry.example.com/web:1.0", ""),
        ("Pod web spec.initContainers[0].image", "busybox", ""),
        ("Pod web spec.volumes[0].image.reference", f"registry.example.com/models@sha256:{'a' * 64}", ""),
        ("CronJob clean spec.jobTemplate.spec.template.spec.containers[0].image", "tool:2", "web/templates/job.yaml"),
    ]


def test_fields_of_custom_resources_are_named() -> None:
    assert _places(DATABASE) == []
    own = {"Database": ("spec.image", "spec.sidecars.*.from", "spec.absent.image")}
    assert [reference for _, reference, _ in _places(DATABASE, **own)] == ["quay.io/db:15", "quay.io/side:1"]
    assert suspected_images(DATABASE, "x.yaml", own) == ("Database main spec.note: quay.io/left-out:1",)


def test_a_list_is_its_objects() -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n" + indent(POD, "    ").replace("    apiVersion", "  - apiVersion", 1)
    assert [place for place, _, _ in _places(listed)] == [place for place, _, _ in _places(POD)]


def test_only_the_images_change() -> None:
    text = POD + JOB + ALIAS.replace("apiVersion", "---\napiVersion", 1)
    fields = image_fields(text, "x.yaml")
    replaced = replace_images(text, fields, {field.reference: f"site.example/{field.reference}" for field in fields})
    assert replaced.count("# the service") == 1
    assert [field.reference for field in image_fields(replaced, "x.yaml")] == [
        f"site.example/{field.reference}" for field in fields
    ]
    twice = list(yaml.safe_load_all(replaced))[-1]
    assert [one["image"] for one in twice["spec"]["containers"]] == ["site.example/quay.io/a:1"] * 2
    kept = replace_images(
        replaced, image_fields(replaced, "x.yaml"), {f"site.example/{f.reference}": f.reference for f in fields}
    )
    assert list(yaml.safe_load_all(kept)) == list(yaml.safe_load_all(text))


@pytest.mark.parametrize("written", ["a.example/x:1", "'a.example/x:1'", '"a.example/x:1"', ">-\n      a.example/x:1"])
@pytest.mark.parametrize("before", ["# ünïcode · 準備 😀\n", ""])
def test_each_way_to_write_text(written: str, before: str) -> None:
    text = f'{before}apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: {written}\n    name: "ä"\n'
    (field,) = image_fields(text, "x.yaml")
    assert field.reference == "a.example/x:1"
    container = yaml.safe_load(replace_images(text, [field], {"a.example/x:1": "b:2"}))["spec"]["containers"][0]
    assert container == {"image": "b:2", "name": "ä"}


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_texts_around_stay(names: list[str]) -> None:
    objects = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"image": "a:1"}]}}
        for name in names
    ]
    text = yaml.safe_dump_all(objects, allow_unicode=True)
    replaced = replace_images(text, image_fields(text, "x.yaml"), {"a:1": "b:2"})
    expected = [{**value, "spec": {"containers": [{"image": "b:2"}]}} for value in yaml.safe_load_all(text)]
    assert list(yaml.safe_load_all(replaced)) == expected


def _bomb() -> str:
    lines = ["apiVersion: v1", "kind: Pod", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (lambda: "kind: [", "not YAML"),
        (lambda: "a: 1\n", "no object of Kubernetes"),
        (lambda: "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: [a]}]}\n", "is no text"),
        (lambda: "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: ''}]}\n", "is no text"),
        (_bomb, "more than 2000000 values"),
        (lambda: "[" * 5000, "not YAML"),
        (lambda: "---\napiVersion: v1\nkind: A\n" * (MAX_OBJECTS + 1), "at most 10000"),
    ],
)
def test_what_is_refused(text: Callable[[], str], problem: str) -> None:
    with pytest.raises(MalformedError, match=problem):
        image_fields(text(), "x.yaml")


def test_empty_documents_are_nothing() -> None:
    assert image_fields("---\n# nothing\n---\n\n---\nnull\n", "x.yaml") == ()
