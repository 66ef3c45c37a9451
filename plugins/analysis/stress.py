"""Autocorrelation of the stress, and the viscosity by Green and Kubo.

    C(t) = <P°(t0) : P°(t0 + t)> / 10,   P° the symmetric, traceless part of the pressure tensor P = (Σ m v⊗v + W)/V
    η(t) = V/kT ∫₀^t C dt'

All five independent components enter alike (Daivis and Evans, J. Chem. Phys. 100, 541 (1994)): in a liquid C is <P_xy P_xy>.
The isotropic part, B(t) = <δp(t0) δp(t0 + t)> with p = tr P/3, gives the bulk viscosity likewise where energy and volume are
held.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt
from scipy.integrate import cumulative_trapezoid

from engine import units
from plugins.analysis.observer import EvenObserver, Series, per_system, volume

MPA_S = 1e-3 * 1e3  # GPa·ps in mPa·s


@dataclass(kw_only=True)
class StressAutocorrelation(EvenObserver):
    """lags : looks that the correlation spans; every look is an origin"""

    lags: PositiveInt = 1000

    kind = "stress"
    needs = frozenset({"virial"})
    TOTALS = ("buffer", "total", "isotropic", "weight", "sums", *EvenObserver.CLOCK)

    def start(self, simulation):
        super().start(simulation)
        S = simulation.state.n_systems
        volume(simulation.state)
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((self.lags, S, 3, 3))  # the last looks at P, GPa, look k at (k − 1) % lags
            self.total, self.isotropic = np.zeros((S, self.lags)), np.zeros((S, self.lags))
            self.weight = np.zeros(self.lags)
            self.sums = np.zeros((S, 3))  # p, V, T

    def observe(self, simulation):
        state = simulation.state
        self.tick(simulation)
        P = simulation.pressure_tensor()
        P = 0.5 * (P + P.transpose(0, 2, 1))
        self.buffer[(self.looks - 1) % self.lags] = P
        known = min(self.looks, self.lags)
        past = self.buffer[(self.looks - 1 - np.arange(known)) % self.lags]  # (known, S, 3, 3), the newest first
        pressure = np.trace(past, axis1=2, axis2=3) / 3.0
        traceless = past - pressure[:, :, None, None] * np.eye(3)
        self.total[:, :known] += np.einsum("sab,ksab->sk", traceless[0], traceless) / 10.0
        self.isotropic[:, :known] += pressure[0][:, None] * pressure.T
        self.weight[:known] += 1
        self.sums += np.stack([pressure[0], volume(state), simulation.temperature()], axis=1)

    def result(self, simulation):
        reached = int((self.weight > 0).sum())
        weight, mean = self.weight[:reached], self.sums / self.samples
        time = np.arange(reached) * (self.interval or 0.0)
        C = self.total[:, :reached] / weight
        B = self.isotropic[:, :reached] / weight - mean[:, :1] ** 2
        factor = mean[:, 1] / (units.kB * mean[:, 2] * 160.21766340000002)  # V/kT, 1/GPa
        eta, bulk = (factor[:, None] * cumulative_trapezoid(f, time, initial=0.0) * MPA_S for f in (C, B))
        return {
            "time": Series(time, "ps"),
            "shear": Series(per_system(C), "GPa²", "time"),
            "isotropic": Series(per_system(B), "GPa²", "time"),
            "viscosity": Series(per_system(eta), "mPa s", "time"),
            "bulk_viscosity": Series(per_system(bulk), "mPa s", "time"),
        }
