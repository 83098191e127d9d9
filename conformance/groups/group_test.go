package groups

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/conformance/clients"
	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
)

// patience bounds how long anything may take to happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[2] == "member" {
		runMember(append(os.Args[1:2], os.Args[3:]...))
		return
	}
	os.Exit(m.Run())
}

// settings make members' deaths and changes of consumer groups quick to see.
var settings = map[string]string{"group.min.session.timeout.ms": "1000", "group.consumer.session.timeout.ms": "4000", "group.consumer.min.session.timeout.ms": "1000",
	"group.consumer.heartbeat.interval.ms": "300", "group.consumer.min.heartbeat.interval.ms": "100", "group.consumer.assignment.interval.ms": "0", "group.consumer.min.assignment.interval.ms": "0",
	"offsets.topic.num.partitions": "5"}

// broker is what the members talk to.
type broker interface {
	Kill()
	Restart(testing.TB)
	Signal(os.Signal) error
	Stop(t testing.TB, within time.Duration) error
}

func againstKafka() bool { return os.Getenv("GROUP_SERVER") == "kafka" }

// startBroker starts Millrace, or Apache Kafka when GROUP_SERVER says so.
func startBroker(t *testing.T, settings map[string]string) (b broker, addr string) {
	if againstKafka() {
		k := oracle.Start(t, settings)
		return k, k.Addr
	}
	n := node.Start(t, settings)
	return n, n.Addr
}

// server starts what the members talk to and returns its address.
func server(t *testing.T) string {
	_, addr := startBroker(t, settings)
	return addr
}

// topic is a topic and a client for it.
type topic struct {
	addr   string
	name   string
	client *kgo.Client
	admin  *kadm.Client
	ends   []int64 // how many records each partition has
}

func newTopic(t *testing.T, addr, name string, partitions int) *topic {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	top := &topic{addr: addr, name: name, client: client, admin: kadm.NewClient(client), ends: make([]int64, partitions)}
	created, err := top.admin.CreateTopics(t.Context(), int32(partitions), 1, nil, name)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// write writes so many records to each partition.
func (top *topic) write(t *testing.T, n int) {
	t.Helper()
	var records []*kgo.Record
	for p := range top.ends {
		for i := range n {
			records = append(records, &kgo.Record{Topic: top.name, Partition: int32(p), Value: fmt.Appendf(nil, "%d", top.ends[p]+int64(i))})
		}
		top.ends[p] += int64(n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := top.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// group is a group on a topic, and its history.
type group struct {
	*topic
	id   string
	spec spec // what its members are if they are told nothing else
	// patience bounds how long anything may take to happen to it.
	patience time.Duration

	mu      sync.Mutex
	history history
	running map[string]*running
	failed  error         // of the first member that ended and should not have
	changed chan struct{} // closed and made anew with each event
}

type running struct {
	cmd    *exec.Cmd
	in     io.Closer
	errOut bytes.Buffer
	ending bool // somebody ended it
	done   chan struct{}
	err    error
}

func newGroup(t *testing.T, top *topic, id string, with spec) *group {
	g := &group{topic: top, id: id, spec: with, patience: patience, running: map[string]*running{}, changed: make(chan struct{})}
	g.spec.addr, g.spec.group, g.spec.topic = top.addr, id, top.name
	if g.spec.protocol == "" {
		g.spec.protocol = "classic"
	}
	if g.spec.session == 0 {
		g.spec.session = 6 * time.Second
	}
	g.spec.heartbeat = 300 * time.Millisecond
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("group %s:\n%s", id, g.tail())
		}
	})
	return g
}

// tail renders the end of the history, without the records that were read.
func (g *group) tail() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var lines []string
	for _, e := range g.history {
		if e.kind != "read" && e.kind != "committed" {
			lines = append(lines, fmt.Sprintf("%s %s %s %v %s", time.Unix(0, e.time).UTC().Format("05.000"), e.member, e.kind, e.partitions, e.text))
		}
	}
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// join starts members, each named after its library and what tells it from others, as "franz-go/2".
func (g *group) join(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		g.joinAs(t, name, g.spec)
	}
}

func (g *group) joinAs(t *testing.T, name string, s spec) {
	t.Helper()
	library, _, _ := strings.Cut(name, "/")
	var line []string
	if libraries[library] != nil {
		line = append([]string{os.Args[0], library}, s.words()...)
	} else {
		line = clients.Command(t, library, s.words()...)
	}
	g.start(t, name, line, parseEvent)
}

