"""What `learned_inference`, `learned_training` and `training_scaling` measured, with `--keep`: results/learned_speed.json, and
the table of it in README.md. A later row about the same thing replaces the earlier one.

    python -m benchmarks.learned_speed        # the table again
"""

import json
import platform
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "learned_speed.json"
MARKS = "<!-- learned speed -->", "<!-- end of learned speed -->"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def keep(rows):
    """rows: [{"what": str, "ours": ms, "theirs": ms or None, "goal": str, "command": str}, ...]"""
    kept = {row["what"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    for row in rows:
        kept[row["what"]] = {**row, "processor": processor()}
    RESULTS.write_text(json.dumps(list(kept.values()), indent=1, ensure_ascii=False) + "\n")
    render(list(kept.values()))


def table(rows):
    out = ["| what | ours, ms | beside it, ms | ratio | goal | command |", "|---|---|---|---|---|---|"]
    for row in rows:
        theirs, ratio = ("–", "–") if row["theirs"] is None else (f"{row['theirs']:.4g}", f"{row['theirs'] / row['ours']:.2f}")
        out.append(f"| {row['what']} | {row['ours']:.4g} | {theirs} | {ratio} | {row['goal']} | `{row['command']}` |")
    return "\n".join(out)


def render(rows):
    """The table between its marks in README.md."""
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(MARKS[0])
    readme.write_text(before + MARKS[0] + "\n" + table(rows) + "\n" + MARKS[1] + rest.split(MARKS[1])[1])


if __name__ == "__main__":
    render(json.loads(RESULTS.read_text()))
