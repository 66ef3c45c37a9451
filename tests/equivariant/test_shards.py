"""Data sets on disk: the same frames, the same training, and memory that does not grow with them."""

import tracemalloc
import weakref

import numpy as np
import pytest
from ase.io import write
from test_training import labelled, stage

from engine.errors import InputError
from plugins.equivariant.data import baseline, checks, frames, shards, splits, store
from plugins.equivariant.training import batches
from plugins.equivariant.training.batches import BatchSize
from plugins.equivariant.training.processes import Processes
from plugins.equivariant.training.stage import Train


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE", str(tmp_path / "cache"))


def same(a, b):
    for name, value in vars(a).items():
        other = vars(b)[name]
        assert np.array_equal(value, other) and type(value) is type(other), name


def test_frames_come_back_as_they_went(tmp_path, monkeypatch):
    images = labelled(7)
    images[2].calc = None
    images[3].info.update(phase="β", temperature=300.0, config_weight=2.0)
    images[4].calc.results.pop("stress")
    images[5].calc.results["energy"] = np.nan
    images[6] = images[6] * (1, 1, 2)
    write(tmp_path / "some.xyz", images, format="extxyz")
    source = frames.Source([str(tmp_path / "some.xyz")])
    monkeypatch.setattr(shards, "LARGEST", 1500)
    there, kept = frames.read(source), shards.load(source)
    assert len(kept) == 7 and len(list((tmp_path / "cache").glob("frames_*/*.frames"))) > 2
    for a, b in zip(there, kept):
        if a.energy is not None and np.isnan(a.energy):
            assert np.isnan(b.energy)
            a.energy = b.energy = a.info["energy"] = b.info["energy"] = 0.0
        same(a, b)
    assert kept[2].energy is None and kept[4].stress is None and kept[3].info["phase"] == "β"
    assert [bool(x) for x in shards.having(kept, "stress")] == [f.stress is not None for f in there]
    assert np.array_equal(shards.sizes(kept), shards.sizes(there))
    assert np.array_equal(shards.geometries(kept), shards.geometries(there))
    both = kept + shards.keep(iter(there[:2]))
    same(both[8], there[1])
    same(both[-3], there[6])
    with pytest.raises(IndexError):
        both[9]


def test_files_are_read_again_only_if_they_changed(tmp_path, monkeypatch):
    path, reads, original = tmp_path / "some.xyz", [], frames.stream
    monkeypatch.setattr(frames, "stream", lambda source: (reads.append(1), original(source))[1])
    write(path, labelled(4), format="extxyz")
    source = frames.Source([str(path)])
    first = shards.load(source)
    assert np.array_equal(shards.load(source).index, first.index) and len(reads) == 1
    assert abs(shards.load(frames.Source([str(path)], energy_unit="meV"))[0].energy / first[0].energy - 1e-3) < 1e-12
    write(path, labelled(4, seed=1), format="extxyz")
    assert not np.array_equal(shards.load(source)[0].positions, first[0].positions) and len(reads) == 3
    path.write_text("4\nno frame\n")
    with pytest.raises(InputError, match="cannot be read"):
        shards.load(source)
    assert not list((tmp_path / "cache").glob("frames_tmp_*"))


@pytest.mark.parametrize("damaged", ["00000.frames", "index.npy", "names.json", "centre.bin", "vectors.bin", "index.npz"])
def test_what_is_damaged_in_the_cache_is_made_anew(tmp_path, damaged):
    write(tmp_path / "some.xyz", labelled(4), format="extxyz")
    source = frames.Source([str(tmp_path / "some.xyz")])

    def made():
        data = shards.load(source)
        graphs = store.GraphStore(data, ["Au", "Cu"], 4.0)
        return data[3], graphs[3]
    frame, graph = made()
    path, = (tmp_path / "cache").glob(f"*/{damaged}")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    again, graph_again = made()
    same(frame, again)
    assert np.array_equal(graph.vectors, graph_again.vectors) and np.array_equal(graph.centre, graph_again.centre)


@pytest.mark.parametrize("how", [dict(), dict(model=dict(cutoff=4.0, l_max=1, layers=1, channels=4, features=8, zbl=True))])
def test_the_same_loss_curve_as_in_memory(tmp_path, monkeypatch, how):
    write(tmp_path / "alloy.xyz", labelled(9), format="extxyz")
    history = []
    for read in (Train.read, lambda self, source: frames.read(source)):
        monkeypatch.setattr(Train, "read", read)
        out = tmp_path / f"m{len(history)}"
        out.mkdir()
        trainer, _ = stage(str(tmp_path / "alloy.xyz"), out, epochs=3, **how).begin(Processes(), lambda text: None)
        trainer.say = lambda text: None
        trainer.fit()
        history.append([{k: v for k, v in row.items() if k != "seconds"} for row in trainer.state["history"]])
    assert history[0] == history[1] and len(history[0]) == 3


def test_a_training_has_few_frames_in_memory_at_once(tmp_path, monkeypatch):
    """However many there are: as many as are in a batch, and a few more."""
    alive, most, original = [0], {}, frames.Frame.__init__

    def born(self, *given, **named):
        original(self, *given, **named)
        alive[0] += 1
        most[count] = max(most.get(count, 0), alive[0])
        weakref.finalize(self, lambda: alive.__setitem__(0, alive[0] - 1))
    monkeypatch.setattr(frames.Frame, "__init__", born)
    some = labelled(12)
    for count in (12, 36):
        images = [atoms.copy() for atoms in some * (count // 12)]
        for k, (atoms, known) in enumerate(zip(images, some * (count // 12))):
            atoms.calc = known.calc
            atoms.info["phase"] = k % 4
        write(tmp_path / f"{count}.xyz", images, format="extxyz")
        stage(str(tmp_path / f"{count}.xyz"), tmp_path / f"m{count}", epochs=1, batch=BatchSize(3), shifts="fit",
              split=splits.Split("group", 0.2, 0.2, key="phase")).train(quiet=True)
        assert alive[0] == 0
    assert most[12] == most[36] <= 2 * 3 + 2


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """Report, split, baselines, graphs and batches of frames of 20 kB each: below a tenth of that a frame."""
    place = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), -1).reshape(-1, 3) * 3.0

    def made(count):
        rng = np.random.default_rng(0)
        for k in range(count):
            forces = rng.normal(size=place.shape)
            yield frames.Frame(rng.choice(["Cu", "Au"], len(place)), place + rng.normal(0, 0.1, place.shape), 21 * np.eye(3),
                               np.ones(3, bool), float(k), forces - forces.mean(0), None, f"made, frame {k}")

    def everything(count):
        import torch

        data = shards.keep(made(count))
        assert not checks.check(data).refused
        rows = splits.split(data, splits.Split("frame", 0.2, 0.2))
        shift = baseline.shifts((data[r] for r in rows["train"]), ["Cu", "Au"])
        baseline.scales((data[r] for r in rows["train"]), ["Cu", "Au"])
        graphs = store.GraphStore(data, ["Cu", "Au"], 3.2)
        labels = batches.Labels(data, graphs, shift, batches.Loss(), 3.2, torch.float32)
        shape = batches.shape_for(graphs, labels.sizes, range(count), BatchSize(2), 1)
        for part in batches.order(rows["train"], [], 2, 0, 0):
            labels.batch(part, shape)
    everything(10)  # what is loaded or compiled once
    peaks = []
    for count in (10, 60):
        tracemalloc.start()
        everything(count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 50 * 2000
