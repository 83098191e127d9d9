package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server"
)

// spoken is what a node writes in its log.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *spoken) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(line)
}

// times is how often something was said.
func (s *spoken) times(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), what)
}

// inBubble starts a node that is reached by Dial alone; the caller is in a bubble, where hours pass in no time.
func inBubble(t *testing.T, properties ...string) (*server.Server, *spoken) {
	t.Helper()
	cfg, err := server.NewConfig(config.PropertiesOf(append([]string{
		"process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:0", "log.dirs", "/data",
		"memory.budget.bytes", "67108864", "log.scrub.bytes.per.second", "0", "log.reserve.bytes", "0",
	}, properties...)...))
	if err != nil {
		t.Fatal(err)
	}
	said := &spoken{}
	s, err := server.New(cfg, server.WithDisk(server.NewMemoryDisk()), server.AutoFormat(), server.WithoutSockets(), server.WithLogger(slog.New(slog.NewTextHandler(said, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, said
}

// speaker is a client's connection.
type speaker struct {
	t    *testing.T
	conn net.Conn
	name string
}

func speak(t *testing.T, s *server.Server, name string) *speaker {
	t.Helper()
	conn, err := s.Dial(t.Context(), "PLAINTEXT")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &speaker{t, conn, name}
}

// ask sends a request and reads its answer.
func (s *speaker) ask(request, response wire.Message, version int16) {
	s.t.Helper()
	key := wire.APIKey(request.Info().Type)
	frame := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: key, Version: version, ClientID: s.name})
	frame = request.AppendTo(frame, version)
	wire.EndFrame(frame, 0)
	if _, err := s.conn.Write(frame); err != nil {
		s.t.Fatal(err)
	}
	var head [wire.FrameHead]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		s.t.Fatal(err)
	}
	frame = make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(s.conn, frame); err != nil {
		s.t.Fatal(err)
	}
	_, body, err := wire.ParseResponseHeader(frame, key, version)
	if err == nil {
		err = wire.Decode(response, version, body)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// A broker keeps so many fetch sessions (KIP-227). Who finds no place is answered without one; a place becomes free when a
// session was not used for two minutes, and one that is older than that goes for one of more partitions.
func TestFetchSessionsTakeTurns(t *testing.T) {
	for name, slots := range map[string]int{"by default": 1000, "as set": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var set []string
				if slots != 1000 {
					set = []string{"max.incremental.fetch.session.cache.slots", "3"}
				}
				s, _ := inBubble(t, set...)
				client := speak(t, s, "reader")
				topic := wire.NewCreateTopicsRequest()
				one := wire.CreateTopicsRequestTopics{}
				one.Name, one.NumPartitions, one.ReplicationFactor = "t", 9, 1
				topic.Topics, topic.TimeoutMs = []wire.CreateTopicsRequestTopics{one}, 30_000
				made := wire.NewCreateTopicsResponse()
				if client.ask(topic, made, 7); made.Topics[0].ErrorCode != kafka.None {
					t.Fatal(made.Topics[0].ErrorCode)
				}
				fetch := func(id, epoch int32, partitions int) (int32, kafka.ErrorCode) {
					t.Helper()
					request, response := wire.NewFetchRequest(), wire.NewFetchResponse()
					request.SessionID, request.SessionEpoch, request.MaxBytes = id, epoch, 1<<20
					asked := wire.FetchRequestTopics{Topic: "t"}
					for p := range partitions {
						at := wire.NewFetchRequestPartitions()
						at.Partition, at.PartitionMaxBytes = int32(p), 1<<20
						asked.Partitions = append(asked.Partitions, at)
					}
					if partitions > 0 {
						request.Topics = []wire.FetchRequestTopics{asked}
					}
					client.ask(request, response, 12)
					return response.SessionID, response.ErrorCode
				}
				begin := func(what string, partitions int, granted bool) int32 {
					t.Helper()
					id, code := fetch(0, 0, partitions)
					if code != kafka.None || id != 0 != granted {
						t.Errorf("%s: session %d, %v", what, id, code)
					}
					return id
				}
				use := func(what string, id, epoch int32, want kafka.ErrorCode) {
					t.Helper()
					if _, code := fetch(id, epoch, 0); code != want {
						t.Errorf("%s: %v, want %v", what, code, want)
					}
				}
				sessions := make([]int32, slots)
				for i := range sessions {
					sessions[i] = begin("while there is room", 2, true)
					time.Sleep(time.Millisecond)
				}
				begin("no room, for however many", 9, false)
				time.Sleep(time.Minute)
				for _, id := range sessions[1:] {
					use("a minute later", id, 1, kafka.None)
				}
				begin("still no room", 9, false)
				time.Sleep(time.Minute + time.Second)
				use("an epoch that is over", sessions[1], 1, kafka.InvalidFetchSessionEpoch)
				use("an epoch to come", sessions[1], 7, kafka.InvalidFetchSessionEpoch)
				use("the epoch that it is in", sessions[1], 2, kafka.None)
				begin("one was not used for two minutes", 1, true)
				use("that one", sessions[0], 1, kafka.FetchSessionIDNotFound)
				begin("the others are used, and worth more", 1, false)
				large := begin("or worth less", 3, true)
				gone := 0
				for i, id := range sessions[1:] {
					epoch := int32(2)
					if i == 0 {
						epoch = 3
					}
					if _, code := fetch(id, epoch, 0); code == kafka.FetchSessionIDNotFound {
						gone++
					}
				}
				if gone != 1 {
					t.Errorf("%d sessions went for a larger one", gone)
				}
				use("the larger one", large, 1, kafka.None)
				if id, code := fetch(large, -1, 1); id != 0 || code != kafka.None {
					t.Errorf("a last fetch: session %d, %v", id, code)
				}
				use("closed by its client", large, 2, kafka.FetchSessionIDNotFound)
				begin("in its place", 1, true)
			})
		})
	}
}

// Clients that ask for metadata again and again, and never come to the address that they are told, are spoken of: once, and
// only they.
func TestAClientThatCannotComeIsSpokenOf(t *testing.T) {
	const notice = "a client asks for metadata again and again"
	synctest.Test(t, func(t *testing.T) {
		s, said := inBubble(t, "advertised.listeners", "PLAINTEXT://203.0.113.9:9092")
		metadata := func(c *speaker) {
			t.Helper()
			response := wire.NewMetadataResponse()
			if c.ask(wire.NewMetadataRequest(), response, 12); len(response.Brokers) != 1 || response.Brokers[0].Host != "203.0.113.9" {
				t.Fatalf("told %+v", response.Brokers)
			}
		}
		lost, found, once := speak(t, s, "lost"), speak(t, s, "found"), speak(t, s, "once")
		metadata(once)
		metadata(found)
		speak(t, s, "found").ask(wire.NewListGroupsRequest(), wire.NewListGroupsResponse(), 4) // it came, by whichever way
		for range 10 {
			metadata(lost)
			metadata(found)
			if n := said.times(notice); n != 0 {
				t.Fatalf("said %d times, too soon", n)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(10 * time.Second)
		for range 5 {
			metadata(lost)
			metadata(found)
			metadata(speak(t, s, "lost")) // the same client on another connection
			time.Sleep(10 * time.Second)
		}
		if n, which := said.times(notice), said.times(`"client id"=lost told=203.0.113.9:9092`); n != 1 || which != 1 {
			t.Errorf("said %d times, %d times of the client that cannot come", n, which)
		}
	})
}
