package crash

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/faults"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// disks is a node with three log directories, the first of them with the metadata log, and one partition after the other
// of one topic in them.
type disks struct {
	*node.Node
	dirs    []string
	http    string
	writers []*writer        // by partition, idempotent
	in      map[int32]string // the directory of each partition
}

const diskTopic = "t"

func newDisks(t *testing.T) *disks {
	base, web := t.TempDir(), process.FreeAddr(t)
	n := &disks{dirs: []string{filepath.Join(base, "a"), filepath.Join(base, "b"), filepath.Join(base, "c")}, http: web}
	n.Node = node.Format(t, map[string]string{
		"log.dirs":                                      strings.Join(n.dirs, ","),
		"metadata.log.dir":                              n.dirs[0],
		"http.listeners":                                "http://" + web,
		"log.sync.stall.timeout.ms":                     "300",
		"log.flush.offset.checkpoint.interval.ms":       "150",
		"replica.high.watermark.checkpoint.interval.ms": "100",
		"log.reserve.bytes":                             "1048576",
	})
	return n
}

// startOn starts the node on a disk that can be told to fail.
func (n *disks) startOn(t *testing.T) *faults.Disk {
	t.Helper()
	cmd := exec.Command(node.Binary(t), "server", n.Properties)
	disk := faults.Under(t, cmd)
	n.Process = process.Start(t, "millrace", cmd)
	n.AwaitPort(t, n.Addr, 30*time.Second)
	return disk
}

// restart starts the node on a disk that works, until it leads every partition.
func (n *disks) restart(t *testing.T) {
	t.Helper()
	n.Restart(t)
	said(t, n.Process, "serving")
	for p, leader := range n.leaders(t) {
		if leader != 1 {
			t.Errorf("the node serves again and the leader of %s-%d is %d", diskTopic, p, leader)
		}
	}
}

// create creates the topic, and finds out where its partitions are.
func (n *disks) create(t *testing.T, partitions int32) {
	t.Helper()
	if err := create(n.dial(t), diskTopic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		n.writers = append(n.writers, newWriter(p+1, &ledger{topic: diskTopic, partition: p, last: map[int32]int32{}, idempotent: map[int32]bool{}}, record.CodecNone, true, 1))
	}
	eventually(t, "every partition is in a directory", func() bool {
		n.in = map[int32]string{}
		for _, dir := range n.describe(t) {
			for _, topic := range dir.Topics {
				for _, p := range topic.Partitions {
					n.in[p.PartitionIndex] = dir.LogDir
				}
			}
		}
		return len(n.in) == int(partitions)
	})
	for _, dir := range n.dirs {
		if len(n.inDir(dir)) == 0 {
			t.Fatalf("no partition is in %s: %v", dir, n.in)
		}
	}
}

// inDir returns the writers to the partitions of a directory.
func (n *disks) inDir(dir string) (in []*writer) {
	for _, w := range n.writers {
		if n.in[w.to.partition] == dir {
			in = append(in, w)
		}
	}
	return in
}

