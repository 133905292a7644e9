"""Records -> pages, tables and files for people: one doorway, `write`; every number shown is one of the record."""

from pathlib import Path

from fiduciary.records.run import Run
from fiduciary.reports.files import json, markdown
from fiduciary.reports.page import html
from fiduciary.reports.terminal import console

__all__ = ["console", "html", "json", "markdown", "write"]


def write(run: Run) -> Path:
    """Write report.md, report.json and report.html into the run's folder; the path of the last.

    Raises:
        RecordError: the run is not finished, or its folder is damaged; nothing is written then.
    """
    page = html(run)
    markdown(run)
    json(run)
    return page
