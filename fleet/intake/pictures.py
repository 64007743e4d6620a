"""Read QR symbols from pictures, with another library than the one that draws them."""

import io
import warnings
from importlib import import_module

from manifests.words.errors import HostError, MalformedError

MAX_PICTURE = 32 << 20
MAX_PIXELS = 64_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def is_picture(start: bytes) -> bool:
    """By its first bytes; names mean nothing."""
    return start.startswith((_PNG, _JPEG))


def check_decoder() -> None:
    """Raise HostError, with what to install, where pictures cannot be read."""
    try:
        for name in ("PIL", "zxingcpp"):
            import_module(name)
    except ImportError as error:
        raise HostError(
            f"a picture, and what reads QR symbols is not installed here: {error.name}",
            remedy="pip install 'airgap-waybill[fleet]', or ask for the report as text or file",
            finding="pictures-unsupported",
        ) from None


def read_symbols(data: bytes, what: str) -> tuple[str, ...]:
    """The text of every QR symbol in a picture, in no particular order; empty for one without any.

    Raises:
        MalformedError: It is no picture, or has more pixels than are decoded.
        HostError: The decoder is not installed.
    """
    check_decoder()
    import zxingcpp
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture,
        ):
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise MalformedError(
                    f"{width} by {height} pixels, at most {MAX_PIXELS} are decoded",
                    where=what,
                    finding="picture-too-large",
                )
            grey = picture.convert("L").tobytes()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's PNG reader says SyntaxError for a broken chunk.
        raise MalformedError("a picture that cannot be opened", where=what, finding="picture-broken") from None
    view = memoryview(grey).cast("B", shape=(height, width))
    found = zxingcpp.read_barcodes(view, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return tuple(one.text for one in found if one.valid)
