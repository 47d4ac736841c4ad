"""What is wanted of every model: settings, the models file, a list of models, operators' orders.

What came last decides. A list of models replaces every order before it and, for as long as the
models file does not change for a model, what that says of versions and labels; models that are
not in the list are not served. Orders after it (load, unload, label) change it model by model, and
so does the models file where its `versions` or `labels` of a model change later.

Belongs to the event loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from inference_service.cards.batch_limit import batch_limit
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.engine.devices import Device
from inference_service.loading.model_list import ListedModel
from inference_service.loading.models_file import EMPTY, ModelsFile
from inference_service.loading.policy import LATEST_ONE, Keep, Rule
from inference_service.models.labels import Labels

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """Settings of models for which the models file has none; see `ModelSettings`."""

    keep: Keep = LATEST_ONE
    max_batch_size: int = 32
    max_queue_delay: float = 0.0
    queue_images: int = 1024
    queue_bytes: int = 256 * 2**20
    max_elements: int = 0
    replicate: bool = True
    unload_first: bool = False


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a version is loaded: up to which batch it is measured, and on how many cards."""

    max_batch_size: int
    replicate: bool


@dataclass(slots=True)
class _Orders:
    """What operators asked for, since the server started."""

    also: set[int] = field(default_factory=set)
    never: set[int] = field(default_factory=set)
    # None: nobody asked for the model as a whole.
    closed: bool | None = None


class ModelRules:
    """Answers how a model is to be served, and takes what changes that."""

    def __init__(self, defaults: ModelDefaults, models_file: ModelsFile = EMPTY) -> None:
        """Begins with the settings alone."""
        self._defaults = defaults
        self._file = models_file
        self._orders: defaultdict[str, _Orders] = defaultdict(_Orders)
        # Which versions the list wants, None: what the file wants. Without a list, every model
        # is served.
        self._listed: dict[str, Keep | None] | None = None
        self._labels: defaultdict[str, Labels] = defaultdict(Labels)
        self.replace_file(models_file)

    def replace_file(self, models_file: ModelsFile) -> None:
        """Takes a new models file, whole; where it changes, it wins over a list of models."""
        for model, settings in models_file.models.items():
            changed = settings.keep not in (None, self._file.settings(model).keep)
            if self._listed is not None and changed:
                self._listed[model] = None
        self._file = models_file
        for model in {*models_file.models, *self._labels}:
            self._labels[model].configure(models_file.settings(model).labels)

    def replace_list(self, models: Mapping[str, ListedModel]) -> None:
        """Takes a list of all models to serve; the versions of its labels have to be served."""
        self._listed = {name: listed.keep for name, listed in models.items()}
        self._orders.clear()
        for model in {*models, *self._labels}:
            self._labels[model].replace(models[model].labels if model in models else {})

    def rule(self, model: str) -> Rule:
        """Returns which versions are wanted."""
        settings, orders = self._file.settings(model), self._orders.get(model, _Orders())
        unload_first = _chosen(settings.unload_first, self._defaults.unload_first)
        unlisted = self._listed is not None and model not in self._listed
        if _chosen(orders.closed, unlisted):
            return Rule(Keep("none"), unload_first=unload_first)
        listed = self._listed.get(model) if self._listed else None
        return Rule(
            keep=listed or settings.keep or self._defaults.keep,
            also=frozenset(orders.also) | self.labelled(model),
            never=frozenset(orders.never),
            unload_first=unload_first,
        )

    def load_options(self, model: str) -> LoadOptions:
        """Returns how to load a version."""
        settings = self._file.settings(model)
        return LoadOptions(
            max_batch_size=settings.batch_limit
            or settings.max_batch_size
            or self._defaults.max_batch_size,
            replicate=_chosen(settings.replicate, self._defaults.replicate),
        )

    def limits(self, model: str) -> Callable[[CardSpec], CardLimits]:
        """Returns a function that gives the limits of a model's card."""
        settings, defaults = self._file.settings(model), self._defaults

        def limits(spec: CardSpec) -> CardLimits:
            most = settings.max_batch_size or defaults.max_batch_size
            measured = min(batch_limit(spec.timings), most)
            # Where answers depend on the batch, it must not depend on a measurement.
            chosen = measured if spec.packs else most
            batch = settings.batch_limit or chosen
            batch = min(batch, spec.max_batch or batch)
            return CardLimits(
                batch=batch,
                queue_images=settings.queue_images or defaults.queue_images,
                queue_bytes=settings.queue_bytes or defaults.queue_bytes,
                max_queue_delay=_chosen(settings.max_queue_delay, defaults.max_queue_delay),
                padded_sizes=_padded_sizes(spec, batch, asked=settings.pad_batches),
                elements=settings.max_elements or defaults.max_elements or spec.max_elements,
            )

        return limits

    def labels(self, model: str) -> Mapping[str, int]:
        """Returns label -> the version that answers for it."""
        return self._labels[model].current if model in self._labels else {}

    def labelled(self, model: str) -> frozenset[int]:
        """Returns the versions that labels point at, or are to move to."""
        return self._labels[model].versions if model in self._labels else frozenset()

    def set_label(self, model: str, label: str, version: int) -> None:
        """Points a label at a version that is served; 0 removes it."""
        self._labels[model].set(label, version)

    def settle_labels(self, served: Mapping[str, Collection[int]]) -> None:
        """Moves the labels whose versions are served by now."""
        for model, labels in self._labels.items():
            labels.settle(served.get(model, ()))

    def ask_for(self, model: str, version: int) -> None:
        """An operator wants a version besides the others; 0: whatever the settings want."""
        orders = self._orders[model]
        orders.closed = False
        if version:
            orders.also.add(version)
            orders.never.discard(version)
        else:
            orders.never.clear()

    def refuse(self, model: str, version: int) -> None:
        """An operator wants a version no more; 0: the whole model."""
        orders = self._orders[model]
        if version:
            orders.also.discard(version)
            orders.never.add(version)
        else:
            orders.also.clear()
            orders.closed = True


def _chosen(setting: Value | None, default: Value) -> Value:
    return default if setting is None else setting


def _padded_sizes(spec: CardSpec, batch: int, *, asked: bool | None) -> tuple[int, ...]:
    """Returns the sizes that batches are padded to.

    A GPU prepares itself anew for each size that it has not seen; the sizes of warming it has.
    """
    if not spec.packs or not _chosen(asked, _on_gpu(spec.placement.device)):
        return ()
    return tuple(timing.batch_size for timing in spec.timings if timing.batch_size <= batch)


def _on_gpu(device: Device) -> bool:
    return device.kind == "gpu"
