"""Minutes by hand: `make fuzz MINUTES=5`, or `python -m tests.fuzz archive 5`.

Coverage-guided (atheris, on libFuzzer), from the corpus of `corpus.py`. What it finds is written to
`tests/fuzz/findings/TARGET/`, where the suite runs it ever after (`test_targets.py`).
"""

import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
# `make fuzz` keeps here what a fuzzer learned, so that the next minutes begin where these ended.
LEARNED = HERE.parents[1] / ".cache" / "fuzz"


def fill(target: str, folder: Path) -> int:
    from tests.fuzz.corpus import seeds

    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds(target):
        (folder / sha256(data).hexdigest()[:32]).write_bytes(data)
    return len(list(folder.iterdir()))


def fuzz(target: str, minutes: float) -> int:
    """Runs libFuzzer in a process of its own, which ends itself; 0 is nothing found."""
    found = FINDINGS / target
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="waybill-fuzz-") as seeds:
        print(f"{target}: {fill(target, Path(seeds))} seeds, {minutes:g} minutes", flush=True)
        learned = LEARNED / target
        learned.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "tests.fuzz", "--child", target, str(learned), seeds]
        words += [
            f"-max_total_time={int(minutes * 60)}",
            f"-artifact_prefix={found}/",
            "-timeout=20",
            "-max_len=131072",
        ]
        code = subprocess.run([*words, "-print_final_stats=1"], check=False).returncode
    if not any(found.iterdir()):
        found.rmdir()
    return code


def child(target: str, words: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["manifests", "content"]):
        from tests.fuzz.targets import run

    atheris.Setup([sys.argv[0], *words], lambda data: run(target, data))
    atheris.Fuzz()


def main() -> None:
    match sys.argv[1:]:
        case ["--child", target, *words]:
            child(target, words)
        case [target, minutes]:
            raise SystemExit(fuzz(target, float(minutes)))
        case _:
            raise SystemExit("usage: python -m tests.fuzz archive|document|envelope MINUTES")


if __name__ == "__main__":
    main()
