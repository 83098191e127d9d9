// kafkajs as a driver that writes: see doc.go of the package above for the command line.
const fs = require('fs')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
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

async function main(verb, bootstrap, partitions, path, ...pairs) {
  if (verb !== 'write') throw new Error('this driver only writes')
  for (const pair of pairs) await write(bootstrap, Number(partitions), path, ...pair.split('='))
}

main(...process.argv.slice(2)).catch((e) => { console.error(e); process.exit(1) })
