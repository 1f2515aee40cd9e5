"""Work for executors, and what its answers must be."""

from types import SimpleNamespace

import pytest
import torch

from detopt.pipeline.evaluation import Request, chunks
from detopt.random import Seed
from detopt.runtime import Study, StudyConfig
from detopt.runtime.executors import Work
from detopt.runtime.worker import read_inputs


@pytest.fixture
def seed():
    return Seed(5)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.value, one.std_error) == (other.value, other.std_error)
        assert torch.equal(one.gradient, other.gradient)


def assert_same_answers(found, expected):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one.summary.tensors(), other.summary.tensors(), strict=True):
            assert torch.equal(a, b)


@pytest.fixture
def many(tmp_path, seed):
    """A light problem, its inputs, and 40 pieces of work."""
    study = Study.create(StudyConfig.make("hump", rounds=2), tmp_path / "run")
    theta = study.problem.space.theta(study.problem.space.start)
    work = [
        Work(chunk)
        for i in range(40)
        for chunk in chunks(study.problem, Request(theta, ("w", i), n_events=10), seed)
    ]
    return SimpleNamespace(
        problem=study.problem,
        store=study.store,
        inputs=read_inputs(study.store.folder),
        work=work,
        assert_same=assert_same,
        assert_same_answers=assert_same_answers,
    )


@pytest.fixture
def requests(many):
    theta = many.problem.space.theta(many.problem.space.start)
    return [Request(theta, ("r", i), gradient=True, n_events=40) for i in range(3)]
