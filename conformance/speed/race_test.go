package speed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/millrace-io/millrace/conformance/process"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// results are the figures of every run, by row and contender.
type results map[string]map[string][]figures

// median returns the middle of a figure over the rounds.
func (r results) median(row, who string, figure func(figures) float64) float64 {
	var all []float64
	for _, f := range r[row][who] {
		all = append(all, figure(f))
	}
	return middle(all)
}

func middle(all []float64) float64 {
	slices.Sort(all)
	switch n := len(all); {
	case n == 0:
		return 0
	case n%2 == 0:
		return (all[n/2-1] + all[n/2]) / 2
	default:
		return all[n/2]
	}
}

// has reports whether there are figures of every contender that a goal may compare.
func (r results) has(rows []string) bool {
	for _, row := range rows {
		if len(r[row]) == 0 {
			return false
		}
	}
	return true
}

// number reads a number from the environment.
func number(b *testing.B, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q; it takes a number from 1 on", variable, text)
	}
	return n
}

// BenchmarkRace runs the rows and judges the goals that they are about.
func BenchmarkRace(b *testing.B) {
	rounds, seconds := number(b, "ROUNDS", 5), number(b, "SECONDS", 3)
	wanted, err := regexp.Compile(os.Getenv("ROWS"))
	if err != nil {
		b.Fatalf("ROWS: %v", err)
	}
	r := results{}
	for _, w := range rows {
		if !wanted.MatchString(w.name) {
			continue
		}
		if w.seconds == 0 {
			w.seconds = seconds
		}
		if os.Getenv("KAFKA") == "no" {
			w.who = slices.DeleteFunc(slices.Clone(w.who), func(c contender) bool { return c.stays })
		}
		r[w.name] = map[string][]figures{}
		b.Run(strings.ReplaceAll(w.name, " ", "-"), func(b *testing.B) { w.race(b, rounds, r[w.name]) })
		fmt.Print(w.table(r))
	}
	text, short := r.judge()
	fmt.Print(text)
	if short > 0 {
		b.Errorf("%d goals fell short", short)
	}
}

// race runs a row for some rounds. The contenders take turns, and begin at another one in each round.
func (w *row) race(b *testing.B, rounds int, into map[string][]figures) {
	running := map[string]server{}
	for round := range rounds {
		for i := range w.who {
			c := w.who[(i+round)%len(w.who)]
			if _, ok := running[c.name]; c.stays && !ok {
				running[c.name] = c.start(b)
				w.run(b, running[c.name], "warm", 10)
			}
			b.Run(c.name, func(b *testing.B) { // its server and data are gone when it ends
				s, ok := running[c.name]
				if !ok {
					s = c.start(b)
				}
				f := w.run(b, s, fmt.Sprintf("race%d", round), w.seconds)
				into[c.name] = append(into[c.name], f)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(f.MBps, "MB/s")
				b.ReportMetric(f.CPU, "cpu-s/GB")
				b.ReportMetric(f.Client, "client-s/GB")
				b.ReportMetric(f.P50, "p50-µs")
			})
		}
	}
}

// run runs the load once, on a topic of its own that is gone afterwards.
func (w *row) run(b *testing.B, s server, topic string, seconds int) figures {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := makeTopic(ctx, admin, topic, w.partitions); err != nil {
		b.Fatal(err)
	}
	if w.fill != "" {
		w.kload(b, s, topic, w.fill, seconds)
		rest(b, s.Pid())
	}
	f := w.kload(b, s, topic, w.load, seconds)
	// Some contenders cannot delete; they go with their data after the run.
	admin.DeleteTopics(ctx, topic)
	return f
}

// rest waits until a server is done with what the fill left it to do, syncing for one, but not for ever.
func rest(b *testing.B, pid int) {
	for range 50 {
		before := cpuTime(b, pid)
		time.Sleep(300 * time.Millisecond)
		if cpuTime(b, pid)-before < 15*time.Millisecond {
			return
		}
	}
}

// makeTopic makes a topic and waits until the leaders of its partitions answer: Apache Kafka names them before they do.
func makeTopic(ctx context.Context, admin *kadm.Client, topic string, partitions int32) error {
	if _, err := admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("create %s: %w", topic, err)
	}
	for {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err == nil {
			if err = offsets.Error(); err == nil && len(offsets[topic]) == int(partitions) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not there: %w", topic, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *row) kload(b *testing.B, s server, topic, load string, seconds int) figures {
	args := append(strings.Fields(load), "-topic", topic, "-brokers", s.addr, "-broker-pid", strconv.Itoa(s.Pid()),
		"-duration", fmt.Sprintf("%ds", seconds), "-json")
	out, errOut, err := process.Run(2*time.Minute, program(b, "KLOAD"), args...)
	if err != nil {
		b.Fatalf("kload %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
	var f figures
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		b.Fatalf("kload printed %q: %v", out, err)
	}
	return f
}

// table renders the medians of a row, with the spread of MB/s.
func (w *row) table(r results) string {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tMB/s\tbest\tcpu-s/GB\tuser\tclient\tµs/request\tp50 µs\tp99 µs\tp999 µs\tRSS MB\t\n", w.name)
	for _, c := range w.who {
		median := func(figure func(figures) float64) float64 { return r.median(w.name, c.name, figure) }
		best := 0.0
		for _, f := range r[w.name][c.name] {
			best = max(best, f.MBps)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.3f\t%.3f\t%.3f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", c.name, median(mbps), best, median(cpu),
			median(func(f figures) float64 { return f.User }), median(func(f figures) float64 { return f.Client }), median(figures.perRequest), median(p50), median(p99), median(p999),
			median(func(f figures) float64 { return f.RSS }))
	}
	t.Flush()
	return "\n" + text.String()
}

// judge renders the goals whose rows ran, and counts those that fell short.
func (r results) judge() (text string, short int) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 2, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\ngoal\twhat\tfigure\tmust\texcellent\t\n")
	for _, g := range goals {
		if !r.has(g.rows) {
			continue
		}
		v := g.value(r)
		if !(v > 0) && !(v <= 0) || v > 1e9 || v == 0 { // a contender did not run
			continue
		}
		sign, reached := "≤", func(limit float64) bool { return v <= limit }
		if g.atLeast {
			sign, reached = "≥", func(limit float64) bool { return v >= limit }
		}
		word := "fell short"
		switch {
		case reached(g.excellent):
			word = "excellent"
		case reached(g.must):
			word = "pass"
		default:
			short++
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%s %.2f\t%s %.2f\t%s\n", g.number, g.what, v, sign, g.must, sign, g.excellent, word)
	}
	t.Flush()
	return b.String(), short
}
