package classic

import (
	"maps"

	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// The leader of a group watches the topics that the members read, and joins anew when there are others or more partitions.
// Where nobody knows that it leads the coordinator does so, with the heartbeats: as in Kafka the members are not told who
// leads, but there nobody reads what comes until they are called for something else.

// layout is how many partitions the topics have that the members read, in an image. Topics that are not there are missing.
type layout struct {
	image      *metadata.Image
	partitions map[string]int
}

func (g *Group) layoutIn(image *metadata.Image) layout {
	l := layout{image, map[string]int{}}
	for name := range g.topics {
		if t := image.Topic(name); t != nil {
			l.partitions[name] = len(t.Partitions)
		}
	}
	return l
}

// watchTopics calls the members to join anew when their topics have changed and there is no leader to see it.
func (d *decision) watchTopics() {
	g := d.g
	if !g.converted || g.state != Stable || g.shared.image == g.env.Image() {
		return
	}
	now := g.layoutIn(g.env.Image())
	if maps.Equal(now.partitions, g.shared.partitions) {
		g.shared.image = now.image
		return
	}
	d.cause = history.Event{Kind: history.TopicsChanged}
	d.rebalance() // nobody waits in a stable group, so there is nobody to answer
}
