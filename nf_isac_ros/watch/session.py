"""One run of `nf-isac watch`: listener and server together, until somebody ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
import signal
import sys

from nf_isac_ros.files.deployment import Deployment
from nf_isac_ros.watch.listener import Listening
from nf_isac_ros.watch.server import Hub, PageServer


@dataclass(frozen=True)
class Plan:
    """
    What was asked for.

    Attributes
    ----------
    address, port, names
        As of `PageServer`.
    rate, deployment, namespace, use_sim_time
        As of `Listener`.

    """

    address: str
    port: int
    names: Collection[str]
    rate: float
    deployment: Deployment | None
    namespace: str
    use_sim_time: bool


async def serve(plan: Plan) -> int:
    """
    Serve the page until SIGINT or SIGTERM.

    Returns
    -------
    int
        0 after a clean end, 1 if listening has failed.

    Raises
    ------
    NfIsacError
        If the address cannot be listened on, or a message type is not installed.

    """
    loop = asyncio.get_running_loop()
    end: asyncio.Future[str] = loop.create_future()

    def finish(failure: str) -> None:
        if not end.done():
            end.set_result(failure)

    def from_thread(function, *arguments) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function, *arguments)

    # The server first: what is wrong with the address is said before anything is started.
    hub = Hub(lambda: listening.node.newest())
    server = PageServer(hub, plan.address, plan.port, plan.names)
    listening = Listening(
        lambda name, data: from_thread(hub.publish, name, data),
        lambda failure: from_thread(finish, failure),
        plan.rate, plan.deployment, plan.namespace, plan.use_sim_time)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, finish, '')
    with listening:
        server.start()
        print(f'nf-isac watch: {server.url}   (Ctrl-C ends it)', flush=True)
        failure = await end
        await server.close()
    if failure:
        print(f'nf-isac watch: listening has failed:\n{failure}', file=sys.stderr)
    return 1 if failure else 0
