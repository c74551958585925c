"""How many requests of a process are in flight: fewer where a server asks for that, and more again once it does not."""

import asyncio
import time
from collections import deque

MOST_IN_FLIGHT = 32


class Throttle:
    """Lets requests go one by one, or many at a time; of one event loop.

    A server that is asked too much (429, 503) halves the limit, at most once a second; each answer raises it by its share of
    one (additive increase, multiplicative decrease, as TCP's congestion control).
    """

    def __init__(self, most: int = MOST_IN_FLIGHT):
        self.limit, self._most, self._in_flight, self._halved_s = float(most), most, 0, 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._waiting and self._in_flight < int(self.limit):
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever ends it counts this one as in flight, so that nobody comes in between
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was its turn just now
                self._in_flight -= 1
                self._let_go()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._in_flight -= 1
        self._let_go()

    def answered(self) -> None:
        """Called after each answer."""
        self.limit = min(self.limit + 1 / self.limit, self._most)
        self._let_go()

    def slow_down(self) -> None:
        """Called when the server asks for fewer requests."""
        if time.monotonic() - self._halved_s > 1:
            self.limit, self._halved_s = max(self.limit / 2, 1.0), time.monotonic()

    def _let_go(self) -> None:
        while self._waiting and self._in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():  # it may have been cancelled
                turn.set_result(None)
                self._in_flight += 1
