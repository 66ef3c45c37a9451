"""Running a model through torch: message passing, in segments between halo exchanges, and anything on a GPU.

Every segment k maps the features of all rows (owned and ghosts) to those of the owned atoms. Forward, the features of
ghosts come from their owners; backward, gradients on ghosts are added to their owners: `spread` and `collect` are
each other's transpose, so the chain rule through an exchange is the other call.

Arrays come and go by DLPack, which copies nothing that is where it is wanted. Of a state on the host a GPU gets the
list, padded, when it is made, and then the positions in every step, and gives energies and forces.
"""

from __future__ import annotations

import torch

from plugins.equivariant.derivatives import scatter
from plugins.equivariant.devices import begin
from plugins.equivariant.graphs import inside, padded
from plugins.torch_halo import collect, spread

TILE = 24  # atoms that compiled functions take at a time on a CPU: their edges then stay in the cache


def _cuts(n, device):
    """[(a, b), ...]: atoms a … b − 1 at a time. An atom's edges need more memory than its neighbours' features do. A GPU takes
    all at once."""
    count = max(1, round(n / TILE)) if device.type == "cpu" else 1
    return [(t * n // count, (t + 1) * n // count) for t in range(count)]


def _in_tiles(function, *arguments):
    """What a compiled function of (n, ...) gives, called for some atoms at a time."""
    parts = [function(*(x[a:b] for x in arguments)) for a, b in _cuts(len(arguments[0]), arguments[0].device)]
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [torch.cat(x) for x in zip(*parts, strict=True)]


def _tiles(neighbours, n, all_rows):
    """For each of `_cuts`: a, b, the rows that its atoms see, and their neighbours as places among its own rows and these, the
    place after the last for none."""
    for a, b in _cuts(n, neighbours.device):
        seen, index = torch.unique(neighbours[a:b], return_inverse=True)
        seen = seen[seen < all_rows]
        while len(seen) < 2:  # compiled code wants two at least
            seen, index = torch.cat([seen, seen.new_zeros(1)]), index + (index == len(seen))
        yield a, b, seen, index + (b - a)


class TorchRunner:
    """Energies of owned atoms by a torch model, and forces and virial added to the output's arrays.

    packages : the functions of ``ahead.load_packages``, compiled; without them the model runs eagerly
    """

    def __init__(self, model, device="cpu", packages=None):
        self.packages, self.description, self.device = packages, model.description, begin(device)
        self.model = model.to(self.device).requires_grad_(False)
        self.shifts = model.shifts.cpu().numpy()
        self.dtype = getattr(torch, self.description.dtype)
        self.read = None  # arguments of the call that `features` looks into

    def _tensor(self, array, dtype=None):
        return torch.from_dlpack(array).to(self.device, dtype)

    def features(self):
        """(n, width) what each atom gives to the last layer (``last_layer``), where the model was evaluated last."""
        from plugins.equivariant.last_layer import read_by_last

        call = self.model if self.description.architecture == "local" else self.model.finish
        species = self.read[1]
        return read_by_last(self.model, species, lambda: call(*self.read)).double().cpu().numpy()

    def _answered(self, found, respond):
        """(energies (n,), what their gradient is taken of): the energies, and charges times what they feel."""
        if respond is None:
            return found, found.sum()
        each, charges = found
        felt = respond(charges.detach().double().cpu().numpy())
        return each, each.sum() + (charges * self._tensor(felt, self.dtype)).sum()

    def energies(self, vectors, neighbours, species, halo, n, respond=None):
        """(per-atom energies (n,) tensor, gradient on vectors (n, N, 3)); `species` of all rows.

        neighbours : (n, N) rows, the one after the last for none; respond : of a model with latent charges: tells what
        charges (n,) feel, ∂E/∂q
        """
        all_rows = len(species)
        around = species[neighbours.clamp_max(all_rows - 1)]
        if self.packages is not None and n > 1:  # compiled code wants two atoms at least
            with torch.no_grad():
                return self._compiled(vectors, neighbours, species, around, halo, n, respond)
        vectors = vectors.detach().requires_grad_()
        self.read = vectors.detach(), species[:n], around
        if self.description.architecture == "local":
            each, total = self._answered(self.model(vectors, species[:n], around), respond)
            return each.detach(), torch.autograd.grad(total, vectors)[0]
        features = self.model.start(species).detach()
        kept = []
        for k in range(self.description.layers):
            entering = features.requires_grad_(k > 0)
            leaving = self.model.layer(k, entering, vectors, neighbours, species[:n], around)
            kept.append((entering, leaving))
            features = spread(leaving.detach(), halo) if k < self.description.layers - 1 else leaving.detach()
        self.read, last = (features.detach(), species[:n]), features.requires_grad_()
        each, answered = self._answered(self.model.finish(last, species[:n]), respond)
        g = torch.autograd.grad(answered, last)[0]
        total = torch.zeros_like(vectors)
        for k in range(self.description.layers - 1, -1, -1):
            entering, leaving = kept[k]
            if k:
                g, on_edges = torch.autograd.grad(leaving, (entering, vectors), g)
                g = collect(g, halo)
            else:
                on_edges, = torch.autograd.grad(leaving, (vectors,), g)
            total += on_edges
        return each.detach(), total

    def _compiled(self, vectors, neighbours, species, around, halo, n, respond):
        """The same through compiled segments; a layer's product computes its forward pass anew."""
        run, centre, all_rows = self.packages, species[:n], len(species)

        def answer(*given):
            """What charges feel, as one more argument of the function that finds derivatives."""
            if respond is None:
                return ()
            return (self._tensor(respond(_in_tiles(run["charges"], *given).double().cpu().numpy()), self.dtype),)

        if "whole" in run:
            self.read = vectors, centre, around
            return _in_tiles(run["whole"], vectors, centre, around, *answer(vectors, centre, around))
        features, kept, layers = self.model.start(species), [], self.description.layers
        tiles = list(_tiles(neighbours, n, all_rows))
        edges = [(vectors[a:b], index, centre[a:b], around[a:b]) for a, b, _, index in tiles]
        for k in range(layers):
            kept.append(features)
            leaving = torch.cat([run[f"forward{k}"](features[a:b], features[seen], *rest)
                                 for (a, b, seen, _), rest in zip(tiles, edges, strict=True)])
            if k < layers - 1:
                features = spread(leaving, halo)
        self.read = leaving, centre
        each, g = run["finish"](leaving, centre, *answer(leaving, centre))
        g = g.contiguous()
        total = torch.zeros_like(vectors)
        for k in range(layers - 1, -1, -1):
            entering = torch.zeros_like(kept[k])
            for (a, b, seen, _), rest in zip(tiles, edges, strict=True):
                own, others, on_edges = run[f"product{k}"](kept[k][a:b], kept[k][seen], *rest, g[a:b])
                total[a:b] += on_edges
                entering[a:b] += own
                entering.index_add_(0, seen, others)
            g = collect(entering, halo) if k else None
        return each, total

    def _held(self, atoms, neighbors, species):
        """What is on the device between two rebuilds: species of all rows, systems of owned atoms, and the list, padded."""
        lists = neighbors.full(self.description.cutoff)
        return (self._tensor(species, torch.int64), self._tensor(atoms.system[:atoms.n], torch.int64),
                self._tensor(padded(lists.offsets, lists.indices, len(species))))

    def __call__(self, atoms, neighbors, halo, species, forces, virial=None, respond=None):
        """(n,) energies without shifts; adds to forces (n_all, 3) and virial (S, 3, 3)."""
        n, all_rows = atoms.n, len(species)
        species, system, listed = neighbors.derived(("torch", id(self)), lambda: self._held(atoms, neighbors, species))
        vectors, neighbours = inside(self._tensor(atoms.positions), listed, self.description.cutoff)
        vectors = vectors.to(self.dtype)
        each, g = self.energies(vectors, neighbours, species, halo, n, respond)
        found, strain = scatter(g.double(), vectors.double(), neighbours, system, atoms.n_systems, virial is not None,
                                all_rows - n)
        for array, more in ((forces, found), (virial, strain)):
            if array is not None:
                held = torch.from_dlpack(array)
                held += more.to(held.device)
        return each.double().cpu().numpy()
