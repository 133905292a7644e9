"""The placebo counts what it should, repeats nothing, and finds the pipeline honest."""

import json
import math
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import beta, binom

from fiduciary.agents.rules import BuyAndHold
from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.data import sample
from fiduciary.evaluation import inference, splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import dynamics
from fiduciary.records.folder import RunFolder
from fiduciary.study import Yardstick
from fiduciary.study import placebo as judge

SHORT = splits.dates(train=("2009-10", "2009-12"), test=("2010", "2010"))


def reading():
    """A study of half a second: one rule, one year."""
    return replace(judge.reading_study(), splits=SHORT)


# --- markets and studies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", judge.NULLS)
def test_a_market_without_skill_has_the_studys_dates_symbols_and_volatility(name):
    panel = sample("us-stocks", symbols=["IBM", "MSFT"])
    made = judge.NULLS[name](panel, np.random.default_rng(0))
    assert made.symbols == panel.symbols and made.fields == panel.fields
    assert (made.dates == panel.dates).all()
    assert judge._volatility(made) == pytest.approx(judge._volatility(panel), rel=0.15)
    assert not np.allclose(made["close"][1:], panel["close"][1:])


def test_the_reader_of_volume_is_the_best_policy_of_the_planted_edge():
    env = judge.reading_study().env
    edge = dynamics.planted_edge(bars=1_000, sharpe=3, rng=np.random.default_rng(0))
    dates = [str(edge.panel.dates[t]) for t in (20, 499, 500, 999)]
    cut = splits.dates(train=(dates[0], dates[1]), test=(dates[2], dates[3]))
    test = replace(env, panel=edge.panel).folds(cut)["EDGE"].test
    wealth = rollout(test, judge.ReadsVolume(), rng=torch.Generator()).wealth
    moves = np.diff(np.log(edge.panel["close"][:, 0]))[500:]
    assert math.log(wealth[-1] / wealth[0]) == pytest.approx(moves[edge.up[500:-1]].sum(), abs=1e-9)


def test_the_judge_has_the_power_of_the_closed_form():
    # The judge alone, on the difference as the closed form describes it; the pipeline around it is measured by a row.
    words, power = [], 0.0
    for seed in range(40):
        edge = dynamics.planted_edge(bars=504, sharpe=2, rng=np.random.default_rng(seed))
        moves = np.diff(np.log(edge.panel["close"][:, 0]))
        candidate = np.where(edge.up[:-1], moves, 0.0)[None]
        rng, power = np.random.default_rng(seed), edge.power(503)
        words.append(inference.judge(candidate, moves, learned=False, per_year=252, trials=1, rng=rng).word)
    # The bootstrap rejects slightly more often than the normal approximation on two years.
    assert words.count("evidence for") / 40 == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / 40))


# --- the whole pipeline ----------------------------------------------------------------------------------------------


def test_a_large_edge_is_found_and_what_is_found_is_told():
    result = judge.placebo(reading(), markets=["garch"], edges=[9], runs=1, progress=False)
    (null,), (edge,) = result.nulls, result.edges
    assert (edge.market, edge.runs, edge.found) == ("edge 9", 1, 1) and edge.power > 0.99
    assert (null.market, null.runs) == ("garch", 1) and null.power is None
    assert all(0 < p <= 0.025 for p in edge.p_values) and all(0 <= p <= 1 for p in null.p_values)
    said = StringIO()
    Console(file=said, width=140).print(judge.table(result))
    assert result.sentence in said.getvalue().replace("\n", " ").replace("  ", " ") and "edge 9" in said.getvalue()


def test_a_users_own_study_is_run_on_its_own_stocks(monkeypatch):
    seen = []
    env = replace(judge.reading_study().env, panel=sample("us-stocks", symbols=["IBM", "MSFT"]))
    study = replace(reading(), env=env, yardsticks={"held": Yardstick(env, BuyAndHold())})
    verdict = SimpleNamespace(word="evidence for", difference=0.1, p_value=0.02)
    run = SimpleNamespace(verdict=verdict, result=SimpleNamespace(test=("2010-01-04", "2010-12-31")))
    monkeypatch.setattr(judge.Study, "run", lambda self, *_, **__: (seen.append(self), run)[1])
    result = judge.placebo(study, markets=["block-permuted"], edges=[1.5], runs=2, progress=False)
    assert seen[0].env.panel.symbols == ("IBM", "MSFT") and not seen[0].yardsticks
    assert len({env.panel.digest(), *(each.env.panel.digest() for each in seen)}) == 5
    assert len({tuple(each.seeds) for each in seen}) == 2 and len(seen[0].seeds) == len(study.seeds)
    bars = int(
        ((env.panel.dates >= np.datetime64("2010-01-04")) & (env.panel.dates <= np.datetime64("2010-12-31"))).sum()
    )
    edge = dynamics.planted_edge(
        bars=10, sharpe=1.5, volatility=judge._volatility(env.panel), rng=np.random.default_rng(0)
    )
    assert result.total.found == result.edges[0].found == 2
    assert result.edges[0].power == pytest.approx(edge.power(bars - 1))


@pytest.mark.slow
def test_verdicts_without_skill_are_as_rare_as_they_say():
    result = judge.placebo(reading(), runs=5, progress=False)
    assert result.total.found <= binom.ppf(0.999, result.total.runs, judge.LEVEL)
    assert result.total.too_small > 0.001 and result.holds


