"""confluent-kafka (librdkafka) as a driver: see doc.go of the package above for the command line."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
from records import Digests, answer, end_of_input, parse_put, print_record, records, settings, tell


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


def put(producer, topic, partition, timestamp, key, value, headers):
    done = []
    producer.produce(topic, value, key, partition, on_delivery=lambda error, m: done.append((error, m)), timestamp=timestamp, headers=headers)
    producer.flush()  # ends with message.timeout.ms at the latest
    error, message = done[0]
    if error:
        raise KafkaException(error)
    return message.offset()


def get(bootstrap, topic, partition):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True, "fetch.message.max.bytes": 8_000_000})
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    while True:
        m = consumer.poll(60)
        if m is None:
            raise TimeoutError("nothing for a minute")
        if m.error() and m.error().code() == KafkaError._PARTITION_EOF:
            break
        if m.error():
            raise KafkaException(m.error())
        print_record(m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers())
    consumer.close()


def session(bootstrap):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.timeout.ms": 30_000, "message.max.bytes": 8_000_000,
                         "topic.metadata.refresh.interval.ms": 500, "topic.metadata.propagation.max.ms": 1000, "reconnect.backoff.max.ms": 200, "linger.ms": 0})
    for line in sys.stdin:
        verb, topic, partition, *rest = line.split()
        try:
            if verb == "put":
                answer("ok", put(producer, topic, int(partition), *parse_put(rest)))
            else:
                get(bootstrap, topic, int(partition))
                answer("ok")
        except (KafkaException, TimeoutError) as e:
            answer("error", e)


def member(bootstrap, s):
    config = {"bootstrap.servers": bootstrap, "group.id": s["group"], "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500}
    if s["protocol"] == "consumer":
        config |= {"group.protocol": "consumer", "group.remote.assignor": s["assignor"]}
    else:
        config |= {"session.timeout.ms": s["session"], "heartbeat.interval.ms": s["heartbeat"], "partition.assignment.strategy": s["assignor"]}
    if s["instance"]:
        config["group.instance.id"] = s["instance"]
    consumer, ended = Consumer(config), end_of_input()

    def told(kind):
        return lambda _, partitions: tell(kind, *(tp.partition for tp in partitions))

    consumer.subscribe([s["topic"]], on_assign=told("assigned"), on_revoke=told("revoked"), on_lost=told("lost"))
    while not ended.is_set():
        m = consumer.poll(0.1)
        if m is None or m.error():
            if m and m.error().fatal():
                raise KafkaException(m.error())
            continue
        tell("read", m.partition(), m.offset())
        try:
            if error := consumer.commit(m, asynchronous=False)[0].error:
                raise KafkaException(error)
            tell("committed", m.partition(), m.offset() + 1)
        except KafkaException as e:
            tell("refused", str(e).replace("\n", " "))
    consumer.close()


verb, bootstrap, *rest = sys.argv[1:]
if verb == "session":
    session(bootstrap)
elif verb == "member":
    member(bootstrap, settings(rest))
elif verb == "write":
    for pair in rest[2:]:
        write(bootstrap, int(rest[0]), rest[1], *pair.split("="))
else:
    read(bootstrap, int(rest[0]), rest[1:])
