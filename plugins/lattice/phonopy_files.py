"""A lattice from phonopy: a ``phonopy_params.yaml`` (or ``phonopy.yaml`` beside ``FORCE_SETS``/``FORCE_CONSTANTS``)."""

from pathlib import Path

import numpy as np

from engine.errors import InputError, one_line
from integrators.gaussian.lattice import Lattice


def read_phonopy(path):
    """The supercell with its force constants; Born charges and ε∞ if phonopy has them. Lengths in Å, energies in eV."""
    try:
        import phonopy
    except ImportError as error:
        raise InputError("reading phonopy files needs phonopy: pip install 'engine-md[analysis]'") from error
    try:
        folder = Path(path).resolve().parent
        names = {"force_sets_filename": "FORCE_SETS", "born_filename": "BORN", "force_constants_filename": "FORCE_CONSTANTS"}
        beside = {key: str(folder / name) for key, name in names.items() if (folder / name).exists()}
        phonon = phonopy.load(path, log_level=0, **beside)
    except Exception as error:
        reason = one_line(error)
        raise InputError(f"{path}: phonopy cannot load it ({reason})") from error
    if phonon.force_constants is None:
        raise InputError(f"{path}: no force constants, nor forces to make them from")
    cell = phonon.supercell
    n = len(cell)
    phi = np.array(phonon.force_constants)
    if phi.shape[0] != n:
        from phonopy.harmonic.force_constants import compact_fc_to_full_fc

        phi = compact_fc_to_full_fc(phonon.primitive, phi)
    born = dielectric = None
    if phonon.nac_params is not None:
        primitive = phonon.primitive
        index = [primitive.p2p_map[primitive.s2p_map[i]] for i in range(n)]
        born = np.array(phonon.nac_params["born"])[index]
        dielectric = np.array(phonon.nac_params["dielectric"])
    return Lattice(
        list(cell.symbols), np.array(cell.cell), np.array(cell.positions), np.array(cell.masses),
        phi.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n), born=born, dielectric=dielectric,
    )
