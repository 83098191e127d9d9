package history_test

import (
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
