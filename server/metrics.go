package server

import (
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/broker"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// figures is what the node can be asked for; nothing is counted for metrics alone but the requests.
type figures struct {
	nodeID      int32
	partitions  bool // whether every partition is shown
	started     time.Time
	topics      func() iter.Seq[replica.TopicStats]
	replicas    func() iter.Seq[replica.PartitionStats]
	offlineDirs func() int
	dirs        func() []replica.DirStats
	image       func() *metadata.Image
	state       func() broker.State
	controller  func() (leader, epoch int32)
	timedOut    func() int64 // brokers that this node's controller fenced for their silence
	memory      func() (used, limit int64)
	listeners   func() []*listener.Listener
	sessions    func() (sessions, partitions int)
	snapshot    func() (age time.Duration, bytes int64)
	requests    *requestFigures
	groups      func() *group.Coordinator // nil: none here
	// highWatermark is that of a partition that this node leads.
	highWatermark func(topic string, partition int32) (high int64, leads bool)
	lags          *lagTimes
}

// newRegistry makes the registry of one node: its own figures, with the names that Kafka's have behind the usual
// exporter, and those of the Go runtime and the process.
func newRegistry(f figures) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(&f, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// desc describes one figure.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// The figures by subject. Counters end in _total.
var (
	topicMessagesIn    = desc("kafka_server_brokertopicmetrics_messagesin_total", "Records written by producers.", "topic")
	topicBytesIn       = desc("kafka_server_brokertopicmetrics_bytesin_total", "Bytes of record batches written by producers.", "topic")
	topicBytesOut      = desc("kafka_server_brokertopicmetrics_bytesout_total", "Bytes of record batches sent to consumers.", "topic")
	topicProduce       = desc("kafka_server_brokertopicmetrics_totalproducerequests_total", "Partitions written to by produce requests.", "topic")
	topicFetch         = desc("kafka_server_brokertopicmetrics_totalfetchrequests_total", "Partitions read from by fetch requests.", "topic")
	topicFailedProduce = desc("kafka_server_brokertopicmetrics_failedproducerequests_total", "Writes to partitions that were refused.", "topic")
	topicFailedFetch   = desc("kafka_server_brokertopicmetrics_failedfetchrequests_total", "Reads of partitions that were refused.", "topic")

	logEndOffset   = desc("kafka_log_log_logendoffset", "Offset that the next record gets.", "topic", "partition")
	logStartOffset = desc("kafka_log_log_logstartoffset", "Offset of the first record.", "topic", "partition")
	logSize        = desc("kafka_log_log_size", "Bytes of the log's segments.", "topic", "partition")
	logSegments    = desc("kafka_log_log_numlogsegments", "Segments of the log.", "topic", "partition")
	highWatermark  = desc("kafka_cluster_partition_highwatermark", "Offset up to which consumers may read.", "topic", "partition")
	underMinISR    = desc("kafka_cluster_partition_underminisr", "1 when the partition has fewer in-sync replicas than min.insync.replicas.", "topic", "partition")

	partitionCount    = desc("kafka_server_replicamanager_partitioncount", "Replicas on this node.")
	leaderCount       = desc("kafka_server_replicamanager_leadercount", "Partitions that this node leads.")
	offlineReplicas   = desc("kafka_server_replicamanager_offlinereplicacount", "Replicas on this node that are offline.")
	underMinISRCount  = desc("kafka_server_replicamanager_underminisrpartitioncount", "Partitions led here with fewer in-sync replicas than min.insync.replicas.")
	underReplicated   = desc("kafka_server_replicamanager_underreplicatedpartitions", "Partitions led here with fewer in-sync replicas than replicas.")
	offlineDirs       = desc("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that are offline.")
	logBytes          = desc("kafka_log_logmanager_size", "Bytes of all logs on this node.")
	brokerState       = desc("kafka_server_kafkaserver_brokerstate", "State of the broker as Kafka numbers it: 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down.")
	appliedOffset     = desc("kafka_server_broker_metadata_metrics_last_applied_record_offset", "Offset of the last metadata record that this node has applied.")
	activeController  = desc("kafka_controller_kafkacontroller_activecontrollercount", "1 when this node is the active controller.")
	controllerEpoch   = desc("kafka_controller_kafkacontroller_epoch", "Leader epoch of the metadata quorum.")
	timedOutBeats     = desc("kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount", "Brokers that this node, as the active controller, fenced because they were silent for too long.")
	activeBrokers     = desc("kafka_controller_kafkacontroller_activebrokercount", "Registered brokers that are not fenced.")
	fencedBrokers     = desc("kafka_controller_kafkacontroller_fencedbrokercount", "Registered brokers that are fenced.")
	globalTopics      = desc("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.")
	globalPartitions  = desc("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.")
	offlinePartitions = desc("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions of the cluster without a leader.")
	dirOffline        = desc("kafka_log_logmanager_logdirectoryoffline", "1 when the log directory is offline.", "log_directory")
	dirFull           = desc("millrace_log_directory_full", "1 while writes to the log directory are refused because its disk is full.", "log_directory")
	dirRounds         = desc("millrace_log_directory_sync_rounds_total", "Rounds of group commit; the logs synced in them are in synced_logs_total.", "log_directory")
	dirSynced         = desc("millrace_log_directory_synced_logs_total", "Logs that were synced in rounds of group commit.", "log_directory")
	dirDamage         = desc("millrace_log_directory_damage_total", "Damaged places that recovery and the scrubber have found.", "log_directory")
	dirScrubbed       = desc("millrace_log_directory_scrubbed_bytes_total", "Bytes of the log directory that the scrubber has checked.", "log_directory")
	dirHeld           = desc("millrace_log_directory_held_bytes", "Memory with appends that stand in the journal and wait to be written to the files of their logs.", "log_directory")
	sessionCount      = desc("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Incremental fetch sessions.")
	sessionPartitions = desc("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", "Partitions in incremental fetch sessions.")
	snapshotAge       = desc("kafka_server_snapshotemitter_latestsnapshotgeneratedagems", "Milliseconds since the newest snapshot of the metadata, or since the start.")
	snapshotBytes     = desc("kafka_server_snapshotemitter_latestsnapshotgeneratedbytes", "Bytes of the newest snapshot of the metadata that was written since the start.")
	acceptedCount     = desc("kafka_server_socketservermetrics_connection_creation_total", "Connections that were accepted.", "listener")
	refusedCount      = desc("millrace_listener_connections_refused_total", "Connections that max.connections.per.ip refused.", "listener")
	evictedCount      = desc("millrace_listener_connections_evicted_total", "Connections that were closed because there were more than max.connections.", "listener")
	blockedSeconds    = desc("kafka_network_acceptor_blocked_seconds_total", "Time in which a listener accepted nothing because of a limit of connections.", "listener")
	listenerBytesIn   = desc("kafka_server_socketservermetrics_incoming_byte_total", "Bytes of requests.", "listener")
	listenerBytesOut  = desc("kafka_server_socketservermetrics_outgoing_byte_total", "Bytes of responses.", "listener")
	requestFailed     = desc("kafka_network_requestmetrics_failed_total", "Requests that broke the connection they came on.", "listener", "request")
	connectionCount   = desc("kafka_server_socketservermetrics_connection_count", "Open connections of a listener.", "listener")
	memoryUsed        = desc("millrace_memory_used_bytes", "Bytes lent out of the memory budget.")
	memoryBudget      = desc("millrace_memory_budget_bytes", "The memory budget.")
	uptime            = desc("millrace_uptime_seconds", "Seconds since the node was started.")

	requestCount   = desc("kafka_network_requestmetrics_requests_total", "Requests that were answered.", "request")
	requestSeconds = desc("kafka_network_requestmetrics_totaltime_seconds", "Time from the last byte of a request to the hand-over of its answer.", "request")
)

// Describe sends nothing: what there is depends on the topics.
func (f *figures) Describe(chan<- *prometheus.Desc) {}

// Collect reads every figure of the node.
func (f *figures) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for t := range f.topics() {
		count(topicMessagesIn, t.MessagesIn, t.Topic)
		count(topicBytesIn, t.BytesIn, t.Topic)
		count(topicBytesOut, t.BytesOut, t.Topic)
		count(topicProduce, t.ProduceRequests, t.Topic)
		count(topicFetch, t.FetchRequests, t.Topic)
		count(topicFailedProduce, t.FailedProduce, t.Topic)
		count(topicFailedFetch, t.FailedFetch, t.Topic)
	}
	var replicas, online, leaders, underMin, under int
	var size int64
	for p := range f.replicas() {
		replicas++
		if p.Online {
			online++
		}
		size += p.Size
		if p.Leader && p.Online { // as with Kafka, one whose log is gone is not led, whatever the metadata says
			leaders++
			if p.UnderMinISR {
				underMin++
			}
			if p.ISR < p.Replicas {
				under++
			}
		}
		if f.partitions {
			n := strconv.Itoa(int(p.Partition))
			gauge(logEndOffset, float64(p.End), p.Topic, n)
			gauge(logStartOffset, float64(p.Start), p.Topic, n)
			gauge(logSize, float64(p.Size), p.Topic, n)
			gauge(logSegments, float64(p.Segments), p.Topic, n)
			if p.Leader {
				gauge(highWatermark, float64(p.HighWatermark), p.Topic, n)
				gauge(underMinISR, truth(p.UnderMinISR), p.Topic, n)
			}
		}
	}
	gauge(partitionCount, float64(replicas))
	gauge(leaderCount, float64(leaders))
	gauge(underMinISRCount, float64(underMin))
	gauge(underReplicated, float64(under))
	gauge(logBytes, float64(size))
	gauge(offlineDirs, float64(f.offlineDirs()))
	if state, ok := brokerStates[f.state()]; ok {
		gauge(brokerState, state)
	}
	f.collectCluster(gauge, online)

	used, limit := f.memory()
	gauge(memoryUsed, float64(used))
	gauge(memoryBudget, float64(limit))
	gauge(uptime, time.Since(f.started).Seconds())
	for _, d := range f.dirs() {
		gauge(dirOffline, truth(d.Offline), d.Path)
		gauge(dirFull, truth(d.Full), d.Path)
		count(dirRounds, d.SyncRounds, d.Path)
		count(dirSynced, d.SyncedLogs, d.Path)
		count(dirDamage, d.Damage, d.Path)
		count(dirScrubbed, d.Scrubbed, d.Path)
		gauge(dirHeld, float64(d.Held), d.Path)
	}
	sessions, cached := f.sessions()
	gauge(sessionCount, float64(sessions))
	gauge(sessionPartitions, float64(cached))
	if age, bytes := f.snapshot(); age > 0 {
		gauge(snapshotAge, float64(age.Milliseconds()))
		gauge(snapshotBytes, float64(bytes))
	}
	for _, l := range f.listeners() {
		s := l.Stats()
		gauge(connectionCount, float64(s.Open), l.Name())
		count(acceptedCount, s.Accepted, l.Name())
		count(refusedCount, s.Refused, l.Name())
		count(evictedCount, s.Evicted, l.Name())
		out <- prometheus.MustNewConstMetric(blockedSeconds, prometheus.CounterValue, s.Blocked.Seconds(), l.Name())
		var in, sent int64
		for _, api := range s.APIs {
			in, sent = in+api.BytesIn, sent+api.BytesOut
			if api.Failed > 0 {
				count(requestFailed, api.Failed, l.Name(), api.Key.String())
			}
		}
		count(listenerBytesIn, in, l.Name())
		count(listenerBytesOut, sent, l.Name())
	}
	f.requests.collect(out)
	f.collectGroups(out, count, gauge)
}

// collectCluster reads what the newest image says of the whole cluster; the figures of the controller are those
// of every node here, since every node has the image.
func (f *figures) collectCluster(gauge func(*prometheus.Desc, float64, ...string), online int) {
	leader, epoch := f.controller()
	gauge(activeController, truth(leader == f.nodeID))
	gauge(controllerEpoch, float64(epoch))
	gauge(timedOutBeats, float64(f.timedOut()))
	image := f.image()
	if image == nil {
		return
	}
	gauge(appliedOffset, float64(image.Offset()))
	gauge(globalTopics, float64(image.NumTopics()))
	gauge(globalPartitions, float64(image.NumPartitions()))
	var active, fenced, offline, assigned int
	for b := range image.Brokers() {
		if b.Fenced {
			fenced++
		} else {
			active++
		}
	}
	for t := range image.Topics() {
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				offline++
			}
			if p.HasReplica(f.nodeID) {
				assigned++
			}
		}
	}
	gauge(activeBrokers, float64(active))
	gauge(fencedBrokers, float64(fenced))
	gauge(offlinePartitions, float64(offline))
	// What is assigned here and cannot be used lies in a directory that is offline, or its log is damaged.
	gauge(offlineReplicas, float64(max(0, assigned-online)))
}

