package api

import "sync"

// gather asks for each of several things, which are answered in any order and on any goroutine, each once, and calls done
// with the answers in the order of the things when all are there.
func gather[T, A any](things []T, ask func(thing T, answer func(A)), done func([]A)) {
	answers := make([]A, len(things))
	var mu sync.Mutex
	waits := len(things) + 1 // one for the asking itself
	arrived := func() {
		mu.Lock()
		waits--
		last := waits == 0
		mu.Unlock()
		if last {
			done(answers)
		}
	}
	for i, thing := range things {
		ask(thing, func(a A) {
			answers[i] = a
			arrived()
		})
	}
	arrived()
}
