package consumer

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// regexPause is the shortest time between two resolutions of one group, whoever asks for them: a group costs no more
// than a look at all names of topics in that time.
const regexPause = 10 * time.Second

// resolved is what a regular expression matched when it was looked at last.
type resolved struct {
	topics []string // in order
	// version is the offset of the image that was looked at, ms when that was.
	version, ms int64
}

// Resolution is what the regular expressions of a group match, all of them looked at together so that they bring one
// rebalance.
type Resolution struct {
	topics map[string][]string
	resolved
}

// Resolve matches regular expressions against whole names of topics, internal ones too, of those that may names; nil
// names all. It touches no group, and is for a goroutine of its own.
func Resolve(regexes []string, image *metadata.Image, may func(topic string) bool, now time.Time) *Resolution {
	r := &Resolution{topics: map[string][]string{}, resolved: resolved{version: image.Offset(), ms: now.UnixMilli()}}
	patterns := map[string]*regexp.Regexp{}
	for _, regex := range regexes {
		r.topics[regex] = nil
		// One that does not compile was stored by another coordinator; it matches nothing.
		if compiled, err := regexp.Compile(`\A(?:` + regex + `)\z`); err == nil {
			patterns[regex] = compiled
		}
	}
	for t := range image.Topics() {
		asked, allowed := may == nil, true
		for regex, pattern := range patterns {
			if !pattern.MatchString(t.Name) {
				continue
			}
			if !asked {
				asked, allowed = true, may(t.Name)
			}
			if allowed {
				r.topics[regex] = append(r.topics[regex], t.Name)
			}
		}
	}
	return r
}

// checkRegex reports whether a regular expression can be used.
func checkRegex(regex string) error {
	compiled, err := regexp.Compile(regex)
	if err != nil {
		return kafka.InvalidRegularExpression.Errorf("SubscribedTopicRegex `%s` is not a valid regular expression: %v.", regex, err)
	}
	named := map[string]bool{}
	for _, name := range compiled.SubexpNames() {
		if name != "" && named[name] { // which Go takes, and Kafka does not
			return kafka.InvalidRegularExpression.Errorf("SubscribedTopicRegex `%s` is not a valid regular expression: duplicate capture group name.", regex)
		}
		named[name] = true
	}
	return nil
}

// reregex is the records that follow when a member goes from one regular expression to another, and the expressions
// that are to be resolved now. A new one is not known to match anything before that.
func (g *Group) reregex(old, m *Member, now time.Time) (records []coordinator.Record, resolve []string, err error) {
	before := ""
	if old != nil {
		before = old.Regex
	}
	readers := func(regex string) int {
		n, _ := g.readers.Get(regex)
		return n
	}
	fresh := ""
	if m.Regex != before {
		if m.Regex != "" && readers(m.Regex) == 0 {
			if err := checkRegex(m.Regex); err != nil {
				return nil, nil, err
			}
			fresh = m.Regex
		}
		records = g.forgetRegex(before, 1)
	}
	if g.readers.Len() == 0 && fresh == "" || g.env.resolving[g.id] {
		return records, nil, nil
	}
	var all []string
	for regex, n := range g.readers.All() {
		if regex != before || m.Regex == before || n > 1 {
			all = append(all, regex)
		}
	}
	if fresh != "" {
		all = append(all, fresh)
	}
	slices.Sort(all)
	if len(all) == 0 || !g.due(all, now.UnixMilli()) {
		return records, nil, nil
	}
	g.env.beginResolve(g.id)
	return records, all, nil
}