@pytest.mark.slow
def test_a_learner_that_memorised_noise_has_no_evidence():
    study = replace(judge.small_study(), splits=splits.dates(train=("2009", "2009"), test=("2010", "2010")))
    result = judge.placebo(study, markets=["random-walk", "phase-randomised"], runs=3, progress=False)
    assert result.total.found <= binom.ppf(0.999, 6, judge.LEVEL)


@pytest.mark.slow
def test_processes_change_nothing():
    one, two = (
        judge.placebo(reading(), markets=["garch"], runs=2, workers=workers, progress=False) for workers in (1, 2)
    )
    assert one.nulls == two.nulls


# --- counting and keeping --------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """What was computed, by a stand-in that computes nothing: even runs find something."""
    done = []

    def verdict(job):
        done.append((job.market, job.number))
        word = "no evidence" if job.number % 2 else "evidence for"
        power = 0.5 if job.market.startswith(judge.EDGE) else None
        return {
            "market": job.market, "number": job.number, "word": word, "difference": 0.1, "p_value": 0.02, "power": power,
        }  # fmt: skip

    monkeypatch.setattr(judge, "_verdict", verdict)
    return done


def test_a_killed_placebo_continues_and_repeats_nothing(tmp_path, calls):
    some = {"markets": ["garch", "random-walk"], "folder": tmp_path, "progress": False}
    judge.placebo(runs=2, **some)
    assert len(calls) == 4
    with (tmp_path / "placebo.jsonl").open("ab") as file:
        file.write(b'{"market": "garch", "numb')  # a kill in the middle of a line
    more = judge.placebo(runs=3, edges=[1], **some)
    assert len(calls) == len(set(calls)) == 4 + 2 + 3
    assert [(null.market, null.runs, null.found) for null in more.nulls] == [("garch", 3, 2), ("random-walk", 3, 2)]
    assert more.edges[0].power == 0.5
    assert judge.placebo(runs=3, edges=[1], **some) == more and len(calls) == 9


def test_a_kill_leaves_every_finished_verdict(tmp_path, calls, monkeypatch):
    stand_in = judge._verdict

    def dies(job):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return stand_in(job)

    monkeypatch.setattr(judge, "_verdict", dies)
    with pytest.raises(KeyboardInterrupt):
        judge.placebo(markets=["garch"], runs=9, folder=tmp_path, progress=False)
    lines = (tmp_path / "placebo.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines[1:]] == [0, 1, 2]


@pytest.mark.parametrize("other", [{"seed": 1}, {"study": judge.small_study(seeds=2)}])
def test_a_folder_keeps_to_one_placebo(tmp_path, calls, other):
    some = {"markets": ["garch"], "runs": 1, "folder": tmp_path, "progress": False}
    judge.placebo(**some)
    with pytest.raises(RecordError, match="must keep to one study"):
        judge.placebo(**some, **other)


@pytest.mark.parametrize("damage", ["", "no json\n", '{"identity": "x"}\n{"market": "garch"}\n'])
def test_a_damaged_file_is_refused(tmp_path, calls, damage):
    (tmp_path / "placebo.jsonl").write_text(damage)
    with pytest.raises(RecordError, match=r"placebo\.jsonl must hold a verdict on every line"):
        judge.placebo(markets=["garch"], runs=1, folder=tmp_path, progress=False)
    assert (tmp_path / "placebo.jsonl").read_text() == damage


def test_a_busy_folder_is_refused(tmp_path, calls):
    with RunFolder(tmp_path).writing(), pytest.raises(RecordError, match="one process at a time"):
        judge.placebo(markets=["garch"], runs=1, folder=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"markets": ["garhc"]}, "a market without skill must be one of random-walk, garch"),
        ({"runs": 0}, "`runs` and `workers` must be at least 1, got 0, 1"),
        ({"workers": 0}, "`runs` and `workers` must be at least 1"),
        ({"markets": []}, "at least one market"),
    ],
)
def test_a_placebo_that_cannot_mean_anything_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        judge.placebo(**wrong, progress=False)


@pytest.mark.parametrize(("found", "runs"), [(0, 20), (3, 20), (10, 200), (20, 20)])
def test_the_interval_is_that_of_clopper_and_pearson(found, runs):
    count = judge._count("garch", found, 0, (0.5,) * runs)
    low = beta.ppf(0.025, found, runs - found + 1) if found else 0.0
    high = beta.ppf(0.975, found + 1, runs - found) if found < runs else 1.0
    assert (count.low, count.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("found", "words"),
    [(0, "stays at or under"), (10, "is not shown to be above"), (16, "is not shown to be above"), (18, "is above")],
)
def test_a_rate_that_is_clearly_above_the_level_does_not_hold(found, words):
    result = judge.Placebo((judge._count("garch", found, 0, (0.5,) * 200),), ())
    assert result.holds is (words != "is above")
    assert f" {words} the nominal" in result.sentence


def test_p_values_are_those_of_no_advantage():
    assert [judge._one_sided(*each) for each in [(0.1, 0.04), (-0.1, 0.04), (0.0, 1.0)]] == [0.02, 0.98, 1.0]
    even = tuple((np.arange(100) + 0.5) / 100)
    assert judge._count("garch", 0, 0, even).too_small > 0.9
    assert judge._count("garch", 0, 0, tuple(p / 2 for p in even)).too_small < 1e-6
    assert judge._count("garch", 0, 0, tuple(p**0.5 for p in even)).too_small > 0.9
