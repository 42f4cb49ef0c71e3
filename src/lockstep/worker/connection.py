"""One connection of the agent: gathers what is to be sent, sends it, and hands on what comes.

The agent's commands are in `agent.py`; the rules of the conversation in `protocol/agent_session.py`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from lockstep.protocol.agent_session import AgentSession
from lockstep.protocol.messages import AgentMessage, encoded_size
from lockstep.worker.clock import boottime
from lockstep.worker.limits import FRAME_MESSAGES, FRAME_TARGET, GATHER, GATHER_ENOUGH
from lockstep.worker.work import Work


class Connection:
    """One open WebSocket, from Welcome to its loss."""

    def __init__(
        self,
        websocket: ClientConnection,
        session: AgentSession,
        works: Callable[[], Iterable[Work]],
        take: Callable[[bytes], None],
    ) -> None:
        """`works` returns the commands that may have something to say; `take` gets each message of the
        master.
        """
        self._websocket = websocket
        self._session = session
        self._works = works
        self._take = take
        self._wake = asyncio.Event()
        self._wake_at: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._leaves = False

    def changed(self) -> None:
        """There is something new to send."""
        self._wake.set()

    def leave(self) -> None:
        """Say at once, and in each frame from now, that the agent is being stopped."""
        self._session.leaving = self._leaves = True
        self._wake.set()

    async def talk(self) -> None:
        """Send and receive until the connection is lost (or given up). A `ProtocolError` is passed on."""
        sender = asyncio.create_task(self._send_all())
        beats = asyncio.create_task(self._beat())
        listener = asyncio.create_task(self._listen())
        tasks = [sender, beats, listener]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with contextlib.suppress(ConnectionClosed):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._wake_at is not None:
                self._wake_at.cancel()

    async def _listen(self) -> None:
        """Hand on every message of the master."""
        async for data in self._websocket:
            self._take(data if isinstance(data, bytes) else data.encode())
            self._wake.set()

    async def _beat(self) -> None:
        """Ask for a sign of life from time to time; give up if none comes."""
        while True:
            now = boottime()
            if now >= self._session.hopeless_at:
                return
            if now >= self._session.next_heartbeat_at:
                frame = self._session.frame((), now)
                try:
                    async with asyncio.timeout(self._session.hopeless_at - now):
                        await self._websocket.send(frame)
                except TimeoutError:  # nobody reads at the other end
                    return
            pause = min(self._session.next_heartbeat_at, self._session.hopeless_at) - boottime()
            await asyncio.sleep(min(max(pause, 0.01), 1.0))

    async def _send_all(self) -> None:
        """Send what there is, as fast as the connection takes it."""
        while True:
            self._wake.clear()
            batch = self._gather()
            if not batch and not self._leaves:
                await self._wake.wait()
                continue
            self._leaves = False
            await self._websocket.send(self._session.frame(batch, boottime()))

    def _gather(self) -> list[AgentMessage]:
        """The next frame's messages: output in its order, ends after it, wishes for pieces of files."""
        batch: list[AgentMessage] = []
        room = min(FRAME_TARGET, self._session.room())
        now = self._loop.time()
        for work in self._works():
            if len(batch) >= FRAME_MESSAGES:
                break
            position = self._session.position(work.id)
            if position is None or self._session.end_sent(work.id):
                continue
            waiting = work.spool.produced - position
            if 0 < waiting < GATHER_ENOUGH and not work.ended and now < work.sent_at + GATHER:
                self._wake_later(work.sent_at + GATHER - now)
            elif waiting > 0 and room > 0:
                for piece in work.spool.read(position, room):
                    batch.append(piece)
                    position += len(piece.data)
                    room -= len(piece.data)
                work.sent_at = now
            if work.asked is not None and not work.asked_sent:
                work.asked_sent = True
                batch.append(work.asked)
            end = work.spool.end
            if end is not None and position >= end.produced and encoded_size(end) <= FRAME_TARGET + room:
                batch.append(end)
                room -= encoded_size(end)
        return batch

    def _wake_later(self, seconds: float) -> None:
        """Look again in a moment, when small pieces have been gathered."""
        if self._wake_at is None:
            self._wake_at = self._loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        """The moment is over."""
        self._wake_at = None
        self._wake.set()
