// kafkajs as a driver that writes: see doc.go of the package above for the command line.
const fs = require('fs')
const readline = require('readline')
const { Kafka, AssignerProtocol, CompressionTypes, CompressionCodecs, PartitionAssigners, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy }

function* records(path) {
  const b = fs.readFileSync(path)
  for (let at = 0; at < b.length; ) {
    const key = b.subarray(at + 4, at + 4 + b.readUInt32BE(at))
    at += 4 + key.length
    const value = b.subarray(at + 4, at + 4 + b.readUInt32BE(at))
    at += 4 + value.length
    yield { key, value }
  }
}

async function write(bootstrap, partitions, path, topic, codec) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.WARN })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  let messages = []
  let n = 0
  const send = async () => {
    if (messages.length > 0) await producer.send({ topic, acks: -1, compression: codecs[codec], messages })
    messages = []
  }
  for (const r of records(path)) {
    messages.push({ ...r, partition: n++ % partitions })
    if (messages.length === 500) await send()
  }
  await send()
  await producer.disconnect()
}

const word = (b) => (b === null || b === undefined ? 'null' : 'x' + b.toString('hex'))
const unword = (s) => (s === 'null' ? null : Buffer.from(s.slice(1), 'hex'))

async function session(bootstrap) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, metadataMaxAge: 500 })
  await producer.connect()
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, topic, partition, timestamp, key, value, ...pairs] = line.split(' ')
    const headers = {}
    for (const pair of pairs) {
      const [name, v] = pair.split(':').map(unword)
      headers[name] = (headers[name] || []).concat([v])
    }
    try {
      const [sent] = await producer.send({ topic, acks: -1, messages: [{ partition: Number(partition), timestamp, key: unword(key), value: unword(value), headers }] })
      console.log('ok', sent.baseOffset)
    } catch (e) {
      console.log('error', `${e.name}: ${e.message}`.replace(/\n/g, ' '))
    }
  }
  await producer.disconnect()
}

// named is the only assignor that kafkajs has, under a name that other libraries have as well: a group needs one in common.
const named = (name) => (config) => ({
  ...PartitionAssigners.roundRobin(config),
  name,
  protocol: ({ topics }) => ({ name, metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }) }),
})

async function member(bootstrap, s) {
  const tell = (kind, ...words) => console.log([BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n, kind, ...words].join(' '))
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 100, maxRetryTime: 500 } })
  const consumer = kafka.consumer({ groupId: s.group, sessionTimeout: Number(s.session), heartbeatInterval: Number(s.heartbeat), rebalanceTimeout: 30000, maxWaitTimeInMs: 100, partitionAssigners: [named(s.assignor)] })
  let mine = []
  const revoked = () => {
    if (mine.length > 0) tell('revoked', ...mine)
    mine = []
  }
  consumer.on(consumer.events.REBALANCING, revoked)
  consumer.on(consumer.events.GROUP_JOIN, (e) => {
    revoked()
    mine = e.payload.memberAssignment[s.topic] || []
    tell('assigned', ...mine)
  })
  await consumer.connect()
  await consumer.subscribe({ topic: s.topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, partition, message }) => {
      tell('read', partition, message.offset)
      const offset = String(BigInt(message.offset) + 1n)
      try {
        await consumer.commitOffsets([{ topic, partition, offset }])
        tell('committed', partition, offset)
      } catch (e) {
        tell('refused', `${e.name}: ${e.message}`.replace(/\n/g, ' '))
        throw e
      }
    },
  })
  for await (const _ of process.stdin);
  await consumer.stop()
  revoked()
  await consumer.disconnect()
}

async function main(verb, bootstrap, partitions, path, ...pairs) {
  if (verb === 'session') return session(bootstrap)
  if (verb === 'member') return member(bootstrap, Object.fromEntries([partitions, path, ...pairs].map((w) => w.split('='))))
  if (verb !== 'write') throw new Error('this driver only writes')
  for (const pair of pairs) await write(bootstrap, Number(partitions), path, ...pair.split('='))
}

main(...process.argv.slice(2)).catch((e) => { console.error(e); process.exit(1) })
