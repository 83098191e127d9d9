package metadata

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/kafka"
)

// Image is the state of the cluster after one record of the metadata log. It is immutable, and so is all that can be
// reached from it: slices and maps that its methods return must not be changed.
type Image struct {
	offset      int64
	epoch       int32
	timestampMs int64

	topics     tree[*Topic] // by name
	topicsByID tree[*Topic] // the same topics, by id
	partitions int

	brokers     tree[*Broker]
	controllers tree[*Controller]
	configs     tree[entry[ConfigResource, map[string]string]] // no empty maps
	features    map[string]int16                               // no zero levels
	quotas      tree[*Quota]                                   // no quota without values
	acls        tree[*ACL]
	scram       tree[*ScramCredential]
	tokens      tree[*DelegationToken]

	nextProducerID   int64
	zkMigrationState int8

	// shared holds the small slices that many partitions have in common. All images of one line share it.
	shared *interner
}

// Empty returns the image before the first record. Its offset is -1.
func Empty() *Image {
	return &Image{
		offset: -1, epoch: -1, timestampMs: -1,
		topics:      newTree(func(a, b *Topic) bool { return a.Name < b.Name }),
		topicsByID:  newTree(func(a, b *Topic) bool { return bytes.Compare(a.ID[:], b.ID[:]) < 0 }),
		brokers:     newTree(func(a, b *Broker) bool { return a.ID < b.ID }),
		controllers: newTree(func(a, b *Controller) bool { return a.ID < b.ID }),
		configs:     newIndex[ConfigResource, map[string]string](ConfigResource.compare),
		features:    map[string]int16{},
		quotas:      newTree(func(a, b *Quota) bool { return a.key < b.key }),
		acls:        newTree(func(a, b *ACL) bool { return bytes.Compare(a.ID[:], b.ID[:]) < 0 }),
		scram:       newTree(func(a, b *ScramCredential) bool { return a.compare(b) < 0 }),
		tokens:      newTree(func(a, b *DelegationToken) bool { return a.ID < b.ID }),
		shared:      newInterner(),
	}
}

// Offset is the offset of the last record that the image contains, -1 for none.
func (i *Image) Offset() int64 { return i.offset }

// Epoch is the leader epoch of that record, -1 for none.
func (i *Image) Epoch() int32 { return i.epoch }

// TimestampMs is the append time of that record's batch, -1 for none.
func (i *Image) TimestampMs() int64 { return i.timestampMs }

// Topic returns the topic of that name, nil when there is none.
func (i *Image) Topic(name string) *Topic {
	key := topicKeys.Get().(*Topic)
	key.Name = name
	t, _ := i.topics.get(key)
	key.Name = ""
	topicKeys.Put(key)
	return t
}

// topicKeys lends topics to look for others by: every request does.
var topicKeys = sync.Pool{New: func() any { return new(Topic) }}

// TopicByID returns the topic with that id, nil when there is none.
func (i *Image) TopicByID(id kafka.TopicID) *Topic {
	t, _ := i.topicsByID.get(&Topic{ID: id})
	return t
}

// Topics returns all topics, by name.
func (i *Image) Topics() iter.Seq[*Topic] { return i.topics.all() }

// TopicsFrom returns the topics whose names are not below name, by name.
func (i *Image) TopicsFrom(name string) iter.Seq[*Topic] { return i.topics.from(&Topic{Name: name}) }

// NumTopics is the number of topics.
func (i *Image) NumTopics() int { return i.topics.len() }

// NumPartitions is the number of partitions of all topics.
func (i *Image) NumPartitions() int { return i.partitions }

// Partition returns a partition by topic id, nil when there is none.
func (i *Image) Partition(id kafka.TopicID, partition int32) *Partition {
	return i.TopicByID(id).Partition(partition)
}

// Broker returns a registered broker, fenced or not, nil when there is none.
func (i *Image) Broker(id int32) *Broker {
	b, _ := i.brokers.get(&Broker{ID: id})
	return b
}

// Brokers returns all registered brokers, by id.
func (i *Image) Brokers() iter.Seq[*Broker] { return i.brokers.all() }

