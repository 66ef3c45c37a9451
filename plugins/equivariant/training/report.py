"""What a training came to: a table of errors, learning curves, parity plots; text, JSON and PNG beside the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

#: of labels: what a person is told, and how much that is of eV and Å
UNITS = {"energy": ("meV/atom", 1e3), "forces": ("meV/Å", 1e3), "stress": ("meV/Å³", 1e3), "polarization": ("me·Å/atom", 1e3),
         "born_charges": ("me", 1e3), "polarizability": ("me·Å²/V/atom", 1e3)}


def table(errors: dict) -> str:
    """errors: {"test": Errors, ...} -> lines of MAE, RMSE and count for each part and quantity."""
    lines = [f"{'part':<18}{'quantity':<17}{'MAE':>10}{'RMSE':>10}  {'unit':<13}{'numbers':>9}"]
    for part, found in errors.items():
        for name, values in found.as_dict().items():
            unit, factor = UNITS[name.split()[0]]
            lines.append(f"{part:<18}{name:<17}{factor * values['mae']:>10.4g}{factor * values['rmse']:>10.4g}  "
                         f"{unit:<13}{values['count']:>9}")
    return "\n".join(lines)


def write(folder, errors: dict, state: dict, notes: list[str], watched: str):
    """report.txt, report.json, and figures where matplotlib is installed; `watched` : the part that learning curves are of."""
    folder = Path(folder)
    text = "\n".join(notes) + "\n\n" + table(errors) + "\n"
    (folder / "report.txt").write_text(text)
    summary = {part: found.as_dict() for part, found in errors.items()}
    (folder / "report.json").write_text(json.dumps({"errors": summary, "history": state["history"], "notes": notes}, indent=1))
    if not pyplot():
        return text + "no figures: matplotlib is not installed\n"
    history = state["history"]
    panels = [("training loss", [h["epoch"] + 1 for h in history], [h["loss"] for h in history])]
    for name, (unit, factor) in UNITS.items():
        if known := [(h["epoch"] + 1, factor * h[name]) for h in history if name in h]:
            panels.append((f"{watched} MAE, {name.replace('_', ' ')} ({unit})", *zip(*known)))
    curves(folder / "learning.png", panels)
    _parity(folder / "parity.png", errors)
    return text


def pyplot():
    """matplotlib.pyplot, drawing into files; None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def panes(count, height, width=4):
    """A figure of so many panels, at most `width` in a row, and their axes."""
    rows, columns = -(-count // width), min(width, count)
    figure, axes = pyplot().subplots(rows, columns, figsize=(4 * columns, height * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes.flat[:count]


def curves(path, panels):
    """Learning curves, each in a panel of its own: (what, epochs, values)."""
    figure, axes = panes(len(panels), 3.2)
    for axis, (what, epochs, values) in zip(axes, panels):
        axis.plot(epochs, values)
        if max(values) > 0:
            axis.set_yscale("log")
        axis.set(xlabel="epoch", ylabel=what)
    figure.savefig(path, dpi=120)
    pyplot().close(figure)


def _parity(path, errors):
    parts = [p for p in ("test", "validation", "train") if p in errors and errors[p].pairs]
    if not parts:
        return
    pairs = {name: errors[parts[0]].pairs[name] for name in UNITS if name in errors[parts[0]].pairs}
    figure, grid = panes(len(pairs), 3.6)
    for axis, (name, values) in zip(grid, pairs.items()):
        label, found = np.concatenate(values, 1)
        shift = label.mean() if name == "energy" else 0.0
        axis.plot(label - shift, found - shift, ".", ms=2, alpha=0.5)
        limits = [min(label.min(), found.min()) - shift, max(label.max(), found.max()) - shift]
        axis.plot(limits, limits, "k-", lw=0.7)
        unit = UNITS[name][0].removeprefix("m")
        what = name.replace("_", " ")
        axis.set(xlabel=f"{what} of the data ({unit})", ylabel="model", title=f"{parts[0]}: {what}")
    figure.savefig(path, dpi=120)
    pyplot().close(figure)
