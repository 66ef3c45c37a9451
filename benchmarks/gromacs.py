"""GROMACS, from the system's packages: the Lennard-Jones melt in its units, one rank and one thread.

Reduced units become those of argon: σ = 0.34 nm, ε = 0.9977 kJ/mol, m = 39.948 u, τ = σ√(m/ε) ps. The interaction is cut without
modification and charges are absent, as for everybody. A turn is an `mdrun` from the same start, which times itself after its
first 100 steps (`-resetstep`). It does not know its processor time: that is the process's, less that of one of only those steps.
"""
import re
import resource
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

SIGMA, EPSILON, MASS = 0.34, 0.9977, 39.948
TAU = SIGMA * np.sqrt(MASS / EPSILON)
CUTOFF = 2.5

MDP = """
integrator = md
dt = {dt:.10f}
nsteps = -1
cutoff-scheme = Verlet
nstlist = {nstlist}
{buffer}
vdwtype = Cut-off
vdw-modifier = None
rvdw = {cutoff}
coulombtype = Cut-off
coulomb-modifier = None
rcoulomb = {cutoff}
epsilon-rf = 1
DispCorr = no
comm-mode = None
nstcalcenergy = 100
nstenergy = 100
nstlog = 0
nstfout = {nstfout}
continuation = yes
gen-vel = no
"""

TOPOLOGY = """[ defaults ]
1 2 no 1.0 1.0
[ atomtypes ]
Ar 18 {mass} 0.0 A {sigma} {epsilon}
[ moleculetype ]
argon 1
[ atoms ]
1 Ar 1 Ar Ar 1 0.0 {mass}
[ system ]
melt
[ molecules ]
argon {n}
"""


def gmx(*words, folder):
    done = subprocess.run(["gmx", "-nobackup", "-quiet", *map(str, words)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"gmx {words[0]}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def version():
    text = subprocess.run(["gmx", "--version"], capture_output=True, text=True).stdout
    find = lambda what: re.search(rf"{what}:\s*(\S+)", text)[1]
    return f"{find('GROMACS version').split('_')[0]}, built for {find('SIMD instructions')}"


def absent():
    return None if shutil.which("gmx") else "no `gmx` on the path (Debian: apt-get install gromacs)"


class Gromacs:
    """Orders: run, forces, label. skin (σ) and nstlist: both fixed; skin None: GROMACS's own buffer, by its default tolerance."""

    def __init__(self, path, skin, nstlist):
        self.folder, data = Path(mkdtemp(prefix="gromacs-")), np.load(path)
        self.skin, self.nstlist, self.before = skin, nstlist, {}
        box = (data["high"] - data["low"]) * SIGMA
        x, v = (data["x"] - data["low"]) * SIGMA % box, data["v"] * SIGMA / TAU
        row = lambda k, x, v: (f"{k % 100000:5d}{'Ar':<5s}{'Ar':>5s}{k % 100000:5d}" + "".join(f"{c:13.8f}" for c in x)
                               + "".join(f"{c:13.9f}" for c in v))
        rows = [row(k, *xv) for k, xv in enumerate(zip(x, v, strict=True), 1)]
        (self.folder / "start.gro").write_text("\n".join(["melt", str(len(x)), *rows, " ".join(f"{b:.9f}" for b in box), ""]))
        (self.folder / "melt.top").write_text(TOPOLOGY.format(mass=MASS, sigma=SIGMA, epsilon=EPSILON, n=len(x)))
        buffer = "" if skin is None else f"verlet-buffer-tolerance = -1\nrlist = {(CUTOFF + skin) * SIGMA}"
        for name, nstfout in (("run", 0), ("forces", 1)):
            (self.folder / f"{name}.mdp").write_text(MDP.format(dt=0.005 * TAU, nstlist=nstlist, buffer=buffer,
                                                                cutoff=CUTOFF * SIGMA, nstfout=nstfout))
            gmx("grompp", "-f", f"{name}.mdp", "-c", "start.gro", "-p", "melt.top", "-o", f"{name}.tpr", "-maxwarn", 5,
                folder=self.folder)

    def mdrun(self, name, steps, *more):
        gmx("mdrun", "-s", f"{name}.tpr", "-deffnm", name, "-nsteps", steps, "-ntmpi", 1, "-ntomp", 1, "-pin", "off",
            "-nb", "cpu", "-noconfout", *more, folder=self.folder)

    def run(self, steps, warm_up=100):
        if warm_up not in self.before:
            self.before[warm_up] = min(self.used("run", warm_up) for _ in range(2))
        cpu = self.used("run", warm_up + steps, "-resetstep", warm_up) - self.before[warm_up]
        wall = re.search(r"Time:\s+\S+\s+(\S+)", (self.folder / "run.log").read_text())[1]
        return {"seconds": float(wall), "cpu": cpu}

    def used(self, *run):
        """Processor seconds of an mdrun."""
        now = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        begin = now()
        self.mdrun(*run)
        return now() - begin

    def forces(self, path):
        self.mdrun("forces", 0)
        text = gmx("dump", "-f", "forces.trr", folder=self.folder)
        numbers = re.findall(r"f\[\s*\d+\]=\{([^}]*)\}", text)
        f = np.array([line.split(",") for line in numbers], float) * SIGMA / EPSILON
        np.savez(path, f=f)
        return {}

    def label(self):
        log = (self.folder / "run.log").read_text() if (self.folder / "run.log").exists() else ""
        made = re.search(r"Using a (\S+) (\S+) pair-list setup", log)
        lists = re.search(r"changing nstlist from \d+ to (\d+)", log)
        how = f"skin {self.skin}, nstlist {self.nstlist}" if self.skin is not None else \
            f"its own buffer (it may miss pairs), nstlist {lists[1] if lists else self.nstlist}"
        return {"label": f"GROMACS {version()}{', ' + made[1] if made else ''}, {how}"}
