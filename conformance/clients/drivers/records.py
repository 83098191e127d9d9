"""Input files and digests, as doc.go of the package above describes them."""

import hashlib
import struct


def records(path):
    with open(path, "rb") as f:
        while head := f.read(4):
            key = f.read(struct.unpack(">I", head)[0])
            value = f.read(struct.unpack(">I", f.read(4))[0])
            yield key, value


class Digests:
    def __init__(self, topic, partitions):
        self.topic = topic
        self.sums = [hashlib.sha256() for _ in range(partitions)]
        self.counts = [0] * partitions

    def add(self, partition, key, value):
        s = self.sums[partition]
        s.update(struct.pack(">I", len(key)))
        s.update(key)
        s.update(struct.pack(">I", len(value)))
        s.update(value)
        self.counts[partition] += 1

    def print(self):
        for p, s in enumerate(self.sums):
            print(self.topic, p, self.counts[p], s.hexdigest(), flush=True)
