"""What operators can ask of a running server: load, unload, label."""

from __future__ import annotations

from inference_service.hot_load import HotLoader
from inference_service.model_rules import ModelRules
from inference_service.registry import Registry, VersionStatus
from service_kit import errors
from service_kit.model_name import checked_label


class Operations:
    """Changes the rules, and waits for what comes of it. Belongs to the event loop."""

    def __init__(self, hot_loader: HotLoader, registry: Registry, rules: ModelRules) -> None:
        """Works with the given parts."""
        self._hot_loader = hot_loader
        self._registry = registry
        self._rules = rules

    async def load(self, model: str, version: int) -> VersionStatus:
        """Looks at the store again for a model and returns the version when it is served.

        Args:
            model: name of the model.
            version: served besides what the rules choose; 0: what they choose, else the newest.

        Raises:
            StoreUnavailable: the store cannot be read.
            ModelNotFound, VersionNotFound: the store has none; the message names what it has.
            PbserveError: what the load ended with.
        """
        if not await self._hot_loader.look(model):
            raise errors.StoreUnavailable(self._hot_loader.store_problem, retry_after=1.0)
        published = self._hot_loader.published.get(model, {})
        if not published:
            raise errors.ModelNotFound(f"the store has no model {model!r}")
        if version and version not in published:
            numbers = ", ".join(map(str, sorted(published)))
            raise errors.VersionNotFound(
                f"the store has no version {version} of model {model}; it has {numbers}"
            )
        self._hot_loader.forget_failures(model)
        self._rules.ask_for(model, version)
        wanted = self._rules.rule(model).wanted(published.keys())
        if not wanted:
            self._rules.ask_for(model, max(published))
        chosen = version or max(wanted or published)
        while not self._hot_loader.served(model, chosen):
            failure = self._hot_loader.failure(model, chosen)
            if failure:
                raise type(failure)(failure.message, retry_after=failure.retry_after)
            await self._hot_loader.settled(model)
            if not await self._hot_loader.act() and not self._hot_loader.served(model, chosen):
                break
            await self._hot_loader.settled(model)
        # What is not wanted any more goes now, and nobody waits for its last request.
        await self._hot_loader.act()
        return self._status(model, chosen)

    async def unload(self, model: str, version: int) -> None:
        """Stops serving a version (0: all of the model), and returns when its memory is free.

        Raises:
            ModelNotFound, VersionNotFound: it is not known; the message names what is.
            LabelInUse: a label points at the version.
        """
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
        # Twice at least: a load that runs now ends as served.
        await self._hot_loader.settled(model)
        await self._hot_loader.act()
        while going & self._registry.fingerprints().get(model, {}).keys():
            await self._hot_loader.settled(model)
            await self._hot_loader.act()
        await self._hot_loader.settled(model)

    async def set_label(self, model: str, label: str, version: int) -> None:
        """Points a label at a version that is served; 0 removes the label.

        Raises:
            InvalidRequest: the label is malformed.
            ModelNotFound, VersionNotFound, LabelNotFound: the message names what exists.
            ModelUnavailable: the version is not served now.
        """
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

    def _status(self, model: str, version: int) -> VersionStatus:
        known = {status.version: status for status in self._registry.status(model).versions}
        if version not in known:
            numbers = ", ".join(map(str, sorted(known)))
            raise errors.VersionNotFound(
                f"model {model} has no version {version}; it has {numbers}"
            )
        return known[version]
