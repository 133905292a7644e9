"""The command line as a user meets it: real processes, right and wrong input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = "studies/stock-investment.toml"
TINY = [
    "agent.updates=60",
    "agent.warm_up=200",
    "agent.accounts=16",
    'data.symbols=["AAPL", "IBM"]',
    "agent.net.first=8",
]


def fiduciary(*arguments, check=False, cwd=ROOT):
    command = [sys.executable, "-m", "fiduciary", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=check, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run made by the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    sets = [part for pair in TINY for part in ("--set", pair)]
    return folder, fiduciary("run", STUDY, *sets, "--seeds", 2, "--workers", 1, "--out", folder)


def test_a_run_prints_its_verdict_and_where_the_record_is(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "vidence" in done.stdout.splitlines()[0]
    flat = done.stdout.replace("\n", "")
    assert f"{folder}/record.json" in flat and f"{folder}/report.html" in flat
    assert {path.name for path in folder.iterdir()} >= {
        "record.json",
        "report.html",
        "report.md",
        "report.json",
        "cells",
    }
    record = json.loads((folder / "record.json").read_text())
    assert record["result"]["seeds"] == [0, 1]
    assert record["occasion"]["arguments"][:3] == ["fiduciary", "run", STUDY]
    assert record["result"]["effective"]["candidates"]["lstm-dqn"]["updates"] == 60


def test_the_same_command_again_computes_nothing_and_says_the_same(finished):
    folder, done = finished
    sets = [part for pair in TINY for part in ("--set", pair)]
    again = fiduciary("run", STUDY, *sets, "--seeds", 2, "--workers", 1, "--out", folder)
    assert again.returncode == 0
    assert again.stdout == done.stdout


def test_show_prints_the_run_again(finished):
    folder, done = finished
    shown = fiduciary("show", folder)
    assert shown.returncode == 0
    assert shown.stdout == done.stdout


def test_data_describe_shows_ranges_and_faults(tmp_path):
    shown = fiduciary("data", "describe", "us-stocks", check=True).stdout
    assert "AAPL" in shown and "430.47" in shown and "2004-08-19" in shown
    csv = tmp_path / "mine.csv"
    csv.write_text("when,ticker,open,high,low,close,volume\n2020-01-02,X,1,2,1,2,10\n2020-01-03,X,2,2,1,1,10\n")
    shown = fiduciary(
        "data", "describe", csv, "--columns", "date=when", "--columns", "symbol=ticker", check=True
    ).stdout
    assert "2020-01-03" in shown


def test_a_search_is_logged_and_counted(tmp_path):
    sets = [
        *TINY, 'data.symbols=["IBM"]', "index.source=", 'split.valid=["2010", "2010"]', 'split.test=["2011", "2012"]',
        'search.space.lr=[1e-4, 1e-2, "log"]', "search.trials=2",
    ]  # fmt: skip
    folder = tmp_path / "run"
    arguments = [part for pair in sets for part in ("--set", pair)]
    done = fiduciary("run", STUDY, *arguments, "--seeds", 1, "--out", folder, "--log", "tensorboard")
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "record.json").read_text())
    assert record["result"]["judgements"][0]["trials"] == 2 and record["result"]["valid"] == [
        "2010-01-04",
        "2010-12-31",
    ]
    assert list(folder.glob("tensorboard/cells/IBM/lstm-dqn/seed-0/events*"))


def test_check_reports_every_law():
    shown = fiduciary("check", STUDY, "--set", 'data.symbols=["IBM"]', check=True).stdout
    assert shown.count("future-blind") == 2 and "all laws hold" in shown
    dates = ["--set", 'split.valid=["2010", "2010"]', "--set", 'split.test=["2011", "2012"]']
    shown = fiduciary("check", STUDY, "--set", 'data.symbols=["IBM"]', *dates, check=True).stdout
    assert shown.count("future-blind") == 3


def test_version_and_help():
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", fiduciary("--version", check=True).stdout)
    shown = fiduciary("--help", check=True).stdout
    assert "fiduciary run studies/stock-investment.toml" in shown and "data describe us-stocks" in shown
    assert "fiduciary show runs/stock-investment" in fiduciary("show", "--help", check=True).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.toml"], "no file absent.toml"),
        (["run", STUDY, "--set", "agent.lrr=1"], "did you mean `agent.lr`"),
        (["run", STUDY, "--seeds", "0"], "`--seeds` must be at least 1"),
        (["run", STUDY, "--log", "mlfow"], "did you mean mlflow"),
        (["run", STUDY, "--log", "mlflow=pigeon://x"], "an MLflow store must open"),
        (["run", STUDY, "--set", "search.trials=5"], "must vary a setting"),
        (["run", STUDY, "--workers", "0"], "`--workers` must be at least 1"),
        (["run", "studies/stock-investment-ashares.toml"], "--set data.source=PATH"),
        (["show", "tests"], "this is not a run folder"),
        (["data", "describe", "us-stock"], "us-stocks"),
        (["data", "describe", "absent.csv"], "absent.csv"),
        (["data", "describe", "us-stocks", "--columns", "x"], "our-name=their-name"),
    ],
)
def test_wrong_input_gets_one_clear_message_and_exit_2(arguments, message):
    done = fiduciary(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ").replace("  ", " ")
    assert "Traceback" not in done.stderr


def test_an_unknown_command_fails_without_a_traceback():
    done = fiduciary("rnu")
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_says_so_at_once_and_the_same_command_continues(tmp_path, workers):
    sets = [part for pair in (*TINY, "agent.updates=1500", "agent.training.keep_every=20") for part in ("--set", pair)]
    arguments = ["run", STUDY, *sets, "--seeds", 2, "--workers", workers, "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "fiduciary", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/cells/*/lstm-dqn/*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in said and "Traceback" not in said
    assert time.monotonic() - started < 10
    assert list(tmp_path.glob("run/cells/*/lstm-dqn/*/checkpoint.pt"))


@pytest.mark.parametrize("out", ["/proc/nowhere/run", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_is_one_message(out):
    sets = [part for pair in TINY for part in ("--set", pair)]
    done = fiduciary("run", STUDY, *sets, "--out", out)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert out.rpartition("/")[0] in done.stderr


def test_start_up_loads_no_heavy_library():
    heavy = "('torch', 'numpy', 'polars', 'plotly', 'pydantic')"
    code = f"import sys, fiduciary, fiduciary.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
