"""Ending a run in good order when it is told to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Remembers which signal came, if any."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Within, the first SIGTERM or Ctrl-C is only remembered; a second one acts as it always does."""
    interrupt = Interrupt()
    watched = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in watched}

    def remember(number: int, _: FrameType | None) -> None:
        interrupt.signal = signal.Signals(number)
        for each in watched:
            signal.signal(each, signal.SIG_DFL)

    for number in watched:
        signal.signal(number, remember)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
