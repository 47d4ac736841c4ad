from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2
from tensorflow_serving.config import model_server_config_pb2 as config_pb2

from inference_service.loading.models_file import ModelSettings, ModelsFile
from inference_service.loading.policy import Keep
from tests.support.inference_server import InferenceServer

WAIT = 30.0


def listed(name: str, **fields: Any) -> config_pb2.ModelConfig:
    return config_pb2.ModelConfig(name=name, **fields)


def policy(**choice: Any) -> Any:
    made = config_pb2.ModelConfig().model_version_policy
    for name, fields in choice.items():
        part = getattr(made, name)
        part.SetInParent()
        for field, value in fields.items():
            if isinstance(value, list):
                getattr(part, field).extend(value)
            else:
                setattr(part, field, value)
    return made


def reload_request(*models: config_pb2.ModelConfig) -> model_management_pb2.ReloadConfigRequest:
    made = model_management_pb2.ReloadConfigRequest()
    made.config.model_config_list.SetInParent()
    made.config.model_config_list.config.extend(models)
    return made


def served(server: InferenceServer) -> dict[str, list[int]]:
    found = server.on_loop(server.registry.fingerprints)
    return {model: sorted(versions) for model, versions in found.items()}


def labels(server: InferenceServer, model: str = "m") -> dict[str, int]:
    return dict(server.on_loop(lambda: server.rules.labels(model)))


def reload(models: Any, *wanted: config_pb2.ModelConfig) -> None:
    response = models.HandleReloadConfigRequest(reload_request(*wanted), timeout=WAIT)
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")