// NumBrokers is the number of registered brokers.
func (i *Image) NumBrokers() int { return i.brokers.len() }

// Controller returns a registered controller, nil when there is none.
func (i *Image) Controller(id int32) *Controller {
	c, _ := i.controllers.get(&Controller{ID: id})
	return c
}

// Controllers returns all registered controllers, by id.
func (i *Image) Controllers() iter.Seq[*Controller] { return i.controllers.all() }

// Config returns the configs set on one resource, nil when there are none. The cluster-wide default of brokers is the
// broker resource with the empty name. The map must not be changed.
func (i *Image) Config(t kafka.ResourceType, name string) map[string]string {
	m, _ := lookup(i.configs, ConfigResource{t, name})
	return m
}

// ConfigResources returns the names of the resources of one type that have configs, in order.
func (i *Image) ConfigResources(t kafka.ResourceType) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range i.configs.from(entry[ConfigResource, map[string]string]{key: ConfigResource{Type: t}}) {
			if e.key.Type != t || !yield(e.key.Name) {
				return
			}
		}
	}
}

// Feature returns the finalized level of a feature, 0 when it has none.
func (i *Image) Feature(name string) int16 { return i.features[name] }

// Features returns a copy of the finalized levels that are not 0.
func (i *Image) Features() map[string]int16 { return maps.Clone(i.features) }

// MetadataVersion is the finalized metadata.version, 0 before it is known.
func (i *Image) MetadataVersion() int16 { return i.features[MetadataVersionFeature] }

// NextProducerID is the first producer id that no block has been cut from yet.
func (i *Image) NextProducerID() int64 { return i.nextProducerID }

// Quotas returns the client quotas (KIP-546), by entity.
func (i *Image) Quotas() iter.Seq[*Quota] { return i.quotas.all() }

// Quota returns the quotas of exactly this entity, nil when there are none.
func (i *Image) Quota(entity []QuotaEntity) *Quota {
	q, _ := i.quotas.get(&Quota{key: quotaKey(entity)})
	return q
}

// ACLs returns all access control entries, by id.
func (i *Image) ACLs() iter.Seq[*ACL] { return i.acls.all() }

// ACL returns an access control entry, nil when there is none.
func (i *Image) ACL(id kafka.UUID) *ACL {
	a, _ := i.acls.get(&ACL{ID: id})
	return a
}

// ScramCredential returns the credential of a user for a mechanism, nil when there is none.
func (i *Image) ScramCredential(user string, mechanism int8) *ScramCredential {
	c, _ := i.scram.get(&ScramCredential{User: user, Mechanism: mechanism})
	return c
}

// ScramCredentials returns all SCRAM credentials, by user and mechanism.
func (i *Image) ScramCredentials() iter.Seq[*ScramCredential] { return i.scram.all() }

// DelegationToken returns a token by its id, nil when there is none.
func (i *Image) DelegationToken(id string) *DelegationToken {
	t, _ := i.tokens.get(&DelegationToken{ID: id})
	return t
}

// DelegationTokens returns all delegation tokens, by id.
func (i *Image) DelegationTokens() iter.Seq[*DelegationToken] { return i.tokens.all() }

// Topic is one incarnation of a topic.
type Topic struct {
	Name       string
	ID         kafka.TopicID
	Partitions []*Partition // the index is the partition; none is nil

	// ahead holds partitions whose record came before that of a lower one (Kafka writes a topic's partitions of a
	// snapshot in hash order). They are invisible until the gap is closed.
	ahead map[int32]*Partition
}

// Partition returns a partition, nil when there is none or the topic is nil.
func (t *Topic) Partition(partition int32) *Partition {
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[partition]
}

// Partition is the state of one partition. It takes 96 bytes, and shares its slices with other partitions that have
// the same.
type Partition struct {
	Replicas    []int32             // assigned brokers, the preferred leader first
	ISR         []int32             // in-sync replicas
	Directories []kafka.DirectoryID // log directory of each replica, as long as Replicas (KIP-858)

	*Unsettled // never nil: what a settled partition has none of

	Leader         int32 // -1: none
	LeaderEpoch    int32
	PartitionEpoch int32 // grows with every change; the compare-and-set of AlterPartition
	RecoveryState  int8  // 0 recovered, 1 recovering from an unclean election (KIP-704)
}

