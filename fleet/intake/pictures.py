"""Read QR symbols from pictures, with a library other than the one that draws them."""

import io
import warnings
from importlib import import_module

from manifests.words.errors import HostError, MalformedError

MAX_PICTURE = 32 << 20
MAX_PIXELS = 64_000_000


def check_decoder() -> None:
    """Raise HostError, with what to install, if pictures cannot be read here."""
    try:
        for name in ("PIL", "zxingcpp"):
            import_module(name)
    except ImportError as error:
        raise HostError(
            f"the QR reader for pictures is not installed: {error.name}",
            remedy="pip install 'airgap-waybill[fleet]', or ask for the report as text or file",
            finding="pictures-unsupported",
        ) from None


def read_symbols(data: bytes, what: str) -> tuple[str, ...]:
    """Return the text of every QR symbol in a picture, in no particular order.

    Raises:
        MalformedError: It cannot be opened, or has more pixels than are decoded.
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
                    f"the picture has {width} by {height} pixels; at most {MAX_PIXELS} are decoded",
                    where=what,
                    finding="picture-too-large",
                )
            grey = picture.convert("L").tobytes()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's PNG reader raises SyntaxError for a broken chunk.
        raise MalformedError("the picture cannot be opened", where=what, finding="picture-broken") from None
    view = memoryview(grey).cast("B", shape=(height, width))
    codes = zxingcpp.read_barcodes(view, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return tuple(code.text for code in codes if code.valid)
