package controller

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Proposer is the part of the quorum that the controller needs.
type Proposer interface {
	// ProposeAsync appends the framed records as one atomic batch in the given leader epoch and returns the
	// offset its last record will have. done is called once, from any goroutine, after the batch was committed
	// and applied, or when it never will be. Batches are appended in the order of the calls. An error means that
	// nothing was appended and done is not called; it is NOT_CONTROLLER when the epoch is over, and
	// KAFKA_STORAGE_ERROR while the disk is full.
	// done is never called from inside the call, and the call waits neither for done nor for whoever calls
	// Publish or LeaderChanged: the controller holds its lock meanwhile.
	ProposeAsync(epoch int32, records [][]byte, done func(lastOffset int64, err error)) (expectedOffset int64, err error)
	// EndOffset is the offset that the next record will get.
	EndOffset() int64
	// Room reports whether there is room for what is no remedy for a full disk, as new topics are not: the error
	// carries KAFKA_STORAGE_ERROR. Fewer records are refused by ProposeAsync, those of a deletion last of all.
	Room() error
}

// Caller is who sent a request, as the listener knows it.
type Caller struct {
	Principal string
	ClientID  string
	Host      string
	Listener  string
	// ViaBroker tells that the request came to a broker's listener, and Broker to whose: a broker takes
	// configuration only for itself. False for requests of a controller's listener.
	ViaBroker bool
	Broker    int32
}

// Options are what a controller is made of.
type Options struct {
	NodeID    int32
	ClusterID string
	Quorum    Proposer
	// TopicConfigs and BrokerConfigs are the joined tables of all rooms; GroupConfigs and ClientMetricsConfigs
	// default to the controller's own.
	TopicConfigs, BrokerConfigs, GroupConfigs, ClientMetricsConfigs *config.Table
	// Static are the values of the server's own file, by broker key.
	Static map[string]string
	// Features are the levels that this build supports; nil stands for metadata.ServedFeatures.
	Features map[string]metadata.FeatureRange
	Log      *slog.Logger
	// Rand places replicas and draws topic ids; nil draws from the system's entropy.
	Rand *rand.Rand
	// Now reads the clock of the loop; nil is time.Now. Deciders are handed the time.
	Now func() time.Time
	// MaxBatchRecords bounds the records of one proposed batch; longer changes are cut into several, each of
	// which leaves the cluster in a state that the next controller can go on from. 0 stands for 10,000.
	MaxBatchRecords int
}

// Limits of one request (KIP-599 left them to the implementation; Kafka's values).
const (
	maxPartitionsPerRequest = 10_000
	maxRecordsPerRequest    = 10_000
)

// settings are what deciders know beside the image.
type settings struct {
	nodeID                          int32
	clusterID                       string
	topic, broker, group, telemetry *config.Table
	static                          map[string]string
	features                        map[string]metadata.FeatureRange

	sessionTimeout time.Duration
	suspectTimeout time.Duration
	log            *slog.Logger
}

// staticValue returns what the server's file says of a broker key, or its default; "" for null.
func (s *settings) staticValue(key string) string {
	v, _ := s.broker.Effective(key, config.Layer{Source: config.SourceStaticBroker, Values: s.static})
	return v
}

func (s *settings) staticInt(key string, otherwise int64) int64 {
	if n, err := config.ParseInt64(s.staticValue(key)); err == nil {
		return n
	}
	return otherwise
}

func (s *settings) staticBool(key string, otherwise bool) bool {
	if b, err := config.ParseBool(s.staticValue(key)); err == nil {
		return b
	}
	return otherwise
}
