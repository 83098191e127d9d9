package groups

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// spec says what a member is.
type spec struct {
	addr               string
	group, topic       string
	protocol, assignor string
	session, heartbeat time.Duration
	instance           string
	workers            int
}

// words are the spec as a driver's arguments.
func (s spec) words() []string {
	return []string{"member", s.addr, "group=" + s.group, "topic=" + s.topic, "protocol=" + s.protocol, "assignor=" + s.assignor,
		fmt.Sprint("session=", s.session.Milliseconds()), fmt.Sprint("heartbeat=", s.heartbeat.Milliseconds()), "instance=" + s.instance, fmt.Sprint("workers=", s.workers)}
}

// parseSpec reads what follows DRIVER member.
func parseSpec(words []string) (spec, error) {
	s := spec{addr: words[0]}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		var number int
		var err error
		switch name {
		case "group":
			s.group = value
		case "topic":
			s.topic = value
		case "protocol":
			s.protocol = value
		case "assignor":
			s.assignor = value
		case "instance":
			s.instance = value
		case "session", "heartbeat", "workers":
			number, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("no such setting")
		}
		if err != nil {
			return spec{}, fmt.Errorf("%s: %w", w, err)
		}
		switch name {
		case "session":
			s.session = time.Duration(number) * time.Millisecond
		case "heartbeat":
			s.heartbeat = time.Duration(number) * time.Millisecond
		case "workers":
			s.workers = number
		}
	}
	return s, nil
}

// message is where a record is; what is in it is the affair of conformance/clients.
type message struct {
	partition int32
	offset    int64
}

// consumer is a library's member of a group. It calls the teller when its assignment changes, before it tells the
// coordinator that it gave something up.
type consumer interface {
	// poll returns records of the partitions that it has, after so long none. Until the next poll they stay its own.
	poll(wait time.Duration) ([]message, error)
	// commit commits the offsets to go on from. Unless it is sure, sure is false.
	commit(next map[int32]int64) (sure bool, err error)
	// close leaves the group.
	close() error
}

var libraries = map[string]func(s spec, t *teller) (consumer, error){
	"franz-go": newFranz, "sarama": newSarama, "kafka-go": newSegmentio, "confluent-kafka-go": newConfluent,
}

// teller writes a member's lines, and knows what may be committed: of each partition the records up to the first that
// is not processed.
type teller struct {
	mu      sync.Mutex
	out     io.Writer
	batches map[int32]*processed
}

type processed struct {
	next, committed int64
	done            map[int64]bool // above next
}

func (t *teller) tell(kind string, words ...any) {
	fmt.Fprintf(t.out, "%d %s %s", time.Now().UnixNano(), kind, fmt.Sprintln(words...))
}

func (t *teller) moved(kind string, partitions []int32, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []any
	for _, p := range partitions {
		words = append(words, p)
		delete(t.batches, p)
	}
	t.tell(kind, append(words, more...)...)
}

func (t *teller) assigned(partitions []int32) { t.moved("assigned", partitions) }
func (t *teller) revoked(partitions []int32)  { t.moved("revoked", partitions) }
func (t *teller) lost(partitions []int32)     { t.moved("lost", partitions) }

// assignedIn is assigned, by a library that says in which generation or epoch.
func (t *teller) assignedIn(generation int32, partitions []int32) {
	t.moved("assigned", partitions, fmt.Sprint("@", generation))
}

// begin notes that a record will be processed.
func (t *teller) begin(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.batches[m.partition] == nil {
		t.batches[m.partition] = &processed{next: m.offset, committed: m.offset, done: map[int64]bool{}}
	}
}

// end notes that it was.
func (t *teller) end(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell("read", m.partition, m.offset)
	b := t.batches[m.partition]
	if b == nil || m.offset < b.next {
		return // begun under an earlier assignment
	}
	for b.done[m.offset] = true; b.done[b.next]; b.next++ {
		delete(b.done, b.next)
	}
}

// ripe returns what may be committed.
func (t *teller) ripe() map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[int32]int64{}
	for p, b := range t.batches {
		if b.next > b.committed {
			next[p] = b.next
		}
	}
	return next
}

func (t *teller) committed(next map[int32]int64, sure bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, offset := range next {
		if b := t.batches[p]; b != nil {
			b.committed = max(b.committed, offset)
		}
		if sure {
			t.tell("committed", p, offset)
		}
	}
}

// work is what a worker does with a record: more for some than for others, so that several end in another order.
func work(m message) {
	sum := sha256.Sum256(nil)
	for range m.offset % 7 * 500 {
		sum = sha256.Sum256(sum[:])
	}
}

// member runs a member until its input ends.
func member(library string, s spec, in io.Reader, out io.Writer) error {
	t := &teller{out: out, batches: map[int32]*processed{}}
	c, err := libraries[library](s, t)
	if err != nil {
		return err
	}
	leave := make(chan struct{})
	go func() {
		bufio.NewReader(in).ReadString('\n')
		close(leave)
	}()
	jobs := make(chan message)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(jobs)
	for range s.workers {
		workers.Go(func() {
			for m := range jobs {
				work(m)
				t.end(m)
			}
		})
	}
	for begun := 0; ; {
		select {
		case <-leave:
			return c.close()
		default:
		}
		messages, err := c.poll(100 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, m := range messages {
			t.begin(m)
			if s.workers > 0 {
				jobs <- m
			} else {
				t.end(m)
			}
		}
		if begun += len(messages); begun < 10 && len(messages) > 0 {
			continue // and commits every ten, and when nothing comes
		}
		begun = 0
		if next := t.ripe(); len(next) > 0 {
			if sure, err := c.commit(next); err != nil {
				t.mu.Lock()
				t.tell("refused", strings.ReplaceAll(err.Error(), "\n", " "))
				t.mu.Unlock()
			} else {
				t.committed(next, sure)
			}
		}
	}
}

// runMember is the main function of this test binary when it is a member.
func runMember(args []string) {
	s, err := parseSpec(args[1:])
	if err == nil {
		err = member(args[0], s, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
