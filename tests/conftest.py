"""What all tests share: no deadline for a property's example, and no site of the host."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.waybill import NO_STATE

# A busy machine is slow in bursts.
settings.register_profile("waybill", deadline=None)
settings.load_profile("waybill")


@pytest.fixture(scope="session", autouse=True)
def no_site_of_the_host() -> Iterator[None]:
    """A site that this host has is never found, in this process or in one that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verifier.site.folder.SYSTEM_STATE", NO_STATE)
        patch.setenv("XDG_STATE_HOME", str(NO_STATE))
        yield
