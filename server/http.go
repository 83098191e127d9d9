package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// observer is the node as operators and their tools see it, on one HTTP port: /metrics, /healthz, /readyz, and
// /groups (http_groups.go).
type observer struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// newObserver begins to serve. alive returns why the node is failing, nil when it is not; unready returns why
// clients should not be sent here, in sentences; impaired what they will not find here although they should be; groups the coordinator, nil while there is none.
func newObserver(l net.Listener, registry *prometheus.Registry, alive func() error, unready, impaired func() []string, groups func() *group.Coordinator, log *slog.Logger) *observer {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := alive(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := unready(); len(why) > 0 {
			say(w, http.StatusServiceUnavailable, why...)
			return
		}
		say(w, http.StatusOK, append([]string{"ready"}, impaired()...)...)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, "Millrace", "", "/metrics  figures for Prometheus", "/healthz  is the process well", "/readyz   should clients be sent here, and if not, why",
			"/groups   the consumer groups that this node coordinates; /groups/NAME/explain why one has rebalanced")
	})
	serveGroups(mux, groups)
	o := &observer{
		listener: l,
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		done: make(chan struct{}),
	}
	go func() {
		defer close(o.done)
		if err := o.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP listener has ended; metrics and health are not served any more", "error", err)
		}
	}()
	return o
}

// say answers in lines of text.
func say(w http.ResponseWriter, status int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, strings.Join(lines, "\n"))
}

// Close ends the listener and every connection, after a moment for answers that are under way.
func (o *observer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	err := o.server.Shutdown(ctx)
	if err != nil {
		err = o.server.Close()
	}
	<-o.done
	return err
}
