"""`nf-isac watch` as a process, its page in a real browser, fed by hand and by a real graph."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS environment')

from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import Point  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402

from nf_isac_msgs.msg import (  # noqa: E402
    Beamformer,
    Count,
    CrbArray,
    CrbEntry,
    DesignStatus,
    RadioStatus,
    StageTime,
    Track,
    TrackArray,
    TrackStatus,
    UserStatus,
)
from nf_isac_ros.cli import main  # noqa: E402

DEPLOYMENT = """
world_frame: room
array: {upa: {elements: [8, 8], spacing_m: 0.05}, position_m: [0, 0, 1],
        orientation_xyzw: [-0.7071067811865476, 0, 0, 0.7071067811865476]}
radio: {wavelength_m: 0.1, power_w: 1.0, symbols: 100, user_noise_w: 1.0e-6,
        sensing_noise: {power_w: 1.0e-9}}
design: {name: crb-min, rate_hz: 20}
bodies:
  - {id: u1, role: user, min_sinr_db: 10, motion: {fixed: {position_m: [1, 3, 1]}}}
  - {id: u2, role: user, min_sinr_db: 12, motion: {fixed: {position_m: [-1, 4, 1]}}}
  - {id: t1, role: target, motion: {circle: {centre_m: [0, 5, 1], radius_m: 1, period_s: 8}}}
