package controller

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// controllerNode is a node that is a controller only, so that each broker can die by itself.
const controllerNode = 3000

// cluster is a controller on a log that the test commits, delays and breaks.
type cluster struct {
	t          testing.TB
	c          *Controller
	node       int32 // of the controller
	log        fakeLog
	now        time.Time
	static     map[string]string
	dice       *rand.Rand
	incarnated int
}

// fakeLog is the quorum: batches wait until the test delivers them.
type fakeLog struct {
	mu        sync.Mutex // in TestLoop the loop proposes beside the test
	epoch     int32
	committed *metadata.Image
	end       int64
	waiting   []fakeBatch
	refuse    error // what ProposeAsync says
	full      error // what Room says
	last      []record
}

type fakeBatch struct {
	records [][]byte
	offset  int64
	done    func(int64, error)
}

func (l *fakeLog) ProposeAsync(epoch int32, records [][]byte, done func(int64, error)) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return 0, l.refuse
	}
	if epoch != l.epoch {
		return 0, kafka.NotController.Errorf("epoch %d is over", epoch)
	}
	for _, value := range records {
		m, version, err := wire.DecodeMetadataRecord(value)
		if err != nil {
			panic(err)
		}
		l.last = append(l.last, record{m, version})
	}
	l.end += int64(len(records))
	l.waiting = append(l.waiting, fakeBatch{records, l.end - 1, done})
	return l.end - 1, nil
}

func (l *fakeLog) Room() error { return l.full }

func (l *fakeLog) EndOffset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// next takes the batch that has waited longest.
func (l *fakeLog) next() (fakeBatch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return fakeBatch{}, false
	}
	b := l.waiting[0]
	l.waiting = l.waiting[1:]
	return b, true
}

// topicKeysForTest stand for the joined table of all rooms.
func topicKeysForTest() []config.Key {
	return append(TopicKeys(),
		config.Key{Name: "cleanup.policy", Type: config.List, Default: config.Value("delete"), Valid: config.ListOf("compact", "delete"), Synonyms: []config.Synonym{{Name: "log.cleanup.policy"}}},
		config.Key{Name: "retention.ms", Type: config.Long, Default: config.Value("604800000"), Valid: config.AtLeast(-1),
			Synonyms: []config.Synonym{{Name: "log.retention.ms"}, {Name: "log.retention.minutes", Factor: config.Minutes}, {Name: "log.retention.hours", Factor: config.Hours}}},
		config.Key{Name: "min.compaction.lag.ms", Type: config.Long, Default: config.Value("0")},
		config.Key{Name: "max.compaction.lag.ms", Type: config.Long, Default: config.Value("9223372036854775807")},
		config.Key{Name: "min.insync.replicas", Type: config.Int, Default: config.Value("1"), Valid: config.AtLeast(1), Synonyms: []config.Synonym{{Name: "min.insync.replicas"}}},
		config.Key{Name: "durability", Type: config.String, Default: config.Value("disk"), Valid: config.In("disk", "cache"), Synonyms: []config.Synonym{{Name: "log.durability"}}},
		config.Key{Name: "unclean.leader.election.enable", Type: config.Bool, Default: config.Value("false"), Synonyms: []config.Synonym{{Name: "unclean.leader.election.enable"}}},
	)
}

func brokerKeysForTest() []config.Key {
	return append(BrokerKeys(),
		config.Key{Name: "log.cleanup.policy", Type: config.List, Default: config.Value("delete"), Valid: config.ListOf("compact", "delete"), Update: config.ClusterWide},
		config.Key{Name: "log.retention.ms", Type: config.Long, Update: config.ClusterWide},
		config.Key{Name: "log.retention.hours", Type: config.Int, Default: config.Value("168")},
		config.Key{Name: "log.durability", Type: config.String, Default: config.Value("disk")},
		config.Key{Name: "min.insync.replicas", Type: config.Int, Default: config.Value("1"), Update: config.ClusterWide},
		config.Key{Name: "listeners", Type: config.List, Default: config.Value("PLAINTEXT://:9092"), Update: config.PerBroker},
	)
}

