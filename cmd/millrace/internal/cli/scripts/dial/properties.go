package dial

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/config"
)

// acting are the keys of Kafka's clients that mean something here.
var acting = strings.Fields(`
	bootstrap.servers client.id client.rack request.timeout.ms default.api.timeout.ms metadata.max.age.ms
	retry.backoff.ms connections.max.idle.ms security.protocol
	ssl.truststore.location ssl.truststore.type ssl.truststore.certificates
	ssl.keystore.location ssl.keystore.type ssl.keystore.key ssl.keystore.certificate.chain
	ssl.endpoint.identification.algorithm sasl.mechanism sasl.jaas.config

	acks enable.idempotence compression.type compression.gzip.level compression.lz4.level compression.zstd.level
	linger.ms delivery.timeout.ms max.request.size buffer.memory retries

	isolation.level auto.offset.reset allow.auto.create.topics check.crcs fetch.max.wait.ms fetch.min.bytes
	fetch.max.bytes max.partition.fetch.bytes

	auto.commit.interval.ms enable.auto.commit group.instance.id heartbeat.interval.ms max.poll.interval.ms
	partition.assignment.strategy session.timeout.ms`)

// inert are the keys that Kafka's clients have and that have no meaning here: Java's classes and stores, and
// what this client does in its own way. A file that serves many programs may hold them.
var inert = strings.Fields(`
	auto.include.jmx.reporter bootstrap.controllers client.dns.lookup config.providers enable.metrics.push
	interceptor.classes metadata.max.idle.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy
	metric.reporters metrics.num.samples metrics.recording.level metrics.sample.window.ms receive.buffer.bytes
	reconnect.backoff.max.ms reconnect.backoff.ms retry.backoff.max.ms send.buffer.bytes
	socket.connection.setup.timeout.max.ms socket.connection.setup.timeout.ms

	security.providers ssl.cipher.suites ssl.enabled.protocols ssl.engine.factory.class ssl.key.password
	ssl.keymanager.algorithm ssl.keystore.password ssl.protocol ssl.provider ssl.secure.random.implementation
	ssl.trustmanager.algorithm ssl.truststore.password

	sasl.client.callback.handler.class sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin
	sasl.kerberos.service.name sasl.kerberos.ticket.renew.jitter sasl.kerberos.ticket.renew.window.factor
	sasl.login.callback.handler.class sasl.login.class sasl.login.connect.timeout.ms sasl.login.read.timeout.ms
	sasl.login.refresh.buffer.seconds sasl.login.refresh.min.period.seconds sasl.login.refresh.window.factor
	sasl.login.refresh.window.jitter sasl.login.retry.backoff.max.ms sasl.login.retry.backoff.ms
	sasl.oauthbearer.clock.skew.seconds sasl.oauthbearer.expected.audience sasl.oauthbearer.expected.issuer
	sasl.oauthbearer.header.urlencode sasl.oauthbearer.jwks.endpoint.refresh.ms
	sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms sasl.oauthbearer.jwks.endpoint.retry.backoff.ms
	sasl.oauthbearer.jwks.endpoint.url sasl.oauthbearer.scope.claim.name sasl.oauthbearer.sub.claim.name
	sasl.oauthbearer.token.endpoint.url

	batch.size key.serializer max.block.ms max.in.flight.requests.per.connection
	partitioner.adaptive.partitioning.enable partitioner.availability.timeout.ms partitioner.class
	partitioner.ignore.keys transaction.timeout.ms transaction.two.phase.commit.enable transactional.id
	value.serializer

	exclude.internal.topics group.id group.protocol group.remote.assignor key.deserializer max.poll.records
	share.acknowledgement.mode value.deserializer`)

var clientKeys = func() *config.Table {
	var keys []config.Key
	for _, name := range slices.Concat(acting, inert) {
		keys = append(keys, config.Key{Name: name, Type: config.String})
	}
	return config.NewTable(keys...)
}()

// Check sees that every key is one of Kafka's clients. A key that is unknown but close to a known one is a slip
// of the pen, and an error; the keys that mean nothing here are returned, by name.
func (p Properties) Check() (meaningless []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(p)) {
		if slices.Contains(acting, key) {
			continue
		}
		if _, known := clientKeys.Lookup(key); !known {
			if near := clientKeys.Nearest(key); near != "" {
				return nil, fmt.Errorf("%q is no key of a Kafka client; did you mean %s?", key, near)
			}
		}
		meaningless = append(meaningless, key)
	}
	return meaningless, nil
}
