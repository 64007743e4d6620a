"""What all tests share: no deadline for a property's example, no site of the host, one control plane."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.waybill import NO_STATE

if TYPE_CHECKING:
    from tests.cluster import Cluster

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


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Cluster]":
    """A real control plane, started by the first test of this process that needs it."""
    from tests.cluster import control_plane

    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster(control_plane: "Cluster") -> "Iterator[Cluster]":
    """The control plane of this process; its node forgets afterwards what the test told it."""
    yield control_plane
    control_plane.node.forget()
