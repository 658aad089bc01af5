"""One replay: recordings in; tables, what-if comparisons, pictures and a report out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa
from pyarrow import csv, parquet
import pyarrow.compute as pc

from nf_isac_ros.conversions.reading import read_beamformer
from nf_isac_ros.core.exceptions import NfIsacError
from nf_isac_ros.core.tracking import Role
from nf_isac_ros.files.deployment import Deployment, load_deployment
from nf_isac_ros.parallel import Runner
from nf_isac_ros.replay import table as tables
from nf_isac_ros.replay.cycles import CyclePlanner, chunks
from nf_isac_ros.replay.cycles import Path as BodyPath
from nf_isac_ros.replay.errors import ReplayError
from nf_isac_ros.replay.folder import Folder
from nf_isac_ros.replay.incidents import Incident, IncidentFinder, of_input, write_incidents
from nf_isac_ros.replay.inputs import Counts, Event, Input, open_inputs
from nf_isac_ros.replay.redesign import CHUNK, OVERLAP, Beams, Chunk, settled
from nf_isac_ros.replay.summary import summarise, variant_rows, write_summary
from nf_isac_ros.replay.table import RECORDED, REDESIGNED
from nf_isac_ros.replay.whatif import Variant, parse_sweeps, variants

Vector = NDArray[np.float64]

BOTH = 'both'
MODES = (BOTH, RECORDED, REDESIGNED)
# Gap of a design that has all the time it needs.
FULL_ACCURACY = 1e-6
# Recorded rows that are written at a time.
RECORDED_PIECE = 2000
# Recorded beams that are looked at for the pictures.
RECORDED_BEAMS = 24
# Columns that a comparison does without: they are those of the motion, not of a design.
_MOTION = ('x_m', 'y_m', 'z_m', 'age_s', 'state', 'near_field', 'seen_sinr_db', 'crb_xx_m2',
           'crb_xy_m2', 'crb_xz_m2', 'crb_yy_m2', 'crb_yz_m2', 'crb_zz_m2')
_LIVE = ('mode', 'sequence', 'overruns', 'pose_to_beam_ms', 'radio_armed', 'radio_muted',
         'radio_mute_reason', 'radio_power_w', 'cycle_stamp_s')


@dataclass(frozen=True)
class Request:
    """
    What is to be replayed, and how.

    Attributes
    ----------
    bags : sequence of Path
        Recordings.
    config : Path
        Deployment file.
    out : Path
        Folder of the results.
    mode : str
        One of MODES.
    realtime : bool
        Designs keep the budget of the deployment; else they take as long as they take.
    gap : float or None
        Certified relative gap to aim for; None: that of the deployment with `realtime`, else
        FULL_ACCURACY.
    sweeps : sequence of str
        What-if, as KEY=VALUES.

    """

    bags: Sequence[Path]
    config: Path
    out: Path
    mode: str = BOTH
    realtime: bool = False
    gap: float | None = None
    sweeps: Sequence[str] = ()

    @property
    def accuracy(self) -> float | None:
        """Gap that is aimed for; None: that of the deployment."""
        return self.gap if self.gap is not None or self.realtime else FULL_ACCURACY


class Progress:
    """Who wants to know how far it is; this one does not."""

    def read(self, bag: str, done: int, total: int) -> None:
        """Take note of messages that were read."""

    def planned(self, cycles: int) -> None:
        """Take note of designs that are to be made."""

    def designed(self, cycles: int) -> None:
        """Take note of designs that were made."""

    def stage(self, text: str) -> None:
        """Take note of what comes now."""


@dataclass
class BagResult:
    """
    What became of one recording.

    Attributes
    ----------
    name : str
    start, end : float
        Times of the first and the last event [s].
    counts : Counts
    paths : dict
        Path by role and id.
    recorded, pieces : list of str
        Tokens of the pieces with recorded rows, and with redesigned ones, in their order.
    compared : dict
        Number of a variant -> tokens of its pieces, in their order.
    incidents : list of Incident
    beams : list of Beams
        For the pictures, by time.
    node_rejected : dict
        Messages that the recorded node refused, by reason.
    failures : list of str

    """

    name: str
    start: float = np.inf
    end: float = -np.inf
    counts: Counts = field(default_factory=Counts)
    paths: dict[tuple[Role, str], BodyPath] = field(default_factory=dict)
    recorded: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    compared: dict[int, list[str]] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    beams: list[Beams] = field(default_factory=list)
    node_rejected: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def replay(request: Request, cluster: Callable[[], Any],
           progress: Progress | None = None) -> dict[str, Any]:
    """
    Replay recordings.

    Parameters
    ----------
    request : Request
    cluster : callable
        Gives a context manager that gives a `parallel.Runner`; called when there is something to
        be run.
    progress : Progress or None

    Returns
    -------
    dict
        The content of summary.json.

    Raises
    ------
    NfIsacError
        If something that was asked for cannot be; the message is one line.

    """
    started = time.monotonic()
    progress = progress or Progress()
    settle = partial(settled, realtime=request.realtime, gap=request.accuracy)
    deployment = load_deployment(request.config)
    base = Variant(settle(deployment))
    compared = variants(request.config, parse_sweeps(request.sweeps), settle)
    with ExitStack() as stack:
        inputs = open_inputs(request.bags, deployment)
        for opened in inputs:
            stack.callback(opened.close)
        folder = stack.enter_context(Folder(request.out))
        work = _Work(request, deployment, base, compared, folder, progress)
        with cluster() as runner:
            results = work.run(inputs, runner)
    # The processes have ended: what is left needs little.
    with Folder(request.out) as folder:
        folder.forget_results()
        progress.stage('tables')
        _write_tables(folder, results)
        incidents = sorted((each for result in results for each in result.incidents),
                           key=lambda each: (each.bag, each.begin_s))
        write_incidents(incidents, folder.path / 'incidents.csv')
        comparison = _write_comparison(folder, results, compared)
        summary = summarise(request, deployment, results, incidents,
                            tables.Columns(folder.path / 'cycles.parquet'))
        progress.stage('report')
        # Half a second of imports, for this alone.
        from nf_isac_ros.replay.report import write_report

        summary['pictures'] = write_report(
            folder, deployment, results, incidents, comparison, summary)
        summary['seconds'] = round(time.monotonic() - started, 3)
        write_summary(summary, folder.path / 'summary.json')
        folder.forget_pieces()
    return summary


@dataclass
class _Work:
    """Reads the recordings and has their cycles designed."""

    request: Request
    deployment: Deployment
    base: Variant
    compared: Sequence[Variant]
    folder: Folder
    progress: Progress

    def run(self, inputs: Sequence[Input], runner: Runner) -> list[BagResult]:
        results = [BagResult(each.name) for each in inputs]
        tokens: dict[int, tuple[BagResult, str]] = {}
        tasks = self._tasks(inputs, results, tokens)
        for chunk, piece in runner(tasks):
            result, token = tokens.pop(id(chunk))
            self.folder.keep(token, piece)
            result.failures += piece.failures
            self.progress.designed(len(chunk.cycles))
        self._check(inputs, results)
        for each in results:
            each.beams = sorted(
                (beams for token in each.pieces for beams in self.folder.beams(token)),
                key=lambda beams: beams.transmit_time) or each.beams
        return [each for each in results if each.recorded or each.pieces]

    def _check(self, inputs: Sequence[Input], results: Sequence[BagResult]) -> None:
        empty = [opened.without_pose(result.counts) for opened, result in zip(inputs, results)
                 if result.counts.poses == 0 and not result.recorded]
        if len(empty) == len(results):
            raise ReplayError(empty[0])
        if not any(result.recorded or result.pieces for result in results):
            raise ReplayError(f'--mode: is {self.request.mode!r}, but no recording has published '
                              f'results; must be {BOTH!r} or {REDESIGNED!r}')
        used = next(result for result in results if result.recorded or result.pieces)
        for text in empty:
            used.counts.note(text)

    def _tasks(self, inputs: Sequence[Input], results: Sequence[BagResult],
               tokens: dict[int, tuple[BagResult, str]]) -> Iterator[Chunk]:
        """Chunks that are not there yet; reads as far ahead as the runner asks for."""
        for opened, result in zip(inputs, results):
            begun = self._read_recorded(opened, result)
            planner = CyclePlanner(self.deployment, begun)
            cycles = planner.cycles(self._counted(opened, result), result.counts)
            for number, (before, piece) in enumerate(chunks(cycles, CHUNK, OVERLAP)):
                if self.request.mode != RECORDED and result.counts.poses:
                    yield from self._chunks(result, number, before, piece, tokens)
            result.start, result.end = planner.span
            result.paths = planner.paths
            result.incidents += of_input(opened.name, result.start, planner.happenings)

    def _chunks(self, result: BagResult, number: int, before: Any, piece: Any,
                tokens: dict[int, tuple[BagResult, str]]) -> Iterator[Chunk]:
        for index, variant in enumerate([self.base, *self.compared]):
            chunk = Chunk(result.name, number, before, piece, variant, keep_beams=index == 0)
            token = chunk.token
            listed = result.pieces if index == 0 else result.compared.setdefault(index - 1, [])
            listed.append(token)
            self.progress.planned(len(piece))
            if self.folder.has(token):
                self.progress.designed(len(piece))
                continue
            tokens[id(chunk)] = (result, token)
            yield chunk

    def _counted(self, opened: Input, result: BagResult) -> Iterator[Event]:
        for number, event in enumerate(opened.events(result.counts)):
            if number % 256 == 0:
                self.progress.read(opened.name, number, opened.total)
            yield event
        self.progress.read(opened.name, opened.total, opened.total)

    def _read_recorded(self, opened: Input, result: BagResult) -> tuple[Vector, Vector]:
        """Write the rows of what was published; when its cycles began, and for when they were."""
        if self.request.mode == REDESIGNED:
            return np.zeros(0), np.zeros(0)
        starts: list[float] = []
        transmits: list[float] = []
        rows: list[tables.Row] = []

        def flush() -> None:
            token = f'recorded-{opened.name.replace("/", "_")}-{len(result.recorded):06d}'
            self.folder.write(token, tables.table_of(rows))
            result.recorded.append(token)
            rows.clear()

        for each in opened.recorded(result.counts):
            rows.append({'bag': opened.name, 'mode': RECORDED, 'cycle': len(starts),
                         'cycle_stamp_s': each.time,
                         **tables.cycle_row(each.report, each.bounds, each.radio)})
            starts.append(each.time)
            transmits.append(each.report.transmit_time)
            result.node_rejected = dict(each.report.rejected)
            if len(rows) == RECORDED_PIECE:
                flush()
        if rows:
            flush()
        if starts and self.request.mode == RECORDED:
            result.beams = self._recorded_beams(opened, len(starts))
        return np.array(starts), np.array(transmits)

    def _recorded_beams(self, opened: Input, cycles: int) -> list[Beams]:
        found = []
        layout = self.deployment.transmit_array.layout_hash
        for _, message in opened.beams(max(1, cycles // RECORDED_BEAMS)):
            try:
                beams = read_beamformer(message)
            except NfIsacError:
                continue
            if beams.layout_hash == layout:
                weights = np.hstack([beams.communication, beams.sensing])
                found.append(Beams(beams.sequence, beams.transmit_time, weights))
        return found


# Tables


def _write_tables(folder: Folder, results: Sequence[BagResult]) -> None:
    """Write cycles.parquet and cycles.csv, and find incidents on the way."""
    tokens = [token for result in results for token in (*result.recorded, *result.pieces)]
    schema = tables.schema_of(parquet.read_schema(folder.table(token)) for token in tokens)

    def rows() -> Iterator[pa.Table]:
        for result in results:
            # A recording of results alone has no poses, and begins with its first cycle.
            for mode, listed in ((RECORDED, result.recorded), (REDESIGNED, result.pieces)):
                finder: IncidentFinder | None = None
                for token in listed:
                    found = parquet.read_table(folder.table(token))
                    _span(result, found)
                    finder = finder or IncidentFinder(result.name, mode, result.start)
                    finder.feed(found)
                    yield _since(found, result.start)
                result.incidents += finder.found if finder is not None else []

    tables.write_tables(rows(), schema, folder.path / 'cycles')


def _span(result: BagResult, found: pa.Table) -> None:
    if not np.isfinite(result.start):
        times = found.column('cycle_stamp_s').to_numpy()
        result.start, result.end = float(times.min()), float(times.max())


def _since(found: pa.Table, start: float) -> pa.Table:
    """Table with the column time_s, the transmit time since the start of the recording."""
    place = found.column_names.index('time_s')
    return found.set_column(place, 'time_s', pc.subtract(found.column('transmit_time_s'), start))


def _write_comparison(folder: Folder, results: Sequence[BagResult],
                      compared: Sequence[Variant]) -> list[tables.Row]:
    """Write whatif.parquet, whatif.csv and whatif_summary.csv; returns the rows of the last."""
    if not compared:
        return []
    types = compared[0].types
    tokens = [token for result in results for listed in result.compared.values()
              for token in listed]
    whole = tables.schema_of((parquet.read_schema(folder.table(token)) for token in tokens), types)
    schema = pa.schema([each for each in whole if _compared(each.name)])

    def rows() -> Iterator[pa.Table]:
        for number in range(len(compared)):
            for result in results:
                for token in result.compared.get(number, ()):
                    found = _since(parquet.read_table(folder.table(token)), result.start)
                    yield found.select([name for name in found.column_names if _compared(name)])

    tables.write_tables(rows(), schema, folder.path / 'whatif')
    found = variant_rows(tables.Columns(folder.path / 'whatif.parquet'), compared)
    summary = pa.table({
        name: pa.array([row[name] for row in found], types.get(name, pa.float64()),
                       from_pandas=True) for name in found[0]})
    with csv.CSVWriter(folder.path / 'whatif_summary.csv', summary.schema) as lines:
        lines.write_table(summary)
    return found


def _compared(name: str) -> bool:
    parts = tables.split_column(name)
    return name not in _LIVE if parts is None else parts[2] not in _MOTION