def refused(models: Any, message: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        models.HandleReloadConfigRequest(message, timeout=WAIT)
    return caught.value.code().name, str(caught.value.details())


@pytest.fixture
def three(server: InferenceServer) -> InferenceServer:
    """Two models with three versions each, the newest served."""
    for model in ("m", "n"):
        for _ in range(3):
            server.publish(model=model)
    assert served(server) == {"m": [3], "n": [3]}
    return server


def test_the_list_is_all_that_is_served(three: InferenceServer, models: Any) -> None:
    reload(models, listed("m"))
    three.sync()
    assert served(three) == {"m": [3]}
    # What is published later and not listed is not served either.
    three.publish(model="new")
    assert served(three) == {"m": [3]}
    reload(models, listed("m"), listed("n"), listed("new"))
    assert served(three) == {"m": [3], "n": [3], "new": [1]}
    reload(models)
    three.sync()
    assert served(three) == {}


@pytest.mark.parametrize(
    ("choice", "versions"),
    [
        ({}, [3]),
        ({"latest": {}}, [3]),
        ({"latest": {"num_versions": 2}}, [2, 3]),
        ({"all": {}}, [1, 2, 3]),
        ({"specific": {"versions": [1, 3]}}, [1, 3]),
        ({"specific": {"versions": [2]}}, [2]),
    ],
)
def test_the_policy_chooses_versions(
    three: InferenceServer, models: Any, choice: dict[str, Any], versions: list[int]
) -> None:
    reload(models, listed("m", model_version_policy=policy(**choice)))
    three.sync()
    assert served(three) == {"m": versions}


def test_a_reload_returns_when_the_models_answer(three: InferenceServer, models: Any) -> None:
    reload(models)
    three.made.gate.clear()
    three.made.reached.clear()
    call = models.HandleReloadConfigRequest.future(reload_request(listed("m")), timeout=WAIT)
    assert three.made.reached.wait(WAIT)
    assert not call.done()
    three.made.gate.set()
    call.result(WAIT)
    assert served(three)["m"] == [3]


def test_a_reload_does_not_wait_for_the_last_request_of_what_goes(
    three: InferenceServer, models: Any
) -> None:
    lease = three.registry.lease("n")
    three.on_loop(lease.__enter__)
    reload(models, listed("m"))
    assert served(three) == {"m": [3]}
    three.on_loop(lambda: lease.__exit__(None, None, None))
    three.sync()


def test_labels_of_the_list_are_all_there_are(three: InferenceServer, models: Any) -> None:
    three.on_loop(lambda: three.rules.set_label("m", "old", 3))
    three.on_loop(lambda: three.rules.set_label("n", "stable", 3))
    reload(models, listed("m", version_labels={"stable": 3}), listed("n"))
    assert labels(three) == {"stable": 3}
    assert labels(three, "n") == {}
    # A label keeps its version when the policy goes on, and moves when it is told to.
    three.publish(model="m")
    assert served(three)["m"] == [3, 4]
    reload(models, listed("m", version_labels={"stable": 4, "canary": 3}), listed("n"))
    assert labels(three) == {"stable": 4, "canary": 3}
    reload(models, listed("m"), listed("n"))
    three.sync()
    assert labels(three) == {}
    assert served(three)["m"] == [4]


def test_base_paths_inside_the_store_are_taken(
    three: InferenceServer, models: Any, tmp_path: Path
) -> None:
    store = three.store.url
    link = tmp_path / "link"
    link.symlink_to(store)
    for path in (f"{store}/m", f"{store}/m/", f"file://{store}/m", f"{link}/m", f"{store}/n/../m"):
        reload(models, listed("m", base_path=path, model_platform="tensorflow"))


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"base_path": "/etc"}, "INVALID_ARGUMENT", "base_path '/etc' of model m is not where"),
        ({"base_path": "{store}/n"}, "INVALID_ARGUMENT", "is not where this server has it"),
        ({"base_path": "{store}"}, "INVALID_ARGUMENT", "is not where this server has it"),
        ({"base_path": "{store}/m/1"}, "INVALID_ARGUMENT", "is not where this server has it"),
        ({"base_path": "{store}/m/../../m"}, "INVALID_ARGUMENT", "is not where this server has"),
        ({"base_path": "s3://bucket/m"}, "INVALID_ARGUMENT", "is not where this server has it"),
        ({"base_path": "/a\0b/m"}, "INVALID_ARGUMENT", "is not where this server has it"),
        (
            {"base_path": "models/m"},
            "INVALID_ARGUMENT",
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            {"model_platform": "caffe"},
            "INVALID_ARGUMENT",
            "Model m requests unsupported platform caffe",
        ),
        ({"model_type": 2}, "INVALID_ARGUMENT", "unsupported platform number 2"),
        (
            {"model_type": 1, "model_platform": "tensorflow"},
            "INVALID_ARGUMENT",
            "Illegal setting both model_type(deprecated) and model_platform.",
        ),
        ({"logging_config": {}}, "INVALID_ARGUMENT", "has a logging_config"),
        (
            {"model_version_policy": policy(specific={})},
            "INVALID_ARGUMENT",
            "the specific policy of model m has no versions",
        ),
        (
            {"model_version_policy": policy(specific={"versions": [0]})},
            "INVALID_ARGUMENT",
            "names version 0: versions begin at 1",
        ),
        (
            {"model_version_policy": policy(specific={"versions": [1, 9]})},
            "NOT_FOUND",
            "the store has no version 9 of model m; it has 1, 2, 3",
        ),
        (
            {"version_labels": {"stable": 2}},
            "FAILED_PRECONDITION",
            (
                "Request to assign label to version 2 of model m, which is not currently available "
                "for inference"
            ),
        ),
        ({"version_labels": {"stable": 0}}, "INVALID_ARGUMENT", "names version 0"),
        ({"version_labels": {"A B": 3}}, "INVALID_ARGUMENT", "label 'A B' is not allowed"),
        (
            {"version_labels": {f"l{number}": 3 for number in range(1001)}},
            "INVALID_ARGUMENT",
            "model m has 1001 labels; 1000 are possible",
        ),
        (
            {"model_version_policy": policy(specific={"versions": [1] * 10_001})},
            "INVALID_ARGUMENT",
            "has 10001 versions; 10000 are possible",
        ),
        ({"name": ""}, "INVALID_ARGUMENT", "model name '' is not allowed"),
        ({"name": "../m"}, "INVALID_ARGUMENT", "model name '../m' is not allowed"),
        ({"name": "x"}, "NOT_FOUND", "the store has no model 'x'"),
    ],
)
def test_a_list_with_one_bad_model_changes_nothing(
    three: InferenceServer, models: Any, fields: dict[str, Any], code: str, words: str
) -> None:
    three.on_loop(lambda: three.rules.set_label("m", "old", 3))
    if "base_path" in fields:
        fields = {"base_path": fields["base_path"].replace("{store}", three.store.url)}
    bad = listed(**{"name": "m", **fields})
    good = listed("n", model_version_policy=policy(all={}))
    found, details = refused(models, reload_request(good, bad))
    assert found == code
    assert words in details
    three.sync()
    assert served(three) == {"m": [3], "n": [3]}
    assert labels(three) == {"old": 3}


