"""`fiduciary data` as a user meets it: pull, update, describe and check, with right and wrong input."""

import re
import sys

import pytest

from fiduciary import cli

HEADER = "date,open,high,low,close,volume\n"
PLAN = """
table = "bars_1d"
start = 2024-01-03

[source]
kind = "files"
path = "prices"
columns = {volume = "volume"}
terms = "made up"
"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder with prices and a plan: (exit code, what it printed in one line)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    (tmp_path / "prices").mkdir()
    for symbol in ("AAA", "BBB"):
        days = "".join(f"2024-01-{day:02d},10,12,9,{10 + day / 100},1000\n" for day in (2, 3, 4))
        (tmp_path / "prices" / f"{symbol}.csv").write_text(HEADER + days)
    (tmp_path / "plan.toml").write_text(PLAN)

    def command(text):
        monkeypatch.setattr(sys, "argv", ["fiduciary", "data", *text.split()])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return left.value.code, re.sub(r"\s+", " ", printed.out + printed.err)

    return command


def test_pull_update_describe_and_check(say, tmp_path):
    code, text = say("pull plan.toml --store history")
    assert (
        code == 0
        and "history/bars_1d: 4 new, 0 corrected" in text
        and "2 questions asked" in text
        and "retrieved: when the answer came" in text
    )
    with (tmp_path / "prices" / "AAA.csv").open("a") as file:
        file.write("2024-01-05,10,12,9,11,1000\n2024-01-08,9,8,7,9,1000\n")
    code, text = say("update plan.toml --store history --symbols AAA")
    assert code == 0 and "1 new, 0 corrected, 2 held already, 1 refused" in text and "BBB" not in text
    code, text = say("describe history")
    assert code == 0 and "licence: made up" in text and "2024-01-03 2024-01-05" in text and "as traded files 1" in text
    code, text = say("check history --table bars_1d")
    assert code == 0 and "stale table" in text and "no error" in text and "bars_1d: 1 refused row in quarantine" in text


def test_a_source_by_name_with_options(say):
    code, text = say("pull files=prices --symbols AAA --stop 2024-01-03 --known published --into mine --store h")
    assert code == 0 and "h/mine: 2 new" in text and "published: bars" in text


def test_options_override_a_plan_before_it_is_held_to_its_rules(say, tmp_path):
    (tmp_path / "gdp.csv").write_text("date,series,value\n2024-01-01,GDP,1.5\n")
    (tmp_path / "macro.toml").write_text('known = "published"\n[source]\nkind = "files"\npath = "gdp.csv"\n')
    code, text = say("pull macro.toml --table macro")
    assert code == 2 and "must be 'retrieved'" in text
    code, text = say("pull macro.toml --table macro --known retrieved --start 2023-12-01 --symbols GDP --store h")
    assert code == 0 and "h/macro: 1 new" in text


def test_a_replay_says_first_how_long_it_will_play(say):
    code, text = say("replay us-stocks --start 2012-01-03 --stop 2012-01-13 --speed 1e9")
    assert code == 0 and "bars play for 0.0 minutes" in text and "p99" in text


def test_a_replay_reads_vwap_and_takes_only_an_empty_store(say):
    command = "replay us-stocks --start 2013-02-25 --speed 1e9 --live live.db --factors"
    code, text = say(f"{command} vwap/close")
    assert code == 0 and "1 factor," in text
    code, text = say(f"{command} sim")
    assert code == 2 and "must start with no bars" in text


def test_a_day_must_be_one(say):
    code, text = say("pull files=prices --start yesterday")
    assert code != 0 and "must read YYYY-MM-DD" in text


def test_a_symbol_without_an_answer_is_told_and_the_command_fails(say, tmp_path):
    (tmp_path / "prices" / "AAA.csv").write_bytes(b"")
    code, text = say("pull files=prices")
    assert code == 2 and "no answer for 1 of 2" in text and "AAA.csv must be a readable" in text and "3 new" in text


def test_check_fails_on_errors(say, tmp_path):
    rows = "".join(f"2024-01-{day:02d},AAA,10,{high},9,10,1000\n" for day, high in ((2, 12), (3, 8), (4, 12)))
    (tmp_path / "long.csv").write_text("date,symbol,open,high,low,close,volume\n" + rows)
    code, text = say("check long.csv")
    assert code == 2 and "DataError" in text and "2024-01-03" in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pull yaho", "did you mean 'yahoo'"),
        ("pull none.toml", "no file none.toml"),
        ("pull files", "files=prices"),
        ("pull yahoo=there", "files=prices"),
        ("pull sql", "stands in a plan"),
        ("pull plan.toml --set source.kind=fil", "did you mean 'files'"),
        ("pull plan.toml --set tabel=x", "did you mean `table`"),
        ("pull plan.toml --table bars_1x", "did you mean 'bars_1"),
        ("pull plan.toml --symbols AAB", "did you mean 'AAA'"),
        ("pull plan.toml --exchange XNYZ", "did you mean"),
        ("pull fred --table macro --symbols GDP --start 2020-01-01", "$FRED_API_KEY"),
        ("pull fred --table bars_1d", "offered by yahoo"),
        ("check nowhere", "no store"),
        ("describe nowhere", "no store"),
        ("update plan.toml --store nowhere", "in nowhere, got no table"),
        ("replay us-stocks --start yesterday", "YYYY-MM-DD"),
        ("pull plan.toml --set source.zone=Europe/Londn", "did you mean 'Europe/London'"),
        ("pull files=empty", "none in empty"),
        ("pull plan.toml --store plan.toml", "plan.toml"),
    ],
)
def test_wrong_input_is_told_and_nothing_is_written(say, tmp_path, monkeypatch, command, words):
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    (tmp_path / "empty").mkdir()
    code, text = say(command)
    assert code == 2 and words in text and not (tmp_path / "history").exists()
