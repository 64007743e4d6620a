"""Who signs a release: keys that were named, else those that ``trust.yaml`` leaves no doubt about."""

from pathlib import Path

from bundler.roots import read_trust
from content.commands.open_key import open_key
from manifests.trust.private_keys import Signer
from manifests.trust.root import Chain, Mark, check_vendor_product
from manifests.words.errors import RefusedError, UsageError


def open_signers(keys: tuple[str, ...], trust_yaml: Path, passphrase_fd: int | None) -> tuple[Signer, ...]:
    """The signers behind key URIs, or behind those of the role ``release``.

    Raises:
        UsageError: More keys could sign than have to; none of them is guessed.
    """
    if keys:
        return tuple(open_key(uri, passphrase_fd) for uri in keys)
    return tuple(open_key(uri, passphrase_fd, trust_yaml.parent) for uri in _role_keys(trust_yaml))


def _role_keys(trust_yaml: Path) -> tuple[str, ...]:
    trust, file = read_trust(trust_yaml)
    role = trust.roles["release"]
    found = {name: trust.keys[name].use for name in role.keys}
    uris = tuple(uri for uri in found.values() if uri is not None)
    if len(uris) != role.threshold:
        named = ", ".join(name for name, uri in found.items() if uri is not None) or "none"
        raise UsageError(
            f"{role.threshold} release keys have to sign, and `use` names {len(uris)} ({named})",
            where=file.at("$.roles.release"),
            remedy="say which with --key URI, or pack with --unsigned and sign later",
        )
    return uris


_WHY = {"role": "it is not of that role", "revoked": "it is revoked", "retired": "it is retired"}


def check_signers(chain: Chain, signers: tuple[Signer, ...], product: str, at: Mark) -> tuple[str, ...]:
    """Key ids of ``signers``, sorted.

    Raises:
        RefusedError: The root does not let one of them speak for this release.
    """
    check_vendor_product(chain.newest, product)
    keyids = sorted({one.public.keyid for one in signers})
    for keyid in keyids:
        why = chain.counts("release", keyid, at)
        if why != "counted":
            raise RefusedError(
                f"key {keyid[:16]} is not a release key of root {chain.newest.version} that counts: {_WHY[why]}",
                where="--key",
                remedy="sign with a key of the role `release` in trust.yaml",
                finding="key-not-in-role" if why == "role" else f"signature-{why}",
            )
    return tuple(keyids)
