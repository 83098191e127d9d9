package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// newLogger returns a logger whose lines are meant for people:
//
//	2026-11-24 04:13:07.201 INFO  registered with the controller  broker=1 epoch=17
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(&lines{out: &lockedWriter{w: w}, level: level})
}

// parseLevel reads the value of --log-level.
func parseLevel(s string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return level, usagef("--log-level is %q; it is one of debug, info, warn, error", s)
	}
	return level, nil
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// lines is the slog.Handler of newLogger.
type lines struct {
	out    *lockedWriter
	level  slog.Level
	attrs  string // rendered already, each with two spaces or one before it
	prefix string // of open groups, each with its dot
}

func (h *lines) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	line := make([]byte, 0, 160)
	if !r.Time.IsZero() {
		line = r.Time.AppendFormat(line, "2006-01-02 15:04:05.000 ")
	}
	line = fmt.Appendf(line, "%-5s %s", r.Level, r.Message)
	if h.attrs != "" || r.NumAttrs() > 0 {
		line = append(line, ' ')
	}
	line = append(line, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		line = appendAttr(line, h.prefix, a)
		return true
	})
	line = append(line, '\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(line)
	return err
}

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	rendered := []byte(h.attrs)
	for _, a := range attrs {
		rendered = appendAttr(rendered, h.prefix, a)
	}
	with.attrs = string(rendered)
	return &with
}

func (h *lines) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.prefix = h.prefix + name + "."
	return &with
}

// appendAttr writes " key=value", with quotes where the value would not read as one word.
func appendAttr(line []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			line = appendAttr(line, prefix, inner)
		}
		return line
	}
	if a.Equal(slog.Attr{}) {
		return line
	}
	text := v.String()
	line = append(line, ' ')
	line = append(line, prefix...)
	line = append(line, a.Key...)
	line = append(line, '=')
	if text == "" || strings.ContainsAny(text, " \t\r\n\"=") {
		return strconv.AppendQuote(line, text)
	}
	return append(line, text...)
}
