"""Everything that can go wrong by design, as one tree of exceptions.

An error is raised as what it means (`ModelNotFound`), with a message that says what was
wrong, where, and what to do. `service_kit.status` alone knows which gRPC status it becomes.
"""

from __future__ import annotations

from typing import Any


class PbserveError(Exception):
    """Root of the tree. `str(error)` is meant for the caller's eyes."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Takes the message and, for errors that pass, the seconds to wait before a retry."""
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by class and message: conversions raise in another process."""
        return (_restore, (type(self), self.message, self.retry_after))

    @property
    def reason(self) -> str:
        """The class name in UPPER_SNAKE_CASE, the stable word for programs."""
        name = type(self).__name__
        return "".join(
            ("_" if index and letter.isupper() else "") + letter.upper()
            for index, letter in enumerate(name)
        )


def _restore(cls: type[PbserveError], message: str, retry_after: float | None) -> PbserveError:
    return cls(message, retry_after=retry_after)


class InvalidRequest(PbserveError):
    """A field of the request is malformed or out of range."""


class InvalidTensor(InvalidRequest):
    """A tensor's name, dtype, rank, shape or byte count is not what the model takes."""


class InvalidParameters(InvalidRequest):
    """An architecture does not take these parameters."""


class NotFound(PbserveError):
    """What the request names does not exist; the message names what does."""


class CheckpointNotFound(NotFound):
    """There is no checkpoint at the path."""


class ArchitectureNotFound(NotFound):
    """No architecture has that name."""


class ArtifactNotFound(NotFound):
    """The store has no such model or version."""


class ModelNotFound(NotFound):
    """The server knows no such model."""


class VersionNotFound(NotFound):
    """The model has no such version here."""


class LabelNotFound(NotFound):
    """The model has no such label."""


class CardNotFound(NotFound):
    """The model has no such card."""


class RegionNotFound(NotFound):
    """No shared memory region has that name, or no shared memory that key."""


class RegionTaken(PbserveError):
    """A shared memory region of that name is registered already."""


class TooManyRegions(PbserveError):
    """As many shared memory regions are registered as there may be."""


class VersionTaken(PbserveError):
    """The version that was asked for has been published already."""


class OutsideRoots(PbserveError):
    """The path leads out of every configured root."""


class Unauthenticated(PbserveError):
    """The server asks who calls, and there is no token or certificate that it knows."""


class RoleMissing(PbserveError):
    """The caller is known, and may not call this rpc."""


class Unconvertible(PbserveError):
    """The request is well-formed, but this checkpoint cannot be converted that way."""


class CheckpointMismatch(Unconvertible):
    """The checkpoint's keys or shapes are not those of the architecture."""


class MovingAverageMissing(Unconvertible):
    """Moving averages are required and some variables have none."""


class MetaGraphUnusable(Unconvertible):
    """A `.meta` file is absent, damaged, or holds no graph that can be read."""


class CheckpointTooLarge(Unconvertible):
    """The checkpoint's files have more bytes than this exporter reads."""


class ParityFailed(Unconvertible):
    """The frozen graph's numbers are not those of the session; nothing was published."""


class CheckpointCorrupt(PbserveError):
    """The checkpoint's files are damaged or incomplete."""


class ArtifactCorrupt(PbserveError):
    """An artifact's manifest or graph is not what was published."""


class ConversionCrashed(PbserveError):
    """The process of a conversion ended before it had a result."""


class ConversionTimedOut(PbserveError):
    """A conversion took longer than it may, and was ended."""


class ConversionTooLarge(PbserveError):
    """The process of a conversion had more memory than it may, and was ended."""


class TooManyConversions(PbserveError):
    """The caller has as many conversions as it may have at a time."""


class ModelUnavailable(PbserveError):
    """The model exists, and no version of it is served at the moment."""


class ServerStopping(PbserveError):
    """The server accepts no more work; another replica, or this one later, will."""


class StoreUnavailable(PbserveError):
    """The artifact store cannot be reached, read or written."""


class ScratchUnavailable(PbserveError):
    """The exporter's temporary folder is full or cannot be written."""


class MessageTooLarge(InvalidRequest):
    """A client's view of a request that does not fit into a message of the server."""


class AnswerTooLarge(PbserveError):
    """The answer does not fit into a message."""


class TooManyStreams(PbserveError):
    """The connection has as many open streams as it may have."""


class TooManyCalls(PbserveError):
    """The server has as many calls in flight as it may have."""


class QueueFull(PbserveError):
    """The card has as many images waiting as it may have, or as it can do before the deadline."""


class CardOutOfOrder(PbserveError):
    """The engine fails on the card again and again, or does not come back; it is probed."""


class LoadTimedOut(PbserveError):
    """A version took longer to load than it may."""


class Superseded(PbserveError):
    """Another operator's later order has taken this one back."""


class LabelInUse(PbserveError):
    """A label points at the version that is to be unloaded."""


class LabelTooEarly(PbserveError):
    """A label is to point at a version that is not served yet."""


class SignatureNotFound(PbserveError):
    """The model has no such signature; the message names what it has."""


class LoadsFailed(PbserveError):
    """Some of the models that were asked for together are not served; the message says why."""


class DeadlineExpired(PbserveError):
    """The caller's deadline passed before the request reached the engine."""


class EngineFailed(PbserveError):
    """The engine could not load or run the graph; the message has the engine's words."""


class EngineUnfit(PbserveError):
    """The engine cannot serve this artifact: its answers differ, or it lacks what is asked for."""


class Quarantined(PbserveError):
    """Servers have died while they loaded the artifact; it is loaded when somebody asks for it."""


class GraphRefused(PbserveError):
    """A graph has ops that this server does not run for artifacts."""


class Unsupported(PbserveError):
    """The contract has it, this release does not."""


class InternalError(PbserveError):
    """A defect of ours; the message has only the incident's id."""


class RemoteError(PbserveError):
    """A client's view of an error that this release has no class for."""


def reason_of(error: BaseException) -> str:
    """Returns the reason of an error of this tree, or the name of another's class."""
    return error.reason if isinstance(error, PbserveError) else type(error).__name__
