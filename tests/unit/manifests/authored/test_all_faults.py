"""`lint` names all faults of a handwritten file in one run, in what it says as in its shape."""

from pathlib import Path

import pytest

from content.commands.lint import lint
from manifests.authored.handwritten import parse_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.authored.rollback_yaml import compile_rollback
from manifests.trust.keys import read_public
from manifests.trust.private_keys import generate_key
from manifests.words.errors import MalformedError
from tests.vendor import CONTRACT_YAML
from tests.workshop import Workshop

CONTRACT = """\
waybill: 1
contract: small-telemetry
version: 1
purpose: tests
budget: {telemetry: 64 KB, when_full: drop and count}
keep: {site: 90d, vendor: 400 days}
signals:
- {name: load, kind: metrics, fields: {count: {integer: [9, 1]}, name: {enum: [a, a]}}, per: hourly, rows: 1, why: load}
- {name: load, kind: metrics, from: {prometheus: api, series: x}, fields: {count: {integer: [1, 9]}}, why: load}
"""
ROLLBACK = """\
waybill: 1
class: reversible
back_to: [">=1.0.0", "one"]
offered_for: a month
backup:
- {name: db, make: [dump], restore: [load], try: [try], at_most: 1 GB, takes: 1m}
- {name: db, make: [dump], restore: [load], try: [try], at_most: 1GiB, takes: soon}
steps:
- {name: widen, touches: [orders], do: [widen], repeatable: true, after_crash: repeat, takes: 1m}
no_return: narrow
loses: nothing
recovery: {rolled-back: [Nothing.]}
"""
POLICY = """\
waybill: 1
policy: 1
people:
  ops-1: {role: operator, keys: [ops-1.pub]}
  ops-2: {role: operator, keys: [ops-1.pub]}
  sec-1: {role: security, keys: [absent.pub]}
rules: {major: {operator: 3}, patch: automatic, minor: {}}
veto: [lawyer]
proposer_counts: true
confirm: {by: probes}
time: warn
windows: {enforce: true, times: ["sunday"]}
"""


def problems(path: Path) -> list[str]:
    return [problem.problem for problem in lint(path).problems]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def assert_each(found: list[str], wanted: tuple[str, ...]) -> None:
    for text in wanted:
        assert sum(text in problem for problem in found) == 1, (text, found)
    assert len(found) == len(wanted), found


def test_of_a_contract(tmp_path: Path) -> None:
    found = problems(written(tmp_path, "contract.yaml", CONTRACT))
    assert_each(
        found,
        (
            "'64 KB' is not a size",
            "'400 days' is not a duration",
            "a signal of kind metrics comes from",
            "`per` and `rows` are for metrics, logs, traces",
            "'count' has its lower bound above its upper bound",
            "'name' lists a value twice",
            "'hourly' is not a duration",
            "signal 'load' is given twice",
            "exactly one signal must be of kind deployment-state",
        ),
    )


def test_of_a_rollback_document(tmp_path: Path) -> None:
    path = written(tmp_path, "rollback.yaml", ROLLBACK)
    found = problems(path)
    assert_each(
        found,
        (
            "'a month' is not a duration",
            "'1 GB' is not a size",
            "'soon' is not a duration",
            "'one'",
            "`recovery` needs rolled-back and inconsistent",
            "'orders' is not under `state`",
            "two entries have one name",
            "class reversible needs an undo for every step",
            "class reversible has no point of no return",
        ),
    )
    (wrong_range,) = [problem for problem in lint(path).problems if "'one'" in problem.problem]
    assert wrong_range.where == f"{path}:3"
    # A build stops at the first.
    with pytest.raises(MalformedError, match="'a month' is not a duration"):
        compile_rollback(parse_handwritten(ROLLBACK.encode(), "rollback.yaml"))


def test_of_a_policy(tmp_path: Path) -> None:
    (tmp_path / "ops-1.pub").write_text(generate_key().public.pem)
    found = problems(written(tmp_path, "policy.yaml", POLICY))
    for text in (
        "is listed for ops-1 and again for ops-2",
        "no such file",
        "asks for 3 of role operator, 2 are listed",
        "patch cannot be automatic",
        "the rule names no role",
        "nobody has the role lawyer",
        "'sunday' is not a window",
        "the rule 'contract' is missing",
        "the rule 'export' is missing",
    ):
        assert sum(text in problem for problem in found) == 1, (text, found)
    with pytest.raises(MalformedError):
        compile_policy(parse_handwritten(POLICY.encode(), "policy.yaml"), lambda _: read_public(tmp_path / "ops-1.pub"))


def test_of_site_yaml_with_its_placeholders(tmp_path: Path) -> None:
    text = (
        "waybill: 1\nsite: a/b/c/d\nchannel: stable\ntarget: moon\nendpoints: {api: FILL-IN, db: nowhere}\n"
        "reserve: 1\nreport: {every: 30d, history: 0}\n"
    )
    found = problems(written(tmp_path, "site.yaml", text))
    assert found[0] == "$.endpoints.api is not filled in: FILL-IN"
    rest = "\n".join(found[1:])
    for name in ("$.target", "$.endpoints", "reserve", "$.report.history"):
        assert name in rest
    assert len(found) == 5


def test_of_a_config_schema(tmp_path: Path) -> None:
    text = (
        '{"properties":{"a":{"type":7},"b":{"$ref":"http://x/y"},"c":{"$ref":"#/$defs/none"},"d":{"pattern":"("},'
        '"e":{"minimum":1e999}},"required":"a"}'
    )
    found = problems(written(tmp_path, "schema.json", text))
    for part in ("type is not", "outside of the file", "which the file does not have", "required is not", "the number"):
        assert sum(part in problem for problem in found) == 1, (part, found)
    assert len(found) == 6


def test_of_the_documents_that_a_release_names(tmp_path: Path) -> None:
    written(tmp_path, "contract.yaml", CONTRACT)
    written(tmp_path, "rollback.yaml", ROLLBACK)
    written(tmp_path, "NOTES.md", "one\nbell \x07\ntwo\nescape \x1b\n")
    alone = set(problems(tmp_path / "contract.yaml")) | set(problems(tmp_path / "rollback.yaml"))
    shop = Workshop(tmp_path / "vendor")
    shop.tiny()
    shop.release["notes"] = "NOTES.md"
    shop.save()
    for name in ("contract.yaml", "rollback.yaml", "NOTES.md"):
        (shop.path / name).write_text((tmp_path / name).read_text())
    found = problems(shop.path / "release.yaml")
    assert alone <= set(found)
    assert [problem for problem in found if "control character" in problem] == [
        "holds the control character U+0007",
        "holds the control character U+001B",
    ]


def test_a_contract_without_faults_is_good(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_bytes(CONTRACT_YAML)
    assert problems(path) == []
