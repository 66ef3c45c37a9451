"""A quartic polynomial of many variables, for many points at once, with its averages over a Gaussian in closed form.

    V(u) = c + g·u + ½ Φ:uu + ⅙ χ:uuu + ¹⁄₂₄ ψ:uuuu

| symbol | name | shape |
|---|---|---|
| c, g, Φ | `constant`, `linear`, `second` | (), (d,), (d, d) |
| χ, ψ | `third`, `fourth`: a symmetric pair of indices packed into one; arrays or sparse | (d, p), (p, p), p = d(d+1)/2 |

With T(u) = χ·u and Q(p) = ½ψ:p, both (d, d) matrices:
    −∂V = −(g + (Φ + ½T(u) + ⅓Q(uu))u),   ∂²V = Φ + T(u) + Q(uu),
and over a Gaussian of mean m and covariance A (each contraction of two u's gives an A):
    <∂²V> = Φ + T(m) + Q(mm + A)
    <−∂V> = −∂V(m) − ½ χ:A − Q(A)m
    <V>   = V(m) + ½ Tr[(Φ + T(m) + Q(mm))A] + ¼ Tr[Q(A)A].
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

SPARSE = 0.15  # below this share of nonzeros a sparse product wins


def pairs(d):
    """Packed index pairs (i <= j), their multiplicity (1 or 2), and the (d, d) map from (i, j) to the packed index."""
    i, j = np.triu_indices(d)
    index = np.empty((d, d), np.int64)
    index[i, j] = index[j, i] = np.arange(len(i))
    return i, j, np.where(i == j, 1.0, 2.0), index


@dataclass
class Polynomial:
    constant: float
    linear: np.ndarray
    second: np.ndarray
    third: np.ndarray | csr_array | None = None
    fourth: np.ndarray | csr_array | None = None

    def __post_init__(self):
        self.size = len(self.linear)
        self.i, self.j, self.multiplicity, self.index = pairs(self.size)
        self._fourth = self.fourth
        if isinstance(self.fourth, np.ndarray) and np.count_nonzero(self.fourth) < SPARSE * self.fourth.size:
            self._fourth = csr_array(self.fourth)  # short-ranged: the product with it is most of the work

    @classmethod
    def from_tensors(cls, second, third=None, fourth=None, linear=None, constant=0.0):
        """From full, symmetric tensors (d, d), (d, d, d), (d, d, d, d)."""
        d = len(second)
        i, j, _, _ = pairs(d)
        third = None if third is None else np.ascontiguousarray(third[:, i, j])
        fourth = None if fourth is None else np.ascontiguousarray(fourth[i, j][:, i, j])
        return cls(constant, np.zeros(d) if linear is None else np.array(linear, float), np.array(second, float), third, fourth)

    def transformed(self, L):
        """The polynomial of v (k,), where u = L v; L (d, k)."""
        out = {"third": None, "fourth": None}
        i, j, multiplicity, _ = pairs(L.shape[1])
        if self.third is not None or self.fourth is not None:
            # uu packed = lift · vv packed
            lift = L[self.i][:, i] * L[self.j][:, j]
            lift = 0.5 * multiplicity * (lift + L[self.i][:, j] * L[self.j][:, i])
            dual = self.multiplicity[:, None] * lift / multiplicity  # packed coefficients, multiplicity taken out again
        if self.third is not None:
            out["third"] = L.T @ (self.third @ dual)
        if self.fourth is not None:
            out["fourth"] = dual.T @ (self._fourth @ dual)
        return Polynomial(self.constant, L.T @ self.linear, L.T @ self.second @ L, **out)

    def shifted(self, m):
        """The polynomial of v, where u = m + v."""
        energy, force = self.evaluate(m[None])
        third = self.third
        if self.fourth is not None:
            third = self._along(m) + (0.0 if third is None else third)
        return Polynomial(float(energy[0]), -force[0], self.hessian(m), third, self.fourth)

    def _along(self, m):
        """ψ·m, packed as `third` is, (d, p)."""
        pick = csr_array((np.tile(m, self.size), (np.repeat(np.arange(self.size), self.size), self.index.ravel())),
                         shape=(self.size, len(self.i)))  # (j, packed (k, j)) -> m_k
        return pick @ self.fourth

    def _packed(self, U):
        return U[..., self.i] * U[..., self.j]

    def _T(self, U):
        return (self.third.T @ U.T).T[..., self.index]

    def _Q(self, packed):
        return 0.5 * (self._fourth @ (self.multiplicity * packed).T).T[..., self.index]

    def evaluate(self, U):
        """Energies (S,) and forces −∂V (S, d) at points U (S, d)."""
        U = np.atleast_2d(U)
        second = U @ self.second
        force = -self.linear - second
        energy = self.constant + U @ self.linear + 0.5 * np.einsum("sd,sd->s", U, second)
        if self.third is not None:
            v = np.einsum("sij,sj->si", self._T(U), U)
            force -= 0.5 * v
            energy += np.einsum("sd,sd->s", U, v) / 6.0
        if self.fourth is not None:
            v = np.einsum("sij,sj->si", self._Q(self._packed(U)), U)
            force -= v / 3.0
            energy += np.einsum("sd,sd->s", U, v) / 12.0
        return energy, force

    def hessian(self, m):
        """∂²V (d, d) at one point."""
        return self.mean_hessian(m, np.zeros((self.size, self.size)))

    def mean_hessian(self, m, A):
        K = self.second.copy()
        if self.third is not None:
            K += self._T(m)
        if self.fourth is not None:
            K += self._Q(self._packed(m) + A[self.i, self.j])
        return K

    def averages(self, m, A):
        """<V>, <−∂V> (d,), <∂²V> (d, d) over the Gaussian of mean m (d,) and covariance A (d, d)."""
        energy, force = self.evaluate(m[None])
        energy, force = float(energy[0]), force[0]
        packed = A[self.i, self.j]
        energy += 0.5 * float(np.sum(self.hessian(m) * A))
        if self.third is not None:
            force -= 0.5 * self.third @ (self.multiplicity * packed)
        if self.fourth is not None:
            Q = self._Q(packed)
            force -= Q @ m
            energy += 0.25 * float(np.sum(Q * A))
        return energy, force, self.mean_hessian(m, A)

    def mean_third(self, m):
        """<∂³V> (d, d, d) over any Gaussian of mean m."""
        d = self.size
        out = np.zeros((d, len(self.i))) if self.third is None else self.third
        if self.fourth is not None:
            out = out + self._along(m)
        out = out if isinstance(out, np.ndarray) else out.toarray()
        return out[:, self.index]
