"""Every panel of the dashboard shows something, on a real Prometheus that scrapes real servers."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter_service.client import ExporterClient
from exporter_service.specs.conversion import AdoptionRequest
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.http_calls import call
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.metrics import metrics_port
from tests.support.overlays import ROOT
from tests.support.services import running

FOLDER = ROOT / "deploy" / "observability"
PROMETHEUS = shutil.which("prometheus") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROMETHEUS, reason="Debian's package prometheus is not there"),
]

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": str(target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
# What Grafana puts in.
VARIABLES = {"$__rate_interval": "5s", "$model": ".*"}
SECONDS = 60.0


class Prometheus:
    """A real one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[Any]:
        query = urllib.parse.urlencode({"query": expression})
        reply = call(self.url, path=f"api/v1/query?{query}")
        assert reply.status == 200, reply.text
        return list(reply.json()["data"]["result"])

    def wait_for(self, expression: str) -> list[Any]:
        """Asks until there is something, as a person would."""
        ends = time.monotonic() + SECONDS
        while not (found := self.query(expression)) and time.monotonic() < ends:
            time.sleep(0.2)
        return found


@contextlib.contextmanager
def prometheus(folder: Path, **targets: str) -> Iterator[Prometheus]:
    """Runs our configuration, with our rules, for other addresses and in a hurry."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = (folder / "prometheus.log").open("w+")
    process = subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stderr=log,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield Prometheus(f"http://{_address(process, folder / 'prometheus.log')}/")
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Returns where it listens, which it says in its log."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends and process.poll() is None:
        for found in re.findall(r"address=(127\.0\.0\.1:[1-9][0-9]*)", log.read_text()):
            with contextlib.suppress(OSError):
                if call(f"http://{found}/", path="-/ready").status == 200:
                    return str(found)
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def load(server: InferenceServer) -> Iterator[None]:
    """Asks one thing after the other until the block ends."""
    ended = threading.Event()

    def ask() -> None:
        with InferenceClient(server.address) as client:
            while not ended.is_set():
                client.predict("m", pixels(1.0, 2.0))
                with contextlib.suppress(errors.ModelNotFound):
                    client.predict("nobody", pixels(1.0))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    (folder / "checkpoints").mkdir()
    graph = folder / "checkpoints" / "not_a_graph.pb"
    graph.write_bytes(b"\xff not a graph")
    options = ("--store", str(folder / "converted"), "--checkpoint-root", str(folder))
    with (
        inference_server(store, folder) as server,
        metrics_port(server) as url,
        running("exporter_service", *options, log=folder / "exporter.log") as exporter,
    ):
        server.publish()
        assert exporter.process.stdout
        exporter_url = exporter.process.stdout.readline().split()[-1]
        # Refused by the process that reads it: it has steps, and takes no model.
        with (
            ExporterClient(exporter.address) as client,
            pytest.raises(errors.PbserveError),
        ):
            client.adopt(AdoptionRequest("broken", None, str(graph)))
        targets = {
            "pbserve": urllib.parse.urlsplit(url).netloc,
            "pbexport": urllib.parse.urlsplit(exporter_url).netloc,
        }
        with prometheus(folder, **targets) as running_prometheus, load(server):
            yield running_prometheus


@pytest.mark.parametrize("name", QUERIES)
def test_every_panel_shows_something(watched: Prometheus, name: str) -> None:
    expression = QUERIES[name]
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    found = watched.wait_for(expression)
    assert found, expression
    # A quantile or a mean of nothing is a number as well, to Prometheus: NaN.
    ends = time.monotonic() + SECONDS
    while all(one["value"][1] == "NaN" for one in found) and time.monotonic() < ends:
        time.sleep(0.2)
        found = watched.query(expression)
    assert any(one["value"][1] != "NaN" for one in found), found


def test_the_rules_are_evaluated(watched: Prometheus) -> None:
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            # The ratio of errors has no value without one.
            if "errors" not in rule["record"]:
                assert watched.wait_for(rule["record"]), rule["record"]
