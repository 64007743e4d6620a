"""The pages in a real browser: nothing is fetched or run, light and dark, on paper, on a telephone."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.verifier.approval.test_review import HOSTILE, first_vendor, matter, next_vendor, papers, side
from tests.vendor import Vendor
from tests.waybill import waybill

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs chromium")]


@pytest.fixture(scope="module", params=["review", "paper"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A review of hostile documents, and the paper of a first enrolment."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / f"{request.param}.html"
    if request.param == "review":
        found = matter(side(first_vendor()), side(next_vendor()), unread=(HOSTILE,))
        path.write_text(papers(found)[2])
        return path
    (folder / "1.root.json").write_bytes(Vendor(practice=True).root_file())
    done = waybill("show", folder / "1.root.json", "--page", path, "--minimum-sequence", 3)
    assert done.code == 0, done
    return path


def browse(page: Path, *words: str) -> str:
    """Run the browser without a profile and without a network; what it printed."""
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--proxy-server=127.0.0.1:9",
            f"--user-data-dir={page.parent / 'profile'}",
            "--window-size=1100,1600",
            *words,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ground(path: Path) -> tuple[int, ...]:
    with Image.open(path) as shot:
        found = shot.convert("RGB").getpixel((5, 5))
    assert isinstance(found, tuple)
    return tuple(int(one) for one in found)


def test_light_and_dark(page: Path, tmp_path: Path) -> None:
    browse(page, f"--screenshot={tmp_path / 'light.png'}")
    # 0 is dark: what a reader's system says (prefers-color-scheme).
    browse(page, "--blink-settings=preferredColorScheme=0", f"--screenshot={tmp_path / 'dark.png'}")
    assert min(ground(tmp_path / "light.png")) > 240
    assert max(ground(tmp_path / "dark.png")) < 40


def test_what_a_document_says_runs_nothing(page: Path) -> None:
    """The hostile text is there as text: what a browser made of the page has no script, no image, no handler in it."""
    made = browse(page, "--dump-dom")
    assert not re.findall(r"<(script|img|iframe|object|link|form|svg)\b", made)
    assert not re.findall(r"<[a-z][^>]*\son[a-z]+=", made)
    if page.name == "review.html":
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made


def test_printed(page: Path, tmp_path: Path) -> None:
    browse(page, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    # The paper is one sheet, printed on both sides.
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert pages <= 2 if page.name == "paper.html" else pages >= 2


def test_no_word_is_cut_off_on_a_narrow_screen(page: Path) -> None:
    """At 390 pixels neither the page nor a table scrolls sideways: the cells of a row stand below each other."""
    framed = page.with_name("framed.html")
    # A window of the browser has at least 500 pixels, a frame may have fewer. The frame has the origin of this page.
    framed.write_text(f"""<!DOCTYPE html><title></title>
      <iframe width="390" height="900" frameborder="0" srcdoc="{html.escape(page.read_text())}"></iframe>
      <script>
        window.onload = () => {{
          const inner = document.querySelector("iframe").contentWindow;
          const parts = [inner.document.documentElement, ...inner.document.querySelectorAll("section, .wide")];
          const cut = parts.filter(part => part.scrollWidth > part.clientWidth);
          document.title = JSON.stringify([inner.innerWidth, parts.length > 5, cut.map(part => part.outerHTML)]);
        }};
      </script>""")
    made = browse(framed, "--dump-dom")
    assert re.findall(r"<title>(.+)</title>", made)[:1] == ["[390,true,[]]"]
