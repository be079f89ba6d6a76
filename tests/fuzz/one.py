"""One target under atheris: `python -m tests.fuzz.one TARGET CORPUS [libFuzzer options]`; see `tests.fuzz`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# What is imported here is what coverage is counted in: the readers, not the whole standard library.
with atheris.instrument_imports(include=["adapters", "schemas"]):
    from tests.fuzz.targets import targets


def main() -> None:
    name, corpus, *options = sys.argv[1:]
    target = targets()[name]
    for number, seed in enumerate(target.seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], corpus, *options], lambda data: target.run(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
