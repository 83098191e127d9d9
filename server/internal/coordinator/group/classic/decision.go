package classic

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// decision is what comes of one request or timer.
type decision struct {
	g       *Group
	now     time.Time
	records []coordinator.Record
	then    []func(error)
	undo    func()
	cause   history.Event // what a member did first
	reason  string        // why it is to do what is noted next
}

// result is the decision as the shard takes it. The group has changed already: what is stored is not replayed.
func (d *decision) result() coordinator.Result {
	return coordinator.Result{Records: d.records, Kept: true, Then: d.then, Undo: d.undo}
}

// answerJoin answers a member that waits to join.
func (d *decision) answerJoin(m *member, response *wire.JoinGroupResponse, err error) {
	if m.join == nil {
		return
	}
	d.replyJoin(m.join, response, err)
	m.join = nil
}

func (d *decision) replyJoin(join func(*wire.JoinGroupResponse, error), response *wire.JoinGroupResponse, err error) {
	d.then = append(d.then, func(failed error) {
		if failed != nil { // what the response says did not come true, the member id neither
			response, err = wire.NewJoinGroupResponse(), failed
		}
		join(response, err)
	})
}

// answerSync answers a member that waits for its assignment.
func (d *decision) answerSync(m *member, response *wire.SyncGroupResponse, err error) {
	if m.sync == nil {
		return
	}
	d.replySync(m.sync, response, err)
	m.sync = nil
}

func (d *decision) replySync(sync func(*wire.SyncGroupResponse, error), response *wire.SyncGroupResponse, err error) {
	d.then = append(d.then, func(failed error) {
		if failed != nil {
			err = failed
		}
		sync(response, err)
	})
}
