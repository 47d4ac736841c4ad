"""The nets that tf_slim ships, on paper: names, defaults, where they are. No TensorFlow.

The defaults are those that the published checkpoints were trained with. The nets themselves
come with the extra `slim`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from exporter_service.architectures.architecture import (
    Architecture,
    ImageSize,
    Shapes,
    Variable,
)
from exporter_service.architectures.slim_net import (
    SlimNet,
    SlimParameters,
    SlimParametersWithBackground,
)
from service_kit.artifacts.manifest import Preprocessing

PREFIX = "slim/"
INSTALLATION = "pip install 'pbserve[slim]'"
# Mean colour of ImageNet, as VGG and ResNet v1 subtract it, and -1 to 1 for the others.
_MEAN_COLOUR = Preprocessing(mean=(123.68, 116.78, 103.94))
_SYMMETRIC = Preprocessing(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3)


def _architecture(
    net: SlimNet,
    summary: str,
    parameters: type[SlimParameters],
    preprocessing: Preprocessing,
    output_name: str,
    side: int = 224,
) -> Architecture:
    name = PREFIX + net.name

    def builder() -> Any:
        from exporter_service.architectures.slim_builder import slim_builder

        return slim_builder(name, net)

    def plan(given: SlimParameters, image_size: ImageSize) -> Mapping[str, Variable]:
        variables: Mapping[str, Variable] = builder().variables(given, image_size)
        return variables

    def build(images: Any, given: SlimParameters) -> Any:
        return builder()(images, given)

    def infer(shapes: Shapes) -> SlimParameters | None:
        # The trace takes seconds, so this one key is looked up first.
        try:
            (classes,) = shapes[net.biases]
            found = parameters(classes=classes)
        except (KeyError, ValueError, ValidationError):
            return None
        planned = plan(found, (side, side))
        fits = all(shapes.get(name) == variable.shape for name, variable in planned.items())
        return found if fits else None

    return Architecture(
        name=name,
        summary=f"{summary}, as in tf_slim.",
        image_size=(side, side),
        parameters=parameters,
        plan=plan,
        builder=build,
        infer=infer,
        preprocessing=preprocessing,
        output_name=output_name,
        traced=True,
    )


def _vgg(layers: int) -> Architecture:
    name = f"vgg_{layers}"
    net = SlimNet(name, "vgg", "vgg_arg_scope", f"{name}/fc8/biases")
    return _architecture(net, f"VGG-{layers}", SlimParameters, _MEAN_COLOUR, "predictions")


def _resnet_v1(layers: int) -> Architecture:
    name = f"resnet_v1_{layers}"
    net = SlimNet(name, "resnet_v1", "resnet_arg_scope", f"{name}/logits/biases")
    return _architecture(
        net, f"ResNet-{layers}, version 1", SlimParameters, _MEAN_COLOUR, "predictions"
    )


def _resnet_v2(layers: int) -> Architecture:
    name = f"resnet_v2_{layers}"
    net = SlimNet(name, "resnet_v2", "resnet_arg_scope", f"{name}/logits/biases")
    summary = f"ResNet-{layers}, version 2"
    return _architecture(net, summary, SlimParametersWithBackground, _SYMMETRIC, "predictions")


def _inception(version: int, layer: str, *, side: int = 224, **options: Any) -> Architecture:
    name = f"inception_v{version}"
    biases = f"InceptionV{version}/Logits/{layer}/biases"
    net = SlimNet(name, name, f"{name}_arg_scope", biases, options)
    summary = f"Inception, version {version}"
    return _architecture(
        net, summary, SlimParametersWithBackground, _SYMMETRIC, "Predictions", side
    )


SLIM_ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        *(_resnet_v1(layers) for layers in (50, 101, 152)),
        *(_resnet_v2(layers) for layers in (50, 101, 152)),
        _inception(1, "Conv2d_0c_1x1"),
        _inception(2, "Conv2d_1c_1x1"),
        # The second head only matters while training.
        _inception(3, "Conv2d_1c_1x1", side=299, create_aux_logits=False),
        *(_vgg(layers) for layers in (16, 19)),
    )
}


def slim_is_installed() -> bool:
    """Whether the extra `slim` is there; imports nothing of it."""
    return find_spec("tf_slim") is not None and find_spec("tf_keras") is not None