def test_a_model_listed_twice_and_other_configurations_are_refused(
    three: InferenceServer, models: Any
) -> None:
    found = refused(models, reload_request(listed("m"), listed("m")))
    assert found == ("INVALID_ARGUMENT", "Illegal to list model m multiple times in config list")
    custom = model_management_pb2.ReloadConfigRequest()
    custom.config.custom_model_config.SetInParent()
    for message in (model_management_pb2.ReloadConfigRequest(), custom):
        found = refused(models, message)
        assert found == (
            "INVALID_ARGUMENT",
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported"
            ),
        )
    assert served(three) == {"m": [3], "n": [3]}


def test_a_list_of_too_many_models_is_refused_unread(three: InferenceServer, models: Any) -> None:
    found = refused(models, reload_request(*[listed("m")] * 10_001))
    assert found == ("INVALID_ARGUMENT", "the list has 10001 models; 10000 are possible")
    assert served(three) == {"m": [3], "n": [3]}


def test_a_load_that_fails_is_told_with_its_reason_and_the_list_stays(
    three: InferenceServer, models: Any
) -> None:
    reload(models, listed("m"))
    three.publish(b"broken", model="n")
    found, details = refused(models, reload_request(listed("n"), listed("m")))
    assert found == "UNKNOWN"
    assert details == (
        "1 model(s) did not become available: {{{name: n version: 4} due to error: INTERNAL: the "
        "graph has no tensor probs:0}, }"
    )
    # The one before it answers, as always.
    three.sync()
    assert served(three) == {"m": [3], "n": [3]}
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "n"
    bad = models.GetModelStatus(status).model_version_status[-1]
    assert (bad.version, bad.status.error_code) == (4, grpc.StatusCode.INTERNAL.value[0])


def test_a_store_that_cannot_be_read_changes_nothing(
    three: InferenceServer, models: Any, tmp_path: Path
) -> None:
    hidden = Path(three.store.url).rename(tmp_path / "hidden")
    found, _ = refused(models, reload_request(listed("m")))
    assert found == "UNAVAILABLE"
    assert served(three) == {"m": [3], "n": [3]}
    hidden.rename(three.store.url)


def test_orders_after_the_list_change_it_model_by_model(
    three: InferenceServer, models: Any
) -> None:
    reload(models, listed("m"))
    three.call(three.core.operations.load("n", 2))
    assert served(three)["n"] == [2, 3]
    three.call(three.core.operations.unload("m", 0))
    assert "m" not in served(three)
    # The next list is the whole again.
    reload(models, listed("m"))
    three.sync()
    assert served(three) == {"m": [3]}


def test_the_models_file_wins_where_it_changes_later(three: InferenceServer, models: Any) -> None:
    latest = ModelSettings(keep=Keep("latest", 2), labels={"file": 3})
    three.on_loop(lambda: three.rules.replace_file(ModelsFile({"m": latest})))
    three.sync()
    assert labels(three) == {"file": 3}
    reload(models, listed("m", version_labels={"list": 3}))
    three.sync()
    assert (served(three), labels(three)) == ({"m": [3]}, {"list": 3})
    # Nothing that concerns the model: the list holds.
    other = {"m": latest, "k": ModelSettings(queue_images=1)}
    three.on_loop(lambda: three.rules.replace_file(ModelsFile(other)))
    three.sync()
    assert (served(three), labels(three)) == ({"m": [3]}, {"list": 3})
    changed = {
        "m": ModelSettings(keep=Keep("all"), labels={"file": 2}),
        "n": ModelSettings(keep=Keep("specific", versions=frozenset([1]))),
    }
    three.on_loop(lambda: three.rules.replace_file(ModelsFile(changed)))
    three.sync()
    three.sync()
    assert served(three) == {"m": [1, 2, 3], "n": [1]}
    assert labels(three) == {"list": 3, "file": 2}


def test_a_list_does_not_wait_for_the_one_before(three: InferenceServer, models: Any) -> None:
    reload(models)
    three.made.gate.clear()
    three.made.reached.clear()
    first = models.HandleReloadConfigRequest.future(reload_request(listed("m")), timeout=WAIT)
    assert three.made.reached.wait(WAIT)
    reload(models)
    three.made.gate.set()
    first.result(WAIT)
    three.sync()
    assert served(three) == {}


def test_many_lists_at_once_end_as_one_of_them(three: InferenceServer, models: Any) -> None:
    calls = [
        models.HandleReloadConfigRequest.future(reload_request(listed(name)), timeout=WAIT)
        for name in ("m", "n") * 5
    ]
    for call in calls:
        call.result(WAIT)
    three.sync()
    assert list(served(three).values()) == [[3]]