func newCluster(t testing.TB, seed uint64, static map[string]string) *cluster {
	k := &cluster{t: t, node: controllerNode, now: time.Unix(1_700_000_000, 0), static: static, dice: rand.New(rand.NewPCG(seed, 1))}
	k.log.committed = metadata.Empty()
	k.boot()
	k.commitDirectly(
		&wire.FeatureLevelRecord{Name: featureMetadata, FeatureLevel: 33},
		&wire.FeatureLevelRecord{Name: featureELR, FeatureLevel: 1})
	k.elect()
	k.deliver()
	k.log.last = nil
	return k
}

// combined lets a new controller lead that runs in one process with a broker.
func (k *cluster) combined(node int32) {
	k.node = node
	k.boot()
	k.elect()
	k.deliver()
}

// boot makes a new controller process on the log as it is.
func (k *cluster) boot() {
	k.c = New(Options{NodeID: k.node, Features: metadata.KafkaFeatures(), ClusterID: "cluster", Quorum: &k.log, TopicConfigs: config.NewTable(topicKeysForTest()...),
		BrokerConfigs: config.NewTable(brokerKeysForTest()...), Static: k.static, Rand: k.dice, Now: func() time.Time { return k.now }, MaxBatchRecords: 50})
	k.c.Publish(k.log.committed, nil)
}

// elect makes the controller the leader of a new epoch; what was not committed is lost.
func (k *cluster) elect() {
	k.lose()
	k.log.epoch++
	k.c.LeaderChanged(k.node, k.log.epoch)
	k.c.Tick(k.now)
}

// lose ends the leadership and fails what waits.
func (k *cluster) lose() {
	waiting := k.log.waiting
	k.log.waiting = nil
	k.log.end = k.log.committed.Offset() + 1
	k.log.epoch++
	k.c.LeaderChanged(k.node+1, k.log.epoch)
	for _, b := range waiting {
		b.done(0, kafka.NotController)
	}
}

func (k *cluster) commitDirectly(messages ...wire.Message) {
	d := metadata.NewDelta(k.log.committed)
	for _, m := range messages {
		if err := d.Replay(m); err != nil {
			k.t.Fatal(err)
		}
	}
	k.log.end += int64(len(messages))
	k.log.committed = d.Apply(k.log.end-1, k.log.epoch, k.now.UnixMilli())
	k.c.Publish(k.log.committed, d)
}

// deliver commits what waits, in order.
func (k *cluster) deliver() {
	for k.deliverOne() {
	}
}

// deliverOne commits the batch that has waited longest and reports whether there was one.
func (k *cluster) deliverOne() bool {
	b, ok := k.log.next()
	if !ok {
		return false
	}
	d := metadata.NewDelta(k.log.committed)
	for _, value := range b.records {
		m, _, err := wire.DecodeMetadataRecord(value)
		if err != nil {
			k.t.Fatal(err)
		}
		if err := d.Replay(m); err != nil {
			k.t.Fatalf("committed %T: %v", m, err)
		}
	}
	k.log.committed = d.Apply(b.offset, k.log.epoch, k.now.UnixMilli())
	k.c.Publish(k.log.committed, d)
	b.done(b.offset, nil)
	return true
}

// ask sends a request, commits what it brings, and returns the response.
func (k *cluster) ask(request wire.Message) (wire.Message, error) {
	response, wait, err := k.c.submit(Caller{}, request, request.Info().MaxVersion)
	if err != nil {
		return nil, err
	}
	k.deliver()
	if wait != nil {
		if err := <-wait; err != nil {
			return nil, err
		}
	}
	return response, nil
}

func directory(broker int32, n byte) kafka.DirectoryID {
	return kafka.DirectoryID{0: byte(broker), 1: n, 15: 200}
}

