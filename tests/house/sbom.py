"""Writes ``deploy/sbom.cdx.json``: what runs in production, as CycloneDX, from the hash-checked locks and nothing else.

What only the extras need (SM2, SMPP) has the scope "optional".

Deterministic, so that a test can say that it is current: no time, and a serial number that follows from the lock.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "deploy" / "sbom.cdx.json"
PROJECT = "payout-gateway"
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\$")
_HASH = re.compile(r"^\s+--hash=sha256:([0-9a-f]{64})\b")
_VIA = re.compile(r"^\s+#\s+(?:via\s+)?([a-z0-9][a-z0-9._-]*)(?:\s+\(.*\))?$")


def bill(lock: str, required: Collection[str], version: str) -> dict[str, Any]:
    """The bill of a lock file's text, of which some pins are ``required``; ValueError when a pin has no hash."""
    components: list[dict[str, Any]] = []
    needed_by: dict[str, list[str]] = {}
    for line in lock.splitlines():
        if match := _PIN.match(line):
            name, pinned, marker = match.groups()
            purl = f"pkg:pypi/{name}@{pinned}"
            component: dict[str, Any] = {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": pinned,
                "purl": purl,
                "scope": "required" if name in required else "optional",
                "hashes": [],
            }
            if marker:
                component["properties"] = [{"name": f"{PROJECT}:marker", "value": marker}]
            components.append(component)
        elif components and (match := _HASH.match(line)):
            components[-1]["hashes"].append({"alg": "SHA-256", "content": match[1]})
        elif components and (match := _VIA.match(line)) and match[1] != "via":
            needed_by.setdefault(components[-1]["name"], []).append(match[1])
    if bare := [component["name"] for component in components if not component["hashes"]]:
        raise ValueError(f"without a hash: {', '.join(bare)}")
    refs = {component["name"]: component["bom-ref"] for component in components} | {PROJECT: PROJECT}
    graph: dict[str, list[str]] = {ref: [] for ref in refs.values()}
    for name, parents in needed_by.items():
        for parent in parents:
            graph[refs[parent]].append(refs[name])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(lock.encode()).digest()[:16], version=4)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": PROJECT, "name": PROJECT, "version": version}},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": sorted(graph[ref])} for ref in sorted(graph)],
    }


def pins(lock: str) -> set[str]:
    """The names that a lock pins."""
    return {match[1] for line in lock.splitlines() if (match := _PIN.match(line))}


def text() -> str:
    required, everything = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-extras.lock")
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return json.dumps(bill(everything, pins(required), version), indent=1) + "\n"


def main() -> None:
    TARGET.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
