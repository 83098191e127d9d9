package group

import "testing"

// Groups are where Apache Kafka puts them, also those whose hash is below zero, or the smallest number as the last one's.
func TestPartitionOf(t *testing.T) {
	for name, want := range map[string]int32{"kafka.classic.empty": 15, "payments": 13, "kafka.classic.full": 37, "orders": 31, "polygenelubricants": 0, "\U0001F600": 49, "a\xff": 40} {
		if got := PartitionOf(name, 50); got != want {
			t.Errorf("%s is in partition %d, want %d", name, got, want)
		}
	}
}
