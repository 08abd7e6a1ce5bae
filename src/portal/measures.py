"""What the portal measures of itself: how long requests take, how they are answered, and its memory."""

import os
import time
import weakref
from bisect import bisect_left
from collections import Counter

from aiohttp import web

from portal.problems import Handler, Middleware

BOUNDS_S = (0.002_5, 0.01, 0.05, 0.25, 1.0, 5.0)
"""Up to where each bucket counts, in seconds; one more is for what takes longer."""
NO_ROUTE = "none"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Times:
    """How many requests took how long. `buckets` are one more than BOUNDS_S."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


class Measures:
    """Since the start. Made before the portal's cell, in which /proc cannot be reached any more.

    `times` is by method and by the pattern of the route, of which there are as many as the program has; what no route
    takes has NO_ROUTE for both. Nothing that a visitor sends becomes a key.
    """

    def __init__(self) -> None:
        self.started = time.time()
        self.times: dict[tuple[str, str], Times] = {}
        self.statuses: Counter[int] = Counter()
        self._by_route: dict[web.AbstractRoute, Times] = {}
        self._statm = -1
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a /proc that hides it
            return
        weakref.finalize(self, os.close, self._statm)

    def memory(self) -> int | None:
        """Resident bytes; None where the kernel does not tell."""
        return None if self._statm < 0 else int(os.pread(self._statm, 128, 0).split()[1]) * _PAGE

    def around(self, inner: Middleware) -> Middleware:
        """The middleware `inner`, timed. An answer that goes on and on (events) counts, but its time says nothing."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            begin = time.perf_counter()
            response = await inner(request, handler)
            self.statuses[response.status] += 1
            if isinstance(response, web.Response):
                route = request.match_info.route
                times = self._by_route.get(route) or self._times(route)
                times.add(time.perf_counter() - begin)
            return response

        return middleware

    def _times(self, route: web.AbstractRoute) -> Times:
        if route.resource is None:  # aiohttp makes one for each request that no route takes
            return self.times.setdefault((NO_ROUTE, NO_ROUTE), Times())
        times = self._by_route[route] = self.times.setdefault((route.method, route.resource.canonical), Times())
        return times
