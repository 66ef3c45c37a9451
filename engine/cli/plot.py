"""``engine plot run.h5md``: figures of the thermo table and of what observers have written, and their numbers in lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

STYLE = {
    "font.size": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "font.family": "sans-serif", "axes.linewidth": 0.6, "lines.linewidth": 1.0, "xtick.direction": "in", "ytick.direction": "in",
    "xtick.top": True, "ytick.right": True, "legend.frameon": False, "savefig.dpi": 300, "pdf.fonttype": 42,
    "axes.prop_cycle": None,
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")  # told apart by everyone
COLUMN = 3.4  # inches, the width of a column of print
MOST = 36  # numbers in a line


class Panel(NamedTuple):
    """rows : {label: y};  errors : {label: half the height of the band around it}, of the rows that have one"""

    title: str
    x_label: str
    x: object
    rows: dict
    errors: dict


def plot(
    output: Annotated[str, typer.Argument(help="the output file of a run (.h5md)")],
    save: Annotated[str | None, typer.Option("--save", "-o", help="figure file; the ending says the format")] = None,
    only: Annotated[list[str] | None, typer.Option(help="'thermo' or the name of an observer; may be repeated")] = None,
):
    """Draw the thermo table and the observers of a run, one page each in a PDF; print what is a number."""
    from engine.errors import InputError
    from engine.output.screen import console

    lines = [f"wrote {path}" for path in figures(output, save, only or None)]
    lines = numbers(output, only) + lines
    if not lines:
        raise InputError(f"{output}: there is nothing to draw yet, no table of two rows and no result of an observer")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def figures(output, save=None, only=None):
    """Write the figures of `output`; returns the paths. A PDF has a page for each figure, other formats a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.backends.backend_pdf import PdfPages

    from engine.errors import InputError

    save = Path(save) if save else Path(output).with_suffix(".pdf")
    allowed = sorted(pyplot.figure().canvas.get_supported_filetypes())
    pyplot.close("all")
    if save.suffix[1:] not in allowed:
        raise InputError(f"--save {save}: the ending must be one of {', '.join(allowed)}")
    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)}):
        made = {name: _figure(panels) for name, panels in read(output, only).items()}
        try:
            if not made:  # what was asked for are numbers
                return []
            if save.suffix == ".pdf":
                with PdfPages(save) as pages:
                    for figure in made.values():
                        pages.savefig(figure)
                return [save]
            paths = [save if len(made) == 1 else save.with_stem(f"{save.stem}.{name}") for name in made]
            for path, figure in zip(paths, made.values(), strict=True):
                figure.savefig(path)
            return paths
        except OSError as error:
            raise InputError(f"{save} cannot be written: {error.strerror or error}") from None
        finally:
            for figure in made.values():
                pyplot.close(figure)


def _open(output):
    import h5py

    from engine.errors import InputError

    try:
        return h5py.File(output, "r")
    except OSError as error:
        raise InputError(f"{output} is not a readable output file ({str(error).splitlines()[0]})") from None


def numbers(output, only=None):
    """Lines of what observers have found that hangs on nothing: value ± error, row by row (of each system) for a tensor."""
    lines = []
    with _open(output) as file:
        for name, group in file.get("observers", {}).items():
            axes = {data.attrs.get("axis", "") for data in group.values()}
            for key, data in sorted(group.items(), key=lambda item: item[1].attrs.get("place", 0)):
                if data.attrs.get("axis", "") or key in axes or key.removesuffix("_error") in set(group) - {key} \
                        or only and name not in only or data.size > MOST:
                    continue
                error = group.get(f"{key}_error")
                values, errors = data[()], np.full(data.shape, np.nan) if error is None else error[()]
                rows = zip(*(np.reshape(x, (-1, values.shape[-1] if values.ndim else 1)) for x in (values, errors)))
                said = "; ".join(", ".join(_number(v, e) for v, e in zip(row, bars)) for row, bars in rows)
                lines.append(f"{name}: {_label(key, data.attrs.get('unit'))} {said}")
    return lines


