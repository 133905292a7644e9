"""A study with several splits: learned afresh for each, judged on their tests end to end."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fiduciary.agents.hindsight import Hindsight
from fiduciary.agents.rules import BuyAndHold, Cash, Random
from fiduciary.agents.weight_rules import EqualWeight, FixedMix, HoldWeights, RandomWeights
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Split
from fiduciary.envs import PortfolioWeights
from fiduciary.evaluation import splits
from fiduciary.records.folder import RunFolder
from fiduciary.records.paths import chained
from fiduciary.study import Matched, Study


@dataclass(frozen=True)
class Counter:
    """Learns nothing, and leaves a line for every training."""

    file: str

    def fit(self, env, *, rng, watch=None, valid=None):
        with open(self.file, "a") as file:  # noqa: PTH123
            file.write(f"{env.dates} {env.without}\n")
        return BuyAndHold()


def forward(env):
    days = [str(day) for day in env.panel.dates]
    return [splits.dates(train=(days[30], days[a - 1]), test=(days[a], days[a + 32])) for a in (60, 93, 126)]


@pytest.fixture
def study(env, tmp_path):
    learner = Counter(str(tmp_path / "fits"))
    return Study("Does it?", env, BuyAndHold(), {"learner": learner}, forward(env), seeds=(0, 1))


def run(study, folder):
    return study.run(folder, progress=False)


def test_every_split_is_learned_afresh_and_judged_once(study, tmp_path):
    done = run(study, tmp_path / "run")
    assert len((tmp_path / "fits").read_text().splitlines()) == 3 * 2 * 2  # splits, accounts, seeds
    cells = RunFolder(tmp_path / "run").cells(done.result.cells)
    assert {cell.split for cell in cells if cell.policy == "learner"} == {0, 1, 2}
    assert [one.test for one in done.result.splits] == [split.test for split in study.every_split]
    assert done.result.train == (study.every_split[0].train[0], study.every_split[-1].train[1])
    assert done.result.test == (study.every_split[0].test[0], study.every_split[-1].test[1])
    assert done.verdict.reason == "the policy is a copy of the benchmark"


def test_wealth_grows_through_the_tests_as_through_one_account_after_the_other(study, tmp_path):
    done = run(study, tmp_path / "run")
    parts = [
        cell for cell in RunFolder(tmp_path / "run").cells(done.result.cells)
        if (cell.account, cell.policy) == ("RW1", "buy-and-hold")
    ]  # fmt: skip
    whole = next(cell for cell in done.cells if (cell.account, cell.policy) == ("RW1", "buy-and-hold"))
    growth = np.prod([part.test.wealth[-1] / part.test.wealth[0] for part in parts])
    assert whole.test.wealth[-1] / whole.test.wealth[0] == pytest.approx(growth, rel=1e-12)
    lengths = [len(part.test.traded) for part in parts]
    assert len(whole.test.traded) == sum(lengths) and len(whole.test.days) == sum(lengths) + 1
    assert np.all(np.diff(whole.test.days) > 0)
    # What a step books explains the change of wealth, over the joints as well.
    assert set(whole.stress) == {"costs x 0", "costs x 2", "costs x 5", "1 bar later", "2 bars later"}
    assert all(len(path) == len(whole.test.wealth) for path in whole.stress.values())


def test_one_split_alone_is_left_as_it_is(study, tmp_path):
    alone = replace(study, splits=study.every_split[-1:])
    cells = run(alone, tmp_path / "run").cells
    assert chained(cells) == cells


def test_splits_that_share_their_training_dates_train_once_and_rules_pass_history_once(study, env, tmp_path):
    days = [str(day) for day in env.panel.dates]
    holes = ((days[60], days[94]), (days[100], days[134]))
    both = [
        Split((days[30], days[149]), holes[0], None, holes, path=0),
        Split((days[30], days[149]), holes[1], None, holes, path=1),
    ]
    done = run(replace(study, splits=both), tmp_path / "run")
    fits = (tmp_path / "fits").read_text().splitlines()
    assert len(fits) == 2 * 2 and all(str(holes) in line for line in fits)
    draws = {(cell.policy, cell.seed, cell.path) for cell in done.cells}
    assert draws == {
        ("learner", 0, 0), ("learner", 0, 1), ("learner", 1, 0), ("learner", 1, 1),
        ("buy-and-hold", None, 0), ("cash", None, 0),
    }  # fmt: skip
    assert done.figure("rate_of_return", "learner").n == 4


def test_a_study_without_a_split_is_refused(study):
    with pytest.raises(ConfigError, match="a study must have a split"):
        replace(study, splits=[])


def test_a_killed_walk_forward_continues(study, tmp_path):
    whole = run(study, tmp_path / "whole")
    done = run(study, tmp_path / "part")
    for path in sorted(done.root.glob("cells/RW2/*/*-split-2/cell.json")):
        path.unlink()
    (done.root / "record.json").unlink()
    assert run(replace(study), tmp_path / "part").result == whole.result


@dataclass(frozen=True)
class Now:
    """Knows the future and buys."""

    def foresee(self, env):
        return BuyAndHold()


def test_random_trading_keeps_the_pace_of_the_candidate_and_a_prophet_lives_in_every_test(study, tmp_path):
    both = replace(study, baselines={"random": Matched(), "prophet": Now()})
    done = run(both, tmp_path / "run")
    cells = {(cell.account, cell.policy, cell.seed): cell for cell in done.cells}
    hold, random = cells["RW1", "buy-and-hold", None], cells["RW1", "random", 1]
    assert cells["RW1", "prophet", None].test == hold.test
    # It buys once for each test, as the candidate does, though not on the same day.
    assert np.count_nonzero(random.test.traded) == np.count_nonzero(hold.test.traded) == 3
    whole = (done.root / "record.json").read_bytes()
    for path in done.root.glob("cells/RW1/random/*/cell.json"):
        path.unlink()
    assert run(both, tmp_path / "run").result == done.result
    assert (done.root / "record.json").read_bytes() != whole


def test_late_orders_come_late(env):
    from fiduciary.core.seeds import generator
    from fiduciary.evaluation.rollout import rollout
    from fiduciary.study.stress import Late

    fold = env.folds(forward(env)[0])["RW1"]
    for bars in (0, 1, 3):
        late = Late(BuyAndHold(), bars, Cash())
        path = rollout(fold.test, late, rng=generator(0, "x"))
        assert np.flatnonzero(path.traded)[0] == bars


def test_tests_of_one_pass_may_not_overlap(study, env):
    days = [str(day) for day in env.panel.dates]
    twice = [splits.dates(train=(days[30], days[a]), test=(days[100], days[140])) for a in (70, 90)]
    with pytest.raises(ConfigError, match="tests of one pass through history must not overlap"):
        replace(study, splits=twice)


def test_one_seed_proves_nothing_however_many_passes_it_makes(study, env, tmp_path):
    class Buyer:
        def fit(self, env, *, rng, watch=None, valid=None):
            return Random() if watch else BuyAndHold()

    every = splits.combinatorial(env.panel.dates[30:], 4, 2)
    done = run(replace(study, splits=every, seeds=(0,), candidates={"lone": Buyer()}), tmp_path / "run")
    assert done.figure("rate_of_return", "lone").n == 3
    assert done.verdict.reason == "one seed cannot tell skill from the luck of training"
    assert "learned later" in {alarm.kind for alarm in done.result.alarms}


def test_time_between_tests_is_no_time(study, env, tmp_path):
    days = [str(day) for day in env.panel.dates]
    apart = [
        splits.dates(train=(days[30], days[69]), test=pair) for pair in ((days[70], days[90]), (days[135], days[155]))
    ]
    gap = run(replace(study, splits=apart), tmp_path / "apart").result.bars_per_year
    assert 250 < gap < 270


def test_an_account_in_weights_with_shorts_can_be_cash_and_can_be_ruined(walk, tmp_path):
    env = PortfolioWeights(walk, window=3, short=0.5)
    days = [str(day) for day in walk.dates]
    split = splits.dates(train=(days[30], days[90]), test=(days[91], days[150]))
    wild = replace(env, short=40.0)
    for problem, mix in ((env, (0.5, 0.5)), (wild, (0.0, 1.0))):
        who = FixedMix(mix, short=problem.short)
        done = run(
            Study("q", problem, FixedMix((0.5, 0.5), short=problem.short), {"mix": who}, split), tmp_path / str(mix)
        )
        assert done.figure("exposure", "cash").mean == done.figure("turnover", "cash").mean == 0.0
        assert done.verdict.word in ("no evidence", "evidence against", "evidence for")
        assert all(wealth > 0 for cell in done.cells for wealth in cell.test.wealth)


def test_random_weights_keep_the_pace_of_a_weights_policy(walk, tmp_path):
    env, days = PortfolioWeights(walk, window=3), [str(day) for day in walk.dates]
    split = splits.dates(train=(days[30], days[90]), test=(days[91], days[150]))
    study = Study(
        "q", env, EqualWeight(), {"hold": HoldWeights()}, split,
        baselines={"random": Matched(RandomWeights.matching), "best": Hindsight()},
    )  # fmt: skip
    done = run(study, tmp_path / "run")
    assert done.figure("rate_of_return", "best").mean >= done.figure("rate_of_return", "hold").mean
    assert done.figure("turnover", "random").mean <= 2 * done.figure("turnover", "hold").mean + 1
    with pytest.raises(ConfigError, match="must act as portfolio-weights asks"):
        run(replace(study, baselines={"random": Matched()}), tmp_path / "wrong")


def test_sinks_hear_of_candidates_alone(study, tmp_path):
    heard = []

    class Ear:
        def progress(self, key, done, total, figures): ...

        def finish(self, key, settings, figures):
            heard.append(key.policy)

        def close(self): ...

    replace(study, baselines={"random": Matched()}).run(tmp_path / "run", progress=False, sinks=[Ear()])
    assert set(heard) == {"learner"}
