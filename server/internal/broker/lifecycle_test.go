package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// script drives a lifecycle by hand: the test is the controller and the clock.
type script struct {
	t   *testing.T
	l   *lifecycle
	now time.Time
}

func newScript(t *testing.T) *script {
	now := time.Unix(1_800_000_000, 0)
	c := Config{HeartbeatInterval: 250 * time.Millisecond, RegistrationTimeout: time.Minute}
	return &script{t, newLifecycle(wire.BrokerRegistrationRequest{BrokerID: 7, ClusterID: "c"}, c, now), now}
}

func (s *script) after(d time.Duration) *script { s.now = s.now.Add(d); return s }

func (s *script) registers() {
	s.t.Helper()
	if m, wake := s.l.next(s.now); m == nil {
		s.t.Fatalf("no registration: wakes in %v, state %s", wake.Sub(s.now), s.l.state)
	} else if r, ok := m.(*wire.BrokerRegistrationRequest); !ok || r.BrokerID != 7 {
		s.t.Fatalf("not a registration: %+v", m)
	}
}

func (s *script) beats() *wire.BrokerHeartbeatRequest {
	s.t.Helper()
	m, wake := s.l.next(s.now)
	beat, ok := m.(*wire.BrokerHeartbeatRequest)
	if !ok {
		s.t.Fatalf("no heartbeat but %T; wakes in %v, state %s", m, wake.Sub(s.now), s.l.state)
	}
	return beat
}

func (s *script) silentFor(d time.Duration) {
	s.t.Helper()
	m, wake := s.l.next(s.now)
	if m != nil || wake.Sub(s.now) != d {
		s.t.Fatalf("want silence for %v, got %T and a wake-up in %v", d, m, wake.Sub(s.now))
	}
}

func (s *script) registered(epoch int64) {
	s.l.answered(&wire.BrokerRegistrationResponse{BrokerEpoch: epoch}, nil, s.now)
}

func (s *script) refused(code kafka.ErrorCode) {
	if s.l.state == Starting {
		s.l.answered(&wire.BrokerRegistrationResponse{ErrorCode: code}, nil, s.now)
		return
	}
	s.l.answered(&wire.BrokerHeartbeatResponse{ErrorCode: code}, nil, s.now)
}

func (s *script) beaten(fenced bool) {
	s.l.answered(&wire.BrokerHeartbeatResponse{IsFenced: fenced, IsCaughtUp: !fenced}, nil, s.now)
}

func (s *script) is(state State) {
	s.t.Helper()
	if s.l.state != state {
		s.t.Fatalf("state %s, want %s", s.l.state, state)
	}
}

// started brings the lifecycle to RUNNING.
func (s *script) started() *script {
	s.t.Helper()
	s.registers()
	s.registered(11)
	s.beats()
	s.beaten(true)
	s.l.published(5, s.now)
	s.beats()
	s.beaten(false)
	s.is(Running)
	return s
}

func TestAStartIsThreeRequestsWithoutAPause(t *testing.T) {
	s := newScript(t)
	s.registers()
	if m, wake := s.l.next(s.now); m != nil || !wake.IsZero() {
		t.Fatalf("a second request while the first is under way: %T, %v", m, wake)
	}
	s.registered(11)
	if beat := s.beats(); beat.BrokerEpoch != 11 || beat.CurrentMetadataOffset != -1 || beat.WantFence {
		t.Fatalf("first heartbeat %+v", beat)
	}
	s.beaten(true)
	s.is(Recovering)
	s.silentFor(250 * time.Millisecond)
	s.l.published(12, s.now)
	if beat := s.beats(); beat.CurrentMetadataOffset != 12 {
		t.Fatalf("it has come to 12, the heartbeat says %d", beat.CurrentMetadataOffset)
	}
	s.beaten(false)
	s.is(Running)
	s.silentFor(250 * time.Millisecond)
}

func TestAnImageThatComesDuringAHeartbeatIsToldAtOnce(t *testing.T) {
	s := newScript(t)
	s.registers()
	s.registered(11)
	s.beats()
	s.l.published(12, s.now)
	s.beaten(true)
	if beat := s.beats(); beat.CurrentMetadataOffset != 12 {
		t.Fatalf("heartbeat %+v", beat)
	}
}