def _number(value, error):
    return f"{value:.5g}" + (f" ± {error:.2g}" if np.isfinite(error) else "")


def read(output, only=None):
    """{figure: [Panel, ...]} of an output file."""
    from engine.errors import InputError, nearest

    with _open(output) as file:
        found = {}
        if "thermo" in file:
            found["thermo"] = _thermo(file["thermo"])
        for name, group in file.get("observers", {}).items():
            found[name] = _observer(group)
    if not found:
        raise InputError(f"{output} has neither a thermo table nor observers to draw")
    for name in only or ():
        if name not in found:
            raise InputError(f"{output} has nothing called '{name}'{nearest(name, found)}; it has: {', '.join(found)}")
    return {name: panels for name, panels in found.items() if panels and (not only or name in only)}


def _label(name, unit):
    return name.replace("_", " ") + (f" ({unit})" if unit else "")


def _thermo(group):
    """A panel for each column; what runs beside it, on the same axis (kinetic, potential), keeps its own panel."""
    x_name = "time" if "time" in group else "step"
    x = group[x_name][()]
    from engine.output.columns import COLUMNS

    panels, order = [], list(COLUMNS)
    for name in sorted(group, key=lambda name: order.index(name) if name in order else len(order)):
        column = group[name]
        if name in ("step", "time") or len(x) < 2:
            continue
        y = column[()]
        rows = {"": y} if y.ndim == 1 else {f"system {k}": y[:, k] for k in range(y.shape[1])}
        panels.append(Panel(_label(name, column.attrs.get("unit")), _label(x_name, group[x_name].attrs.get("unit")), x, rows, {}))
    return panels


def _observer(group):
    """A panel for each dataset that has an axis, a row for each of its labels (and systems); NAME_error is a band around NAME."""
    panels = []
    for name, data in sorted(group.items(), key=lambda item: item[1].attrs.get("place", 0)):
        axis = data.attrs.get("axis", "")
        if not axis or data.shape[-1] < 2 or name.removesuffix("_error") in set(group) - {name}:
            continue
        x, labels = group[axis][()], [str(s) for s in data.attrs["labels"]] or [""]

        def table(values, labels=labels):
            systems = values.reshape(-1, len(labels), values.shape[-1])
            said = [f"system {s}" if len(systems) > 1 else "" for s in range(len(systems))]
            return {f"{label} {mark}".strip(): y for mark, of in zip(said, systems) for label, y in zip(labels, of)}

        error = group.get(f"{name}_error")
        errors = {} if error is None or error.shape != data.shape else table(error[()])
        panels.append(Panel(_label(name, data.attrs.get("unit")), _label(axis, group[axis].attrs.get("unit")),
                            x if x.ndim == 1 else x[0], table(data[()]), errors))
    return panels


def _figure(panels):
    """Panels under one another where they share the x axis, each as wide as a column of print."""
    from matplotlib import pyplot

    shared = len({(panel.x_label, len(panel.x)) for panel in panels}) == 1
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(COLUMN, 0.5 + (1.15 if shared and len(panels) > 2 else 1.9) * len(panels)), sharex=shared,
        squeeze=False, layout="constrained",
    )
    for axis, (title, x_label, x, rows, errors) in zip(axes[:, 0], panels, strict=True):
        for label, y in rows.items():
            (line,) = axis.plot(x, y, label=label or None)
            if label in errors:
                axis.fill_between(x, y - errors[label], y + errors[label], color=line.get_color(), alpha=0.25, linewidth=0)
        axis.set_ylabel(title)
        axis.margins(x=0)
        axis.ticklabel_format(axis="y", useOffset=False)
        if not shared or axis is axes[-1, 0]:
            axis.set_xlabel(x_label)
        if 1 < len(rows) <= 8 or any(rows):
            axis.legend(loc="best", ncols=2 if len(rows) > 3 else 1)
    figure.align_ylabels()
    return figure
