"""Cases about what has to be pure: equal arguments give equal bytes, in any process, and nothing outside is touched."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from typing import Any

from adapters.conformance.case import Broken, NotApplicable, case, require
from adapters.conformance.kit import Kit
from adapters.conformance.people import AT
from adapters.conformance.purity import judgement
from adapters.conformance.rehearsal import Occasion, Site
from adapters.contract import Artefact

_ELSEWHERE = ({"PYTHONHASHSEED": "1", "TZ": "UTC"}, {"PYTHONHASHSEED": "77", "TZ": "America/New_York"})
_CHILD_SECONDS = 60


@case(
    "pure",
    "Writing and reading are pure: the same in another process, time zone and hash seed, and nothing is touched.",
)
async def pure(kit: Kit) -> None:
    if not kit.locator:
        raise NotApplicable("the profile was not found by an entry point, so no other process can load it")
    artefacts = await _artefacts(kit)
    section = kit.rehearsal.settings(Site(kit.folder, 1), kit.configured)
    job = {
        "locator": kit.locator,
        "name": kit.name,
        "section": section,
        "submission": kit.next_submission(),
        "references": kit.core.mint(5, AT, *_form(kit)),
        "artefacts": [[artefact.name, base64.b64encode(artefact.content).decode()] for artefact in artefacts],
    }
    text = json.dumps(job, default=str)
    here = judgement(json.loads(text), guard=False)
    require(here == judgement(json.loads(text), guard=False), "equal arguments give other bytes the second time")
    for environment in _ELSEWHERE:
        there = await _in_a_child(text, environment)
        require(not there["touched"], f"render() or parse() touched: {', '.join(there['touched'])}")
        for part in ("rendered", "parsed"):
            require(here[part] == there[part], f"{part} otherwise in another process, time zone or hash seed")


def _form(kit: Kit) -> tuple[str, int]:
    can = kit.adapter().capabilities()
    return can.reference_alphabet, can.reference_length


async def _artefacts(kit: Kit) -> list[Artefact]:
    """What the bank would publish or call in, if it does."""
    try:
        async with kit.room() as room:
            await room.answer_to_submission(Occasion.TAKEN)
            await room.results(room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1))
            found = [artefact for artefact, _ in (await room.collect()).artefacts]
            called = room.call()
            return found if called is None else [*found, called.artefact]
    except NotApplicable:
        return []


async def _in_a_child(job: str, environment: dict[str, str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "adapters.conformance.purity",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        out, error = await asyncio.wait_for(process.communicate(job.encode()), _CHILD_SECONDS)
    except TimeoutError:
        process.kill()
        raise Broken(f"another process did not finish within {_CHILD_SECONDS} s") from None
    if process.returncode:
        last = error.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no word"]
        raise Broken(f"another process could not write and read the same: {last[0].partition(':')[0]}")
    found: dict[str, Any] = json.loads(out)
    return found
