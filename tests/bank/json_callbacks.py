"""The HTTPS bank's callbacks: a queue that outlives the gateway's absence and delivers until somebody says 2xx."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from tests.bank.book import Book
from tests.bank.json_signing import Signer

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
REPLAY_AFTER_SECONDS = 1.0
AN_HOUR_SECONDS = 3600


@dataclass(slots=True)
class Parcel:
    """One callback on its way. `once` = a hostile one: sent a single time whatever is answered."""

    artefact: int
    body: bytes
    submission: int
    once: bool = False
    replay: bool = False
    stranger: bool = False
    age_seconds: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # fixed ones, for a replay
    tries: int = 0
    give_up_at: float = 0.0  # monotonic seconds


class Callbacks:
    """Delivers parcels over a few connections; nothing here blocks the bank's book."""

    def __init__(self, book: Book, signer: Signer, stranger: Signer) -> None:
        self.book = book
        self._json = book.config.json_https
        self._signer = signer
        self._stranger = stranger
        self._queue: asyncio.Queue[Parcel] = asyncio.Queue()
        self.outstanding: dict[int, int] = {}  # submission -> parcels not yet delivered
        url = urlsplit(self._json.callback_url or "")
        self._path = url.path + (f"?{url.query}" if url.query else "")

    def send(self, parcel: Parcel) -> None:
        """Queue a parcel; call it when its artefact is committed."""
        if self._json.callback_url is not None:
            self.outstanding[parcel.submission] = self.outstanding.get(parcel.submission, 0) + 1
            self._queue.put_nowait(parcel)

    def restore(self) -> None:
        """After a restart: whatever was made and not yet delivered goes out again."""
        query = (
            "SELECT id, submission, body FROM artefacts WHERE channel = 'callback' AND sound = 1 AND id NOT IN"
            " (SELECT artefact FROM deliveries WHERE how IN ('acknowledged', 'gave_up')) ORDER BY id"
        )
        for number, submission, body in self.book.ledger.rows(query):
            self.send(Parcel(number, body, submission))

    async def run(self) -> None:
        """Deliver, for ever."""
        tls: ssl.SSLContext | bool = True
        if self._json.callback_ca is not None:
            tls = ssl.create_default_context(cafile=self.book.config.path(self._json.callback_ca))
        limit = self._json.callback_connections
        connector = aiohttp.TCPConnector(limit=limit, ssl=tls)
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._carry(session) for _ in range(limit)))

    async def _carry(self, session: aiohttp.ClientSession) -> None:
        while True:
            parcel = await self._queue.get()
            await self._deliver(session, parcel)

    async def _deliver(self, session: aiohttp.ClientSession, parcel: Parcel) -> None:
        signer = self._stranger if parcel.stranger else self._signer
        headers = parcel.headers or signer.headers("POST", self._path, parcel.body, "", parcel.age_seconds)
        status = await self._post(session, parcel.body, headers)
        parcel.tries += 1
        parcel.give_up_at = parcel.give_up_at or time.monotonic() + self._json.callback_give_up_real_seconds
        if 200 <= status < 300:
            self._close(parcel, "acknowledged", str(status))
            if parcel.replay:
                self._replay(parcel, headers)
        elif parcel.once and status:
            self._close(parcel, "refused", str(status))
        elif time.monotonic() >= parcel.give_up_at:
            self._close(parcel, "gave_up", str(status))
        else:
            pause = min(FIRST_PAUSE_SECONDS * 2 ** min(parcel.tries - 1, 10), LONGEST_PAUSE_SECONDS)
            asyncio.get_running_loop().call_later(pause, self._queue.put_nowait, parcel)

    async def _post(self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]) -> int:
        """One attempt; 0 when nobody answered."""
        more = {"Content-Type": "application/json", "X-Request-Id": secrets.token_hex(8), "X-App-Id": "bank"}
        url = str(self._json.callback_url)
        try:
            async with session.post(url, data=body, headers={**headers, **more}, allow_redirects=False) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    def _close(self, parcel: Parcel, how: str, detail: str) -> None:
        self.book.delivered(parcel.artefact, how, detail)
        self.book.commit()
        self.outstanding[parcel.submission] -= 1
        if not self.outstanding[parcel.submission]:
            del self.outstanding[parcel.submission]

    def _replay(self, parcel: Parcel, headers: dict[str, str]) -> None:
        """The same bytes and signature once more, and once with an old timestamp, properly signed."""
        loop = asyncio.get_running_loop()
        same = Parcel(parcel.artefact, parcel.body, parcel.submission, once=True, headers=headers)
        old = Parcel(parcel.artefact, parcel.body, parcel.submission, once=True, age_seconds=AN_HOUR_SECONDS)
        for again in (same, old):
            loop.call_later(REPLAY_AFTER_SECONDS, self.send, again)
