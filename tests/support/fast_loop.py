"""An event loop whose clock runs fast, so that real pauses between real requests take little of a test's time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: How many times faster than the clock on the wall.
SPEED = 20


class _FastSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout if timeout is None else timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """Counts more seconds than pass; what waits for its clock waits less."""

    def __init__(self) -> None:
        super().__init__(_FastSelector())

    def time(self) -> float:
        """Return the loop's time, in its own seconds."""
        return super().time() * SPEED


def run_fast(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, fast."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main)


class _NoWaitSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Lets the time that a loop would sleep pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("the loop would wait for ever: nothing is due")
        self.skipped += timeout
        return super().select(0)


class SleeplessLoop(asyncio.SelectorEventLoop):
    """Its time is made up: where it would sleep, the time has passed at once. For code without I/O and threads."""

    def __init__(self) -> None:
        self._no_wait = _NoWaitSelector()
        super().__init__(self._no_wait)

    def time(self) -> float:
        """Return the loop's time, which passes only while it would sleep."""
        return 1000.0 + self._no_wait.skipped


def run_at_once(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, whose sleeps take no time."""
    with asyncio.Runner(loop_factory=SleeplessLoop) as runner:
        return runner.run(main)
