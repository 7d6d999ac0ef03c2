"""The page of a sweep, made when it ends."""

from __future__ import annotations

from sparsekit.report.collect import Record
from sparsekit.report.page.places import page_of
from sparsekit.report.page.sweeps import sweep_facts
from sparsekit.report.page.write import write_page
from sparsekit.store.named import read_records
from sparsekit.sweeps.records import Sweep
from sparsekit.system.printing import remark


def publish_page(sweep: Sweep) -> None:
    """Write the page of a sweep below its store, and say where.

    What goes wrong is a remark: the results are there without it.
    """
    try:
        files = [sweep.record_file(number) for number in range(len(sweep.runs))]
        found, damaged = read_records(dict.fromkeys(files))
        records = [Record(file, content) for file, content in found.items()]
        facts = sweep_facts(sweep.root, sweep.name)
        path = page_of(sweep.root, sweep.name)
        write_page(
            path,
            records,
            title=sweep.name,
            sweeps=[] if facts is None else [facts],
            damaged=[str(error) for error in damaged],
        )
        remark(f"page: {path}")
    except Exception as error:
        remark(f"there is no page of {sweep.name}: {error}")
