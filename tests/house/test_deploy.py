"""Runbook, rules, dashboard, image and compose file agree with each other and with the program."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import time
import tomllib
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway import cli, metrics
from gateway.banks import settings_of
from gateway.cli.checking import Checked
from gateway.config import Config
from tests.house.tree import ROOT, modules
from tests.world import layout

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "payout.json"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b(?:payout|process|python)_[a-z0-9_]+")
# Labels that Prometheus itself adds, and the names that the process collector exposes.
FOREIGN_LABELS = {"job", "instance", "le"}
FOREIGN_METRICS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def alerts() -> dict[str, dict[str, Any]]:
    groups = load_yaml(PROMETHEUS / "rules.yml")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules), "an alert stands twice"
    return {rule["alert"]: rule for rule in rules}


@cache
def series() -> dict[str, set[str]]:
    """Every series name that /metrics can show, with its labels."""
    found = {name: set[str]() for name in FOREIGN_METRICS}
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (family,) = metric.describe()
        suffixes: tuple[str, ...] = ("_total",) if isinstance(metric, Counter) else ("",)
        if isinstance(metric, Histogram):
            suffixes = ("_bucket", "_sum", "_count")
        for suffix in suffixes:
            found[family.name + suffix] = set(metric._labelnames)
    return found


def expressions() -> list[tuple[str, str]]:
    """Every expression of the rules and of the dashboard's panels, with where it stands."""
    found = [(name, str(rule["expr"])) for name, rule in alerts().items()]
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        found += [(f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", ())]
    return found


def unknown_names(expression: str) -> set[str]:
    return {name for name in NAME.findall(without_strings(expression)) if name not in series()}


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)


def strange_labels(expression: str) -> set[str]:
    """Labels matched or grouped by that none of the expression's metrics has."""
    bare = without_strings(expression)
    used = set(re.findall(r"[{,]\s*([a-z_]+)\s*[=!]", bare))
    for grouped in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", bare):
        used |= {label.strip() for label in grouped.split(",")}
    known = set[str]().union(*(series()[name] for name in NAME.findall(bare) if name in series()))
    return used - known - FOREIGN_LABELS


def test_every_metric_in_rules_and_dashboard_exists() -> None:
    """An alert or a panel on a metric that nobody exposes would be silent for ever."""
    assert {where: names for where, text in expressions() if (names := unknown_names(text))} == {}


def test_every_label_in_rules_and_dashboard_exists() -> None:
    """A label that a metric does not have would match nothing, or group everything into one."""
    assert {where: labels for where, text in expressions() if (labels := strange_labels(text))} == {}


def test_unknown_names_and_labels_would_be_found() -> None:
    """The two checks above see a misspelt metric, a misspelt label and a histogram without its suffix."""
    assert unknown_names("sum(payout_mesages_total)") == {"payout_mesages_total"}
    assert unknown_names("rate(payout_settle_seconds[5m])") == {"payout_settle_seconds"}
    assert strange_labels('sum by (banc) (payout_held{kind="x"})') == {"banc", "kind"}
    assert strange_labels('sum by (bank, le) (rate(payout_settle_seconds_bucket{bank=~"$bank"}[5m]))') == set()


def test_every_alert_has_a_heading_in_the_runbook() -> None:
    """Whoever is paged finds the alert's own name as a heading, with something to read below it; none is left over."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Payout\w+)\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == alerts().keys()
    for name, section in sections.items():
        rank = alerts()[name]["labels"]["severity"].capitalize()
        assert section.startswith(f"**{rank}.**"), f"{name} is a {rank} in the rules"
        assert len(section.split()) > 20, f"{name} says nothing"


def test_the_runbook_types_commands_that_exist() -> None:
    """What an operator is told to type is a command of the program."""
    app = typer.main.get_group(cli.app)
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    typed = set(re.findall(r"(?:^ {4}|`|&& )gateway ([a-z]+)\b", text, re.MULTILINE))
    assert typed
    assert typed - app.commands.keys() == set()


@pytest.mark.parametrize(
    "message",
    ["bank paused", "bank still paused", "pause lifted: its configuration has changed", "artefact quarantined",
     "evidence unmatched", "money unexplained", "funds do not cover", "callback refused", "statement differs",
     "step failed"],
)  # fmt: skip
def test_the_runbook_quotes_log_lines_that_are_written(message: str) -> None:
    """Whoever searches the log for what the runbook quotes finds it, with the keys that it names."""
    runbook = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert f"`{message}`" in runbook
    calls = [
        {keyword.arg for keyword in node.keywords}
        for module in modules()
        if module.path.startswith("gateway/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and any(isinstance(a, ast.Constant) and a.value == message for a in node.args)
    ]
    keys = {
        "artefact quarantined": {"bank", "file", "digest", "reason"},
        "evidence unmatched": {"bank", "reference", "submission", "proof", "digest"},
        "funds do not cover": {"batch", "amount_fen"},
        "statement differs": {"bank", "at", "digest", "count"},
    }
    assert any(keys.get(message, set()) <= called for called in calls)


def test_every_alert_says_how_bad_it_is_and_where_to_read() -> None:
    """Each alert has a severity of two, one sentence, and a link to its own heading."""
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == f"deploy/README.md#{name.lower()}"


def test_what_the_law_watches_pages() -> None:
    """Deadlines, doubt, conflicts, fees, billed people, the identity: each has a page, not only a ticket."""
    for name in ("LimitNear", "LimitPassed", "FeedbackPassed", "Held", "Conflict", "FeeTaken", "ReceiverBilled",
                 "IdentityGap", "StatementDiffers", "GivenUp", "OutboxStuck", "BankPaused", "NotReady",
                 "ConsumerLag"):  # fmt: skip
        assert alerts()[f"Payout{name}"]["labels"]["severity"] == "page"


def test_every_alert_is_tested_both_ways() -> None:
    """For each alert there is a case in which it fires and one in which it does not."""
    fires: set[str] = set()
    quiet: set[str] = set()
    for case in load_yaml(PROMETHEUS / "rules_test.yml")["tests"]:
        for check in case["alert_rule_test"]:
            (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    assert fires == quiet == alerts().keys()


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if PROMTOOL is None:
        pytest.skip("promtool is not installed")
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_promtool_accepts_configuration_and_rules() -> None:
    """Prometheus would start with this configuration and these rules."""
    done = promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_passes_the_rule_tests() -> None:
    """Each alert fires when it should and is quiet when it should, by Prometheus' own evaluation."""
    done = promtool("test", "rules", str(PROMETHEUS / "rules_test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("always", [True, False], ids=["always", "never"])
def test_the_rule_tests_bite(tmp_path: Path, always: bool) -> None:
    """With rules that always fire, and with rules that never do, the cases of every single alert fail."""
    rules = load_yaml(PROMETHEUS / "rules.yml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = "vector(1) > 0" if always else "vector(1) > 1"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    shutil.copy(PROMETHEUS / "rules_test.yml", tmp_path)
    done = promtool("test", "rules", str(tmp_path / "rules_test.yml"))
    assert done.returncode != 0
    assert set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr)) == alerts().keys()


def test_promtool_accepts_the_dashboards_expressions(tmp_path: Path) -> None:
    """Every expression of the dashboard is PromQL."""
    records = [{"record": f"panel:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}), encoding="utf-8")
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_whole() -> None:
    """Panels have ids of their own, lie side by side and not upon each other, and use the provisioned data source."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    source = load_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"]
    used = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert used == {source}


def test_the_dashboard_shows_every_metric() -> None:
    """A metric that no alert and no panel uses is not worth its cost."""
    shown = {name for _, text in expressions() for name in NAME.findall(without_strings(text))}
    seen = {name.removesuffix("_bucket") for name in shown}
    assert [name for name in series() if re.sub("_(bucket|sum|count)$", "", name) not in seen] == []


def test_the_example_configuration_is_accepted(tmp_path: Path) -> None:
    """deploy/gateway.example.toml has only keys that exist, also below each bank, and names no secret."""
    text = (DEPLOY / "gateway.example.toml").read_text(encoding="utf-8")
    config = Config.model_validate({**tomllib.loads(text), "base": tmp_path})
    for named in re.findall(r'_file = "([^"]+)"', text):
        (tmp_path / named).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / named).touch()
    profiles = {entry.name: entry.load() for entry in entry_points(group="payout_gateway.adapters")}
    for bank in config.banks.values():
        settings = settings_of(bank.settings, tmp_path)
        profiles[bank.profile].settings.model_validate(settings, context={"base": tmp_path})
    assert not re.search(r"(?i)password\s*=|BEGIN .*PRIVATE|://[^/\"]*:[^/\"]*@", text)


def test_the_example_fits_the_tables_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied together they have no fault but the missing keys; a bank's name that leads nowhere would be told."""
    monkeypatch.setenv("GATEWAY_CLOCK", f"2026-11-24T10:00:00+08:00@1@{time.time()}")
    for path in (DEPLOY / "gateway.example.toml", *(DEPLOY / "reference").glob("*.csv")):
        shutil.copy(path, tmp_path)
    example = tmp_path / "gateway.example.toml"

    def faults_of_tables() -> list[str]:
        return [fault for fault in Checked(example).faults if re.search(r"agreement|programmes|calendar|\.csv", fault)]

    assert faults_of_tables() == []
    example.write_text(example.read_text(encoding="utf-8").replace("[banks.json_https", "[banks.another"))
    assert ["json_https, which is no configured bank" in fault for fault in faults_of_tables()] == [True]


# --- image and compose file ---


@cache
def compose() -> dict[str, Any]:
    document: dict[str, Any] = load_yaml(ROOT / "docker-compose.yml")
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_compose_has_the_whole_street() -> None:
    """Kafka in KRaft mode, PostgreSQL 18, gateway, both banks, SMS centre, finance and the watchers are there."""
    banks = {"bank-rcc-file", "bank-json-https", "sms-centre", "finance"}
    assert {"kafka", "postgres", "gateway", "prometheus", "grafana"} | banks <= services().keys()
    assert services()["kafka"]["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert services()["kafka"]["image"].startswith("apache/kafka:4.")
    assert services()["postgres"]["image"].startswith("postgres:18.")


def test_compose_pins_its_images() -> None:
    """Every image that is pulled has an exact version; every other one is built from our Dockerfile's targets."""
    targets = set(re.findall(r"^FROM .* AS (\w+)$", dockerfile(), re.MULTILINE))
    for name, service in services().items():
        if "build" in service:
            assert service["build"]["target"] in targets
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            assert re.fullmatch(r"[a-z/]+:v?[0-9]+(\.[0-9]+)+", service["image"]), name


def test_compose_publishes_on_the_loopback_interface_only() -> None:
    """A port of the simulated street is never open to the network."""
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", port) for port in ports)


def test_compose_holds_no_secret() -> None:
    """Passwords come from files made at start: no variable that names one has a value here."""
    for service in services().values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASS|SECRET|TOKEN|_KEY", key):
                assert key.endswith("_FILE"), key
                assert str(value).startswith("/"), key
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(r"://[^/\s:]+:[^/\s@]+@", text)


def test_compose_mounts_and_runs_what_exists() -> None:
    """Every mounted file, every named volume and every Python module that a service runs is there."""
    for name, service in services().items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            exists = (ROOT / source).exists() if source.startswith(".") else source in compose()["volumes"]
            assert exists, f"{name} mounts {source}"
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            path = ROOT / command[2].replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{name} runs {command[2]}"


def test_compose_knows_when_its_services_are_well() -> None:
    """Whatever runs on has a health check, in the file or in the image; whatever runs once says so."""
    for name, service in services().items():
        once = service.get("restart") == "no"
        in_image = service.get("build", {}).get("target") == "gateway"
        assert once or in_image or "healthcheck" in service or name == "pod", name


def test_compose_waits_for_what_it_needs() -> None:
    """No service waits for one that is not there, and what the gateway needs is ready before it starts."""
    for service in services().values():
        assert service.get("depends_on", {}).keys() <= services().keys()
    needs = {name: how["condition"] for name, how in services()["gateway"]["depends_on"].items()}
    assert needs["migrate"] == needs["topics"] == "service_completed_successfully"
    assert services()["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_compose_runs_the_gateway_under_a_login_that_can_only_pay() -> None:
    """The owner migrates and grants; the gateway's configuration names the other login's DSN."""
    login = layout.LOGINS[1][0]
    assert services()["migrate"]["command"] == ["migrate", "--config", "/world/owner.toml", "--gateway-role", login]
    assert services()["gateway"]["command"] == ["run", "--config", "/world/gateway.toml"]
    assert services()["migrate"]["depends_on"]["roles"]["condition"] == "service_completed_successfully"
    assert f"/world/{layout.LOGINS[1][1]}" in " ".join(services()["roles"]["command"])
    assert f"CREATE ROLE {login} LOGIN" in (DEPLOY / "postgres" / "roles.sql").read_text(encoding="utf-8")


def test_prometheus_asks_where_the_gateway_is() -> None:
    """The scraped job has the name that alerts watch, and its target is the pod's name and published port."""
    (job,) = load_yaml(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert f'up{{job="{job["job_name"]}"}}' in alerts()["PayoutGatewayDown"]["expr"]
    pod = services()["pod"]
    assert host in pod["networks"]["default"]["aliases"]
    assert pod["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert services()["gateway"]["network_mode"] == "service:pod"


def test_compose_creates_the_programs_topics() -> None:
    """Topics are made by hand, never by a typing error: exactly the six that the program uses."""
    script = services()["topics"]["command"][-1]
    (names,) = re.findall(r"for topic in ([a-z -]+); do", script)
    assert set(names.split()) == {"batches", "funding", "orders", "receipts", "batch-reports", "refusals"}
    assert services()["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_docker_compose_accepts_the_file() -> None:
    """The engine's own client reads the file."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker client with compose is installed")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_image_is_built_in_stages_and_runs_as_nobody() -> None:
    """What builds stays behind, packages are checked by hash, and no target ends as root."""
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)[1:]
    assert len(stages) == 4
    assert all("--require-hashes" in line for line in re.findall(r"pip install[^&]*-r [^&]*", dockerfile()))
    final = stages[-1]
    assert final.startswith("base AS gateway")
    assert "HEALTHCHECK" in final
    assert "pip" not in final
    users = {name: re.findall(r"^USER (\S+)$", stage, re.MULTILINE) for name, stage in enumerate(stages)}
    assert users[1][-1] == "10001:10001"
    assert all(found[-1] == "10001:10001" for stage, found in users.items() if stage > 1 and found)


def test_the_image_finds_what_it_copies() -> None:
    """Every path that the Dockerfile copies is in the tree and let through by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.*)$", dockerfile(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_the_build_backend_is_in_the_lock() -> None:
    """The packages that the Dockerfile picks from the developers' lock are all there, with hatchling among them."""
    (names,) = re.findall(r"/\^\(([a-z|-]+)\)==/", dockerfile())
    lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    assert "hatchling" in names.split("|")
    assert [name for name in names.split("|") if not re.search(rf"^{name}==", lock, re.MULTILINE)] == []