markers: {bound_scale: 5}
"""
TRANSIENT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
START = 60.0   # for processes to start on a busy machine [s]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'room.yaml'
    path.write_text(DEPLOYMENT)
    return path


class Watch:
    """The command as a process."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'nf_isac_ros.cli', 'watch', *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def url(self):
        """Address of the page, once it is served."""
        line = self.process.stdout.readline()
        found = re.search(r'http://\S+', line)
        assert found, line + self.process.communicate()[1]
        return found.group()

    def end(self, number=signal.SIGINT):
        """Exit code and what was written to standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            _, errors = self.process.communicate(timeout=START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, errors


@pytest.fixture
def watch(domain):
    started = []

    def start(*arguments):
        started.append(Watch(*arguments))
        return started[-1]
    yield start
    for one in started:
        one.end()


class Talker:
    """Says what a graph would say, with known numbers."""

    def __init__(self, probe):
        probe.wait_until(lambda: probe.node.count_subscribers('status') > 0,
                         'a listener', START)
        self.probe = probe
        self.sequence = 0
        self.muted = ''
        self.sinr = 11.04
        self._out = {
            kind: probe.publisher(kind, topic, qos) for kind, topic, qos in (
                (Beamformer, 'beamformer', 1), (CrbArray, 'crb', 1),
                (DesignStatus, 'status', 10), (RadioStatus, 'radio/status', TRANSIENT))}
        self._tracks = {role: probe.publisher(TrackArray, role, 10)
                        for role in ('targets', 'users')}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _stamp(self, ahead=0.0):
        now = self.probe.now() + ahead
        return Time(sec=int(now), nanosec=int(now % 1 * 1e9))

    def _track_array(self, **places):
        tracks = []
        for name, (x, y, z) in places.items():
            track = Track(id=name)
            track.header.stamp = self._stamp()
            track.pose.pose.position = Point(x=x, y=y, z=z)
            tracks.append(track)
        message = TrackArray(tracks=tracks)
        message.header.frame_id = 'room'
        return message

    def say(self):
        self.sequence += 1
        infinite = np.full(9, np.inf).tolist()
        messages = (
            Beamformer(sequence=self.sequence, publish_stamp=self._stamp(),
                       valid_until=self._stamp(1.0), user_ids=['u1', 'u2']),
            CrbArray(
                sequence=self.sequence, sum_crb=6e-4, entries=[
                    CrbEntry(id='t1', position=Point(x=0.5, y=5.0, z=1.0),
                             parameters=['x', 'y', 'z'], crb=6e-4, isotropic_crb=0.06,
                             covariance=np.diag([4e-4, 1e-4, 1e-4]).ravel().tolist()),
                    CrbEntry(id='t2', position=Point(x=-1.5, y=5.0, z=1.0),
                             parameters=['x', 'y', 'z'], crb=float('inf'),
                             isotropic_crb=float('inf'), covariance=infinite)]),
            DesignStatus(
                sequence=self.sequence, cycle=self.sequence, design='crb-min',
                outcome=DesignStatus.OUTCOME_FALLBACK, fallback_reason='infeasible-sinr',
                users=[UserStatus(id='u1', required_sinr_db=10.0, sinr_db=self.sinr),
                       UserStatus(id='u2', required_sinr_db=12.0, sinr_db=9.5)],
                tracks=[TrackStatus(id='t1', role=TrackStatus.ROLE_TARGET, age=0.02),
                        TrackStatus(id='u1', role=TrackStatus.ROLE_USER, age=0.4,
                                    state=TrackStatus.STATE_HELD)],
                gap=2e-4, power=0.75, iterations=7, warm=True, cycle_ms=12.34,
                pose_to_beam_ms=15.6, stages=[StageTime(stage='solve', duration_ms=9.0)],
                overruns=3, fallbacks=[Count(reason='infeasible-sinr', count=41)],
                rejected=[Count(reason='not-finite', count=2)]),
            RadioStatus(
                armed=True, muted=bool(self.muted), mute_reason=self.muted, power=0.75,
                power_limit=1.0, eirp=48.0, last_sequence=self.sequence, applied=1234, late=5,
                dropped=6, muted_duration=7.0, rejected=[Count(reason='bad-lease', count=8)],
                users=[UserStatus(id='u1', required_sinr_db=10.0, sinr_db=10.61)]))
        for message in messages:
            message.header.stamp = self._stamp()
            self._out[type(message)].publish(message)
        self._tracks['targets'].publish(self._track_array(t1=(0.5, 5.0, 1.0)))
        self._tracks['users'].publish(self._track_array(u1=(1.0, 3.0, 1.0), u2=(-1.0, 4.0, 1.0)))

    def _run(self):
        while not self._stop.wait(0.05):
            self.say()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def cell(row, field):
    return f'document.querySelector("tr[data-id=\'{row}\'] [data-field={field}]").textContent'


def shows(browser, row, field, text):
    browser.wait(f'document.querySelector("tr[data-id=\'{row}\'] [data-field={field}]") && '
                 f'{cell(row, field)} === {json.dumps(text)}')


def test_page_shows_what_the_messages_say(browser, watch, probe, file):
    url = watch('--port', '0', '--config', str(file)).url()
    with Talker(probe) as talker:
        browser.open(url)
        browser.wait('document.body.className === ""')
        for row, field, text in (
                ('u1', 'required_db', '10.0 dB'), ('u1', 'sinr_db', '11.0 dB'),
                ('u1', 'received_db', '10.6 dB'), ('u1', 'margin_db', '+1.0 dB'),
                ('u1', 'pose', 'held 0.40 s'), ('u2', 'sinr_db', '9.5 dB'),
                ('u2', 'margin_db', '−2.5 dB'), ('u2', 'received_db', '–'),
                ('t1', 'root_crb_m', '2.45 cm'), ('t1', 'isotropic_root_crb_m', '24.5 cm'),
                ('t1', 'gain', '× 10'), ('t1', 'pose', 'fresh 0.02 s'),
                ('t2', 'root_crb_m', 'not identifiable'), ('cycle', 'p50', '12.3 ms'),
                ('pose to beam', 'max', '15.6 ms')):
            shows(browser, row, field, text)
        assert browser.run('return document.querySelector("#users td.missed").textContent') == (
            '−2.5 dB')
        assert browser.text('#radio [data-field=state]') == 'transmitting'
        assert browser.text('#radio [data-field=reason]') == '0.75 W of 1 W'
        assert browser.text('#design [data-field=outcome]') == 'crb-min: fallback'
        assert browser.text('#design [data-field=reason]') == 'infeasible-sinr'
        numbers = browser.run('return Object.fromEntries([...document.querySelectorAll("dd")]'
                              '.map(node => [node.dataset.field, node.textContent]))')
        assert numbers['power'] == '0.75 W'
        assert numbers['certified gap'] == '2.0e-4'
        assert numbers['fallbacks'] == 'infeasible-sinr 41'
        assert numbers['poses refused'] == 'not-finite 2'
        assert numbers['beams refused'] == 'bad-lease 8'
        assert (numbers['beams applied'], numbers['late'], numbers['lost']) == ('1234', '5', '6')
        # Twenty a second are sent; the machine may be slow, but two seconds are looked at.
        browser.wait(f'parseFloat({cell("status", "rate_hz")}) > 5')

        # The map: root-CRBs of 20 and 10 mm, five times enlarged, along x and y.
        scale = browser.run('''
            const svg = document.querySelector('#scene');
            const bound = svg.querySelector('ellipse[data-id=t1]');
            const [a, b] = ['u1', 'u2'].map(id => svg.querySelector(`path[data-id=${id}]`)
              .getAttribute('d').match(/[-\\d.]+/g).map(Number));
            return {rx: +bound.getAttribute('rx'), ry: +bound.getAttribute('ry'),
                    dx: a[2] - b[2], dy: a[3] - b[3], met: svg.querySelectorAll('.met').length,
                    missed: svg.querySelectorAll('.missed').length};''')
        pixels = scale['dx'] / 2.0   # the users are 2 m apart along x, 1 m along y
        assert scale['dy'] == pytest.approx(pixels, rel=0.02)
        assert scale['rx'] == pytest.approx(5 * 0.02 * pixels, rel=0.02)
        assert scale['ry'] == pytest.approx(5 * 0.01 * pixels, rel=0.02)
        assert (scale['met'], scale['missed']) == (1, 1)

        # The keyboard reaches everything.
        browser.press('2')
        browser.wait('document.querySelector("[data-view=front]").ariaPressed === "true"')
        browser.press('p')
        browser.wait('document.body.classList.contains("paused")')
        talker.sinr = 17.0
        time.sleep(0.5)
        assert browser.run(f'return {cell("u1", "sinr_db")}') == '11.0 dB'
        browser.press('p')
        shows(browser, 'u1', 'sinr_db', '17.0 dB')
        browser.press('\t', '\t')
        assert browser.run('return document.activeElement.id') == 'pause'

        # Muted, and why.
        talker.muted = 'lease-ended'
        browser.wait('document.querySelector("#radio").dataset.state === "muted"')
        assert browser.text('#radio [data-field=reason]') == 'lease-ended'
        browser.resize(400, 800)
        assert browser.run('return document.documentElement.scrollWidth') <= 400
        addresses = browser.requests()
        assert addresses and all(address.startswith(url) for address in addresses)
    # Nobody speaks any more.
    browser.wait('document.body.classList.contains("stale")', START)
    assert 'is the beamformer running?' in browser.text('#notice')
    browser.wait('document.querySelector("#radio").dataset.state === "silent"', START)
    assert browser.errors() == []


def test_page_tells_that_it_has_lost_the_server_and_finds_it_again(browser, watch, file):
    first = watch('--port', '0', '--config', str(file))
    url = first.url()
    port = url.rstrip('/').rpartition(':')[2]
    browser.open(url)
    browser.wait('!document.body.classList.contains("connecting")')
    code, errors = first.end()   # Ctrl-C, with a page that is open
    assert (code, errors) == (0, '')
    browser.wait('document.body.classList.contains("lost")')
    assert 'Connection to nf-isac watch lost at' in browser.text('#notice')
    assert 'connection lost' in browser.text('#connection')
    # What the browser itself says about the connection is no error of the page.
    assert all('net::ERR_' in error for error in browser.errors())
    watch('--port', port, '--config', str(file)).url()
    browser.wait('!document.body.classList.contains("lost")')


def test_page_follows_a_real_graph(browser, watch, graph, probe, file):
    graph.start('scenario', {'deployment_file': file})
    graph.start('radio_driver', {'deployment_file': file, 'autoarm': True})
    graph.start('beamformer', {'deployment_file': file})
    url = watch('--port', '0').url()
    statuses = probe.collect(DesignStatus, 'status')
    radios = probe.collect(RadioStatus, 'radio/status')
    for node in ('/radio_driver', '/beamformer'):
        probe.activate(node)
    statuses.wait(lambda status: status.users and status.outcome == status.OUTCOME_OPTIMAL)
    radios.wait(lambda radio: not radio.muted)
    browser.open(url)
    # The deployment is found by asking the beamformer.
    browser.wait('document.querySelector("#source").textContent === "room · frame room"', START)
    browser.wait('document.querySelectorAll("#scene .array").length === 1')
    browser.wait('document.body.dataset.sequence > 0 && document.querySelectorAll('
                 '"#scene .beam").length === 2')
    shown = browser.run(f'''return {{sequence: +document.body.dataset.sequence,
        sinr: ["u1", "u2"].map(id => document.querySelector(
            `tr[data-id=${{id}}] [data-field=sinr_db]`).textContent),
        outcome: document.querySelector("#design [data-field=outcome]").textContent,
        crb: {cell("t1", "root_crb_m")}}}''')
    status, = statuses.wait(lambda status: status.sequence == shown['sequence'])
    assert shown['sinr'] == [f'{user.sinr_db:.1f} dB' for user in status.users]
    assert shown['outcome'].startswith('crb-min: ')
    assert re.fullmatch(r'[\d.]+ (m|cm|mm|µm)', shown['crb'])
    assert browser.errors() == []


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--port', '70000'], ['--port', '70000', '65535']),
    (['--rate', '0'], ['--rate', '0', '60']),
    (['--address', '192.0.2.1'], ['192.0.2.1', 'cannot be listened on']),
    (['--config', '/nowhere.yaml'], ['/nowhere.yaml']),
    (['--namespace', 'no good'], ['--namespace', 'no good']),
])
def test_wrong_usage_is_one_line(domain, capsys, arguments, words):
    assert main(['watch', '--port', '0', *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1
    assert errors.startswith('nf-isac watch: ')
    assert all(word in errors for word in words)


def test_port_that_is_taken_is_one_line_and_the_first_goes_on(watch):
    first = watch('--port', '0')
    url = first.url()
    code, errors = watch('--port', url.rstrip('/').rpartition(':')[2]).end(0)
    assert code == 2
    assert errors.count('\n') == 1 and 'cannot be listened on' in errors
    with urlopen(url, timeout=10) as answer:
        assert b'nf_isac live' in answer.read()
    assert first.end(signal.SIGTERM) == (0, '')
