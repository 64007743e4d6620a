"""Say what a file is that is no bundle, by its first block, and what to do with it."""

from collections.abc import Callable

from manifests.words.packers import DISK_SEARCHED, packer_of


def what_instead(block: bytes, read: Callable[[int], bytes], bundle: bytes) -> str:
    """Return a hint for a file that begins with ``block``; ``read`` gives more of it, for what begins with zeros.

    ``bundle`` is how a bundle begins.
    """
    zeros = not block.strip(b"\0")
    if packer := packer_of(block + (read(DISK_SEARCHED) if zeros and block else b"")):
        if packer.disk:
            return f"it is {packer.what}; a bundle may lie in it: {packer.step}, and name the file in it"
        return f"it is {packer.what}; a bundle is a plain tar: {packer.step}, and name the file in it"
    if bundle.startswith(block.rstrip(b"\0")):
        return "it is empty, cut off or holds zeros, as an unfinished copy does: copy it again from its source"
    if block[:4] == b"\xd0\xcf\x11\xe0":
        return "it is a mail of Outlook or a document of Office: save the attachment, and name that"
    if block[257:262] == b"ustar":
        return "it is a tar that another program wrote or packed again; ask for the original file"
    return "name a file that `waybill build` wrote"