// Unsettled is the part of a partition that is empty unless replicas move or have been lost. It is kept apart, and
// shared when empty, because nearly every partition has nothing in it.
type Unsettled struct {
	Removing     []int32 // replicas that leave when the reassignment completes (KIP-455)
	Adding       []int32 // replicas that join when the reassignment completes (KIP-455)
	ELR          []int32 // eligible leader replicas (KIP-966)
	LastKnownELR []int32 // last known leader, when the ISR and ELR are empty (KIP-966)
}

func (u *Unsettled) empty() bool {
	return len(u.Removing) == 0 && len(u.Adding) == 0 && len(u.ELR) == 0 && len(u.LastKnownELR) == 0
}

// Directory returns the log directory of a replica; false when the broker holds none.
func (p *Partition) Directory(broker int32) (kafka.DirectoryID, bool) {
	i := slices.Index(p.Replicas, broker)
	if i < 0 || i >= len(p.Directories) {
		return kafka.DirectoryID{}, false
	}
	return p.Directories[i], true
}

// HasReplica reports whether a broker is assigned a replica.
func (p *Partition) HasReplica(broker int32) bool { return slices.Contains(p.Replicas, broker) }

// Endpoint is where a node listens.
type Endpoint struct {
	Name     string // listener name, such as PLAINTEXT
	Host     string
	Port     uint16
	Protocol int16 // 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL
}

// FeatureRange is the range of levels of a feature that a node supports.
type FeatureRange struct{ Min, Max int16 }

// Broker is a registered broker.
type Broker struct {
	ID                   int32
	Epoch                int64 // broker epoch: the offset of its registration
	Incarnation          kafka.UUID
	Endpoints            []Endpoint
	Rack                 *string
	Fenced               bool
	InControlledShutdown bool
	LogDirs              []kafka.DirectoryID // online directories (KIP-858)
	CordonedDirs         []kafka.DirectoryID // directories that take no new replicas (KIP-1066); nil: not told
	Features             map[string]FeatureRange

	migratingZk bool // kept so that a snapshot loses nothing
}

// Endpoint returns the endpoint of a listener, false when the broker has none of that name.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Name == listener {
			return e, true
		}
	}
	return Endpoint{}, false
}

// Controller is a registered controller (KIP-919).
type Controller struct {
	ID          int32
	Incarnation kafka.UUID
	Endpoints   []Endpoint
	Features    map[string]FeatureRange

	zkReady bool
}

// ConfigResource names what a configuration belongs to.
type ConfigResource struct {
	Type kafka.ResourceType
	Name string
}

func (r ConfigResource) compare(other ConfigResource) int {
	return cmp.Or(cmp.Compare(r.Type, other.Type), strings.Compare(r.Name, other.Name))
}

// QuotaEntity is one part of the name of a quota's entity, such as user=alice; a nil name is the default.
type QuotaEntity struct {
	Type string // user, client-id, ip
	Name *string
}

// Quota holds the quotas of one entity.
type Quota struct {
	Entity []QuotaEntity // by type
	Values map[string]float64

	key string
}

// ACL is one access control entry.
type ACL struct {
	ID           kafka.UUID
	ResourceType int8
	ResourceName string
	PatternType  int8
	Principal    string
	Host         string
	Operation    int8
	Permission   int8
}

// ScramCredential is what the cluster keeps of a password (KIP-554, KIP-900).
type ScramCredential struct {
	User       string
	Mechanism  int8 // 1 SCRAM-SHA-256, 2 SCRAM-SHA-512
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
	Iterations int32
}

func (c *ScramCredential) compare(other *ScramCredential) int {
	return cmp.Or(strings.Compare(c.User, other.User), cmp.Compare(c.Mechanism, other.Mechanism))
}

// DelegationToken is a token that stands for its owner (KIP-48, KIP-900); its secret is derived from the id.
type DelegationToken struct {
	ID                  string
	Owner               string // principals as type:name
	Requester           string
	Renewers            []string
	IssueTimestamp      int64
	MaxTimestamp        int64
	ExpirationTimestamp int64
}
