"""Where the text of an image stands in the folder of a chart."""

import re
from pathlib import Path

from content.kubernetes.objects import ImageField
from manifests.trust.keys import read_capped

_MAX_TEXT = 4 << 20


def place_of(chart: Path, field: ImageField) -> str:
    """Return file and line where the image stands, or at least its repository; empty for an archive."""
    if not chart.is_dir():
        return ""
    template = field.source.partition("/")[2]
    texts = {name: _lines(chart / name) for name in ("values.yaml", template) if name and (chart / name).is_file()}
    repository = re.sub(r"@.*|:[^/]*$", "", field.reference)
    for wanted in (field.reference, repository, repository.rsplit("/", 1)[-1]):
        for name, lines in texts.items():
            for number, line in enumerate(lines, 1):
                if wanted in line.partition("#")[0]:
                    return f"{chart / name}:{number}"
    return f"{chart / template}" if template in texts else ""


def _lines(path: Path) -> list[str]:
    return read_capped(path, _MAX_TEXT).decode("utf-8", "replace").splitlines()
