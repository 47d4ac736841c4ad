"""Rules and alerts are valid, fire when they should, and speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.observability import prometheus_rule
from tests.support.overlays import ROOT, overlay

FOLDER = ROOT / "deploy" / "observability"
CASES = Path(__file__).with_name("alerts_test.yml")
PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="Debian's package prometheus has promtool")


def run(*words: str) -> None:
    done = subprocess.run([PROMTOOL, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_configuration_and_its_rules_are_valid() -> None:
    run("check", "config", str(FOLDER / "prometheus.yml"))


@needs_promtool
def test_alerts_fire_when_they_should_and_not_else() -> None:
    run("test", "rules", str(CASES))


def alerts() -> set[str]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def test_every_alert_is_tested_both_ways_and_explained() -> None:
    explained = (ROOT / "docs" / "operate" / "observability.md").read_text()
    assert set(re.findall(r"`(Pb[A-Za-z]+)`", explained)) == alerts()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        assert {one["alertname"] for one in case["alert_rule_test"]} == alerts()


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml", "dashboard.json"])
def test_queries_name_metrics_that_the_reference_lists(name: str) -> None:
    reference = (ROOT / "docs" / "operate" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)`", reference, re.MULTILINE))
    text = re.sub(r"\w+:pbserve_\w+:\w+", "", (FOLDER / name).read_text())
    used = re.findall(r"\b((?:pbserve|pbexport|process)_\w+)", text)
    assert used
    for word in used:
        assert {word, re.sub("_(bucket|sum|count)$", "", word)} & listed, word


def test_the_operators_object_has_the_rules_and_alerts_of_the_files() -> None:
    assert prometheus_rule.FILE.read_text() == prometheus_rule.rendered(), "run `make alerts`"
    (found,) = overlay("monitoring").of("PrometheusRule")
    groups = [
        group
        for name in ("rules.yml", "alerts.yml")
        for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
    ]
    assert found["spec"]["groups"] == groups


def test_kube_prometheus_stack_selects_what_is_for_it() -> None:
    built = overlay("monitoring")
    for kind in ("PodMonitor", "PrometheusRule"):
        (found,) = built.of(kind)
        assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def scaler_query() -> str:
    (scaler,) = overlay("autoscale").of("ScaledObject")
    return str(scaler["spec"]["triggers"][0]["metadata"]["query"])


@needs_promtool
@pytest.mark.parametrize(
    ("series", "expected"),
    [
        # Two pods, a second of waiting in each second: one request waits.
        (
            {
                'pbserve_queue_seconds_sum{namespace="pbserve",pod="a"}': "0+15x20",
                'pbserve_queue_seconds_sum{namespace="pbserve",pod="b"}': "0x20",
                'pbserve_ready{namespace="pbserve",pod="a"}': "1x20",
            },
            [1.0],
        ),
        # Nobody has asked yet; another team's queue is none of ours.
        (
            {
                'pbserve_queue_seconds_sum{namespace="pbserve",pod="a"}': "0x20",
                'pbserve_queue_seconds_sum{namespace="other",pod="a"}': "0+15x20",
                'pbserve_ready{namespace="pbserve",pod="a"}': "1x20",
            },
            [0.0],
        ),
        # Pods without a model, ready or not.
        ({'pbserve_ready{namespace="pbserve",pod="a"}': "0x20"}, [0.0]),
        # Prometheus knows none of our pods: no answer, which counts as an error.
        ({'pbserve_ready{namespace="other",pod="a"}': "1x20"}, []),
    ],
)
def test_the_scalers_query_has_an_answer_for_idle_pods_and_none_for_unknown_ones(
    series: dict[str, str], expected: list[float], tmp_path: Path
) -> None:
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": scaler_query(),
                "eval_time": "3m",
                "exp_samples": [{"labels": "{}", "value": value} for value in expected],
            }
        ],
    }
    file = tmp_path / "case.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    run("test", "rules", str(file))
