"""Choose the keys that sign a release, and check that the root lets them."""

from pathlib import Path

from bundler.roots import read_trust
from manifests.trust.private_keys import Signer
from manifests.trust.root import Chain, Mark, check_vendor_product
from manifests.words.errors import RefusedError, UsageError

_REASONS = {"role": "it does not have that role", "revoked": "it is revoked", "retired": "it is retired"}


def release_key_uris(trust_yaml: Path) -> tuple[str, ...]:
    """The key URIs that ``trust.yaml`` names for the role ``release``.

    Raises:
        UsageError: They are more or fewer than have to sign; none of them is guessed.
    """
    trust, file = read_trust(trust_yaml)
    role = trust.roles["release"]
    uris = {name: uri for name in role.keys if (uri := trust.keys[name].use) is not None}
    if len(uris) != role.threshold:
        raise UsageError(
            f"{role.threshold} release keys have to sign, and `use` names {len(uris)} ({', '.join(uris) or 'none'})",
            where=file.at("$.roles.release"),
            remedy="name the keys with --key URI, or build with --unsigned and sign later",
        )
    return tuple(uris.values())


def check_signers(chain: Chain, signers: tuple[Signer, ...], product: str, at: Mark) -> tuple[str, ...]:
    """Key ids of ``signers``, sorted.

    Raises:
        RefusedError: The root does not count a signature of one of them under this release.
    """
    check_vendor_product(chain.newest, product)
    keyids = sorted({signer.public.keyid for signer in signers})
    for keyid in keyids:
        reason = chain.counts("release", keyid, at)
        if reason != "counted":
            raise RefusedError(
                f"key {keyid[:12]} does not count as a release key of root {chain.newest.version}: {_REASONS[reason]}",
                where="--key",
                remedy="sign with a key of the role `release` in trust.yaml",
                finding="key-not-in-role" if reason == "role" else f"signature-{reason}",
            )
    return tuple(keyids)
