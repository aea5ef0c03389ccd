"""What becomes of an image that cannot be read, in training: the next one stands in for it, and it is counted."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from vit_jax.errors import UserError

log = logging.getLogger(__name__)

IN_A_ROW = 16  # so many unreadable images one after the other, and no other is looked for


class UnreadableImageError(UserError):
    """An image's bytes are none, damaged, or of a kind that nobody can show; another example could do instead."""


class Unreadable(NamedTuple):
    """An example, by its index, whose image could not be read, and why."""

    example: int
    reason: str


class Tally:
    """Counts the unreadable images of a source of `size` examples; more than this share of them is too many.

    Each is named in the log once. An image is counted when a batch first holds it: after a restart again.
    """

    def __init__(self, size: int, share: float):
        self.size = size
        self.share = share
        self.found: dict[int, str] = {}

    def note(self, unreadable: Iterable[Unreadable]) -> None:
        """Takes what a batch could not read; raises UserError when that makes too many."""
        for example, reason in unreadable:
            if example not in self.found:
                self.found[example] = reason
                log.warning("%s; the next image stands in for it (%d so far)", reason, len(self.found))
                if len(self.found) > self.share * self.size:
                    raise UserError(
                        f"{reason}; with it {len(self.found)} of {self.size:,} images cannot be read, more than "
                        f"unreadable_share {self.share} allows; `data check` lists them all"
                    )
