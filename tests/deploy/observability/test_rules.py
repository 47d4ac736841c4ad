"""Rules and alerts are valid, fire when they should, and speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.overlays import ROOT

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
