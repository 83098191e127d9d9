package cli_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedBuffer collects what a command prints while it runs and tells who waits for it.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	wrote  chan struct{}
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.wrote <- struct{}{}:
	default:
	}
	return b.buffer.Write(p)
}

// await returns when the text has been printed.
func (b *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		b.mu.Lock()
		got := b.buffer.String()
		b.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-b.wrote:
		case <-deadline:
			t.Fatalf("%q was not printed, but %q", text, got)
		}
	}
}
