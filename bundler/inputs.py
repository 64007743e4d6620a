"""Read what the vendor wrote by hand for one release: release.yaml, contract and rollback document."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.release_yaml_checks import reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback
from manifests.documents.contract import Contract
from manifests.documents.rollback import Rollback
from manifests.words.errors import MalformedError


@dataclass(frozen=True)
class ReleaseInput:
    """The handwritten files of one release, checked.

    Attributes:
        file: ``release.yaml``, for places in messages.
        folder: Where the paths in it begin.
    """

    file: Handwritten
    folder: Path
    release: ReleaseFile
    contract: Contract
    rollback: Rollback


def read_release_input(path: Path) -> ReleaseInput:
    """Raises MalformedError with the first problem and its ``file:line``."""
    file = read_handwritten(path)
    release = file.to(ReleaseFile)
    _raise_first(release_problems(file, release))
    contract = compile_contract(read_handwritten(path.parent / release.contract))
    rollback = compile_rollback(read_handwritten(path.parent / release.rollback))
    _raise_first(reference_problems(file, release, contract, rollback))
    return ReleaseInput(file, path.parent, release, contract, rollback)


def _raise_first(problems: Iterable[MalformedError]) -> None:
    for problem in problems:
        raise problem
