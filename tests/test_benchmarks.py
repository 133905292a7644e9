"""The table of benchmarks is generated from what was measured, and every row says all that the design asks for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((HERE / "results").glob("*.json"))
ROWS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("bench", "rows", "walking"))
KEYS = {
    "row", "issue", "value", "unit", "target", "better", "peer", "peer_value", "n", "interval", "command", "commit", "seconds",
    "note", "met", "hardware",
}  # fmt: skip


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_says_everything(path):
    entry = json.loads(path.read_text())
    assert set(entry) == KEYS
    script = entry["command"].removeprefix("make bench ROW=")
    assert entry["row"] == path.stem and path.stem.startswith(script) and script in ROWS
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", entry["commit"])
    if entry["target"] is not None:
        reached = (
            entry["value"] >= entry["target"] if entry["better"] == "higher" else entry["value"] <= entry["target"]
        )
        assert entry["met"] is reached


def test_every_row_but_the_confidential_ones_has_a_result():
    commands = {json.loads(path.read_text())["command"] for path in RESULTS}
    confidential = ("ashares", "walk_forward_ashares")
    assert commands == {f"make bench ROW={name}" for name in ROWS if name not in confidential}


def test_the_table_is_the_one_that_the_results_give():
    before = (HERE / "README.md").read_text()
    subprocess.run([sys.executable, "-c", "import bench; bench.write_table()"], cwd=HERE, check=True)
    assert (HERE / "README.md").read_text() == before


def test_an_unknown_row_is_refused():
    done = subprocess.run(
        [sys.executable, str(HERE / "bench.py"), "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "a row must be one of" in done.stderr
