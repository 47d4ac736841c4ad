"""What operators can ask of a running server: load, unload, label, serve a list of models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inference_service.loading.hot_load import HotLoader
from inference_service.loading.model_list import ListedModel, available_labels, published_versions
from inference_service.loading.rules import ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.models.registry import Registry
from inference_service.models.status import VersionStatus
from service_kit import errors, status
from service_kit.artifacts.model_name import checked_label
from service_kit.store.path import is_place_of
from service_kit.telemetry.audit import audited


class Operations:
    """Changes the rules, and waits for what comes of it. Belongs to the event loop."""

    def __init__(
        self, view: StoreView, hot_loader: HotLoader, registry: Registry, rules: ModelRules
    ) -> None:
        """Works with the given parts."""
        self._view = view
        self._hot_loader = hot_loader
        self._registry = registry
        self._rules = rules

    @property
    def published(self) -> Mapping[str, Mapping[int, str]]:
        """Model -> version -> fingerprint of what the store had when it was last looked at."""
        return self._view.published

    async def load(self, model: str, version: int) -> VersionStatus:
        """Looks at the store again for a model and returns the version when it is served.

        Args:
            model: name of the model.
            version: served besides what the rules choose; 0: what they choose, else the newest.

        Raises:
            StoreUnavailable: the store cannot be read.
            ModelNotFound, VersionNotFound: the store has none; the message names what it has.
            Superseded: it was unloaded or deleted meanwhile.
            PbserveError: what the load ended with.
        """
        with audited("load", model=model, version=version):
            return await self._load(model, version)

    async def _load(self, model: str, version: int) -> VersionStatus:
        if not await self._view.look(model):
            raise errors.StoreUnavailable(self._view.problem, retry_after=1.0)
        published = self._view.published.get(model, {})
        if not published:
            raise errors.ModelNotFound(f"the store has no model {model!r}")
        if version and version not in published:
            numbers = ", ".join(map(str, sorted(published)))
            raise errors.VersionNotFound(
                f"the store has no version {version} of model {model}; it has {numbers}"
            )
        await self._hot_loader.try_again(model)
        self._rules.ask_for(model, version)
        wanted = self._rules.rule(model).wanted(published.keys())
        if not wanted:
            self._rules.ask_for(model, max(published))
        chosen = version or max(wanted or published)
        await self._hot_loader.act_until(lambda: self._is_decided(model, chosen), [model])
        if not self._is_served(model, chosen):
            raise self._failure(model, chosen) or errors.Superseded(
                f"version {chosen} of model {model} was unloaded or deleted while it was being "
                "loaded"
            )
        # What is not wanted any more goes now, and nobody waits for its last request.
        await self._hot_loader.act()
        return self._status(model, chosen)

    async def unload(self, model: str, version: int) -> None:
        """Stops serving a version (0: all of the model), and returns when its memory is free.

        Raises:
            ModelNotFound, VersionNotFound: it is not known; the message names what is.
            LabelInUse: a label points at the version.
            Superseded: somebody asked for it again meanwhile.
        """
        with audited("unload", model=model, version=version):
            await self._unload(model, version)

    async def _unload(self, model: str, version: int) -> None:
        known = {status.version for status in self._registry.status(model).versions}
        if version:
            self._status(model, version)
            pointing = [n for n, at in self._rules.labels(model).items() if at == version]
            if pointing or version in self._rules.labelled(model):
                raise errors.LabelInUse(
                    f"label {', '.join(pointing) or 'of the models file'} of model {model} points "
                    f"at version {version}: move the label first"
                )
        going = {version} if version else known
        self._rules.refuse(model, version)
        # A load that runs now ends as served.
        await self._hot_loader.settled(model)
        await self._hot_loader.act()
        gone = await self._hot_loader.act_until(
            lambda: not going & self._registry.fingerprints().get(model, {}).keys(), [model]
        )
        await self._hot_loader.settled(model)
        if not gone:
            raise errors.Superseded(
                f"model {model} was asked for again while it was being unloaded"
            )

    async def set_label(self, model: str, label: str, version: int) -> None:
        """Points a label at a version that is served; 0 removes the label.

        Raises:
            InvalidRequest: the label is malformed.
            ModelNotFound, VersionNotFound, LabelNotFound: the message names what exists.
            ModelUnavailable: the version is not served now.
        """
        with audited("set_label", model=model, version=version, label=label):
            await self._set_label(model, label, version)

    async def _set_label(self, model: str, label: str, version: int) -> None:
        checked_label(label)
        if version:
            with self._registry.lease(model, version):
                self._rules.set_label(model, label, version)
        else:
            self._registry.status(model)
            if label not in self._rules.labels(model):
                raise errors.LabelNotFound(f"model {model} has no label {label} to remove")
            self._rules.set_label(model, label, 0)
        # A version that had only the label may go now.
        await self._hot_loader.act()

    async def configure(self, models: Mapping[str, ListedModel]) -> None:
        """Serves these models and no others, and returns when they are, or did not load.

        A list that is refused changes nothing. One that is not stays in force whatever becomes of
        its loads, and when nobody waits for them any more.

        Args:
            models: all models to serve, by name; replaces what was asked for before, and what the
                models file says of their versions and labels (see `model_rules`).

        Raises:
            InvalidRequest: a base path is not that of the model in the store.
            StoreUnavailable: the store cannot be read.
            ModelNotFound, VersionNotFound: the store has none; the message names what it has.
            LabelTooEarly: the version of a label is not served.
            LoadsFailed: what is wanted did not load; the message has every reason.
        """
        with audited("configure", models=sorted(models)):
            await self._configure(models)

    async def _configure(self, models: Mapping[str, ListedModel]) -> None:
        if not await self._view.look():
            raise errors.StoreUnavailable(self._view.problem, retry_after=1.0)
        self._check_list(models)
        for name, listed in models.items():
            if listed.base_path:
                await self._check_base_path(name, listed.base_path)
        # Once more: from here to the new rules nobody else has a turn.
        self._check_list(models)
        self._rules.replace_list(models)
        for name in models:
            self._registry.loads.allow_retry(name)
        await self._hot_loader.act_until(
            lambda: all(self._is_decided(name, v) for name in models for v in self._wanted(name)),
            models,
        )
        # What is not wanted any more goes now, and nobody waits for its last request.
        await self._hot_loader.act()
        self._check_loads(models)

    def _check_list(self, models: Mapping[str, ListedModel]) -> None:
        served = self._registry.fingerprints()
        for name, listed in models.items():
            published_versions(name, listed, self._view.published.get(name, {}))
            available_labels(name, listed, served.get(name, {}))

    async def _check_base_path(self, model: str, path: str) -> None:
        store = self._view.url
        if not await asyncio.to_thread(is_place_of, model, store, path):
            raise errors.InvalidRequest(
                f"base_path {path!r} of model {model} is not where this server has it: leave it "
                f"empty, or write {store.rstrip('/')}/{model}"
            )

    def _is_decided(self, model: str, version: int) -> bool:
        return self._is_served(model, version) or self._failure(model, version) is not None

    def _is_served(self, model: str, version: int) -> bool:
        return self._registry.serves(self._view.publication(model, version))

    def _failure(self, model: str, version: int) -> errors.PbserveError | None:
        return self._registry.loads.failure(self._view.publication(model, version))

    def _wanted(self, model: str) -> list[int]:
        return sorted(self._rules.rule(model).wanted(self._view.published.get(model, {})))

    def _check_loads(self, models: Mapping[str, ListedModel]) -> None:
        failed = [
            (name, version, failure)
            for name in models
            for version in self._wanted(name)
            if (failure := self._failure(name, version))
        ]
        if failed:
            # In TensorFlow Serving's words.
            reasons = "".join(
                f"{{{{name: {name} version: {version}}} due to error: "
                f"{status.code_of(failure).name}: {failure}}}, "
                for name, version, failure in failed
            )
            raise errors.LoadsFailed(
                f"{len(failed)} model(s) did not become available: {{{reasons}}}"
            )

    def _status(self, model: str, version: int) -> VersionStatus:
        known = {status.version: status for status in self._registry.status(model).versions}
        if version not in known:
            numbers = ", ".join(map(str, sorted(known)))
            raise errors.VersionNotFound(
                f"model {model} has no version {version}; it has {numbers}"
            )
        return known[version]
