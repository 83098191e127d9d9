package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
)

// slow is a controller that has requests wait until the test lets one go.
type slow struct {
	asked chan []string // the topics of a request
	let   chan struct{}
}

func (s *slow) Forward(_ context.Context, _ controller.Caller, request wire.Message, _ int16) (wire.Message, error) {
	var names []string
	for _, t := range request.(*wire.CreateTopicsRequest).Topics {
		names = append(names, t.Name)
	}
	s.asked <- names
	<-s.let
	return wire.NewCreateTopicsResponse(), nil
}

// A topic that many clients want is asked for once at a time, and a controller that does not answer is not asked without end.
func TestATopicIsAskedForOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whoever asks waits for a second
		g := newGate(t)
		g.o.BrokerConfigs = config.NewTable(BrokerKeys()...)
		s := &slow{make(chan []string, 2*creationLimit), make(chan struct{})}
		g.o.Forwarder = s
		table := New(g.o)
		want := func(names ...string) {
			t.Helper()
			request := wire.NewMetadataRequest()
			for _, name := range names {
				request.Topics = append(request.Topics, wire.MetadataRequestTopics{Name: &name})
			}
			for i, one := range describeMetadata(g.callOn(table, 9), request).(*wire.MetadataResponse).Topics {
				if *one.Name != names[i] || one.ErrorCode != kafka.UnknownTopicOrPartition {
					t.Errorf("%s: %s", *one.Name, one.ErrorCode)
				}
			}
		}
		underWay := func() (topics []string, requests int) {
			table.creating.mu.Lock()
			defer table.creating.mu.Unlock()
			for name := range table.creating.topics {
				topics = append(topics, name)
			}
			slices.Sort(topics)
			return topics, table.creating.requests
		}
		check := func(what string, wantTopics string, wantRequests int) {
			t.Helper()
			if topics, requests := underWay(); strings.Join(topics, " ") != wantTopics || requests != wantRequests {
				t.Errorf("%s: %d requests for %q, want %d for %q", what, requests, topics, wantRequests, wantTopics)
			}
		}

		want("b", "a")
		want("a")
		want("a", "c", "b")
		check("a and b are asked for once", "a b c", 2)
		for range 2 {
			if names := <-s.asked; !slices.Equal(names, []string{"b", "a"}) && !slices.Equal(names, []string{"c"}) {
				t.Errorf("asked for %q", names)
			}
		}
		for i := range 2 * creationLimit {
			want(fmt.Sprint("more-", i))
		}
		if _, requests := underWay(); requests != creationLimit {
			t.Errorf("%d requests under way, want %d", requests, creationLimit)
		}
		for range creationLimit - 2 {
			<-s.asked
		}
		close(s.let)
		for done := false; !done; { // the answers have been taken: the topics may be asked for again
			want("a")
			select {
			case names := <-s.asked:
				done = slices.Equal(names, []string{"a"})
			default:
			}
		}
	})
}
