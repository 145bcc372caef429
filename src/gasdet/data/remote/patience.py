"""How long to wait for a server, and how often to try again."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that say "not now" and not "no"."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits on waiting.

    Attributes:
        stall_s: Seconds without a byte after which a connection counts as dead.
        attempts: Tries in a row that bring nothing new; any byte that arrives starts the count again.
        first_pause_s: Before the second try; doubles with each further one, with jitter.
        longest_pause_s: Bound of the pause, and of what a server's Retry-After is obeyed for.
    """

    stall_s: float = 30.0
    attempts: int = 6
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0

    def pause(self, failures: int, asked_s: float | None) -> float:
        """Seconds to wait after so many failures in a row (at least 1).

        Between half and all of the doubled pause, at random, so that many processes do not come back at once; at least
        what the server asks for.
        """
        longest: float = min(self.first_pause_s * 2.0 ** (failures - 1), self.longest_pause_s)
        pause = longest * random.uniform(0.5, 1.0)
        return pause if asked_s is None else max(pause, min(asked_s, self.longest_pause_s))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for: a number, or an HTTP date (RFC 9110, 10.2.3); None where it says nothing."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
