package controller

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// recovering says that a partition's leader was elected uncleanly and has not yet cleaned up (KIP-704).
const (
	recovered  int8 = 0
	recovering int8 = 1
)

// noChange is the leader of a PartitionChangeRecord that leaves the leader alone.
const noChange int32 = -2

// election says how far the choice of a leader may go.
type election int8

const (
	electOnline    election = iota // keep the leader while it can lead; else the first replica that is in sync or eligible
	electPreferred                 // the first replica, when it is in sync; else as electOnline
	electUnclean                   // as electOnline; where nobody is in sync, any live replica: data may be lost
)

// partitionChange makes the record that brings a partition from its state to a wanted one: it chooses the
// leader, keeps ISR and ELR true (KIP-966), and says nothing that does not change.
//
// Who leads, in this order: the leader, while it is in the wanted ISR and may lead; the first replica in the
// ISR; the first eligible one (ELR), which then is the ISR alone; when ISR and ELR are empty the last known
// leader, and with electUnclean any live replica: these two begin an unclean recovery.
type partitionChange struct {
	*metadata.Partition
	topic     kafka.TopicID
	partition int32

	election election
	// mayLead judges a replica: its broker is active, and its directory is online.
	mayLead func(broker int32) bool
	minISR  int
	elr     bool
	version int16
	// lost are brokers that may have lost the tail of this partition; they are neither in sync nor eligible.
	lost []int32
	// bump asks for a new leader epoch even when the leader stays.
	bump bool

	// the wanted state; nil leaves the old one
	isr         []int32
	directories []kafka.DirectoryID
	recovery    int8 // -1 leaves the old one
}

// record returns the record, false when nothing changes.
func (c *partitionChange) record() (record, bool) {
	isr := slices.Clone(c.ISR)
	if c.isr != nil {
		isr = slices.Clone(c.isr)
	}
	isr = without(isr, c.lost...)
	var elr []int32
	if c.elr && len(isr) < min(c.minISR, len(c.Replicas)) {
		// Replicas that drop out while the ISR is below the minimum stay eligible: the watermark stands still
		// without them, so they miss nothing that was acknowledged.
		for _, r := range c.Replicas {
			if (slices.Contains(c.ELR, r) || slices.Contains(c.ISR, r)) && !slices.Contains(isr, r) && !slices.Contains(c.lost, r) {
				elr = append(elr, r)
			}
		}
	}

	leader, fromISR, unclean := c.elect(isr, elr)
	change := &wire.PartitionChangeRecord{}
	change.SetDefaults()
	change.PartitionID, change.TopicID = c.partition, c.topic
	empty := true
	if leader != c.Leader || c.bump && leader != kafka.NoNode {
		change.Leader = leader
		empty = false
	}
	if leader != kafka.NoNode && !fromISR {
		isr = []int32{leader}
		if c.elr {
			elr = without(elr, leader)
			if len(isr) >= min(c.minISR, len(c.Replicas)) {
				elr = nil
			}
		}
	}
	if len(isr) == 0 && !c.elr {
		isr = c.ISR // without ELR the last members stay, so that somebody knows who may lead
	}
	recovery := c.RecoveryState
	if c.recovery >= 0 {
		recovery = c.recovery
	}
	if unclean {
		recovery = recovering
	}
	if recovery != c.RecoveryState {
		change.LeaderRecoveryState = recovery
		empty = false
	}
	if !slices.Equal(isr, c.ISR) {
		change.Isr = notNil(isr)
		empty = false
	}
	if c.elr {
		if !slices.Equal(elr, c.ELR) {
			change.EligibleLeaderReplicas = notNil(elr)
			empty = false
		}
		// The last known leader is kept from the day the ISR became empty until there is a leader again.
		switch {
		case len(isr) == 0 && c.Leader != kafka.NoNode && leader == kafka.NoNode:
			if !slices.Equal(c.LastKnownELR, []int32{c.Leader}) {
				change.LastKnownElr = []int32{c.Leader}
				empty = false
			}
		case leader != kafka.NoNode && len(c.LastKnownELR) > 0:
			change.LastKnownElr = []int32{}
			empty = false
		}
	}
	if c.directories != nil && !slices.Equal(c.directories, c.Directories) {
		change.Directories = c.directories
		empty = false
	}
	return record{change, c.version}, !empty
}

// elect chooses the leader.
func (c *partitionChange) elect(isr, elr []int32) (leader int32, fromISR, unclean bool) {
	good := func(r int32) bool { return slices.Contains(isr, r) && c.mayLead(r) }
	if c.election == electPreferred && len(c.Replicas) > 0 && good(c.Replicas[0]) {
		return c.Replicas[0], true, false
	}
	if c.Leader != kafka.NoNode && good(c.Leader) {
		return c.Leader, true, false
	}
	for _, r := range c.Replicas {
		if good(r) {
			return r, true, false
		}
	}
	if c.elr {
		for _, r := range c.Replicas {
			if slices.Contains(elr, r) && c.mayLead(r) {
				return r, false, false
			}
		}
		if len(isr) == 0 && len(elr) == 0 && len(c.LastKnownELR) == 1 && c.mayLead(c.LastKnownELR[0]) {
			return c.LastKnownELR[0], false, true
		}
	}
	if c.election == electUnclean {
		for _, r := range c.Replicas {
			if c.mayLead(r) {
				return r, false, true
			}
		}
	}
	return kafka.NoNode, false, false
}

// without returns the list less some members, in place.
func without(list []int32, members ...int32) []int32 {
	return slices.DeleteFunc(list, func(r int32) bool { return slices.Contains(members, r) })
}

// notNil keeps an empty list apart from "no change".
func notNil(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}
