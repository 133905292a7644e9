"""The README's first study as a script: `python examples/first_study.py`."""

import rich

from fiduciary import Study, agents, check_env, costs, data, envs, factors, reports, rules, splits, venue


def main() -> None:
    """Train two agents with two seeds each, judge them, write the report."""
    panel = data.sample("us-stocks", symbols=["AAPL", "MSFT"])  # real daily bars, shipped with the package
    env = envs.StockTrading(panel, factors.SIM, cash=100_000, costs=costs.linear(bps=5), venue=venue.US, window=20)
    check_env(env)  # money conserved, blind to the future, deterministic, batched
    study = Study(
        question="Does LSTM-DQN beat buying and holding AAPL and MSFT, after costs?",  # fixed before the first run
        env=env,
        benchmark=rules.BuyAndHold(),  # no benchmark, no study
        candidates={"lstm-dqn": agents.DQN(updates=200)},  # few updates, to finish in seconds; the default is 2,000
        splits=splits.dates(train=("2005", "2009"), test=("2010", "2012")),
        seeds=range(2),
    )
    run = study.run("runs/first-study")  # give the same folder again and it continues
    rich.print(run.verdict)  # word, difference to the benchmark, interval, p-value, trials
    rich.print(reports.console(run))
    rich.print(reports.write(run))  # report.html, report.md and report.json in the run's folder


if __name__ == "__main__":
    main()