func (k *cluster) registration(id int32, dirs int, rack string) *wire.BrokerRegistrationRequest {
	k.incarnated++
	r := &wire.BrokerRegistrationRequest{BrokerID: id, ClusterID: "cluster", IncarnationID: kafka.UUID{0: 1, 1: byte(k.incarnated), 2: byte(k.incarnated >> 8)}, PreviousBrokerEpoch: -1,
		Listeners: []wire.BrokerRegistrationRequestListeners{{Name: "PLAINTEXT", Host: "h", Port: 9092}}}
	for name, f := range sorted(metadata.KafkaFeatures()) {
		r.Features = append(r.Features, wire.BrokerRegistrationRequestFeatures{Name: name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	for n := range dirs {
		r.LogDirs = append(r.LogDirs, directory(id, byte(n+1)))
	}
	if rack != "" {
		r.Rack = &rack
	}
	return r
}

// join registers a broker and sends the heartbeat that unfences it.
func (k *cluster) join(id int32, dirs int, rack string) {
	k.t.Helper()
	response, err := k.ask(k.registration(id, dirs, rack))
	if err != nil || response.(*wire.BrokerRegistrationResponse).ErrorCode != 0 {
		k.t.Fatalf("register broker %d: %v %v", id, response, err)
	}
	k.beat(id, false, false)
}

func (k *cluster) beat(id int32, fence, shutDown bool) *wire.BrokerHeartbeatResponse {
	k.t.Helper()
	r := &wire.BrokerHeartbeatRequest{BrokerID: id, BrokerEpoch: -1, CurrentMetadataOffset: k.log.committed.Offset(), WantFence: fence, WantShutDown: shutDown}
	if b := k.log.committed.Broker(id); b != nil {
		r.BrokerEpoch = b.Epoch
	}
	response, err := k.ask(r)
	if err != nil {
		k.t.Fatal(err)
	}
	return response.(*wire.BrokerHeartbeatResponse)
}

// TestTranscripts runs testdata/*.txt: a command, ----, and the records and the response that it brings.
//
//	NAME vN JSON     a request, by the name of its API
//	broker ID …      registers and unfences; dirs=N, rack=R
//	kill ID          nothing is heard of the broker: its session ends
//	restart ID …     a new incarnation; clean (it proves its epoch), dirs=N
//	stop ID          asks for a controlled shutdown
//	wait DURATION    time passes and the sessions are judged
//	late DURATION    the same, but the loop wakes only then
//	state            the partitions
func TestTranscripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			k := newCluster(t, 1, map[string]string{"log.retention.hours": "48"})
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				var command, comments []string
				for _, line := range strings.Split(block, "\n") {
					if line == "----" {
						break
					}
					if strings.HasPrefix(line, "#") {
						comments = append(comments, line)
						continue
					}
					command = append(command, line)
				}
				for _, c := range comments {
					out.WriteString(c + "\n")
				}
				if len(command) > 0 {
					fmt.Fprintf(&out, "%s\n----\n%s", strings.Join(command, "\n"), k.run(strings.Join(command, " ")))
				}
				out.WriteString("\n")
			}
			got := strings.TrimSpace(out.String()) + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s differs; look at it and run the test with -update\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "", ""
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n  want %s\n  got  %s", i+1, a, b)
		}
	}
	return ""
}

