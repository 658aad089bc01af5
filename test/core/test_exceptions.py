"""Errors keep what they say on the way from one process to another."""

import pickle

import pytest

from nf_isac_ros.core.exceptions import (
    ArrayError,
    InfeasibleError,
    NfIsacError,
    SceneError,
    SolverError,
    UnsuitableDesignError,
)


@pytest.mark.parametrize('error, reason', [
    (NfIsacError('said'), 'error'),
    (ArrayError('said'), 'bad-array'),
    (SceneError('said', 'zero-reflection', 't1'), 'zero-reflection'),
    (InfeasibleError(-2.5), 'infeasible-sinr'),
    (SolverError('said'), 'solver-failed'),
    (UnsuitableDesignError('said', 'too-many-elements'), 'too-many-elements'),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None)
def test_pickled_errors_are_the_same(error, reason):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.reason == reason
    assert vars(copy) == vars(error)


def test_pickled_errors_keep_their_numbers():
    copy = pickle.loads(pickle.dumps(InfeasibleError(-2.5)))
    assert copy.max_common_sinr_scale_db == -2.5
    assert '-2.5000 dB' in str(copy)
    assert pickle.loads(pickle.dumps(SceneError('said', 'why', 't1'))).body == 't1'
