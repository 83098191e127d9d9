package differential

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Runner runs sequences against the two sides and counts what happened.
type Runner struct {
	Kafka, Millrace *Side
	Known           []*Known
	Requests        int
	Sequences       int
	Codes           map[wire.APIKey]map[kafka.ErrorCode]int // that Kafka answered with
	Found           []Finding
	Log             func(format string, args ...any)
	Trace           func(format string, args ...any) // may be nil
}

// Finding is one difference that is not known, with what led to it.
type Finding struct {
	Difference
	Sequence *Sequence
	Step     string
	Request  string // as Apache Kafka got it
}

// Run runs one sequence on both sides and records how they differ.
func (r *Runner) Run(q *Sequence) error {
	r.Sequences++
	r.Kafka.begin(q.Recoded)
	r.Millrace.begin(q.Recoded)
	r.markGroups()
	defer r.Kafka.endMembers()
	defer r.Millrace.endMembers()
	for i := range q.Steps {
		step := &q.Steps[i]
		if step.Stored != nil {
			if err := step.Stored(r, q); err != nil {
				return fmt.Errorf("%s, step %d (%s): %w", q, i, step.What, err)
			}
			continue
		}
		if step.Settle != nil {
			for _, side := range []*Side{r.Kafka, r.Millrace} {
				if err := settle(side, step); err != nil {
					return fmt.Errorf("%s, step %d (%s) on %s: %w", q, i, step.What, side.Name, err)
				}
			}
			continue
		}
		kafkaAnswer, millraceAnswer := r.do(r.Kafka, q, step), r.do(r.Millrace, q, step)
		r.Requests++
		if kafkaAnswer.Response != nil {
			errorsIn(kafkaAnswer.Response, kafkaAnswer.Version, func(code kafka.ErrorCode) {
				if r.Codes[step.Key] == nil {
					r.Codes[step.Key] = make(map[kafka.ErrorCode]int)
				}
				r.Codes[step.Key][code]++
			})
		}
		if kafkaAnswer.Response != nil && slices.Contains(controllerAPIs, step.Key) {
			if err := r.awaitController(kafkaAnswer); err != nil {
				return fmt.Errorf("%s, step %d (%s): %w", q, i, step.What, err)
			}
		}
		if step.Key == wire.KeyAlterConfigs || step.Key == wire.KeyIncrementalAlterConfigs {
			for _, side := range []*Side{r.Kafka, r.Millrace} {
				if err := settle(side, &Step{Settle: caughtUp()}); err != nil {
					return fmt.Errorf("%s, step %d (%s): the broker of %s does not learn of it: %w", q, i, step.What, side.Name, err)
				}
			}
		}
		theirs, ours := r.Kafka.render(kafkaAnswer), r.Millrace.render(millraceAnswer)
		if r.Trace != nil {
			r.Trace("%d %s: %s v%d\n    %s\n  Kafka %s\n  Millrace %s", i, step.What, step.Key, step.Version, r.Kafka.shown(kafkaAnswer.Request, step.Version), line(theirs), line(ours))
		}
		for _, d := range diff(step.Key, step.Version, theirs, ours) {
			r.note(d, q, fmt.Sprintf("%d (%s)", i, step.What), r.Kafka.shown(kafkaAnswer.Request, step.Version))
		}
	}
	return nil
}

func (r *Runner) note(d Difference, q *Sequence, step, request string) {
	known := false
	for _, k := range r.Known {
		if k.matches(d) {
			k.Hits++
			known = true
		}
	}
	if !known {
		r.Found = append(r.Found, Finding{d, q, step, request})
	}
}

func (r *Runner) do(s *Side, q *Sequence, step *Step) Answer {
	message := step.Make(s)
	body := message.AppendTo(nil, step.Version)
	if step.Mangle != nil {
		body = step.Mangle(body)
	}
	version := step.Version
	if step.Future > 0 {
		version = step.Future
	}
	began, within := time.Now(), answerWithin
	if step.Mute && s == r.Kafka {
		within = 300 * time.Millisecond
	}
	var answer Answer
	if step.Take {
		answer = s.take(step.Conn, step.Key, version)
	} else {
		answer = s.send(step.Conn, step.Key, version, body, step.Silent || step.Hold, within)
	}
	answer.Request = message
	if took := time.Since(began); took > 2*time.Second {
		r.Log("%s took %v to answer %s v%d in %s (%s)", s.Name, took.Round(time.Millisecond), step.Key, version, q.again(), step.What)
	}
	if answer.Response != nil && step.After != nil {
		step.After(s, answer.Response)
	}
	return answer
}

