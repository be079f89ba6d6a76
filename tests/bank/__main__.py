"""Runs one simulated bank: `python -m tests.bank --config bank.json`; SIGTERM ends it, kill -9 does it no harm."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.bank import config as configuration
from tests.bank.book import Book
from tests.bank.control import Control
from tests.bank.file_desk import FileDesk
from tests.bank.ledger import Ledger
from tests.bank.programme import Programme
from tests.bank.restore import load, resume

Started = tuple[dict[str, object], Coroutine[Any, Any, None], Callable[[], Awaitable[None]]]


async def _start_rcc(book: Book) -> Started:
    # Imported here: half of a bank's start is importing what the other profiles need.
    from tests.bank.rcc_desk import RccDesk

    return await _start_files(book, RccDesk(book))


async def _start_iso(book: Book) -> Started:
    from tests.bank.iso_desk import IsoDesk

    return await _start_files(book, IsoDesk(book))


async def _start_files(book: Book, desk: FileDesk) -> Started:
    from tests.bank.file_sftp import serve as serve_sftp

    book.desk = desk
    load(book)
    desk.restore()
    resume(book)
    server, port, key = await serve_sftp(desk)

    async def stop() -> None:
        server.close()

    return {"port": port, "host_key": key}, desk.watch(), stop


async def _start_json(book: Book) -> Started:
    from tests.bank.certificates import prepare
    from tests.bank.json_desk import JsonDesk
    from tests.bank.json_server import JsonServer

    prepare(book.config.directory, *book.config.json_https.server_names)
    book.desk = desk = JsonDesk(book)
    load(book)
    desk.restore()
    resume(book)
    runner, port = await JsonServer(desk).serve()
    return {"port": port}, desk.callbacks.run(), runner.cleanup


async def _start_xml(book: Book) -> Started:
    from tests.bank.xml_desk import XmlDesk
    from tests.bank.xml_server import XmlServer

    book.desk = desk = XmlDesk(book)
    load(book)
    desk.restore()
    resume(book)
    server = XmlServer(desk)
    port = await server.serve()
    return {"port": port}, server.watch(), server.stop


STARTS = {"rcc_file": _start_rcc, "json_https": _start_json, "xml_tcp": _start_xml, "iso20022": _start_iso}


async def run(config: configuration.Config) -> int:
    """Serve until SIGTERM or SIGINT (0), or until something breaks (1)."""
    ledger = Ledger(config.directory, config.synchronous)
    facts = {"profile": config.profile, "seed": str(config.seed), "settling_seconds": str(config.settling_seconds)}
    ledger.describe(facts)
    book = Book(config, ledger, Programme(config.seed, config.programme, config.profile))
    control = Control(book)
    control.look()
    told, desk, stop = await STARTS[config.profile](book)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    # A million lines in memory are no garbage: keep the collector from walking them all the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    print(json.dumps({"ready": True, "profile": config.profile, **told}, sort_keys=True), flush=True)
    tasks = [asyncio.create_task(work) for work in (book.run(), desk, control.watch(), _until(asked))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    broken = [problem for task in done if (problem := task.exception()) is not None]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    await asyncio.wait_for(stop(), 2)
    for problem in broken:
        # Where, and of what kind; never the message, which may quote somebody's data.
        last = traceback.extract_tb(problem.__traceback__)[-1]
        print(f"the bank broke: {type(problem).__name__} at {last.filename}:{last.lineno}", file=sys.stderr, flush=True)
    ledger.close(sound=not broken)
    return 1 if broken else 0


async def _until(asked: asyncio.Event) -> None:
    await asked.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bank", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    try:
        config = configuration.load(parser.parse_args().config)
    except (configuration.ConfigurationError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return asyncio.run(run(config))


if __name__ == "__main__":
    sys.exit(main())
