"""Looks at a PEM file of certificates that the site trusts: until when they are good."""

from datetime import datetime
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from manifests.trust.keys import read_capped
from manifests.words.errors import WaybillError
from verifier.runtime.preflight.result import Observation, unseen

MAX_FILE = 4 << 20
REMEDY = "replace the file by the authority's new certificate"


def end_of_file(path: Path) -> datetime | Observation:
    """Return until when all certificates of the file are good; else why it cannot be used or seen."""
    try:
        certificates = load_pem_x509_certificates(read_capped(path, MAX_FILE))
    except WaybillError as error:
        return unseen(error.problem, f"check that this account may read {path}")
    except ValueError:
        return Observation(met=False, text="holds no certificate", remedy=REMEDY)
    return min(certificate.not_valid_after_utc for certificate in certificates)