// awaitController waits, after an answer that says so, until Apache Kafka has a controller again. There is hardly any
// request that its controller expects less than a null: an operation on a config that does not exist, or an element of
// a list that is null, meet a NullPointerException in ConfigurationControlManager. A controller that meets an
// exception answers UNKNOWN_SERVER_ERROR, resigns, and everybody hears NOT_CONTROLLER until it is elected again.
func (r *Runner) awaitController(answer Answer) error {
	resigned := false
	errorsIn(answer.Response, answer.Version, func(code kafka.ErrorCode) {
		resigned = resigned || code == kafka.UnknownServerError || code == kafka.NotController
	})
	if !resigned {
		return nil
	}
	return settle(r.Kafka, &Step{Settle: func(s *Side) (bool, error) {
		probe := createTopic("probe", 1, nil)
		probe.ValidateOnly = true
		for _, conn := range []string{controllerConn, ""} { // the broker learns of it a little later
			answer := s.send(conn, wire.KeyCreateTopics, 7, probe.AppendTo(nil, 7), false, answerWithin)
			reply, ok := answer.Response.(*wire.CreateTopicsResponse)
			if !ok || reply.Topics[0].ErrorCode != kafka.None {
				return false, answer.Err
			}
		}
		return true, nil
	}})
}

// caughtUp waits until the broker has applied what the controller has committed: a change of settings is answered when it
// is committed, and a broker that is asked at once may still show what was.
func caughtUp() func(s *Side) (bool, error) {
	committed := int64(-1)
	return func(s *Side) (bool, error) {
		if committed < 0 {
			r := wire.NewDescribeQuorumRequest()
			r.Topics = []wire.DescribeQuorumRequestTopics{{TopicName: "__cluster_metadata", Partitions: []wire.DescribeQuorumRequestPartitions{{}}}}
			reply, err := s.call(r, wire.KeyDescribeQuorum, 2)
			if err != nil {
				return false, err
			}
			one := reply.(*wire.DescribeQuorumResponse).Topics[0].Partitions[0]
			if one.ErrorCode != kafka.None {
				return false, nil // no controller is elected
			}
			committed = one.HighWatermark
		}
		ask := wire.NewApiVersionsRequest()
		ask.ClientSoftwareName, ask.ClientSoftwareVersion = "differential", "1"
		reply, err := s.call(ask, wire.KeyApiVersions, 3)
		if err != nil {
			return false, err
		}
		// The epoch of the features is the offset of the newest record that the broker has applied.
		return reply.(*wire.ApiVersionsResponse).FinalizedFeaturesEpoch >= committed-1, nil
	}
}

func settle(s *Side, step *Step) error {
	for deadline := time.Now().Add(settleFor); ; {
		done, err := step.Settle(s)
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not settled within %v", settleFor)
		}
		time.Sleep(2 * time.Millisecond) // a server's state has no event to wait for
	}
}

// compareFiles compares the log files that the two sides hold for the topics of a sequence, batch by batch.
func (r *Runner) compareFiles(q *Sequence) error {
	for _, name := range q.Topics {
		theirs, ours := r.Kafka.files(name), r.Millrace.files(name)
		names := slices.Sorted(maps.Keys(theirs))
		for file := range ours {
			if _, ok := theirs[file]; !ok {
				names = append(names, file)
			}
		}
		for _, file := range names {
			x, y := theirs[file], ours[file]
			if x != y {
				r.note(Difference{API: "files", Path: "log", Where: file, Kafka: x, Millrace: y}, q, "files of "+name, "")
			}
		}
	}
	return nil
}

// files renders the .log files of a topic: whole batches.
func (s *Side) files(topic string) map[string]string {
	out := make(map[string]string)
	logs, _ := filepath.Glob(filepath.Join(s.Dir, topic+"-*", "*.log"))
	for _, path := range logs {
		dir := filepath.Base(filepath.Dir(path))
		if tail := strings.TrimPrefix(dir, topic+"-"); strings.ContainsAny(tail, ".-_") {
			continue // being deleted, or a partition of another topic
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		raw, _ := io.ReadAll(f)
		f.Close()
		// A file may be longer than its batches: space set aside reads as zeros.
		if i := len(bytes.TrimRight(raw, "\x00")); i+61 < len(raw) {
			raw = raw[:min(len(raw), batchesEnd(raw))]
		}
		out[filepath.Join(dir, filepath.Base(path))] = s.batches(raw, s.recoded[topic])
	}
	return out
}

// batchesEnd is where the batches of a file end and the space set aside begins.
func batchesEnd(b []byte) int {
	at := 0
	for at+61 <= len(b) {
		size := int(int32(binary.BigEndian.Uint32(b[at+8:]))) + 12
		if size < 61 || at+size > len(b) {
			break
		}
		at += size
	}
	return at
}