func TestImagesDoNotHurryARunningBroker(t *testing.T) {
	s := newScript(t).started()
	s.l.published(99, s.now)
	s.silentFor(250 * time.Millisecond)
	if beat := s.after(250 * time.Millisecond).beats(); beat.CurrentMetadataOffset != 99 {
		t.Fatalf("heartbeat %+v", beat)
	}
}

func TestFailuresBackOffAndAGoodAnswerEndsIt(t *testing.T) {
	s := newScript(t)
	for _, pause := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
		s.registers()
		s.l.answered(nil, kafka.NotController, s.now)
		s.silentFor(pause * time.Millisecond)
		s.after(pause * time.Millisecond)
	}
	s.registers()
	s.registered(3)
	s.beats()
}

func TestARegistrationIsGivenUpWhenItsTimeIsOver(t *testing.T) {
	s := newScript(t)
	s.registers()
	s.after(59 * time.Second).refused(kafka.DuplicateBrokerRegistration)
	if s.l.failure != nil {
		t.Fatal(s.l.failure)
	}
	s.after(2 * time.Second).registers()
	s.refused(kafka.DuplicateBrokerRegistration)
	if !errors.Is(s.l.failure, kafka.DuplicateBrokerRegistration) {
		t.Fatalf("failure %v", s.l.failure)
	}
	if m, _ := s.l.next(s.after(time.Hour).now); m != nil {
		t.Fatalf("it goes on with %T", m)
	}
}

func TestAnotherClustersControllerIsFinal(t *testing.T) {
	s := newScript(t)
	s.registers()
	s.refused(kafka.InconsistentClusterID)
	if !errors.Is(s.l.failure, kafka.InconsistentClusterID) {
		t.Fatalf("failure %v", s.l.failure)
	}
}

func TestAStaleEpochRegistersAgainHoweverLate(t *testing.T) {
	s := newScript(t).started()
	s.after(time.Hour).beats()
	s.refused(kafka.StaleBrokerEpoch)
	s.is(Starting)
	s.silentFor(10 * time.Millisecond)
	s.after(10 * time.Millisecond).registers()
	s.refused(kafka.DuplicateBrokerRegistration) // the limit is for the first registration alone
	if s.l.failure != nil {
		t.Fatal(s.l.failure)
	}
}

func TestAFencedBrokerIsUnfencedByTheNextBeat(t *testing.T) {
	s := newScript(t).started()
	s.after(250 * time.Millisecond).beats()
	s.beaten(true)
	s.is(Recovering)
	s.after(250 * time.Millisecond).beats()
	s.beaten(false)
	s.is(Running)
}

func TestADirectoryThatFailsIsToldAtOnceAndEverAfter(t *testing.T) {
	s := newScript(t).started()
	dir := kafka.NewUUID()
	s.l.dirFailed(dir, s.now)
	s.l.dirFailed(dir, s.now)
	for range 2 {
		if beat := s.beats(); len(beat.OfflineLogDirs) != 1 || beat.OfflineLogDirs[0] != dir {
			t.Fatalf("heartbeat %+v", beat)
		}
		s.beaten(false)
		s.after(250 * time.Millisecond)
	}
}

func TestLeavingWaitsForTheControllersWord(t *testing.T) {
	s := newScript(t).started()
	s.l.leave(s.now)
	if !s.beats().WantShutDown {
		t.Fatal("the heartbeat does not ask for the shutdown")
	}
	s.beaten(false)
	s.is(Leaving)
	s.after(250 * time.Millisecond).beats()
	s.l.answered(&wire.BrokerHeartbeatResponse{ShouldShutDown: true}, nil, s.now)
	s.is(Gone)
	if m, wake := s.l.next(s.now); m != nil || !wake.IsZero() {
		t.Fatalf("a broker that is gone says %T", m)
	}
}

func TestLeavingBeforeRegisteringIsImmediate(t *testing.T) {
	s := newScript(t)
	s.l.leave(s.now)
	s.is(Gone)

	s = newScript(t)
	s.registers() // the answer is still out
	s.l.leave(s.now)
	s.l.answered(nil, kafka.NotController, s.now)
	s.is(Gone)
}

func TestWhoWantsToBeFencedSaysSo(t *testing.T) {
	s := newScript(t).started()
	s.l.wantFence(true, s.now)
	if !s.beats().WantFence {
		t.Fatal("not said")
	}
	s.beaten(true)
	s.is(Recovering)
	s.l.wantFence(false, s.now)
	if s.beats().WantFence {
		t.Fatal("said for good")
	}
}
