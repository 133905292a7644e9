"""The README and the documentation do what they say: code is run, output compared, commands parsed, links followed."""

import ast
import contextlib
import io
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from fiduciary import cli
from fiduciary.applications.stock_investment import StockInvestment
from fiduciary.core import config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
INLINE_COMMAND = re.compile(r"`(fiduciary (?:run|show|check|placebo|certify|data) [^`]+)`")


class Block(NamedTuple):
    """A fenced block: language, what stands behind it, text, the line of its first line of text, place in the page."""

    language: str
    info: str
    text: str
    line: int
    start: int
    end: int


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(m[1], m[2].strip(), m[3], text.count("\n", 0, m.start(3)) + 1, m.start(), m.end())
        for m in BLOCK.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def output_of(page: Path, block: Block) -> str | None:
    """The text block that follows `block` with nothing in between, or None."""
    between = page.read_text(encoding="utf-8")
    after = [b for b in blocks(page, "text") if b.start > block.end]
    return after[0].text if after and not between[block.end : after[0].start].strip() else None


def words(text: str) -> str:
    """Without line breaks and indentation, which depend on the width of a terminal."""
    return " ".join(text.split())


def having(*languages: str) -> list[str]:
    return [name for name, page in BY_NAME.items() if blocks(page, *languages)]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A fresh folder with the shipped studies, one torch thread, a terminal of fixed width."""
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def write_files(page: Path) -> None:
    """Blocks with a title are files."""
    for block in blocks(page):
        if title := re.search(r'title="([^"]+)"', block.info):
            Path(title[1]).write_text(block.text, encoding="utf-8")


# --- code ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", having("python"))
def test_python_blocks_run_and_print_what_they_say(name, place):
    page = BY_NAME[name]
    write_files(page)
    space = {"__name__": "page"}
    for block in blocks(page, "python"):
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, space)
        expected = output_of(page, block)
        if expected is not None:
            assert words(printed.getvalue()) == words(expected), f"{name}, line {block.line}"
    if name == "README.md":
        assert {p.name for p in (place / "runs/first-study").glob("report.*")} == {
            "report.html",
            "report.md",
            "report.json",
        }


def test_readme_shows_a_whole_program_by_line_30():
    first = blocks(ROOT / "README.md", "python")[0]
    assert first.line + first.text.count("\n") - 1 <= 30


def test_example_is_the_readme_guarded():
    readme = ast.parse(blocks(ROOT / "README.md", "python")[0].text)
    example = ast.parse((ROOT / "examples/first_study.py").read_text(encoding="utf-8"))
    (main,) = [node for node in example.body if isinstance(node, ast.FunctionDef)]
    shown = [ast.unparse(node) for node in readme.body]
    assert shown == [ast.unparse(node) for node in [*example.body[1:3], *main.body[1:]]]
    assert "__name__ == '__main__'" in ast.unparse(example)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Cyclopts application")
def test_console_blocks_print_what_they_say(place, monkeypatch, capsys):
    compared = 0
    for name in having("console"):
        write_files(BY_NAME[name])
        if (place / "small.toml").exists() and not (place / "runs/small").exists():
            config.read("small.toml", StockInvestment).study().run("runs/small", progress=False)
        capsys.readouterr()
        for block in blocks(BY_NAME[name], "console"):
            command, _, expected = block.text.partition("\n")
            monkeypatch.setattr(sys, "argv", shlex.split(command.removeprefix("$ ")))
            with pytest.raises(SystemExit) as left:
                cli.main()
            printed = capsys.readouterr()
            assert left.value.code == (2 if "Error:" in expected else 0), command
            assert words(printed.out + printed.err) == words(expected), command
            compared += 1
    assert compared >= 12


COMMANDS = (
    "run", "show", "check", "placebo", "certify", "data pull", "data update", "data describe", "data check", "data replay",
    "data rollover", "factor list", "factor show", "factor check", "factor compute", "factor evaluate",
)  # fmt: skip


def commands() -> list[tuple[str, str]]:
    """(page, command line) of everything shown as `fiduciary ...`."""
    shown = []
    for name, page in BY_NAME.items():
        lines = [line.removeprefix("$ ") for block in blocks(page, "sh", "console") for line in block.text.splitlines()]
        shown += [(name, line) for line in lines if line.startswith("fiduciary ") and "--version" not in line]
        shown += [(name, line) for line in INLINE_COMMAND.findall(page.read_text(encoding="utf-8"))]
    return list(dict.fromkeys(shown))


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse_and_set_only_what_exists(page, command):
    tokens = shlex.split(command)[1:]
    function, bound, *_ = cli.app.parse_args(tokens, exit_on_error=False, print_error=False)
    assert function.__module__.startswith("fiduciary.cli")
    wrong_on_purpose = any(command in block.text for block in blocks(BY_NAME[page], "console"))
    study = bound.arguments.get("study")
    if study is not None and not wrong_on_purpose:
        if study.parent == Path("studies"):
            assert (ROOT / study).exists(), f"{page} names a study that is not shipped"
        else:
            write_files(BY_NAME[page])
            written = any(study.name in block.text for p in PAGES for block in blocks(p, "python", "sh"))
            assert study.exists() or written, f"{page} names {study} and nobody writes it"
        if study.exists():
            config.read(study, StockInvestment, bound.arguments.get("overrides") or ())


@pytest.mark.filterwarnings("ignore:Cyclopts application")
@pytest.mark.parametrize("command", ["", *COMMANDS, "data", "factor"])
def test_every_command_has_help_with_an_example(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fiduciary", *command.split(), "--help"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    if command not in ("data", "factor"):
        assert f"fiduciary {command}".strip() + " " in capsys.readouterr().out.partition("Usage")[2].partition("\n")[2]


def test_cli_page_names_every_command():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"\n## {command}\n" in page


@pytest.mark.parametrize("name", having("toml"))
def test_study_files_shown_are_read_strictly(name):
    page = BY_NAME[name].read_text(encoding="utf-8")
    for block in blocks(BY_NAME[name], "toml"):
        title = re.search(r'title="([^"]+)"', block.info)
        refused = title is not None and f"$ fiduciary run {title[1]}\nConfigError" in page  # shown for its error
        if "application" in block.text and not refused:
            Path("shown.toml").write_text(block.text, encoding="utf-8")
            shown = config.read("shown.toml", StockInvestment)
            assert shown.costs.commission_bps > 0  # a study without costs must not be our example


# --- links and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_relative_links_and_images_exist(name):
    page = BY_NAME[name]
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", BY_NAME)
def test_no_absolute_local_path(name):
    found = re.search(
        r"(?<![\w.:/])/(?:home|root|tmp|work|usr|opt|mnt|Users)\b|[A-Z]:\\", BY_NAME[name].read_text("utf-8")
    )
    assert found is None, found


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs')}\n" in nav


def test_site_loads_nothing_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert not re.search(r"https?://", settings)


def test_papers_numbers():
    """The mean and the profit that the paper's own table implies (card 1.1)."""
    claimed = (54.129, 6.084, 11.594, 9.815, 78.984)
    assert sum(claimed) / 5 == pytest.approx(32.1212, abs=1e-9)
    assert sum(100_000 * percent / 100 for percent in claimed) == pytest.approx(160_606, abs=1e-6)
