"""Texts that are nearly the same, among up to a million: MinHash signatures find candidates, Jaccard decides.

rensa makes the signatures. Its own index answers with whole buckets, which costs the square of their size when a
million prompts are cut from one template; here the signatures are sorted band by band and neighbours are compared.
Measured on 100,000 prompts of 120 characters, 2 cores: this 6 s with every pair verified, rensa's index 3 s and
datasketch's 44 s with 1.8 and 2.9 million candidates left to verify. A million prompts of 1 kB
take 75 s; the import that compares them needs 630 MB at most.
"""

from __future__ import annotations

import re
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIMILARITY = 0.8
# Characters: words would part "hasn't" from "has not" in a five-word question, and do not exist in Thai or Chinese.
# Shorter grams are shared by unrelated texts.
SHINGLE = 5
# 16 bands of 4: a pair at the threshold is a candidate with 99.98%; 256 bytes a prompt.
BANDS, ROWS = 16, 4
SIGNATURE = BANDS * ROWS
# Estimates from 64 values spread by 0.05: a pair so far below is one at the threshold with 0.6%.
WORTH_COMPARING = SIMILARITY - 0.125
# Neighbours each prompt is compared with in a band; buckets up to this size are compared whole.
WINDOW = 8
# A 5-gram in this share of the different prompts, and in so many of them, belongs to a template.
TEMPLATE_SHARE, TEMPLATE_MIN = 0.05, 10
TEMPLATE_SAMPLE = 20_000
BATCH = 10_000
# Bytes of text worked on together; each takes about fifty more while they are.
BATCH_BYTES = 2_000_000
# Pairs compared at a time: at most 8 million grams.
CHUNK = 1_000
IN_MEMORY = 64 * 2**20

_NUMBER = re.compile(r"\d+")


class Spool:
    """Texts by number, on disk beyond IN_MEMORY; `places` holds the number its owner knows each by."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - lives as long as this object
        self._starts = array("Q", [0])
        self.places = array("I")

    def __len__(self) -> int:
        return len(self.places)

    def append(self, text: str, place: int) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._file.seek(self._starts[-1])
        self._file.write(data)
        self._starts.append(self._starts[-1] + len(data))
        self.places.append(place)

    def __getitem__(self, number: int) -> str:
        start, end = self._starts[number : number + 2]
        self._file.seek(start)
        return self._file.read(end - start).decode("utf-8", "surrogatepass")

    def batches(self) -> Iterator[list[str]]:
        """All texts in order, a bounded number of bytes at a time."""
        start = 0
        while start < len(self):
            end = max(start + 1, bisect_right(self._starts, self._starts[start] + BATCH_BYTES) - 1)
            yield [self[number] for number in range(start, end)]
            start = end

    def sample(self) -> list[str]:
        """Texts at even distances: as many as make a few batches, and TEMPLATE_SAMPLE at most."""
        most = min(TEMPLATE_SAMPLE, max(1, len(self) * 2 * BATCH_BYTES // max(1, self._starts[-1])))
        return [self[number] for number in range(0, len(self), -(-len(self) // most))]


def clusters_of(
    texts: Spool, tick: Callable[[], None] = lambda: None
) -> tuple[NDArray[np.int64], list[tuple[int, int, float]]]:
    """(the cluster of each text, verified pairs that show it), band by band, skipping what is joined already.

    `tick` is called every second or so; it may raise, to stop.
    """
    import numpy as np

    count = len(texts)
    clusters = np.arange(count)
    found: list[tuple[int, int, float]] = []
    if count < 2:
        return clusters, found
    common = template(texts)
    signatures = np.empty((count, SIGNATURE), np.uint32)
    done = 0
    for batch in texts.batches():
        tick()
        signatures[done : done + len(batch)] = _signatures(batch, common)
        done += len(batch)

    failed = np.zeros(0, np.int64)
    for band in range(BANDS):
        tick()
        pairs = _neighbours(signatures, band)
        one, other = pairs.T
        pairs = pairs[(clusters[one] != clusters[other]) & ~np.isin(pairs @ [count, 1], failed)]
        similarity = similarities(texts, pairs, common, tick)
        good = similarity >= SIMILARITY
        # A text that is like all others would otherwise be listed with each of its neighbours.
        proofs = np.flatnonzero(good)[np.unique(pairs[good, 1], return_index=True)[1]]
        found += [(a, b, s) for (a, b), s in zip(pairs[proofs].tolist(), similarity[proofs].tolist(), strict=True)]
        failed = np.union1d(failed, pairs[~good] @ [count, 1])
        clusters = _join(clusters, pairs[good])
    return clusters, sorted(found)


def similarities(
    texts: Spool, pairs: NDArray[np.int64], common: NDArray[np.uint64], tick: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """The real similarity of each pair, a bounded number of texts at a time."""
    import numpy as np

    found = np.zeros(len(pairs))
    for start in range(0, len(pairs), CHUNK):
        tick()
        found[start : start + CHUNK] = _likeness(texts, pairs[start : start + CHUNK], common)
    return found


def _likeness(texts: Spool, pairs: NDArray[np.int64], common: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The smaller Jaccard similarity: of all grams, or of those outside the template. 0 where numbers differ."""
    import numpy as np
    from scipy.sparse import csr_array

    present, place = np.unique(pairs, return_inverse=True)
    first, second = place.reshape(pairs.shape).T
    compared = [texts[number] for number in present.tolist()]
    each = [np.unique(grams) for grams in _grams(compared)]
    digits = np.unique([" ".join(_NUMBER.findall(text)) for text in compared], return_inverse=True)[1]
    columns, column = np.unique(np.concatenate(each), return_inverse=True)
    starts = np.concatenate([[0], np.cumsum([len(grams) for grams in each])])
    everything = csr_array((np.ones(len(column), np.int32), column, starts), shape=(len(each), len(columns)))
    rare = everything[:, ~_in(columns, common)]
    # Where the template is all there is, it is what we compare.
    likeness = (digits[first] == digits[second]).astype(float)
    for grams in (everything, rare):
        sizes = np.diff(grams.indptr)
        shared = np.asarray(grams[first].multiply(grams[second]).sum(axis=1)).ravel()
        union = sizes[first] + sizes[second] - shared
        likeness = np.minimum(likeness, np.divide(shared, union, out=np.ones(len(pairs)), where=union > 0))
    return np.asarray(likeness)


