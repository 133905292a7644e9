"""A study of one account that holds several assets at once, with continuous actions."""

from dataclasses import dataclass

import numpy as np
import pytest
from two_assets import Constant, TwoAssets

from fiduciary import reports
from fiduciary.agents.rules import BuyAndHold, Random
from fiduciary.core.checks import check_env
from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import splits
from fiduciary.reports import charts
from fiduciary.study import Study

CUT = splits.dates(train=("2000-01-05", "2000-04-30"), valid=("2000-05", "2000-06"), test=("2000-07", "2000-10"))
EVEN = {"simplex": (0.0, 0.5, 0.5), "box": (0.5, 0.5)}


@dataclass(frozen=True)
class EqualWeight(Constant):
    """Named as a benchmark is."""


def problem(space):
    returns = np.random.default_rng(1).normal(0.001, 0.02, (330, 2))
    return TwoAssets(returns, space)


@pytest.mark.parametrize("space", ["simplex", "box"])
def test_a_study_judges_and_reports_weights(tmp_path, space):
    env = problem(space)
    check_env(env, steps=50)
    tilted = {"simplex": (0.2, 0.7, 0.1), "box": (0.9, -0.4)}[space]
    study = Study("Tilt?", env, EqualWeight(EVEN[space]), {"tilted": Constant(tilted)}, CUT, seeds=(0,))
    run = study.run(tmp_path / "run", progress=False)
    cells = {cell.policy: cell for cell in run.cells}
    assert cells["tilted"].test.action[0] == list(tilted)
    assert set(cells["cash"].test.traded) == {0.0} and set(cells["cash"].test.wealth) == {1_000.0}
    weights = np.array(tilted[-2:])
    days = np.array(cells["tilted"].test.days) - cells["tilted"].test.days[0]
    grown = 1 + env.returns[days[1:] + int(np.datetime64("2000-07-01").astype(int) - 10957)] @ weights
    # After the first day only the fee of that day's purchase separates the account from the closed form.
    assert cells["tilted"].test.wealth[-1] == pytest.approx(
        1_000 * (grown[0] - 0.001 * np.abs(weights).sum()) * np.prod(grown[1:]), rel=1e-12
    )
    assert run.figure("turnover", "tilted").mean > 0
    assert reports.html(run).exists() and reports.markdown(run).exists()


def test_fills_without_a_side_are_drawn_without_one(tmp_path):
    study = Study(
        "Q?", problem("simplex"), EqualWeight(EVEN["simplex"]), {"c": Constant((1.0, 0.0, 0.0))}, CUT, seeds=(0,)
    )
    run = study.run(tmp_path / "run", progress=False)
    paths = {cell.policy: cell.test for cell in run.cells}
    assert charts.several(paths["equal-weight"])
    held, traded = charts.positions([("even", paths["equal-weight"])])["data"]
    assert (held["name"], traded["name"]) == ("in positions", "traded")
    assert held["y"][0] == 0 and held["y"][1:] == [1.0] * (len(held["x"]) - 1)
    assert (
        traded["x"] == held["x"][1:] and traded["y"][0] == pytest.approx(1.0) and len(traded["y"]) == len(traded["x"])
    )
    page = reports.html(run).read_text()
    assert "Share in positions, and traded, of" in page and "a buy or sell mark stands" not in page


@pytest.mark.parametrize("rule", [BuyAndHold(), Random()])
def test_a_rule_for_other_actions_is_refused_before_any_work(tmp_path, rule):
    study = Study("Q?", problem("simplex"), rule, {"c": Constant((1.0, 0.0, 0.0))}, CUT, seeds=(0,))
    with pytest.raises(ConfigError, match=r"must act as two-assets asks \(simplex\).*\[1, 3\], got \[1\]"):
        study.run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists() and not (tmp_path / "trials.jsonl").exists()
