"""Where real data lie that tests may read and the project may not hold; absent elsewhere."""

from pathlib import Path

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
