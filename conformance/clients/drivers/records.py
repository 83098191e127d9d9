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
    def __init__(self, topics, partitions):
        self.sums = {(t, p): hashlib.sha256() for t in topics for p in range(partitions)}
        self.counts = dict.fromkeys(self.sums, 0)

    def add(self, topic, partition, key, value):
        self.sums[topic, partition].update(b"".join((struct.pack(">I", len(key)), key, struct.pack(">I", len(value)), value)))
        self.counts[topic, partition] += 1

    def print(self):
        for (topic, p), s in self.sums.items():
            print(topic, p, self.counts[topic, p], s.hexdigest(), flush=True)
