"""All architectures by name: ours, tf_slim's, and those of plug-ins.

The server's process never loads TensorFlow. There, `check_spec` and `architecture_names` work
on names and paper; `find_architecture`, for a plug-in, and `fitting_architectures` are for
processes that may load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter_service.architectures import densenet_plan
from exporter_service.architectures.architecture import (
    DEFAULT_IMAGE_SIZE,
    Architecture,
    ImageSize,
    Shapes,
    Variable,
)
from exporter_service.architectures.densenet_plan import (
    DenseNetOptions,
    DenseNetParameters,
    FamilyParameters,
)
from exporter_service.architectures.entry_points import is_plugin, plugin_names
from exporter_service.architectures.slim_nets import (
    INSTALLATION,
    PREFIX,
    SLIM_ARCHITECTURES,
    slim_is_installed,
)
from exporter_service.specs.names import META_GRAPH
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec
from service_kit.close_names import not_found


def _densenet(images: Any, parameters: DenseNetParameters) -> Any:
    from exporter_service.architectures.densenet import inference_logits

    return inference_logits(images, parameters)


def _densenet_variables(
    parameters: DenseNetParameters,
    image_size: ImageSize,  # noqa: ARG001 - the last layers take the mean over any size
) -> Mapping[str, Variable]:
    return densenet_plan.variables(parameters)


def _member(
    name: str, growth_rate: int, initial_filters: int, layers: tuple[int, ...]
) -> Architecture:
    """Returns a member of the DenseNet family; the reduction is 0.5 for all of them."""
    fixed: dict[str, Any] = {
        "reduction": 0.5,
        "growth_rate": growth_rate,
        "initial_filters": initial_filters,
        "layers": layers,
    }

    def resolve(parameters: FamilyParameters) -> DenseNetParameters:
        options = parameters.model_dump() | {"scope": parameters.scope or name}
        return DenseNetParameters(**options, **fixed)

    def infer(shapes: Shapes) -> FamilyParameters | None:
        found = densenet_plan.infer(shapes)
        if found is None or any(getattr(found, key) != value for key, value in fixed.items()):
            return None
        scope = None if found.scope == name else found.scope
        return FamilyParameters(classes=found.classes, scope=scope)

    return Architecture(
        name=name,
        summary=f"{name.replace('densenet', 'DenseNet-')}: blocks of "
        f"{', '.join(map(str, layers))} layers, growth rate {growth_rate}.",
        image_size=DEFAULT_IMAGE_SIZE,
        parameters=FamilyParameters,
        resolve=resolve,
        plan=_densenet_variables,
        infer=infer,
        builder=_densenet,
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="densenet",
            summary="DenseNet of any size: growth rate, filters and layers are parameters.",
            image_size=DEFAULT_IMAGE_SIZE,
            parameters=DenseNetParameters,
            plan=_densenet_variables,
            infer=densenet_plan.infer,
            builder=_densenet,
        ),
        _member("densenet121", 32, 64, (6, 12, 24, 16)),
        _member("densenet161", 48, 96, (6, 12, 36, 24)),
        _member("densenet169", 32, 64, (6, 12, 32, 32)),
    )
}


def is_reserved(name: str) -> bool:
    """Whether a plug-in of that name would never be found."""
    return name in ARCHITECTURES or name == META_GRAPH or name.startswith(PREFIX)


def own_architectures() -> list[Architecture]:
    """Returns the architectures that are not plug-ins, by name; tf_slim's if it is installed."""
    slim = SLIM_ARCHITECTURES.values() if slim_is_installed() else ()
    return sorted((*ARCHITECTURES.values(), *slim), key=lambda architecture: architecture.name)


def architecture_names() -> list[str]:
    """Returns the names of all architectures; imports no plug-in."""
    own = (architecture.name for architecture in own_architectures())
    return sorted({*own, *plugin_names()})


def check_spec(spec: ArchitectureSpec) -> Architecture | None:
    """Refuses an architecture as far as that is possible without TensorFlow.

    Returns:
        The architecture if its parameters have been checked; None for a plug-in, whose
        parameters and image size are known only where it may be imported.

    Raises:
        ArchitectureNotFound: there is none of that name; the message names all, or what is to
            be installed.
        InvalidParameters: it does not take the parameters.
    """
    architecture = _own(spec.name)
    if architecture is None:
        if not is_plugin(spec.name):
            raise _not_found(spec.name)
        return None
    architecture.parse(spec.parameters)
    return architecture


def class_count(spec: ArchitectureSpec) -> int | None:
    """Returns how many classes the answers will have; None if only the built net tells.

    Raises:
        InvalidParameters: the architecture does not take the parameters.
    """
    architecture = ARCHITECTURES.get(spec.name)
    parameters = architecture.parse(spec.parameters) if architecture else None
    return parameters.classes if isinstance(parameters, DenseNetOptions) else None


def find_architecture(name: str) -> Architecture:
    """Returns the architecture called `name`, importing it if it is a plug-in.

    Raises:
        ArchitectureNotFound: there is none; the message names all, or what is to be installed.
        Unconvertible: the plug-in cannot be loaded.
    """
    architecture = _own(name)
    if architecture is not None:
        return architecture
    if not is_plugin(name):
        raise _not_found(name)
    from exporter_service.architectures.plugin_loading import load_plugin

    return load_plugin(name)


def _own(name: str) -> Architecture | None:
    if name in SLIM_ARCHITECTURES and not slim_is_installed():
        raise errors.ArchitectureNotFound(
            f"{name} is a net of tf_slim, which is not installed here: {INSTALLATION}"
        )
    return ARCHITECTURES.get(name) or SLIM_ARCHITECTURES.get(name)


def _not_found(name: str) -> errors.ArchitectureNotFound:
    missing = f" ({INSTALLATION})" if name.startswith(PREFIX) and not slim_is_installed() else ""
    return errors.ArchitectureNotFound(
        not_found(f"there is no architecture {name!r}{missing}", name, architecture_names())
    )


def fitting_architectures(shapes: Shapes) -> list[ArchitectureSpec]:
    """Returns the architectures, with parameters, that a checkpoint's keys and shapes fit.

    The most specific ones come first. Plug-ins are not tried.
    """
    slim = SLIM_ARCHITECTURES.values() if slim_is_installed() else ()
    fitting = []
    for architecture in (*reversed(list(ARCHITECTURES.values())), *slim):
        parameters = architecture.infer(shapes)
        if parameters is not None:
            described = parameters.model_dump(mode="json", exclude_defaults=True)
            fitting.append(ArchitectureSpec(architecture.name, described))
    return fitting
