"""The suite on several ranks: ``mpiexec -n 2 python -m pytest``.

All ranks go through the same tests in the same order. A test marked ``ranks``, and every contract test, runs on
all of them together: what it simulates is spread over ranks, and its ``tmp_path`` is one folder
for all (each rank's own in a contract test). It passes if it passes
everywhere. All other tests are of serial runs: they are dealt out in turns, and see a process without a launcher.
Rank 0 reports; a rank that stays away from a common test ends all with that test's name.
"""

import os
import sys
import time

import numpy as np
import pytest

import engine.run
import engine.testing
from engine import parallel

PATIENCE = 300.0  # s that one rank may be ahead of another
PREFIXES = ("PMI_", "PMIX_", "OMPI_", "HYDI_", "MPI_LOCAL", "MV2_", "PALS_")


def start():
    """The communicator of all ranks; from here on this process and those that it starts see no launcher."""
    comm = parallel.world()
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        del os.environ[name]
    parallel.world.cache_clear()
    sys.excepthook = sys.__excepthook__
    import ase.parallel

    ase.parallel.world.comm = ase.parallel.DummyMPI()  # else only rank 0 writes files, and all have to read them together
    return comm


class Lockstep:
    def __init__(self, comm):
        self.comm, self.communicator = comm, comm.communicator.Dup()

    def pytest_sessionstart(self, session):
        if self.comm.rank:
            session.config.get_terminal_writer()._file = open(os.devnull, "w")

    def pytest_collection_modifyitems(self, config, items):
        mine, others, turn = [], [], 0
        for item in items:
            together = issubclass(getattr(item, "cls", None) or object, engine.testing.Contract)
            if together:
                item.add_marker("ranks")
            if not item.get_closest_marker("ranks"):
                turn += 1
                if turn % self.comm.size != self.comm.rank:
                    others.append(item)
                    continue
            mine.append(item)
        items[:] = mine
        config.hook.pytest_deselected(items=others)

    @pytest.fixture(autouse=True)
    def _spread(self, request, monkeypatch):
        """In a test of all ranks, a run and a contract find them."""
        if request.node.get_closest_marker("ranks"):
            for module in (engine.run, engine.testing):
                monkeypatch.setattr(module, "world", lambda: self.comm)

    @pytest.fixture
    def tmp_path(self, request, tmp_path):
        """In a test of all ranks rank 0's folder; in a contract test each rank's own, where it writes what its part reads."""
        contract = issubclass(request.cls or object, engine.testing.Contract)
        return self.comm.bcast(tmp_path) if request.node.get_closest_marker("ranks") and not contract else tmp_path

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "call" and item.get_closest_marker("ranks"):
            failed = self._failures(report.failed, item)
            if failed and not report.failed:
                report.outcome, report.longrepr = "failed", f"failed on {failed} other rank(s): see what they say"
        return report

    def _failures(self, failed, item):
        """On how many ranks this test failed; ends all if a rank does not say so in time."""
        mine, total = np.array([int(failed)]), np.zeros(1, int)
        request, end = self.communicator.Iallreduce(mine, total), time.monotonic() + PATIENCE
        while not request.Test():
            time.sleep(1e-4)
            if time.monotonic() > end:
                self._say(f"another rank did not come to the end of {item.nodeid}")
                self.comm.abort(1)
        return int(total[0])

    def pytest_runtest_logreport(self, report):
        if report.failed and self.comm.rank:
            self._say(f"{report.nodeid} ({report.when})\n{report.longreprtext}")

    def pytest_sessionfinish(self, session, exitstatus):
        failed = sum(self.communicator.allgather(session.testsfailed))
        mine = self.communicator.allgather(session.testscollected)
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and any(mine):
            session.exitstatus = pytest.ExitCode.OK  # the only test there is was dealt to another rank
        if failed and not session.testsfailed:
            session.exitstatus = 1
        if self.comm.rank == 0 and failed > session.testsfailed:
            print(f"\n{failed - session.testsfailed} failed on other ranks", file=sys.__stderr__)

    def _say(self, text):
        print(f"rank {self.comm.rank}: {text}", file=sys.__stderr__, flush=True)
