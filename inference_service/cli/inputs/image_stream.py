"""Many named images through one stream, in their order, without holding many in memory."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from inference_service.cli.inputs.named_images import Content, NamedImages, size_of
from inference_service.client import InferenceClient
from inference_service.client.codec import Inputs, RequestOptions
from inference_service.client.results import Prediction
from service_kit import errors

# Of images that are read and have no answer yet.
_MAX_BYTES = 64 * 2**20
# These cost one image; any other error would meet all of them.
_OF_ONE_IMAGE = (
    errors.InvalidTensor,
    errors.EngineFailed,
    errors.InternalError,
    errors.MessageTooLarge,
    errors.RemoteError,
)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What became of the image at a position: a prediction, or why there is none."""

    index: int
    name: str
    prediction: Prediction | None = None
    error: errors.PbserveError | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """An image that was read, in the stream of that number; or why it could not be."""

    index: int
    stream: int
    content: Content = field(default_factory=list)
    error: errors.PbserveError | None = None

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return size_of(self.content)


class ImageStream:
    """Asks for every image once.

    Where the stream itself ends early, as it does with a message that the server finds too large,
    what was under way is asked for one by one, and the rest goes through another stream.
    """

    def __init__(
        self,
        client: InferenceClient,
        model: str,
        input_name: str,
        images: NamedImages,
        options: RequestOptions,
        *,
        window: int,
        timeout: float | None = None,
    ) -> None:
        """Prepares to send `images` as the input of that name, `window` at a time.

        A stream, and what is asked alone, have `timeout` seconds; None: no limit.
        """
        self._client = client
        self._model = model
        self._input = input_name
        self._images = images
        self._options = options
        self._window, self._timeout = window, timeout
        self._left = iter(images)
        self._streams = 0
        self._ended = False
        self._outstanding: deque[_Sent] = deque()
        self._bytes = 0
        # The stream's own thread reads images, this one takes answers.
        self._reading = threading.Lock()
        self._changed = threading.Condition()

    def answers(self) -> Iterator[ImageAnswer]:
        """Yields one answer an image, in their order.

        Raises:
            PbserveError: what all images would meet: no such model, no server.
        """
        try:
            while failure := (yield from self._streamed()):
                if not self._outstanding:
                    raise failure
                yield from self._one_by_one(len(self._outstanding))
            yield from self._one_by_one(len(self._outstanding))
        finally:
            self._begin_stream(ended=True)

    def _streamed(self) -> Generator[ImageAnswer, None, errors.PbserveError | None]:
        """Returns what ended the stream early, None for nothing."""
        number = self._begin_stream()
        groups = self._groups(number)
        stream = self._client.stream(
            self._model,
            groups,
            window=self._window,
            in_request_order=True,
            timeout=self._timeout,
            **self._options,
        )
        try:
            with contextlib.closing(stream) as answers:
                for answer in answers:
                    while self._outstanding[0].stream != number or self._outstanding[0].error:
                        yield from self._one_by_one(1)
                    sent = self._take()
                    if answer.error:
                        yield self._failed(sent, answer.error)
                    else:
                        yield self._answered(sent, answer.result())
        except errors.PbserveError as error:
            # A message can bring down its stream. Any other error would meet the next one, too.
            if not isinstance(error, (errors.MessageTooLarge, errors.RemoteError)):
                raise
            return error
        return None

    def _one_by_one(self, count: int) -> Iterator[ImageAnswer]:
        """Asks for images that went down with their stream, and tells which were unreadable."""
        for _ in range(count):
            sent = self._take()
            if sent.error:
                yield ImageAnswer(sent.index, self._images.names[sent.index], error=sent.error)
                continue
            try:
                yield self._answered(sent, self._predict(sent))
            except errors.PbserveError as error:
                yield self._failed(sent, error)

    def _failed(self, sent: _Sent, error: errors.PbserveError) -> ImageAnswer:
        if not isinstance(error, _OF_ONE_IMAGE):
            raise error
        return ImageAnswer(sent.index, self._images.names[sent.index], error=error)

    def _predict(self, sent: _Sent) -> Prediction:
        inputs = {self._input: sent.content}
        return self._client.predict(self._model, inputs, timeout=self._timeout, **self._options)

    def _answered(self, sent: _Sent, prediction: Prediction) -> ImageAnswer:
        return ImageAnswer(sent.index, self._images.names[sent.index], prediction)

    def _begin_stream(self, *, ended: bool = False) -> int:
        """Returns the number of a new stream; those before it read no more."""
        with self._changed:
            self._streams += 1
            self._ended = ended
            self._changed.notify_all()
            return self._streams

    def _groups(self, number: int) -> Iterator[Inputs]:
        while sent := self._read(number):
            if not sent.error:
                yield {self._input: sent.content}

    def _read(self, number: int) -> _Sent | None:
        """Reads the next image once there is room for it; None: none is left for this stream."""
        with self._reading:
            if self._ended or number != self._streams:
                return None
            index = next(self._left, None)
            if index is None:
                return None
            sent = self._read_at(index, number)
            with self._changed:
                self._changed.wait_for(lambda: self._has_room(sent.size, number))
                self._outstanding.append(sent)
                self._bytes += sent.size
            return sent

    def _read_at(self, index: int, number: int) -> _Sent:
        try:
            return _Sent(index, number, self._images.read(index))
        except errors.PbserveError as error:
            return _Sent(index, number, error=error)

    def _has_room(self, size: int, number: int) -> bool:
        fits = not self._bytes or self._bytes + size <= _MAX_BYTES
        return fits or self._ended or number != self._streams

    def _take(self) -> _Sent:
        with self._changed:
            sent = self._outstanding.popleft()
            self._bytes -= sent.size
            self._changed.notify_all()
            return sent
