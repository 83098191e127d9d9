package commitlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// crashPoint is a disk as a power loss left it, and what was promised until then.
type crashPoint struct {
	what         string
	disk         *vfs.Mem
	records      []modelRecord // those that were acknowledged, and those before them
	start, point int64
	epoch        int32
	now          time.Time
}

// TestCrashAtEverySync runs the moves of the model and cuts the power after every single sync, the last writes lost,
// torn or there. Each disk is recovered: no acknowledged record is lost or changed, offsets have no gap, producers,
// transactions and epochs are what they were, and Check finds nothing.
func TestCrashAtEverySync(t *testing.T) {
	from, to := seedsOf(t, 1)
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			points := crashPoints(m, func() int64 { return m.log.Flushed() })
			if len(points) < 100 {
				t.Fatalf("only %d crashes", len(points))
			}
			for i := range points {
				points[i].verify(t, m)
			}
		})
	}
}

// crashPoints runs a model and clones its disk after every sync. acknowledged tells how far the records count as durable.
func crashPoints(m *model, acknowledged func() int64) []crashPoint {
	var points []crashPoint
	luck := rand.New(rand.NewPCG(m.dice.Uint64(), 2))
	m.synced = func(name string) {
		acked := acknowledged()
		for i := range 3 {
			o := vfs.CrashOptions{Rand: luck}
			if i == 0 {
				o.Rand = nil // nothing that was not synced is there
			}
			points = append(points, crashPoint{
				what: fmt.Sprintf("step %d, %s synced (%d)", m.number, name, i), disk: m.fs.CrashClone(o), now: m.now,
				records: slices.Clone(m.records[:acked]), start: m.log.StartOffset(), point: min(m.point, m.log.Flushed()), epoch: m.epoch,
			})
		}
	}
	m.fs.SetSyncHook(m.synced)
	m.run(120)
	return points
}

// verify recovers the disk and compares with what was promised.
func (p *crashPoint) verify(t *testing.T, from *model) {
	t.Helper()
	m := &model{T: t, dice: rand.New(rand.NewPCG(1, 1)), config: from.config, now: p.now, point: p.point}
	m.twin = twin{records: p.records, start: p.start, epoch: p.epoch}
	defer func() {
		if t.Failed() {
			t.Logf("after %s: %d records acknowledged, start %d, recovery point %d", p.what, len(p.records), p.start, p.point)
		}
	}()
	m.restart(p.disk, int64(len(p.records)), p.start)
	if m.log.StartOffset() != m.start {
		t.Fatalf("the log starts at %d, want %d", m.log.StartOffset(), m.start)
	}
	if m.start < m.end() {
		for i, r := range readAll(t, m.log, m.start) {
			if want := m.records[m.start+int64(i)].got; r != want {
				t.Fatalf("record %+v, want %+v", r, want)
			}
		}
		for range 4 {
			m.checkEpochs()
			m.checkTimes()
		}
	}
	m.checkOngoing()
	for pid := range int64(3) {
		m.repeatOf(pid)
		m.leaveGapOf(pid)
		m.send(pid, false)
	}
	mustClose(t, m.log)
	m.checkFiles()
}

// A log that counts records as acknowledged which are only written must fail the test above.
func TestCrashFindsAcknowledgedTooEarly(t *testing.T) {
	m := newModel(t, 0)
	points := crashPoints(m, func() int64 { return min(m.log.EndOffset(), int64(len(m.records))) })
	for _, p := range points {
		o := testOptions(p.disk, m.config)
		o.RecoveryPoint, o.StartOffset = p.point, p.start
		l, err := Open(o, p.now)
		if err != nil || l.EndOffset() < int64(len(p.records)) {
			return // the loss shows
		}
	}
	t.Fatal("records that were never synced survived every crash")
}
