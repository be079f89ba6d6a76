"""`make fuzz SECONDS=300`: every reader under a coverage-guided fuzzer for so long each, one after another.

Each target runs in a process of its own, because the fuzzer instruments what it imports and ends its process when
something breaks. What broke a reader is kept below `.fuzz/` and named; the last line is one JSON object, and the exit
status is 1 when anything was found. Needs the extra `fuzz` (atheris).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import targets

KEPT = Path(".fuzz")
_DONE = re.compile(r"Done ([0-9]+) runs in ([0-9]+) second")
_COVER = re.compile(r"cov: ([0-9]+)")
TIMEOUT_SECONDS = 5  # for one input: a slow one is a finding
MEMORY_MB = 2_048


def fuzz(name: str, seconds: int) -> dict[str, object]:
    """One target in a process of its own; what it came to."""
    corpus = KEPT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(corpus), f"-max_total_time={seconds}"]
    command += [f"-timeout={TIMEOUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={KEPT}/{name}-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ran, cover = _DONE.search(done.stderr), _COVER.findall(done.stderr)
    result: dict[str, object] = {"runs": int(ran[1]) if ran else 0, "coverage": int(cover[-1]) if cover else 0}
    if done.returncode or not ran:
        result["broke"] = done.stderr[-2_000:]
    return result


def main() -> int:
    asked = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("names", nargs="*", metavar="TARGET", help="only these; default: all")
    asked.add_argument("--seconds", type=int, default=300, help="for each target")
    given = asked.parse_args()
    known = targets()
    unknown = sorted(set(given.names) - set(known))
    if unknown:
        asked.error(f"no target {', '.join(unknown)}; known: {', '.join(known)}")
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzzing needs atheris: install the extra 'fuzz'", file=sys.stderr)
        return 2
    results: dict[str, dict[str, object]] = {}
    for name in given.names or known:
        results[name] = fuzz(name, given.seconds)
        broke = results[name].pop("broke", None)
        told = f"{name}: {results[name]['runs']} inputs, coverage {results[name]['coverage']}"
        print(told if broke is None else f"{told}: BROKE\n{broke}", file=sys.stderr, flush=True)
        results[name]["found"] = int(broke is not None)
    found = sum(int(str(result["found"])) for result in results.values())
    print(json.dumps({"seconds_each": given.seconds, "targets": results, "found": found}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
