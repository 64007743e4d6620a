"""Which image of a release a reference in a manifest means, by what ``release.yaml`` says of its images."""

import re
from collections.abc import Iterable, Iterator, Mapping

from content.registry.reference import Reference, parse_reference
from manifests.authored.release_yaml import ChartFile, ImageFile, parse_from
from manifests.words.errors import MalformedError

_LATEST = "latest"
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")


def image_named(text: str, images: Iterable[ImageFile], digests: Mapping[str, str] | None = None) -> str | None:
    """Return the name of the image that ``text`` means; None when the release has none, or several.

    A reference with a digest means the image with this digest. One with a tag alone means the image that is taken from
    the same registry, repository and tag, or that has this name in the file it is taken from, or under ``known_as``.

    Args:
        digests: Of the manifests of the images, by name; None before they are known, when a digest that ``from`` does
            not state is taken as right.
    """
    wanted = _parsed(text)
    names = {image.name for image in images if any(_same(text, wanted, known) for known in _names(image, digests))}
    return names.pop() if len(names) == 1 else None


def taken_images(chart: ChartFile, references: Iterable[str], images: tuple[ImageFile, ...]) -> tuple[ImageFile, ...]:
    """Return an image for each reference that none of ``images`` means, as ``images_from`` asks for.

    The name is the last part of the repository, with a number where that is taken; the repository at the site is the
    one of the reference.

    Raises:
        MalformedError: A reference is no name of an image.
    """
    assert chart.images is not None
    taken: list[ImageFile] = []
    used = {image.name for image in images}
    for text in references:
        if image_named(text, (*images, *taken)) is not None:
            continue
        reference = parse_reference(text)
        base = _NOT_IN_NAMES.sub("-", reference.repository.rsplit("/", 1)[-1])
        name = next(one for one in (base, *(f"{base}-{i}" for i in range(2, 10_000))) if one not in used)
        used.add(name)
        tag = f":{reference.tag}" if reference.tag else ""
        taken.append(
            ImageFile(
                name=name,
                from_=text if reference.pointer else f"{text}:{_LATEST}",
                to=f"{reference.repository}{tag}",
                platforms=chart.images.platforms,
                signed_by=chart.images.signed_by,
                reason=chart.images.reason,
                sbom=chart.images.sbom,
                sbom_reason=chart.images.sbom_reason,
            )
        )
    return tuple(taken)


def _names(image: ImageFile, digests: Mapping[str, str] | None) -> Iterator[Reference | str]:
    """Yield the references by which an image is known, with its digest where that is known."""
    digest = (digests or {}).get(image.name)
    source = parse_from(image.from_)
    for text in (*image.known_as, source.place if source.kind == "registry" else source.ref):
        known = _parsed(text) if text else None
        if known is None:
            yield text
        else:
            yield Reference(known.host, known.repository, known.tag, digest or known.digest)


def _same(text: str, wanted: Reference | None, known: Reference | str) -> bool:
    if wanted is None or isinstance(known, str):
        return text == known
    if (wanted.host, wanted.repository) != (known.host, known.repository):
        return False
    if wanted.digest is not None:
        return wanted.digest == known.digest or (known.digest is None and wanted.tag in (None, known.tag))
    return (wanted.tag or _LATEST) == (known.tag or (None if known.digest else _LATEST))


def _parsed(text: str) -> Reference | None:
    try:
        return parse_reference(text)
    except MalformedError:
        return None
