package history_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

func TestARingKeepsTheLastEvents(t *testing.T) {
	var r history.Ring
	for i := range int32(3*history.Size + 5) {
		r.Add(history.Event{Kind: history.Assigned, Epoch: i})
		events := r.Events()
		if want := min(int(i)+1, history.Size); len(events) != want {
			t.Fatalf("%d events after %d", len(events), i+1)
		}
		for n, e := range events {
			if want := i - int32(len(events)-1-n); e.Epoch != want {
				t.Fatalf("event %d after %d is %d, want %d", n, i, e.Epoch, want)
			}
		}
	}
}

// TestARingKeepsAllOfAnEvent compares a ring with a list of its last events.
func TestARingKeepsAllOfAnEvent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { return strings.Repeat("ö", random.IntN(3)*random.IntN(100)) }
	duration := func() time.Duration { return time.Duration(random.Uint64() >> (random.IntN(64))) }
	for range 200 {
		var r history.Ring
		var twin []history.Event
		members := []*history.Member{nil}
		for range 10 {
			members = append(members, &history.Member{ID: text(), Instance: text(), ClientID: text(), Host: text()})
		}
		for range random.IntN(200) {
			e := history.Event{
				Kind: history.TopicsChanged + history.Kind(random.IntN(8)), Cause: history.Kind(random.IntN(20)), Epoch: random.Int32() - random.Int32(), Members: random.Int32N(1000),
				At: time.Unix(0, random.Int64()), Took: duration(), Whole: duration(), Waited: duration(), Member: members[random.IntN(len(members))], By: text(),
			}
			if random.IntN(5) == 0 { // a new one in the place of another
				members[1+random.IntN(10)] = &history.Member{ID: text(), Host: "h"}
			}
			if e.Kind == history.Began { // it has a reason, and nothing by which it was done
				e.By, e.Reason = "", text()
			}
			r.Add(e)
			twin = append(twin, e)
			twin = twin[max(0, len(twin)-history.Size):]
			if events := r.Events(); !reflect.DeepEqual(events, twin) {
				t.Fatalf("it has\n%+v, want\n%+v", events, twin)
			}
		}
	}
}

func TestManyWhoDoTheSameAreCounted(t *testing.T) {
	var r history.Ring
	at := time.Unix(0, 0)
	for range 1000 {
		at = at.Add(time.Millisecond)
		r.Add(history.Event{Kind: history.Left, At: at})
	}
	r.Add(history.Event{Kind: history.Joined, At: at})
	events := r.Events()
	if len(events) != 5 {
		t.Fatalf("%d events", len(events))
	}
	if last := events[3]; last.Members != 996 || last.Waited != 996*time.Millisecond {
		t.Errorf("%+v", last)
	}
}

func TestReason(t *testing.T) {
	long := strings.Repeat("é", 200)
	for said, want := range map[string]string{"": "", "the consumer is being closed": "the consumer is being closed", long: strings.Repeat("é", 127)} {
		if got := history.Reason(&said); got != want {
			t.Errorf("of %q is remembered %q", said, got)
		}
	}
	if got := history.Reason(nil); got != "" {
		t.Errorf("of nothing is remembered %q", got)
	}
}
