"""All architectures by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter_service.architectures import densenet_plan
from exporter_service.architectures.architecture import Architecture
from exporter_service.architectures.densenet_plan import (
    DenseNetParameters,
    FamilyParameters,
    Shapes,
)
from service_kit import errors
from service_kit.manifest import ArchitectureSpec

_BUILDER = "exporter_service.architectures.densenet:inference_logits"
_IMAGE_SIZE = (224, 224)


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
        image_size=_IMAGE_SIZE,
        parameters=FamilyParameters,
        resolve=resolve,
        plan=densenet_plan.variables,
        infer=infer,
        builder=_BUILDER,
    )


def _same(parameters: DenseNetParameters) -> DenseNetParameters:
    return parameters


ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="densenet",
            summary="DenseNet of any size: growth rate, filters and layers are parameters.",
            image_size=_IMAGE_SIZE,
            parameters=DenseNetParameters,
            resolve=_same,
            plan=densenet_plan.variables,
            infer=densenet_plan.infer,
            builder=_BUILDER,
        ),
        _member("densenet121", 32, 64, (6, 12, 24, 16)),
        _member("densenet161", 48, 96, (6, 12, 36, 24)),
        _member("densenet169", 32, 64, (6, 12, 32, 32)),
    )
}


def find_architecture(name: str) -> Architecture:
    """Returns the architecture called `name`.

    Raises:
        ArchitectureNotFound: there is none; the message names all.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise errors.ArchitectureNotFound(
            f"there is no architecture {name!r}; there are {', '.join(sorted(ARCHITECTURES))}"
        ) from None


def fitting_architectures(shapes: Shapes) -> list[ArchitectureSpec]:
    """Returns the architectures, with parameters, that a checkpoint's keys and shapes fit.

    The most specific ones come first.
    """
    fitting = []
    for architecture in reversed(list(ARCHITECTURES.values())):
        parameters = architecture.infer(shapes)
        if parameters is not None:
            described = parameters.model_dump(mode="json", exclude_defaults=True)
            fitting.append(ArchitectureSpec(architecture.name, described))
    return fitting
