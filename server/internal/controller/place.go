package controller

import (
	"math/rand/v2"
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// placer spreads replicas over brokers and racks, as Kafka's striped placer does (KIP-36, KIP-631):
//
//   - racks are taken in turn, each partition one rack further than the one before, so that leaders and
//     replicas are even over racks;
//   - inside a rack brokers are taken in turn; fenced ones come last;
//   - a partition never has two replicas on one broker, nor two in one rack while another rack is free.
//
// It begins at a random place. Brokers whose directories are all cordoned take nothing (KIP-1066).
type placer struct {
	racks []*rack
	total int
	// at is the rack where the next partition begins; epoch counts the partitions, and with it shifts the order
	// in which the racks follow each other.
	at, epoch int
}

type rack struct {
	live, fenced ring
}

// ring hands out its brokers in turn.
type ring struct {
	brokers []int32
	at      int
}

func (v *view) newPlacer() *placer {
	byRack := make(map[string]*rack)
	p := &placer{}
	for b := range v.image.Brokers() {
		if cordoned(b) {
			continue
		}
		name := ""
		if b.Rack != nil {
			name = "r" + *b.Rack
		}
		r := byRack[name]
		if r == nil {
			r = &rack{}
			byRack[name] = r
		}
		if b.Fenced {
			r.fenced.brokers = append(r.fenced.brokers, b.ID)
		} else {
			r.live.brokers = append(r.live.brokers, b.ID)
		}
		p.total++
	}
	for _, r := range sorted(byRack) {
		r.live.shuffle(v.rand)
		r.fenced.shuffle(v.rand)
		p.racks = append(p.racks, r)
	}
	if len(p.racks) > 0 {
		p.at = v.rand.IntN(len(p.racks))
	}
	return p
}

// cordoned reports whether no directory of the broker takes new replicas.
func cordoned(b *metadata.Broker) bool {
	if len(b.LogDirs) == 0 || len(b.CordonedDirs) == 0 {
		return false
	}
	for _, dir := range b.LogDirs {
		if !slices.Contains(b.CordonedDirs, dir) {
			return false
		}
	}
	return true
}

func (r *ring) shuffle(dice *rand.Rand) {
	dice.Shuffle(len(r.brokers), func(i, j int) { r.brokers[i], r.brokers[j] = r.brokers[j], r.brokers[i] })
}

// next yields a broker that is not taken yet, -1 when all are.
func (r *ring) next(taken []int32) int32 {
	for range r.brokers {
		b := r.brokers[r.at%len(r.brokers)]
		r.at++
		if !slices.Contains(taken, b) {
			return b
		}
	}
	return kafka.NoNode
}

// place returns the replicas of the next partition, the leader first.
func (p *placer) place(factor int) ([]int32, error) {
	fail := func(why string, args ...any) ([]int32, error) {
		return nil, kafka.InvalidReplicationFactor.Errorf("a partition cannot have %d replicas: "+why, append([]any{factor}, args...)...)
	}
	if factor <= 0 {
		return fail("the replication factor must be positive")
	}
	live := 0
	for _, r := range p.racks {
		live += len(r.live.brokers)
	}
	switch {
	case live == 0:
		return fail("all brokers are fenced or cordoned")
	case factor > p.total:
		return fail("only %d brokers are registered with a directory that takes new replicas", p.total)
	}
	replicas := make([]int32, 0, factor)
	// The leader must be live: begin at the next rack that has such a broker.
	start := p.at
	for len(p.racks[start%len(p.racks)].live.brokers) == 0 {
		start++
	}
	p.at = (start + 1) % len(p.racks)
	p.epoch++
	shift := p.epoch / len(p.racks) // once around, the racks follow in another order
	for step := 0; len(replicas) < factor; step++ {
		n := start
		if step > 0 && len(p.racks) > 1 {
			round := step / len(p.racks)
			if in := step % len(p.racks); in > 0 {
				n = start + 1 + (in-1+shift)%(len(p.racks)-1)
			} else {
				n = start + round*len(p.racks)
			}
		}
		r := p.racks[n%len(p.racks)]
		b := r.live.next(replicas)
		if b == kafka.NoNode {
			b = r.fenced.next(replicas)
		}
		if b != kafka.NoNode {
			replicas = append(replicas, b)
		}
	}
	return replicas, nil
}

// directory is where a new replica goes as far as the controller can say: into the only directory that is free,
// or where the broker decides (KIP-858).
func (v *view) directory(broker int32) kafka.DirectoryID {
	b := v.image.Broker(broker)
	if b == nil || v.image.MetadataVersion() < versionDirectories {
		return kafka.MigratingDirectory
	}
	if len(b.LogDirs) == 1 {
		return b.LogDirs[0]
	}
	return kafka.UnassignedDirectory
}
