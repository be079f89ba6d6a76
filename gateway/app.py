"""The application: opens the door, waits for the database, runs the steps, and ends within its time.

Start order: HTTP first, so that ``/ready`` can say what is missing; then PostgreSQL, for as long as it takes; then the
steps. Nothing that is away at start or goes away later ends the process: steps back off and come back by themselves.
Only a consumer that stands still although records wait ends it, because only a fresh process cures that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import gc
import math
import signal
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from adapters.contract import CallbackRefused
from adapters.sms.cmpp import PROFILE as CMPP
from adapters.sms.contract import PushesReports, SmsProvider
from adapters.sms.http_batch import PROFILE as HTTP_BATCH
from adapters.sms.smpp import PROFILE as SMPP
from gateway import log as logging
from gateway import metrics, reference, series
from gateway.admin import Admin, Limits, Unavailable, UnknownSender
from gateway.approval import KeyRing, KeyRingFault
from gateway.banks import Bank, open_banks, settings_of
from gateway.channels import unprotected
from gateway.clock import Clock
from gateway.config import Config, ConfigError, readable
from gateway.dispatch import Dispatch
from gateway.failures import Failures
from gateway.intake import Intake
from gateway.kafka import Inbox, Outlet
from gateway.kafka_security import KafkaRefused, client_arguments
from gateway.loop import Loop
from gateway.notices import Notifier
from gateway.privacy import KeyFileFault, load_keys
from gateway.receipts import Relay
from gateway.store.engine import StoreUnavailable, lost_race, outage
from gateway.store.refusing import refusal_of
from gateway.store.store import Store
from gateway.store.turns import hand_out
from gateway.texts import DEFAULT_TEMPLATES, Templates
from gateway.vault import Vault
from gateway.verify import Verify
from gateway.watch import Watch
from schemas.v1 import Kind, RefusalReason

SMS_PROFILES = {profile.name: profile for profile in (HTTP_BATCH, CMPP, SMPP)}
GC_ALLOCATIONS = 50_000
TOLD_AGAIN_SECONDS = 30
LEAVING_SECONDS = 2  # for a look at the database that is cut off
EXIT_STALLED = 75  # "temporary failure": the supervisor starts a fresh process
log = logging.get_logger("app")


class Parts:
    """Everything that can be built without the database. ConfigError names all that is wrong."""

    def __init__(self, config: Config) -> None:
        files = config.files
        path = config.path
        self.clock = Clock.from_environment()
        self.keyring = open_keyring(config)
        self.vault = Vault.load(path(files.privacy_keys))
        self.reference = reference.load(
            path(files.programmes), path(files.agreements), path(files.calendar), files.agreements_adapter_column
        )
        self.banks = open_banks(config)
        self.templates = open_templates(path(files.templates) if files.templates else None)
        self.provider = open_provider(config)

    def renew(self, config: Config) -> None:
        """Read the keys of approvals and of sealing again: all of them, or, with a fault in one, none."""
        keyring = open_keyring(config)
        self.vault.renew(load_keys(config.path(config.files.privacy_keys)))
        self.keyring.renew(keyring)


def open_keyring(config: Config) -> KeyRing:
    age = dt.timedelta(days=config.gateway.greatest_message_age_days)
    return KeyRing.load(config.path(config.files.approval_keys), config.gateway.audience, age)


def open_templates(path: Path | None) -> Templates:
    return Templates.parse(DEFAULT_TEMPLATES if path is None else tomllib.loads(path.read_text(encoding="utf-8")))


def open_provider(config: Config) -> SmsProvider | None:
    """The configured SMS provider, not yet contacted; None where the bank sends its notices another way."""
    section = config.sms
    if section is None:
        return None
    profile = SMS_PROFILES.get(section.provider)
    if profile is None:
        raise ConfigError([f"sms.provider: not one of {', '.join(sorted(SMS_PROFILES))}"])
    try:
        settings = profile.settings.model_validate(settings_of(section.settings, config.base))
    except ValidationError as error:
        raise ConfigError(readable(error, "sms.settings.")) from None
    try:
        provider: SmsProvider = profile.provider(section.provider, settings)
    except ValueError as error:  # providers word it so that it quotes nothing: a secret's form, an extra not installed
        raise ConfigError([f"sms.settings: {error}"]) from None
    return provider


class App:
    """One gateway process. It is also what stands behind the HTTP routes."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._config = config
        self._parts = parts
        self._store: Store | None = None
        self._inbox: Inbox | None = None
        self._verify: Verify | None = None
        self._notifier: Notifier | None = None
        self._faults: dict[str, str] = {"database": "not connected yet", "kafka": "not connected yet"}
        self._loop = Loop(self._report)
        self._stop = asyncio.Event()
        self._told: dict[str, float] = {}  # when a failing step was last told of; real seconds, never money
        self._exit = 0

    # -- what HTTP asks

    def readiness(self) -> Mapping[str, str | None]:
        return {component: self._faults.get(component) for component in ("database", "kafka")}

    async def bank_callback(self, bank: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        configured = self._parts.banks.get(bank)
        if configured is None:
            raise UnknownSender(bank)
        if self._verify is None:
            raise Unavailable("the database is not connected")
        try:
            await self._verify.callback(configured, method, path, headers, body)
        except CallbackRefused:
            raise
        except Exception as error:
            log.warning("callback not stored", bank=bank, exc_info=error)
            raise Unavailable("the callback could not be stored") from None

    async def sms_report(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        if self._parts.provider is None or provider != self._parts.provider.name:
            raise UnknownSender(provider)
        if self._notifier is None:
            raise Unavailable("the database is not connected")
        try:
            await self._notifier.report(headers, body)
        except CallbackRefused:
            raise
        except Exception as error:
            log.warning("report not stored", provider=provider, exc_info=error)
            raise Unavailable("the report could not be stored") from None

    # -- running

    async def run(self) -> int:
        """Run until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        http = self._config.http
        admin = Admin(self, Limits(body_bytes=http.max_body_bytes))
        await admin.start(http.host, http.port)
        provider = self._parts.provider
        series.declare(self._parts.banks, [] if provider is None else [provider.name])
        log.info("started", host=http.host, port=http.port, scale=self._parts.clock.scale)
        for what in unprotected(self._config, SMS_PROFILES):
            log.warning("channel not protected", reason=what)
        outlet = Outlet(self._config.kafka)
        loop.add_signal_handler(signal.SIGHUP, self.renew_keys, outlet)
        try:
            store = await self._open_store()
            if store is not None:
                self._start_steps(store, outlet)
                await self._stop.wait()
        finally:
            await self._shut_down(admin, outlet)
        return self._exit

    def renew_keys(self, outlet: Outlet) -> bool:
        """SIGHUP: read the keys again, without a stop; whether they are used. With a fault the old ones stay in use."""
        try:
            # Each client reads its secrets anew; they are looked at here as well, so that all is renewed or nothing.
            client_arguments(self._config.kafka)
            self._parts.renew(self._config)
        except (KafkaRefused, KeyRingFault, KeyFileFault, OSError) as error:
            log.error("keys not renewed: the old ones stay in use", exc_info=error)
            return False
        outlet.renew()
        if self._inbox is not None:
            self._inbox.renew()
        log.info("keys renewed")
        return True

    async def _open_store(self) -> Store | None:
        """The database, for as long as it takes; None when the process is told to stop before.

        A server that hangs behind its handshake answers nobody for more than a minute: the stop does not wait for it.
        """
        looking = asyncio.create_task(self._look_for_store())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            stopping.cancel()
            return looking.result()
        looking.cancel()
        await asyncio.wait((looking,), timeout=LEAVING_SECONDS)
        return None

    async def _look_for_store(self) -> Store:
        """Connect and look, again and again. What is no outage and no lock held by somebody else is raised."""
        while True:
            try:
                store = await Store.open(self._config)
                try:
                    await self._first_look(store)
                except BaseException:
                    await store.close()
                    raise
            except Exception as error:
                unavailable = isinstance(error, StoreUnavailable)
                if not (unavailable or outage(error) or lost_race(error)):
                    raise
                self._fault("database", str(error) if unavailable else type(error).__name__)
                await asyncio.sleep(1)
                continue
            self._fault("database", None)
            self._store = store
            return store

    async def _first_look(self, store: Store) -> None:
        """Enter the configured banks, and tell what whoever starts a gateway has to know of the books."""
        banks = self._parts.banks
        await store.submissions.ensure_banks(list(banks))
        mended = {bank.name: bank.configuration for bank in banks.values() if bank.configuration is not None}
        for bank_name in await store.pauses.resume_mended(mended):
            log.warning("pause lifted: its configuration has changed", bank=bank_name)
        for bank_name, reason in (await store.pauses.paused()).items():
            log.error("bank still paused", bank=bank_name, reason=reason)
        if beyond := await store.engine.rights_beyond_paying():
            log.warning(
                "the database role may do more than paying needs: use one of `gateway migrate --gateway-role`",
                reason=beyond,
                count=len(beyond),
            )

    def _start_steps(self, store: Store, outlet: Outlet) -> None:
        config, parts = self._config, self._parts
        shared = (parts.reference, parts.vault, parts.clock, config)
        intake = Intake(store, parts.keyring, *shared)
        failures = Failures(store, parts.keyring, parts.banks, *shared)
        dispatch = Dispatch(store, parts.banks, *shared)
        verify = self._verify = Verify(store, parts.banks, parts.vault, parts.clock, config)
        relay = Relay(store, outlet, parts.clock)
        watch = Watch(store, parts.reference.calendar, parts.clock, parts.banks, relay.report)
        handlers = {Kind.BATCH: intake.take_batch, Kind.FUNDING: intake.take_funding, Kind.ORDER: failures.take_order}
        self._inbox = Inbox(config.kafka, handlers, functools.partial(self._refuse, store))
        hand_out(store.limits, parts.banks, config.timing.bank_call_seconds)
        idle = config.timing.idle_milliseconds / 1000
        slow = config.timing.watch_milliseconds / 1000
        add = self._loop.add
        add("kafka", self._inbox.step, 0)
        add("kafka-lag", self._watch_kafka, slow)
        add("database", functools.partial(self._ping, store), slow)
        add("judge", intake.judge_next, idle)
        add("fund", intake.start_clocks, idle)
        add("parts", intake.refuse_overdue, slow)
        add("plan", dispatch.plan, idle)
        add("abandoned", verify.doubt_abandoned, idle)
        add("relay", relay.drain, idle)
        add("count", watch.count, slow)
        add("gauges", watch.gauges, slow)
        for bank in parts.banks.values():
            self._start_bank(bank, dispatch, verify, idle)
        if parts.provider is not None and config.sms is not None:
            notifier = self._notifier = Notifier(
                store, parts.provider, parts.templates, parts.reference, parts.vault, parts.clock, config.sms
            )
            add("notices", notifier.work, idle)
            if isinstance(parts.provider, PushesReports):
                add("sms-reports", notifier.take_pushed, idle)

    def _start_bank(self, bank: Bank, dispatch: Dispatch, verify: Verify, idle: float) -> None:  # never money
        """Each bank has tasks of its own: one that hangs or fails holds nobody else up."""
        collect = self._config.timing.collect_milliseconds / 1000
        for name, step, rest in (
            ("render", dispatch.render, idle),
            ("send", dispatch.send, idle),
            ("probe", verify.probe, idle),
            ("collect", verify.collect, collect),
            ("time", verify.watch_time, idle),
        ):
            self._loop.add(f"{name} {bank.name}", functools.partial(step, bank), rest)

    async def _refuse(self, store: Store, kind: Kind, raw: bytes, reason: RefusalReason, detail: str) -> None:
        await store.batches.refuse(refusal_of(kind, raw, reason, detail, self._parts.clock.now()))

    async def _ping(self, store: Store) -> bool:
        try:
            async with asyncio.timeout(5):
                await store.engine.ping()
        except StoreUnavailable as error:
            self._fault("database", str(error))
            raise
        except Exception:
            self._fault("database", "PostgreSQL does not answer")
            raise
        self._fault("database", None)
        return False

    async def _watch_kafka(self) -> bool:
        """Watch progress from outside: a fetcher that stands still while records wait ends the process."""
        inbox = self._inbox
        if inbox is None:
            return False
        if not inbox.ready:
            self._fault("kafka", inbox.fault)
            return False
        try:
            await inbox.lag()
        except Exception:
            self._fault("kafka", "Kafka does not answer")
            raise
        self._fault("kafka", None)
        if inbox.stalled:
            log.error("the consumer stands still although records wait: ending")
            self._exit = EXIT_STALLED
            self._stop.set()
        return False

    def _fault(self, component: str, reason: str | None) -> None:
        if self._faults.get(component) != reason:
            say = log.info if reason is None else log.warning
            say("component changed", component=component, status="ready" if reason is None else "not ready")
        if reason is None:
            self._faults.pop(component, None)
        else:
            self._faults[component] = reason
        metrics.READY.labels(component=component).set(0 if reason else 1)

    def _report(self, name: str, error: BaseException | None) -> None:
        if error is None:
            self._told.pop(name, None)
            log.info("step works again", step=name)
            return
        now = time.monotonic()
        if now - self._told.get(name, -math.inf) >= TOLD_AGAIN_SECONDS:  # a database that is away fails them all, often
            self._told[name] = now
            log.warning("step failed", step=name, exc_info=error)

    async def _shut_down(self, admin: Admin, outlet: Outlet) -> None:
        """Finish what is on the wire within the time, then leave: whatever was cut off is found again by its state."""
        log.info("stopping")
        outlet.hasten()
        if self._inbox is not None:
            self._inbox.hasten()
        late = await self._loop.stop(self._config.timing.shutdown_seconds)
        if late:
            log.warning("steps cut off", count=len(late))
        await admin.stop()
        await asyncio.gather(outlet.stop(), *(() if self._inbox is None else (self._inbox.stop(),)))
        for bank in self._parts.banks.values():
            await _within(2, bank.transport.close())
        if self._parts.provider is not None:
            await _within(2, self._parts.provider.close())
        if self._store is not None:
            await self._store.close()
        log.info("stopped")


async def _within(seconds: int, work: object) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work  # type: ignore[misc]
    except Exception as error:
        log.warning("not closed in time", exc_info=error)


def main(config: Config) -> int:
    """Run a gateway process that is hardened already; the exit status. ConfigError for what cannot be loaded."""
    logging.configure(config.log.level)
    # Rows come and go by the thousand and none of them is part of a cycle: looking for cycles that often is wasted.
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)

    async def run() -> int:
        return await App(config, Parts(config)).run()

    return asyncio.run(run())
