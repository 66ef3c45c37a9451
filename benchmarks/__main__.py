"""`python -m benchmarks [--quick] [--only NAME]`: all comparisons, one table, results/cpu.json and README.md."""
import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

from benchmarks import cases, race

HERE = Path(__file__).parent
MARK = "<!-- table -->"


def say(row):
    print(f"  {row.case} {row.atoms} atoms, {row.cores} core(s), {row.precision}, {row.schedule}: {row.ours:.4g} against "
          f"{row.theirs:.4g} {row.unit} of {row.peer}: {row.ratio:.2f} ({row.spread[0]:.2f}-{row.spread[1]:.2f})", flush=True)


def render(rows):
    """Rows as a Markdown table; a ratio short of its goal is set in italics."""
    heads = ("case", "atoms", "cores", "precision", "schedule", "peer", "ours", "theirs", "unit", "ratio", "spread", "goal",
             "force difference")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        goal = row["goal"]
        ratio = f"{row['ratio']:.2f}"
        ratio = f"**{ratio}**" if goal is None or row["ratio"] >= goal else f"*{ratio}*"
        spread = "{:.2f}–{:.2f}".format(*row["spread"])
        lines.append(f"| {row['case']} | {row['atoms']} | {row['cores']} | {row['precision']} | {row['schedule']} | "
                     f"{row['peer']} | {row['ours']:.4g} | {row['theirs']:.4g} | {row['unit']} | {ratio} | {spread} | "
                     f"{goal or ''} | {row['force_difference']:.1e} |")
    return "\n".join(lines)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def same(row):
    """What tells rows apart, whatever the versions and settings of the peer."""
    return row["case"], row["atoms"], row["cores"], row["precision"], row["schedule"].split(",")[0], row["peer"].split()[0]


def write(name, rows, whole=False):
    """Put rows of a benchmark into the file and the table, in the place of those that they repeat, or of all that it has."""
    file, readme = HERE / "results" / "cpu.json", HERE / "README.md"
    file.parent.mkdir(exist_ok=True)
    kept = json.loads(file.read_text()) if file.exists() else {"rows": []}
    rows = [dict(row.as_dict(), benchmark=name) for row in rows]
    new, order = {same(row) for row in rows}, list(cases.ALL)
    old = [row for row in kept["rows"] if same(row) not in new and not (whole and row["benchmark"] == name)]
    kept["rows"] = sorted(old + rows, key=lambda row: order.index(row["benchmark"]))
    kept["machine"] = {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "date": str(date.today())}
    file.write_text(json.dumps(kept, indent=1) + "\n")
    head, _, tail = readme.read_text().partition(MARK)
    where = "Made on {processor}, {cores} cores, {date}.".format(**kept["machine"])
    table = render(kept["rows"])
    readme.write_text(f"{head}{MARK}\n\n{where}\n\n{table}\n\n{MARK}{tail.partition(MARK)[2]}")
    return table


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the 32 k cases only, in about five minutes")
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(cases.ALL)}")
    parser.add_argument("--long", action="store_true", help="500 steps also where there are a million atoms: an hour more")
    given = parser.parse_args()
    if given.long:
        race.LARGE = float("inf")
    if given.only and given.only not in cases.ALL:
        parser.error(f"no benchmark is called '{given.only}'; there are: {', '.join(cases.ALL)}")
    table = write("", [])
    for name, run in cases.ALL.items():
        if given.only not in (None, name):
            continue
        print(name, flush=True)
        rows = []

        def note(row, name=name, rows=rows):    # as they come, so that an interrupted run keeps what it has
            say(row)
            rows.append(row)
            write(name, rows)
        try:
            table = write(name, run(given.quick, note), whole=True)
        except ImportError as error:
            print(f"  left out: {error}")
    print(table)


if __name__ == "__main__":
    sys.exit(main())