func (k *cluster) run(command string) string {
	words := strings.Fields(command)
	id := func() int32 { n, _ := strconv.Atoi(words[1]); return int32(n) }
	option := func(name string) (string, bool) {
		for _, w := range words[1:] {
			if w == name {
				return "", true
			}
			if v, ok := strings.CutPrefix(w, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
	dirs := func() int {
		if v, ok := option("dirs"); ok {
			n, _ := strconv.Atoi(v)
			return n
		}
		return 1
	}
	k.log.last = nil
	var result string
	switch words[0] {
	case "broker":
		rack, _ := option("rack")
		k.join(id(), dirs(), rack)
	case "kill":
		k.c.lead.sessions[id()].last = k.now.Add(-time.Hour)
		k.c.lead.wakeAt = k.now
		k.c.Tick(k.now)
	case "restart":
		r := k.registration(id(), dirs(), "")
		if _, clean := option("clean"); clean {
			r.PreviousBrokerEpoch = k.log.committed.Broker(id()).Epoch
		}
		k.c.lead.sessions.forget(id())
		if _, err := k.ask(r); err != nil {
			result = err.Error() + "\n"
		}
		k.beat(id(), false, false)
	case "stop":
		result = show(k.beat(id(), false, true)) + "\n"
	case "wait", "late":
		d, _ := time.ParseDuration(words[1])
		end := k.now.Add(d)
		for k.now.Before(end) {
			next := k.c.Tick(k.now)
			if words[0] == "late" || next.IsZero() || next.After(end) {
				next = end
			}
			k.now = next
		}
		k.c.Tick(k.now)
	case "state":
		return k.state()
	default:
		version, _ := strconv.Atoi(strings.TrimPrefix(words[1], "v"))
		request := requestByName(words[0])
		request.SetDefaults()
		body := strings.TrimSpace(strings.SplitN(command, words[1], 2)[1])
		if err := json.Unmarshal([]byte(body), request); err != nil {
			k.t.Fatalf("%s: %v", command, err)
		}
		response, wait, err := k.c.submit(Caller{ViaBroker: true, Broker: 1}, request, int16(version))
		k.deliver()
		if err == nil && wait != nil {
			err = <-wait
		}
		if err != nil {
			result = err.Error() + "\n"
		} else {
			result = "=> " + show(response) + "\n"
		}
	}
	k.deliver()
	var out strings.Builder
	for _, r := range k.log.last {
		fmt.Fprintf(&out, "%s\n", show(r.message))
	}
	return out.String() + result
}

func requestByName(name string) wire.Message {
	for _, m := range []wire.Message{&wire.CreateTopicsRequest{}, &wire.DeleteTopicsRequest{}, &wire.CreatePartitionsRequest{}, &wire.AlterConfigsRequest{},
		&wire.IncrementalAlterConfigsRequest{}, &wire.BrokerRegistrationRequest{}, &wire.BrokerHeartbeatRequest{}, &wire.UnregisterBrokerRequest{},
		&wire.AllocateProducerIdsRequest{}, &wire.AlterPartitionRequest{}, &wire.AssignReplicasToDirsRequest{}, &wire.ElectLeadersRequest{}, &wire.UpdateFeaturesRequest{}} {
		if m.Info().Name == name+"Request" {
			return m
		}
	}
	panic("no request is called " + name)
}

func (k *cluster) state() string {
	var out strings.Builder
	for t := range k.log.committed.Topics() {
		for i, p := range t.Partitions {
			fmt.Fprintf(&out, "%s-%d leader=%d epoch=%d replicas=%v isr=%v", t.Name, i, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR)
			if len(p.ELR) > 0 {
				fmt.Fprintf(&out, " elr=%v", p.ELR)
			}
			if len(p.LastKnownELR) > 0 {
				fmt.Fprintf(&out, " last=%v", p.LastKnownELR)
			}
			if p.RecoveryState != recovered {
				out.WriteString(" recovering")
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

// show writes a message in one line, without what is zero, and ids as whether they are there.
func show(m wire.Message) string {
	return m.Info().Name + showValue(reflect.ValueOf(m).Elem())
}

func showValue(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case kafka.UUID:
		if reserved(x) {
			return strconv.Itoa(int(x[15]))
		}
		return "ID"
	case kafka.ErrorCode:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return showValue(v.Elem())
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%x", v.Bytes())
		}
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = showValue(v.Index(i))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			f := v.Field(i)
			if f.IsZero() || !v.Type().Field(i).IsExported() {
				continue
			}
			parts = append(parts, v.Type().Field(i).Name+"="+showValue(f))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprint(v.Interface())
}
