package segment

import (
	"errors"
	"path"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// FuzzIndexes lays any bytes beside a good log as its offset, time and transaction index. What is looked up is right or
// an error, or nothing is found; a recovery makes the indexes anew, and then all is found.
func FuzzIndexes(f *testing.F) {
	const batches = 12
	var log []byte
	for i := range int64(batches) {
		o := record.NewBuilderOptions()
		o.BaseOffset = i
		b := record.NewBuilder(o)
		b.Append(record.Record{Timestamp: 1000 + i, Value: []byte("value")})
		log = b.Build(log)
	}
	now := time.UnixMilli(1_700_000_000_000)
	size := int64(len(log))
	open := func(t testing.TB, offsets, times, txns []byte) *Segment {
		disk := vfs.NewMem()
		for suffix, data := range map[string][]byte{LogSuffix: log, IndexSuffix: offsets, TimeIndexSuffix: times, TxnIndexSuffix: txns} {
			if err := vfs.WriteFile(disk, path.Join("/", FileName(0, suffix)), data); err != nil {
				t.Fatal(err)
			}
		}
		s := New(NewHandles(disk, 8), "/", 0)
		s.Open(size, now, now)
		return s
	}
	good := open(f, nil, nil, nil)
	check := func(*Batch, func() ([]byte, error)) error { return nil }
	if r, err := good.Recover(0, 1, check); err != nil || r.Size != size {
		f.Fatal(r, err)
	}
	if err := good.Seal(); err != nil {
		f.Fatal(err)
	}
	var seeds [2][]byte
	for i, h := range []*Handle{good.Offsets.h, good.Times.h} {
		data, err := vfs.ReadFile(h.cache.fsys, h.Path())
		if err != nil || len(data) == 0 {
			f.Fatal(len(data), err)
		}
		seeds[i] = data
	}
	good.Close()
	f.Add(seeds[0], seeds[1], AbortedTxn{ProducerID: 1, FirstOffset: 0, LastOffset: 3, LastStableOffset: 4}.AppendTo(nil))
	f.Add(seeds[0][:9], seeds[1][:13], []byte{0, 1})

	f.Fuzz(func(t *testing.T, offsets, times, txns []byte) {
		s := open(t, offsets, times, txns)
		defer s.Close()
		for want := range int64(batches) {
			b, ok, err := s.Find(want, size)
			if err == nil && ok && b.LastOffset() < want {
				t.Errorf("offset %d is looked up and %d is found", want, b.LastOffset())
			}
		}
		if _, err := s.Times.Lookup(1003); err != nil && !errors.Is(err, ErrIndexCorrupt) {
			t.Errorf("time index: %v", err)
		}
		if all, err := s.Txns.All(); err != nil && !errors.Is(err, ErrIndexCorrupt) || err == nil && len(all) != len(txns)/TxnEntryBytes {
			t.Errorf("transaction index: %d of %d bytes, %v", len(all), len(txns), err)
		}
		if r, err := s.Recover(0, 1, check); err != nil || r.Size != size || r.Next != batches {
			t.Fatalf("recovery: %+v %v", r, err)
		}
		for want := range int64(batches) {
			if b, ok, err := s.Find(want, size); err != nil || !ok || b.LastOffset() != want {
				t.Errorf("after recovery offset %d is looked up: %v %v %v", want, b.LastOffset(), ok, err)
			}
		}
	})
}
