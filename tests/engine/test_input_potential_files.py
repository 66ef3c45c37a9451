"""Potential files of every kind, damaged in every way, through the command line: one line, exit code 2, nothing written."""

import pytest

from engine.cli import main

GRID = " ".join(f"{0.1 * k:.3f}" for k in range(12))
SETFL = f"c\nc\nc\n1 Cu\n12 0.1 12 0.5 5.5\n29 63.5 3.6 fcc\n{GRID}\n{GRID}\n{GRID}\n"
SILICON = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
TERSOFF = "Si Si Si 3.0 1.0 1.3258 4.8381 2.0417 0.0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"
TABLE = "# pairs\n\nPAIR\nN 5 R 1.0 5.0\n\n" + "".join(f"{k} {k}.0 {1 / k:.4f} {1 / k**2:.4f}\n" for k in range(1, 6))

# kind: (a good file, species, the word to be damaged)
FILES = {
    "eam/alloy": (SETFL, "Cu", "1.000"),
    "eam/fs": (SETFL, "Cu", "1.000"),
    "eam/funcfl": (f"copper\n29 63.5 3.6 fcc\n12 0.1 12 0.5 5.5\n{GRID}\n{GRID}\n{GRID}\n", "Cu", "1.000"),
    "sw": (SILICON, "Si", "7.049556277"),
    "tersoff": (TERSOFF, "Si", "95.373"),
    "table": (TABLE, "Cu", "3.0"),
}
DAMAGE = {
    "missing": lambda text, word: None,
    "empty": lambda text, word: "",
    "binary": lambda text, word: bytes(range(128, 256)) * 4,
    "cut off": lambda text, word: text[: int(0.6 * len(text))],
    "a word for a number": lambda text, word: text.replace(word, "many", 1),
    "not a number": lambda text, word: text.replace(word, "nan", 1),
    "infinite": lambda text, word: text.replace(word, "inf", 1),
    "a sentence": lambda text, word: "This is not a potential.\n",
    "another species": lambda text, word: text,
}


def prepare(folder, kind, content, species, monkeypatch):
    monkeypatch.chdir(folder)
    if content is not None:
        (folder / "the.file").write_bytes(content if isinstance(content, bytes) else content.encode())
    structure = '"diamond", species = "Si", a = 5.43' if species == "Si" else f'"fcc", species = "{species}", a = 3.6'
    (folder / "input.toml").write_text(
        f'[system]\ncrystal = {{ structure = {structure} }}\n[potential]\nkind = "{kind}"\nfile = "the.file"\n'
        '[[stage]]\nintegrator = "nve"\nsteps = 0\ntimestep = 1.0\n')


@pytest.mark.parametrize("kind", FILES)
def test_the_good_files_are_good(kind, tmp_path, monkeypatch, capsys):
    text, species, word = FILES[kind]
    assert word in text
    prepare(tmp_path, kind, text, species, monkeypatch)
    with pytest.raises(SystemExit) as end:
        main(["run", "-q", "input.toml"])
        raise SystemExit(0)
    assert not end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("ignore")
def test_damaged_potential_files(kind, damage, tmp_path, monkeypatch, capsys):
    if damage == "another species" and kind == "table":
        return  # tables are of no species
    text, species, word = FILES[kind]
    prepare(tmp_path, kind, DAMAGE[damage](text, word), "Ag" if damage == "another species" else species, monkeypatch)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["run", "input.toml"])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1 and len(lines[0]) < 400, lines
    assert ("Ag" if damage == "another species" else "the.file") in lines[0], lines[0]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
