"""A simulated SMS provider: takes messages by HTTP batch, CMPP and SMPP, remembers for ever who got what and who paid.

It is the ground truth about notices, so it shares no code with the gateway, its adapters or its schemas. Like the real
one it does not deduplicate: a call that arrives twice is delivered twice, and its ledger shows it. `SMS_CENTRE.md`
documents configuration, faults and ledger. No phone number and no text is ever printed or logged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from tests.world.sms import cmpp, smpp
from tests.world.sms.config import CALL_FAULTS, MESSAGE_FAULTS, PDU_FAULTS, TAKES_NOTHING, Config
from tests.world.sms.fate import Programme, Taken
from tests.world.sms.http import Centre, Refusal, read_call
from tests.world.sms.link import Doorway, Session
from tests.world.sms.post import Post

__all__ = [
    "CALL_FAULTS",
    "MESSAGE_FAULTS",
    "PDU_FAULTS",
    "TAKES_NOTHING",
    "Centre",
    "Config",
    "Programme",
    "Refusal",
    "Taken",
    "doorways",
    "read_call",
]

KINDS: dict[str, tuple[type[Session], Callable[[int], str]]] = {
    "cmpp": (cmpp.CmppSession, cmpp.wire_id),
    "smpp": (smpp.SmppSession, smpp.wire_id),
}


def doorways(config: Config, centre: Centre) -> dict[str, tuple[Post, Doorway]]:
    """The post room and the listening side of every protocol that is asked for, by name."""
    programme = Programme(config)
    found = {}
    for name, door in config.protocols.items():
        kind, wire_id = KINDS[name]
        post = Post(config, name.upper(), centre.ledger, programme, wire_id)
        found[name] = (post, Doorway(kind, post, door))
    return found


async def serve(config: Config) -> None:
    centre = Centre(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(centre.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, config.host, config.port)
    await site.start()
    others = doorways(config, centre)
    ports = {name: await doorway.open() for name, (_, doorway) in others.items()}
    reporting = [asyncio.create_task(centre.reporter.run(), name="reporter")]
    reporting += [asyncio.create_task(post.run(), name=f"{name} reports") for name, (post, _) in others.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    print(
        json.dumps({"ready": True, "port": runner.addresses[0][1], **({"ports": ports} if ports else {})}), flush=True
    )
    await asyncio.wait({*reporting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in reporting if task.done()]
    for task in reporting:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        for task in failed or reporting:
            await task
    stopping.cancel()
    for _, doorway in others.values():
        await doorway.close()
    await runner.cleanup()
    centre.ledger.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.world.sms_centre", description="a simulated SMS provider")
    parser.add_argument("--config", type=Path, required=True)
    try:
        config = Config.load(parser.parse_args().config)
    except (OSError, ValueError, TypeError, KeyError) as problem:
        sys.exit(f"SMS centre: configuration: {type(problem).__name__}: {problem}")
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
