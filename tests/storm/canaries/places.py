"""Where personal data could have got to: everything below a world's directory but what holds it by right.

The last looks are taken here as well: all topics but the signed inputs, the pages of the gateway's door, what its
commands print, what the kernel shows of its process. They are written down as files, and the files are scanned.
"""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from adapters.conformance.disguises import in_bytes
from tests.storm.canaries.cast import Cast
from tests.storm.relay.topic import whole_topics
from tests.world.broker import INPUTS, PREFIX
from tests.world.checker import privacy
from tests.world.layout_banks import BANKS
from tests.world.postgres import execute
from tests.world.processes import run_apart
from tests.world.world import World

# Other houses' own disks, and the signed inputs themselves: on finance's disk, and in the broker's log.
RIGHTFUL: Final = frozenset({"desk", "lists", "sms", "kafka", *BANKS})
_PAGE_SECONDS = 10


def scan(directory: Path, values: Iterable[str], *, below: Sequence[str] = ()) -> list[privacy.Hit]:
    """Every hit in a world's directory, or in some of its places only."""
    places = [place for place in sorted(directory.iterdir()) if place.name not in RIGHTFUL]
    canaries = privacy.Canaries(values, in_bytes)
    found: list[privacy.Hit] = []
    for place in places:
        if not below or place.name in below:
            inside = place.is_dir()
            for hit in privacy.scan(canaries, [place]):
                found.append(replace(hit, file=f"{place.name}/{hit.file}") if inside else hit)
    return found


def checkpoint(world: World) -> None:
    """Every page and every record of the log to the disk, in its place."""
    run_apart(execute(world.postgres.dsn("payout"), "CHECKPOINT"))


def keep_pages(world: World, cast: Cast, name: str) -> None:
    """What the gateway's door answers to those who may ask, and to those who send it somebody's data."""
    for number, answer in enumerate(_answers(world.ports.gateway, cast)):
        _write(world.directory / "pages" / f"{name}-{number:02d}", answer)


def _answers(port: int, cast: Cast) -> Iterator[bytes]:
    one = cast.person()
    said = "&".join(f"{key}={quote(value)}" for key, value in one.items()).encode()
    for path in (
        "/",
        "/live",
        "/ready",
        "/metrics",
        "/status",
        f"/{one['id_no']}",
        f"/{quote(one['name'])}?{one['phone']}",
    ):
        yield _ask(port, "GET", path, b"")
    doors = [*(f"/callbacks/{bank}" for bank in BANKS), "/sms/reports/http_batch", f"/callbacks/{one['account']}"]
    for path in doors:
        yield _ask(port, "POST", path, said)
        yield _ask(port, "PUT", f"{path}/{one['id_no']}", said)


def _ask(port: int, method: str, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PAGE_SECONDS)
    try:
        connection.request(method, path, body, {"X-Signature": body[:80].decode("ascii"), "Content-Type": "text/plain"})
        answer = connection.getresponse()
        return f"{answer.status}\n{answer.headers}\n".encode() + answer.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__.encode()
    finally:
        connection.close()


def keep_commands(world: World, commands: Sequence[Sequence[str]], name: str) -> int:
    """What the operator's commands print, side by side: each is a process that takes a second to start.

    How many did not understand what was asked of them.
    """
    misused = 0
    with ThreadPoolExecutor(2) as pool:
        printed = pool.map(lambda words: world.command(*words, faults=True), commands)
        for number, (words, text) in enumerate(zip(commands, printed, strict=True)):
            misused += "Usage: " in text
            _write(world.directory / "cli" / f"{name}-{number:02d}-{words[0]}", text.encode())
    return misused


def keep_topics(world: World) -> int:
    """Every record of every topic but the signed inputs, with key and headers; how many."""
    inputs = {PREFIX + name for name in INPUTS}
    records = [one for one in run_apart(whole_topics(world.broker.bootstrap)) if one.topic not in inputs]
    for record in records:
        words = (record.key or b"", *(part for pair in record.headers for part in map(bytes_of, pair)))
        where = world.directory / "topics" / f"{record.topic}-{record.partition}"
        _write(where, b"\n".join((*words, record.value or b"")) + b"\n")
    return len(records)


def bytes_of(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def keep_process(world: World, name: str) -> str:
    """What the kernel shows of the gateway to whoever may look; its limit on core dumps."""
    of = Path(f"/proc/{world.children['gateway'].pid}")
    if not of.exists():
        return ""
    for file in ("cmdline", "environ", "limits", "comm", "maps"):
        shutil.copyfile(of / file, _place(world.directory / "proc" / f"{name}-{file}"))
    limits = (of / "limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size"))


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, content: bytes) -> None:
    with _place(path).open("ab") as file:
        file.write(content)
