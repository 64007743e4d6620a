"""release.yaml, site.yaml, trust.yaml: each thing that cannot hold is named with its line."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import Handwritten, parse_handwritten
from manifests.authored.release_yaml import ImageFrom, ReleaseFile, parse_from
from manifests.authored.release_yaml_checks import reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback
from manifests.authored.site_yaml import SiteFile, site_problems
from manifests.authored.trust_yaml import TrustFile, trust_problems
from manifests.words.errors import MalformedError
from tests.vendor import CONTRACT_YAML
from tests.workshop import ROLLBACK, plain_release

Change = Callable[[dict[str, Any]], object]


def written(value: object) -> Handwritten:
    return parse_handwritten(json.dumps(value, indent=1).encode(), "release.yaml", decimals_under="config")


def full_release() -> dict[str, Any]:
    image = {"name": "api", "from": "oci:dist", "to": "small/api", "signed_by": "ci", "sbom": "attached"}
    handler = {
        "name": "queue",
        "does": "counts",
        "source": "src/queue.py",
        "run": ["admin", "queue", "{which}"],
        "parameters": {"which": {"enum": ["one", "two"]}},
        "may": ["read the queue"],
        "risk": "read-only",
        "repeatable": True,
        "limits": {"time": "20s", "memory": "128MiB", "output": "2KiB"},
    }
    return plain_release() | {
        "fixes": [{"advisory": "CVE-2099-0001", "severity": "critical", "in": "api"}],
        "signers": {"ci": {"key": "ci.pub"}},
        "images": [image],
        "charts": [{"name": "small", "from": "chart"}],
        "programs": [{"name": "admin", "files": {"linux/amd64": "admin"}}],
        "handlers": [handler],
        "install": [
            {"step": "service", "driver": "files", "files": ["service"], "keep_running": ["python3"]},
            {"step": "images", "driver": "store", "images": ["api"]},
            {"step": "app", "driver": "registry", "images": ["api"], "after": ["images"], "downtime": "4m"},
        ],
    }


def problems(value: dict[str, Any]) -> list[str]:
    file = written(value)
    return [str(one) for one in release_problems(file, file.to(ReleaseFile))]


def put(*path: str | int) -> Callable[[object], Change]:
    """`put("a", 0, "b")(x)` sets ``["a"][0]["b"]`` to x."""

    def to(value: object) -> Change:
        def change(document: dict[str, Any]) -> None:
            place: Any = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        return change

    return to


def add(*path: str | int) -> Callable[[object], Change]:
    def to(value: object) -> Change:
        def change(document: dict[str, Any]) -> None:
            place: Any = document
            for step in path:
                place = place[step]
            place.append(value)

        return change

    return to


HOST = {
    "disk": "20GiB",
    "memory": "4GiB",
    "cores": 2,
    "kernel": "5.10",
    "ports": [8080],
    "clock": "5m",
    "certificates": [{"endpoint": "api", "days": 30}],
    "registry": "answers",
    "kubernetes": "1.28",
    "warn": ["memory", "cores"],
}


def test_good() -> None:
    assert problems(full_release()) == []
    assert problems(full_release() | {"host": HOST}) == []
    assert problems(plain_release()) == []


RELEASE_CASES: list[tuple[str, Change, str, str]] = [
    ("version", put("version")("1.0"), "version", "'1.0' is not a version"),
    ("range", put("needs", "from")(["1.0.0"]), '"1.0.0"\n  ]', "'1.0.0' is not a range"),
    ("calendar", put("supported_until")("2027-02-30"), "supported_until", "2027-02-30 is not in the calendar"),
    ("no audience", put("audience")({}), "audience", "the audience is either `everyone: true`, or"),
    ("both audiences", put("audience", "everyone")(True), "audience", "the audience is either"),
    ("half an audience", put("audience")({"customers": ["a"]}), "audience", "the audience is either"),
    ("floor", put("floor")(6), "floor", "floor 6 is above the release's own sequence 5"),
    ("no way in", put("needs", "fresh")(False), "needs", "nothing may go to this release"),
    ("fix", put("fixes", 0, "in")("db"), '"in"', "'db' is not an image, file set, chart or program"),
    ("twice", add("files")({"name": "service", "from": "b"}), '"from": "b"', "name 'service' is given twice"),
    ("from", put("images", 0, "from")("docker://x/y"), "docker://", "is an address, expected a reference"),
    ("platform", put("images", 0, "platforms")(["a/b", "a/b"]), "platforms", "a platform is given twice"),
    ("signer", put("images", 0, "signed_by")("nobody"), '"nobody"', "'nobody' is not under `signers`"),
    ("no reason", put("images", 0, "signed_by")("none"), '"signed_by"', "needs a `reason`"),
    ("sbom", put("images", 0, "sbom")("none"), '"sbom"', "`sbom: none` and `sbom_reason` go together"),
    ("host size", put("host")({"disk": "20GB"}), '"disk"', "'20GB' is not a size"),
    ("host memory", put("host")({"memory": "4"}), '"memory"', "'4' is not a size"),
    ("host clock", put("host")({"clock": "5"}), '"clock"', "'5' is not a duration"),
    ("host of nothing", put("host")({}), '"host"', "nothing is needed"),
    ("host port twice", put("host")({"ports": [80, 80]}), '"ports"', "an entry is given twice"),
    ("host warning", put("host")({"cores": 2, "warn": ["disk"]}), '"warn"', "disk only warns, and is not stated"),
    ("two signers", put("signers", "ci", "issuer")("i"), '"ci": {', "needs either key, or identity and issuer"),
    (
        "built-in handler",
        put("handlers", 0, "name")("inventory"),
        '"name"',
        "'inventory' is a handler of every verifier",
    ),
    ("network", put("handlers", 0, "endpoints")(["api"]), '"endpoints"', "the sandbox of a handler has no network"),
    ("program", put("handlers", 0, "run")(["sh", "-c", "{which}"]), '"run"', "'sh' is not a program"),
    ("unknown parameter", add("handlers", 0, "run")("{x}"), '"run"', "{x} is not under `parameters`"),
    ("mixed parameter", add("handlers", 0, "run")("a={which}"), '"run"', "mixes a parameter with other text"),
    ("unused", put("handlers", 0, "run")(["admin"]), '"which"', "parameter 'which' is not used in `run`"),
    ("bounds", put("handlers", 0, "parameters", "which")({"integer": [2, 1]}), '"which": {', "lower bound above"),
    ("no bounds", put("handlers", 0, "parameters", "which")({}), '"which": {', "needs exactly one of enum"),
    ("duration", put("handlers", 0, "limits", "time")("20"), '"time"', "'20' is not a duration"),
    ("size", put("handlers", 0, "limits", "memory")("1GB"), '"memory"', "'1GB' is not a size"),
    ("driver", put("install", 0, "driver")("ansible"), '"ansible"', "needs the driver 'ansible', verifiers have"),
    (
        "chart",
        add("install")({"step": "web", "driver": "helm", "chart": "big"}),
        '"big"',
        "'big' is not under `charts`",
    ),
    ("no chart", add("install")({"step": "web", "driver": "helm"}), '"web"', "driver helm takes `chart` and nothing"),
    ("nothing to do", put("install", 1, "images")([]), '"step": "images"', "takes `images` and nothing else, found"),
    ("too much", put("install", 1, "chart")("small"), '"step": "images"', "found images, chart"),
    ("keeps", put("install", 1, "keep_running")(["x"]), "keep_running", "only driver files keeps a program running"),
    (
        "data",
        put("install", 1, "data")("images"),
        '"data"',
        "`data` is the folder of a service, and the step keeps none",
    ),
    ("unknown image", add("install", 1, "images")("db"), '"db"', "'db' is not in this release"),
    ("order", put("install", 2, "after")(["app"]), '"after"', "`after` names 'app', which is not a step above"),
    ("probe", put("probes", 0, "step")("x"), '"step": "x"', "'x' is not a step of `install`"),
    ("two probes", put("probes", 0, "tcp")({"endpoint": "a"}), '"name": "placed"', "exactly one of http, tcp"),
    (
        "file probe",
        put("probes", 0)({"name": "f", "file": {"files": "x", "path": "y"}}),
        '"file"',
        "is not under `files`",
    ),
    ("unprobed", put("probes")([]), '"trial"', "probes are to confirm the trial, and there are none"),
    ("trial", put("trial", "at_most")("15"), '"at_most"', "'15' is not a duration"),
]


@pytest.mark.parametrize(
    ("change", "line", "message"), [one[1:] for one in RELEASE_CASES], ids=[one[0] for one in RELEASE_CASES]
)
def test_release(change: Change, line: str, message: str) -> None:
    value = full_release()
    change(value)
    found = problems(value)
    assert len(found) == 1, found
    assert message in found[0]
    text = json.dumps(value, indent=1)
    # Where a text stands twice the last one is the one that was put there.
    assert text.count(line) >= 1
    lines = {text[: at + len(line)].count("\n") + 1 - line.count("\n") for at in occurrences(text, line)}
    where, number, _ = found[0].split(":", 2)
    assert where == "release.yaml"
    assert any(abs(int(number) - one) <= 1 for one in lines), (found[0], lines)


def occurrences(text: str, part: str) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(part, i)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("colour")("red"), "unknown field `colour`"),
        (put("images", 0, "registry")("x"), "unknown field `registry`"),
        (put("sequence")(0), ">= 1"),
        (put("product")("Small"), "matching regex"),
        (put("install")([]), "length >= 1"),
        (put("trial", "confirm")("nobody"), "invalid enum value"),
    ],
)
def test_release_shape(change: Change, message: str) -> None:
    value = full_release()
    change(value)
    with pytest.raises(MalformedError, match=message) as caught:
        problems(value)
    assert caught.value.where.startswith("release.yaml:")


def references(release: dict[str, Any], rollback: dict[str, Any], contract: bytes = CONTRACT_YAML) -> list[str]:
    file = written(release)
    return [
        one.problem
        for one in reference_problems(
            file,
            file.to(ReleaseFile),
            compile_contract(parse_handwritten(contract, "contract.yaml")),
            compile_rollback(parse_handwritten(json.dumps(rollback).encode(), "rollback.yaml")),
        )
    ]


STEP = {"name": "widen", "do": ["admin", "up"], "undo": ["admin", "down"], "repeatable": True, "after_crash": "repeat",
        "takes": "1m"}  # fmt: skip
HEALTH = b"""\
  - name: health
    kind: health
    from: {probe: placed}
    fields: {state: {enum: [passing]}}
    why: health
  - name: depth
    kind: command-result
    from: {handler: queue}
    fields: {waiting: {integer: [0, 9]}}
    why: depth
