"""Parameters by species and by pair: how they are found, and how wrong ones are refused in one line."""

import pytest

from engine.errors import InputError
from potentials.pair.buckingham import Buckingham
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse
from potentials.pair.zbl import ZBL

LJ = dict(epsilon={"Ar": 0.01, "Kr": "14 meV"}, sigma=3.4, cutoff=8.0)


def test_what_is_found_where():
    potential = LennardJones(**LJ | {"sigma": {"Ar": 3.4, "Kr": "0.36 nm"}},
                             pairs={"Kr-Ar": {"epsilon": "20 meV", "cutoff": 6.0}}, none=["Kr-Kr"])
    cutoffs, tables = potential.tables(["Ar", "Kr"])
    assert cutoffs.tolist() == [[8.0, 6.0], [6.0, 0.0]]
    assert tables["epsilon"][0, 0] == 0.01 and tables["epsilon"][0, 1] == tables["epsilon"][1, 0] == pytest.approx(0.02)
    assert tables["sigma"][0, 1] == pytest.approx(3.5)


@pytest.mark.parametrize("make, species, message", [
    (lambda: LennardJones(**LJ), ["Ar", "Xe"], "no value for species 'Xe'"),
    (lambda: LennardJones(**LJ | {"epsilon": None}), ["Ar"], "no 'epsilon' for the pair 'Ar-Ar'"),
    (lambda: LennardJones(**LJ | {"sigma": "3 eV"}), ["Ar"], "not in a unit that converts to angstrom"),
    (lambda: LennardJones(**LJ | {"sigma": -1.0}), ["Ar"], "sigma is -1.0"),
    (lambda: LennardJones(**LJ | {"cutoff": 0.0}), ["Ar"], "cutoff is 0.0"),
    (lambda: LennardJones(**LJ | {"epsilon": {"Ar": 0.01, "Kr": "x"}}), ["Ar"], "'epsilon' of Kr"),
    (lambda: LennardJones(**LJ | {"epsilon": float("nan")}), ["Ar"], "finite"),
    (lambda: LennardJones(**LJ, tail=True, truncation="shifted"), ["Ar"], "tail corrections"),
    (lambda: LennardJones(**LJ, inner=6.0), ["Ar"], "'inner' goes with"),
    (lambda: LennardJones(**LJ, truncation="smoothed", inner=9.0), ["Ar"], "between 0 and the cutoff"),
    (lambda: LennardJones(**LJ, pairs={"Ar": {}}), ["Ar"], "two species joined by a hyphen"),
    (lambda: LennardJones(**LJ, pairs={"Ar-Kr": {}, "Kr-Ar": {}}), ["Ar"], "given twice"),
    (lambda: LennardJones(**LJ, pairs={"Ar-Ar": {}}, none=["Ar-Ar"]), ["Ar"], "among `pairs` and among `none`"),
    (lambda: LennardJones(**LJ, pairs={"Ar-Kr": {"sigmo": 1.0}}), ["Ar"], "did you mean 'sigma'"),
    (lambda: Morse(depth={"Cu": 0.3, "Ni": 0.4}, alpha=1.0, r0=2.0, cutoff=6.0), ["Cu", "Ni"], "cannot be mixed"),
    (lambda: Buckingham(A=1.0, rho=0.3, cutoff=6.0), ["O"], "no 'C' for the pair 'O-O'"),
    (lambda: ZBL(inner=3.0, cutoff=2.0), ["Si"], "'inner' must lie between"),
    (lambda: ZBL(inner=1.0, cutoff=2.0), ["Xx"], "'Xx' is not an element"),
])
def test_what_is_refused(make, species, message):
    with pytest.raises(InputError, match=message) as raised:
        make().bind(species)
    assert "\n" not in str(raised.value) and "potential '" in str(raised.value)
