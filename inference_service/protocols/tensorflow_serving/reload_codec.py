"""ReloadConfigRequest -> a list of all models to serve."""

from __future__ import annotations

from typing import Any

from inference_service.loading.model_list import ListedModel
from inference_service.loading.policy import KEEP_ALL, LATEST_ONE, Keep
from inference_service.protocols.tensorflow_serving import messages
from service_kit import errors
from service_kit.artifacts.model_name import checked_label, checked_model_name

_PLATFORM = "tensorflow"
# More would keep the event loop from its work; labels and versions are those of one model.
_MAX_MODELS = 10_000
_MAX_LABELS = 1000
_MAX_VERSIONS = 10_000


def model_list(request: Any) -> dict[str, ListedModel]:
    """Returns the models of a request by name.

    Raises:
        InvalidRequest: it has no model list, or an entry asks for what this server has not.
    """
    config = request.config
    if config.WhichOneof("config") != "model_config_list":
        raise errors.InvalidRequest(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    entries = config.model_config_list.config
    if len(entries) > _MAX_MODELS:
        raise errors.InvalidRequest(
            f"the list has {len(entries)} models; {_MAX_MODELS} are possible"
        )
    found: dict[str, ListedModel] = {}
    for entry in entries:
        if entry.name in found:
            raise errors.InvalidRequest(
                f"Illegal to list model {entry.name} multiple times in config list"
            )
        found[checked_model_name(entry.name)] = _read_model(entry)
    return found


def _read_model(entry: Any) -> ListedModel:
    _check_platform(entry)
    path = entry.base_path
    if path and not path.startswith("/") and "://" not in path:
        raise errors.InvalidRequest(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={path}"
        )
    if entry.HasField("logging_config"):
        raise errors.InvalidRequest(
            f"model {entry.name} has a logging_config, and this server logs no requests: leave it "
            "away"
        )
    if len(entry.version_labels) > _MAX_LABELS:
        raise errors.InvalidRequest(
            f"model {entry.name} has {len(entry.version_labels)} labels; {_MAX_LABELS} are possible"
        )
    for label, version in entry.version_labels.items():
        checked_label(label)
        _check_version(version, f"label {label} of model {entry.name}")
    return ListedModel(_keep(entry), dict(entry.version_labels), path)


def _check_platform(entry: Any) -> None:
    if entry.model_type and entry.model_platform:
        raise errors.InvalidRequest(
            "Illegal setting both model_type(deprecated) and model_platform."
        )
    is_tensorflow = entry.model_type in (
        messages.MODEL_TYPE_UNSPECIFIED,
        messages.MODEL_TYPE_TENSORFLOW,
    )
    if not is_tensorflow or entry.model_platform not in ("", _PLATFORM):
        platform = entry.model_platform or f"number {entry.model_type}"
        raise errors.InvalidRequest(
            f"Model {entry.name} requests unsupported platform {platform}: write {_PLATFORM}"
        )


def _keep(entry: Any) -> Keep:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return KEEP_ALL
    if choice == "latest":
        # Not set is one, as in TensorFlow Serving.
        return Keep("latest", max(1, policy.latest.num_versions))
    if choice == "specific":
        if not policy.specific.versions:
            raise errors.InvalidRequest(
                f"the specific policy of model {entry.name} has no versions: name some, or leave "
                "the model away"
            )
        if len(policy.specific.versions) > _MAX_VERSIONS:
            raise errors.InvalidRequest(
                f"the specific policy of model {entry.name} has {len(policy.specific.versions)} "
                f"versions; {_MAX_VERSIONS} are possible: ask for all"
            )
        for version in policy.specific.versions:
            _check_version(version, f"the specific policy of model {entry.name}")
        return Keep("specific", versions=frozenset(policy.specific.versions))
    return LATEST_ONE


def _check_version(version: int, what: str) -> None:
    if version < 1:
        raise errors.InvalidRequest(f"{what} names version {version}: versions begin at 1")
