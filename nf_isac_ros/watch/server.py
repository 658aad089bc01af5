"""The web server of the live page: a page, a stream of events, and no way to change things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
import ipaddress
import socket
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from nf_isac_ros.core.exceptions import NfIsacError

TYPES = {'html': 'text/html; charset=utf-8', 'css': 'text/css; charset=utf-8',
         'js': 'text/javascript; charset=utf-8', 'svg': 'image/svg+xml'}
PAGE = 'index.html'

# More pages at once are refused.
MOST_CLIENTS = 16
# A page that has taken nothing for this long is gone [s].
PATIENCE = 20.0
# Little is under way to a slow page, so that what arrives is new [bytes].
SEND_BUFFER = 65_536

# Scripts and styles from here only, nothing else from anywhere.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


class ServerError(NfIsacError):
    """The page cannot be served."""

    reason = 'server'


class Client:
    """One open page: the newest event of each name that it has not had yet."""

    def __init__(self) -> None:
        self._events: dict[str, str] = {}
        self._news = asyncio.Event()
        self.closed = False

    def put(self, name: str, data: str) -> None:
        """Offer an event; one of the same name that was not fetched is dropped."""
        self._events[name] = data
        self._news.set()

    def close(self) -> None:
        """Have `take` return nothing, now and later."""
        self.closed = True
        self._news.set()

    async def take(self) -> dict[str, str]:
        """Wait for news and fetch them."""
        await self._news.wait()
        self._news.clear()
        events, self._events = self._events, {}
        return {} if self.closed else events


class Hub:
    """
    Hands events on to all open pages; to be used in the thread of the event loop.

    Parameters
    ----------
    history : callable
        Returns the events for a page that has just been opened, data by name.

    """

    def __init__(self, history: Callable[[], Mapping[str, str]]) -> None:
        self._history = history
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        """Return the number of open pages."""
        return len(self._clients)

    def publish(self, name: str, data: str) -> None:
        """Offer an event to all pages."""
        for client in self._clients:
            client.put(name, data)

    def join(self) -> Client | None:
        """Return a new client; None: there are too many."""
        if len(self._clients) >= MOST_CLIENTS:
            return None
        client = Client()
        for name, data in self._history().items():
            client.put(name, data)
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self._clients.discard(client)

    def close(self) -> None:
        """End all streams."""
        for client in list(self._clients):
            client.close()


def host_allowed(host: str, names: Collection[str], loopback: bool) -> bool:
    """
    Tell whether a Host header is one of ours.

    A page elsewhere can have its own name resolve to this machine (DNS rebinding) and would then
    be let in; but it cannot send a Host header other than that name. Addresses have no such names.

    Parameters
    ----------
    host : str
        Without the port.
    names : collection of str
        Names under which this machine may be called, in lower case.
    loopback : bool
        The server listens on the loopback interface only.

    """
    host = host.lower().strip('[]')
    if host == 'localhost' or host in names:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or not loopback


class _Handler(RequestHandler):
    """What all requests have in common: only our own page may make them, and only reading ones."""

    def initialize(self, names: Collection[str], loopback: bool, **_: Any) -> None:
        self._names = names
        self._loopback = loopback

    def set_default_headers(self) -> None:
        self.clear_header('Server')
        for name, value in (
                ('Content-Security-Policy', POLICY), ('X-Content-Type-Options', 'nosniff'),
                ('X-Frame-Options', 'DENY'), ('Referrer-Policy', 'no-referrer'),
                ('Cross-Origin-Resource-Policy', 'same-origin'),
                ('Cross-Origin-Opener-Policy', 'same-origin'), ('Cache-Control', 'no-store')):
            self.set_header(name, value)

    def prepare(self) -> None:
        if self.request.method not in ('GET', 'HEAD'):
            raise HTTPError(405)
        if not host_allowed(self.request.host_name, self._names, self._loopback):
            raise HTTPError(403, reason='Foreign Host header')
        origin = self.request.headers.get('Origin')
        # The page itself is of the same origin, which includes the port.
        if origin not in (None, f'{self.request.protocol}://{self.request.host}'):
            raise HTTPError(403, reason='Foreign Origin header')

    def write_error(self, status_code: int, **_: Any) -> None:
        self.set_header('Content-Type', 'text/plain; charset=utf-8')
        self.finish(f'{status_code} {self._reason}\n')


class _NotFound(_Handler):
    def get(self) -> None:
        raise HTTPError(404)

    head = get


class _File(_Handler):
    """A file of the page."""

    def initialize(self, content: Mapping[str, bytes], **common: Any) -> None:
        super().initialize(**common)
        self._content = content

    def get(self, name: str) -> None:
        name = name or PAGE
        if name not in self._content:
            raise HTTPError(404)
        self.set_header('Content-Type', TYPES[name.rpartition('.')[2]])
        self.finish(self._content[name])

    head = get


class _Events(_Handler):
    """Server-sent events; a page that is slow gets fewer, never old ones."""

    def initialize(self, hub: Hub, **common: Any) -> None:
        super().initialize(**common)
        self._hub = hub
        self._client: Client | None = None

    async def get(self) -> None:
        client = self._client = self._hub.join()
        if client is None:
            raise HTTPError(503, reason='Too many pages are open')
        stream = self.request.connection.stream   # type: ignore[union-attr]
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.set_header('Content-Type', 'text/event-stream; charset=utf-8')
        try:
            # How soon a page that has lost us tries again [ms].
            self.write('retry: 1000\n\n')
            while events := await client.take():
                for name, data in events.items():
                    self.write(f'event: {name}\ndata: {data}\n\n')
                await asyncio.wait_for(self.flush(), PATIENCE)
        except (StreamClosedError, asyncio.TimeoutError):
            stream.close()
        finally:
            self._hub.leave(client)

    def on_connection_close(self) -> None:
        if self._client is not None:
            self._client.close()


def page_files() -> dict[str, bytes]:
    """Files of the page, as they are installed."""
    folder = files('nf_isac_ros.watch').joinpath('page')
    return {item.name: item.read_bytes() for item in folder.iterdir()
            if item.name.rpartition('.')[2] in TYPES}


class PageServer:
    """
    Serves the page.

    Parameters
    ----------
    hub : Hub
        Where the events come from.
    address : str
        Of the interface to listen on.
    port : int
        0: any that is free.
    names : collection of str
        Further names of this machine that a browser may use.

    Raises
    ------
    ServerError
        If the address cannot be listened on; says why.

    """

    def __init__(self, hub: Hub, address: str, port: int, names: Collection[str] = ()) -> None:
        try:
            self._sockets = bind_sockets(port, address)
        except (OSError, UnicodeError) as error:
            text = getattr(error, 'strerror', None) or str(error)
            raise ServerError(f'{address}:{port} cannot be listened on: {text}') from error
        loopback = all(ipaddress.ip_address(one.getsockname()[0]).is_loopback
                       for one in self._sockets)
        common = {'names': {name.lower() for name in names}, 'loopback': loopback}
        self._hub = hub
        self._server = HTTPServer(Application(
            [(r'/events', _Events, {'hub': hub, **common}),
             (r'/([a-z.]*)', _File, {'content': page_files(), **common})],
            default_handler_class=_NotFound, default_handler_args=common,
            log_function=lambda handler: None), max_body_size=1024, max_header_size=16_384,
            idle_connection_timeout=60.0)

    @property
    def port(self) -> int:
        """Port that is listened on."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Address of the page."""
        host = self._sockets[0].getsockname()[0]
        return f'http://{f"[{host}]" if ":" in host else host}:{self.port}/'

    def start(self) -> None:
        """Take requests, in the running event loop."""
        self._server.add_sockets(self._sockets)

    async def close(self) -> None:
        """End all streams and connections."""
        self._server.stop()
        self._hub.close()
        await self._server.close_all_connections()
