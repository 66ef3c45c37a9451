"""Electric fields as functions of time; the sum of all [[field]] tables acts.

With u the unit vector ``direction``, w the unit vector ``quadrature``, e the ``ellipticity`` (w and e only where a
second, out-of-phase component is wanted: circular light is e = 1 with w normal to u), A the ``amplitude`` and t counted
from the beginning of the first stage in which the field acts:

| kind | field outside or inside, V/Å |
|---|---|
| constant | ``vector`` |
| ramp | from ``first`` to ``last``, linear between the times ``start`` and ``end``, constant before and after |
| sine | A [u sin θ − e w cos θ], θ = 2π (t − start)/period + phase; zero before ``start`` |
| gaussian-pulse | A g(t) [u cos θ + e w sin θ], g = exp(−(t − t0)²/2σ²), θ = 2π (t − t0)/period + phase |
| chirp | the same with θ + π c (t − t0)²: the frequency is 1/period + c (t − t0) |
| tabulated | a cubic spline through the rows of a file |
| quadrupole | G cos(2π t/period + phase)·(r − center), G the symmetric ``matrix`` in V/Å²; without a period steady: a trap |

σ is the standard deviation of the field's envelope: the intensity's full width at half maximum is 2 √(ln 2) σ = 1.665 σ.
Phases are in degrees, so that a sine with phase 90 is a cosine; with a unit ("0.5 rad") in what they say.

`screening` says how the field inside follows from what is given: ``none``: it is the field inside; ``perpendicular``: it
is outside, normal to a plate, E = E_out/ε (D is continuous); ``transmitted``: light at normal incidence,
E = 2 E_out/(1 + √ε). `epsilon`, which these two need, is the relative permittivity of that convention: ε∞ where ions move in
the simulation.
`fixes = "D"` prescribes the displacement instead: what is given is then D/ε0 in V/Å. `stages` are the numbers, from 0, of
the stages in which the field acts; by default all, as one of the fields with ``fixes = "D"`` must (D = 0 is not "no field").
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import FiniteFloat

from engine.config.quantities import ElectricField, InputFile, Time, quantity
from engine.contracts import Field
from engine.errors import InputError

Angle = quantity("degree", "angle")
ChirpRate = quantity("1/fs**2", "change of a frequency")
Gradient = quantity("V/angstrom**2", "field gradient")
Place = quantity("angstrom", "coordinate")
Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
FieldVector = tuple[ElectricField, ElectricField, ElectricField]
GradientVector = tuple[Gradient, Gradient, Gradient]


def _unit(vector, name):
    vector = np.asarray(vector, float)
    if vector.shape != (3,) or not 0 < np.linalg.norm(vector) < np.inf:
        raise InputError(f"field: {name} = {vector.tolist()} must be three numbers that are not all zero")
    return vector / np.linalg.norm(vector)


def _components(vector, name):
    vector = np.asarray(vector, float)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise InputError(f"field: {name} must be three components in V/Å, not {vector.tolist()}")
    return vector


def _positive(value, name):
    if not value > 0:
        raise InputError(f"field: {name} = {value} must be positive")


@dataclass(kw_only=True)
class Source(Field):
    """What all fields share: outside or inside, E or D. Subclasses give `given(time)`."""

    screening: Literal["none", "perpendicular", "transmitted"] = "none"
    epsilon: FiniteFloat | None = None
    fixes: Literal["E", "D"] = "E"
    stages: list[int] | None = None

    def __post_init__(self):
        if self.screening not in ("none", "perpendicular", "transmitted"):
            raise InputError(f"field: screening = '{self.screening}'; allowed: none, perpendicular, transmitted")
        if self.fixes not in ("E", "D"):
            raise InputError(f"field: fixes = '{self.fixes}'; allowed: E, D")
        if self.fixes == "D" and self.screening != "none":
            raise InputError("field: a prescribed displacement is not screened; remove 'screening'")
        self._factor = self._screened()
        self.prepare()

    def _screened(self):
        """The field inside for one outside of 1."""
        if self.screening == "none":
            if self.epsilon is not None:
                raise InputError("field: epsilon does nothing without 'screening'; name the convention, or remove it")
            return 1.0
        if self.epsilon is None:
            raise InputError(f"field: screening = '{self.screening}' needs 'epsilon', the relative permittivity")
        _positive(self.epsilon, "epsilon")
        return 1 / self.epsilon if self.screening == "perpendicular" else 2 / (1 + self.epsilon**0.5)

    def prepare(self):
        """Check the keys of a kind, and compute what stays the same."""

    def given(self, time):
        raise TypeError(f"{type(self).__name__} has no value")

    def value(self, time):
        return self._factor * self.given(time)


@dataclass
class Constant(Source):
    """vector : three components in V/Å"""

    vector: FieldVector
    steady = True

    def prepare(self):
        self._vector = _components(self.vector, "vector")

    def given(self, time):
        return self._vector


@dataclass
class Ramp(Source):
    """first, last : components in V/Å;  start, end : fs"""

    last: FieldVector
    end: Time
    first: FieldVector = (0.0, 0.0, 0.0)
    start: Time = 0.0

    def prepare(self):
        self._first, self._last = _components(self.first, "first"), _components(self.last, "last")
        if not self.end > self.start:
            raise InputError(f"field: end = {self.end} fs must come after start = {self.start} fs")

    def given(self, time):
        progress = min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)
        return self._first + progress * (self._last - self._first)


@dataclass(kw_only=True)
class Oscillating(Source):
    """amplitude : V/Å;  direction, quadrature : any length;  phase : degrees"""

    amplitude: ElectricField
    direction: Vector = (0.0, 0.0, 1.0)
    quadrature: Vector | None = None
    ellipticity: FiniteFloat = 1.0
    phase: Angle = 0.0

    def prepare(self):
        self._cosine = self.amplitude * _unit(self.direction, "direction")
        self._sine = np.zeros(3)
        if self.quadrature is not None:
            self._sine = self.amplitude * self.ellipticity * _unit(self.quadrature, "quadrature")
        self._phase = np.radians(self.phase)

    def wave(self, angle):
        return self._cosine * np.cos(angle) + self._sine * np.sin(angle)


@dataclass(kw_only=True)
class Sine(Oscillating):
    """period, start : fs"""

    period: Time
    start: Time = 0.0

    def prepare(self):
        super().prepare()
        _positive(self.period, "period")

    def given(self, time):
        if time < self.start:
            return np.zeros(3)
        return self.wave(2 * np.pi * (time - self.start) / self.period + self._phase - np.pi / 2)


@dataclass(kw_only=True)
class GaussianPulse(Oscillating):
    """center (t0), width (σ of the field's envelope), period of the carrier: fs; without a period no carrier"""

    center: Time
    width: Time
    period: Time | None = None

    def prepare(self):
        super().prepare()
        _positive(self.width, "width")
        if self.period is not None:
            _positive(self.period, "period")

    def angle(self, t):
        return self._phase + (2 * np.pi * t / self.period if self.period is not None else 0.0)

    def given(self, time):
        t = time - self.center
        return self.wave(self.angle(t)) * np.exp(-0.5 * (t / self.width) ** 2)


@dataclass(kw_only=True)
class Chirp(GaussianPulse):
    """rate : c, 1/fs², what the frequency gains in a femtosecond"""

    rate: ChirpRate

    def angle(self, t):
        return super().angle(t) + np.pi * self.rate * t * t


@dataclass
class Tabulated(Source):
    """file : rows of time (fs) and three components (V/Å), # comments;  outside : beyond its ends hold the last row,
    or zero"""

    file: InputFile
    outside: Literal["hold", "zero"] = "hold"

    def prepare(self):
        from scipy.interpolate import CubicSpline

        try:
            with warnings.catch_warnings(action="ignore"):  # of an empty file, which is refused below
                table = np.loadtxt(self.file, ndmin=2)
        except (OSError, ValueError) as error:
            raise InputError(f"field: the table '{self.file}' cannot be read: {error}") from error
        if table.shape[1] != 4 or len(table) < 2 or not (np.isfinite(table).all() and (np.diff(table[:, 0]) > 0).all()):
            raise InputError(f"field: '{self.file}' must have at least two rows 'time Ex Ey Ez' (fs, V/Å) of finite "
                             "numbers, times increasing")
        self._ends = table[[0, -1], 0]
        self._spline = CubicSpline(table[:, 0], table[:, 1:])

    def given(self, time):
        if self.outside == "zero" and not self._ends[0] <= time <= self._ends[1]:
            return np.zeros(3)
        return self._spline(np.clip(time, *self._ends))


@dataclass
class Quadrupole(Field):
    """matrix : ∂E_a/∂x_b in V/Å², symmetric (and without a trace where no charge makes it), zero along periodic directions
    center : Å;  period : fs, of Paul's trap; without one the field is steady;  phase : degrees;  stages : as of all fields"""

    matrix: tuple[GradientVector, GradientVector, GradientVector]
    center: tuple[Place, Place, Place] = (0.0, 0.0, 0.0)
    period: Time | None = None
    phase: Angle = 0.0
    stages: list[int] | None = None

    def __post_init__(self):
        self._matrix = np.asarray(self.matrix, float)
        if self._matrix.shape != (3, 3) or not np.allclose(self._matrix, self._matrix.T):
            raise InputError("field: matrix must be three rows of three numbers and symmetric: a static field has no curl")
        if self.period is not None:
            _positive(self.period, "period")
        self.steady = self.period is None

    def gradient(self, time):
        angle = np.radians(self.phase) + (0.0 if self.steady else 2 * np.pi * time / self.period)
        return self._matrix * np.cos(angle)

    def value(self, time):
        return -self.gradient(time) @ np.asarray(self.center, float)
