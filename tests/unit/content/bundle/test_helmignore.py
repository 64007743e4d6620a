"""`.helmignore`: a table of patterns and paths, and what Helm does with each."""

import pytest

from content.bundle.helmignore import parse_helmignore
from manifests.words.errors import MalformedError

# (lines, path, left out); a path with a trailing slash is a folder.
TABLE = [
    ("", "values.yaml", False),
    ("# values.yaml\n\n   \n", "values.yaml", False),
    ("#values.yaml", "#values.yaml", False),
    # Without a slash the last name alone is compared, at any depth.
    ("*.bak", "a.bak", True),
    ("*.bak", "templates/deep/a.bak", True),
    ("*.bak", "a.bak.yaml", False),
    ("token", "secrets/token", True),
    ("token", "secrets/token/", True),
    ("  token \t", "token", True),
    # A trailing slash asks for a folder.
    ("secrets/", "secrets/", True),
    ("secrets/", "secrets", False),
    ("secrets/", "charts/sub/secrets/", True),
    # A slash in the middle or in front compares the whole path.
    ("secrets/token", "secrets/token", True),
    ("secrets/token", "charts/secrets/token", False),
    ("/token", "token", True),
    ("/token", "secrets/token", False),
    ("/secrets/", "secrets/", True),
    ("/secrets/", "charts/secrets/", False),
    ("secrets/*", "secrets/token", True),
    ("secrets/*", "secrets/deep/token", False),
    ("*/token", "secrets/token", True),
    ("*/token", "a/b/token", False),
    ("a/*/c", "a/b/c", True),
    # Wildcards of Go: neither * nor ? takes a slash; a class negates by ^, never by !.
    ("to?en", "token", True),
    ("to?en", "toen", False),
    ("a?b", "a/b", False),
    ("*", "anything", True),
    ("*a*b*c", "xaxbxc", True),
    ("*a*b*c", "xaxcxb", False),
    ("a*", "a", True),
    ("[ab].txt", "b.txt", True),
    ("[^ab].txt", "b.txt", False),
    ("[^ab].txt", "c.txt", True),
    ("[!ab].txt", "!.txt", True),
    ("[a-c].txt", "b.txt", True),
    ("[c-a].txt", "b.txt", False),
    ("[^c-a].txt", "b.txt", True),
    (r"[\]].txt", "].txt", True),
    (r"[\-a].txt", "-.txt", True),
    (r"\*.txt", "*.txt", True),
    (r"\*.txt", "a.txt", False),
    ("a.c", "abc", False),
    ("\u00fc?", "\u00fcb", True),
    # ! leaves out everything that it does not match; later lines are read for the rest.
    ("!values.yaml", "values.yaml", False),
    ("!values.yaml", "Chart.yaml", True),
    ("!templates/", "values.yaml", True),
    ("!templates/", "templates/", False),
    ("*.txt\n!*.yaml", "a.yaml", False),
    ("*.txt\n!*.yaml", "a.txt", True),
    ("!*.yaml\na.yaml", "a.yaml", True),
    (r"\!a", "!a", True),
    # Helm's own rule: names with a leading dot directly in templates/.
    ("", "templates/.swp", True),
    ("", "templates/deep/.swp", False),
    ("", ".helmignore", False),
    ("", "templates/.", False),
    ("\ufefftoken", "token", True),
    ("token\r\nother\r\n", "other", True),
]


@pytest.mark.parametrize(("lines", "path", "left_out"), TABLE)
def test_table(lines: str, path: str, left_out: bool) -> None:
    rules = parse_helmignore(lines.encode(), ".helmignore")
    assert rules.leave_out(path.removesuffix("/"), folder=path.endswith("/")) is left_out


@pytest.mark.parametrize("line", ["**/token", "a**", "[", "[]", "[a", "[a-", "[-a]", "[a-]", "[^]", "\\", "[\\"])
def test_lines_that_helm_does_not_read(line: str) -> None:
    with pytest.raises(MalformedError) as raised:
        parse_helmignore(f"# first\n{line}\n".encode(), "chart/.helmignore")
    assert raised.value.where == "chart/.helmignore:2"
    assert "pattern" in raised.value.problem


def test_many_stars_take_linear_time() -> None:
    rules = parse_helmignore(b"*a" * 100 + b"*b", ".helmignore")
    assert not rules.leave_out("a" * 255, folder=False)


def test_not_utf8() -> None:
    with pytest.raises(MalformedError, match="not UTF-8"):
        parse_helmignore(b"\xff\xfe", ".helmignore")
