"""engine check, schema, evaluate and plot: what they say is what a run would do."""

import json
import tomllib
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest
import typer
from ase.build import bulk
from ase.io import read, write
from conftest import rattled

from engine import registry
from engine.cli import main, schema
from engine.testing import evaluate
from potentials.eam.zhou import ZhouEAM

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.toml"))
INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [2, 2, 2]
velocities = { temperature = 300 }
[potential]
kind = "eam/zhou"
[output]
thermo = 2
trajectory = 5
[[hook]]
kind = "rdf"
every = 2
[[hook]]
kind = "vacf"
every = 1
lags = 12
[[stage]]
integrator = "nve"
steps = 20
timestep = 2.0
"""


def engine(capsys, *arguments):
    """Run a command in this process; its output."""
    capsys.readouterr()
    try:
        main(list(arguments))
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("input.toml").write_text(INPUT)
    return tmp_path


# -- check ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("change, line", [
    (("x", "x"), "93 = 3 × 32 atoms − 3 because the integrator conserves momentum"),
    (('integrator = "nve"', 'integrator = "langevin"\ntemperature = 300\nfriction = 0.01'), "96 = 3 × 32 atoms"),
    (("velocities =", 'groups = { two = { index = [0, 1] } }\nfixed = [{ group = "two", components = "xz" }]\nvelocities ='),
     "64 = 3 × 32 atoms − 32 fixed components"),
])
def test_check_counts_degrees_of_freedom_and_writes_nothing(change, line, folder, capsys):
    Path("input.toml").write_text(INPUT.replace(*change))
    said = engine(capsys, "check", "input.toml")
    assert line in said and "predicted" in said and "20 steps" in said and "MB" in said and "32 (Cu)" in said
    assert [p.name for p in folder.iterdir()] == ["input.toml"]


def test_check_resolves_every_default(folder, capsys):
    """What check prints is an input again, with what was left out filled in, and means the same."""
    said = engine(capsys, "check", "input.toml")
    resolved, _ = json.JSONDecoder().raw_decode(said[said.index("{"):])
    assert resolved["hook"][1] == {"kind": "vacf", "every": 1, "lags": 12, "origins": 10, "group": "all"}
    assert resolved["potential"]["points"] == 4000 and resolved["run"]["seed"] == 0
    assert resolved["stage"][0]["integrator"] == "nve" and resolved["stage"][0]["timestep"] == 2.0


@pytest.mark.parametrize("change, word", [
    (('kind = "rdf"', 'kind = "msd"\ngroup = "iron"'), "iron"), (("thermo = 2", 'columns = ["speed"]'), "speed"),
    (('timestep = 2.0', 'timestep = 2.0\n[[stage]]\nintegrator = "nve"\nsteps = 2\ntimestep = 0.0'), "timestep"),
])
def test_check_finds_what_a_run_would_stumble_over(change, word, folder, capsys):
    Path("input.toml").write_text(INPUT.replace(*change))
    with pytest.raises(SystemExit) as end:
        main(["check", "input.toml"])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1 and word in lines[0]


# -- schema ---------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def validator():
    built = json.loads(json.dumps(schema.build()))
    jsonschema.Draft202012Validator.check_schema(built)
    return jsonschema.Draft202012Validator(built)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_examples_are_valid_by_the_schema(path, validator):
    validator.validate(tomllib.loads(path.read_text()))


def test_molecules_are_in_the_schema(validator):
    """The input on the page about them, with the rest of one."""
    page = (Path(__file__).parents[2] / "docs" / "molecules.md").read_text()
    text = page.split("```toml\n")[1].split("```")[0] + INPUT[INPUT.index("[potential]"):]
    validator.validate(tomllib.loads(text))


@pytest.mark.parametrize("old, new", [
    ("thermo = 2", "termo = 2"), ("thermo = 2", 'thermo = "often"'), ("thermo = 2", "thermo = 0"), ('"eam/zhou"', '"eam/zhu"'),
    ('"eam/zhou"', '"eam/zhou"\npoint = 3'), ("timestep = 2.0", "timestep = -2.0"), ("timestep = 2.0", "timesteps = 2.0"),
    ("steps = 20", "steps = -1"), ('"nve"', '"nvee"'), ('kind = "rdf"', 'kind = "rdff"'), ("lags = 12", "lags = 0"),
    ("[[stage]]", "[stage]"), ("replicate = [2, 2, 2]", "replicate = [2, 2]"), ('"fcc"', '"fcs"'),
    ("replicate", "exclusions = { bond = 3 }\nreplicate"), ("replicate", "exclusions = { bonds = 0 }\nreplicate"),
    ("replicate", "molecules = 3\nreplicate"), ("replicate", 'bonds = { source = "file" }\nreplicate'),
])
def test_the_schema_refuses_what_the_engine_refuses(old, new, validator):
    assert validator.is_valid(tomllib.loads(INPUT))
    assert old in INPUT and not validator.is_valid(tomllib.loads(INPUT.replace(old, new, 1)))


# -- evaluate -------------------------------------------------------------------------------------------------------------
def test_evaluate_structures(folder, capsys):
    """Every frame of a file as a system: the table, and a file that ASE reads with energies, forces and stresses."""
    frames = [rattled(bulk("Cu", cubic=True, a=a)) for a in (3.5, 3.6, 3.7)]
    write("frames.xyz", frames)
    said = engine(capsys, "evaluate", "input.toml", "--structure", "frames.xyz", "--output", "out.xyz")
    rows = [line.split() for line in said.splitlines() if line.split()[:1] and line.split()[0] in "012"]
    for frame, got, row in zip(frames, read("out.xyz", ":"), rows, strict=True):
        expected = evaluate(ZhouEAM(), frame)
        assert got.get_potential_energy() == pytest.approx(expected.energy[0], abs=1e-7)
        assert np.allclose(got.get_forces(), expected.forces, atol=1e-6)
        assert np.allclose(got.get_stress(voigt=False), -expected.virial[0] / frame.get_volume(), atol=1e-6)
        assert float(row[2]) == pytest.approx(expected.energy[0], abs=1e-7)
        assert float(row[4]) == pytest.approx(expected.virial[0][0, 0], abs=1e-5)


# -- ends ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end, code, said", [(KeyboardInterrupt(), 130, "engine: interrupted\n"), (typer.Exit(4), 4, ""),
                                             (typer.Exit(0), 0, "")])
def test_a_command_ends_with_its_exit_code(end, code, said, folder, capsys, monkeypatch):
    def command():
        raise end
    monkeypatch.setattr(registry, "get", lambda group, name: command)
    try:
        main(["plugins"])
        ended = 0
    except SystemExit as stop:
        ended = stop.code
    assert ended == code and capsys.readouterr().err == said


# -- plot -----------------------------------------------------------------------------------------------------------------
def test_plot_draws_thermo_and_observers(folder, capsys):
    engine(capsys, "run", "-q", "input.toml")
    engine(capsys, "plot", "run.h5md")
    assert Path("run.pdf").read_bytes().startswith(b"%PDF") and Path("run.pdf").stat().st_size > 10_000
    said = engine(capsys, "plot", "run.h5md", "--only", "vacf", "-o", "dos.png")
    assert "dos.png" in said and Path("dos.png").read_bytes().startswith(b"\x89PNG")
    engine(capsys, "plot", "run.h5md", "-o", "all.svg")
    assert {p.name for p in folder.glob("*.svg")} == {"all.thermo.svg", "all.rdf.svg", "all.vacf.svg"}


def test_numbers_that_hang_on_nothing_are_printed(tmp_path, capsys):
    with h5py.File(tmp_path / "run.h5md", "w") as file:
        for name, values, unit in (("coercive_field", 10.123456, "MV/cm"), ("coercive_field_error", 0.25, "MV/cm"),
                                   ("static", np.arange(9.0).reshape(3, 3), ""), ("many", np.ones(1000), "")):
            data = file.create_dataset(f"observers/some/{name}", data=values)
            data.attrs.update(axis="", labels=[], unit=unit)
        for name, axis in (("field", ""), ("polarization", "field")):
            file.create_dataset(f"observers/some/{name}", data=np.arange(5.0)).attrs.update(axis=axis, labels=[], unit="")
    said = engine(capsys, "plot", str(tmp_path / "run.h5md")).splitlines()
    assert said[:2] == ["some: coercive field (MV/cm) 10.123 ± 0.25", "some: static 0, 1, 2; 3, 4, 5; 6, 7, 8"] and len(said) == 3


def test_an_error_is_a_band_around_its_series(tmp_path):
    from engine.cli import plot

    x, y, e = np.linspace(0, 1, 5), np.ones((1, 2, 5)), np.full((1, 2, 5), 0.1)
    with h5py.File(tmp_path / "run.h5md", "w") as file:
        group = file.create_group("observers/infrared")
        group["frequency"] = x
        for name, values in (("absorption", y), ("absorption_error", e), ("phase_error", y)):  # the last: of nothing
            group[name] = values
            group[name].attrs.update(axis="frequency", labels=["x", "y"])
    panels = plot.read(tmp_path / "run.h5md")["infrared"]
    assert [panel.title for panel in panels] == ["absorption", "phase error"]
    assert set(panels[0].errors) == set(panels[0].rows) == {"x", "y"} and not panels[1].errors
    assert np.array_equal(panels[0].errors["y"], e[0, 1])
    axis = plot._figure(panels).axes[0]
    (low, high) = (f(axis.collections[0].get_paths()[0].vertices[:, 1]) for f in (min, max))
    assert (low, high) == pytest.approx((0.9, 1.1))


@pytest.mark.parametrize("arguments, word", [
    (["run.h5md"], "run.h5md"), (["input.toml"], "input.toml"), (["empty.h5"], "neither"),
    (["empty.h5", "-o", "figure.docx"], "docx"), (["some.h5", "--only", "rfd"], "did you mean 'rdf'"),
])
def test_plot_of_nothing_is_one_line(arguments, word, folder, capsys):
    h5py.File("empty.h5", "w").close()
    with h5py.File("some.h5", "w") as file:
        g = file.create_dataset("observers/rdf/g", data=np.ones((1, 5)))
        g.attrs.update(axis="r", labels=["Cu-Cu"], unit="")
        file.create_dataset("observers/rdf/r", data=np.arange(5.0))
    with pytest.raises(SystemExit) as end:
        main(["plot", *arguments])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1 and word in lines[0], lines
