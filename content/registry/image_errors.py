"""Name the image in every error about reading or writing it, at one place for all of them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from manifests.words.errors import WaybillError


@dataclass(frozen=True)
class ImagePlace:
    """An image as errors name it.

    Attributes:
        image: Its name in the release.
        place: A file, or host and repository.
        word: How the two belong together.
    """

    image: str
    place: str
    word: str = "from"

    def __str__(self) -> str:
        return f"image {self.image} {self.word} {self.place}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Add image and place to every WaybillError that does not name them already."""
        try:
            yield
        except WaybillError as error:
            raise self.named(error) from error.__cause__

    def named(self, error: WaybillError) -> WaybillError:
        """The same error with image and place in its ``where``."""
        if f"image {self.image!r}" in error.problem or f"image {self.image} " in f"{error.where} ":
            return error
        rest = error.where
        for part in (self.place, self.place.partition("/")[0]):
            # Whole words only: a token service may be another port of the same host.
            if re.match(rf"{re.escape(part)}(?=$|\s|:(?:\s|$))", rest):
                rest = rest.removeprefix(part)
        rest = rest.strip(" :")
        return error.with_(where=f"{self}: {rest}" if rest else str(self))

    def pieces(self, open_: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        """Pass the pieces on, with `errors` while they are read."""
        with self.errors():
            yield from open_()
