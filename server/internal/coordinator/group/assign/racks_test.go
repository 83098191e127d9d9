package assign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// onRacks makes a group whose members and partitions are on racks, with targets that an earlier assignment may have left.
func onRacks(r *rand.Rand) *Spec {
	s := random(r)
	rack := func() string { return string(rune('a' + r.IntN(4))) }
	for i := range s.Topics {
		t := &s.Topics[i]
		for range t.Partitions {
			var on []string
			for range r.IntN(4) {
				on = append(on, rack())
			}
			t.Racks = append(t.Racks, on)
		}
	}
	used := Set{}
	for i := range s.Members {
		m := &s.Members[i]
		if r.IntN(5) > 0 {
			m.Rack = rack()
		}
		m.Target = m.Target.Minus(used.Partitions())
		used = Set{}
		for j := range i + 1 {
			used.AddAll(s.Members[j].Target)
		}
	}
	return s
}

// blind is the same group where nobody knows where anything is.
func blind(s *Spec) *Spec {
	b := &Spec{}
	for _, t := range s.Topics {
		t.Racks = nil
		b.Topics = append(b.Topics, t)
	}
	for _, m := range s.Members {
		m.Rack = ""
		b.Members = append(b.Members, m)
	}
	return b
}

// judged is how good an assignment is.
type judged struct {
	sizes      []int // in order
	kept, near int
}

func judge(s *Spec, got map[string]Partitions) judged {
	var j judged
	for _, m := range s.Members {
		j.sizes = append(j.sizes, got[m.ID].Len())
		j.kept += m.Target.Intersect(got[m.ID]).Len()
		for _, t := range s.Topics {
			for _, p := range got[m.ID].Of(t.ID) {
				if m.Rack != "" && int(p) < len(t.Racks) && slices.Contains(t.Racks[p], m.Rack) {
					j.near++
				}
			}
		}
	}
	slices.Sort(j.sizes)
	return j
}

func TestRacksCostNeitherBalanceNorStickiness(t *testing.T) {
	better := 0
	for seed := range uint64(2000) {
		s := onRacks(rand.New(rand.NewPCG(seed, 4)))
		with, without := judge(s, Uniform{}.Assign(s)), judge(s, Uniform{}.Assign(blind(s)))
		if !slices.Equal(with.sizes, without.sizes) || with.kept < without.kept {
			t.Fatalf("seed %d: %+v, and without racks %+v", seed, with, without)
		}
		if with.near < without.near {
			t.Fatalf("seed %d: %d partitions are near their member, and without racks %d", seed, with.near, without.near)
		}
		if with.near > without.near {
			better++
		}
	}
	if better < 400 {
		t.Errorf("racks made a difference %d times in 2000", better)
	}
}

func TestWithRacksEveryPartitionHasOneOwnerAndStays(t *testing.T) {
	for seed := range uint64(1500) {
		s := onRacks(rand.New(rand.NewPCG(seed, 5)))
		got := Uniform{}.Assign(s)
		owned := map[string]bool{}
		for _, m := range s.Members {
			for _, tp := range got[m.ID] {
				for _, p := range tp.Partitions {
					if key := fmt.Sprint(tp.Topic, p); owned[key] || !m.reads(tp.Topic) {
						t.Fatalf("seed %d: %s has %s", seed, m.ID, key)
					} else {
						owned[key] = true
					}
				}
			}
		}
		want := 0
		for _, topic := range s.Topics {
			if slices.ContainsFunc(s.Members, func(m Member) bool { return m.reads(topic.ID) }) {
				want += int(topic.Partitions)
			}
		}
		if len(owned) != want {
			t.Fatalf("seed %d: %d partitions of %d have an owner", seed, len(owned), want)
		}
		for id, p := range (Uniform{}).Assign(again(s, got)) {
			if !p.Equal(got[id]) {
				t.Fatalf("seed %d: %s had %v and has %v", seed, id, got[id], p)
			}
		}
	}
}

// A new group whose members read the same gets the nearest of all even assignments.
func TestANewGroupIsAsNearAsCanBe(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 6))
		s := onRacks(r)
		s.Topics = s.Topics[:1]
		s.Topics[0].Partitions = min(s.Topics[0].Partitions, 6)
		s.Members = s.Members[:min(len(s.Members), 4)]
		for i := range s.Members {
			s.Members[i].Target, s.Members[i].Topics = nil, []kafka.TopicID{s.Topics[0].ID}
		}
		if got, want := judge(s, Uniform{}.Assign(s)).near, nearest(s); got != want {
			t.Fatalf("seed %d: %d partitions are near their member, and %d could be", seed, got, want)
		}
	}
}

// nearest tries every even assignment of the one topic.
func nearest(s *Spec) int {
	topic := s.Topics[0]
	n := int(topic.Partitions)
	most := (n + len(s.Members) - 1) / len(s.Members)
	least := n / len(s.Members)
	count := make([]int, len(s.Members))
	var try func(p int) int
	try = func(p int) int {
		if p == n {
			if slices.Min(count) < least {
				return -1
			}
			return 0
		}
		best := -1
		for i, m := range s.Members {
			if count[i] == most {
				continue
			}
			count[i]++
			if rest := try(p + 1); rest >= 0 {
				if m.Rack != "" && slices.Contains(topic.Racks[p], m.Rack) {
					rest++
				}
				best = max(best, rest)
			}
			count[i]--
		}
		return best
	}
	return try(0)
}

// Without racks Uniform does what Kafka 4.4's does; that of either alone must not change anything.
func TestARackAloneChangesNothing(t *testing.T) {
	for seed := range uint64(1000) {
		s := onRacks(rand.New(rand.NewPCG(seed, 7)))
		want := Uniform{}.Assign(blind(s))
		members, topics := blind(s), blind(s)
		for i, m := range s.Members {
			members.Members[i].Rack = m.Rack
		}
		for i, topic := range s.Topics {
			topics.Topics[i].Racks = topic.Racks
		}
		for what, one := range map[string]*Spec{"of the members": members, "of the partitions": topics} {
			for id, got := range (Uniform{}).Assign(one) {
				if !got.Equal(want[id]) {
					t.Fatalf("seed %d: with racks %s only, %s has %v, not %v", seed, what, id, got, want[id])
				}
			}
		}
	}
}

func BenchmarkUniformRacks1000(b *testing.B) {
	s := &Spec{Topics: []Topic{{ID: kafka.TopicID{15: 1}, Name: "t", Partitions: 1000}}}
	for p := range 1000 {
		s.Topics[0].Racks = append(s.Topics[0].Racks, []string{fmt.Sprint(p % 3), fmt.Sprint(p / 3 % 3)})
	}
	for i := range 1000 {
		s.Members = append(s.Members, Member{ID: fmt.Sprintf("m%04d", i), Topics: []kafka.TopicID{{15: 1}}, Rack: fmt.Sprint(i % 7 % 3)})
	}
	b.ReportAllocs()
	for b.Loop() {
		Uniform{}.Assign(s)
	}
}