def _join(clusters: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The clusters after joining each pair of texts."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return clusters
    ends = clusters[pairs]
    size = int(clusters.max()) + 1
    links = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return connected_components(links, directed=False)[1].astype(np.int64)[clusters]


def _neighbours(signatures: NDArray[np.uint32], band: int) -> NDArray[np.int64]:
    """Pairs (n, 2) of texts, smaller first, that agree on a band and have signatures alike enough."""
    import numpy as np

    def key(number: int) -> NDArray[np.void]:
        part = np.ascontiguousarray(signatures[:, number * ROWS : (number + 1) * ROWS])
        return part.view(np.uint64)

    here, beside = key(band), key((band + 1) % BANDS)
    # Within a bucket those that agree on the next band too stand side by side.
    order = np.lexsort((beside[:, 1], beside[:, 0], here[:, 1], here[:, 0]))
    ordered = here[order]
    pairs = [np.zeros((0, 2), np.int64)]
    for step in range(1, WINDOW + 1):
        same = np.flatnonzero((ordered[step:] == ordered[:-step]).all(axis=1))
        for start in range(0, len(same), BATCH):
            place = same[start : start + BATCH]
            ends = np.sort(np.stack([order[place], order[place + step]], axis=1), axis=1)
            promising = (signatures[ends[:, 0]] == signatures[ends[:, 1]]).mean(axis=1) >= WORTH_COMPARING
            pairs.append(ends[promising])
    return np.concatenate(pairs)


def _grams(batch: Sequence[str]) -> list[NDArray[np.uint64]]:
    """The hashes of each text's character 5-grams, repeated ones included; a shorter text is one gram."""
    import numpy as np

    padded = [f" {text} ".ljust(SHINGLE, "\0") for text in batch]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - SHINGLE + 1, np.uint64)
    for offset in range(SHINGLE):
        hashes = hashes * np.uint64(0x100000001B3) + codes[offset : offset + len(hashes)]
    # The mixing step of MurmurHash3, so that neighbours in the alphabet are strangers.
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    ends = np.cumsum([len(text) for text in padded]).tolist()
    return [hashes[end - len(text) : end - SHINGLE + 1] for end, text in zip(ends, padded, strict=True)]


def _in(grams: NDArray[np.uint64], common: NDArray[np.uint64]) -> NDArray[np.bool_]:
    import numpy as np

    if not len(common):
        return np.zeros(len(grams), bool)
    found = common[np.minimum(np.searchsorted(common, grams), len(common) - 1)] == grams
    return np.asarray(found)


def template(texts: Spool) -> NDArray[np.uint64]:
    """The sorted hashes of the grams that a twentieth of the texts share, from an even sample of them."""
    import numpy as np

    sample = [np.unique(grams) for grams in _grams(texts.sample())]
    grams, counts = np.unique(np.concatenate(sample), return_counts=True)
    return np.asarray(grams[counts >= max(TEMPLATE_MIN, TEMPLATE_SHARE * len(sample))])


def _signatures(batch: Sequence[str], common: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """MinHash signatures (texts, SIGNATURE) of each text outside the template, or of all if nothing is left."""
    import numpy as np
    from rensa import RMinHash

    grams = _grams(batch)
    flat = np.concatenate(grams)
    lengths = np.asarray([len(each) for each in grams])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    kept = ~_in(flat, common)
    rare = np.add.reduceat(kept, starts[:-1], dtype=np.int64)
    kept |= np.repeat(rare == 0, lengths)
    offsets = np.concatenate([[0], np.cumsum(np.where(rare == 0, lengths, rare))])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat[kept], offsets.astype(np.uint64), SIGNATURE, 0)
    return np.asarray(matrix.to_rows(), np.uint32)
