"""The examples run, and print what docs/tutorial.md shows."""

import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT.parent / 'shared' / 'data' / 'reference' / 'near_field'
             / 'S17_monostatic_K2_U2.json')
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


@pytest.mark.skipif(not REFERENCE.is_file(), reason='reference scenes are not on this machine')
def test_designs_of_the_third_example_are_those_of_the_reference():
    """Its scene is that of the reference, whose optima another solver certified."""
    expected = json.loads(REFERENCE.read_text(encoding='utf-8'))['expected']
    rows = {line.split()[0]: line.split()[1:] for line in run(EXAMPLES[2])}
    for name in ('crb-min', 'max-min-illumination', 'max-min-echo'):
        assert float(rows[name][0]) == pytest.approx(
            1e3 * expected[name]['sum_crb_m2'] ** 0.5, abs=0.06)
    assert float(rows['max-min-illumination'][1]) == pytest.approx(
        1e6 * expected['max-min-illumination']['objective'], abs=6e-5)
    largest = 15.0 + expected['max_common_sinr_scale_db']
    assert float(rows['sinr-max'][2]) == pytest.approx(largest, abs=6e-3)
    assert float(rows['30'][3]) == pytest.approx(30.0 - largest, abs=6e-3)


@pytest.mark.parametrize('example', [path for path in EXAMPLES if path.name[:2] in ('02', '05')],
                         ids=lambda path: path.stem)
def test_examples_draw_what_they_promise(example, tmp_path):
    picture = tmp_path / 'picture.png'
    run(example, '--picture', str(picture))
    assert picture.read_bytes().startswith(b'\x89PNG')
