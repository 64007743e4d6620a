"""The endpoints of a site that a telemetry contract names: where signals are read from."""

from collections.abc import Iterator, Mapping

from manifests.documents.contract import Contract, Signal

# By field of a signal's source: how an address begins that can be read for it, and how it is written.
ADDRESS_FORMS: Mapping[str, Mapping[str, str]] = {
    "prometheus": {"http://": "http://HOST:PORT", "https://": "https://HOST:PORT", "file:/": "file:/PATH"},
    "log": {"file:/": "file:/PATH", "container:/": "container:/PATH"},
    "journal": {"journal:": "journal:UNIT"},
    "otlp": {"file:/": "file:/PATH"},
}


def endpoint_of(signal: Signal) -> str | None:
    """Return the name of the endpoint that the signal is read from; None for a signal that names none."""
    return next((name for _, name in _named(signal)), None)


def address_forms(signal: Signal) -> Mapping[str, str]:
    """Return how an address begins that the signal can be read from, and how it is written."""
    return next((ADDRESS_FORMS[form] for form, _ in _named(signal)), {})


def contract_endpoints(contract: Contract) -> Iterator[tuple[Signal, str]]:
    """Yield each signal that is read from an endpoint, with the name of that endpoint."""
    for signal in contract.signals:
        name = endpoint_of(signal)
        if name is not None:
            yield signal, name


def _named(signal: Signal) -> Iterator[tuple[str, str]]:
    for form in ADDRESS_FORMS:
        name = getattr(signal.source, form) if signal.source is not None else None
        if name is not None:
            yield form, name
