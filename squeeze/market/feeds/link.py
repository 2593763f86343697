"""One connection of a feed: what is sent on it, what comes, when it is silent, and how it ends.

Apart from `live`, which opens the next one and knows what a loss means to the books.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from squeeze.errors import FrameError, VenueRefused
from squeeze.market.feeds.values import Limits
from squeeze.market.venues.wire import Connection

ROTATED = "rotated"
SILENT = "silent"

Take = Callable[[bytes, str], bool]
"""Takes a frame and the connection's name; whether it said anything."""


class Link:
    """A connection: its name, and how it is."""

    task: asyncio.Task[None]

    def __init__(self, label: str, place: int) -> None:
        self.label = label
        self.place = place
        self.opened_s = math.inf
        self.heard_s = math.inf
        self.speaks = False
        self.waits_s = 0.0
        """How long a book of it has waited for a snapshot."""
        self.reason = ""
        self.settled = asyncio.Event()
        """It has spoken, or ended."""
        self.ending = asyncio.Event()

    @property
    def lived_s(self) -> float:
        """Seconds since it was opened; below zero where it was not."""
        return time.monotonic() - self.opened_s

    def end(self, reason: str) -> None:
        """Let it end; the first reason counts."""
        self.reason = self.reason or reason
        self.ending.set()

    async def listen(self, socket: ClientConnection, plan: Connection, limits: Limits, take: Take) -> None:
        """Subscribe, and take what comes until the connection ends."""
        try:
            async with asyncio.timeout(limits.open_seconds):
                for message in plan.messages:
                    await socket.send(message, text=True)
        except TimeoutError:
            self.end("does not take messages")
        except ConnectionClosed:
            pass  # said below
        while True:
            try:
                frame = await socket.recv(decode=False)
            except ConnectionClosed as closed:
                self.end(f"closed {1006 if closed.rcvd is None else closed.rcvd.code}")
                return
            try:
                said = take(frame if isinstance(frame, bytes) else frame.encode(), self.label)
            except VenueRefused:
                said = False
            except FrameError:
                said = True  # not by silence is it ill
            if said:
                self.heard_s = time.monotonic()
                self.speaks = True
                self.settled.set()

    async def watch(self, socket: ClientConnection, plan: Connection, limits: Limits) -> None:
        """Ping; and end a connection that is to end, or is silent."""
        every_s = math.inf if plan.ping is None else plan.ping_seconds
        ping_s = self.opened_s + every_s
        while not self.reason:
            silent_s = self.heard_s + limits.silent_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(silent_s, ping_s) - time.monotonic())):
                    await self.ending.wait()
            now_s = time.monotonic()
            if now_s >= self.heard_s + limits.silent_seconds:
                self.end(SILENT)
            elif now_s >= ping_s and plan.ping is not None:
                ping_s = now_s + every_s
                with contextlib.suppress(ConnectionClosed, TimeoutError):
                    async with asyncio.timeout(limits.open_seconds):
                        await socket.send(plan.ping, text=True)
        if self.reason == ROTATED:
            await socket.close()
        else:
            socket.transport.abort()  # who is silent will not answer a goodbye either
