"""Small untrained models of other people's packages, for Cu and Au in double precision; each needs its package."""

import numpy as np


def mace(path):
    """A MACE model's file."""
    import torch
    from mace import modules  # first: it lets torch read the constants of the old e3nn
    from e3nn import o3  # isort: skip

    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    model = modules.ScaleShiftMACE(
        r_max=4.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=2,
        num_interactions=2,
        num_elements=2,
        correlation=2,
        gate=torch.nn.functional.silu,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        hidden_irreps=o3.Irreps("8x0e + 8x1o"),
        MLP_irreps=o3.Irreps("8x0e"),
        atomic_energies=np.array([[-3.0, -2.0]]),
        avg_num_neighbors=12.0,
        atomic_numbers=[29, 79],
        atomic_inter_scale=[1.0],
        atomic_inter_shift=[0.1],
        radial_MLP=[16, 16],
    )
    torch.save(model, path)
    return str(path)


def nequip():
    """A NequIP model in memory."""
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    made = NequIPGNNModel(
        seed=1,
        model_dtype="float64",
        r_max=4.0,
        type_names=["Au", "Cu"],
        num_layers=2,
        l_max=1,
        num_features=8,
        radial_mlp_depth=1,
        radial_mlp_width=8,
        avg_num_neighbors=12.0,
    )
    return (made["sole_model"] if isinstance(made, dict) else made).eval()


def nequip_file(path, atoms):
    """The same compiled by their own tool: path ends in ``.nequip.pt2``. About half a minute."""
    from unittest.mock import patch

    from nequip.data import from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.scripts import compile as tool

    made = nequip()
    mapper, edges = ChemicalSpeciesToAtomTypeMapper(model_type_names=["Au", "Cu"]), NeighborListTransform(r_max=4.0)
    data = edges(mapper(from_ase(atoms)))
    with patch.object(tool, "load_saved_model", lambda *a, **k: (made, data)):  # instead of a training's checkpoint
        tool.main(["-", str(path), "--mode", "aotinductor", "--device", "cpu", "--target", "ase"])
    return str(path)
