from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference_service.client import InferenceClient
from tests.support.inference_server import InferenceServer

SCRIPT = Path(sys.executable).with_name("pbserve")
# Nothing of what a server, or a client that talks, has to import.
HEAVY = {"tensorflow", "numpy", "grpc", "google.protobuf", "PIL", "pydantic", "structlog"}


def completed(shell: str, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Asks as the script that `--show-completion` prints does."""
    words = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    variables = {**os.environ, **words, "_PBSERVE_COMPLETE": f"complete_{shell}", **environment}
    return subprocess.run(
        [SCRIPT], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_of_models_come_from_the_running_server(server: InferenceServer, shell: str) -> None:
    for model in ("digits", "dogs", "cats"):
        server.publish(model=model)
    done = completed(shell, "pbserve predict d", PBSERVE_ADDRESS=server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits" in done.stdout
    assert "dogs" in done.stdout
    assert "cats" not in done.stdout
    option = completed(shell, f"pbserve bench --address {server.address} c")
    assert "cats" in option.stdout
    assert "dogs" not in option.stdout


def test_labels_come_from_the_running_server(server: InferenceServer) -> None:
    server.publish()
    with InferenceClient(server.address) as client:
        client.set_label("m", "stable", 1)
    line = f"pbserve predict m --address {server.address} --label "
    assert completed("bash", line).stdout == "stable\n"
    assert completed("bash", line + "st").stdout == "stable\n"
    assert completed("bash", line + "x").stdout.strip() == ""


def test_without_a_server_nothing_is_offered_and_nothing_said() -> None:
    done = completed("bash", "pbserve predict d", PBSERVE_ADDRESS="127.0.0.1:1")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    wrong = completed("bash", "pbserve predict d", PBSERVE_ADDRESS="http://nonsense")
    assert (wrong.returncode, wrong.stdout.strip(), wrong.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_options_are_offered(shell: str) -> None:
    commands = completed(shell, "pbserve ").stdout
    for command in ("serve", "predict", "models", "show", "load", "unload", "label", "bench"):
        assert command in commands
    options = completed(shell, "pbserve predict m --to").stdout
    assert "--top" in options
    assert "--token-file" in options


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_completes_in_bash(server: InferenceServer) -> None:
    server.publish(model="digits")
    code = f"""
        PATH={SCRIPT.parent}:$PATH
        eval "$(_PBSERVE_COMPLETE=source_bash pbserve)"
        COMP_WORDS=(pbserve show di); COMP_CWORD=2
        _pbserve_completion pbserve
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", code],
        env={**os.environ, "PBSERVE_ADDRESS": server.address},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("digits\n", "")


def test_completion_is_not_traced_whatever_the_environment_says(server: InferenceServer) -> None:
    server.publish(model="digits")
    traced = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    done = completed("bash", "pbserve show di", PBSERVE_ADDRESS=server.address, **traced)
    assert (done.stdout, done.stderr) == ("digits\n", "")


def test_the_completion_can_be_shown_and_installed(tmp_path: Path) -> None:
    command = [str(SCRIPT), "--install-completion", "bash"]
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "_pbserve_completion" in (tmp_path / ".bash_completions" / "pbserve.sh").read_text()
    shown = subprocess.run(
        [SCRIPT, "--show-completion", "zsh"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "#compdef pbserve" in shown.stdout


@pytest.mark.parametrize("module", ["inference_service.cli.app", "exporter_service.cli.app"])
def test_help_and_completion_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
