"""Connections of the server that must ask for something: one that stays silent, or trickles, is closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD_S = 10.0
"""From a connection's begin, or the first byte after an answer, to the end of a request's head."""


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 in which the head of a request has arrived within ``LONGEST_HEAD_S``, or the connection is closed."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._deadline is None and not self._is_asked:
            self._expect_head()
        super().data_received(data)
        if self._is_asked:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._forget()
        super().connection_lost(exc)

    @property
    def _is_asked(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(LONGEST_HEAD_S, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
