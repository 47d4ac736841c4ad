"""How much of a card's queue is taken. Values in, values out: whoever uses it holds the lock."""

from __future__ import annotations

from inference_service.cards.batching import Priority
from inference_service.cards.card_spec import CardLimits, CardSpec
from service_kit import errors

# Of the queue, bulk gets at most one part in so many: work that can wait comes in any amount, and
# would else be what stands in the way of work that cannot.
BULK_SHARE = 2
# A caller is told to wait until what is outstanding should be done, within these seconds.
_SHORTEST_RETRY, _LONGEST_RETRY = 0.01, 5.0
# Images per second of a card of which nothing was measured.
_ANY_RATE = 100.0


class Places:
    """Counts images and bytes by class of request, and refuses what there is no room for."""

    def __init__(self, spec: CardSpec) -> None:
        """Begins empty; `spec` says whose places these are, and how fast they become free."""
        self.card = spec.placement.card
        self._rate = max((one.images_per_second for one in spec.timings), default=_ANY_RATE)
        # Of both classes.
        self.images = self.size = 0
        self._images = dict.fromkeys(Priority, 0)
        self._bytes = dict.fromkeys(Priority, 0)
        self._begun = dict.fromkeys(Priority, 0)

    @property
    def waiting(self) -> dict[Priority, int]:
        """Images of each class that are in no batch yet, also those that are being decoded."""
        return {
            priority: max(0, images - self._begun[priority])
            for priority, images in self._images.items()
        }

    def take(self, priority: Priority, images: int, size: int, begun: int = 0) -> None:
        """Takes places, whether or not there is room; `begun`: images that do not wait any more."""
        self.images += images
        self.size += size
        self._images[priority] += images
        self._bytes[priority] += size
        self._begun[priority] += begun

    def begin(self, priority: Priority, images: int) -> None:
        """So many images that have places are in a batch from now on."""
        self._begun[priority] += images

    def free(self, priority: Priority, images: int, size: int, begun: int = 0) -> None:
        """Gives places back, of which so many are of images that were in a batch."""
        self.images -= images
        self.size -= size
        self._images[priority] -= images
        self._bytes[priority] -= size
        self._begun[priority] -= begun

    def refusal(
        self, priority: Priority, images: int, size: int, limits: CardLimits
    ) -> errors.QueueFull | None:
        """Returns why there is no room for a request; None: there is.

        Bulk has room in its share of the queue, interactive requests in whatever bulk has not
        taken of that. A request of a class that has nothing outstanding is taken whatever its size
        and whatever the other class has: else it might never be.

        Args:
            priority: class of the request.
            images: that it has.
            size: of them in bytes.
            limits: of the card.

        Returns:
            QueueFull, which says what is outstanding, and until when that should be done.
        """
        if not self._images[priority]:
            return None
        shortage = self._shortage(
            priority, images, self._images, limits.queue_images, "images"
        ) or self._shortage(priority, size, self._bytes, limits.queue_bytes, "bytes")
        if not shortage:
            return None
        return errors.QueueFull(
            f"card {self.card} has {shortage}: send {images} more later, or to another card",
            retry_after=min(max(self.images / self._rate, _SHORTEST_RETRY), _LONGEST_RETRY),
        )

    def _shortage(
        self, priority: Priority, asked: int, taken: dict[Priority, int], limit: int, what: str
    ) -> str:
        share, bulk = limit // BULK_SHARE, taken[Priority.BULK]
        if priority is Priority.BULK and bulk + asked > share:
            return f"{bulk} {what} of bulk outstanding, and takes {share}"
        # Bulk that was taken whatever its size does not narrow what is left to others.
        if taken[Priority.INTERACTIVE] + min(bulk, share) + asked > limit:
            return f"{sum(taken.values())} {what} outstanding, and takes {limit}"
        return ""