// brokerStates are Kafka's numbers of the states (KIP-631).
var brokerStates = map[broker.State]float64{broker.Starting: 1, broker.Recovering: 2, broker.Running: 3, broker.Leaving: 6, broker.Gone: 7}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// requestBounds are the upper bounds of the latency buckets, four to a decade from 100 µs to 10 s.
var requestBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// maxAPIKey bounds the keys of the protocol that are counted; the private ones are not.
const maxAPIKey = 128

// requestFigures counts requests and how long they took: two atomic additions each, no lock and no map.
type requestFigures struct {
	byKey [maxAPIKey]requestFigure
}

type requestFigure struct {
	nanos   atomic.Int64
	buckets [len(requestBounds) + 1]atomic.Uint64 // the last one is for what took longer than every bound
}

// observe counts one request.
func (r *requestFigures) observe(key wire.APIKey, took time.Duration) {
	if key < 0 || key >= maxAPIKey {
		return
	}
	f := &r.byKey[key]
	f.nanos.Add(int64(took))
	i := 0
	for i < len(requestBounds) && took > requestBounds[i] {
		i++
	}
	f.buckets[i].Add(1)
}

func (r *requestFigures) collect(out chan<- prometheus.Metric) {
	for key := range r.byKey {
		f := &r.byKey[key]
		var total uint64
		buckets := make(map[float64]uint64, len(requestBounds))
		for i := range f.buckets {
			total += f.buckets[i].Load()
			if i < len(requestBounds) {
				buckets[requestBounds[i].Seconds()] = total
			}
		}
		if total == 0 {
			continue
		}
		name := strings.TrimSpace(wire.APIKey(key).String())
		out <- prometheus.MustNewConstMetric(requestCount, prometheus.CounterValue, float64(total), name)
		out <- prometheus.MustNewConstHistogram(requestSeconds, total, time.Duration(f.nanos.Load()).Seconds(), buckets, name)
	}
}
