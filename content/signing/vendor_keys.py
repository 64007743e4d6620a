"""The vendor's names of its keys, and where it signs with them, from the trust.yaml beside a document. Not verified."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from manifests.authored.handwritten import read_handwritten
from manifests.authored.trust_yaml import TrustFile, TrustKeyFile
from manifests.trust.keys import read_public
from manifests.trust.private_keys import key_path
from manifests.words.errors import WaybillError

TRUST_YAML = "trust.yaml"


def vendor_folder(*files: Path) -> Path:
    """The folder of the vendor's handwritten files, which has trust.yaml.

    It is that of the first of ``files`` or the one above it, else that of the next; where none has trust.yaml, that of
    the first.
    """
    folders = [file.absolute().parent for file in files]
    return next(
        (folder for below in folders for folder in (below, below.parent) if (folder / TRUST_YAML).exists()), folders[0]
    )


@dataclass(frozen=True)
class VendorKeys:
    """Attributes: names: of keys, by id; options: for `--key`, by id, of the keys whose place is known."""

    names: Mapping[str, str]
    options: Mapping[str, str]

    def option(self, keyid: str) -> str:
        """Return what a command line gives to `--key`; a placeholder where the place of the key is not known."""
        if keyid in self.options:
            return quote(self.options[keyid])
        return f"KEY-OF-{self.names[keyid]}" if keyid in self.names else "KEY"

    def best_option(self, keyids: Sequence[str]) -> str:
        """Return ``option`` of a key whose place is known, else of the first key."""
        known = [keyid for keyid in keyids if keyid in self.options]
        return self.option((known or list(keyids) or [""])[0])


def read_vendor_keys(*files: Path) -> VendorKeys:
    """Read the trust.yaml in `vendor_folder`. What cannot be read is left out."""
    folder = vendor_folder(*files)
    names: dict[str, str] = {}
    options: dict[str, str] = {}
    with suppress(WaybillError):
        for name, entry in read_handwritten(folder / TRUST_YAML).to(TrustFile).keys.items():
            with suppress(WaybillError):
                if entry.public is not None:
                    keyid = read_public(folder / entry.public).keyid
                    names[keyid] = name
                    if (option := next(key_options(entry, folder), None)) is not None:
                        options[keyid] = option
    return VendorKeys(names, options)


def key_options(entry: TrustKeyFile, folder: Path) -> Iterator[str]:
    """Yield what `--key` takes for a key of trust.yaml: its `use`, else the private key beside the public one."""
    if entry.use is not None:
        is_file = not entry.use.startswith(("pkcs11:", "exec:"))
        yield str(key_path(entry.use, folder)) if is_file else entry.use
    elif entry.public is not None:
        beside = (folder / entry.public).with_suffix(".key")
        if beside.is_file():
            yield str(beside)
