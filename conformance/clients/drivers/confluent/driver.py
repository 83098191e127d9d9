"""confluent-kafka (librdkafka) as a driver: see doc.go of the package above for the command line."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition, OFFSET_BEGINNING
from records import Digests, records


def write(bootstrap, partitions, path, topic, codec):
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "compression.codec": codec, "linger.ms": 5})

    def acked(error, _):
        if error:
            failed.append(error)

    for n, (key, value) in enumerate(records(path)):
        while True:
            try:
                producer.produce(topic, value, key, n % partitions, on_delivery=acked)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if left := producer.flush(60):
        sys.exit(f"{topic}: {left} records were not acknowledged")
    if failed:
        sys.exit(f"{topic}: {failed[0]}")


def read(bootstrap, partitions, topics):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True})
    assigned = [TopicPartition(topic, p, OFFSET_BEGINNING) for topic in topics for p in range(partitions)]
    consumer.assign(assigned)
    digests, ended = Digests(topics, partitions), set()
    quiet = 0
    while len(ended) < len(assigned):
        messages = consumer.consume(1000, 1)  # a full second when fewer come
        quiet = 0 if messages else quiet + 1
        if quiet == 60:
            sys.exit("nothing for a minute")
        for m in messages:
            if m.error() and m.error().code() == KafkaError._PARTITION_EOF:
                ended.add((m.topic(), m.partition()))
            elif m.error():
                sys.exit(f"{m.topic()}: {m.error()}")
            else:
                digests.add(m.topic(), m.partition(), m.key(), m.value())
    consumer.close()
    digests.print()


verb, bootstrap, partitions, *rest = sys.argv[1:]
if verb == "write":
    for pair in rest[1:]:
        write(bootstrap, int(partitions), rest[0], *pair.split("="))
else:
    read(bootstrap, int(partitions), rest)
