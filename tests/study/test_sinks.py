"""Sinks: what they write can be read back by their own libraries, and the record does not depend on them."""

import sys

import pytest

from fiduciary.agents import DQN, LSTM
from fiduciary.agents.rules import BuyAndHold
from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import splits
from fiduciary.study import Study
from fiduciary.study.cells import Key
from fiduciary.study.sinks import MLflow, TensorBoard, flat

TINY = DQN(net=LSTM(8, 8), updates=100, accounts=8, batch=16, warm_up=64, copy_every=20)


@pytest.fixture
def study(env):
    days = env.panel.dates
    cut = splits.dates(train=(str(days[30]), str(days[99])), test=(str(days[100]), str(days[-1])))
    return Study("Does it?", env, BuyAndHold(), {"dqn": TINY}, cut, seeds=(0,))


def test_both_hold_every_cell_and_the_record_is_the_same(study, tmp_path):
    plain = study.run(tmp_path / "plain" / "run", progress=False)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = study.run(
        tmp_path / "run", progress=False, sinks=[TensorBoard(tmp_path / "tb"), MLflow(store, experiment="e")]
    )
    assert run.result == plain.result and run.cells == plain.cells
    _tensorboard(run, tmp_path / "tb")
    _mlflow(run, store)


def _tensorboard(run, folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = sorted({path.parent for path in folder.rglob("events*")})
    assert [str(path.relative_to(folder)) for path in found] == ["cells/RW1/dqn/seed-0", "cells/RW2/dqn/seed-0"]
    for path, account in zip(found, ("RW1", "RW2"), strict=True):
        events = EventAccumulator(str(path))
        events.Reload()
        curve = next(cell.curve for cell in run.cells if (cell.account, cell.policy) == (account, "dqn"))
        loss = [(event.step, event.value) for event in events.Scalars("loss")]
        assert loss == [(point["update"], pytest.approx(point["loss"])) for point in curve]
        (last,) = events.Scalars("final/rate_of_return")
        assert last.value == pytest.approx(run.figure("rate_of_return", "dqn", account).mean)
        plugins = events.summary_metadata["_hparams_/session_start_info"]
        assert b"net.first" in plugins.plugin_data.content


def _mlflow(run, store):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    runs = {each.info.run_name: each for each in client.search_runs([client.get_experiment_by_name("e").experiment_id])}
    assert set(runs) == {"RW1/dqn/seed-0", "RW2/dqn/seed-0"}
    one = runs["RW2/dqn/seed-0"]
    assert one.info.status == "FINISHED"
    assert one.data.params["lr"] == "0.001" and one.data.params["net.first"] == "8"
    assert one.data.metrics["final/rate_of_return"] == run.figure("rate_of_return", "dqn", "RW2").mean
    curve = next(cell.curve for cell in run.cells if (cell.account, cell.policy) == ("RW2", "dqn"))
    history = sorted((point.step, point.value) for point in client.get_metric_history(one.info.run_id, "loss"))
    assert history == [(point["update"], point["loss"]) for point in curve]


def test_an_mlflow_run_that_was_cut_short_is_marked_and_continued(tmp_path):
    from mlflow import MlflowClient

    store, key = f"sqlite:///{tmp_path / 'mlflow.db'}", Key("O'Hara", "dqn", 3)
    first = MLflow(store, experiment="e")
    first.progress(key, 1, 2, {"loss": 2.0})
    first.close()
    client = MlflowClient(tracking_uri=store)
    ids = [client.get_experiment_by_name("e").experiment_id]
    assert [run.info.status for run in client.search_runs(ids)] == ["KILLED"]
    second = MLflow(store, experiment="e")
    second.progress(key, 2, 2, {"loss": 1.0})
    second.finish(key, {"lr": 0.1}, {"trades": 4.0})
    second.close()
    (run,) = client.search_runs(ids)
    assert run.info.status == "FINISHED" and run.data.metrics == {"loss": 1.0, "final/trades": 4.0}
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("module", "make"),
    [("torch.utils.tensorboard", lambda: TensorBoard("x")), ("mlflow", lambda: MLflow("sqlite:///x.db", "e"))],
)
def test_a_missing_library_is_named_with_its_remedy(monkeypatch, module, make):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"must have its library.*pip install \"fiduciary\[track\]\""):
        make()


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/x.db", "carrier-pigeon://home"])
def test_a_store_that_does_not_open_is_one_message(uri):
    with pytest.raises(ConfigError, match="an MLflow store must open"):
        MLflow(uri, experiment="e")


def test_settings_are_named_with_dots_and_plain():
    settings = {"lr": 0.1, "net": {"type": "LSTM", "first": 8}, "space": {"lr": [1, 2]}, "none": None, "on": True}
    assert flat(settings) == {
        "lr": 0.1, "net.type": "LSTM", "net.first": 8, "space.lr": "[1, 2]", "none": "None", "on": True,
    }  # fmt: skip
