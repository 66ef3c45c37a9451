"""Figures of the SrTiO3 pulse run:  python figures.py srtio3.h5md [scha.h5] -> srtio3.png, and the numbers in words."""

import sys
from pathlib import Path

import matplotlib
import numpy as np

from integrators.gaussian.lattice import Lattice
from integrators.gaussian.recorder import read

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def bands(omega):
    """Degenerate frequencies (cm⁻¹) together: {label: indices}."""
    groups, start = {}, 0
    for k in range(1, len(omega) + 1):
        if k == len(omega) or omega[k] - omega[k - 1] > 0.3:
            groups[f"{omega[start:k].mean():.1f}"] = np.arange(start, k)
            start = k
    return groups


def lifetime(time, envelope_of, after):
    """Time (fs) in which the oscillation's envelope falls by e, from the slope of log maxima in windows of 400 fs."""
    windows = np.arange(after, time[-1] - 400, 400)
    peaks = np.array([np.abs(envelope_of[(time >= w) & (time < w + 400)]).max() for w in windows])
    good = peaks > 0
    slope = np.polyfit(windows[good] + 200, np.log(peaks[good]), 1)[0]
    return -1.0 / slope if slope < 0 else np.inf


def report(path, lattice=None):
    rows = read(path)
    omega = rows["frequencies"]
    t, groups = rows["time"], bands(omega)
    energy = 1000 * (rows["energy_centroid"] + rows["energy_fluctuation"])
    gained = {name: energy[:, k].sum(1) - energy[0, k].sum() for name, k in groups.items()}
    late = t > t[-1] - 2000
    order = sorted(gained, key=lambda n: -abs(gained[n][late].mean()))
    exchanged = rows["potential"] + rows["kinetic"]
    print(f"energy conserved within {1000 * np.ptp(rows['conserved']):.3f} meV of {1000 * np.ptp(exchanged):.1f} meV exchanged")
    print(f"energy that stays after the pulse: {1000 * (exchanged[late].mean() - exchanged[0]):.2f} meV")
    print("gain in the last 2 ps, meV by mode (1/cm): " + ", ".join(f"{n}: {gained[n][late].mean():.2f}" for n in order[:8]))
    P = rows["polarization"] - rows["polarization"][0]
    print(f"<P> along the field: peak {np.abs(P[:, 0]).max():.3f} e·Å, lifetime {lifetime(t, P[:, 0], 3000):.0f} fs")
    sigma = rows["stress"] - rows["stress"][0]
    left = sigma[late].mean(0)
    print("stress that persists (last 2 ps, less the start), GPa: "
          f"xx {left[0, 0]:.4f} yy {left[1, 1]:.4f} zz {left[2, 2]:.4f} xy {left[0, 1]:.4f}")
    gap = np.abs(rows["stress"] - rows["stress_published"])
    print(f"the two stresses differ by {gap[0].max():.4f} GPa at the start and up to {gap.max():.3f} GPa in the pulse")
    if lattice:
        found = Lattice.load(lattice)
        print(f"SCHA: lowest frequencies {np.round(found.frequencies()[:6], 1)} 1/cm; done: {bool(found.notes['converged'])}")

    figure, axes = plt.subplots(4, 1, figsize=(7, 11), sharex=True)
    ps = t / 1000
    if "field" in rows:
        axes[0].plot(ps, 100 * rows["field"][:, 0], "0.6", lw=0.8, label="field inside, MV/cm")
    axes[0].plot(ps, P[:, 0], lw=0.8, label="<P$_x$>, e·Å")
    for name in order[:6]:
        axes[1].plot(ps, gained[name], lw=0.8, label=f"{name} cm$^{{-1}}$")
    axes[1].set_ylabel("energy gained, meV")
    for i, name in enumerate(("xx", "yy", "zz")):
        axes[2].plot(ps, sigma[:, i, i], lw=0.8, label=f"σ$_{{{name}}}$")
        axes[2].plot(ps, (rows["stress_published"] - rows["stress_published"][0])[:, i, i], lw=0.5, ls=":", color=f"C{i}")
    axes[2].set_ylabel("stress, GPa (dotted: published form)")
    axes[3].plot(ps, 1000 * (exchanged - exchanged[0]), label="with the field")
    axes[3].plot(ps, 1000 * (rows["conserved"] - rows["conserved"][0]), label="conserved")
    axes[3].set_ylabel("energy, meV")
    axes[3].set_xlabel("time, ps")
    for a in axes:
        a.legend(fontsize=7, ncol=2)
    figure.tight_layout()
    out = Path(path).with_suffix(".png")
    figure.savefig(out, dpi=150)
    print(f"drawn: {out}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    report(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
