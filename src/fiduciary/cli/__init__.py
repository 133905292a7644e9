"""The command line: parse, call, print where the record is."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from cyclopts import App, Parameter

from fiduciary import __version__
from fiduciary.cli.data import data_app
from fiduciary.cli.factor import factor_app
from fiduciary.cli.parts import examples, print_rich, say
from fiduciary.core.errors import ConfigError, FiduciaryError

if TYPE_CHECKING:
    from fiduciary.applications.stock_investment import StockInvestment
    from fiduciary.records import Run
    from fiduciary.study.sinks import Sink


app = App(
    name="fiduciary",
    version=__version__,
    help="Learn financial decisions by deep reinforcement learning, and prove whether they can be trusted.",
    help_epilogue=examples(
        "fiduciary run studies/stock-investment.toml",
        "fiduciary run studies/stock-investment.toml --seeds 5 --set agent.double=true",
        "fiduciary show runs/stock-investment",
        "fiduciary check studies/stock-investment.toml",
        "fiduciary placebo --runs 50",
        "fiduciary certify --short",
        "fiduciary data describe us-stocks",
        "fiduciary data pull files=prices --store history",
        "fiduciary factor evaluate us-stocks --factors alpha158",
    ),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(data_app)
app.command(factor_app)

Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", help="Change one setting of the study, as key=value; repeatable.", negative=()),
]


@app.command(
    help_epilogue=examples(
        "fiduciary run studies/stock-investment.toml",
        "fiduciary run studies/stock-investment.toml --seeds 5 --set agent.double=true",
    )
)
def run(
    study: Path,
    /,
    *,
    overrides: Overrides = None,
    seeds: int | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    log: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path | None = None,
) -> None:
    """Train, judge and report; a killed run continues when the same command is given again.

    Parameters
    ----------
    study:
        A study file (TOML).
    seeds:
        Train with this many seeds, 0 to N-1, instead of the study's own.
    workers:
        Processes to train in; default: one for each core. The result does not depend on it.
    engine:
        local, or ray: the cluster at $RAY_ADDRESS, whose nodes must all see the run's folder; without an address, a Ray
        on this machine. The result does not depend on it.
    log:
        Show progress elsewhere too: tensorboard or mlflow, or either with =WHERE (a folder; a server or sqlite:///FILE);
        repeatable. The result does not depend on it.
    out:
        The run's folder; default: runs/NAME, with a suffix when settings were changed.
    """
    _refuse_none(seeds=seeds, workers=workers)
    if seeds is not None:
        overrides = [*(overrides or []), f"seeds={list(range(seeds))}"]
    stated = _read(study, overrides or ()).study()
    folder = out or Path("runs") / (study.stem + _suffix(overrides or ()))
    finished = stated.run(
        folder, workers=workers or os.cpu_count() or 1, engine=engine, sinks=[_sink(each, folder) for each in log or ()],
        arguments=["fiduciary", *sys.argv[1:]],
    )  # fmt: skip
    _report(finished)


@app.command(
    help_epilogue=examples(
        "fiduciary show runs/stock-investment",
    )
)
def show(folder: Path, /) -> None:
    """Print a finished run's verdict and tables, and write its report again.

    Parameters
    ----------
    folder:
        A run's folder.
    """
    from fiduciary.records import Run

    _report(Run(folder))


@app.command(
    help_epilogue=examples(
        "fiduciary check studies/stock-investment.toml",
    )
)
def check(study: Path, /, *, overrides: Overrides = None, seed: int = 0) -> None:
    """Hold a study's environment to the laws of the contract: money conserved, future-blind, deterministic, batched.

    Parameters
    ----------
    study:
        A study file (TOML).
    seed:
        Root of the check's randomness.
    """
    from rich.table import Table

    from fiduciary.core.checks import check_env

    stated = _read(study, overrides or ()).study()
    table = Table("account", "half", "law", "trials", "worst deviation", title="all laws hold")
    # Of several splits the last one has the most history behind it.
    for account, fold in stated.env.folds(stated.every_split[-1]).items():
        halves = {"train": fold.train, "valid": fold.valid, "test": fold.test}
        for half, env in halves.items():
            for law in check_env(env, seed=seed) if env is not None else ():
                table.add_row(account, half, law.name, str(law.trials), f"{law.worst:.1e}" if law.worst else "0")
    print_rich(table)


@app.command(
    help_epilogue=examples(
        "fiduciary placebo --runs 50",
        "fiduciary placebo studies/stock-investment.toml --runs 20 --market block-permuted --market phase-randomised",
        "fiduciary placebo --runs 100 --edge 1 --edge 2",
    )
)
def placebo(
    study: Path | None = None,
    /,
    *,
    overrides: Overrides = None,
    market: Annotated[list[str] | None, Parameter(negative=())] = None,
    edge: Annotated[list[float] | None, Parameter(negative=())] = None,
    runs: int = 50,
    seed: int = 0,
    workers: int | None = None,
    out: Path | None = None,
) -> None:
    """Run the whole pipeline on markets without skill and count how often it finds some; a killed one continues.

    Parameters
    ----------
    study:
        A study file (TOML), whose own panel is made skill-free; default: a small study of one stock.
    market:
        random-walk, garch, block-permuted or phase-randomised; repeatable. Default: all.
    edge:
        Also a market with a planted edge of this annual Sharpe ratio, to see what is found of it; repeatable.
    runs:
        Of each market and of each edge.
    seed:
        Root of the markets' randomness.
    workers:
        Processes; default: one for each core. The result does not depend on it.
    out:
        Where verdicts are kept; default: runs/placebo, or runs/placebo-NAME for a study file.
    """
    from fiduciary.study.placebo import NULLS, table
    from fiduciary.study.placebo import placebo as run_placebo

    _refuse_none(workers=workers)
    stated = None if study is None else _read(study, overrides or ()).study()
    name = "placebo" if study is None else f"placebo-{study.stem}{_suffix(overrides or ())}"
    folder = out or Path("runs") / name
    found = run_placebo(
        stated, markets=market or tuple(NULLS), edges=edge or (), runs=runs, seed=seed,
        workers=workers or os.cpu_count() or 1, folder=folder,
    )  # fmt: skip
    print_rich(table(found))
    say(f"verdicts: {folder}/placebo.jsonl")


@app.command(
    help_epilogue=examples(
        "fiduciary certify --short",
        "fiduciary certify PPO DQN --rung chain",
        "fiduciary certify my_module:MyAgent",
    )
)
def certify(
    *agents: str,
    rung: Annotated[list[str] | None, Parameter(negative=())] = None,
    short: Annotated[bool, Parameter(negative=())] = False,
    seeds: int | None = None,
    workers: int | None = None,
    out: Path = Path("runs/certify"),
) -> None:
    """Let agents climb a ladder of decision problems whose best answers are known; a killed climb continues.

    Parameters
    ----------
    agents:
        Names on the ladder, or your own as module:name (a class or an object, imported from the current directory), which
        tries every rung with its defaults. Default: all.
    rung:
        A rung to climb; repeatable. Default: all.
    short:
        One seed, and only agents that a bar binds.
    seeds:
        Fits of each, with seeds 0 to N-1; default: 3, or 1 with --short.
    workers:
        Processes; default: one for each core. The result does not depend on it.
    out:
        Where the table is kept.
    """
    from fiduciary.study.certify import certify as climb
    from fiduciary.study.certify import table

    _refuse_none(seeds=seeds, workers=workers)
    certificate = climb(
        agents or None, rung, short=short, seeds=None if seeds is None else range(seeds),
        workers=workers or os.cpu_count() or 1, folder=out,
    )  # fmt: skip
    print_rich(table(certificate))
    say(f"kept: {out}")


def _refuse_none(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ConfigError(f"`--{name}` must be at least 1", str(count))


def _report(finished: "Run") -> None:
    from fiduciary import reports

    page = reports.write(finished)
    print_rich(reports.console(finished))
    say(f"record: {finished.root}/record.json\nreport: {page}")


def _sink(log: str, folder: Path) -> "Sink":
    """tensorboard or mlflow, with "=" and a place other than the usual one."""
    from fiduciary.core.errors import nearest
    from fiduciary.study import sinks

    name, _, where = log.partition("=")
    if name == "tensorboard":
        return sinks.TensorBoard(where or folder / "tensorboard")
    if name == "mlflow":
        usual = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent / 'mlflow.db'}"
        return sinks.MLflow(where or usual, experiment=folder.name)
    near = nearest(name, ("tensorboard", "mlflow"))
    raise ConfigError(
        "`--log` takes tensorboard or mlflow, or either with =WHERE", repr(log), remedy=near and f"did you mean {near}?"
    )


def _read(study: Path, overrides: Sequence[str]) -> "StockInvestment":
    from fiduciary.applications.stock_investment import StockInvestment
    from fiduciary.core.config import read

    return read(study, StockInvestment, overrides)


def _suffix(overrides: Sequence[str]) -> str:
    """Changed settings make another study, and a folder keeps to one."""
    if not overrides:
        return ""
    from fiduciary.records.identity import digest

    return f"-{digest(list(overrides))[:8]}"


def main() -> NoReturn:
    """Entry point: exit 0 when done, 2 with one message when input is wrong, 130 when interrupted."""
    from rich.console import Console

    try:
        app()
    except (FiduciaryError, OSError) as error:
        message = f"{type(error).__name__}: {error}"
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False, style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command continues where it stopped")
        sys.exit(130)
    sys.exit(0)
