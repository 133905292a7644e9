"""Finished runs, a small and a big one, made through the run folder without training anything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fiduciary.records import Run
from sample_run import big, build


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return build(tmp_path_factory.mktemp("runs") / "stocks")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return big(tmp_path_factory.mktemp("runs") / "many")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Run]:
    return lambda **options: build(tmp_path / "run", **options)
