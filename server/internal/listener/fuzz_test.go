package listener

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// FuzzFrames sends arbitrary bytes in pieces of arbitrary sizes, and requires that the handler sees what a reader
// sees that has all of them at once.
func FuzzFrames(f *testing.F) {
	f.Add(bytes.Join([][]byte{metadata(1, 'a'), produce(2), metadata(3, make([]byte, 300)...)}, nil), []byte{1, 7, 200})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, []byte{2})
	f.Add(append(frame(wire.KeyApiVersions, 99, 1), metadata(2)...), []byte{40})
	f.Add(frame(19999, 0, 2), []byte{})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 9}, []byte{3, 3})
	f.Fuzz(func(t *testing.T, stream, pieces []byte) {
		const limit = 1 << 12
		var want []string
		for rest := stream; ; {
			one, behind, err := wire.SplitFrame(rest, limit)
			if err != nil || one == nil {
				break
			}
			rest = behind
			var h wire.RequestHeader
			body, err := h.Parse(one)
			if err != nil {
				if h.Key == wire.KeyApiVersions && isUnsupported(err) {
					continue
				}
				break
			}
			want = append(want, seen(h, body))
		}

		for _, tcp := range []bool{true, false} {
			var got []string
			all := make(chan struct{})
			if len(want) == 0 {
				close(all)
			}
			n := prepare(t, Config{MaxRequestBytes: limit}, func(r *Request) {
				if got = append(got, seen(r.Header, r.Body)); len(got) == len(want) {
					close(all)
				}
				r.Complete(wire.Response{})
			})
			n.serve()
			var c net.Conn
			if tcp {
				c = n.dial().Conn
			} else {
				c = n.memory.dial(nil)
			}
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := new(bytes.Buffer).ReadFrom(c); timedOut(err) {
					t.Errorf("tcp %v: the listener does not go on", tcp)
				}
			}()
			rest := stream
			for i := 0; len(rest) > 0; i++ {
				k := len(rest)
				if len(pieces) > 0 {
					k = min(k, 1+int(pieces[i%len(pieces)]))
				}
				if _, err := c.Write(rest[:k]); err != nil {
					break // the listener has seen enough
				}
				rest = rest[k:]
			}
			if half, ok := c.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
				<-drained
			}
			select { // a pipe that ends has no time for what is under way
			case <-all:
			case <-drained:
			}
			c.Close()
			n.stop()
			if !slices.Equal(got, want) {
				t.Fatalf("tcp %v: the handler saw %q, want %q", tcp, got, want)
			}
		}
	})
}

func isUnsupported(err error) bool {
	_, is := err.(*wire.UnsupportedError)
	return is
}

func seen(h wire.RequestHeader, body []byte) string { return fmt.Sprintf("%+v %x", h, body) }
