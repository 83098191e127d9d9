package group

import (
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// explain GROUP: what happened, with the time since the coordinator began to know.
func (w *world) explain(args []string, _ options) {
	w.c.Explain(args[0], func(e *Explanation, err error) {
		if err != nil {
			w.say("explain: %v", kafka.CodeOf(err))
			return
		}
		w.say("explain: %s %s %s, known for %v", e.Group, e.Kind, e.State, w.now.Sub(e.Since))
		for i := range e.Events {
			w.say("  %6v  %s", e.Events[i].At.Sub(time.UnixMilli(1_000_000_000)), e.Events[i].Sentence())
		}
	})
}
