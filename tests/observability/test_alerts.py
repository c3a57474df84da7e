"""Rules and dashboard name only what a running API and a running worker export, and the runbook has a section for each alert."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from orderkit.api.problems import KINDS
from orderkit.auth.models import ADMIN
from orderkit.cli import metrics_page
from orderkit.db import Database
from orderkit.observability import metrics
from orderkit.settings import Settings
from orderkit.system import numbers
from tests.client import Client, running
from tests.factories import PASSWORD, make_product, make_user
from tests.observability.promql import Exported, grouped_by, parsed, wrong
from tests.processes import Processes

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOKEN = "a token of the scraper"
WITHIN_S = 20.0

pytestmark = pytest.mark.integration


class Scraped(NamedTuple):
    """Series by name, each with its labels and the values that were seen of them."""

    api: dict[str, dict[str, set[str]]]
    worker: dict[str, dict[str, set[str]]]


def series(text: str) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def get(url: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def trade(api: Client, database: Database) -> None:
    """Something of everything that is counted: an order for the API to charge, one for the worker, a refund, a bad login, …"""
    buyer, staff = make_user(database, password=PASSWORD), make_user(database, role=ADMIN)
    sku = make_product(database, stock=5).sku
    who = api.token(buyer)

    def order(key: str, quantity: int = 1, **more: str) -> Any:
        body = {"items": [{"sku": sku, "quantity": quantity}], "payment_method": "pm_card_visa"}
        return api.post("/orders", body, who | {"Idempotency-Key": key} | more).json()

    paid = order("a")
    order("a")
    order("b", Prefer="respond-async")
    order("c", quantity=6)
    refund = api.token(staff) | {"Idempotency-Key": "r"}
    assert api.post(f"/orders/{paid['id']}/refunds", {"reason": "broken"}, refund).status == 201
    assert api.form("/token", {"username": buyer.email, "password": "wrong"}).status == 401


@pytest.fixture(scope="module")
def scraped(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """What an API and a worker tell after some trade, both on one database."""
    folder = tmp_path_factory.mktemp("scraped")
    shutil.copyfile(sqlite_template, folder / "orderkit.db")
    url = f"sqlite:///{folder / 'orderkit.db'}"
    settings = Settings(_env_file=None, home=folder / "home", database_url=url, metrics_token=TOKEN)
    env = {"ORDERKIT_DATABASE_URL": url, "ORDERKIT_HOME": str(settings.home), "ORDERKIT_METRICS_TOKEN": TOKEN}
    processes = Processes(folder, env | {"PROMETHEUS_MULTIPROC_DIR": str(folder / "of the API, and not there")})
    database = Database(settings)
    try:
        with running(settings) as api:
            trade(api, database)
            worker = processes.start("worker", "--metrics-port", "0")
            address = worker.address() + "/metrics"
            until = time.monotonic() + WITHIN_S
            done = ("orderkit_money_refunded_minor_units_total", "orderkit_money_captured_minor_units_total")
            while not all(one in (told := series(get(address))) for one in done):
                assert time.monotonic() < until, worker.output
                time.sleep(0.05)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            yield Scraped(series(api.get("/metrics", headers).body.decode()), told)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(address, timeout=10)
            assert worker.terminate() == 0
    finally:
        processes.kill_all()
        database.dispose()


@pytest.fixture(scope="module")
def exported(scraped: Scraped) -> Exported:
    """All series, with the values of those labels whose values are declared, and of codes of problems."""
    declared = {one.name: one.labels for one in (*metrics.METRICS, *numbers.METRICS)}
    found: dict[str, dict[str, Any]] = {}
    for names in scraped:
        for name, labels in names.items():
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            known = declared.get(name) or declared.get(base) or {}
            values = {label: known.get(label, ()) for label in labels}
            found[name] = values | ({"code": tuple(KINDS)} if "code" in labels else {})
    return found


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def rules() -> list[dict[str, Any]]:
    [group] = YAML(typ="safe").load(DEPLOY / "prometheus" / "rules.yml")["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "orderkit.json").read_text(encoding="utf-8"))
    return found


def expressions() -> list[tuple[str, str]]:
    of_rules = [(rule["alert"], rule["expr"]) for rule in rules()]
    of_panels = [
        (panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", ())
    ]
    of_annotations = [(one["name"], one["expr"]) for one in dashboard()["annotations"]["list"]]
    return of_rules + of_panels + of_annotations


def test_every_expression_names_only_series_labels_and_values_that_are_exported(exported: Exported) -> None:
    found = expressions()
    assert len(found) > 60
    assert [(where, wrong(expression, exported)) for where, expression in found if wrong(expression, exported)] == []


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate(orderkit_htp_requests_total[5m])", "no series orderkit_htp_requests_total"),
        ("sum by (rout) (orderkit_http_requests_total)", "nothing has a label rout"),
        ('orderkit_logins_total{outcom="failed"}', "orderkit_logins_total has no label outcom"),
        ('orderkit_logins_total{outcome=~"failed|wrong"}', "orderkit_logins_total: outcome is never wrong"),
        ('orderkit_problems_total{code="oops"}', "orderkit_problems_total: code is never oops"),
    ],
)
def test_an_expression_that_names_what_there_is_not_is_found(exported: Exported, expression: str, said: str) -> None:
    assert wrong(expression, exported) == [said]


def test_what_is_no_expression_is_found() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(x[5m])")


def test_each_metric_is_exported_by_whom_it_is_declared_for_with_its_labels(scraped: Scraped) -> None:
    seldom = {"orderkit_provider_call_seconds", "orderkit_http_request_seconds", "orderkit_db_pool_wait_seconds"}
    for origin, told in zip(("api", "worker"), scraped, strict=True):
        for one in (*metrics.METRICS, *numbers.METRICS):
            name = f"{one.name}_count" if one.kind == "histogram" else one.name
            assert (name in told) is (origin in one.of), (origin, name)
            if name in told:
                assert set(told[name]) == set(one.labels), (origin, name)
                declared = {label: set(values) for label, values in one.labels.items() if values}
                assert {label: told[name][label] for label in declared} == declared or one.name in seldom, name
    ours = {
        re.sub(r"_(bucket|sum|count)$", "", name) for told in scraped for name in told if name.startswith("orderkit")
    }
    assert ours == {one.name for one in (*metrics.METRICS, *numbers.METRICS)}


def test_every_label_whose_values_are_not_listed_is_explained() -> None:
    open_ones = {
        label for one in (*metrics.METRICS, *numbers.METRICS) for label, values in one.labels.items() if not values
    }
    assert open_ones == set(metrics.LABELS)


def test_the_page_of_metrics_is_what_the_command_writes() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == metrics_page.text(), "run: orderkit system metrics -o docs/metrics.md"


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sections() -> list[str]:
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^## (\S+)$", page)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Orderkit[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r".+\.", rule["annotations"]["summary"])
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert (page, section in sections()) == ("docs/runbook.md", True)
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    left = grouped_by(parsed(rule["expr"])) or {"job", "instance"}
    assert named <= left, "a label that is summed away is empty"


def test_alerts_and_sections_of_the_runbook_are_as_many_and_none_is_twice() -> None:
    named = [rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules()]
    assert sorted(named) == sorted(sections())
    assert len(set(named)) == len(named) == len({rule["alert"] for rule in rules()})


def test_the_scrape_configuration_loads_the_rules_and_has_the_jobs_that_they_ask_for() -> None:
    configuration = YAML(typ="safe").load(DEPLOY / "prometheus" / "prometheus.yml")
    assert all((DEPLOY / "prometheus" / file).is_file() for file in configuration["rule_files"])
    jobs = {one["job_name"] for one in configuration["scrape_configs"]}
    asked = {job for rule in rules() for job in re.findall(r'job="([\w-]+)"', rule["expr"])}
    assert asked == jobs == {"orderkit-api", "orderkit-worker"}


def test_panels_have_an_id_each_and_a_place_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["targets"], panel["title"]


THRESHOLDS = {
    "Oldest that waits": ["OrderkitOutboxOld", "OrderkitPaymentsUnsettled"],
    "Reports behind": ["OrderkitRollupsBehind"],
    "Slowest one in twenty, by route": ["OrderkitSlowRequests"],
    "Turned away, timed out": ["OrderkitShedding"],
    "Order, from request to answer": ["OrderkitSlowOrders"],
    "Overdue": ["OrderkitQueueDeep"],
    "What is due": ["OrderkitQueueDeep"],
    "Logins a minute": ["OrderkitLoginFailures"],
}
"""The panels with a line, and the alerts that the last of their steps is taken from."""


@pytest.mark.parametrize(("title", "alerts"), THRESHOLDS.items())
def test_lines_of_the_dashboard_are_where_the_alerts_are(title: str, alerts: list[str]) -> None:
    (panel,) = (one for one in dashboard()["panels"] if one["title"] == title)
    steps = [one["value"] for one in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    expressions = [rule["expr"] for rule in rules() if rule["alert"] in alerts]
    assert steps[0] is None
    assert any(re.search(rf"> {steps[-1]:g}(?![\d.])", one) for one in expressions), (steps, expressions)


def test_every_number_that_stands_alone_says_by_its_colour_whether_it_is_well() -> None:
    alone = [one for one in dashboard()["panels"] if one["type"] == "stat" and one["title"] != "Versions"]
    assert len(alone) == 3
    for panel in alone:
        assert len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1, panel["title"]


def test_whom_alerts_go_to_exists_and_what_is_kept_quiet_is_an_alert() -> None:
    found = YAML(typ="safe").load(DEPLOY / "prometheus" / "alertmanager.yml")
    receivers = {one["name"] for one in found["receivers"]}
    routes = [found["route"], *found["route"]["routes"]]
    assert {one["receiver"] for one in routes} == receivers
    severities = {severity for one in routes for severity in re.findall(r'severity="(\w+)"', str(one.get("matchers")))}
    assert severities == {rule["labels"]["severity"] for rule in rules()}
    named = set(re.findall(r"Orderkit\w+", str(found["inhibit_rules"])))
    assert named <= {rule["alert"] for rule in rules()}