// start starts a member whose lines parse reads. What is no line of a member, parse passes over with an event of no kind.
func (g *group) start(t *testing.T, name string, line []string, parse func(member, line string) (event, error)) {
	t.Helper()
	r := &running{cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{})}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.Stderr = &r.errOut
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in = in
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.running[name] = r
	g.mu.Unlock()
	go func() {
		defer close(r.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			e, err := parse(name, lines.Text())
			if err != nil {
				r.err = err
				r.cmd.Process.Kill()
				break
			}
			if e.kind != "" {
				g.add(e)
			}
		}
		if err := r.cmd.Wait(); r.err == nil {
			r.err = err
		}
		g.ended(name, r)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.done
		if t.Failed() && r.errOut.Len() > 0 {
			t.Logf("%s: %s", name, r.errOut.String())
		}
	})
}

// ended notes that a member's process is gone.
func (g *group) ended(name string, r *running) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !r.ending && g.failed == nil {
		g.failed = fmt.Errorf("%s ended: %v", name, r.err)
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// end is the one way to a member's process that somebody ends on purpose.
func (g *group) end(name string) *running {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[name].ending = true
	return g.running[name]
}

// add puts an event where it belongs: the lines of several members do not come in the order of their times.
func (g *group) add(e event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := len(g.history)
	for at > 0 && g.history[at-1].time > e.time {
		at--
	}
	g.history = slices.Insert(g.history, at, e)
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits until the history is as wanted.
func (g *group) await(t *testing.T, what string, wanted func(history) bool) {
	t.Helper()
	deadline := time.After(g.patience)
	for {
		g.mu.Lock()
		ok, changed, owned, failed := wanted(g.history), g.changed, g.history.owned(), g.failed
		g.mu.Unlock()
		if failed != nil {
			t.Fatalf("%s: %v", g.id, failed)
		}
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: %s did not happen in %v; the members have %v", g.id, what, g.patience, owned)
		}
	}
}

// shared waits until the members have all partitions between them, none fewer than least.
func (g *group) shared(t *testing.T, least int, members ...string) {
	t.Helper()
	g.await(t, fmt.Sprintf("%v with at least %d partitions each", members, least), func(h history) bool {
		owned := h.owned()
		n := 0
		for _, m := range members {
			if len(owned[m]) < least {
				return false
			}
			n += len(owned[m])
		}
		return n == len(g.ends)
	})
}

// readAll waits until each record was read.
func (g *group) readAll(t *testing.T) {
	t.Helper()
	g.await(t, "the reading of all records", func(h history) bool {
		for p, end := range g.ends {
			if h.unread(p, end) > 0 {
				return false
			}
		}
		return true
	})
}

// leave lets members leave, and wants them to end well.
func (g *group) leave(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		g.end(name).in.Close()
	}
	for _, name := range names {
		r := g.running[name]
		select {
		case <-r.done:
			if r.err != nil {
				t.Errorf("%s ended badly: %v", name, r.err)
			}
		case <-time.After(g.patience):
			t.Fatalf("%s did not leave within %v", name, g.patience)
		}
	}
}

// kill ends a member as a crash does.
func (g *group) kill(t *testing.T, name string) {
	t.Helper()
	r := g.end(name)
	r.cmd.Process.Kill()
	<-r.done
	g.add(event{time: time.Now().UnixNano(), member: name, kind: "died"})
}

// hang stops a member, and resume lets it go on.
func (g *group) hang(name string) {
	g.running[name].cmd.Process.Signal(syscall.SIGSTOP)
	g.add(event{time: time.Now().UnixNano(), member: name, kind: "hung"})
}

func (g *group) resume(name string) { g.running[name].cmd.Process.Signal(syscall.SIGCONT) }

// acknowledged is the highest offset of each partition whose commit was acknowledged.
func (g *group) acknowledged() map[int]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	acknowledged := map[int]int64{}
	for _, e := range g.history {
		if e.kind == "committed" {
			acknowledged[e.partitions[0]] = max(acknowledged[e.partitions[0]], e.offset)
		}
	}
	return acknowledged
}

// check wants nothing to be wrong with the history.
func (g *group) check(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.history.wrong() {
		t.Errorf("%s: %s", g.id, w)
	}
}

// finish reads to the end, lets all leave, and wants that all was read, nothing is wrong, and all is committed.
func (g *group) finish(t *testing.T, members ...string) {
	t.Helper()
	g.readAll(t)
	g.committed(t)
	g.leave(t, members...)
	g.check(t)
}

// committed waits until the coordinator has the ends of all partitions as the group's offsets.
func (g *group) committed(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(g.patience)
	for {
		offsets, err := g.admin.FetchOffsets(t.Context(), g.id)
		var behind []string
		for p, end := range g.ends {
			if o, _ := offsets.Lookup(g.name, int32(p)); o.At != end {
				behind = append(behind, fmt.Sprintf("partition %d is at %d of %d", p, o.At, end))
			}
		}
		if err == nil && len(behind) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not committed within %v: %v %v", g.id, g.patience, behind, err)
		}
		<-time.After(20 * time.Millisecond) // offsets have no event to wait for
	}
}
