"""The vendor's root documents on disk: ``trust/<n>.root.json`` beside ``trust.yaml``."""

import re
from itertools import pairwise
from pathlib import Path

from manifests.errors import HostError, MalformedError, RefusedError
from manifests.keys import Signer, read_capped
from manifests.trust import MAX_ROOT, Chain, Mark, Pin, check_vendor_product, parse_root, verify_chain

_NAME = re.compile(r"([1-9][0-9]{0,4})\.root\.json")


def read_roots(folder: Path) -> tuple[bytes, ...]:
    """The documents in ``folder``, oldest first.

    Raises:
        HostError: There is none.
        MalformedError: One is missing between two others.
    """
    try:
        found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    except OSError as error:
        raise HostError(
            f"no root documents: {(error.strerror or str(error)).lower()}",
            where=str(folder),
            remedy="waybill trust trust.yaml writes the first one, waybill sign signs it",
        ) from None
    if not found:
        raise HostError(
            "holds no root document",
            where=str(folder),
            remedy="waybill trust trust.yaml writes the first one, waybill sign signs it",
        )
    versions = sorted(found)
    for before, after in pairwise(versions):
        if after != before + 1:
            raise MalformedError(f"root {before + 1} is missing", where=str(folder))
    return tuple(read_capped(found[version], MAX_ROOT) for version in versions)


def trust_roots(documents: tuple[bytes, ...]) -> Chain:
    """The vendor's own chain, believed from its first document on, as a site would that has the oldest paper.

    Raises:
        UntrustedError: Signatures are missing.
    """
    first = parse_root(documents[0], "root document 1")
    return verify_chain(documents, Pin(version=first.root.version, digest=first.fingerprint))


def check_signers(chain: Chain, signers: tuple[Signer, ...], product: str, at: Mark) -> tuple[str, ...]:
    """Key ids of ``signers``, sorted.

    Raises:
        RefusedError: The root does not let one of them speak for this release.
    """
    check_vendor_product(chain.newest, product)
    keyids = sorted({one.public.keyid for one in signers})
    for keyid in keyids:
        if not chain.counted("release", keyid, at):
            raise RefusedError(
                f"key {keyid[:16]} is not a release key of root {chain.newest.version}",
                where="--key",
                remedy="sign with a key of the role `release` in trust.yaml",
                finding="key-not-in-role",
            )
    return tuple(keyids)
