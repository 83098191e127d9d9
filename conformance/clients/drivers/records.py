"""Input files, digests and the lines of sessions, as doc.go of the package above describes them."""

import hashlib
import struct
import sys
import threading
import time


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


def word(b):
    return "null" if b is None else "x" + b.hex()


def unword(s):
    return None if s == "null" else bytes.fromhex(s[1:])


def parse_put(words):
    """TIMESTAMP KEY VALUE [NAME:VALUE...] as (timestamp, key, value, headers)."""
    headers = [h.split(":") for h in words[3:]]
    return int(words[0]), unword(words[1]), unword(words[2]), [(unword(name).decode(), unword(value)) for name, value in headers]


def print_record(offset, timestamp, key, value, headers):
    print("record", offset, timestamp, word(key), word(value), *(word(name.encode()) + ":" + word(v) for name, v in headers or ()), flush=True)


def answer(*words):
    print(*(str(w).replace("\n", " ") for w in words), flush=True)


def settings(words):
    """The NAME=VALUE words of a member, numbers as such."""
    pairs = dict(w.split("=", 1) for w in words)
    return {name: int(value) if name in ("session", "heartbeat", "workers") else value for name, value in pairs.items()}


def tell(kind, *words):
    print(time.time_ns(), kind, *words, flush=True)


def end_of_input():
    """An event that is set when there is no more input: the member shall leave."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    return ended
