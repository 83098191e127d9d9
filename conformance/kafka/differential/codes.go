package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// possible holds the error codes that Kafka can answer with, as its protocol describes each API; the run prints
// them beside those that it provoked. What needs several brokers, authorization, quotas, tiering or a
// failing disk cannot be provoked by requests to one node, and has tests of its own.
var possible = map[wire.APIKey][]kafka.ErrorCode{
	wire.KeyProduce: {kafka.CorruptMessage, kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.MessageTooLarge, kafka.RequestTimedOut,
		kafka.RecordListTooLarge, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.InvalidRequiredAcks, kafka.TopicAuthorizationFailed,
		kafka.UnsupportedForMessageFormat, kafka.InvalidTimestamp, kafka.OutOfOrderSequenceNumber, kafka.InvalidProducerEpoch, kafka.KafkaStorageError,
		kafka.UnsupportedCompressionType, kafka.InvalidRecord, kafka.InvalidTopicException, kafka.UnknownTopicID, kafka.InvalidTxnState, kafka.UnsupportedVersion},
	wire.KeyFetch: {kafka.OffsetOutOfRange, kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.ReplicaNotAvailable, kafka.TopicAuthorizationFailed,
		kafka.UnsupportedCompressionType, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.FetchSessionIDNotFound, kafka.InvalidFetchSessionEpoch,
		kafka.KafkaStorageError, kafka.UnknownTopicID, kafka.InconsistentTopicID, kafka.FetchSessionTopicIDError, kafka.UnsupportedVersion},
	wire.KeyListOffsets: {kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.TopicAuthorizationFailed, kafka.UnsupportedForMessageFormat,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.OffsetNotAvailable, kafka.LeaderNotAvailable, kafka.InvalidRequest, kafka.UnsupportedVersion, kafka.KafkaStorageError},
	wire.KeyMetadata: {kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.InvalidTopicException, kafka.TopicAuthorizationFailed, kafka.InvalidReplicationFactor,
		kafka.UnknownTopicID, kafka.InvalidRequest, kafka.RebootstrapRequired, kafka.UnsupportedVersion},
	wire.KeyCreateTopics: {kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTopicException, kafka.TopicAlreadyExists, kafka.InvalidPartitions,
		kafka.InvalidReplicationFactor, kafka.InvalidReplicaAssignment, kafka.InvalidConfig, kafka.InvalidRequest, kafka.NotController, kafka.PolicyViolation, kafka.ThrottlingQuotaExceeded},
	wire.KeyDeleteTopics: {kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.TopicAuthorizationFailed, kafka.TopicDeletionDisabled, kafka.InvalidRequest,
		kafka.NotController, kafka.InvalidTopicException, kafka.ThrottlingQuotaExceeded},
	wire.KeyCreatePartitions: {kafka.UnknownTopicOrPartition, kafka.InvalidPartitions, kafka.InvalidReplicaAssignment, kafka.InvalidRequest, kafka.TopicAuthorizationFailed,
		kafka.NotController, kafka.ReassignmentInProgress, kafka.ThrottlingQuotaExceeded, kafka.InvalidReplicationFactor},
	wire.KeyDeleteRecords: {kafka.OffsetOutOfRange, kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.PolicyViolation, kafka.TopicAuthorizationFailed,
		kafka.RequestTimedOut, kafka.KafkaStorageError},
	wire.KeyInitProducerId: {kafka.NotCoordinator, kafka.CoordinatorNotAvailable, kafka.CoordinatorLoadInProgress, kafka.InvalidRequest, kafka.InvalidTransactionTimeout,
		kafka.ConcurrentTransactions, kafka.ProducerFenced, kafka.ClusterAuthorizationFailed, kafka.TransactionalIDAuthorizationFailed},
	wire.KeyOffsetForLeaderEpoch: {kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.TopicAuthorizationFailed, kafka.KafkaStorageError},
	wire.KeyApiVersions:          {kafka.UnsupportedVersion, kafka.InvalidRequest, kafka.RebootstrapRequired},
	wire.KeyDescribeConfigs:      {kafka.UnknownTopicOrPartition, kafka.InvalidTopicException, kafka.InvalidRequest, kafka.InvalidConfig, kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.GroupAuthorizationFailed},
	wire.KeyAlterConfigs:         {kafka.UnknownTopicOrPartition, kafka.InvalidTopicException, kafka.InvalidConfig, kafka.InvalidRequest, kafka.PolicyViolation, kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.NotController},
	wire.KeyIncrementalAlterConfigs: {kafka.UnknownTopicOrPartition, kafka.InvalidTopicException, kafka.InvalidConfig, kafka.InvalidRequest, kafka.PolicyViolation, kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.NotController},
	wire.KeyListConfigResources: {kafka.UnsupportedVersion, kafka.ClusterAuthorizationFailed},
	wire.KeyDescribeLogDirs:     {kafka.KafkaStorageError, kafka.ClusterAuthorizationFailed},
	wire.KeyDescribeProducers:   {kafka.UnknownTopicOrPartition, kafka.InvalidTopicException, kafka.NotLeaderOrFollower, kafka.TopicAuthorizationFailed},
	wire.KeyDescribeCluster:     {kafka.MismatchedEndpointType, kafka.UnsupportedEndpointType, kafka.ClusterAuthorizationFailed, kafka.InvalidRequest},
	wire.KeyDescribeQuorum:      {kafka.UnknownTopicOrPartition, kafka.ClusterAuthorizationFailed, kafka.NotLeaderOrFollower, kafka.BrokerNotAvailable},
	wire.KeyElectLeaders: {kafka.ElectionNotNeeded, kafka.PreferredLeaderNotAvailable, kafka.EligibleLeadersNotAvailable, kafka.UnknownTopicOrPartition, kafka.InvalidRequest, kafka.ClusterAuthorizationFailed,
		kafka.NotController},
	wire.KeyUnregisterBroker:        {kafka.BrokerIDNotRegistered, kafka.ClusterAuthorizationFailed, kafka.NotController, kafka.UnsupportedVersion},
	wire.KeyDescribeTopicPartitions: {kafka.UnknownTopicOrPartition, kafka.InvalidTopicException, kafka.TopicAuthorizationFailed, kafka.InvalidRequest},
}
