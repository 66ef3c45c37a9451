"""Every registered potential of this project satisfies the contract tests that plugin authors run on theirs."""

import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine import registry
from engine.testing import PotentialContract
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones


def small(*arguments, amplitude=0.12, **keywords):
    """A rattled, triclinic cell of a few atoms."""
    return rattled(sheared(bulk(*arguments, **keywords)), amplitude)


CASES = {
    "lj": (lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5, shifted=True), lambda: [small("Ar", cubic=True, a=5.3)],
           {"any_species": True}),
    # a longer cutoff than the published one, at which the energy jumps by a microelectronvolt a pair
    "eam/zhou": (lambda: ZhouEAM(cutoff=7.5), lambda: [small("Cu", cubic=True)], {}),
}


def test_everything_registered_is_tested():
    ours = {name for name, point in registry.entries("potentials").items() if point.value.startswith("potentials.")}
    assert ours <= set(CASES)


@pytest.fixture(params=list(CASES))
def case(request):
    return request.param


class TestContract(PotentialContract):
    @pytest.fixture(autouse=True)
    def _case(self, case):
        self.make, self.make_structures, options = CASES[case]
        for name, value in options.items():
            setattr(self, name, value)

    def potential(self):
        return self.make()

    def structures(self):
        return self.make_structures()
