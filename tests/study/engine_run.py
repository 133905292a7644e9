"""A study in a process of its own on either engine: `python engine_run.py FOLDER ENGINE`."""

import sys

from killed_run import study

if __name__ == "__main__":
    study().run(sys.argv[1], workers=2, engine=sys.argv[2], progress=False)
