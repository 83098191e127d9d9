package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pair connects through an in-memory listener.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := newMemoryListener(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092})
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	client, err := l.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	l.Close()
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestBytesArriveInOrderWhateverTheSizes(t *testing.T) {
	client, server := pair(t)
	const total = 8 << 20
	sent, got := sha256.New(), sha256.New()
	var wg sync.WaitGroup
	wg.Go(func() {
		dice := rand.New(rand.NewPCG(1, 2))
		for left := total; left > 0; {
			b := make([]byte, min(left, 1+dice.IntN(700<<10)))
			for i := range b {
				b[i] = byte(dice.Uint32())
			}
			sent.Write(b)
			if n, err := client.Write(b); n != len(b) || err != nil {
				t.Errorf("wrote %d of %d: %v", n, len(b), err)
				return
			}
			left -= len(b)
		}
		client.Close()
	})
	dice := rand.New(rand.NewPCG(3, 4))
	n := 0
	for {
		b := make([]byte, 1+dice.IntN(300<<10))
		k, err := server.Read(b)
		got.Write(b[:k])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if n != total || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Fatalf("%d of %d bytes, or other ones", n, total)
	}
}

func TestAWriterWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		written := 0
		go func() {
			n, _ := client.Write(make([]byte, memoryBuffer+10))
			written = n
		}()
		synctest.Wait()
		if written != 0 {
			t.Fatal("more than the buffer holds was taken")
		}
		io.ReadFull(server, make([]byte, 10))
		synctest.Wait()
		if written != memoryBuffer+10 {
			t.Fatalf("%d bytes written", written)
		}
	})
}

func TestDeadlinesEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		start := time.Now()
		server.SetReadDeadline(start.Add(time.Second))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("read: %v after %v", err, time.Since(start))
		}
		server.SetReadDeadline(time.Time{})
		client.Write([]byte("x"))
		if n, err := server.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Fatalf("after the deadline was lifted: %d, %v", n, err)
		}
		client.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := client.Write(make([]byte, memoryBuffer+1)); n != memoryBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("write: %d, %v", n, err)
		}
	})
}

func TestClosingEndsBothSides(t *testing.T) {
	client, server := pair(t)
	client.Write([]byte("last words"))
	client.Close()
	if b, err := io.ReadAll(server); string(b) != "last words" || err != nil {
		t.Fatalf("read %q, %v", b, err)
	}
	if _, err := server.Write([]byte("x")); err == nil {
		t.Fatal("a write to nobody succeeded")
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a read of a closed connection: %v", err)
	}
}

func TestDialingAClosedListenerFails(t *testing.T) {
	l := newMemoryListener(&net.TCPAddr{})
	l.Close()
	if _, err := l.Dial(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}
