"""What a training came to: a table of errors, learning curves, parity plots; text, JSON and PNG beside the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

UNITS = {"energy": ("meV/atom", 1e3), "forces": ("meV/Å", 1e3), "stress": ("meV/Å³", 1e3)}


def table(errors: dict) -> str:
    """errors: {"test": Errors, ...} -> lines of MAE, RMSE and count for each part and quantity."""
    lines = [f"{'part':<18}{'quantity':<14}{'MAE':>10}{'RMSE':>10}  {'unit':<10}{'numbers':>9}"]
    for part, found in errors.items():
        for name, values in found.as_dict().items():
            unit, factor = UNITS[name.split()[0]]
            lines.append(f"{part:<18}{name:<14}{factor * values['mae']:>10.4g}{factor * values['rmse']:>10.4g}  "
                         f"{unit:<10}{values['count']:>9}")
    return "\n".join(lines)


def write(folder, errors: dict, state: dict, notes: list[str]):
    """report.txt, report.json, and figures where matplotlib is installed."""
    folder = Path(folder)
    text = "\n".join(notes) + "\n\n" + table(errors) + "\n"
    (folder / "report.txt").write_text(text)
    summary = {part: found.as_dict() for part, found in errors.items()}
    (folder / "report.json").write_text(json.dumps({"errors": summary, "history": state["history"], "notes": notes}, indent=1))
    if not pyplot():
        return text + "no figures: matplotlib is not installed\n"
    history = state["history"]
    epochs = [h["epoch"] + 1 for h in history]
    panels = [("training loss", epochs, [h["loss"] for h in history])]
    for name, (unit, factor) in UNITS.items():
        if history and name in history[0]:
            panels.append((f"validation MAE, {name} ({unit})", epochs, [factor * h[name] for h in history]))
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


def curves(path, panels, width=4):
    """Learning curves, each in a panel of its own: (what, epochs, values)."""
    plt, rows = pyplot(), -(-len(panels) // width)
    columns = min(width, len(panels))
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.2 * rows), layout="constrained", squeeze=False)
    for axis, (what, epochs, values) in zip(axes.flat, panels):
        axis.plot(epochs, values)
        if max(values) > 0:
            axis.set_yscale("log")
        axis.set(xlabel="epoch", ylabel=what)
    for axis in axes.flat[len(panels):]:
        axis.set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _parity(path, errors):
    plt = pyplot()
    parts = [p for p in ("test", "validation", "train") if p in errors and errors[p].pairs]
    if not parts:
        return
    pairs = {n: v for n, v in errors[parts[0]].pairs.items() if n in UNITS}
    figure, axes = plt.subplots(1, len(pairs), figsize=(4 * len(pairs), 3.6), layout="constrained")
    for axis, (name, values) in zip(np.atleast_1d(axes), pairs.items()):
        label, found = np.concatenate(values, 1)
        shift = label.mean() if name == "energy" else 0.0
        axis.plot(label - shift, found - shift, ".", ms=2, alpha=0.5)
        limits = [min(label.min(), found.min()) - shift, max(label.max(), found.max()) - shift]
        axis.plot(limits, limits, "k-", lw=0.7)
        unit = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}[name]
        axis.set(xlabel=f"{name} of the data ({unit})", ylabel="model", title=f"{parts[0]}: {name}")
    figure.savefig(path, dpi=120)
    plt.close(figure)
