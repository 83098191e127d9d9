package classic

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Heartbeat puts the end of a member's session off. REBALANCE_IN_PROGRESS calls the member to join again.
func (g *Group) Heartbeat(request *wire.HeartbeatRequest, now time.Time) error {
	if err := g.checkMember(request.MemberID, request.GroupInstanceID); err != nil {
		return err
	}
	switch {
	case request.GenerationID != g.generation:
		return kafka.IllegalGeneration.Errorf("the group %q is in generation %d, not %d", g.id, g.generation, request.GenerationID)
	case g.state == Empty:
		return kafka.UnknownMemberID.Errorf("the group %q has begun anew", g.id)
	}
	d := &decision{g: g, now: now}
	d.heard(g.find(request.MemberID))
	d.watchTopics()
	if g.state == PreparingRebalance {
		return kafka.RebalanceInProgress.Errorf("the group %q is rebalancing", g.id)
	}
	return nil
}
