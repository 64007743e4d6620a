"""The handler certificate-expiry: when the certificates in the site's folder ``tls/`` expire."""

from cryptography import x509

from manifests.trust.keys import read_capped
from manifests.words.errors import WaybillError
from manifests.words.time import rfc3339
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.runtime.probes.probe import site_authorities

MAX_FILE = 1 << 20


def perform(context: HandlerContext) -> HandlerOutput:
    now = context.site.host.now()
    ends, lines, unreadable = [], [], 0
    for path in site_authorities(context.site.path):
        try:
            certificates = x509.load_pem_x509_certificates(read_capped(path, MAX_FILE))
        except (ValueError, OSError, WaybillError):
            unreadable += 1
            lines.append(f"{path.name}: no certificate can be read")
            continue
        for certificate in certificates:
            end = certificate.not_valid_after_utc
            ends.append(end)
            lines.append(f"{path.name}: valid until {rfc3339(end)}")
    values = {
        "certificates": len(ends),
        "expired": sum(end <= now for end in ends),
        "unreadable": unreadable,
    }
    if ends:
        values["days_left"] = (min(ends) - now).days
    return HandlerOutput(values=values, lines=tuple(lines) or ("no certificate is in tls/",))
