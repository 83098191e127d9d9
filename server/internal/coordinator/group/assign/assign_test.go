package assign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// random makes a group, with targets that an earlier assignment may have left.
func random(r *rand.Rand) *Spec {
	s := &Spec{}
	for i := range 1 + r.IntN(5) {
		s.Topics = append(s.Topics, Topic{ID: kafka.TopicID{15: byte(i + 1)}, Name: fmt.Sprint("t", i), Partitions: int32(r.IntN(12))})
	}
	alike := r.IntN(2) == 0
	for i := range 1 + r.IntN(8) {
		m := Member{ID: fmt.Sprintf("m%02d", i)}
		for _, t := range s.Topics {
			if alike || r.IntN(3) > 0 {
				m.Topics = append(m.Topics, t.ID)
			}
		}
		if r.IntN(3) == 0 {
			m.Instance = fmt.Sprint("i", r.IntN(100)+100*i)
		}
		target := Set{}
		for range r.IntN(6) { // of topics and partitions that may be gone, or others', too
			target.Add(kafka.TopicID{15: byte(1 + r.IntN(6))}, int32(r.IntN(14)))
		}
		m.Target = target.Partitions()
		s.Members = append(s.Members, m)
	}
	return s
}

func again(s *Spec, targets map[string]Partitions) *Spec {
	next := &Spec{Topics: s.Topics}
	for _, m := range s.Members {
		m.Target = targets[m.ID]
		next.Members = append(next.Members, m)
	}
	return next
}

func TestEveryPartitionHasOneOwnerWhoReadsIt(t *testing.T) {
	for name, assignor := range All() {
		for seed := range uint64(3000) {
			s := random(rand.New(rand.NewPCG(seed, 2)))
			got := assignor.Assign(s)
			owners := map[string]string{}
			for _, m := range s.Members {
				for _, tp := range got[m.ID] {
					for _, p := range tp.Partitions {
						key := fmt.Sprint(tp.Topic, p)
						if other := owners[key]; other != "" {
							t.Fatalf("%s, seed %d: %s belongs to %s and %s", name, seed, key, other, m.ID)
						}
						if !m.reads(tp.Topic) {
							t.Fatalf("%s, seed %d: %s does not read %s", name, seed, m.ID, key)
						}
						owners[key] = m.ID
					}
				}
			}
			for _, topic := range s.Topics {
				read := slices.ContainsFunc(s.Members, func(m Member) bool { return m.reads(topic.ID) })
				for p := range topic.Partitions {
					if read != (owners[fmt.Sprint(topic.ID, p)] != "") {
						t.Fatalf("%s, seed %d: %s/%d is read: %v, and has the owner %q", name, seed, topic.Name, p, read, owners[fmt.Sprint(topic.ID, p)])
					}
				}
			}
		}
	}
}

func TestUniformIsBalancedAndStays(t *testing.T) {
	for seed := range uint64(3000) {
		s := random(rand.New(rand.NewPCG(seed, 3)))
		got := Uniform{}.Assign(s)
		// Nobody has two more than somebody who could take one of them.
		for _, rich := range s.Members {
			for _, poor := range s.Members {
				if got[rich.ID].Len()-got[poor.ID].Len() < 2 {
					continue
				}
				for _, tp := range got[rich.ID] {
					if poor.reads(tp.Topic) {
						t.Fatalf("seed %d: %s has %d, %s %d, and could take %s", seed, rich.ID, got[rich.ID].Len(), poor.ID, got[poor.ID].Len(), tp.Topic)
					}
				}
			}
		}
		// With nothing changed, nothing moves.
		for id, p := range (Uniform{}).Assign(again(s, got)) {
			if !p.Equal(got[id]) {
				t.Fatalf("seed %d: %s had %v and has %v", seed, id, got[id], p)
			}
		}
		// A member leaves: what the others have they keep.
		if len(s.Members) > 1 {
			left := again(s, got)
			gone := left.Members[0]
			left.Members = left.Members[1:]
			for id, p := range (Uniform{}).Assign(left) {
				if len(left.Members) > 0 && gone.Topics != nil && alikeAll(s) && got[id].Minus(p).Len() > 0 {
					t.Fatalf("seed %d: %s lost %v when %s left", seed, id, got[id].Minus(p), gone.ID)
				}
			}
		}
	}
}

func alikeAll(s *Spec) bool { return (&uniform{spec: s}).alike() }

func TestRangeGivesTheSamePartOfEveryTopic(t *testing.T) {
	a, b := kafka.TopicID{15: 1}, kafka.TopicID{15: 2}
	s := &Spec{Topics: []Topic{{ID: a, Name: "a", Partitions: 5}, {ID: b, Name: "b", Partitions: 5}}, Members: []Member{
		{ID: "m1", Topics: []kafka.TopicID{a, b}}, {ID: "m2", Instance: "one", Topics: []kafka.TopicID{a, b}},
	}}
	got := Range{}.Assign(s)
	if want := (Partitions{{a, []int32{0, 1, 2}}, {b, []int32{0, 1, 2}}}); !got["m2"].Equal(want) {
		t.Errorf("the static member, which comes first, has %v", got["m2"])
	}
	if want := (Partitions{{a, []int32{3, 4}}, {b, []int32{3, 4}}}); !got["m1"].Equal(want) {
		t.Errorf("m1 has %v", got["m1"])
	}
}

func TestPartitions(t *testing.T) {
	a, b, c := kafka.TopicID{15: 1}, kafka.TopicID{15: 2}, kafka.TopicID{15: 3}
	p := Partitions{{a, []int32{0, 1, 2}}, {b, []int32{5}}}
	q := Partitions{{a, []int32{1, 3}}, {c, []int32{0}}}
	for what, got := range map[string][2]Partitions{
		"intersection": {p.Intersect(q), {{a, []int32{1}}}},
		"difference":   {p.Minus(q), {{a, []int32{0, 2}}, {b, []int32{5}}}},
		"union":        {p.Union(q), {{a, []int32{0, 1, 2, 3}}, {b, []int32{5}}, {c, []int32{0}}}},
	} {
		if !got[0].Equal(got[1]) {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	if p.Len() != 4 || !p.Has(b, 5) || p.Has(c, 0) || p.Has(a, 3) {
		t.Error("length or membership")
	}
}

func BenchmarkUniform1000(b *testing.B) {
	s := &Spec{Topics: []Topic{{ID: kafka.TopicID{15: 1}, Name: "t", Partitions: 1000}}}
	for i := range 1000 {
		s.Members = append(s.Members, Member{ID: fmt.Sprintf("m%04d", i), Topics: []kafka.TopicID{{15: 1}}})
	}
	s = again(s, Uniform{}.Assign(s))
	b.ReportAllocs()
	for b.Loop() {
		Uniform{}.Assign(s)
	}
}
