"""`python -m fiduciary`."""

from fiduciary.cli import main

if __name__ == "__main__":
    main()
