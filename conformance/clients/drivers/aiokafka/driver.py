"""aiokafka as a driver: see doc.go of the package above for the command line."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from records import Digests, records


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


async def main(verb, bootstrap, partitions, *rest):
    if verb == "write":
        for pair in rest[1:]:
            await write(bootstrap, int(partitions), rest[0], *pair.split("="))
    else:
        await read(bootstrap, int(partitions), rest)


asyncio.run(main(*sys.argv[1:]))
