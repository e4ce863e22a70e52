"""Tables of a run of the benchmarks on a GPU, in Markdown, then the goals beside the figures.

    python -m bench.gpu_report FILE.json

The file is what `pytest bench -k gpu --benchmark-enable --benchmark-json=FILE.json` has written.
Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_cases import COPY, OURS_CPU, OURS_GPU
from bench.gpu_measure import N_THREADS
from bench.report import Goal, report_goals
from fastmotion.benchmark import markdown_table

LEAST_SHARE, LEAST_SPEED_UP = 0.6, 20.0

Record = Mapping[str, Any]


def read_records(data: Mapping[str, Any]) -> list[Record]:
    """What each benchmark on a GPU has noted."""
    return [b["extra_info"] for b in data["benchmarks"] if b["group"].startswith("GPU, ")]


def best_rates(records: Sequence[Record]) -> dict[str, float]:
    """The ceilings: the best rate of any method, in bytes or operations a second."""
    factors = {"GB/s": 1e9, "TFLOP/s": 1e12}
    rates: dict[str, float] = {}
    for record in records:
        if "rate" in record:
            rate = record["rate"] * factors[record["unit"]]
            rates[record["ceiling"]] = max(rate, rates.get(record["ceiling"], 0.0))
    return rates


def share_of_ceiling(record: Record, rates: Mapping[str, float]) -> float | None:
    """How much of what the chip can do the necessary work makes up; None where that is unknown."""
    if record["bound"] not in rates or record["method"].endswith("CPU"):
        return None
    amount = record["n_bytes"] if record["bound"] == COPY else record["flops"]
    return amount / record["seconds"] / rates[record["bound"]]


def describe_run(data: Mapping[str, Any]) -> str:
    """The machine: a line for each thing that the figures depend on."""
    facts = data["machine_info"]["fastmotion"] | data["machine_info"].get("gpu", {})
    lines = [f"{key}: {value}" for key, value in facts.items() if value != "not installed"]
    return "\n".join([*lines, f"date: {data['datetime']}"])


def ceiling_table(records: Sequence[Record]) -> str:
    rows = [
        [record["ceiling"], record["method"], f"{record['rate']:.4g} {record['unit']}"]
        for record in records
        if "rate" in record
    ]
    return markdown_table(["ceiling", "measured with", "rate"], rows)


def family_table(family: str, records: Sequence[Record], rates: Mapping[str, float]) -> str:
    """A row for each method, and below what necessary work and scaled figures are."""
    records = [record for record in records if record.get("family") == family]
    header = [
        family, "method", "data on the", "ms", "times ours on the CPU", "GB/s", "TFLOP/s",
        "share of ceiling",
    ]  # fmt: skip
    text = markdown_table(header, [_row(record, records, rates) for record in records])
    formulas = {r["case"]: f"{r['formula']}; ceiling: {r['bound']}" for r in records}
    notes = [f"- {case}: {formula}" for case, formula in formulas.items()]
    notes += [
        f"- {r['case']}, {r['method']}: timed on 1/{r['scaled_by']:.0f} of the data and multiplied"
        for r in records
        if r["scaled_by"] > 1
    ]
    return text + "\n\n" + "\n".join(notes)


def _row(record: Record, records: Sequence[Record], rates: Mapping[str, float]) -> list[str]:
    seconds, on_cpu = record["seconds"], our_seconds_on_cpu(record["case"], records)
    share = share_of_ceiling(record, rates)
    return [
        record["case"],
        record["method"],
        record["input"],
        f"{1e3 * seconds:.4g}" + ("*" if record["scaled_by"] > 1 else ""),
        f"{on_cpu / seconds:.3g}" if on_cpu else "–",
        f"{record['n_bytes'] / seconds / 1e9:.3g}",
        f"{record['flops'] / seconds / 1e12:.3g}" if record["flops"] else "–",
        f"{share:.0%}" if share is not None else "–",
    ]


def our_seconds_on_cpu(case: str, records: Sequence[Record]) -> float | None:
    return next(
        (r["seconds"] for r in records if r.get("case") == case and r["method"] == OURS_CPU), None
    )


def goals(records: Sequence[Record], rates: Mapping[str, float]) -> list[Goal]:
    """For ours on the GPU with its data there."""
    found = []
    for record in records:
        if record.get("method") != OURS_GPU or record["input"] != "device":
            continue
        case, share = record["case"], share_of_ceiling(record, rates)
        if record["bound"] == COPY and share is not None:
            found.append(Goal(f"share of copy bandwidth, {case}", share, LEAST_SHARE, "", True))
        on_cpu = our_seconds_on_cpu(case, records)
        if on_cpu is not None:
            text = f"time of our CPU on {N_THREADS} threads / ours, {case}"
            found.append(Goal(text, on_cpu / record["seconds"], LEAST_SPEED_UP, "", True))
    return found


def report_text(data: Mapping[str, Any]) -> str:
    """The machine, the ceilings and a table for each family, in Markdown."""
    records = read_records(data)
    rates = best_rates(records)
    parts = [
        describe_run(data),
        f"Medians. What runs on the CPU has {N_THREADS} threads. GB/s and TFLOP/s are the "
        "necessary work, counted as below each table, by the time; data on the host are moved to "
        "the device and results back within that time. * see below the table.",
        ceiling_table(records),
    ]
    families = dict.fromkeys(r["family"] for r in records if "family" in r)
    return "\n\n".join([*parts, *(family_table(name, records, rates) for name in families)])


def run_goals(data: Mapping[str, Any]) -> list[Goal]:
    records = read_records(data)
    return goals(records, best_rates(records))


def print_report(data: Mapping[str, Any]) -> int:
    """Print everything and return the exit status."""
    print(report_text(data), end="\n\n")
    return report_goals(run_goals(data))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE.json")
    path = parser.parse_args().file
    if not path.is_file():
        print(f"{path} is not there: no benchmark ran on a GPU", file=sys.stderr)
        return 1
    return print_report(json.loads(path.read_text()))


if __name__ == "__main__":
    sys.exit(main())
