"""Fetch a foreign layer: one that its manifest names by addresses (``urls``, image-spec, descriptor.md)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from content.bundle.oci import Descriptor
from content.registry.addresses import origin_of, place_of
from content.registry.answer import RETRIED, Response, printable
from content.registry.pull import RegistryReader
from content.registry.session import RegistryOptions
from manifests.words.errors import RefusedError, WaybillError

_REMEDY = "check the address; or write `foreign_layers: absent` under the image, so that the site fetches the layer"


def fetch_layer(layer: Descriptor, options: Callable[[str], RegistryOptions]) -> Iterator[bytes]:
    """Stream a foreign layer from the first of its addresses that answers.

    Only https is spoken, no credentials are ever sent, and redirects follow the rules of blobs. The pieces are
    untrusted until the iterator is exhausted: size and digest decide at its end.

    Args:
        options: How a host (``name[:port]``) is reached.

    Raises:
        RefusedError: No address is https, or one redirects to a host that was not allowed.
        DamagedError: Too long, too short, or another digest.
        HostError: No address answers with the layer. The last failure is named.
    """
    urls = [url for url in layer.urls if url.startswith("https://")]
    if not urls:
        problem = f"{layer.digest} is fetched over https only, its manifest names {printable(layer.urls[0])}"
        raise RefusedError(problem, remedy=_REMEDY, finding="foreign-address")
    for url in urls[:-1]:
        pieces = _pieces(layer, url, options)
        try:
            first = next(pieces, b"")
        except WaybillError:
            continue  # nothing was passed on yet: the next address may do
        yield first
        yield from pieces
        return
    yield from _pieces(layer, urls[-1], options)


def _pieces(layer: Descriptor, url: str, options: Callable[[str], RegistryOptions]) -> Iterator[bytes]:
    try:
        host = place_of(origin_of(url))
        with closing(_LayerHost(url, host, options(host))) as reader:
            yield from reader.blob("", layer.digest, layer.size)
    except WaybillError as error:
        # Without the query, which may hold a secret.
        address = printable(urlsplit(url)._replace(query="", fragment="").geturl())
        problem = f"foreign layer {layer.digest} from {address}: {error.problem}"
        raise error.with_(problem=problem, where=host, remedy=_REMEDY) from None


class _LayerHost(RegistryReader):
    """The host of one layer, read as a registry's blob is: bounded, checked, continued where a connection broke."""

    what = "the server"

    def __init__(self, url: str, host: str, options: RegistryOptions) -> None:
        super().__init__(host, options)
        self._url = url

    def close(self) -> None:
        self._session.close()

    def _open_blob(self, repository: str, digest: str, headers: Mapping[str, str]) -> Response:
        answer = self._session.download(self._url, headers)
        if answer.status in RETRIED:
            raise answer.busy(f"answered {answer.status}")
        return answer
