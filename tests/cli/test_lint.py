"""`waybill lint`: every problem with its file and line, and the shapes as JSON Schema."""

import json
import tarfile
from pathlib import Path

import pytest

from content.commands.lint import lint
from content.commands.lint_schema import SHAPES
from manifests.words.errors import MalformedError
from tests.images import LayoutWriter, sbom
from tests.signed_images import pem, rsa_key
from tests.vendor import CONTRACT_YAML
from tests.waybill import waybill
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path / "vendor")
    made.tiny()
    made.save()
    return made


def test_good(shop: Workshop) -> None:
    done = waybill("lint", "release.yaml", "contract.yaml", "rollback.yaml", "sbom.json", cwd=shop.path)
    assert done.code == 0, done
    assert done.out.splitlines() == [
        "release.yaml: good (release)",
        "contract.yaml: good (contract)",
        "rollback.yaml: good (rollback)",
        "sbom.json: good (sbom)",
    ]


def test_all_problems_at_once(shop: Workshop) -> None:
    shop.release |= {"floor": 9, "notes": "NOTES.md", "advisories": ["vex.json"]}
    shop.release["trial"]["at_most"] = "soon"
    shop.write("NOTES.md", b"line\nbell \x07\n")
    shop.write("vex.json", b"{}")
    shop.write("sbom.json", b"{}")
    shop.write("contract.yaml", CONTRACT_YAML.replace(b"64KiB", b"64KB"))
    text = shop.save().read_text().splitlines()
    lines = {key: next(n for n, one in enumerate(text, 1) if f'"{key}"' in one) for key in ("floor", "at_most")}
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert done.code == 3
    found = done.out.splitlines()
    for start in (
        f"release.yaml:{lines['floor']}: floor 9 is above the release's own sequence 5",
        f"release.yaml:{lines['at_most']}: 'soon' is not a duration",
        "NOTES.md:2: holds the control character U+0007",
        "vex.json",
        "sbom.json: neither CycloneDX nor SPDX in JSON",
        "contract.yaml:5: '64KB' is not a size",
    ):
        assert any(one.startswith(start) for one in found), (start, found)
    # Six of them are the keys that vex.json does not have.
    assert done.err.startswith("error: 11 problems in 1 of 1 file")


def test_a_weak_signer_is_a_warning(shop: Workshop) -> None:
    shop.write("ci.pub", pem(rsa_key(2048)))
    shop.release["signers"] = {"ci": {"key": "ci.pub"}}
    shop.release["images"][0] |= {"signed_by": "ci"}
    shop.release["images"][0].pop("reason", None)
    shop.save()
    done = waybill("lint", "release.yaml", cwd=shop.path)
    warning = "warning: ci.pub: an RSA key of 2048 bits, expected 3072 or more (weak)"
    assert (done.code, done.out.splitlines()) == (0, [warning, "release.yaml: good (release)"])
    shop.write("ci.pub", pem(rsa_key(3072)))
    assert waybill("lint", "release.yaml", cwd=shop.path).out == "release.yaml: good (release)\n"


def test_files_that_are_not_there(shop: Workshop) -> None:
    shop.release["files"][0]["from"] = "absent/"
    shop.release["images"][0]["from"] = "oci:dist/absent"
    shop.release["rollback"] = "gone.yaml"
    text = shop.save().read_text().splitlines()
    done = waybill("lint", "release.yaml", "--json", cwd=shop.path)
    assert done.code == 3
    found = {(one["where"], one["problem"]) for one in done.json["files"][0]["problems"]}
    for name in ("absent/", "dist/absent", "gone.yaml"):
        line = next(n for n, one in enumerate(text, 1) if name in one)
        assert (f"release.yaml:{line}", f"there is no {name}") in found


def test_unquoted_version(tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_text("waybill: 1\nproduct: small\nversion: 1.10\n")
    done = waybill("lint", tmp_path / "release.yaml")
    assert done.code == 3
    assert 'release.yaml:3: 1.10 could be a number\n  hint: write "1.10" if it is text\n' in done.out


def test_site_may_hold_decimals_in_its_config_alone(tmp_path: Path) -> None:
    text = "waybill: 1\nsite: a/b/c/d\nchannel: stable\ntarget: vm\nconfig: {ratio: 0.5}\n"
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert waybill("lint", path).out == f"{path}: good (site)\n"
    path.write_text(text + "backups: 0.5\n")
    assert waybill("lint", path).code == 3
    path.write_text("waybill: 1\npolicy: 1\nconfig: {ratio: 0.5}\n")
    assert "0.5 could be a number" in waybill("lint", path).out


def test_unknown_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("colour: red\n")
    done = waybill("lint", tmp_path / "x.yaml")
    assert (done.code, "of no kind that Waybill knows" in done.out) == (3, True)
    done = waybill("lint", tmp_path / "absent.yaml")
    assert (done.code, "no such file or folder\nhint: correct the path" in done.err) == (6, True)
    assert waybill("lint").code == 2


@pytest.mark.parametrize("kind", SHAPES)
def test_schema(kind: str) -> None:
    from jsonschema import Draft202012Validator

    done = waybill("lint", "--schema", kind)
    schema = json.loads(done.out)
    Draft202012Validator.check_schema(schema)
    assert "\\A" not in schema_patterns(schema)
    assert "\\Z" not in schema_patterns(schema)


def schema_patterns(value: object) -> str:
    if isinstance(value, dict):
        own = value["pattern"] if isinstance(value.get("pattern"), str) else ""
        return own + "".join(schema_patterns(one) for one in value.values())
    return "".join(schema_patterns(one) for one in value) if isinstance(value, list) else ""


def test_schema_says_what_the_program_says(shop: Workshop) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(waybill("lint", "--schema", "release").out))
    assert list(validator.iter_errors(shop.release)) == []
    shop.release["product"] = "Small\n"
    shop.release["colour"] = "red"
    assert len(list(validator.iter_errors(shop.release))) == 2


