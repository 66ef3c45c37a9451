"""Predictions from a calibration, and the map of outer steps, at small size; what cannot be is said in one line."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from engine.domain.plan import NETWORKS, step_time
from engine.errors import InputError
from engine.run import Run, from_file
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.estimate import calibration, cards, commands, outer_steps
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def argon():
    return LennardJones(epsilon=0.0104, sigma=3.4, cutoff=6.0, truncation="force-shifted")


def line(a=1e-3, b=1e-6, **more):
    sizes = [100, 1000, 10_000]
    seconds, memory = [a + b * n for n in sizes], [10**8 + 1000 * n for n in sizes]
    rebuilds = more.get("rebuilds", (0.0, 0.0, 0.0))
    output = more.get("output", (0.0, 0.0))
    return calibration.Calibration(sizes, seconds, memory, a, b, 0.0, 1e3, *rebuilds, *output, 7.0, 0.08, 1)


def test_arithmetic_of_a_prediction():
    c = line()
    assert c.step(1000) == pytest.approx(2e-3)
    assert c.step(500) == pytest.approx(1.5e-3)
    assert c.step(10**6) == pytest.approx(1.001)
    assert c.step(10) == pytest.approx(1.01e-3)
    assert c.memory(10**6) == pytest.approx(1.1e9)
    again = line(rebuilds=(0.02, 1e-4, 1e-6))  # 2 % of the steps times √(ln n) rebuild for 0.1 ms and 1 µs an atom
    assert again.step(1000) == pytest.approx(2e-3 + 0.02 * np.log(1000) ** 0.5 * 1.1e-3)
    assert line(output=(1e-4, 1e-7)).step(1000, 2) == pytest.approx(c.step(1000, 2) + 2e-4)  # atoms of all ranks
    assert c.step(10**6) / c.step(10**6, 4) == pytest.approx(4, rel=0.02)
    shell = 0.08 * ((1000 / 0.08) ** (1 / 3) + 14.0) ** 3 - 1000
    talk = step_time(NETWORKS["shared-memory"], 2, 1000, shell, 6, 0.0)[1]  # as `engine check --ranks`
    assert c.step(2000, 2) == pytest.approx(c.step(1000) + talk) and talk > 12 * 3e-6
    assert c.limit(100).startswith("overhead")
    assert c.limit(10**6) == "forces"
    assert c.limit(10**6, available=10**9).startswith("memory")
    assert line(a=1e-9).limit(1000, 8).startswith("ghosts")


def test_a_calibration_predicts_what_it_did_not_measure(monkeypatch):
    """From up to 500 atoms to 4000, where nothing was measured: within a factor that a busy machine allows."""
    monkeypatch.setattr(calibration, "clock", time.process_time)
    atoms = bulk("Ar", cubic=True, a=5.3) * (2, 2, 2)
    found = calibration.calibrate({"lj": argon()}, atoms, lambda: NVE(4.0), seconds=0.05, largest=1100, temperature=40)
    assert found.sizes[0] == 32 and found.sizes[-1] <= 1100 and found.b > 0
    direct = calibration.calibrate({"lj": argon()}, atoms * (5, 5, 5), lambda: NVE(4.0), seconds=0.05, largest=4000,
                                   temperature=40)
    assert direct.sizes == [4000]
    assert found.step(4000) == pytest.approx(direct.step(4000), rel=0.4)
    assert found.u + found.v > 0


def test_rebuilds_are_told_apart():
    """Of a hot crystal with a thin skin: as many as the domain counts, each dearer than a step without."""
    from engine.build import state_from_atoms, thermalise

    state = state_from_atoms(bulk("Ar", cubic=True, a=5.3) * (5, 5, 5))
    thermalise(state, 300, 1)
    sim = Simulation(state, argon(), NVE(4.0), skin=0.3)
    found = calibration.step_seconds(sim, 0.2)
    assert found.steps > 20 and 0.02 < found.rebuilds / found.steps < 0.8
    assert found.rebuild > 0.2 * found.plain and found.mean > found.plain


@pytest.mark.parametrize("file", ["run.h5md", "run.xyz"])
def test_rows_and_frames_are_counted(file):
    """What they take, over the steps between them; files are written where they are soon gone."""
    def seconds(thermo, trajectory):
        raw = {"system": {"crystal": {"structure": "fcc", "species": "Ar", "a": 5.3}, "replicate": [3, 3, 3]},
               "potential": {"kind": "lj", "epsilon": 0.0104, "sigma": 3.4, "cutoff": 6.0},
               "stage": [{"steps": 1, "integrator": "nve", "timestep": 4.0}],
               "output": {"file": file, "thermo": thermo, "trajectory": trajectory, "columns": ["deposited"]}}
        job = Run(raw)
        return calibration.output_seconds(job.build(), calibration._Wanted(job).writers, 1.0)

    seconds(1, 1)  # compiles
    rows, both = seconds(10, False), seconds(10, 20)
    assert 1e-6 < rows < both
    assert seconds(100, False) == pytest.approx(rows / 10, rel=0.7)
    assert not Path(file).exists()


def test_a_calibration_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "cache_folder", lambda: tmp_path)
    calibration.save("x", line())
    assert calibration.load("x") == line()
    assert calibration.load("y") is None


def test_estimate_and_advise(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(calibration, "calibrate", lambda *a, **k: line())
    path = EXAMPLES / "copper" / "input.toml"
    commands.estimate(str(path), "500,1e6", "1,400", False)
    said = capsys.readouterr().out
    assert "1000000" in said and "forces" in said and "overhead" in said
    shutil.copy(path, tmp_path / "input.toml")
    commands.advise([str(path), str(tmp_path / "input.toml")], 1000, 1)
    assert "licence: not stated" in capsys.readouterr().out
    Path(tmp_path / "mts.toml").write_text((EXAMPLES / "mts-copper" / "input.toml").read_text())
    asked = []
    monkeypatch.setattr(calibration, "calibrate", lambda *a, **k: asked.append((a, k)) or line())
    _, timestep = calibration.for_input(from_file(str(tmp_path / "mts.toml")))
    assert timestep == 8.0 and asked[0][1]["every"] == [1, 4] and asked[0][1]["levels"][1] == {"eam": 1, "pair": -1}
    assert asked[0][1]["temperature"] == 600 and asked[0][0][2]().friction == 0.002
    with pytest.raises(InputError, match="--atoms ten"):
        commands._numbers("ten", "--atoms")


def test_cards_are_read(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "card.toml").write_text('accuracy = "12 meV/Å"\nlicence = "MIT"\n')

    class Job:
        folder = str(tmp_path)

        class input:
            @staticmethod
            def named_potentials():
                return {"potential": {"kind": "equivariant", "model": "model"}}

    assert cards.of(Job) == {"accuracy": "12 meV/Å", "licence": "MIT"}


def test_map_of_outer_steps():
    """A soft and a stiff part of argon: k = 1 changes nothing, 2 little, past the limit it explodes; as predicted."""
    from engine.build import state_from_atoms, thermalise

    state = state_from_atoms(bulk("Ar", cubic=True, a=5.3) * (2, 2, 2))
    thermalise(state, 60, 1)
    whole, stiff = argon(), Morse(depth=0.004, alpha=1.8, r0=3.95, cutoff=5.0, truncation="force-shifted")
    sim = Simulation(state, {"whole": whole, "stiff": stiff}, None)
    levels = [{"stiff": 1.0}, {"whole": 1.0, "stiff": -1.0}]
    # 40 fs is far too long an inner step for a real run; it brings resonance within few steps
    found = outer_steps.measure(sim, levels, 20.0, 30.0, [1, 2, 60], picoseconds=4, equilibrate=1, seconds=0.02)
    single, one, two, far = found.rows
    assert found.limit < 60 * 20 and far.outer > found.limit
    assert not far.stable or far.fluctuation > 20 * single.fluctuation
    assert one.stable and two.stable
    assert one.fluctuation == pytest.approx(single.fluctuation, rel=0.05)
    assert one.rdf < 0.5 and one.dos < 0.5 and two.rdf < 4
    assert "resonance limit predicted" in found.table()
    assert json.dumps(found.as_dict())


def test_gain_is_over_the_longest_single_step_that_drifts_no_more():
    def row(every, outer, speed, drift, error=1e-6):
        return outer_steps.Row(every, outer, ns_per_day=speed, drift=drift, drift_error=error)

    singles = [row(0, 0.5, 1.0, -1e-6), row(0, 0.75, 1.5, 4e-6), row(0, 1.0, 2.0, -2e-5)]
    close, far, worse, none = row(4, 2.0, 3.0, -3e-6), row(8, 4.0, 6.0, 3e-5), row(6, 3.0, 4.5, 1e-5), row(1, 0.5, 0.9, 0.0, 1e-7)
    found = outer_steps.Map("NVE", 300.0, 192, 7.5, 3.7, [1.0, 2.0, 2.0], [*singles, close, far, worse])
    assert [found.gain(r) for r in (close, far, worse)] == [2.0, 3.0, 3.0]
    assert found.gain(none) == 0.9      # the shortest drifts no more than two of its own errors
    singles[0].drift = 1e-4
    assert np.isnan(found.gain(none))


def test_levels_between_divide():
    assert outer_steps._every(8, 2) == [1, 8]
    assert outer_steps._every(8, 3) == [1, 2, 8]
    assert outer_steps._every(12, 3) == [1, 3, 12]
    assert outer_steps._every(7, 3) == [1, 1, 7]


def test_maps_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="no stage has two levels"):
        commands.mts(str(EXAMPLES / "copper" / "input.toml"), "1,2", 0.1, "1", 0.1, 0.0, 0.0, "", "")
    with pytest.raises(InputError, match="whole numbers"):
        commands.mts(str(EXAMPLES / "mts-copper" / "input.toml"), "1,x", 0.1, "1", 0.1, 0.0, 0.0, "", "")


@pytest.mark.parametrize("name", ["mts-copper", "mts-nacl"])
def test_examples_conserve_energy(name, tmp_path, monkeypatch):
    """The inputs as they stand, small: the account closes at the outer step they recommend."""
    import tomllib

    raw = tomllib.loads((EXAMPLES / name / "input.toml").read_text())
    raw["system"]["replicate"] = [2, 2, 2]
    raw["stage"][0]["steps"] = 30
    monkeypatch.chdir(tmp_path)
    run = Run(raw, EXAMPLES / name, name)
    sim = run.build()
    sim.begin_stage(0, 30)
    rows = []
    sim.attach(lambda s: rows.append(s.conserved()[0] / s.state.n), 5, {"energy"})
    sim.proceed()
    assert np.ptp(rows) < 2e-4 and len(rows) == 7
