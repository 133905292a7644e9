"""Searches: the best by validation alone, every try counted, mistakes refused first, a kill changes nothing."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from two_assets import Constant, TwoAssets

from fiduciary import reports
from fiduciary.agents import DQN, LSTM
from fiduciary.agents.rules import BuyAndHold
from fiduciary.core.errors import ConfigError, NumericsError
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.records import Run, identity
from fiduciary.records.folder import read_checkpoint, write_checkpoint
from fiduciary.study import Search, Study
from fiduciary.study.search import changed

TINY = DQN(net=LSTM(8, 8), updates=20, accounts=8, batch=16, warm_up=64, copy_every=20)


@dataclass(frozen=True)
class Deeper:
    """Settings below settings."""

    steps: int = 4
    kind: str = "plain"


@dataclass(frozen=True)
class Bettor:
    """Learns nothing but to hold `share` of its wealth, after as many updates as it was told and a little luck."""

    share: float = 0.1
    luck: float = 0.0
    deeper: Deeper = field(default_factory=Deeper)

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ConfigError("`share` must lie in [0, 1]", str(self.share))
        if self.deeper.kind == "odd" and self.deeper.steps % 2 == 0:
            raise ConfigError("odd kinds take odd steps", str(self.deeper.steps))

    def fit(self, env, *, rng, watch=None, valid=None):
        kept = watch.restore() if watch else None
        drawn, memory = (0, torch.zeros(1)) if kept is None else (kept["drawn"], kept["memory"])
        if kept:
            rng.set_state(kept["rng"])
        while drawn < self.deeper.steps:
            memory.add_(torch.rand(1, generator=rng))  # in place, as replays are
            drawn += 1
            if self.share > 0.97:
                raise NumericsError("must stay finite", "nan")
            if watch:
                watch.progress(drawn, self.deeper.steps, {"reward": float(memory)})
                if drawn < self.deeper.steps:
                    watch.keep({"drawn": drawn, "memory": memory, "rng": rng.get_state()})
        share = min(1.0, self.share + self.luck * float(memory) / self.deeper.steps)
        return Constant((1 - share, share))


@pytest.fixture
def coin():
    """A game of +60 % and -40 % in turn, without costs: growth is largest at a share of 0.2 / 0.48 (Kelly 1956)."""
    return TwoAssets(np.tile([[0.6], [-0.4]], (30, 1)), "simplex", (1, 57), fee=0.0)


def _search(search, env, watch=None, seed=0):
    return search.search(env, rng=torch.Generator().manual_seed(seed), watch=watch, valid=env)


# --- what it finds ---------------------------------------------------------------------------------------------------


def test_it_finds_the_share_that_grows_most(coin):
    found = _search(Search(Bettor(), {"share": (0.0, 0.9)}, trials=40), coin)
    best = max(found.trials, key=lambda trial: trial.value)
    kelly = 0.2 / 0.48
    assert best.parameters["share"] == pytest.approx(kelly, abs=0.05)
    assert best.value == pytest.approx(28 * (math.log(1 + 0.6 * kelly) + math.log(1 - 0.4 * kelly)), abs=0.02)
    early, late = (
        np.mean([abs(t.parameters["share"] - kelly) for t in half]) for half in (found.trials[:10], found.trials[20:])
    )
    assert late < early / 2, "proposals must learn from the trials before them"


def test_the_policy_kept_is_the_best_trials_and_its_value_is_its_growth(coin):
    found = _search(Search(Bettor(luck=0.3), {"share": (0.0, 0.6)}, trials=8), coin)
    values = [trial.value for trial in found.trials]
    wealth = rollout(coin, found.policy, rng=torch.Generator()).wealth
    assert max(values) == math.log(wealth[-1] / wealth[0])
    assert len(set(values)) == 8


def test_trials_differ_by_their_settings_alone(coin):
    values = [trial.value for trial in _search(Search(Bettor(luck=0.3), {"share": [0.2]}, trials=3), coin).trials]
    assert len(set(values)) == 1


def test_equal_seeds_give_equal_searches_and_others_do_not(coin):
    search = Search(Bettor(), {"share": (0.0, 0.9)}, trials=5)
    assert _search(search, coin) == _search(search, coin)
    assert _search(search, coin).trials != _search(search, coin, seed=1).trials


def test_ranges_keep_to_their_ends_scale_and_kind(coin):
    space = {
        "share": (1e-4, 1e-1, "log"),
        "deeper.steps": (2, 5),
        "deeper.kind": ["plain", "odd"],
        "luck": [0, 1],
    }
    trials = _search(Search(Bettor(deeper=Deeper(3)), space, trials=30), coin).trials
    drawn = {name: [trial.parameters[name] for trial in trials] for name in space}
    assert min(drawn["share"]) >= 1e-4 and max(drawn["share"]) <= 1e-1
    assert sum(share < 1e-2 for share in drawn["share"]) >= 5  # a tenth of a linear scale, two thirds of this one
    assert set(drawn["deeper.steps"]) <= {2, 3, 4, 5} and {type(x) for x in drawn["deeper.steps"]} == {int}
    assert set(drawn["deeper.kind"]) == {"plain", "odd"} and set(drawn["luck"]) == {0, 1}
    refused = [t for t in trials if t.parameters["deeper.kind"] == "odd" and t.parameters["deeper.steps"] % 2 == 0]
    assert refused and all(math.isnan(trial.value) for trial in refused)
    assert all(math.isfinite(trial.value) for trial in trials if trial not in refused)


def test_a_trial_that_diverges_is_a_trial_and_all_of_them_are_an_error(coin):
    trials = _search(Search(Bettor(), {"share": [0.1, 0.98]}, trials=12), coin).trials
    assert {t.parameters["share"]: math.isnan(t.value) for t in trials} == {0.1: False, 0.98: True}
    with pytest.raises(NumericsError, match="some trial of a search must end with a finite value"):
        _search(Search(Bettor(), {"share": [0.98, 0.99]}, trials=2), coin)


def test_whole_parts_can_be_choices_and_settings_below_them_too(coin):
    agent = changed(Bettor(), {"deeper": Deeper(7), "deeper.kind": "odd", "share": 0.3})
    assert agent == Bettor(0.3, deeper=Deeper(7, "odd"))
    found = _search(Search(Bettor(), {"deeper": [Deeper(1), Deeper(2)]}, trials=2), coin)
    assert found.trials[0].parameters["deeper"]["steps"] in (1, 2)


# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "must vary a setting"),
        ({"shar": (0, 1)}, "did you mean `share`"),
        ({"deeper.step": (1, 3)}, "did you mean `deeper.steps`"),
        ({"share.low": (0, 1)}, "only settings of Bettor"),
        ({"share": (0.5, 0.1)}, "run from a number to a larger one"),
        ({"share": (0.0, 0.1, "log")}, "from a positive number"),
        ({"share": (0.0, 0.1, "lgo")}, "with linear or log for a scale.*choices are a list"),
        ({"share": (0.1,)}, "with linear or log"),
        ({"share": (0.0, math.inf)}, "run from a number"),
        ({"share": "log"}, "a range or a list of choices"),
        ({"share": 0.1}, "a range or a list of choices"),
        ({"share": []}, "a range or a list of choices"),
        ({"share": (0.5, 1.5)}, r"`share` must lie in \[0, 1\]"),
        ({"deeper.steps": (1.0, 3.0)}, "a whole number"),
        ({"share": [0.1, 0.5, "lgo"]}, "the kind of its own value.*'lgo': a range ends in linear or log"),
        ({"deeper": [1, 2]}, "the kind of its own value.*got 1: name what lies below it"),
    ],
)
def test_spaces_that_mean_nothing_are_refused_before_any_work(space, message):
    with pytest.raises(ConfigError, match=message):
        Search(Bettor(), space)


def test_two_numbers_are_a_range_in_a_tuple_and_choices_in_a_list(coin):
    asked = {"tuple": (0.1, 0.5), "list": [0.1, 0.5], "toml": [0.1, 0.5, "linear"]}
    searches = {kind: Search(Bettor(), {"share": where}, trials=4) for kind, where in asked.items()}
    drawn = {kind: {t.parameters["share"] for t in _search(search, coin).trials} for kind, search in searches.items()}
    assert drawn["list"] <= {0.1, 0.5} and drawn["tuple"] == drawn["toml"] and len(drawn["tuple"]) == 4
    digests = {kind: identity.digest(search) for kind, search in searches.items()}
    assert digests["tuple"] == digests["toml"] != digests["list"]


def test_a_search_without_trials_or_validation_is_refused(coin, env):
    with pytest.raises(ConfigError, match="at least 1"):
        Search(Bettor(), {"share": (0, 1)}, trials=0)
    search = Search(Bettor(), {"share": (0.0, 1.0)})
    with pytest.raises(ConfigError, match="must have validation dates"):
        search.fit(coin, rng=torch.Generator())
    cut = splits.dates(train=("2000", "2000"), test=("2001", "2001"))
    with pytest.raises(ConfigError, match="must have validation dates"):
        Study("Q?", env, BuyAndHold(), {"found": search}, cut)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install \"fiduciary\[search\]\""):
        Search(Bettor(), {"share": (0.0, 1.0)})


# --- kill and resume -------------------------------------------------------------------------------------------------


class _Watch:
    """Keeps to disk, and ends the process, so to speak, after so many keeps."""

    def __init__(self, path, keeps=math.inf):
        self.path, self.keeps, self.told = path, keeps, []

    def restore(self):
        return read_checkpoint(self.path)

    def keep(self, state):
        write_checkpoint(self.path, state)
        self.keeps -= 1
        if self.keeps <= 0:
            raise KeyboardInterrupt

    def progress(self, done, total, figures):
        self.told.append((done, total, figures))


@pytest.mark.parametrize("keeps", range(1, 25))
def test_a_search_killed_after_any_keep_ends_as_if_nobody_had(coin, tmp_path, keeps):
    search = Search(Bettor(luck=0.3), {"share": (0.0, 1.0)}, trials=6)
    whole = _search(search, coin)
    with pytest.raises(KeyboardInterrupt):
        _search(search, coin, _Watch(tmp_path / "checkpoint.pt", keeps))
    again = _search(search, coin, _Watch(tmp_path / "checkpoint.pt"))
    assert repr(again) == repr(whole)  # a NaN equals itself in print only


def test_progress_runs_through_all_trials(coin, tmp_path):
    watch = _Watch(tmp_path / "checkpoint.pt")
    _search(Search(Bettor(), {"share": (0.0, 0.9)}, trials=3), coin, watch)
    assert [(done, total) for done, total, _ in watch.told] == [(k, 12) for k in range(1, 13)]
    assert [figures["trial"] for _, _, figures in watch.told] == [1.0] * 4 + [2.0] * 4 + [3.0] * 4


# --- in a study ------------------------------------------------------------------------------------------------------


def _study(env, trials=3):
    days = env.panel.dates
    cut = splits.dates(
        train=(str(days[30]), str(days[89])),
        valid=(str(days[90]), str(days[119])),
        test=(str(days[120]), str(days[-1])),
    )
    search = Search(TINY, {"lr": (1e-4, 1e-2, "log"), "net.first": [4, 8]}, trials=trials)
    return Study("Does it?", env, BuyAndHold(), {"dqn": search}, cut, seeds=(0,))


def test_every_try_counts_and_the_record_holds_them_all(env, tmp_path):
    study = _study(env)
    run = study.run(tmp_path / "run", progress=False)
    assert run.verdict.trials == 3 and run.result.searched == {"dqn": 3}
    assert run.result.valid == study.splits.valid
    learned = [cell for cell in run.cells if cell.policy == "dqn"]
    assert len(learned) == 2
    for cell in learned:
        assert len(cell.trials) == 3 and set(cell.trials[0].parameters) == {"lr", "net.first"}
        best = max(trial.value for trial in cell.trials)
        assert math.log1p(cell.valid_return) == pytest.approx(best, abs=1e-12)
    assert "optuna" in run.record.occasion.versions
    assert study.run(tmp_path / "again", progress=False).verdict.trials == 3
    plain = replace(study, candidates={"dqn": TINY})
    assert plain.run(tmp_path / "plain", progress=False).verdict.trials == 4
    page, text = reports.html(run).read_text(), reports.markdown(run).read_text()
    for shown in (page, text):
        assert "dqn tried 3 settings for each account and seed" in shown and "net.first" in shown
        assert f"chosen on {' to '.join(run.result.valid)}" in shown and "Return in validation" in shown
    assert "tried" not in reports.markdown(Run(tmp_path / "plain")).read_text().partition("## How figures")[0]


def test_the_test_dates_choose_nothing(env, tmp_path):
    """With every price of the test dates redrawn, the same settings are tried, valued and kept."""
    study = _study(env)
    later = env.panel.dates > np.datetime64(study.splits.valid[1])
    values = env.panel.values.copy()
    values[later, :, :4] *= np.exp(np.random.default_rng(5).normal(0, 0.1, (int(later.sum()), 2, 1)).cumsum(0))
    other = replace(study, env=replace(env, panel=replace(env.panel, values=values)))
    one, two = study.run(tmp_path / "a" / "run", progress=False), other.run(tmp_path / "b" / "run", progress=False)
    before, after = ([(c.trials, c.test.action) for c in run.cells if c.policy == "dqn"] for run in (one, two))
    assert [trials for trials, _ in before] == [trials for trials, _ in after]
    assert one.result.rows != two.result.rows


KILLED = Path(__file__).with_name("killed_run.py")


def test_kill_9_in_a_search_and_resume_ends_with_the_same_record(tmp_path):
    command = [sys.executable, str(KILLED)]
    whole, broken = tmp_path / "a" / "run", tmp_path / "b" / "run"
    subprocess.run([*command, str(whole), "1", "search"], check=True, timeout=120)
    process = subprocess.Popen([*command, str(broken), "1", "search"])
    kept = "cells/*/dqn/*/checkpoint.pt"
    deadline = time.monotonic() + 60
    while not list(broken.glob(kept)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (broken / "record.json").exists(), "the run ended before it could be killed: make it longer"
    subprocess.run([*command, str(broken), "1", "search"], check=True, timeout=120)
    assert Run(broken).result == Run(whole).result
    assert Run(broken).record.occasion.sessions == 2
