"""Alpha158 by Qlib 0.9.7's own engine, run in an environment of its own.

Arguments: a folder with `bars.npz` (dates, fields, values [T, N, F] float32) and the number of processes. Writes Qlib's binary
store beside it, computes Alpha158's own expressions, saves them as `qlib.npy` [K, T, N] and prints the seconds.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np


def store(folder: Path, bars: "np.lib.npyio.NpzFile") -> Path:
    """Qlib's format: a calendar, the instruments' spans, and per field the start index and the values as float32."""
    place, dates = folder / "qlib-store", bars["dates"].astype(str)
    shutil.rmtree(place, ignore_errors=True)
    for name, lines in (
        ("calendars/day.txt", dates),
        ("instruments/all.txt", [f"S{n:04d}\t{dates[0]}\t{dates[-1]}" for n in range(bars["values"].shape[1])]),
    ):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text("\n".join(lines) + "\n")
    for n in range(bars["values"].shape[1]):
        symbol = place / "features" / f"s{n:04d}"
        symbol.mkdir(parents=True)
        for f, field in enumerate(bars["fields"]):
            np.append(np.float32(0), bars["values"][:, n, f]).astype("<f4").tofile(symbol / f"{field}.day.bin")
    return place


def main(folder: Path, kernels: int) -> None:
    import qlib
    from qlib.contrib.data.loader import Alpha158DL
    from qlib.data import D

    bars = np.load(folder / "bars.npz")
    qlib.init(
        provider_uri=str(store(folder, bars)),
        kernels=kernels,
        logging_level=40,
        expression_cache=None,
        dataset_cache=None,
    )
    expressions, names = Alpha158DL.get_feature_config()
    started = time.perf_counter()
    frame = D.features(D.instruments("all"), expressions, disk_cache=0)
    seconds = time.perf_counter() - started
    dates, symbols = bars["values"].shape[:2]
    assert len(frame) == dates * symbols  # sorted by instrument, then date
    np.save(
        folder / "qlib.npy", np.moveaxis(frame.to_numpy(np.float32).reshape(symbols, dates, -1), (2, 1, 0), (0, 1, 2))
    )
    (folder / "expressions.json").write_text(json.dumps(dict(zip(names, expressions, strict=True))))
    print(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
