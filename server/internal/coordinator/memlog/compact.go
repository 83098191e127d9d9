package memlog

import (
	"github.com/millrace-io/millrace/internal/record"
)

// Compact does to the committed records before an offset what the cleaner may do to them: of each key only the last
// record stays, where it was, and no tombstone that forgotten chooses. Whoever reads the log then sees the records of
// different keys in another order than they were written in. A log with records of transactions is not for this.
func (l *Log) Compact(before int64, forgotten func(key []byte) bool) error {
	before = min(before, l.High)
	last := map[string]int64{}
	each := func(batches []record.Batch, f func(b record.Batch, r record.Record)) error {
		for _, b := range batches {
			for r, err := range b.Records(nil) {
				if err != nil {
					return err
				}
				f(b, r)
			}
		}
		return nil
	}
	clean := 0
	for clean < len(l.Batches) && l.Batches[clean].NextOffset() <= before {
		clean++
	}
	if err := each(l.Batches[:clean], func(_ record.Batch, r record.Record) { last[string(r.Key)] = r.Offset }); err != nil {
		return err
	}
	var kept []record.Batch
	err := each(l.Batches[:clean], func(b record.Batch, r record.Record) {
		if last[string(r.Key)] != r.Offset || r.Value == nil && forgotten(r.Key) {
			return
		}
		o := record.NewBuilderOptions()
		o.BaseOffset, o.LeaderEpoch = r.Offset, b.LeaderEpoch()
		one := record.NewBuilder(o)
		one.Append(r)
		kept = append(kept, record.Batch(one.Build(nil)))
	})
	if err != nil {
		return err
	}
	l.Batches = append(kept, l.Batches[clean:]...)
	return nil
}
