"""aiokafka as a driver: see doc.go of the package above for the command line."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from records import Digests, answer, end_of_input, parse_put, print_record, records, settings, tell


async def write(bootstrap, partitions, path, topic, codec):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type=None if codec == "none" else codec, linger_ms=5, max_batch_size=100_000)
    await producer.start()
    try:
        waiting = []
        for n, (key, value) in enumerate(records(path)):
            waiting.append(await producer.send(topic, value, key, partition=n % partitions))
            if len(waiting) == 5000:
                await asyncio.wait_for(asyncio.gather(*waiting), 60)
                waiting = []
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
    finally:
        await producer.stop()


async def read(bootstrap, partitions, topics):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        assigned = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        digests, left = Digests(topics, partitions), {tp for tp in assigned if ends[tp] > 0}
        while left:
            batch = await consumer.getmany(timeout_ms=60_000)
            if not batch:
                sys.exit(f"nothing for a minute from {left}")
            for tp, messages in batch.items():
                for m in messages:
                    digests.add(m.topic, m.partition, m.key, m.value)
                if messages and messages[-1].offset + 1 >= ends[tp]:
                    left.discard(tp)
    finally:
        await consumer.stop()
    digests.print()


async def put(producer, topic, partition, timestamp, key, value, headers):
    sent = await producer.send_and_wait(topic, value, key, partition=partition, timestamp_ms=timestamp, headers=headers)
    return sent.offset


async def get(bootstrap, topic, partition):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=8_000_000)
    await consumer.start()
    try:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            m = await asyncio.wait_for(consumer.getone(), 60)
            print_record(m.offset, m.timestamp, m.key, m.value, m.headers)
    finally:
        await consumer.stop()


async def session(bootstrap):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=8_000_000, metadata_max_age_ms=500, request_timeout_ms=20_000)
    await producer.start()
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            verb, topic, partition, *rest = line.split()
            try:
                if verb == "put":
                    answer("ok", await put(producer, topic, int(partition), *parse_put(rest)))
                else:
                    await get(bootstrap, topic, int(partition))
                    answer("ok")
            except (KafkaError, AssertionError, asyncio.TimeoutError) as e:  # a partition that it does not know is an assertion there
                answer("error", repr(e))
    finally:
        await producer.stop()


class Listener(ConsumerRebalanceListener):
    async def on_partitions_assigned(self, assigned):
        tell("assigned", *(tp.partition for tp in assigned))

    async def on_partitions_revoked(self, revoked):
        tell("revoked", *(tp.partition for tp in revoked))


async def member(bootstrap, s):
    assignors = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=s["group"], enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100, retry_backoff_ms=100,
                                session_timeout_ms=s["session"], heartbeat_interval_ms=s["heartbeat"], group_instance_id=s["instance"] or None, partition_assignment_strategy=(assignors[s["assignor"]],))
    consumer.subscribe([s["topic"]], listener=Listener())
    await consumer.start()
    ended = end_of_input()
    while not ended.is_set():
        for tp, messages in (await consumer.getmany(timeout_ms=100, max_records=1)).items():
            for m in messages:
                tell("read", m.partition, m.offset)
            try:
                await consumer.commit({tp: messages[-1].offset + 1})
                tell("committed", tp.partition, messages[-1].offset + 1)
            except KafkaError as e:
                tell("refused", repr(e).replace("\n", " "))
    tell("revoked", *(tp.partition for tp in consumer.assignment()))  # it calls no listener when it leaves
    await consumer.stop()


async def main(verb, bootstrap, *rest):
    if verb == "session":
        await session(bootstrap)
    elif verb == "member":
        await member(bootstrap, settings(rest))
    elif verb == "write":
        for pair in rest[2:]:
            await write(bootstrap, int(rest[0]), rest[1], *pair.split("="))
    else:
        await read(bootstrap, int(rest[0]), rest[1:])


asyncio.run(main(*sys.argv[1:]))