func (n *disks) dial(t *testing.T) *socket.Conn {
	t.Helper()
	c, err := socket.Dial(n.Addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (n *disks) describe(t *testing.T) []wire.DescribeLogDirsResponseResults {
	t.Helper()
	response := wire.NewDescribeLogDirsResponse()
	if err := n.dial(t).Call(wire.NewDescribeLogDirsRequest(), response, 4, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	return response.Results
}

// leaders returns the leader of each partition, as clients are told.
func (n *disks) leaders(t *testing.T) map[int32]int32 {
	t.Helper()
	name := diskTopic
	request, response := wire.NewMetadataRequest(), wire.NewMetadataResponse()
	request.Topics = []wire.MetadataRequestTopics{{Name: &name}}
	if err := n.dial(t).Call(request, response, 12, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	leaders := map[int32]int32{}
	for _, p := range response.Topics[0].Partitions {
		if leaders[p.PartitionIndex] = p.LeaderID; p.LeaderID < 0 && (p.ErrorCode != kafka.LeaderNotAvailable || !slices.Equal(p.OfflineReplicas, []int32{1})) {
			t.Errorf("partition %d has no leader: %v, offline replicas %v", p.PartitionIndex, p.ErrorCode, p.OfflineReplicas)
		}
	}
	return leaders
}

// write has each of these writers be acknowledged so many batches more.
func (n *disks) write(t *testing.T, writers []*writer, batches int) {
	t.Helper()
	var all sync.WaitGroup
	for _, w := range writers {
		all.Go(func() {
			acked := w.acked
			if err := w.write(n.Addr, batches); err != nil {
				t.Error(err)
			} else if w.acked < acked+batches {
				t.Errorf("writer %d: %d records of %d batches are acknowledged, and then the connection ended", w.id, w.acked-acked, batches)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.Fatalf("last output of the node:\n%s", n.Output())
	}
}

// verify holds the partitions of these writers, whole, against what was acknowledged.
func (n *disks) verify(t *testing.T, writers []*writer) {
	t.Helper()
	c := n.dial(t)
	for _, w := range writers {
		if err := w.to.verify(c, true); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Fatalf("last output of the node:\n%s", n.Output())
	}
}

// readiness returns what /readyz says.
func (n *disks) readiness(t *testing.T) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + n.http + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// eventually waits for what only asking tells.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// refusedWith returns the code that a writer was refused with.
func refusedWith(err error) kafka.ErrorCode {
	var refused refusal
	if !errors.As(err, &refused) {
		return kafka.None
	}
	return kafka.CodeOf(refused.error)
}

// TestADirectoryFails: a device that begins to fail under load takes the partitions in its directory offline, and no others,
// and says so in every place where people look. Once it is repaired they are back, with all that was acknowledged.
func TestADirectoryFails(t *testing.T) {
	for _, end := range []struct {
		name string
		how  func(t *testing.T, n *disks)
	}{
		{"then the node is stopped", func(t *testing.T, n *disks) {
			if err := n.Stop(t, 20*time.Second); err != nil {
				t.Errorf("stop: %v\n%s", err, n.Output())
			}
		}},
		{"then the node is killed", func(_ *testing.T, n *disks) { n.Kill() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			n := newDisks(t)
			disk := n.startOn(t)
			n.create(t, 6)
			lost := n.inDir(n.dirs[1])
			var kept []*writer
			for _, w := range n.writers {
				if !slices.Contains(lost, w) {
					kept = append(kept, w)
				}
			}

			// All write until the partitions of the directory are refused, and the others are to go on over that.
			var losing, keeping sync.WaitGroup
			var over atomic.Bool
			var before sync.WaitGroup
			before.Add(len(n.writers))
			for _, w := range kept {
				keeping.Go(func() {
					for first := true; first || !over.Load(); first = false {
						if err := w.write(n.Addr, 5); err != nil {
							t.Errorf("a directory failed that this is not in: %v", err)
							over.Store(true)
						}
						if first {
							before.Done()
						}
					}
				})
			}
			for _, w := range lost {
				losing.Go(func() {
					err := w.write(n.Addr, 5)
					before.Done()
					for err == nil && !n.Exited() {
						err = w.write(n.Addr, 5)
					}
					if code := refusedWith(err); code != kafka.KafkaStorageError {
						t.Errorf("a partition in the directory that failed: %v, want KAFKA_STORAGE_ERROR", err)
					}
				})
			}
			before.Wait()
			disk.Fail(n.dirs[1])
			losing.Wait()
			over.Store(true)
			keeping.Wait()
			n.write(t, kept, 20)

			said(t, n.Process, "log directory failed and is offline")
			eventually(t, "the partitions in it have no leader, the others have", func() bool {
				leaders := n.leaders(t)
				for p, dir := range n.in {
					if want := map[bool]int32{true: -1, false: 1}[dir == n.dirs[1]]; leaders[p] != want {
						return false
					}
				}
				return true
			})
			for _, dir := range n.describe(t) {
				want := kafka.None
				if dir.LogDir == n.dirs[1] {
					want = kafka.KafkaStorageError
				}
				if dir.ErrorCode != want || want != kafka.None && len(dir.Topics) > 0 {
					t.Errorf("DescribeLogDirs: %s is %v with %d topics, want %v", dir.LogDir, dir.ErrorCode, len(dir.Topics), want)
				}
			}
			n.verify(t, kept)
			for _, w := range lost {
				if code := refusedWith(w.write(n.Addr, 1)); code != kafka.KafkaStorageError {
					t.Errorf("a write to %s-%d once nobody leads it: %v", w.to.topic, w.to.partition, code)
				}
				if _, _, err := w.to.fetch(n.dial(t), 0); kafka.CodeOf(err) != kafka.KafkaStorageError {
					t.Errorf("a fetch from %s-%d once nobody leads it: %v", w.to.topic, w.to.partition, err)
				}
			}

			end.how(t, n)
			n.restart(t) // repaired
			for _, dir := range n.describe(t) {
				if dir.ErrorCode != kafka.None {
					t.Errorf("DescribeLogDirs after the repair: %s is %v", dir.LogDir, dir.ErrorCode)
				}
			}
			n.verify(t, n.writers)
			n.write(t, n.writers, 20) // what was refused before is sent again, under the same numbers
			n.verify(t, n.writers)
		})
	}
}

// TestAStalledSync: while a sync hangs the node says so, acknowledges nothing that waits for it and shows it to nobody, and
// serves the other directories. When it returns all goes on, and when the node is killed before that, nothing that was
// acknowledged is lost.
func TestAStalledSync(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed meanwhile: %v", killed), func(t *testing.T) {
			n := newDisks(t)
			disk := n.startOn(t)
			n.create(t, 6)
			n.write(t, n.writers, 20)
			said(t, n.Process, "serving")
			if code, text := n.readiness(t); code != http.StatusOK {
				t.Fatalf("/readyz: %d %s", code, text)
			}

			met := disk.Stall(n.dirs[1])
			hung := n.inDir(n.dirs[1])
			waits := make(chan error, len(hung))
			for _, w := range hung {
				w.timeout = time.Second
				go func() { waits <- w.write(n.Addr, 1) }()
			}
			select {
			case <-met:
			case <-time.After(time.Minute):
				t.Fatal("records are written, and no sync was asked for within a minute")
			}
			said(t, n.Process, "a sync of the disk hangs")
			eventually(t, "/readyz says so", func() bool {
				code, text := n.readiness(t)
				return code == http.StatusServiceUnavailable && strings.Contains(text, "the disk of "+n.dirs[1]+" does not answer")
			})
			for range hung {
				if err := <-waits; refusedWith(err) != kafka.RequestTimedOut {
					t.Errorf("a write while the sync hangs: %v, want REQUEST_TIMED_OUT", err)
				}
			}
			n.write(t, slices.Concat(n.inDir(n.dirs[0]), n.inDir(n.dirs[2])), 20)
			for _, w := range hung {
				if _, high, err := w.to.fetch(n.dial(t), 0); err != nil || high != w.to.acked {
					t.Errorf("%s-%d is shown up to %d, %v; acknowledged are %d records", w.to.topic, w.to.partition, high, err, w.to.acked)
				}
				w.timeout = 30 * time.Second
			}
			n.verify(t, n.writers)

			if killed {
				n.Kill()
				n.restart(t)
			} else {
				if err := disk.Resume(); err != nil {
					t.Fatal(err)
				}
				said(t, n.Process, "the sync that hung has returned")
				eventually(t, "/readyz says so", func() bool { code, _ := n.readiness(t); return code == http.StatusOK })
			}
			n.write(t, n.writers, 20)
			n.verify(t, n.writers)
			if killed {
				return
			}
			n.Kill()
			n.restart(t)
			n.verify(t, n.writers)
		})
	}
}

// TestTheDirectoryOfTheMetadataFails: without its metadata log a node cannot go on, and ends with a word about it.
func TestTheDirectoryOfTheMetadataFails(t *testing.T) {
	n := newDisks(t)
	disk := n.startOn(t)
	n.create(t, 6)
	n.write(t, n.writers, 20)
	disk.Fail(n.dirs[0])
	if err := create(n.dial(t), "refused", 1, nil); err == nil {
		t.Error("a topic was created, and the metadata log cannot be written")
	}
	var how *exec.ExitError
	if err := n.Await(t, time.Minute); !errors.As(err, &how) || how.ExitCode() != 1 {
		t.Errorf("the node ended with %v, want code 1\n%s", err, n.Output())
	}
	if !strings.Contains(n.Output(), "input/output error") || !strings.Contains(n.Output(), n.dirs[0]) {
		t.Errorf("it does not say why:\n%s", n.Output())
	}
	n.restart(t)
	n.write(t, n.writers, 20)
	n.verify(t, n.writers)
}
