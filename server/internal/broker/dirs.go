package broker

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// assignments are replicas whose log directory the controller has not been told of yet (KIP-858).
type assignments struct {
	pending map[kafka.TopicIDPartition]kafka.DirectoryID
	sending bool // a goroutine is at work on them
}

// assignmentsPerRequest bounds one AssignReplicasToDirs, as Kafka does.
const assignmentsPerRequest = 2250

// AssignDirectory implements replica.Cluster: the controller hears of it beside the caller, together with all
// others that wait, and again until it has heard.
func (b *Broker) AssignDirectory(at kafka.TopicIDPartition, dir kafka.DirectoryID) {
	b.mu.Lock()
	b.assigns.pending[at] = dir
	start := !b.assigns.sending
	b.assigns.sending = true
	b.mu.Unlock()
	if start {
		b.run(b.sendAssignments)
	}
}

// sendAssignments runs until nothing waits.
func (b *Broker) sendAssignments(ctx context.Context) {
	select {
	case <-b.unfenced: // before that the controller would not know the epoch
	case <-ctx.Done():
		return
	}
	var backoff time.Duration
	for {
		b.mu.Lock()
		if len(b.assigns.pending) == 0 {
			b.assigns.sending = false
			b.mu.Unlock()
			return
		}
		request, sent := assignmentRequest(b.assigns.pending)
		request.BrokerID, request.BrokerEpoch = b.o.NodeID, b.life.epoch
		b.mu.Unlock()

		response, err := b.carry(ctx, b.self(), request, request.Info().MaxVersion)
		if err == nil {
			if code := response.(*wire.AssignReplicasToDirsResponse).ErrorCode; code != kafka.None {
				err = code
			}
		}
		if err != nil {
			b.log.Debug("the controller did not take the directories of replicas", "replicas", len(sent), "error", err)
			backoff = min(max(2*backoff, backoffMin), backoffMax)
			timer := time.NewTimer(backoff)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			continue
		}
		backoff = 0
		// A partition that the controller refused has been deleted or taken away: nothing is left to tell.
		b.mu.Lock()
		for at, dir := range sent {
			if b.assigns.pending[at] == dir {
				delete(b.assigns.pending, at)
			}
		}
		b.mu.Unlock()
	}
}

// assignmentRequest makes a request of what waits, in a fixed order, and returns what is in it.
func assignmentRequest(pending map[kafka.TopicIDPartition]kafka.DirectoryID) (*wire.AssignReplicasToDirsRequest, map[kafka.TopicIDPartition]kafka.DirectoryID) {
	order := slices.SortedFunc(maps.Keys(pending), func(a, b kafka.TopicIDPartition) int {
		dirA, dirB := pending[a], pending[b]
		return cmp.Or(bytes.Compare(dirA[:], dirB[:]), bytes.Compare(a.TopicID[:], b.TopicID[:]), cmp.Compare(a.Partition, b.Partition))
	})
	order = order[:min(len(order), assignmentsPerRequest)]
	request := &wire.AssignReplicasToDirsRequest{}
	sent := make(map[kafka.TopicIDPartition]kafka.DirectoryID, len(order))
	for _, at := range order {
		dir := pending[at]
		sent[at] = dir
		if n := len(request.Directories); n == 0 || request.Directories[n-1].ID != dir {
			request.Directories = append(request.Directories, wire.AssignReplicasToDirsRequestDirectories{ID: dir})
		}
		d := &request.Directories[len(request.Directories)-1]
		if n := len(d.Topics); n == 0 || d.Topics[n-1].TopicID != at.TopicID {
			d.Topics = append(d.Topics, wire.AssignReplicasToDirsRequestTopics{TopicID: at.TopicID})
		}
		t := &d.Topics[len(d.Topics)-1]
		t.Partitions = append(t.Partitions, wire.AssignReplicasToDirsRequestPartitions{PartitionIndex: at.Partition})
	}
	return request, sent
}

// DirFailed implements replica.Cluster: the next heartbeat, sent at once, tells the controller. A broker without a
// directory left cannot serve, nor can one whose metadata log lies in the directory that failed, and the node stops.
func (b *Broker) DirFailed(dir replica.Dir, remaining int, cause error) {
	b.log.Error("a log directory is offline, and the partitions in it with it", "dir", dir.Path, "remaining", remaining, "error", cause)
	b.mu.Lock()
	b.life.dirFailed(dir.ID, time.Now())
	b.mu.Unlock()
	b.nudge()
	switch {
	case dir.ID == b.o.MetadataDir:
		b.o.Failed(kafka.KafkaStorageError.Errorf("the directory of the metadata log, %s, failed: %v", dir.Path, cause))
	case remaining == 0:
		b.o.Failed(kafka.KafkaStorageError.Errorf("no log directory is left: %s failed last: %v", dir.Path, cause))
	}
}

// SyncStalled implements replica.Cluster. Heartbeats would go on while the writes of clients do not (D6), so the
// broker asks to be fenced where another one can take over; alone, it stays to be read from.
func (b *Broker) SyncStalled(dir replica.Dir, stalled time.Duration) {
	others := b.othersServe()
	if others {
		b.log.Error("giving up all leaderships until the disk syncs again, so that other brokers take over", "dir", dir.Path, "hanging", stalled)
	} else {
		b.log.Error("no other broker can take over: this one goes on serving reads, and waits for the disk", "dir", dir.Path, "hanging", stalled)
	}
	b.mu.Lock()
	b.stalls[dir.ID] = dir.Path
	b.life.wantFence(others, time.Now())
	b.mu.Unlock()
	b.nudge()
}

// SyncResumed implements replica.Cluster.
func (b *Broker) SyncResumed(dir replica.Dir, stalled time.Duration) {
	b.log.Warn("the disk of a log directory answers again", "dir", dir.Path, "after", stalled)
	b.mu.Lock()
	delete(b.stalls, dir.ID)
	b.life.wantFence(len(b.stalls) > 0 && b.othersServe(), time.Now())
	b.mu.Unlock()
	b.nudge()
}

// othersServe reports whether another broker is up, as far as the newest image says.
func (b *Broker) othersServe() bool {
	image := b.publisher.image.Load()
	if image == nil {
		return false
	}
	for other := range image.Brokers() {
		if other.ID != b.o.NodeID && !other.Fenced {
			return true
		}
	}
	return false
}

// sortedDirs returns the keys in the order of what they stand for.
func sortedDirs(paths map[kafka.DirectoryID]string) []kafka.DirectoryID {
	return slices.SortedFunc(maps.Keys(paths), func(a, b kafka.DirectoryID) int { return cmp.Compare(paths[a], paths[b]) })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
