"""examples/prometheus: alerts and dashboard speak of metrics that there are, and promtool agrees with them."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from portal_house import ROOT

from portal.metrics_families import FAMILIES

FOLDER = ROOT / "examples" / "prometheus"
TRIED = Path(__file__).with_name("rules.test.yml")
NAME = re.compile(r"\bsafeip_[a-z_]+\b")
LABELS = re.compile(r"\b(\w+)\s*=~?\s*\"")
BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def names_of_series() -> set[str]:
    """What can be asked for."""
    series = set()
    for name, family in FAMILIES.items():
        series |= {f"{name}{end}" for end in ("_bucket", "_count", "_sum")} if family.kind == "histogram" else {name}
    return series


def wrong(expression: str) -> list[str]:
    """The names and labels of an expression that there are not."""
    names = NAME.findall(expression)
    families = [FAMILIES[name] for name in (re.sub(r"_(bucket|count|sum)$", "", name) for name in names) if name in FAMILIES]
    labels = {"instance", "job", "le"}.union(*(family.labels for family in families))
    used = {*LABELS.findall(expression), *(label.strip() for part in BY.findall(expression) for label in part.split(","))}
    return [*(set(names) - names_of_series()), *(used - labels)]


def promtool(*words: str, folder: Path = FOLDER) -> str:
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, str]:
    """Each alert's expression by its name."""
    text = (FOLDER / "rules.yml").read_text("utf-8")
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.*)\n", text))


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "grafana.json").read_text("utf-8"))


def queries() -> Iterator[str]:
    """Every expression of the dashboard."""
    board = dashboard()
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    yield from (one["expr"] for one in board["annotations"]["list"])


def test_the_alerts_are_rules_and_each_is_tried() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", str(TRIED))
    tried = TRIED.read_text("utf-8")
    assert len(alerts()) >= 10
    for name in alerts():
        assert len(re.findall(rf"alertname: {name}\n.*\n +exp_alerts:", tried)) >= 1, f"{name} never fires"
        assert len(re.findall(rf"alertname: {name}, eval_time", tried)) >= 1, f"{name} is never quiet"


def test_an_alert_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    there = "../../../examples/prometheus/rules.yml"
    for operand, passes in (("0", True), ("2", False)):
        rules = (FOLDER / "rules.yml").read_text("utf-8")
        (tmp_path / "rules.yml").write_text(rules.replace("safeip_gate_up == 0", f"safeip_gate_up == {operand}"), "utf-8")
        (tmp_path / TRIED.name).write_text(TRIED.read_text("utf-8").replace(there, "rules.yml"), "utf-8")
        done = subprocess.run(["promtool", "test", "rules", TRIED.name], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) == passes


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_speaks_of_what_there_is(name: str) -> None:
    assert wrong(alerts()[name]) == []


def test_the_dashboard_is_one_and_speaks_of_what_there_is(tmp_path: Path) -> None:
    board = dashboard()
    assert len(board["panels"]) >= 10
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    variables = {one["name"]: one["type"] for one in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    sources = [place["datasource"] for place in (*board["panels"], *itertools.chain(*(p["targets"] for p in board["panels"])))]
    assert {(one["type"], one["uid"]) for one in sources} == {("prometheus", "${datasource}")}
    assert {query: wrong(query) for query in queries() if wrong(query)} == {}
    places = [[panel["gridPos"][key] for key in "xywh"] for panel in board["panels"]]
    taken = [(column, row) for x, y, w, h in places for column in range(x, x + w) for row in range(y, y + h)]
    assert len(taken) == len(set(taken)), "two panels lie over each other"
    assert max(column for column, _row in taken) < 24

    rules = "".join(
        f"  - {{ record: 'query:{number}', expr: '{query}' }}\n" for number, query in enumerate(with_values(queries()))
    )
    (tmp_path / "queries.yml").write_text(f"groups:\n- name: queries\n  rules:\n{rules}", "utf-8")
    promtool("check", "rules", "queries.yml", folder=tmp_path)


def with_values(texts: Iterator[str]) -> Iterator[str]:
    """As Grafana sends them."""
    return (text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in texts)


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    text = " ".join([*queries(), *alerts().values(), json.dumps(dashboard()["templating"])])
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in NAME.findall(text)}
    assert shown >= set(FAMILIES)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("safeip_grant > 1", ["safeip_grant"]),
        ("safeip_transaction_duration_seconds > 1", ["safeip_transaction_duration_seconds"]),
        ('safeip_grants{holder="x"}', ["holder"]),
        ("sum by (reason) (safeip_grants)", ["reason"]),
    ],
)
def test_a_name_that_there_is_not_is_found(expression: str, found: list[str]) -> None:
    assert wrong(expression) == found