"""


def test_a_step_with_a_chart_too() -> None:
    release = full_release()
    release["install"][2]["chart"] = "small"
    (problem,) = problems(release)
    assert "driver registry takes `images` and nothing else, found images, chart" in problem


def test_references_that_hold() -> None:
    release = full_release()
    release["install"].append({"step": "widen", "driver": "program", "migration": "widen"})
    release["handlers"][0]["returns"] = "depth"
    assert references(release, ROLLBACK | {"class": "reversible", "steps": [STEP]}, CONTRACT_YAML + HEALTH) == []


FORMATS = {"before": {"reads": [1, 1], "writes": 1}, "after": {"reads": [1, 1], "writes": 1}}


@pytest.mark.parametrize(
    ("saved", "touched", "program", "expected"),
    [
        ("service", "service", "admin", None),
        ("other", "other", "admin", None),  # perhaps a server outside: a warning
        ("other", "service", "other-admin", None),
        ("other", "service", "admin", "backup 'other' of rollback.yaml runs 'admin' with WAYBILL_DATA=data, and step"),
        ("service", "other", "admin", "step 'widen' of rollback.yaml runs 'admin' with WAYBILL_DATA=data, and backup"),
    ],
)
def test_one_program_with_two_data_folders(saved: str, touched: str, program: str, expected: str | None) -> None:
    release = full_release()
    release["install"].append({"step": "widen", "driver": "program", "migration": "widen"})
    release["programs"].append({"name": "other-admin", "files": {"linux/amd64": "admin"}})
    run = [program, "x"]
    backup = {"name": saved, "make": run, "restore": run, "try": run, "at_most": "1MiB", "takes": "1s"}
    state = [{"name": name, **FORMATS} for name in ("service", "other")]
    changed = {"class": "reversible", "state": state, "backup": [backup], "steps": [STEP | {"touches": [touched]}]}
    found = references(release, ROLLBACK | changed, CONTRACT_YAML + HEALTH)
    assert len(found) == (expected is not None)
    assert not expected or found[0].startswith(expected)


def test_references_that_do_not() -> None:
    release = full_release()
    release["install"].append({"step": "widen", "driver": "program", "migration": "narrow"})
    release["handlers"][0] |= {"name": "other", "returns": "health"}
    release["probes"][0]["name"] = "renamed"
    release["programs"][0]["name"] = "administrator"
    found = references(release, ROLLBACK | {"class": "reversible", "steps": [STEP]}, CONTRACT_YAML + HEALTH)
    assert found == [
        "signal 'health' of contract.yaml reads probe 'placed', which is not here",
        "signal 'depth' of contract.yaml needs handler 'queue', which is not here",
        "handler 'other' returns 'health', which contract.yaml does not take from it",
        "migration 'narrow' is not a step of rollback.yaml",
        "step 'widen' of rollback.yaml is run by no install step",
        "do of step 'widen' of rollback.yaml runs 'admin', which is not a program of this release",
        "undo of step 'widen' of rollback.yaml runs 'admin', which is not a program of this release",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:dist/app", ImageFrom("oci", "dist/app")),
        ("oci:dist/app:team/app:1.0", ImageFrom("oci", "dist/app", "team/app:1.0")),
        ("oci-archive:a.tar", ImageFrom("oci-archive", "a.tar")),
        ("oci-archive:/x/a.tar:1.0", ImageFrom("oci-archive", "/x/a.tar", "1.0")),
        ("registry.example.com/a/b:1", ImageFrom("registry", "registry.example.com/a/b:1")),
        ("localhost:5000/a@sha256:00", ImageFrom("registry", "localhost:5000/a@sha256:00")),
    ],
)
def test_from(text: str, expected: ImageFrom) -> None:
    assert parse_from(text) == expected


@pytest.mark.parametrize("text", ["oci:", "oci::1", "oci:a:", "oci-archive:", "a.tar", "./a", "/a/b", "https://x/y"])
def test_from_that_names_nothing(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_from(text)


SITE: dict[str, Any] = {
    "waybill": 1,
    "site": "northern-grid/small/production/east",
    "channel": "stable",
    "target": "vm",
    "drivers": {
        "store": {},
        "registry": {"endpoint": "registry.example:5000", "login": {"secret": "file:secrets/r"}},
        "files": {"root": "srv"},
        "program": {"user": 65534},
    },
    "endpoints": {"api": "http://127.0.0.1:80/x"},
    "config": {"replicas": 2, "nested": {"deep": [True, "x"]}},
    "report": {"every": "never", "history": 12},
    "keep": {"generations": 3, "backups": "30d", "reserve": "64MiB"},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("channel")("stable"), ""),
        (put("report", "every")("monthly"), "'monthly' is not a duration"),
        (put("keep", "backups")("30"), "'30' is not a duration"),
        (put("keep", "reserve")("64"), "'64' is not a size"),
        (put("labels")(["a", "a"]), "a name is given twice"),
        (put("drivers", "files", "root")("../srv"), "is outside of the site's folder"),
        (put("drivers", "files", "root")("/srv"), "is outside of the site's folder"),
        (put("drivers", "program", "user")("root"), "never run as root"),
        (put("drivers", "program", "user")(0), "never run as root"),
        (put("endpoints", "api")("ftp://x"), "matching regex"),
        (put("site")("northern-grid/small/east"), "matching regex"),
        (put("drivers", "registry", "login", "secret")("hunter2"), "matching regex"),
        (put("drivers", "registry", "endpoint")("https://x"), "matching regex"),
    ],
)
def test_site(change: Change, message: str) -> None:
    value = copy.deepcopy(SITE)
    change(value)
    file = written(value)
    try:
        found = [one.problem for one in site_problems(file, file.to(SiteFile))]
    except MalformedError as error:
        found = [error.problem]
    assert [message in one for one in found] == ([True] if message else [])


def test_decimals_of_config() -> None:
    file = parse_handwritten(b"config: {ratio: 0.5}\n", "site.yaml", decimals_under="config")
    assert str(file.plain["config"]["ratio"]) == "0.5"  # type: ignore[index,call-overload]  # the shape of the line above


TRUST: dict[str, Any] = {
    "waybill": 1,
    "vendor": "small-works",
    "epoch": 1,
    "keys": {name: {"public": f"keys/{name}.pub"} for name in ("a", "b", "old")},
    "roles": {name: {"keys": ["a"], "threshold": 1} for name in ("root", "consignment", "rollback")}
    | {"release": {"keys": ["a", "b"], "threshold": 2, "products": ["small"]}},
    "leave": [{"key": "old", "how": "retired", "last": {"epoch": 1, "sequence": 40}}],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("practice")(True), ""),
        (lambda value: value["roles"].pop("root"), "role 'root' is missing"),
        (put("roles", "boss")({"keys": ["a"], "threshold": 1}), "'boss' is not a role, expected root, release"),
        (add("roles", "root", "keys")("c"), "'c' is not under `keys`"),
        (add("roles", "root", "keys")("a"), "a name is given twice"),
        (put("roles", "root", "threshold")(2), "threshold 2 is above the number of keys, 1"),
        (put("roles", "release", "products")([]), "`products` belongs to the role release alone"),
        (put("roles", "root", "products")(["small"]), "`products` belongs to the role release alone"),
        (put("leave", 0, "key")("x"), "'x' is not under `keys`"),
        (put("leave", 0, "key")("b"), "'b' leaves and still has a role"),
        (add("leave")({"key": "old", "how": "revoked"}), "'old' is given twice"),
        (put("leave", 0, "how")("revoked"), "a revoked key has no `last`"),
    ],
)
def test_trust(change: Change, message: str) -> None:
    value = copy.deepcopy(TRUST)
    change(value)
    file = written(value)
    found = [one.problem for one in trust_problems(file, file.to(TrustFile))]
    assert [message in one for one in found] == ([True] if message else [])
