"""The base class of every Waybill document: frozen, closed, defaults never written."""

from msgspec import Struct


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of documents and their parts.

    A field may be added later only with a default that means what its absence meant; defaults are omitted when
    written, so that one value has one spelling. Top-level documents carry their ``type`` as the struct's tag.
    """