// due reports whether the group's regular expressions are to be resolved: one never was, there are new topics, or it is
// long ago, since who may see which topic changes too. But never twice within regexPause.
func (g *Group) due(regexes []string, nowMs int64) bool {
	lastMs, unknown, old := int64(-1), false, false
	for _, r := range g.regexes.All() {
		lastMs = max(lastMs, r.ms)
		old = old || r.version < g.env.NewTopics()
	}
	for _, regex := range regexes {
		_, known := g.regexes.Get(regex)
		unknown = unknown || !known
	}
	if lastMs >= 0 && nowMs <= lastMs+regexPause.Milliseconds() {
		return false
	}
	return unknown || old || nowMs-lastMs >= g.env.Config.RegexRefreshInterval.Milliseconds()
}

// forgetRegex is the record that deletes what a regular expression matched, when no more than so many members, who are
// going, read it.
func (g *Group) forgetRegex(regex string, leaving int) []coordinator.Record {
	n, _ := g.readers.Get(regex)
	if _, known := g.regexes.Get(regex); !known || n > leaving {
		return nil
	}
	return []coordinator.Record{{Key: &wire.ConsumerGroupRegularExpressionKey{GroupID: g.id, RegularExpression: regex}}}
}

func (e *Env) beginResolve(group string) {
	if e.resolving == nil {
		e.resolving = map[string]bool{}
	}
	e.resolving[group] = true
}

// EndResolve says that a resolution of the group is over, whatever came of it: the next may begin.
func (e *Env) EndResolve(group string) { delete(e.resolving, group) }

// Resolved takes what the regular expressions match. Those that match something else than before bring a rebalance.
func (g *Group) Resolved(r *Resolution, now time.Time) []coordinator.Record {
	var records []coordinator.Record
	changed := false
	regexes := map[string]resolved{}
	for regex, topics := range r.topics {
		if n, _ := g.readers.Get(regex); n == 0 {
			continue // nobody reads it any more
		}
		before, _ := g.regexes.Get(regex)
		changed = changed || !slices.Equal(before.topics, topics)
		regexes[regex] = resolved{topics: topics, version: r.version, ms: r.ms}
		records = append(records, g.regexRecord(regex, regexes[regex]))
	}
	slices.SortFunc(records, func(a, b coordinator.Record) int {
		return strings.Compare(a.Key.(*wire.ConsumerGroupRegularExpressionKey).RegularExpression, b.Key.(*wire.ConsumerGroupRegularExpressionKey).RegularExpression)
	})
	matches := func(regex string) []string {
		if found, ok := regexes[regex]; ok {
			return found.topics
		}
		return g.matches(regex)
	}
	hash := hashOf(g.env.Image(), g.topics(nil, nil, matches))
	if len(regexes) > 0 && (changed || hash != g.hash) {
		g.noteBegan(g.note(history.TopicsChanged, nil, 0, now), g.epoch+1, now)
		records = append(records, g.epochRecord(g.epoch+1, hash))
		g.planAssignment(now)
	}
	return records
}

// matches lists the topics that a regular expression matched, none when it is not resolved.
func (g *Group) matches(regex string) []string {
	r, _ := g.regexes.Get(regex)
	return r.topics
}

// reads reports whether a member reads a topic of that name, as far as its regular expression is resolved.
func (g *Group) reads(m *Member, topic string) bool {
	if m.names(topic) || m.Regex == "" {
		return m.names(topic)
	}
	_, matched := slices.BinarySearch(g.matches(m.Regex), topic)
	return matched
}

func (g *Group) replayRegex(regex string, v *wire.ConsumerGroupRegularExpressionValue) {
	if v == nil {
		g.regexes.Delete(regex)
		return
	}
	topics := slices.Clone(v.Topics)
	slices.Sort(topics)
	g.regexes.Set(regex, resolved{topics: topics, version: v.Version, ms: v.Timestamp})
}

// countReader notes that a member reads a regular expression from now on, or not any more.
func (g *Group) countReader(regex string, by int) {
	if regex == "" {
		return
	}
	n, _ := g.readers.Get(regex)
	if n += by; n > 0 {
		g.readers.Set(regex, n)
	} else {
		g.readers.Delete(regex)
	}
}
