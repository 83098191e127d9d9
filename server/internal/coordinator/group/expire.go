package group

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// expireOffsets deletes offsets that are older than the retention, and the groups without members that have none left
// (KIP-211). It comes again and again.
func (s *Shard) expireOffsets(t coordinator.Timer, now time.Time) coordinator.Result {
	s.timers.Set(t, now.Add(s.c.o.Config.OffsetsRetentionCheckInterval))
	s.forgetHistories()
	res := coordinator.Result{Split: true}
	for _, id := range s.sortedGroups() {
		g := s.find(id)
		expired, all := s.expired(g, id, now.UnixMilli())
		for _, where := range expired {
			res.Records = append(res.Records, where.tombstone())
		}
		if all && g.Empty() && !s.offsets.unstableGroup(id) {
			res.Records = append(res.Records, g.Tombstones()...)
		}
	}
	s.c.figures.expired.Add(int64(len(res.Records)))
	return res
}

// expired lists the offsets of a group whose time is over, and reports whether these are all that it has.
func (s *Shard) expired(g Group, id string, nowMs int64) (list []place, all bool) {
	all = true
	retentionMs := s.c.o.Config.OffsetsRetention.Milliseconds()
	for where, committed := range s.offsets.of(id) {
		since, expires := g.ExpiresSince(committed.CommitMs)
		over := committed.ExpireMs >= 0 && nowMs >= committed.ExpireMs || committed.ExpireMs < 0 && nowMs-since >= retentionMs
		if !expires || !over || g.Subscribed(where.topic) || s.offsets.unstable(where) {
			all = false
			continue
		}
		list = append(list, where)
	}
	return list, all
}
