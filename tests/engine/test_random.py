"""Philox against the published Random123 vectors, and what hangs on the counter's layout."""

import numpy as np
import pytest

from engine import random

VECTORS = [  # Random123 1.14, kat_vectors: philox4x32 10
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize("counter, key, expected", VECTORS)
def test_published_vectors(counter, key, expected):
    assert tuple(int(w) for w in random.philox(*counter, *key)) == expected


def test_streams_occurrences_replicas_steps_and_seeds_share_nothing():
    base = dict(seed=5, stream=2, replica=0, step=1, occurrence=0, tag=3, draw=0)
    seen = {random.uniform(**base)}
    for name, values in {"seed": (6, 2**40), "stream": (3, 255), "replica": (1, 65535), "step": (2, 2**33),
                         "occurrence": (1, 255),
                         "tag": (4, 2**31), "draw": (1, 9)}.items():
        for value in values:
            seen.add(random.uniform(**{**base, name: value}))
    assert len(seen) == 15


def test_moments():
    out = np.empty((100_000, 3))
    random.normal(1, random.LANGEVIN, np.zeros(100_000, np.int32), 7, 0, np.arange(100_000), out)
    n = out.size
    assert abs(out.mean()) < 4 / np.sqrt(n)
    assert abs(out.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((out**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert abs((out[:, 0] * out[:, 1]).mean()) < 4 / np.sqrt(n / 3)


def test_order_does_not_matter():
    tags = np.arange(50)
    order = np.random.default_rng(0).permutation(50)
    one, two = np.empty((50, 3)), np.empty((50, 3))
    random.normal(1, 2, np.zeros(50, np.int32), 7, 0, tags, one)
    random.normal(1, 2, np.zeros(50, np.int32), 7, 0, tags[order], two)
    assert np.array_equal(one[order], two)
