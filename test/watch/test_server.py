"""The web server of the live page: what it lets in, and what becomes of pages that are slow."""

import asyncio
from contextlib import contextmanager
import http.client
import json
import socket
import threading
import time

import pytest

pytest.importorskip('tornado', reason='tornado is not installed')

from nf_isac_ros.watch.server import (  # noqa: E402
    MOST_CLIENTS,
    Client,
    Hub,
    PageServer,
    ServerError,
    host_allowed,
    page_files,
)

FIRST = {'setup': '{"name":"room"}', 'history': '[]'}


class Running:
    """A server in a thread of its own."""

    def __init__(self, names=()):
        self.loop = asyncio.new_event_loop()
        self.hub = Hub(lambda: FIRST)
        self.server = PageServer(self.hub, '127.0.0.1', 0, names)
        self.port = self.server.port
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self.server.start)
        self.loop.run_forever()

    def call(self, function, *arguments):
        async def inside():
            return function(*arguments)
        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(10)

    def publish(self, name, data):
        self.call(self.hub.publish, name, data)

    def wait_for_pages(self, count):
        deadline = time.monotonic() + 10
        while self.call(len, self.hub) != count:
            assert time.monotonic() < deadline, f'{self.call(len, self.hub)} pages, not {count}'
            time.sleep(0.02)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.server.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture(scope='module')
def running():
    with Running(['lab-pc.example']) as server:
        yield server


