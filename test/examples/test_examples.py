"""The examples run, and print what docs/tutorial.md shows."""

from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / 'examples').glob('[0-9]*.py'))
NUMBER = re.compile(r'[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?')
# These depend on the machine.
TIMES = ('cycles:', ' ms')


def run(example, *options):
    done = subprocess.run(
        [sys.executable, str(example), *options], capture_output=True, text=True, timeout=120,
        check=True)
    return [line for line in done.stdout.splitlines() if not any(t in line for t in TIMES)]


def shown(example):
    """Lines of the block that follows the heading which names the example."""
    text = (ROOT / 'docs' / 'tutorial.md').read_text(encoding='utf-8')
    section = text.partition(f'(../examples/{example.name})')[2].partition('\n## ')[0]
    blocks = re.findall(r'```text\n(.*?)```', section, re.DOTALL)
    assert len(blocks) == 1, f'{example.name} has {len(blocks)} blocks of output'
    return [line for line in blocks[0].splitlines() if not any(t in line for t in TIMES)]


def assert_alike(printed, expected):
    """Same words; numbers agree to one in their last digit."""
    assert NUMBER.sub('#', printed).split() == NUMBER.sub('#', expected).split()
    for value, other in zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True):
        mantissa, _, exponent = other.partition('e')
        digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition('.')[2]))
        assert abs(float(value) - float(other)) <= 1.001 * digit


def test_there_are_five_examples():
    assert [path.name[:3] for path in EXAMPLES] == ['01_', '02_', '03_', '04_', '05_']


@pytest.mark.parametrize('example', EXAMPLES, ids=lambda path: path.stem)
def test_examples_print_what_the_tutorial_shows(example):
    printed, expected = run(example), shown(example)
    assert len(printed) == len(expected)
    for line, other in zip(printed, expected, strict=True):
        assert_alike(line, other)


@pytest.mark.parametrize('example', [path for path in EXAMPLES if path.name[:2] in ('02', '05')],
                         ids=lambda path: path.stem)
def test_examples_draw_what_they_promise(example, tmp_path):
    picture = tmp_path / 'picture.png'
    run(example, '--picture', str(picture))
    assert picture.read_bytes().startswith(b'\x89PNG')
