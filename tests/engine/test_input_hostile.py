"""Hostile input: every malformed file gives one clear line and exit code 2, no traceback, and nothing is written."""

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from ase.build import bulk

from engine.cli import main
from engine.errors import InputError
from engine.run import from_file

GOOD = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [2, 2, 2]
velocities = { temperature = 300 }

[potential]
kind = "eam/zhou"

[output]
file = "run.h5md"
thermo = 1

[run]
seed = 1

[[stage]]
integrator = "langevin"
steps = 2
timestep = 2.0
temperature = 300
friction = 0.01
"""

CRYSTAL = 'crystal = { structure = "fcc", species = "Cu", a = 3.615 }'
ZHOU = 'kind = "eam/zhou"'
LJ = 'kind = "lj"\nepsilon = 0.1\nsigma = 2.3\ncutoff = 6.0'
STAGE = GOOD[GOOD.index("[[stage]]"):]


def change(old, new):
    """The good input with one thing changed, which must be there."""
    assert old in GOOD, old
    return GOOD.replace(old, new)


def barostat(table):
    return GOOD + f"barostat = {table}\n"


def structure(name):
    return change(CRYSTAL, f'structure = "{name}"')


# what is wrong: (the input file, words that the line must contain)
INPUTS = {
    # the file as TOML
    "empty file": ("", ["stage", "missing"]),
    "not TOML": ("this is no TOML", ["not valid TOML", "line 1"]),
    "unclosed string": (change('"run.h5md"', '"run.h5md'), ["not valid TOML", "line"]),
    "key twice": (change("thermo = 1", "thermo = 1\nthermo = 2"), ["not valid TOML"]),
    "table twice": (GOOD + "\n[run]\nseed = 2\n", ["not valid TOML"]),
    "unclosed array": (change("[2, 2, 2]", "[2, 2, 2"), ["not valid TOML"]),
    "bad number": (change("3.615", "3.6.15"), ["not valid TOML"]),
    "binary": (b"\xff\xfe\x00\x01" * 8, ["cannot be read"]),
    # tables and keys
    "unknown table": (GOOD + "\n[outptu]\nthermo = 3\n", ["outptu", "did you mean 'output'"]),
    "unknown key in system": (change("replicate", "replicat"), ["replicat", "did you mean 'replicate'"]),
    "unknown key in crystal": (change("a = 3.615", "aa = 3.615"), ["system.crystal", "aa"]),
    "unknown key in output": (change("thermo = 1", "termo = 1"), ["output", "termo", "did you mean 'thermo'"]),
    "unknown key in run": (change("seed = 1", "sead = 1"), ["run", "sead", "did you mean 'seed'"]),
    "unknown key in stage": (change("friction", "fricton"), ["stage", "fricton", "did you mean 'friction'"]),
    "unknown key in potential": (change(ZHOU, ZHOU + "\ncutof = 5"), ["potential", "cutof", "did you mean 'cutoff'"]),
    "unknown key in barostat": (barostat('{ kind = "cell-rescaling", presure = 1 }'), ["barostat", "presure", "pressure"]),
    "no system": (GOOD[GOOD.index("[potential]"):], ["[system] is missing"]),
    "no potential": (change(f"[potential]\n{ZHOU}", ""), ["[potential]", "missing"]),
    "no stage": (GOOD.replace(STAGE, ""), ["stage", "missing"]),
    "stage as a table": (change("[[stage]]", "[stage]"), ["stage", "[[stage]]"]),
    "stage is a number": ("stage = 3\n" + GOOD.replace(STAGE, ""), ["stage", "3"]),
    "two potentials": (GOOD + f"\n[potentials.second]\n{ZHOU}\n", ["[potential]", "[potentials.NAME]"]),
    "structure and crystal": (change(CRYSTAL, CRYSTAL + '\nstructure = "x.xyz"'), ["structure", "crystal"]),
    "neither structure nor crystal": (change(CRYSTAL, ""), ["structure", "crystal"]),
    "system is a list": (GOOD.replace("[system]", "[[system]]"), ["system"]),
    # names
    "unknown potential": (change("eam/zhou", "eam/zhu"), ["eam/zhu", "did you mean 'eam/zhou'"]),
    "unknown integrator": (change('"langevin"', '"langvin"'), ["langvin", "did you mean 'langevin'"]),
    "unknown barostat": (barostat('{ kind = "cell-rescalin", pressure = 1 }'), ["cell-rescalin", "did you mean"]),
    "unknown hook": (GOOD + '\n[[hook]]\nkind = "radial"\n', ["hook", "radial"]),
    "unknown updater": (GOOD + '\n[[updater]]\nkind = "shake"\n', ["updater", "shake"]),
    "unknown field": (GOOD + '\n[[field]]\nkind = "puls"\n', ["field", "puls"]),
    "unknown stage kind": (change('integrator = "langevin"', 'kind = "relaxx"\nintegrator = "langevin"'), ["relaxx"]),
    "unknown column": (change("thermo = 1", 'thermo = 1\ncolumns = ["temprature"]'),
                       ["temprature", "did you mean 'temperature'"]),
    "potential without kind": (change(ZHOU, "cutoff = 5"), ["kind", "eam/zhou"]),
    "kind is a number": (change(ZHOU, "kind = 7"), ["potential.kind", "7"]),
    "integrator missing": (change('integrator = "langevin"\n', ""), ["integrator", "missing"]),
    "integrator is a table": (change('"langevin"', '{ kind = "langevin" }'), ["integrator"]),
    "unknown crystal": (change('"fcc"', '"fcs"'), ["fcs", "fcc"]),
    "unknown species": (change('"Cu"', '"Xq"'), ["Xq"]),
    "species without parameters": (change('"Cu"', '"Ne"'), ["Ne", "Cu"]),
    "level names no potential": (GOOD + "levels = [{ every = 1, potentials = { fast = 1 } }]\n", ["fast", "potential"]),
    # values
    "thermo is text": (change("thermo = 1", 'thermo = "often"'), ["output.thermo", "often", "integer"]),
    "thermo is zero": (change("thermo = 1", "thermo = 0"), ["output.thermo", "0", "greater than 0"]),
    "thermo is negative": (change("thermo = 1", "thermo = -5"), ["output.thermo", "-5"]),
    "thermo is a fraction": (change("thermo = 1", "thermo = 1.5"), ["output.thermo", "1.5", "integer"]),
    "steps is text": (change("steps = 2", 'steps = "many"'), ["stage[0].steps", "many", "whole number"]),
    "steps is negative": (change("steps = 2", "steps = -2"), ["stage[0].steps", "-2"]),
    "steps is true": (change("steps = 2", "steps = true"), ["stage[0].steps", "True"]),
    "steps is missing": (change("steps = 2\n", ""), ["stage[0].steps", "missing"]),
    "timestep is missing": (change("timestep = 2.0\n", ""), ["stage[0].timestep", "missing"]),
    "timestep is zero": (change("timestep = 2.0", "timestep = 0"), ["timestep", "positive"]),
    "timestep is not a number": (change("timestep = 2.0", "timestep = nan"), ["timestep", "nan"]),
    "timestep is infinite": (change("timestep = 2.0", "timestep = inf"), ["timestep", "inf"]),
    "timestep is a list": (change("timestep = 2.0", "timestep = [2.0]"), ["timestep"]),
    "timestep in kelvin": (change("timestep = 2.0", 'timestep = "2 K"'), ["timestep", "2 K", "fs"]),
    "timestep in nonsense": (change("timestep = 2.0", 'timestep = "2 fortnigths"'), ["timestep", "fortnigths"]),
    "temperature is negative": (change("temperature = 300\nfriction", "temperature = -300\nfriction"), ["temperature", "-300"]),
    "temperature is text": (change("temperature = 300\nfriction", 'temperature = "hot"\nfriction'), ["temperature", "hot"]),
    "temperature is true": (change("temperature = 300\nfriction", "temperature = true\nfriction"), ["temperature", "True"]),
    "ramp without end": (change("temperature = 300\nfriction", "temperature = { from = 300 }\nfriction"), ["temperature", "to"]),
    "ramp of other systems": (change("temperature = 300\nfriction", "temperature = { systems = [300, 400] }\nfriction"),
                              ["temperature", "2", "1"]),
    "friction is negative": (change("friction = 0.01", "friction = -1"), ["friction", "-1"]),
    "friction in pascal": (change("friction = 0.01", 'friction = "3 Pa"'), ["friction", "3 Pa", "1/fs"]),
    "velocities negative": (change("velocities = { temperature = 300 }", "velocities = { temperature = -1 }"),
                            ["temperature", "-1"]),
    "velocities of two systems": (change("{ temperature = 300 }", "{ temperature = { systems = [1, 2] } }"),
                                  ["velocities.temperature", "2"]),
    "replicate of two": (change("[2, 2, 2]", "[2, 2]"), ["system.replicate"]),
    "replicate of zero": (change("[2, 2, 2]", "[2, 0, 2]"), ["system.replicate", "0"]),
    "replicate of text": (change("[2, 2, 2]", '["a", "b", "c"]'), ["system.replicate", "a"]),
    "lattice constant negative": (change("3.615", "-3.615"), ["system.crystal", "-3.615"]),
    "lattice constant zero": (change("3.615", "0.0"), ["system.crystal", "0"]),
    "mass negative": (change("replicate", "masses = { Cu = -1.0 }\nreplicate"), ["masses", "-1"]),
    "mass of nobody": (change("replicate", "masses = { Ag = 107.0 }\nreplicate"), ["masses", "Ag", "Cu"]),
    "mass in metres": (change("replicate", 'masses = { Cu = "3 m" }\nreplicate'), ["masses", "3 m"]),
    "copies zero": (change("replicate", "copies = 0\nreplicate"), ["copies", "0"]),
    "periodic of two": (change("replicate", "periodic = [true, true]\nreplicate"), ["periodic"]),
    "group without atom": (change("replicate", "groups = { tip = { index = [9999] } }\nreplicate"), ["tip", "9999"]),
    "group of nobody": (change("replicate", 'groups = { tip = { species = "Ag" } }\nreplicate'), ["tip", "Ag"]),
    "group in no direction": (change("replicate", "groups = { tip = { region = { w = [0, 1] } } }\nreplicate"), ["tip", "w"]),
    # molecules and exclusions
    "molecules of no column": (structure("mol.xyz").replace("replicate", 'molecules = "mool"\nreplicate'),
                               ["molecules", "mool", "did you mean 'mol'"]),
    "molecules of a crystal": (change("replicate", 'molecules = "mol"\nreplicate'), ["molecules", "mol", "column"]),
    "molecules in text": (structure("mol.xyz").replace("replicate", 'molecules = "name"\nreplicate'), ["name", "whole number"]),
    "molecules are fractions": (structure("mol.xyz").replace("replicate", 'molecules = "half"\nreplicate'), ["half", "float64"]),
    "molecules are vectors": (structure("mol.xyz").replace("replicate", 'molecules = "pair"\nreplicate'), ["pair", "(2,)"]),
    "molecules is a number": (change("replicate", "molecules = 3\nreplicate"), ["system.molecules", "3"]),
    "exclusions empty": (change("replicate", "exclusions = {}\nreplicate"), ["system.exclusions", "no pairs"]),
    "exclusions of a list": (change("replicate", "exclusions = [[0, 1]]\nreplicate"), ["system.exclusions"]),
    "exclusions unknown key": (change("replicate", "exclusions = { bond = 3 }\nreplicate"),
                               ["exclusions", "did you mean 'bonds'"]),
    "exclusions without molecules": (change("replicate", "exclusions = { molecules = true }\nreplicate"),
                                     ["exclusions.molecules", "molecules ="]),
    "exclusions no bonds apart": (change("replicate", "exclusions = { bonds = 0 }\nreplicate"), ["exclusions.bonds", "0"]),
    "exclusions a hundred bonds apart": (change("replicate", "exclusions = { bonds = 100 }\nreplicate"),
                                         ["exclusions.bonds", "100"]),
    "exclusions in an atomic gas": (change("replicate", "exclusions = { bonds = 2 }\nbonds = { scale = 0.5 }\nreplicate"),
                                    ["exclusions", "system.bonds"]),
    "excluded atom of nowhere": (change("replicate", "exclusions = { pairs = [[0, 99]] }\nreplicate"), ["0, 99", "0 to 3"]),
    "excluded atom negative": (change("replicate", "exclusions = { pairs = [[-1, 2]] }\nreplicate"), ["-1, 2", "0 to 3"]),
    "excluded from itself": (change("replicate", "exclusions = { pairs = [[2, 2]] }\nreplicate"), ["2, 2", "itself"]),
    "excluded three": (change("replicate", "exclusions = { pairs = [[0, 1, 2]] }\nreplicate"), ["exclusions.pairs"]),
    "excluded by text": (change("replicate", 'exclusions = { pairs = [["a", "b"]] }\nreplicate'), ["exclusions.pairs", "a"]),
    "exclusions file missing": (change("replicate", 'exclusions = { file = "gone.txt" }\nreplicate'),
                                ["gone.txt", "No such file"]),
    "exclusions file of words": (change("replicate", 'exclusions = { file = "text.xyz" }\nreplicate'), ["text.xyz", "line 1"]),
    "exclusions file empty": (change("replicate", 'exclusions = { file = "empty.xyz" }\nreplicate'), ["empty.xyz", "no pairs"]),
    "exclusions file binary": (change("replicate", 'exclusions = { file = "binary.foo" }\nreplicate'),
                               ["binary.foo", "cannot be read"]),
    "bond length of nobody": (change("replicate", 'molecules = "bonds"\nbonds = { lengths = { "Cu-Ag" = 1 } }\nreplicate'),
                              ["bonds.lengths", "Ag"]),
    "bond length of one": (change("replicate", 'molecules = "bonds"\nbonds = { lengths = { Cu = 1 } }\nreplicate'),
                           ["bonds.lengths", "two species"]),
    "bond length in kelvin": (change("replicate", 'bonds = { lengths = { "Cu-Cu" = "3 K" } }\nreplicate'),
                              ["bonds.lengths", "3 K"]),
    "bonds negative": (change("replicate", "bonds = { scale = -1 }\nreplicate"), ["bonds.scale", "-1"]),
    "bonds of a file without": (structure("mol.xyz").replace("replicate", 'molecules = "bonds"\nbonds = { source = "structure" }'
                                                             "\nreplicate"), ["mol.xyz", "names no bonds"]),
    "bonds of both": (change("replicate", 'bonds = { source = "structure", scale = 1.1 }\nreplicate'), ["bonds", "scale"]),
    "format unknown": (structure("mol.xyz").replace("replicate", 'format = "lamps-data"\nreplicate'),
                       ["lamps-data", "did you mean 'lammps-data'"]),
    "format of another file": (structure("mol.xyz").replace("replicate", 'format = "lammps-data"\nreplicate'),
                               ["mol.xyz", "read"]),
    "format option unknown": (structure("mol.xyz").replace("replicate", "format_options = { colour = 1 }\nreplicate"),
                              ["mol.xyz", "colour"]),
    "format of a crystal": (change("replicate", 'format = "extxyz"\nreplicate'), ["format", "structure"]),
    "fixed group unknown": (change("replicate", 'fixed = [{ group = "bottom" }]\nreplicate'), ["bottom"]),
    "fixed component unknown": (change("replicate", 'fixed = [{ group = "all", components = "w" }]\nreplicate'),
                                ["components", "w"]),
    "barostat in the open": (change("replicate", "periodic = [true, true, false]\nreplicate")
                             + 'barostat = { kind = "cell-rescaling", pressure = 0 }\n', ["barostat", "periodic"]),
    "barostat without pressure": (barostat('{ kind = "cell-rescaling" }'), ["barostat.pressure", "missing"]),
    "barostat is text": (barostat('"cell-rescaling"'), ["barostat"]),
    "pressure of two": (barostat('{ kind = "cell-rescaling", pressure = [1, 2] }'), ["pressure"]),
    "pressure column in the open": (change("replicate", "periodic = [true, true, false]\nreplicate")
                                    .replace("thermo = 1", 'thermo = 1\ncolumns = ["pressure"]'), ["pressure", "open"]),
    "seed negative": (change("seed = 1", "seed = -1"), ["run.seed", "-1"]),
    "seed too large": (change("seed = 1", "seed = 9223372036854775808"), ["run.seed"]),
    "threads zero": (change("seed = 1", "threads = 0"), ["run.threads", "0"]),
    "precision unknown": (change("seed = 1", 'precision = "half"'), ["run.precision", "half", "double"]),
    "device that is not there": (change("seed = 1", 'device = "gpu"'), ["run.device", "gpu", "cpu"]),
    "max_time unreadable": (change("seed = 1", 'max_time = "an hour"'), ["run.max_time", "an hour"]),
    "skin negative": (change("seed = 1", "skin = -1.0"), ["skin", "-1"]),
    "output suffix unknown": (change("run.h5md", "run.dump"), ["output.file", "run.dump", ".h5md"]),
    "output folder missing": (change("run.h5md", "nowhere/run.h5md"), ["nowhere"]),
    "output fields unknown": (change("thermo = 1", 'thermo = 1\nfields = ["colour"]'), ["output.fields", "colour", "velocities"]),
    "levels not multiples": (GOOD + "levels = [{ every = 1, potentials = { potential = 1 } }, "
                             "{ every = 2, potentials = { potential = 1 } }, { every = 3, potentials = { potential = 1 } }]\n",
                             ["levels[2].every", "3"]),
    "level without potentials": (GOOD + "levels = [{ every = 1 }]\n", ["levels[0]", "potentials"]),
    "cutoff negative": (change(ZHOU, ZHOU + "\ncutoff = -2.0"), ["cutoff", "-2"]),
    "pair without sigma": (change(ZHOU, 'kind = "lj"\nepsilon = 0.1\ncutoff = 6.0'), ["sigma"]),
    "pair of nobody": (change(ZHOU, LJ + "\npairs = { Cu = { sigma = 2.0 } }"), ["Cu", "hyphen"]),
    "pair parameter in kelvin of length": (change(ZHOU, LJ.replace("2.3", '"2.3 s"')), ["sigma", "2.3 s"]),
    # more than any machine holds, or than a file or a counter does
    "atoms without end": (change("[2, 2, 2]", "[100000, 100000, 100000]"), ["4e+15 atoms", "GB"]),
    "copies without end": (change("replicate", "copies = 1000000000\nreplicate"), ["atoms", "GB"]),
    "cutoff without end": (change(ZHOU, LJ.replace("6.0", "1e9")), ["cutoff of 1e+09", "GB"]),
    "skin without end": (change("seed = 1", "seed = 1\nskin = 1e6"), ["skin of 1e+06", "GB"]),
    "cell without volume to speak of": (change("3.615", "1e-6"), ["faces", "GB"]),
    "cell as large as the world": (change("3.615", "1e200"), ["1e+200"]),
    "steps without end": (change("steps = 2", "steps = 99999999999999999999"), ["stage[0].steps", "2^48"]),
    "threads without end": (change("seed = 1", "threads = 100000"), ["run.threads", "1024"]),
    "bins without end": (GOOD + '\n[[hook]]\nkind = "rdf"\nbins = 1000000000000000\n', ["memory"]),
    "power of powers": (change("timestep = 2.0", 'timestep = "9**9**9**9 fs"'), ["timestep", "9**9"]),
    "brackets without end": ("a = " + 5000 * "[" + 5000 * "]", ["too deeply"]),
    "a zero byte in a name": (change("replicate", 'groups = { "a\\u0000b" = { species = "Cu" } }\nreplicate'), ["NUL"]),
    "two lines in a key": (GOOD + '\n["sys\\ntem"]\n', ["sys tem"]),
    # what would otherwise be taken for something else
    "frames at every truth": (change("thermo = 1", "trajectory = true"), ["trajectory = true", "whole number"]),
    "group of no rule": (change("replicate", "groups = { tip = {} }\nreplicate"), ["tip", "names no atoms"]),
    "group of an empty place": (change("replicate", "groups = { tip = { region = { z = [90, 99] } } }\nreplicate"),
                                ["tip", "no atom"]),
    "group of a region reversed": (change("replicate", "groups = { tip = { region = { z = [5, 1] } } }\nreplicate"),
                                   ["tip", "smaller one first"]),
    "hook in a stage of nowhere": (GOOD + '\n[[hook]]\nkind = "msd"\nstages = [7]\n', ["msd", "[7]", "0 to 0"]),
    "weight not a number": (GOOD + "levels = [{ every = 1, potentials = { potential = nan } }]\n", ["levels[0]", "finite"]),
    "max_time of 99 minutes": (change("seed = 1", 'max_time = "1:99:99"'), ["run.max_time", "1:99:99"]),
    "species in small letters": (change('"Cu"', '"cu"'), ["species", "'cu'", "'Cu'"]),
    "tail in the open": (change("replicate", "periodic = [true, true, false]\nreplicate").replace(ZHOU, LJ + "\ntail = true"),
                         ["open"]),
    # structure files
    "structure far away": (structure("far.xyz"), ["far.xyz", "atom 3"]),
    "structure missing": (structure("nothing.xyz"), ["nothing.xyz", "does not exist"]),
    "structure a folder": (structure("folder"), ["folder"]),
    "structure empty": (structure("empty.xyz"), ["empty.xyz", "empty"]),
    "structure cut off": (structure("short.xyz"), ["short.xyz"]),
    "structure of text": (structure("text.xyz"), ["text.xyz"]),
    "structure with NaN": (structure("nan.xyz"), ["nan.xyz", "not a number"]),
    "structure of no format": (structure("binary.foo"), ["binary.foo"]),
    "structure with a flat cell": (structure("flat.xyz"), ["flat.xyz", "cell"]),
    "structure without a cell": (structure("nocell.xyz"), ["nocell.xyz", "cell"]),
    "structure without atoms": (structure("none.xyz"), ["none.xyz", "no atoms"]),
    "structure of unknown elements": (structure("unknown.xyz"), ["unknown.xyz", "Qq"]),
    "no such frame": (structure("good.xyz").replace("replicate", 'frames = "7"\nreplicate'), ["good.xyz", "7"]),
    "frames unreadable": (structure("good.xyz").replace("replicate", 'frames = "last"\nreplicate'), ["system.frames", "last"]),
}


def write_structures(folder):
    good = bulk("Cu", cubic=True)
    good.write(folder / "good.xyz")
    text = (folder / "good.xyz").read_text()
    (folder / "empty.xyz").write_text("")
    (folder / "short.xyz").write_text("\n".join(text.splitlines()[:4]) + "\n")
    (folder / "text.xyz").write_text("Dear reader,\nthere are no atoms here.\n")
    (folder / "nan.xyz").write_text("\n".join(text.splitlines()[:-1] + ["Cu nan 0.0 0.0"]) + "\n")
    (folder / "far.xyz").write_text("\n".join(text.splitlines()[:-1] + ["Cu 1e300 0.0 0.0"]) + "\n")
    (folder / "binary.foo").write_bytes(bytes(range(256)))
    flat = good.copy()
    flat.set_cell(np.diag([3.6, 3.6, 0.0]), scale_atoms=False)
    flat.write(folder / "flat.xyz")
    (folder / "nocell.xyz").write_text('1\npbc="T T T" Properties=species:S:1:pos:R:3\nCu 0.0 0.0 0.0\n')
    (folder / "none.xyz").write_text("0\n\n")
    good.arrays |= {"mol": np.arange(4), "name": np.array(list("abcd")), "half": np.arange(4) / 2, "pair": np.ones((4, 2), int)}
    good.write(folder / "mol.xyz")
    (folder / "unknown.xyz").write_text(text.replace("Cu ", "Qq "))
    (folder / "folder").mkdir()


def everything_in(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.filterwarnings("ignore")
def test_malformed_input_is_one_clear_line(case, tmp_path, monkeypatch, capsys):
    text, words = INPUTS[case]
    monkeypatch.chdir(tmp_path)
    write_structures(tmp_path)
    (tmp_path / "input.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = everything_in(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["run", "input.toml"])
    lines = capsys.readouterr().err.splitlines()
    print(*lines, sep="\n")
    assert end.value.code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("engine: ") and len(lines[0]) < 500
    for word in words:
        assert word in lines[0], (word, lines[0])
    assert "Error:" not in lines[0] and "pydantic" not in lines[0]
    assert everything_in(tmp_path) == before


def good_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "input.toml").write_text(GOOD)
    main(["run", "-q", "input.toml"])


MISTAKES = {
    "existing output": (GOOD, ["run", "input.toml"], "resume"),
    "forced, unknown column": (change("thermo = 1", 'columns = ["x"]'), ["run", "--force", "input.toml"], "'x'"),
    "forced, unknown integrator": (change("langevin", "lang"), ["run", "--force", "input.toml"], "lang"),
    "forced, unknown potential": (change("eam/zhou", "eam/x"), ["run", "--force", "input.toml"], "eam/x"),
    "forced, refused by the first forces": (change("replicate", "periodic = [true, true, false]\nreplicate")
                                            .replace(ZHOU, LJ + "\ntail = true"), ["run", "--force", "input.toml"], "open"),
    "resume of nothing": (GOOD, ["resume", "other.h5md"], "other.h5md"),
    "resume of an input file": (GOOD, ["resume", "input.toml"], "input.toml"),
    "evaluate onto a file": (GOOD, ["evaluate", "input.toml", "--output", "run.thermo.txt"], "exists"),
    "evaluate nothing": (GOOD, ["evaluate", "input.toml", "--structure", "gone.xyz"], "gone.xyz"),
    "run of nothing": (GOOD, ["run", "gone.toml"], "gone.toml"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_earlier_results_survive_mistakes(case, tmp_path, monkeypatch, capsys):
    text, arguments, word = MISTAKES[case]
    try:
        good_run(tmp_path, monkeypatch)
    except SystemExit as end:
        assert not end.code
    (tmp_path / "input.toml").write_text(text)
    before = everything_in(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1 and word in lines[0], lines
    assert everything_in(tmp_path) == before


def test_a_start_that_has_exploded_replaces_nothing(tmp_path, monkeypatch, capsys):
    """Two atoms in one place: exit code 3, and with --force the files of the earlier run are as they were."""
    with suppress(SystemExit):
        good_run(tmp_path, monkeypatch)
    overlapping = bulk("Cu", cubic=True)
    overlapping.positions[1] = overlapping.positions[0]
    overlapping.write(tmp_path / "both.xyz")
    (tmp_path / "input.toml").write_text(structure("both.xyz").replace(ZHOU, LJ))
    before = everything_in(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["run", "--force", "input.toml"])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 3 and len(lines) == 1 and "atom" in lines[0], lines
    assert everything_in(tmp_path) == before


def test_byte_order_mark_and_line_ends_of_other_systems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert from_file("input.toml").input.run.seed == 1


@pytest.mark.parametrize("arguments", [["rnu", "input.toml"], ["run"], ["run", "--frce", "input.toml"], ["run", "gone.toml"]])
def test_the_command_itself(arguments, tmp_path):
    """As a process of its own: exit code 2 and no traceback for a wrong command, argument, option or file."""
    done = subprocess.run([sys.executable, "-m", "engine", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.strip()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_never_a_traceback(seed, tmp_path, monkeypatch):
    """Forty inputs with characters, words and lines lost, doubled or exchanged: each is good, or one line."""
    monkeypatch.chdir(tmp_path)
    rng, good = np.random.default_rng(seed), 0
    words = ["[", "]", "=", '"', "true", "-1", "1e999", "nan", "{}", "[[]]", "''", "0", "\u00e9", "3 GPa"]
    for _ in range(40):
        lines = GOOD.splitlines()
        for _ in range(rng.integers(1, 4)):
            k = int(rng.integers(len(lines)))
            kind = rng.integers(5)
            if kind == 0:
                del lines[k]
            elif kind == 1:
                lines.insert(int(rng.integers(len(lines))), lines[k])
            elif kind == 2 and "=" in lines[k]:
                lines[k] = lines[k].split("=")[0] + "= " + words[rng.integers(len(words))]
            elif kind == 3 and lines[k]:
                c = int(rng.integers(len(lines[k])))
                lines[k] = lines[k][:c] + words[rng.integers(len(words))] + lines[k][c + int(rng.integers(3)):]
            else:
                j = int(rng.integers(len(lines)))
                lines[k], lines[j] = lines[j], lines[k]
        text = "\n".join(lines)
        (tmp_path / "input.toml").write_text(text)
        try:
            job = from_file("input.toml")
            job.build()
            job.rehearse()
            good += 1
        except InputError as error:
            assert len(str(error).splitlines()) == 1, (text, error)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{text}") from error
    assert 0 < good < 40
    assert [p.name for p in tmp_path.iterdir()] == ["input.toml"]
