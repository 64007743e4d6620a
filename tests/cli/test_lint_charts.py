"""`waybill lint` judges charts as `waybill build` does, in the same words."""

from pathlib import Path

import pytest

from tests.cli.test_lint_images import same_problem
from tests.real import put_helm_on_path
from tests.unit.content.bundle.test_charts import CHART, DEPENDS, archive
from tests.waybill import waybill
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path / "vendor")
    made.write("small/Chart.yaml", CHART)
    made.release["charts"] = [{"name": "small", "from": "small"}]
    return made


def test_a_good_chart(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.save()
    done = waybill("lint", "release.yaml", cwd=shop.path, PATH=str(shop.path))
    assert done.code == 0
    assert "warning: release.yaml:50: chart small was not rendered, since this host has no helm" in done.out
    put_helm_on_path(monkeypatch)
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert (done.code, done.out) == (0, "release.yaml: good (release)\n")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("chart", "problem", "hint"),
    [
        (CHART.replace(b"0.1.0", b"1.10"), "version is 1.10 without quotes", 'write it in quotes: version: "1.10"'),
        (DEPENDS, "the chart depends on redis, which its folder charts/ does not have", "helm dependency update"),
        (CHART.replace(b"name: small\n", b""), "the chart has no name", "add name to Chart.yaml"),
        (b"a: [", "not YAML: ", "correct this place"),
    ],
)
def test_a_chart_that_build_refuses(shop: Workshop, chart: bytes, problem: str, hint: str, packed: bool) -> None:
    if packed:
        shop.write("small.tgz", archive({"small/Chart.yaml": chart}))
        shop.release["charts"][0]["from"] = "small.tgz"
    else:
        shop.write("small/Chart.yaml", chart)
    error = same_problem(shop)
    assert error.problem.startswith(problem)
    assert hint in error.remedy
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert done.code == 3
    assert problem in done.out


def test_a_link_out_of_a_chart(shop: Workshop) -> None:
    shop.write("secret", b"x")
    (shop.path / "small" / "link").symlink_to("../secret")
    error = same_problem(shop)
    assert error.problem == "the link leads to '../secret', which is outside the chart"
    assert error.finding == "chart-link"


def test_every_chart_is_judged(shop: Workshop) -> None:
    shop.write("small/Chart.yaml", DEPENDS)
    shop.write("other/Chart.yaml", CHART.replace(b"0.1.0", b"1.10"))
    shop.release["charts"].append({"name": "other", "from": "other"})
    shop.save()
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert done.code == 3
    assert done.err.startswith("error: 2 problems in 1 of 1 file")
