package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Server is one node.
type Server struct {
	cfg *Config
	log *slog.Logger
	fs  vfs.FS
	// autoFormat formats directories that are not, rather than refuse them.
	autoFormat bool
	// noSockets has the listeners take connections of Dial alone.
	noSockets bool

	mu      sync.Mutex
	phase   phase
	loading string // what a start is at work on, in words for /readyz
	failure error
	failed  chan struct{} // closed with failure set

	clusterID string
	sockets   []*socket
	observer  *observer
	node      *node
	// closers undo what Start has done so far, in reverse.
	closers []closer
}

// phase is where a server is between New and Close.
type phase uint8

const (
	fresh phase = iota
	starting
	serving
	stopping
	stopped
)

type closer struct {
	what  string
	close func(context.Context) error
}

// Option changes how a server is made.
type Option func(*Server)

// WithLogger sets where the server logs; without it nothing is logged.
func WithLogger(log *slog.Logger) Option { return func(s *Server) { s.log = log } }

// AutoFormat lets the server format directories that are not formatted yet, with a random cluster id, where
// otherwise it refuses them with the command that does.
func AutoFormat() Option { return func(s *Server) { s.autoFormat = true } }

// WithoutSockets has the server open no socket for its listeners: they are reached by Dial alone.
func WithoutSockets() Option { return func(s *Server) { s.noSockets = true } }

// WithDisk has the server keep its data on another disk than the machine's.
func WithDisk(d *Disk) Option { return func(s *Server) { s.fs = d.fs } }

// Disk is a disk in memory. It outlives the servers on it.
type Disk struct{ fs *vfs.Mem }

// NewMemoryDisk returns an empty disk.
func NewMemoryDisk() *Disk { return &Disk{vfs.NewMem()} }

// Crash returns what the disk could hold if the power failed now: what was synced and, of the rest, what the
// seed decides. The disk itself goes on as if nothing had happened.
func (d *Disk) Crash(seed uint64) *Disk {
	return &Disk{d.fs.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(seed, seed))})}
}

// New makes a server of a configuration. It touches neither disk nor network; Start does.
func New(cfg *Config, options ...Option) (*Server, error) {
	if cfg == nil {
		return nil, errors.New("a server needs a configuration")
	}
	s := &Server{cfg: cfg, log: slog.New(slog.DiscardHandler), fs: vfs.OS, failed: make(chan struct{})}
	for _, o := range options {
		o(s)
	}
	return s, nil
}

// Start brings the node up and returns when it serves: its logs are recovered, the quorum has a leader, and the
// controller sends clients here. When it fails, or ctx ends first, nothing is left of it. A server starts once.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.phase != fresh {
		s.mu.Unlock()
		return errors.New("the server has been started already")
	}
	s.phase = starting
	s.mu.Unlock()

	begun := time.Now()
	if len(s.cfg.Inert) > 0 {
		s.log.Warn(inertWarning(s.cfg.values.table, s.cfg.Inert))
	}
	if err := s.bringUp(ctx); err != nil {
		if ctx.Err() == nil {
			if cause := s.Err(); cause != nil {
				err = cause // a room failed while others were still waiting for it
			}
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		s.takeDown(closing)
		s.setPhase(stopped)
		return err
	}
	s.setPhase(serving)
	s.log.Info("serving", "node", s.cfg.NodeID, "cluster", s.clusterID, "after", time.Since(begun).Round(time.Microsecond))
	return nil
}

// Close stops the node in good order: the controller moves leaderships away, clients are answered and let go,
// logs are flushed and marked clean. It returns when nothing of the node is left. ctx bounds the politeness, not
// the stop itself.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.phase != serving {
		defer s.mu.Unlock()
		if s.phase == fresh {
			s.phase = stopped
		}
		return nil
	}
	s.phase = stopping
	s.mu.Unlock()
	begun := time.Now()
	err := s.takeDown(ctx)
	s.setPhase(stopped)
	s.log.Info("stopped", "after", time.Since(begun).Round(time.Microsecond))
	return err
}

// takeDown undoes what bringUp has done.
func (s *Server) takeDown(ctx context.Context) error {
	var all []error
	for len(s.closers) > 0 {
		c := s.closers[len(s.closers)-1]
		s.closers = s.closers[:len(s.closers)-1]
		if err := c.close(ctx); err != nil {
			s.log.Warn("not closed cleanly", "what", c.what, "error", err)
			all = append(all, fmt.Errorf("close %s: %w", c.what, err))
		}
	}
	return errors.Join(all...)
}

// onClose has something undone, before everything that was registered earlier.
func (s *Server) onClose(what string, close func(context.Context) error) {
	s.closers = append(s.closers, closer{what, close})
}

// closing adapts a Close without a context.
func closing(c io.Closer) func(context.Context) error {
	return func(context.Context) error { return c.Close() }
}

func (s *Server) setPhase(p phase) {
	s.mu.Lock()
	s.phase = p
	s.mu.Unlock()
}

// at says what the start is at work on.
func (s *Server) at(format string, args ...any) {
	s.mu.Lock()
	s.loading = fmt.Sprintf(format, args...)
	s.mu.Unlock()
}

// fail records, once, why the node cannot go on. Whoever runs it closes it.
func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil && s.phase != stopping && s.phase != stopped {
		s.failure = err
		close(s.failed)
	}
}

// Failed is closed when the node cannot go on; Err says why, and Close is all that is left to do.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err returns why the node cannot go on, nil while it can.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Unready returns why clients should not be sent here, in sentences; none when all is well.
func (s *Server) Unready() []string {
	s.mu.Lock()
	phase, loading, failure := s.phase, s.loading, s.failure
	s.mu.Unlock()
	switch {
	case failure != nil:
		return []string{failure.Error()}
	case phase == stopping || phase == stopped:
		return []string{"the node is stopping"}
	case phase != serving:
		return []string{"the node is starting: " + loading}
	}
	return s.node.unready()
}

// ClusterID returns the id of the node's cluster, once Start has returned.
func (s *Server) ClusterID() string { return s.clusterID }

// Addr returns the address that a listener is bound to, nil when there is none of that name.
func (s *Server) Addr(listener string) net.Addr {
	for _, k := range s.sockets {
		if k.cfg.Name == listener {
			return k.tcp.Addr()
		}
	}
	return nil
}

// HTTPAddr returns the address of metrics and health, nil when they are off.
func (s *Server) HTTPAddr() net.Addr {
	if s.observer == nil {
		return nil
	}
	return s.observer.listener.Addr()
}

// Rest lets go what memory a node at rest does not need, and returns how many bytes that is: none while it is at work. It
// is for the process to call now and then.
func (s *Server) Rest() int64 { return s.node.budget.Rest() }

// Dial connects to a listener inside this process: the same bytes, without a socket.
func (s *Server) Dial(ctx context.Context, listener string) (net.Conn, error) {
	for _, k := range s.sockets {
		if k.cfg.Name == listener {
			return k.memory.Dial(ctx)
		}
	}
	return nil, fmt.Errorf("the node has no listener %s", listener)
}

// socket is one listener of the configuration, bound.
type socket struct {
	cfg    Listener
	tcp    net.Listener
	memory *memoryListener
}

// bind takes an address. The error is a sentence about it.
func bind(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s (%s): the address is in use by another process", address, what)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("cannot listen on %s (%s): this machine has no such address", address, what)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("cannot listen on %s (%s): this user may not take the port", address, what)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (%s): %w", address, what, err)
	}
	return l, nil
}