def ask(running, path='/', method='GET', host=None, **headers):
    connection = http.client.HTTPConnection('127.0.0.1', running.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader('Host', host or f'127.0.0.1:{running.port}')
    for name, value in headers.items():
        connection.putheader(name.replace('_', '-'), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = b'' if answer.getheader('Content-Type', '').startswith('text/event-stream') else (
        answer.read())
    connection.close()
    return answer, body


@contextmanager
def events(running, receive_buffer=None):
    """Open a stream of events; gives its socket as a file."""
    plain = socket.socket()
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(10)
    plain.connect(('127.0.0.1', running.port))
    plain.sendall(f'GET /events HTTP/1.1\r\nHost: localhost:{running.port}\r\n\r\n'.encode())
    with plain, plain.makefile('rb') as stream:
        yield stream


def next_event(stream):
    """Name and data of the next event; chunk headers and other fields are passed over."""
    name = ''
    for line in stream:
        text = line.decode().strip()
        if text.startswith('event: '):
            name = text[7:]
        elif text.startswith('data: '):
            return name, text[6:]
    return None


@pytest.mark.parametrize(('path', 'kind', 'start'), [
    ('/', 'text/html', b'<!doctype html>'), ('/watch.js', 'text/javascript', b'//'),
    ('/watch.css', 'text/css', b'/*'), ('/icon.svg', 'image/svg+xml', b'<svg')])
def test_files_are_served_with_headers_that_keep_others_out(running, path, kind, start):
    answer, body = ask(running, path)
    assert answer.status == 200
    assert body.startswith(start)
    assert answer.getheader('Content-Type').startswith(kind)
    policy = answer.getheader('Content-Security-Policy')
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert answer.getheader('X-Content-Type-Options') == 'nosniff'
    assert answer.getheader('Cache-Control') == 'no-store'
    assert answer.getheader('Access-Control-Allow-Origin') is None


@pytest.mark.parametrize('path', ['/etc/passwd', '/../server.py', '/server.py', '/%2e%2e/x',
                                  '/page/watch.js', '/events/x'])
def test_there_is_nothing_else(running, path):
    assert ask(running, path)[0].status == 404


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
@pytest.mark.parametrize('path', ['/', '/events'])
def test_nothing_can_be_changed(running, method, path):
    assert ask(running, path, method)[0].status == 405


@pytest.mark.parametrize('path', ['/', '/events', '/watch.js', '/nothing'])
@pytest.mark.parametrize('host', ['evil.example', 'localhost.evil.example', '192.0.2.7', ''],
                         ids=['name', 'looks_local', 'other_address', 'empty'])
def test_foreign_host_is_refused(running, path, host):
    answer, _ = ask(running, path, host=f'{host}:{running.port}')
    assert answer.status == 403


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', '[::1]', 'LAB-PC.example'])
def test_own_names_are_let_in(running, host):
    answer, _ = ask(running, host=f'{host}:{running.port}', Origin=f'http://{host}:{running.port}')
    assert answer.status == 200


@pytest.mark.parametrize('origin', ['http://evil.example', 'null', 'http://127.0.0.1:1',
                                    'https://localhost', 'http://[bad', ''])
def test_foreign_origin_is_refused(running, origin):
    assert ask(running, '/events', Origin=origin)[0].status == 403


def test_host_rules_of_a_server_that_others_may_reach():
    assert host_allowed('192.0.2.7', (), loopback=False)
    assert not host_allowed('192.0.2.7', (), loopback=True)
    assert not host_allowed('evil.example', (), loopback=False)


def test_a_page_gets_what_was_before_and_what_comes(running):
    with events(running) as stream:
        assert next_event(stream) == ('setup', FIRST['setup'])
        assert next_event(stream) == ('history', '[]')
        running.wait_for_pages(1)
        running.publish('state', '{"a":1}')
        assert next_event(stream) == ('state', '{"a":1}')
        running.publish('state', '{"a":2}')
        assert next_event(stream) == ('state', '{"a":2}')
    running.wait_for_pages(0)


def test_a_slow_page_misses_states_and_then_gets_the_newest(running):
    count, large = 3000, 'x' * 20_000
    with events(running, receive_buffer=4096) as stream:
        running.wait_for_pages(1)
        for k in range(count):   # 60 MB: nobody could hold that back unnoticed
            running.publish('state', json.dumps([k, large]))
        seen = []
        while not seen or seen[-1] != count - 1:
            name, data = next_event(stream)
            if name == 'state':
                seen.append(json.loads(data)[0])
        assert seen == sorted(seen)
        assert len(seen) < count / 10
    running.wait_for_pages(0)


def test_offers_do_not_pile_up():
    client = Client()
    for k in range(1000):
        client.put('state', str(k))
    assert asyncio.run(client.take()) == {'state': '999'}


def test_too_many_pages_are_refused_until_one_is_closed(running):
    opened = [events(running) for _ in range(MOST_CLIENTS)]
    for page in opened:
        page.__enter__()
    running.wait_for_pages(MOST_CLIENTS)
    assert ask(running, '/events')[0].status == 503
    opened[0].__exit__(None, None, None)
    running.wait_for_pages(MOST_CLIENTS - 1)
    with events(running) as stream:
        assert next_event(stream)
    for page in opened[1:]:
        page.__exit__(None, None, None)
    running.wait_for_pages(0)


def test_closing_ends_the_streams():
    server = Running()
    with server, events(server) as stream:
        assert next_event(stream)
        asyncio.run_coroutine_threadsafe(server.server.close(), server.loop).result(10)
        while next_event(stream):
            pass
        assert stream.read() == b''


def test_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f'127.0.0.1:{port} cannot be listened on'):
            PageServer(Hub(dict), '127.0.0.1', port)


def test_address_of_another_machine_is_named():
    with pytest.raises(ServerError, match='192.0.2.1:0 cannot be listened on'):
        PageServer(Hub(dict), '192.0.2.1', 0)


def test_page_asks_for_nothing_from_elsewhere():
    for name, content in page_files().items():
        text = content.decode()
        addresses = [word for word in ('http://', 'https://', '//cdn') if word in text.replace(
            'http://www.w3.org/2000/svg', '')]
        assert not addresses, f'{name}: {addresses}'
        assert 'eval(' not in text and 'innerHTML' not in text
