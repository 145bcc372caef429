"""Ctrl-C that leaves a training at a whole number of steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interruption:
    """Holds a Ctrl-C back until the training waits for something, where everything about it is consistent.

    A second Ctrl-C is not held back.

    Attributes:
        clean: Whether the KeyboardInterrupt that was raised came at such a place.
    """

    def __init__(self) -> None:
        self.clean = False
        self._asked = self._waiting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Inside, Ctrl-C is handled so; outside of the main thread, or where the program has its own way, nothing changes.

        One that was held back until the end is raised there.
        """
        usual = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)
        if self._asked:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, nothing changes that a checkpoint holds, and Ctrl-C is obeyed at once."""
        self._waiting = True
        try:
            if self._asked:
                raise KeyboardInterrupt
            yield
        except KeyboardInterrupt:
            self.clean = True
            raise
        finally:
            self._waiting = False

    def _handle(self, number: int, frame: Any) -> None:
        if self._waiting or self._asked:
            raise KeyboardInterrupt
        self._asked = True
