"""aiokafka as a driver: see doc.go of the package above for the command line."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from records import Digests, answer, parse_put, print_record, records


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


async def main(verb, bootstrap, *rest):
    if verb == "session":
        await session(bootstrap)
    elif verb == "write":
        for pair in rest[2:]:
            await write(bootstrap, int(rest[0]), rest[1], *pair.split("="))
    else:
        await read(bootstrap, int(rest[0]), rest[1:])


asyncio.run(main(*sys.argv[1:]))
