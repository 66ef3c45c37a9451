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
    try:
        import matplotlib
    except ImportError:
        return text + "no figures: matplotlib is not installed\n"
    matplotlib.use("Agg")
    _curves(folder / "learning.png", state["history"])
    _parity(folder / "parity.png", errors)
    return text


def _curves(path, history):
    import matplotlib.pyplot as plt

    names = [n for n in ("energy", "forces", "stress") if history and n in history[0]]
    figure, axes = plt.subplots(1, 1 + len(names), figsize=(4 * (1 + len(names)), 3.2), layout="constrained")
    axes = np.atleast_1d(axes)
    epochs = [h["epoch"] + 1 for h in history]
    axes[0].semilogy(epochs, [h["loss"] for h in history])
    axes[0].set(xlabel="epoch", ylabel="training loss")
    for axis, name in zip(axes[1:], names):
        unit, factor = UNITS[name]
        axis.semilogy(epochs, [factor * h[name] for h in history])
        axis.set(xlabel="epoch", ylabel=f"validation MAE, {name} ({unit})")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _parity(path, errors):
    import matplotlib.pyplot as plt

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
