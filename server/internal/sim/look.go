package sim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// view is a group from outside.
type view struct {
	kind    string // of Kafka's
	state   string
	offsets map[string]int64
	members string
}

// look describes a group. It is not ready when an answer has to wait.
func look(c *group.Coordinator, g *theGroup) (v view, ready bool) {
	v.offsets = map[string]int64{}
	answers := 0
	c.OffsetFetch(&wire.OffsetFetchRequestGroups{GroupID: g.name, MemberEpoch: -1}, false, func(r *wire.OffsetFetchResponseGroups, err error) {
		if err != nil {
			return
		}
		answers++
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				v.offsets[fmt.Sprintf("%s/%d", t.Name, p.PartitionIndex)] = p.CommittedOffset
			}
		}
	})
	there := func(err error) bool {
		if err == nil || kafka.CodeOf(err) == kafka.GroupIDNotFound {
			answers++
		}
		return err == nil
	}
	c.ConsumerGroupDescribe(g.name, func(one wire.ConsumerGroupDescribeResponseGroups, err error) {
		if there(err) {
			v.kind, v.state, v.members = group.Consumer, one.GroupState, text(one)
		}
	})
	c.DescribeGroup(g.name, func(one wire.DescribeGroupsResponseGroups, err error) {
		if there(err) {
			v.kind, v.state, v.members = group.Classic, one.GroupState, text(one.Members)
		}
	})
	return v, answers == 3
}

// text writes a description so that it can be compared: what is empty is the same as nothing, as it is on the wire.
func text(description any) string {
	bytes, err := json.Marshal(description)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer("null", `""`, "[]", `""`).Replace(string(bytes))
}
