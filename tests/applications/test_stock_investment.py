"""The desk: shipped studies read, mistakes refused before any work, the paper's arithmetic, the A-shares where they are."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fiduciary.applications.stock_investment import Source, StockInvestment
from fiduciary.core.checks import check_env
from fiduciary.core.config import read
from fiduciary.core.errors import ConfigError, DataError
from fiduciary.markets.costs import Costs
from fiduciary.study import Search
from real_data import SHARED

STUDIES = Path(__file__).parents[2] / "studies"
US, CHINA = STUDIES / "stock-investment.toml", STUDIES / "stock-investment-ashares.toml"
STOCKS, INDEX = (
    SHARED / "ashares/ashare_daily_qfq_2010_2021.parquet",
    SHARED / "ashares/cn_index_daily_2005_2021.parquet",
)
VALID = ['split.valid=["2010", "2010"]', 'split.test=["2011", "2012"]']


def test_the_shipped_study_is_the_one_described():
    study = read(US, StockInvestment).study()
    env = study.env
    assert env.panel.symbols == ("AAPL", "GOOG", "IBM", "MSFT")
    assert study.splits.train == ("2004-09-01", "2009-12-31") and study.splits.test == ("2010-01-01", "2013-02-28")
    assert (env.cash, env.execution, env.venue.lot, env.risk_aversion) == (500_000, "next_open", 1, 0.2)
    assert list(study.roles.items()) == [
        ("lstm-dqn", "candidate"), ("buy-and-hold", "benchmark"), ("cash", "baseline"), ("S&P 500", "yardstick"),
    ]  # fmt: skip
    (index,) = study.yardsticks.values()
    assert index.env.execution == "next_close", "the sample's index has no opens"
    assert index.env.costs == env.costs
    assert {fold.test.cash for fold in env.folds(study.splits).values()} == {125_000}


def test_every_account_of_the_shipped_study_keeps_the_laws():
    study = read(US, StockInvestment).study()
    for fold in study.env.folds(study.splits).values():
        for half in (fold.train, fold.test):
            check_env(half, batch=4, steps=60, blind=5)


def test_a_study_file_may_write_its_own_factors():
    own = 'problem.factors=["close / ts_mean(close, 10) - 1", "Corr($close, $volume, 20)"]'
    env = read(US, StockInvestment, [own]).env
    assert env.spec.features == ("close / ts_mean(close, 10) - 1", "Corr($close, $volume, 20)")
    check_env(env, batch=4, steps=40, blind=5)
    with pytest.raises(ConfigError, match="ts_mean"):
        _ = read(US, StockInvestment, ['problem.factors=["ts_men(close, 10)"]']).env


def test_the_rules_of_the_paper_stand_in_its_study():
    table = tomllib.loads(CHINA.read_text())
    assert table["split"] == {"train": ["2012-01-01", "2019-05-29"], "test": ["2019-05-30", "2021-12-31"]}
    assert table["costs"] == {"commission_bps": 2.5, "stamp_duty_bps": 10}
    assert table["venue"] == {"lot": 100, "hold_days": 1, "price_limit": 0.10}
    assert (table["agent"]["epsilon"], table["problem"]["risk_aversion"]) == (0.15, 0.2)
    assert len(table["data"]["symbols"]) == 5


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.source="], ConfigError, "must name its data.*--set data.source=PATH"),
        (["data.source=nowhere.csv"], ConfigError, "nowhere.csv"),
        (['data.symbols=["AAPL", "MSFTT"]'], ConfigError, "MSFT"),
        (['split.test=["2009", "2010"]'], ConfigError, "strictly after the training"),
        (["problem.factors=levels"], ConfigError, "problem.factors"),
        (["agent.epsilon=2"], ConfigError, "`epsilon` must lie in"),
        (["agnt.epsilon=2"], ConfigError, "did you mean `agent`"),
        (["costs.commision_bps=1"], ConfigError, "did you mean `costs.commission_bps`"),
        (["index.source=us-stocks"], ConfigError, "an index must be one symbol"),
        (['split.valid=["2009", "2009"]'], ConfigError, "validation must lie strictly after the training"),
        (["search.trials=5"], ConfigError, "must vary a setting"),
        (["search.trails=5"], ConfigError, "did you mean `search.trials`"),
        (['search.space.lr=[1e-4, 1e-2, "log"]'], ConfigError, "must have validation dates"),
        ([*VALID, "search.space.net.frist=[8, 16]"], ConfigError, "did you mean `net.first`"),
        ([*VALID, 'search.space.epsilon=[0.1, 2.0, "linear"]'], ConfigError, "`epsilon` must lie in"),
    ],
)
def test_mistakes_are_refused_before_any_work(overrides, error, message):
    with pytest.raises(error, match=message):
        read(US, StockInvestment, overrides).study()


def test_a_study_file_states_validation_dates_and_a_search(tmp_path):
    space = '\n[search]\ntrials = 7\n\n[search.space]\nlr = [1e-4, 1e-2, "log"]\n"net.first" = [8, 16]\nnet.second = [8, 16]\n'
    (tmp_path / "found.toml").write_text(US.read_text() + space)
    study = read(tmp_path / "found.toml", StockInvestment, VALID).study()
    assert study.splits.valid == ("2010-01-01", "2010-12-31")
    search = study.candidates["lstm-dqn"]
    assert isinstance(search, Search) and search.trials == 7 and search.agent == read(US, StockInvestment).agent
    assert set(search.space) == {"lr", "net.first", "net.second"}
    fewer = read(tmp_path / "found.toml", StockInvestment, [*VALID, "search.trials=5"]).study()
    assert fewer.candidates["lstm-dqn"].trials == 5
    assert read(US, StockInvestment).study().splits.valid is None


def test_a_study_must_state_its_costs(tmp_path):
    text = US.read_text()
    start, stop = text.index("[costs]"), text.index("[venue]")
    (tmp_path / "free.toml").write_text(text[:start] + text[stop:])
    with pytest.raises(ConfigError, match=r"`costs` in .*free\.toml: field required"):
        read(tmp_path / "free.toml", StockInvestment)


def test_an_index_can_be_left_out():
    assert not read(US, StockInvestment, ["index.source="]).study().yardsticks


def test_a_window_too_long_says_what_is_there():
    study = read(US, StockInvestment, ["problem.window=4000"]).study()
    with pytest.raises(ConfigError, match=r"3270 bars.*shorten the window"):
        study.env.folds(study.splits)


@pytest.mark.skipif(not STOCKS.exists(), reason="needs the A-share files beside the checkout")
def test_the_ashare_study_reads_its_files_and_keeps_the_laws():
    study = read(CHINA, StockInvestment, [f"data.source={STOCKS}", f"index.source={INDEX}"]).study()
    folds = study.env.folds(study.splits)
    assert len(folds) == 5 and {fold.test.cash for fold in folds.values()} == {100_000}
    (index,) = (yardstick.env.folds(study.splits) for yardstick in study.yardsticks.values())
    (sse,) = index.values()
    assert int(sse.hindsight.world.last - sse.hindsight.world.first) + 1 == 1_798  # card 1.1: trading days
    assert int(sse.test.world.last - sse.test.world.first) + 1 == 633
    fold = next(iter(folds.values()))
    check_env(fold.test, batch=4, steps=60, blind=5)


@pytest.mark.skipif(not STOCKS.exists(), reason="needs the A-share files beside the checkout")
def test_additively_adjusted_prices_are_refused():
    dirty = SHARED / "ashares/dirty_additive_adjusted_sample.parquet"
    with pytest.raises(DataError, match="positive"):
        Source(str(dirty), columns={"symbol": "ticker"}).panel()


def test_the_index_of_the_study_is_measured_not_typed_in():
    study = read(US, StockInvestment).study()
    (yardstick,) = study.yardsticks.values()
    panel = yardstick.env.panel.between("2010-01", "2013-02")
    close = panel["close"][:, 0]
    assert close[0] == pytest.approx(1132.99) and close[-1] == pytest.approx(1514.68)
    assert np.log(close[-1] / close[0]) == pytest.approx(0.290, abs=0.001)


def test_what_flatters_results_is_flagged():
    usual = read(US, StockInvestment).env
    assert usual.spec.assumptions[0] == "Orders are decided at the close of day t, filled at the open of day t+1."
    assert not usual.spec.alarms
    paper = replace(usual, execution="close").spec
    assert "optimistic" in paper.assumptions[0] and [alarm.kind for alarm in paper.alarms] == ["unobservable fill"]
    assert [alarm.kind for alarm in replace(usual, costs=Costs()).spec.alarms] == ["free trading"]
