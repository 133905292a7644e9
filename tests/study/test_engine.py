"""Engines: Ray gives the local engine's record byte for byte, its errors and its words; figures arrive whichever it is."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.progress import Progress

from fiduciary.agents.rules import BuyAndHold, Cash
from fiduciary.core.errors import ConfigError, NumericsError, RecordError
from fiduciary.evaluation import splits
from fiduciary.study import Study, engine

SCRIPT = Path(__file__).with_name("engine_run.py")


@dataclass(frozen=True)
class Talker:
    """Tells figures, one of them the pace, and then holds; or fails, or dies."""

    end: str = "well"

    def fit(self, env, *, rng, watch=None, valid=None):
        for done in range(1, 4):
            watch.progress(done, 3, {"loss": 1.0 / done, "steps/s": 12_345.6 * done})
        if self.end == "error":
            raise NumericsError("the loss must stay finite", "nan")
        if self.end == "death":
            os._exit(1)
        return BuyAndHold()


@pytest.fixture
def study(env):
    days = env.panel.dates
    cut = splits.dates(train=(str(days[30]), str(days[99])), test=(str(days[100]), str(days[-1])))
    return Study("Does it?", env, BuyAndHold(), {"talker": Talker()}, cut, seeds=(0, 1), baselines={"idle": Cash()})


def test_an_engine_that_is_unknown_or_missing_is_refused_before_any_work(study, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="`engine` must be one of local, ray"):
        study.run(tmp_path / "run", engine="spark", progress=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'the engine ray must have its library.*pip install "fiduciary\[cluster\]"'):
        study.run(tmp_path / "run", engine="ray", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_figure_reaches_every_listener_and_the_pace_stays_out_of_the_record(study, tmp_path, workers):
    heard = []

    class Ear:
        def progress(self, key, done, total, figures):
            heard.append((key, done, total, figures["steps/s"]))

        def finish(self, key, settings, figures):
            heard.append((key, settings["end"], figures["trades"]))

        def close(self):
            heard.append("closed")

    run = study.run(tmp_path / "run", workers=workers, progress=False, sinks=[Ear()])
    assert heard[-1] == "closed" and len(heard) == 4 * 3 + 4 + 1
    assert {done for _, done, *_ in heard[:-5]} == {1, 2, 3}
    learned = [cell for cell in run.cells if cell.policy == "talker"]
    assert all(set(point) == {"update", "loss"} for cell in learned for point in cell.curve)
    assert run.result == study.run(tmp_path / "other" / "run", progress=False).result


def test_a_failed_study_closes_its_sinks(study, tmp_path):
    closed = []

    class Ear:
        def progress(self, *_):
            pass

        def close(self):
            closed.append(True)

    with pytest.raises(NumericsError):
        replace(study, candidates={"t": Talker("error")}).run(tmp_path / "run", progress=False, sinks=[Ear()])
    assert closed == [True]


@pytest.mark.parametrize(
    ("pace", "text"), [(950.0, "950 steps/s"), (12_345.0, "12.3k steps/s"), (2.5e6, "2.5M steps/s")]
)
def test_the_bar_writes_the_pace_short(pace, text):
    shown = []
    with engine._Bar(1, 1, enabled=False) as bar:
        patched = bar._bar
        assert isinstance(patched, Progress)
        bar.tell(engine.Key("A", "b", 0), 1, 2, {"loss": 0.5, "trial": 3.0, "steps/s": pace})
        shown.append(patched.tasks[0].fields["figures"])
    assert shown == [f"0/1 agents · A seed 0: loss 0.500  trial 3  {text}"]


@pytest.mark.slow
def test_ray_ends_with_the_local_engines_record_byte_for_byte(tmp_path):
    records = {}
    for name in ("local", "ray"):
        folder = tmp_path / name / "run"
        subprocess.run([sys.executable, str(SCRIPT), str(folder), name], check=True, timeout=240)
        records[name] = json.dumps(json.loads((folder / "record.json").read_bytes())["result"])
        assert not list(folder.rglob("checkpoint.pt"))
    assert records["ray"] == records["local"]


@pytest.mark.slow
def test_errors_and_deaths_on_ray_are_those_of_the_local_engine(study, tmp_path):
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        broken = replace(study, candidates={"t": Talker("error")})
        with pytest.raises(NumericsError, match="the loss must stay finite, got nan"):
            broken.run(tmp_path / "error" / "run", engine="ray", progress=False)
        dead = replace(study, candidates={"t": Talker("death")})
        with pytest.raises(RecordError, match=r"must live until its cell is done.*finished cells are kept"):
            dead.run(tmp_path / "death" / "run", engine="ray", progress=False)
        # Rules are handed out first, but a worker that starts late may still hold one of them.
        assert list((tmp_path / "death" / "run").glob("cells/*/*/rule/cell.json"))
        heard = []

        class Ear:
            def progress(self, key, done, total, figures):
                heard.append(done)

            def finish(self, key, settings, figures):
                pass

            def close(self):
                pass

        study.run(tmp_path / "well" / "run", engine="ray", progress=False, sinks=[Ear()])
        assert sorted(heard) == [1] * 4 + [2] * 4 + [3] * 4
        assert ray.is_initialized(), "a cluster that was joined before is left as it was"
    finally:
        ray.shutdown()
