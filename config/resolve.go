package config

import (
	"maps"
	"slices"
	"strconv"
)

// Source says which layer a value came from. The numbers are those of DescribeConfigs.
type Source int8

// The sources, in the protocol's numbering.
const (
	SourceTopic                Source = 1
	SourceDynamicBroker        Source = 2
	SourceDynamicDefaultBroker Source = 3
	SourceStaticBroker         Source = 4
	SourceDefault              Source = 5
	SourceBrokerLogger         Source = 6
	SourceClientMetrics        Source = 7
	SourceGroup                Source = 8
)

// ofBroker reports whether values of this source carry the names of broker keys.
func (s Source) ofBroker() bool {
	return s == SourceDynamicBroker || s == SourceDynamicDefaultBroker || s == SourceStaticBroker
}

// Layer is one set of values, such as what was set on a topic or what stands in the server's file.
type Layer struct {
	Source Source
	Values map[string]string
}

// SynonymEntry is one place where a key's value could come from.
type SynonymEntry struct {
	Name   string
	Value  *string // nil when null or hidden
	Source Source
}

// Entry is a key with its effective value and where that came from.
type Entry struct {
	Key *Key
	// Value is the effective value in canonical form; nil when null or hidden.
	Value  *string
	Source Source
	// ReadOnly is true of broker keys that only a restart changes.
	ReadOnly bool
	// Default is true when no layer sets the value.
	Default   bool
	Sensitive bool
	// Synonyms lists the places that set the key, most specific first, as DescribeConfigs shows them.
	Synonyms []SynonymEntry
}

// synonyms returns the names under which broker layers may give the key its value.
func (k *Key) synonyms() []Synonym {
	if len(k.Synonyms) > 0 {
		return k.Synonyms
	}
	return []Synonym{{Name: k.Name}}
}

// convert brings a synonym's value to the unit of the key.
func (s Synonym) convert(value string) string {
	if s.Factor <= 1 {
		return value
	}
	n, err := ParseInt64(value)
	switch {
	case err != nil:
		return value
	case n < 0:
		return "-1"
	}
	return strconv.FormatInt(n*s.Factor, 10)
}

// Effective returns the value that holds for the key over the layers, most specific first, and false when it
// is null. Values of a topic, a group or a client-metrics subscription go before all else; among a broker's
// layers the first synonym that any of them sets wins: log.retention.ms in the file beats log.retention.hours
// set dynamically, as in Kafka.
func (t *Table) Effective(name string, layers ...Layer) (string, bool) {
	k, ok := t.Lookup(name)
	if !ok {
		return "", false
	}
	value, _, ok := k.effective(layers)
	return value, ok
}

func (k *Key) effective(layers []Layer) (value string, source Source, ok bool) {
	for _, l := range layers {
		if !l.Source.ofBroker() {
			if v, set := l.Values[k.Name]; set {
				return v, l.Source, true
			}
		}
	}
	givers := k.synonyms()
	if givers[0].Name == k.Name {
		givers = givers[:1] // a broker's key: its family is listed beside it, but gives it no value
	}
	for _, s := range givers {
		for _, l := range layers {
			if l.Source.ofBroker() {
				if v, set := l.Values[s.Name]; set {
					return s.convert(v), l.Source, true
				}
			}
		}
	}
	if k.Default == nil {
		return "", SourceDefault, false
	}
	return *k.Default, SourceDefault, true
}

// Resolve returns the key's entry over the layers, most specific first, as DescribeConfigs shows it. broker
// is the table that declares the synonyms, for their defaults; nil when the table itself does.
//
// Two of Kafka's rules that surprise: a value that comes from a synonym other than the first
// (log.retention.hours for retention.ms) is effective but not listed, and then its source reads as default;
// and a topic's key that no broker key stands behind lists no default.
func (t *Table) Resolve(name string, broker *Table, layers ...Layer) (Entry, bool) {
	k, ok := t.Lookup(name)
	if !ok {
		return Entry{}, false
	}
	return k.resolve(cmpOr(broker, t), layers), true
}

// ResolveAll returns the entries of all keys by name, those that are internal or OnlySet where they are set.
func (t *Table) ResolveAll(broker *Table, layers ...Layer) []Entry {
	entries := make([]Entry, 0, len(t.keys))
	for _, k := range t.keys {
		if e := k.resolve(cmpOr(broker, t), layers); !k.OnlySet && !k.Internal || !e.Default {
			entries = append(entries, e)
		}
	}
	return entries
}

// ResolveUndeclared returns the entries of what the layers set under names that the table does not declare, by name. declare
// says what is known of such a key.
func (t *Table) ResolveUndeclared(declare func(name string) Key, layers ...Layer) []Entry {
	names := make(map[string]bool)
	for _, l := range layers {
		for name := range l.Values {
			if _, declared := t.Lookup(name); !declared {
				names[name] = true
			}
		}
	}
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(names)) {
		k := declare(name)
		entries = append(entries, k.resolve(t, layers))
	}
	return entries
}

func cmpOr(broker, own *Table) *Table {
	if broker != nil {
		return broker
	}
	return own
}

func (k *Key) resolve(broker *Table, layers []Layer) Entry {
	e := Entry{Key: k, Sensitive: k.Hidden(), ReadOnly: k.Update == ReadOnly}
	value, source, ok := k.effective(layers)
	e.Default = source == SourceDefault
	if ok && !e.Sensitive {
		shown := k.Canonical(value)
		e.Value = &shown
	}
	show := func(v string) *string {
		if e.Sensitive {
			return nil
		}
		return &v
	}
	var listed []SynonymEntry
	for _, l := range layers {
		if l.Source.ofBroker() {
			for _, s := range k.synonyms() {
				if v, set := l.Values[s.Name]; set {
					listed = append(listed, SynonymEntry{s.Name, show(v), l.Source})
				}
			}
		} else if v, set := l.Values[k.Name]; set {
			// Kafka shows the brokers' values as they were set, a resource's own as they were understood.
			e.Synonyms = append(e.Synonyms, SynonymEntry{k.Name, show(k.Canonical(v)), l.Source})
		}
	}
	for _, s := range k.synonyms() {
		if bk, known := broker.Lookup(s.Name); known && bk.Default != nil {
			listed = append(listed, SynonymEntry{s.Name, show(*bk.Default), SourceDefault})
		}
	}
	for first := k.synonyms()[0].Name; len(listed) > 0 && listed[0].Name != first; {
		listed = listed[1:]
	}
	e.Synonyms = append(e.Synonyms, listed...)
	e.Source = SourceDefault
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}
