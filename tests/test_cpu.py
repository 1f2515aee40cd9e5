"""CPU time of programs that still run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detopt.cpu import cpu_time, forget_program, note_program

PROGRAMS = -1, -2  # no process has such a number


@pytest.fixture(autouse=True)
def forgotten():
    yield
    for program in PROGRAMS:
        forget_program(program)


def test_a_program_counts_while_it_runs():
    before = cpu_time()
    note_program(PROGRAMS[0], 1_000.0)
    note_program(PROGRAMS[1], 500.0)
    assert cpu_time() - before == pytest.approx(1_500.0, abs=5.0)
    forget_program(PROGRAMS[0])
    assert cpu_time() - before == pytest.approx(500.0, abs=5.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=10))
def test_the_time_of_a_program_never_falls(told):
    found = []
    for value in told:
        note_program(PROGRAMS[0], value)
        found.append(cpu_time())
    assert found == sorted(found)
    forget_program(PROGRAMS[0])


def test_a_program_that_was_never_noted_can_be_forgotten():
    before = cpu_time()
    forget_program(PROGRAMS[0])
    assert cpu_time() == pytest.approx(before, abs=5.0)
