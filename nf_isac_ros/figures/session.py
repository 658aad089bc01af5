"""From names and parameters to files: CSV, PNG and SVG of each panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import csv
from dataclasses import dataclass
from pathlib import Path

from nf_isac_ros.figures import catalogue
from nf_isac_ros.figures.panels import Panel, Table, Task, stacked
from nf_isac_ros.figures.parameters import Settings
from nf_isac_ros.figures.style import new_figure, save
from nf_isac_ros.parallel import Runner

DIGITS = 12


@dataclass(frozen=True)
class Job:
    """A panel to be made."""

    name: str
    panel: Panel
    parameters: Settings
    tasks: tuple[Task, ...]


def jobs(wanted: Mapping[str, str], parameters: Mapping[str, Settings]) -> list[Job]:
    """
    List the panels that are to be made, and their tasks.

    Parameters
    ----------
    wanted : mapping of str to str
        Figure -> letters of its panels.
    parameters : mapping of str to Settings
        By figure.

    Returns
    -------
    list of Job

    """
    listed = []
    for name, letters in wanted.items():
        for letter in letters:
            panel = catalogue.figure(name).panels[letter]
            listed.append(Job(f'{name}{letter}', panel, parameters[name],
                              tuple(panel.tasks(parameters[name]))))
    return listed


def make(listed: list[Job], runner: Runner, folder: Path, said: Callable[[Path], None],
         advanced: Callable[[], None]) -> None:
    """
    Run the tasks of panels and write each panel as soon as its table is complete.

    Parameters
    ----------
    listed : list of Job
        Either all timed or none.
    runner : Runner
    folder : Path
        Is made if it does not exist.
    said : callable
        Is told of each file.
    advanced : callable
        Is called after each task.

    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = list(listed)
    tables: dict[Task, Table] = {}
    for task, found in runner(unique_tasks(listed)):
        tables[task] = found
        advanced()
        complete = [job for job in waiting if all(each in tables for each in job.tasks)]
        for job in complete:
            waiting.remove(job)
            for path in write(job, [tables[each] for each in job.tasks], folder):
                said(path)
        still = {each for job in waiting for each in job.tasks}
        tables = {each: kept for each, kept in tables.items() if each in still}


def unique_tasks(listed: list[Job]) -> list[Task]:
    """Tasks of panels, those that they share once."""
    return list(dict.fromkeys(task for job in listed for task in job.tasks))


def write(job: Job, tables: list[Table], folder: Path) -> list[Path]:
    """Write the table of a panel and its picture; returns the files."""
    rows = stacked(tables, job.panel.columns)
    path = folder / job.name
    write_csv(rows, path.with_suffix('.csv'))
    figure = new_figure()
    job.panel.draw(figure.add_subplot(), rows, job.parameters)
    return [path.with_suffix('.csv'), *save(figure, path)]


def write_csv(rows: Table, path: Path) -> None:
    """Write a table with a header; numbers with twelve digits."""
    columns = [
        [f'{value:.{DIGITS}g}' for value in column.tolist()] if column.dtype.kind == 'f'
        else column.tolist() for column in rows.values()]
    with open(path, 'w', newline='', encoding='utf-8') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(rows)
        writer.writerows(zip(*columns))


