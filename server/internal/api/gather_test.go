package api

import (
	"slices"
	"testing"
)

func TestGather(t *testing.T) {
	var later []func()
	var got [][]int
	done := func(all []int) { got = append(got, slices.Clone(all)) }
	gather([]int{1, 2, 3}, func(n int, answer func(int)) {
		if n == 2 {
			answer(20) // at once
			return
		}
		later = append(later, func() { answer(10 * n) })
	}, done)
	for _, f := range slices.Backward(later) {
		if len(got) != 0 {
			t.Fatal("done before all have answered")
		}
		f()
	}
	gather(nil, func(int, func(int)) { t.Error("asked for nothing") }, done)
	if len(got) != 2 || !slices.Equal(got[0], []int{10, 20, 30}) || len(got[1]) != 0 {
		t.Errorf("gathered %v", got)
	}
}
