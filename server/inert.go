package server

import (
	_ "embed"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/config"
)

// inertTable is the list of the keys of Kafka that do not act here; its own head describes it.
//
//go:embed inert_keys.tsv
var inertTable string

// reasons say in words why a key of Kafka does nothing here. Where a key's owner is none of these, it is what the key acts with.
var reasons = map[string]string{
	"-":         "has no counterpart here",
	"threads":   "sizes thread pools; goroutines need none",
	"java":      "belongs to the JVM",
	"zookeeper": "belonged to ZooKeeper",
	"removed":   "was removed from Kafka itself",
	refused:     "names Java code, and a node that ignored it would let through what it is there to stop",
}

// refused is the owner of keys that are an error when set, since a node that ignored them would let through what they are
// there to stop.
const refused = "refused"

func reason(owner string) string {
	if words, ok := reasons[owner]; ok {
		return words
	}
	return "acts with " + owner
}

// inertKeys are the keys that Kafka's brokers declare and that do not act here.
func inertKeys() []config.Key {
	keys := make([]config.Key, 0, 300)
	docs := make(map[string]string) // one text for all the keys that share a reason, and one validator for a range
	ranges := make(map[[2]string]config.Validator)
	for cells := range inertRows(7) {
		bounds := [2]string{cells[1], cells[3]}
		valid, made := ranges[bounds]
		if !made {
			valid = validOf(cells[1], cells[3])
			ranges[bounds] = valid
		}
		k := config.Key{Name: cells[0], Type: typeOf(cells[1]), Valid: valid, Internal: cells[4] == "internal", Owner: cells[6]}
		if value := cells[2]; value == `""` {
			k.Default = config.Value("")
		} else if value != "-" {
			k.Default = config.Value(value)
		}
		k.Importance = min(config.Importance(indexOf(cells[4], "high", "medium", "low", "internal")), config.Low)
		k.Update = config.Update(indexOf(cells[5], "read-only", "per-broker", "per-listener", "cluster-wide"))
		if docs[k.Owner] == "" {
			docs[k.Owner] = "Taken, without an effect in this version: it " + reason(k.Owner) + "."
			if k.Owner == refused {
				docs[k.Owner] = "Refused where it is set: it " + reason(k.Owner) + "."
			}
		}
		if k.Doc = docs[k.Owner]; len(cells) > 7 {
			k.Doc += " " + cells[7]
		}
		keys = append(keys, k)
	}
	return keys
}

// strayKeys are, with why they do nothing, the keys that no broker of Kafka declares and files have all the same.
func strayKeys() map[string]string {
	stray := make(map[string]string)
	for cells := range inertRows(2) {
		if len(cells) == 2 {
			stray[cells[0]] = cells[1]
		}
	}
	return stray
}

// inertRows yields the rows of the table that have at least so many cells; they hold until the next row.
func inertRows(least int) iter.Seq[[]string] {
	return func(yield func(cells []string) bool) {
		var cells []string
		for line := range strings.Lines(inertTable) {
			if line[0] == '#' {
				continue
			}
			cells = cells[:0]
			for cell := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
				cells = append(cells, cell)
			}
			if len(cells) >= least && !yield(cells) {
				return
			}
		}
	}
}

// typeOf is the type that the table writes as Type.String does.
func typeOf(word string) config.Type {
	return 1 + config.Type(indexOf(word, "boolean", "string", "int", "short", "long", "double", "list", "class", "password"))
}

func indexOf(word string, words ...string) int {
	i := slices.Index(words, word)
	if i < 0 {
		panic(fmt.Sprintf("server: inert_keys.tsv has %q where it has one of %s", word, strings.Join(words, ", ")))
	}
	return i
}

// validOf reads a range: -, [1,...], [1,...,9], [a, b], any case: [a, b], non-empty, distinct, or some of these joined by "; ".
func validOf(typ, text string) config.Validator {
	if text == "-" {
		return nil
	}
	if parts := strings.Split(text, "; "); len(parts) > 1 {
		all := make([]config.Validator, len(parts))
		for i, part := range parts {
			all[i] = validOf(typ, part)
		}
		return config.All(all...)
	}
	switch text {
	case "distinct":
		return config.Distinct()
	case "non-empty":
		return config.NonEmpty()
	}
	anyCase := strings.HasPrefix(text, "any case: ")
	inside := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(text, "any case: "), "["), "]")
	low, high, bounded := strings.Cut(inside, ",...")
	switch {
	case anyCase:
		return config.InFold(strings.Split(inside, ", ")...)
	case !bounded && typ == "list":
		return config.ListOf(strings.Split(inside, ", ")...)
	case !bounded:
		return config.In(strings.Split(inside, ", ")...)
	case typ == "double":
		return config.BetweenFloats(decimal(low), decimal(strings.TrimPrefix(high, ",")))
	case high == "":
		return config.AtLeast(whole(low))
	}
	return config.Between(whole(low), whole(strings.TrimPrefix(high, ",")))
}

func whole(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic("server: inert_keys.tsv: " + err.Error())
	}
	return n
}

func decimal(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("server: inert_keys.tsv: " + err.Error())
	}
	return f
}

// prefixes are those of keys that belong to plug-ins or to one listener, with why they do nothing.
var prefixes = map[string]string{"listener.name.": "-", "remote.log.metadata.": "tiered storage", "rlmm.config.": "tiered storage", "rsm.config.": "tiered storage"}

// prefixOf returns why a key does nothing that has one of the prefixes.
func prefixOf(name string) (owner string, ok bool) {
	for prefix, owner := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return owner, true
		}
	}
	return "", false
}

// inertWarning is the one line that says what was accepted without effect, grouped by why.
func inertWarning(table *config.Table, inert []string) string {
	stray := strayKeys()
	byReason := make(map[string][]string)
	for _, name := range inert {
		owner := stray[name]
		if k, ok := table.Lookup(name); ok {
			owner = k.Owner
		} else if owner == "" {
			owner, _ = prefixOf(name)
		}
		why := reason(owner)
		byReason[why] = append(byReason[why], name)
	}
	var order []string
	for why := range byReason {
		order = append(order, why)
	}
	slices.Sort(order)
	var b strings.Builder
	b.WriteString("accepted, without an effect in this version: ")
	for i, why := range order {
		if i > 0 {
			b.WriteString("; ")
		}
		slices.Sort(byReason[why])
		fmt.Fprintf(&b, "%s (%s)", strings.Join(byReason[why], ", "), why)
	}
	return b.String()
}
