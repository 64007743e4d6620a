"""What the host has is what the kernel and other tools say; a container's limits are those that count."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from verifier.runtime.preflight.host_summary import cores, host_summary, memory

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_summary_is_what_the_host_has(tmp_path: Path) -> None:
    summary = host_summary(tmp_path / "not" / "there" / "yet", NOW)
    assert summary.disk_total_bytes == shutil.disk_usage(tmp_path).total
    assert abs(summary.disk_free_bytes - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert summary.memory_total_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < summary.memory_available_bytes <= summary.memory_total_bytes
    assert summary.cores <= (os.cpu_count() or 0)
    assert summary.kernel == subprocess.check_output(["uname", "-r"], text=True).strip()
    assert summary.clock_seconds == 1893553445
    assert summary.clock_synchronised in ("yes", "no", "unknown")


def test_a_file_system_without_a_table_of_inodes_has_no_number() -> None:
    # proc states 0 of 0 inodes.
    summary = host_summary(Path("/proc"), NOW)
    assert (summary.inodes_free, summary.inodes_total) == (None, None)


def test_cores_are_those_that_the_process_is_bound_to() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from verifier.runtime.preflight.host_summary import cores; print(cores())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", (4 << 30, 2 << 30)), (str(1 << 30), (1 << 30, 768 << 20)), (str(8 << 30), (4 << 30, 2 << 30))],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, limit: str, expected: tuple[int, int]) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal: 4194304 kB\nMemFree: 1024 kB\nMemAvailable: 2097152 kB\nHugePages_Total: 0\n"
    )
    assert memory(tmp_path) == (4 << 30, 2 << 30)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{256 << 20}\n")
    assert memory(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1)])
def test_the_quota_of_a_container_counts(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(quota + "\n")
    assert cores(tmp_path) == (expected or cores())
