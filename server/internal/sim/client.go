package sim

import (
	"regexp"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// member is a simulated member of a group.
type member interface {
	connection() *client
	// step does what a member does next.
	step()
	leave()
	// owns lists the partitions that the member takes for its own.
	owns() []string
	settled() bool
	// resubscribe lets the member read something else.
	resubscribe()
}

// client is a member's connection. It has one request on the way at a time; when an answer takes too long it goes on, and
// never hears it.
type client struct {
	w         *world
	name      string
	in        *theGroup
	topics    []string
	regex     string  // instead of topics; empty for none
	instance  *string // of a static member
	dead      bool
	hungUntil time.Duration
	call      int           // the request that is on its way, or the next one
	arrival   time.Duration // when the last message arrives: none overtakes another
	// repeated says that a request was sent twice: that is what a client does whose connection broke, and who speaks
	// the consumer protocol then tells everything anew, since the answer that it has not heard may have been news.
	repeated bool
}

// theGroup is a group with what its members do.
type theGroup struct {
	name     string
	protocol protocol
	topics   []string
	members  int // so far
	// newest is who was last told of a generation or epoch: a planted bug speaks in its name.
	newestID    string
	newestEpoch int32
	holder      map[string]string // the member that was last told that it has an instance id
}

// protocol is what the members of a group speak.
type protocol uint8

const (
	classic protocol = iota
	consumer
	either // each member what it likes: the group goes from one to the other and back (KIP-848)
)

func (g *theGroup) holds(instance, member string) {
	if g.holder == nil {
		g.holder = map[string]string{}
	}
	g.holder[instance] = member
}

func (c *client) connection() *client { return c }

// regexes are what members of consumer groups read in the place of names.
var regexes = []string{"t.*", "t[01]", "t0|t2"}

// reads lists the topics that the member reads.
func (c *client) reads() []string {
	if c.regex == "" {
		return c.topics
	}
	return slices.DeleteFunc(c.w.sortedTopics(), func(name string) bool {
		return !regexp.MustCompile(`^(?:` + c.regex + `)$`).MatchString(name)
	})
}

// instanceID is the instance id, empty for none.
func (c *client) instanceID() string {
	if c.instance == nil {
		return ""
	}
	return *c.instance
}

// replaced ends a static member whose place another has taken.
func (c *client) replaced() {
	c.w.say("%s: another is %s now", c.name, *c.instance)
	c.dead = true
}

// later lets something happen in the client, later; not when it is dead, and not while it hangs.
func (c *client) later(d time.Duration, do func()) {
	c.w.after(d, func() { c.alive(do) })
}

func (c *client) alive(do func()) {
	switch {
	case c.dead:
	case c.w.now < c.hungUntil:
		c.w.at(c.hungUntil, func() { c.alive(do) })
	default:
		do()
	}
}

// answer gives an answer to a request, once; hear happens in the client when it arrives.
type answer func(hear func())

// open is a request that the coordinator has not answered.
type open struct {
	what     string
	due      time.Duration // without the time that the process slept
	answered bool
}

// unheard is the call of a request whose answer nobody hears: its connection is closed.
const unheard = -1

// ask sends a request. waits is how long the group itself may let it wait, patience how long the client does.
func (c *client) ask(what string, waits, patience time.Duration, deliver func(answer), silence func()) {
	w := c.w
	c.call++
	call := c.call
	if w.trouble(0.03) {
		w.say("%s: %s is lost", c.name, what)
	} else {
		if w.trouble(0.03) {
			c.travel(what, waits, unheard, deliver)
			what += " again"
			c.repeated = true
		}
		c.travel(what, waits, call, deliver)
	}
	c.later(patience, func() {
		if c.call == call {
			c.call++
			w.say("%s: no answer to %s", c.name, what)
			silence()
		}
	})
}

func (c *client) travel(what string, waits time.Duration, call int, deliver func(answer)) {
	w := c.w
	c.arrival = max(c.arrival, w.now+w.delay())
	w.at(c.arrival, func() {
		w.whenAwake(func() { w.arrive(c, what, waits, call, deliver) })
	})
}

// delay is how long a message is on its way.
func (w *world) delay() time.Duration {
	if w.trouble(0.05) {
		return w.between(time.Second, 12*time.Second)
	}
	return w.between(time.Millisecond, 20*time.Millisecond)
}

// arrive hands a request to the coordinator.
func (w *world) arrive(c *client, what string, waits time.Duration, call int, deliver func(answer)) {
	if !w.up {
		w.say("%s: %s finds no node", c.name, what)
		return
	}
	w.say("%s: %s arrives", c.name, what)
	life := w.life
	o := &open{what: c.name + ": " + what, due: w.now - w.slept + writeTimeout + waits + answerSlack}
	w.open = append(w.open, o)
	deliver(func(hear func()) {
		if w.life != life {
			return // the process is gone, and its connections with it
		}
		if o.answered {
			w.fail("every request is answered once", "%s was answered again", o.what)
		}
		o.answered = true
		if w.trouble(0.03) {
			w.say("%s: the answer to %s is lost", c.name, what)
			return
		}
		w.after(w.delay(), func() {
			c.alive(func() {
				if c.call == call {
					c.call++
					hear()
				}
			})
		})
	})
	w.turn()
}

// retriable reports whether an error tells a client to look for the coordinator, or to wait.
func retriable(err error) bool {
	switch kafka.CodeOf(err) {
	case kafka.NotCoordinator, kafka.CoordinatorNotAvailable, kafka.CoordinatorLoadInProgress, kafka.UnknownServerError, kafka.KafkaStorageError:
		return true
	}
	return false
}
