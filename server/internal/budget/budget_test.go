package budget

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestClassesHoldTheirSizes(t *testing.T) {
	last := -1
	for n := 1; n <= maxClassBytes; n += 1 + n>>12 { // far smaller steps than classes; powers of two are among them
		class, size := classOf(n)
		if size < n || class < last || class > last+1 || class >= numClasses {
			t.Fatalf("%d bytes: class %d of %d bytes after class %d", n, class, size, last)
		}
		if n > 1<<minClassBits && size-n >= (n+3)/4+1 {
			t.Fatalf("%d bytes cost %d: more than a quarter is wasted", n, size)
		}
		if c, s := classOf(size); c != class || s != size {
			t.Fatalf("class %d has two sizes: %d and %d", class, size, s)
		}
		last = class
	}
	if last != numClasses-1 {
		t.Fatalf("the last class is %d of %d", last, numClasses)
	}
}

func TestBuffersAreUsedAgainAndCharged(t *testing.T) {
	b := New(1 << 20)
	ctx := context.Background()
	one, err := b.Get(ctx, 5000)
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Bytes()) != 5000 || b.InUse() != int64(one.Cap()) {
		t.Fatalf("%d bytes, %d in use", len(one.Bytes()), b.InUse())
	}
	mem := &one.Bytes()[0]
	one.Release()
	if s := b.Stats(); s.InUse != 0 || s.Idle != int64(one.Cap()) {
		t.Fatalf("after release: %+v", s)
	}
	two, _ := b.Get(ctx, 5100)
	if &two.Bytes()[0] != mem {
		t.Error("a buffer of the same class was not used again")
	}
	if allocs := testing.AllocsPerRun(100, func() {
		buf, _ := b.Get(ctx, 9000)
		buf.Release()
	}); allocs > 0 {
		t.Errorf("%v allocations to lend a buffer", allocs)
	}
	two.Release()
	idle := b.Stats().Idle
	if freed := b.Rest(); freed != 0 || b.Stats().Idle != idle {
		t.Errorf("%d bytes were let go while buffers were lent", freed)
	}
	if freed := b.Rest(); freed != idle || b.Stats().Idle != 0 {
		t.Errorf("at rest %d of %d bytes were let go", freed, idle)
	}
}

func TestLargeBuffersAreNotKept(t *testing.T) {
	b := New(200 << 20)
	buf, err := b.Get(context.Background(), 100<<20)
	if err != nil {
		t.Fatal(err)
	}
	buf.Release()
	if s := b.Stats(); s.Idle != 0 || s.InUse != 0 {
		t.Errorf("%+v", s)
	}
	var many []*Buffer
	for range 100 {
		buf, _ := b.Get(context.Background(), 1<<20)
		many = append(many, buf)
	}
	for _, buf := range many {
		buf.Release()
	}
	if s := b.Stats(); s.Idle > maxIdleBytes {
		t.Errorf("%d bytes are hoarded", s.Idle)
	}
}

// TestFiveLargeRequestsFindTheirBuffersAgain: as many as one producer has on the way, also when all come back at once.
func TestFiveLargeRequestsFindTheirBuffersAgain(t *testing.T) {
	b := New(1 << 30)
	lend := func() (five [5]*Buffer) {
		for i := range five {
			five[i], _ = b.Get(context.Background(), 8<<20)
		}
		return five
	}
	first := lend()
	for _, buf := range first {
		buf.Release()
	}
	for _, buf := range lend() {
		if !slices.Contains(first[:], buf) {
			t.Error("a buffer was made anew")
		}
		buf.Release()
	}
}

func TestRefusals(t *testing.T) {
	b := New(10_000)
	if _, err := b.Get(context.Background(), 10_001); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a wish beyond the budget: %v", err)
	}
	whole, err := b.Get(context.Background(), 9_000) // its class would be 10 KiB, which is too much
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.TryGet(4096); ok {
		t.Error("more was lent than there is")
	}
	whole.Release()
	defer func() {
		if recover() == nil {
			t.Error("releasing twice is not noticed")
		}
	}()
	whole.Release()
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		ctx := context.Background()
		if err := b.Acquire(ctx, 80); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int64
		for _, n := range []int64{90, 10, 20} {
			go func() {
				if err := b.Acquire(ctx, n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if b.TryAcquire(1) {
			t.Error("a latecomer overtook those who wait")
		}
		b.Release(80)
		synctest.Wait()
		if len(order) != 2 || order[0]+order[1] != 100 {
			t.Errorf("served %v; want the large one, then the one that fits beside it", order)
		}
		b.Release(90)
		b.Release(10)
		synctest.Wait()
		if len(order) != 3 || b.InUse() != 20 {
			t.Errorf("served %v, %d in use", order, b.InUse())
		}
	})
}

func TestGivingUpLetsTheNextOneIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		_ = b.Acquire(context.Background(), 50)
		ctx, cancel := context.WithCancel(context.Background())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- b.Acquire(ctx, 90) }()
		synctest.Wait()
		served := make(chan error, 1)
		go func() { served <- b.Acquire(context.Background(), 40) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("giving up: %v", err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if b.InUse() != 90 {
			t.Errorf("%d in use", b.InUse())
		}
	})
}

// TestLimitHolds lets many borrow at once and watches the invariant.
func TestLimitHolds(t *testing.T) {
	b := New(1 << 20)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 2000 {
				n := 1 + rnd.IntN(400<<10)
				buf, err := b.Get(context.Background(), n)
				if err != nil {
					t.Error(err)
					return
				}
				buf.Bytes()[n-1] = byte(g)
				if s := b.Stats(); s.InUse+s.Idle > s.Limit {
					t.Errorf("beyond the limit: %+v", s)
				}
				if buf.Bytes()[n-1] != byte(g) {
					t.Error("somebody else writes into a lent buffer")
				}
				buf.Release()
			}
		})
	}
	wg.Wait()
	if s := b.Stats(); s.InUse != 0 || s.Waiting != 0 {
		t.Errorf("at the end: %+v", s)
	}
}

func BenchmarkGetRelease(b *testing.B) {
	budget := New(64 << 20)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		buf, _ := budget.Get(ctx, 100_000)
		buf.Release()
	}
}

// While somebody waits, and only then, those who can are asked to give memory back: as much as the first one waits for.
func TestOnShort(t *testing.T) {
	b := New(100)
	asked := make(chan int64, 100)
	b.OnShort(func(n int64) { asked <- n })
	b.Charge(150) // more than there is
	if b.TryAcquire(1) {
		t.Error("a byte was lent although more is in use than there is")
	}
	got := make(chan error, 2)
	go func() { got <- b.Acquire(context.Background(), 60) }()
	for b.Stats().Waiting < 1 {
		runtime.Gosched()
	}
	go func() { got <- b.Acquire(context.Background(), 5) }()
	for range 3 {
		if n := <-asked; n != 60 {
			t.Errorf("asked for %d bytes, want the 60 that the first one waits for", n)
		}
	}
	b.Release(150)
	for range 2 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	b.Release(65)
	if used := b.InUse(); used != 0 {
		t.Errorf("%d bytes are in use at the end", used)
	}
}

// The requests of a producer that fills several partitions are large and of many sizes. After the first few, none of
// them makes a buffer.
func TestLargeRequestsOfAnySizeUseWhatIsThere(t *testing.T) {
	b := New(256 << 20)
	rnd := rand.New(rand.NewPCG(1, 1))
	made := map[*byte]bool{}
	for i := range 1000 {
		buf, err := b.Get(context.Background(), 2<<20+rnd.IntN(6<<20))
		if err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.InUse != int64(buf.Cap()) {
			t.Fatalf("%d bytes lent, %d in use", buf.Cap(), s.InUse)
		}
		if first := &buf.Bytes()[0]; !made[first] {
			made[first] = true
			if i > 100 {
				t.Errorf("request %d makes buffer %d", i, len(made))
			}
		}
		buf.Release()
	}
}

// When memory is short a buffer costs what was asked for.
func TestNothingLargerIsLentWhileMemoryIsShort(t *testing.T) {
	b := New(64 << 20)
	buf, _ := b.Get(context.Background(), 4<<20)
	rest, _ := b.Get(context.Background(), 31<<20)
	buf.Release()
	if idle := b.Stats().Idle; idle < 4<<20 {
		t.Fatalf("%d bytes are idle: nothing is kept that could be lent", idle)
	}
	if small, _ := b.Get(context.Background(), 2<<20); small.Cap() >= 4<<20 {
		t.Errorf("%d bytes were lent for 2 MiB", small.Cap())
	}
	rest.Release()
}

// What is kept is a small share of a small budget, and small buffers are lent as they were asked for.
func TestLittleIsKept(t *testing.T) {
	b := New(64 << 20)
	var lent []*Buffer
	for range 8 {
		for _, n := range []int{100 << 10, 3 << 20} {
			buf, err := b.Get(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			lent = append(lent, buf)
		}
	}
	for _, buf := range lent {
		buf.Release()
	}
	if s := b.Stats(); s.Idle == 0 || s.Idle > s.Limit/maxIdleShare {
		t.Errorf("%d bytes are kept of a budget of %d", s.Idle, s.Limit)
	}
	if buf, _ := b.Get(context.Background(), 64<<10); buf.Cap() != 64<<10 {
		t.Errorf("%d bytes were lent for 64 KiB", buf.Cap())
	}
}