def test_schema_of_nothing() -> None:
    assert waybill("lint", "--schema", "colour").code == 2


def test_registries_yaml_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "registries.yaml"
    path.write_text("waybill: 1\nregistries:\n  docker.io: {mirror: m.example/hub}\n")
    assert lint(path).problems == ()
    path.write_text("waybill: 1\nregistries:\n  docker.io: {mirror: m.example/hub, tokens: []}\n")
    (problem,) = lint(path).problems
    assert problem.where == f"{path}:3"


def test_a_doubled_key_is_refused_by_lint_and_build_alike(shop: Workshop) -> None:
    doubled = sbom("1.0.0").replace(b'"specVersion"', b'"specVersion": "1.4", "specVersion"')
    shop.write("sbom.json", doubled)
    problem = "sbom.json: the key 'specVersion' appears twice in one object"
    for name in ("release.yaml", "sbom.json"):
        done = waybill("lint", name, cwd=shop.path)
        assert (done.code, problem in done.out) == (3, True), done
    with pytest.raises(MalformedError, match="the key 'specVersion' appears twice in one object"):
        shop.build()


WRONG_REGISTRIES = """\
waybill: 1
short_name: false
credential_helpers: never
registries:
  docker.io:
    mirror: "not a host"
    tokens: []
  registry.example.com:5000/team:
    plain_http: 1
    requests_per_second: 0
  "No Host!":
    ca: ca.pem
"""


def test_every_fault_of_registries_yaml_has_its_line(shop: Workshop) -> None:
    """Also when release.yaml is named, beside which it lies, and when no key says what it is."""
    shop.write("registries.yaml", WRONG_REGISTRIES.encode())
    for name in ("registries.yaml", "release.yaml"):
        done = waybill("lint", name, cwd=shop.path)
        places = {line.split(": ")[0] for line in done.out.splitlines() if line.startswith("registries.yaml:")}
        assert (done.code, places) == (3, {f"registries.yaml:{line}" for line in (2, 3, 6, 7, 9, 10, 11)}), done
    shop.write("registries.yaml", b"short_name: false\n")
    out = waybill("lint", "registries.yaml", cwd=shop.path).out
    assert "unknown field `short_name`" in out
    assert "missing required field `waybill`" in out


def test_what_registries_yaml_names_and_refuses(shop: Workshop) -> None:
    shop.write(
        "registries.yaml",
        b"waybill: 1\nshort_names: false\nregistries:\n  r.example:\n    ca: ca.pem\n    auth_file: a.json\n",
    )
    first, *others = shop.release["images"]
    shop.release["images"] = [
        first,
        *others,
        {**first, "name": "short", "to": "small/short", "from": "nginx:1.27"},
        {**first, "name": "bare", "to": "small/bare", "from": "r.example/team/app"},
    ]
    shop.save()
    out = waybill("lint", "release.yaml", cwd=shop.path).out
    for problem in (
        "registries.yaml:5: there is no ca.pem",
        "registries.yaml:6: there is no a.json",
        "'nginx:1.27' names no registry",
        "'r.example/team/app' has neither a tag nor a digest",
    ):
        assert problem in out


def test_image_files_are_opened(tmp_path: Path) -> None:
    """An archive is no registry: lint opens it once, and looks for each image that is taken from it."""
    shop = Workshop(tmp_path / "vendor")
    writer = LayoutWriter(shop.path / "dist" / "app")
    for name in ("team/app:1.0", "team/web:1.0"):
        writer.tag(writer.image([{"a": name.encode()}]), name)
    writer.save()
    with tarfile.open(shop.path / "dist" / "app.tar", "w") as tar:
        tar.add(writer.path, arcname=".")
    shop.write("sbom.json", sbom("1.0.0"))
    shop.write("dist/broken.tar", b"no tar")
    froms = {
        "layout": "oci:dist/app:web:1.0",
        "archive": "oci-archive:dist/app.tar:team/app:1.0",
        "saved": "docker-archive:dist/app.tar:docker.io/team/app:1.0",
        "several": "docker-archive:dist/app.tar:1.0",
        "absent": "docker-archive:dist/none.tar",
        "broken": "docker-archive:dist/broken.tar",
        "other": "oci:dist/app:other",
    }
    for name, place in froms.items():
        shop.image(name, **{"from": place})
    problems = [str(problem) for problem in lint(shop.save()).problems]
    assert len(problems) == 4
    for words in ("2 images called '1.0'", "there is no dist/none.tar", "not a tar header", "no images called 'other'"):
        assert [problem for problem in problems if words in problem and "release.yaml:" in problem], words
