package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

// Config is what a listener is told.
type Config struct {
	// Name is the listener's name, as in the key listeners.
	Name string
	// Controller is true on a controller's listener; other APIs are answered there.
	Controller bool
	// MaxRequestBytes is the largest frame that is taken (socket.request.max.bytes); 0 means 100 MiB.
	MaxRequestBytes int
	// IdleTimeout is after how long a connection on which nothing happens is closed (connections.max.idle.ms);
	// 0 for never.
	IdleTimeout time.Duration
	// StallTimeout is how long a request that has begun may hold a buffer without a further byte, and how long a
	// connection waits for memory; then it is closed, since others wait for that memory. 0 stands for 30 s.
	StallTimeout time.Duration
	// Quotas limit the connections of this listener and others together; nil for no limit.
	Quotas *Quotas
	// Protected says that brokers connect here, and that there are other listeners: these make room when there are too
	// many connections.
	Protected bool
	// Proxy says that connections come through a load balancer, which says first on whose behalf (proxy.go).
	Proxy bool
	// Budget lends the buffers of all connections.
	Budget *budget.Budget
	// Observe, if set, is told of every request that was completed and how long it took.
	Observe func(key wire.APIKey, took time.Duration)
	Log     *slog.Logger
}

const stallTimeout = 30 * time.Second

// Listener serves the connections of one listener of the node.
type Listener struct {
	cfg     Config
	handler Handler
	log     *slog.Logger
	ctx     context.Context // ends with Close, and with it every wait for memory
	cancel  context.CancelFunc
	stats   stats

	mu      sync.Mutex
	sockets map[net.Listener]struct{}
	conns   map[*Conn]struct{}
	closed  bool
	running sync.WaitGroup // connections and accept loops

	ids     atomic.Uint64
	quieter limiter

	// copies says that ranges are always copied, as they are to a client that is not on a socket of its own (TLS, in
	// memory). Tests set it, to see both ways.
	copies bool
	// shedAfter is the constant of that name; tests are less patient.
	shedAfter time.Duration
}

// New returns a listener that hands requests to h.
func New(cfg Config, h Handler) *Listener {
	if cfg.MaxRequestBytes <= 0 {
		cfg.MaxRequestBytes = wire.MaxFrameDefault
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = stallTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Quotas == nil {
		cfg.Quotas = NewQuotas()
	}
	l := &Listener{cfg: cfg, handler: h, log: cfg.Log.With("listener", cfg.Name),
		sockets: make(map[net.Listener]struct{}), conns: make(map[*Conn]struct{}),
		shedAfter: shedAfter}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	cfg.Budget.OnShort(l.shed)
	cfg.Quotas.join(l)
	return l
}

// Name returns the listener's name.
func (l *Listener) Name() string { return l.cfg.Name }

// Serve accepts connections until the socket or the listener is closed. One listener may serve several sockets.
func (l *Listener) Serve(socket net.Listener) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		socket.Close()
		return nil
	}
	l.sockets[socket] = struct{}{}
	l.running.Add(1)
	l.mu.Unlock()
	defer l.running.Done()
	for pause := time.Duration(0); ; {
		nc, err := socket.Accept()
		switch {
		case err == nil:
			pause = 0
			l.accept(nc)
		case errors.Is(err, net.ErrClosed) || l.ctx.Err() != nil:
			return nil
		default:
			// Out of descriptors, most likely: others may close theirs.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.warn("a connection cannot be accepted", "err", err, "next try in", pause)
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
				return nil
			}
		}
	}
}

// accept serves a connection once there is a place for it. Nobody else is accepted while it waits.
func (l *Listener) accept(nc net.Conn) {
	ip := addrOf(nc.RemoteAddr())
	if err := l.cfg.Quotas.take(l.ctx, l, ip); err != nil {
		nc.Close()
		if l.ctx.Err() == nil {
			l.stats.refused.Add(1)
			l.warn("a connection was refused", "client", ip, "reason", err)
		}
		return
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		nc.Close()
		l.cfg.Quotas.give(l, ip)
		return
	}
	c := newConn(l, nc, ip)
	l.conns[c] = struct{}{}
	l.running.Add(1)
	l.mu.Unlock()
	l.stats.accepted.Add(1)
	go func() {
		defer l.running.Done()
		c.serve()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		l.cfg.Quotas.give(l, c.ip)
	}()
}

// connections returns those that are open or ending.
func (l *Listener) connections() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.conns))
}

// Close stops accepting, closes all connections, and waits for their goroutines, at most as long as ctx lasts.
func (l *Listener) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for socket := range l.sockets {
		socket.Close()
	}
	l.mu.Unlock()
	l.cancel()
	for _, c := range l.connections() {
		c.close(nil)
	}
	done := make(chan struct{})
	go func() {
		l.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close listener %s: %w", l.cfg.Name, ctx.Err())
	}
}

// warn logs what a client may cause as often as it likes: at most a few lines a second.
func (l *Listener) warn(message string, args ...any) {
	allowed, dropped := l.quieter.allow(time.Now())
	if !allowed {
		return
	}
	if dropped > 0 {
		args = append(args, "similar lines left out", dropped)
	}
	l.log.Warn(message, args...)
}

// limiter lets five lines a second through and counts the others.
type limiter struct {
	mu      sync.Mutex
	second  int64
	used    int
	dropped int
}

func (q *limiter) allow(now time.Time) (ok bool, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := now.Unix(); s != q.second {
		q.second, q.used = s, 0
	}
	if q.used == 5 {
		q.dropped++
		return false, 0
	}
	q.used++
	dropped, q.dropped = q.dropped, 0
	return true, dropped
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
