package differential

import (
	"bufio"
	"cmp"
	"embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
)

// Difference is one field in which the two sides are apart.
type Difference struct {
	API      string
	Version  int16
	Path     string
	Where    string
	Kafka    string
	Millrace string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s v%d %s [%s]: Kafka %s, Millrace %s", d.API, d.Version, d.Path, d.Where, d.Kafka, d.Millrace)
}

const missing = "(absent)"

// diff compares two rendered answers. Where a side gave no answer that is the one difference, with the codes of the
// other's.
func diff(key wire.APIKey, version int16, kafka, millrace []Leaf) []Difference {
	if x, y := noAnswer(kafka), noAnswer(millrace); x != y {
		return []Difference{{key.String(), version, "!", "", cmp.Or(x, codesOf(kafka)), cmp.Or(y, codesOf(millrace))}}
	}
	out := diffLeaves(kafka, millrace)
	for i := range out {
		out[i].API, out[i].Version = key.String(), version
	}
	return out
}

// diffLeaves compares two things field by field. Fields are matched by where they are, so that one that is missing on a
// side does not shift all that follow. Where a side lacks an element of an array that is one difference, with the element's
// first field.
func diffLeaves(kafka, millrace []Leaf) []Difference {
	type place struct{ path, where string }
	theirs := make(map[place][]string)
	var order []place
	note := func(p place) {
		if _, seen := theirs[p]; !seen {
			order = append(order, p)
		}
	}
	for _, l := range kafka {
		p := place{l.Path, l.Where}
		note(p)
		theirs[p] = append(theirs[p], l.Value)
	}
	ours := make(map[place][]string)
	for _, l := range millrace {
		p := place{l.Path, l.Where}
		if _, seen := theirs[p]; !seen {
			if _, seen := ours[p]; !seen {
				order = append(order, p)
			}
		}
		ours[p] = append(ours[p], l.Value)
	}
	var out []Difference
	var lacking []lack
	for _, p := range order {
		a, b := theirs[p], ours[p]
		for i := range max(len(a), len(b)) {
			x, y := missing, missing
			if i < len(a) {
				x = a[i]
			}
			if i < len(b) {
				y = b[i]
			}
			if x == y {
				continue
			}
			if x == missing || y == missing {
				parent, _ := path.Split(strings.ReplaceAll(p.path, ".", "/"))
				one := lack{parent, p.where, y == missing}
				if slices.ContainsFunc(lacking, one.within) {
					continue
				}
				lacking = append(lacking, one)
			}
			out = append(out, Difference{Path: p.path, Where: p.where, Kafka: x, Millrace: y})
		}
	}
	return out
}

// lack is an element that one of the sides lacks.
type lack struct {
	parent, where string
	ours          bool
}

// within reports whether an element is part of another, or the same.
func (l lack) within(other lack) bool {
	return l.ours == other.ours && strings.HasPrefix(l.parent, other.parent) && (l.where == other.where || strings.HasPrefix(l.where, other.where+"/"))
}

// noAnswer is what came instead of an answer, "" when there is one.
func noAnswer(leaves []Leaf) string {
	if len(leaves) == 1 && leaves[0].Path == "!" {
		return leaves[0].Value
	}
	return ""
}

// codesOf are the error codes of an answer.
func codesOf(leaves []Leaf) string {
	var codes []string
	for _, l := range leaves {
		if strings.HasSuffix(l.Path, "error_code") && !slices.Contains(codes, l.Value) {
			codes = append(codes, l.Value)
		}
	}
	return "an answer: " + strings.Join(codes, " ")
}

// Known is one difference that is wanted.
type Known struct {
	Line               int
	API, Versions      string // a glob, and a range or *
	Path, Where        string // globs
	Kafka, Millrace    string // globs
	Reason             string
	Hits               int
	minVersion, latest int16
}

//go:embed known.txt
var knownFile embed.FS

// loadKnown reads known.txt: a line per difference, with the columns of Known separated by " | ". Alternatives of where
// are separated by commas; each is an entry of its own.
func loadKnown() ([]*Known, error) {
	f, err := knownFile.Open("known.txt")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []*Known
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(line, " | ")
		if len(c) != 7 {
			return nil, fmt.Errorf("known.txt:%d: %d columns, want API | versions | path | where | Kafka | Millrace | reason", n, len(c))
		}
		for i := range c {
			c[i] = strings.TrimSpace(c[i])
		}
		k := &Known{Line: n, API: c[0], Versions: c[1], Path: c[2], Where: c[3], Kafka: c[4], Millrace: c[5], Reason: c[6], latest: 1 << 14}
		if k.Versions != "*" {
			low, high, ranged := strings.Cut(k.Versions, "-")
			a, err := strconv.Atoi(low)
			if err != nil {
				return nil, fmt.Errorf("known.txt:%d: versions %q", n, k.Versions)
			}
			k.minVersion, k.latest = int16(a), int16(a)
			if ranged {
				b, err := strconv.Atoi(high)
				if err != nil {
					return nil, fmt.Errorf("known.txt:%d: versions %q", n, k.Versions)
				}
				k.latest = int16(b)
			}
		}
		for _, where := range strings.Split(k.Where, ",") {
			one := *k
			one.Where = strings.TrimSpace(where)
			list = append(list, &one)
		}
	}
	return list, lines.Err()
}

// matches reports whether the difference is this one.
func (k *Known) matches(d Difference) bool {
	return d.Version >= k.minVersion && d.Version <= k.latest &&
		glob(k.API, d.API) && glob(k.Path, d.Path) && glob(k.Where, d.Where) && glob(k.Kafka, d.Kafka) && glob(k.Millrace, d.Millrace)
}

// glob is path.Match, with * also for slashes.
func glob(pattern, s string) bool {
	if pattern == "*" {
		return true
	}
	flat := strings.NewReplacer("/", "\x01", "[", "\x02", "]", "\x03", `\`, "\x04")
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(s))
	return err == nil && ok
}
