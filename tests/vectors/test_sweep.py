"""A sample of the re-signed releases of `sweep.py`; the whole of it is slow."""

from pathlib import Path

import pytest

from tests.vectors.sweep import sweep


def test_verify_and_receive_agree_on_a_sample(tmp_path: Path) -> None:
    verdicts = sweep(tmp_path, every=40)
    assert len(verdicts) > 15


@pytest.mark.slow
def test_verify_and_receive_agree_on_every_changed_release(tmp_path: Path) -> None:
    verdicts = sweep(tmp_path)
    assert len(verdicts) > 600
