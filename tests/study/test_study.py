"""A study end to end: cells, record, verdict, resume, refusal, and independence of order and processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fiduciary.agents import DQN, LSTM, Training, load
from fiduciary.agents.rules import BuyAndHold, Cash, Random
from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.evaluation import metrics, splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.factors import Factor
from fiduciary.markets.venue import Venue
from fiduciary.records import Run, identity
from fiduciary.records.folder import RunFolder
from fiduciary.study import Study, Yardstick

TINY = DQN(
    net=LSTM(8, 8), updates=40, accounts=8, batch=16, warm_up=64, copy_every=20, training=Training(keep_every=10)
)


@pytest.fixture
def study(env):
    days = env.panel.dates
    cut = splits.dates(train=(str(days[30]), str(days[99])), test=(str(days[100]), str(days[-1])))
    return Study("Does it?", env, BuyAndHold(), {"dqn": TINY}, cut, seeds=(0, 1), baselines={"random": Random()})


def _run(study, folder, **options):
    return study.run(folder, progress=False, **options)


def test_a_record_holds_every_policy_account_and_figure(study, env, tmp_path):
    index = replace(env, panel=env.panel.select(["RW2"]))
    run = _run(replace(study, yardsticks={"index": Yardstick(index, BuyAndHold())}), tmp_path / "run")
    policies = {row.policy: row.role for row in run.result.rows}
    assert policies == {
        "dqn": "candidate", "buy-and-hold": "benchmark", "random": "baseline", "cash": "baseline", "index": "yardstick",
    }  # fmt: skip
    assert {row.account for row in run.result.rows} == {"total", "RW1", "RW2"}
    assert run.figure("rate_of_return", "dqn").n == 2 and run.figure("rate_of_return", "cash").n == 1
    assert run.result.capital == 200_000
    assert run.verdict.word in ("evidence for", "evidence against", "no evidence") and run.verdict.trials == 1
    assert run.result.train == study.splits.train and run.result.test == study.splits.test
    assert [data.name for data in run.result.data] == ["traded", "index"]
    assert run.result.data[0].sha256 == env.panel.digest()
    assert any("bp each way" in sentence for sentence in run.result.assumptions)


def test_the_record_names_the_days_that_were_judged_not_those_that_were_asked_for(study, tmp_path):
    late = splits.dates(train=study.splits.train, test=(study.splits.test[0], "2030"))
    run = _run(replace(study, splits=late, candidates={"idle": Cash()}), tmp_path / "run")
    assert run.result.test == study.splits.test


def test_the_same_bars_under_another_name_are_the_same_study_and_another_lambda_is_not(study, env):
    renamed = replace(study, env=replace(env, panel=replace(env.panel, source="elsewhere.csv")))
    assert identity.digest(renamed.effective()) == identity.digest(study.effective())
    one, other = ((Factor("f", 1, f),) for f in (lambda bars: bars["close"], lambda bars: bars["open"]))
    digests = {
        identity.digest(replace(study, env=replace(env, factors=factors)).effective()) for factors in (one, other)
    }
    assert len(digests) == 2


def _times(k):
    return lambda bars: bars["close"] * k


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_times(2), _times(3)),
        (partial(_times(2), x=1), partial(_times(2), x=2)),
        (partial(lambda b: b + 1), partial(lambda b: b - 1)),
        (lambda b, k=1: b * k, lambda b, k=2: b * k),
        (type("P", (), {"act": lambda self: 1})(), type("P", (), {"act": lambda self: 2})()),
    ],
)
def test_what_a_users_code_does_is_part_of_the_identity(one, other):
    assert identity.digest(one) != identity.digest(other)
    assert identity.digest(one) == identity.digest(one)


def test_the_numbers_of_a_tensor_are_part_of_the_identity():
    assert identity.digest(torch.ones(2)) != identity.digest(torch.zeros(2))
    assert identity.digest(torch.ones(2)) != identity.digest(torch.ones(1, 2))


def test_identity_does_not_depend_on_the_process():
    code = (
        "from fiduciary.records.identity import digest\n"
        "def f(b): return b in {'alpha', 'beta', 'gamma'}\n"
        "print(digest([f, {'x', 'y', 'z'}]))"
    )
    digests = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        digests.add(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)
    assert len(digests) == 1


def test_cells_of_other_code_are_not_mixed_in(study, tmp_path, monkeypatch):
    _run(study, tmp_path / "run")
    monkeypatch.setattr(identity, "code", lambda: "changed")
    with pytest.raises(RecordError, match="code or packages have changed"):
        _run(study, tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(study, tmp_path):
    _run(study, tmp_path / "run")
    before = (tmp_path / "run" / "record.json").read_bytes()
    _run(study, tmp_path / "run")
    assert (tmp_path / "run" / "record.json").read_bytes() == before


def test_figures_are_those_of_the_accounts_and_the_total_adds_them_up(study, tmp_path):
    run = _run(study, tmp_path / "run")
    hold = [cell for cell in run.cells if cell.policy == "buy-and-hold"]
    wealth = sum(np.array(cell.test.wealth) for cell in hold)
    assert run.figure("rate_of_return", "buy-and-hold").mean == pytest.approx(metrics.rate_of_return(wealth))
    assert run.figure("trades", "buy-and-hold").mean == sum(np.count_nonzero(cell.test.traded) for cell in hold)
    idle = run.figure("annual_return", "cash").mean
    assert (1 + idle) ** (365 / 365.25) - 1 == pytest.approx(0.03, abs=1e-9)  # cash earns its rate
    assert np.isnan(run.figure("sharpe", "cash").mean)


def test_the_benchmark_lives_on_the_same_days_under_the_same_costs(study, tmp_path):
    run = _run(study, tmp_path / "run")
    days = {cell.policy: cell.test.days for cell in run.cells if cell.account == "RW1"}
    assert len({tuple(each) for each in days.values()}) == 1
    hold = next(cell for cell in run.cells if (cell.policy, cell.account) == ("buy-and-hold", "RW1"))
    bought = sum(hold.test.traded)
    assert -sum(hold.test.fees) == pytest.approx(bought * 2.5e-4)


def test_the_learned_policy_in_the_record_decides_as_it_did(study, tmp_path):
    run = _run(study, tmp_path / "run")
    cell = next(cell for cell in run.cells if (cell.policy, cell.account, cell.seed) == ("dqn", "RW2", 1))
    fold = study.env.folds(study.splits)["RW2"]
    policy = load(str(run.root / cell.policy_file), fold.test.spec)
    assert rollout(fold.test, policy, rng=torch.Generator()).wealth.tolist() == cell.test.wealth


def test_equal_seeds_give_equal_records_in_any_number_of_processes(study, tmp_path):
    one, two = _run(study, tmp_path / "a" / "run"), _run(study, tmp_path / "b" / "run", workers=2)
    assert one.result == two.result
    assert one.cells == two.cells


def test_only_what_is_missing_is_computed_again(study, tmp_path):
    run = _run(study, tmp_path / "run")
    before = run.result
    folder = RunFolder(tmp_path / "run")
    untouched = folder.cell_folder("RW1", "dqn", 0) / "cell.json"
    (folder.cell_folder("RW2", "dqn", 1) / "cell.json").unlink()
    (tmp_path / "run" / "record.json").unlink()
    stamp = untouched.stat().st_mtime_ns
    again = _run(study, tmp_path / "run")
    assert again.result == before
    assert untouched.stat().st_mtime_ns == stamp
    assert again.record.occasion.sessions == 2


def test_a_folder_keeps_to_one_study(study, tmp_path):
    _run(study, tmp_path / "run")
    with pytest.raises(RecordError, match=r"must keep to one study.*give another folder"):
        _run(replace(study, seeds=(0, 1, 2)), tmp_path / "run")


def test_trials_of_one_question_add_up_and_repeats_do_not(study, tmp_path):
    assert _run(study, tmp_path / "a").verdict.trials == 1
    assert _run(study, tmp_path / "again").verdict.trials == 1  # the same configuration shows nothing new
    assert _run(replace(study, candidates={"dqn": replace(TINY, lr=0.01)}), tmp_path / "b").verdict.trials == 2
    assert _run(replace(study, question="Another?"), tmp_path / "c").verdict.trials == 1
    assert _run(study, tmp_path / "a").verdict.trials == 1  # as it was when the run was made


@pytest.mark.parametrize("name", ["cell.json", "manifest.json", "record.json"])
def test_a_damaged_file_is_named_and_left_as_it_was(study, tmp_path, name):
    run = _run(study, tmp_path / "run")
    victim = next((tmp_path / "run").rglob(name))
    victim.write_bytes(damaged := victim.read_bytes()[:-40])
    with pytest.raises(RecordError, match=name):
        _run(study, tmp_path / "run") if name != "record.json" else Run(run.root).result
    assert victim.read_bytes() == damaged


def test_a_damaged_checkpoint_is_named(study, tmp_path):
    path = RunFolder(tmp_path / "run").cell_folder("RW1", "dqn", 0) / "checkpoint.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 100)
    with pytest.raises(RecordError, match=r"checkpoint.pt.*digest does not match"):
        _run(study, tmp_path / "run")
    assert path.read_bytes() == b"x" * 100


def test_a_cell_that_was_edited_after_the_record_is_found(study, tmp_path):
    run = _run(study, tmp_path / "run")
    victim = run.root / next(iter(run.result.cells))
    victim.write_text(victim.read_text().replace('"train_return":', '"train_return":1'))
    with pytest.raises(RecordError, match=r"cell\.json must be the cell that the record was computed from"):
        _ = Run(run.root).cells


def test_a_busy_folder_is_refused(study, tmp_path):
    with RunFolder(tmp_path / "run").writing(), pytest.raises(RecordError, match="one process at a time"):
        _run(study, tmp_path / "run")


def test_alarms_ring_for_policies_that_do_nothing_of_their_own(study, tmp_path):
    copies = replace(study, candidates={"copy": BuyAndHold(), "idle": Cash(), "dqn": TINY})
    run = _run(copies, tmp_path / "run")
    assert "copy did exactly what the benchmark does in 2 of 2 tests (RW1, RW2)." in [
        alarm.text for alarm in run.result.alarms
    ]
    assert "idle never traded in 2 of 2 tests (RW1, RW2)." in [alarm.text for alarm in run.result.alarms]
    words = {judgement.candidate: judgement for judgement in run.result.judgements}
    assert words["copy"].word == "no evidence" and "copy" in words["copy"].reason


@dataclass(frozen=True)
class _Recall:
    """Knows which days of the training dates rise, and outside them does as told."""

    rises: torch.Tensor
    last: int
    later: bool

    def act(self, obs, carry, rng):
        bar = obs.world.bar
        up = torch.where(bar < self.last, self.rises[bar], torch.tensor(self.later))
        return torch.where(up & obs.legal[:, 1], 1, torch.where(~up & obs.legal[:, 2], 2, 0)), carry


@dataclass(frozen=True)
class _Memory:
    later: bool

    def fit(self, env, *, rng, watch=None, valid=None):
        opens = env.world.fill
        rises = torch.cat((opens[2:] > opens[1:-1], torch.zeros(2, dtype=torch.bool)))
        return _Recall(rises, int(env.world.last[0]), self.later)


def test_an_alarm_rings_for_a_policy_that_memorised_its_past_and_only_then(study, tmp_path):
    """Told the future of its training dates, an agent looks brilliant there; in the test one holds, the other does not."""
    rising = replace(study.env.panel, values=study.env.panel.values * _trend(study.env.panel))
    env = replace(study.env, panel=rising, venue=Venue(lot=0))
    candidates = {"idle later": _Memory(later=False), "holds later": _Memory(later=True)}
    run = _run(replace(study, env=env, candidates=candidates, seeds=(0,)), tmp_path / "run")
    assert min(run.figure("train_return", name).mean for name in candidates) > 3
    assert run.figure("rate_of_return", "idle later").mean < run.figure("rate_of_return", "buy-and-hold").mean
    ringing = {
        alarm.text.split(" memorised")[0] for alarm in run.result.alarms if "memorised its training dates" in alarm.text
    }
    assert "idle later" in ringing


def _trend(panel):
    """Prices that rise over the test dates, whatever the walk does."""
    growth = np.where(np.arange(len(panel.dates)) > 100, np.arange(len(panel.dates)) - 100, 0) * 0.05
    return np.exp(growth)[:, None, None] * np.ones((1, 1, 5))


def test_a_yardstick_of_other_days_or_without_trades_rings_an_alarm(study, env, tmp_path):
    late = replace(env, panel=env.panel.select(["RW2"]).between(None, str(env.panel.dates[140])))
    still = env.panel.select(["RW2"])
    values = still.values.copy()
    values[:, :, 4] = 0
    yardsticks = {
        "short": Yardstick(late, BuyAndHold()),
        "dead": Yardstick(replace(env, panel=replace(still, values=values)), BuyAndHold()),
    }
    ringing = _run(replace(study, yardsticks=yardsticks, candidates={"idle": Cash()}), tmp_path / "run").result.alarms
    alarms = [alarm.text for alarm in ringing]
    assert any(alarm.startswith("short was measured from") for alarm in alarms)
    assert "dead never traded RW2: what it shows there is cash." in alarms


def test_a_test_too_short_for_a_verdict_is_refused_before_any_training(study, tmp_path):
    days = study.env.panel.dates
    short = splits.dates(train=study.splits.train, test=(str(days[-20]), str(days[-1])))
    with pytest.raises(ConfigError, match="a verdict needs at least 30 bars of test"):
        _run(replace(study, splits=short), tmp_path / "run")
    assert not (tmp_path / "trials.jsonl").exists()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "long" * 100])
def test_any_symbol_is_a_folder_of_its_own_below_cells(env, study, tmp_path, name):
    panel = replace(env.panel.select(["RW1"]), symbols=(name,))
    run = _run(replace(study, env=replace(env, panel=panel), candidates={"idle": Cash()}), tmp_path / "run")
    assert {cell.account for cell in run.cells} == {name}
    assert {path.name for path in run.root.iterdir()} == {"cells", "lock", "manifest.json", "record.json"}


def test_an_account_may_not_be_called_total(env, study, tmp_path):
    panel = replace(env.panel.select(["RW1"]), symbols=("total",))
    with pytest.raises(ConfigError, match="no account may be called 'total'"):
        _run(replace(study, env=replace(env, panel=panel)), tmp_path / "run")


def test_a_trial_cut_short_by_a_kill_does_not_swallow_the_next(tmp_path):
    ledger = tmp_path / "trials.jsonl"
    assert identity.count_trials(ledger, "Q?", ["a", "b"]) == 2
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert identity.count_trials(ledger, "Q?", ["c"]) == 2  # the one cut short is lost, the new one is not
    ledger.write_text(ledger.read_text() + "[]\n3\n{}\n")
    assert identity.count_trials(ledger, "Q?", ["d"]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "must ask a question"),
        ({"candidates": {}}, "at least one candidate"),
        ({"seeds": (1, 1)}, "`seeds` must be distinct"),
        ({"seeds": ()}, "`seeds` must be distinct and at least one"),
        ({"candidates": {"cash": TINY}}, "a name of its own"),
    ],
)
def test_studies_that_mean_nothing_are_refused(study, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(study, **change)


KILLED = Path(__file__).with_name("killed_run.py")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run([sys.executable, str(KILLED), str(folder), "1"], check=True, timeout=120)
    return folder


@pytest.mark.parametrize(("workers", "delay"), [(1, 0.2), (1, 1.0), (2, 0.5)])
def test_kill_9_and_resume_ends_with_the_same_record(unbroken, tmp_path, workers, delay):
    """The parent is killed without warning somewhere in training; the next run continues to the same result."""
    whole, broken, command = unbroken, tmp_path / "run", [sys.executable, str(KILLED)]
    process = subprocess.Popen([*command, str(broken), str(workers)])
    deadline = time.monotonic() + 60
    while (
        not list(broken.glob("cells/*/dqn/*/checkpoint.pt")) and process.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (broken / "record.json").exists(), "the run ended before it could be killed: make it longer"
    time.sleep(0.5)  # orphaned workers notice and end
    subprocess.run([*command, str(broken), str(workers)], check=True, timeout=120)
    assert Run(broken).result == Run(whole).result
    assert Run(broken).cells == Run(whole).cells
    assert Run(broken).record.occasion.sessions == 2
    assert (
        json.loads((broken / "record.json").read_text())["result"]
        == json.loads((whole / "record.json").read_text())["result"]
    )
