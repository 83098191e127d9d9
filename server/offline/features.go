//lint:file-ignore ST1005 kafka-storage prints these errors, in the words of Kafka's own

package offline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Release is a level of metadata.version, with the levels of the other features that a cluster formatted for it begins with.
type Release struct {
	Level int16
	Name  string // as Kafka spells it: 4.0-IV3
	// In Kafka's order of the features, those of FeatureNames.
	KRaft, Transactions, Groups, ELR, Share, Streams int16
}

// releases are those of Kafka 4.4 that are stable.
var releases = func() (all []Release) {
	first := int16(7)
	for _, names := range []struct {
		minor string
		count int
		begin int
	}{{"3.3", 1, 3}, {"3.4", 1, 0}, {"3.5", 3, 0}, {"3.6", 3, 0}, {"3.7", 5, 0}, {"3.8", 1, 0}, {"3.9", 1, 0}, {"4.0", 4, 0}, {"4.1", 2, 0}, {"4.2", 2, 0}, {"4.3", 1, 0}, {"4.4", 3, 0}} {
		for i := range names.count {
			r := Release{Level: first, Name: fmt.Sprintf("%s-IV%d", names.minor, names.begin+i)}
			since := func(level, value int16) int16 {
				if r.Level >= level {
					return value
				}
				return 0
			}
			r.KRaft, r.Groups, r.Transactions = since(21, 1), since(22, 1), since(24, 2)
			r.ELR, r.Share, r.Streams = since(26, 1), max(since(28, 1), since(31, 2)), since(29, 1)
			all = append(all, r)
			first++
		}
	}
	return all
}()

// LatestRelease is the newest of them.
func LatestRelease() Release { return releases[len(releases)-1] }

// FindRelease returns the release of a name: with -IV and a number, or without for the last of its numbers.
func FindRelease(name string) (Release, error) {
	for _, r := range slices.Backward(releases) {
		if minor, _, _ := strings.Cut(r.Name, "-"); r.Name == name || minor == name || strings.HasPrefix(name, minor+".") {
			return r, nil
		}
	}
	names := make([]string, len(releases))
	for i, r := range releases {
		names[i] = r.Name
	}
	return Release{}, fmt.Errorf("Unknown metadata.version '%s'. Supported metadata.version are: %s", name, strings.Join(names, ", "))
}

// ReleaseOf returns the release of a level of metadata.version.
func ReleaseOf(level int16) (Release, error) {
	r, ok := releaseOf(level)
	if !ok {
		return r, fmt.Errorf("No MetadataVersion with feature level %d. Valid feature levels are from %d to %d.", level, releases[0].Level, LatestRelease().Level)
	}
	return r, nil
}

func releaseOf(level int16) (Release, bool) {
	i := int(level) - int(releases[0].Level)
	if i < 0 || i >= len(releases) {
		return Release{}, false
	}
	return releases[i], true
}

// FeatureLevel is a feature at a level.
type FeatureLevel struct {
	Name  string
	Level int16
}

// String is the feature as it is written on a command line; metadata.version with its release.
func (f FeatureLevel) String() string {
	s := fmt.Sprintf("%s=%d", f.Name, f.Level)
	if r, ok := releaseOf(f.Level); ok && f.Name == metadata.MetadataVersionFeature {
		s += " (" + r.Name + ")"
	}
	return s
}

// Features are the levels of every feature but metadata.version.
func (r Release) Features() []FeatureLevel {
	return []FeatureLevel{{"kraft.version", r.KRaft}, {"transaction.version", r.Transactions}, {"group.version", r.Groups},
		{metadata.EligibleLeaderReplicasFeature, r.ELR}, {"share.version", r.Share}, {"streams.version", r.Streams}}
}

// ParseFeature reads feature=level.
func ParseFeature(s string) (FeatureLevel, error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok {
		return FeatureLevel{}, fmt.Errorf("Can't parse feature=level string %s: equals sign not found.", s)
	}
	level, err := strconv.ParseInt(strings.TrimSpace(text), 10, 16)
	if err != nil {
		return FeatureLevel{}, fmt.Errorf("Can't parse feature=level string %s: unable to parse %s as a short.", s, text)
	}
	return FeatureLevel{strings.TrimSpace(name), int16(level)}, nil
}

// FeatureDependencies says which levels of other features a level needs; Kafka knows of one only.
func FeatureDependencies(f FeatureLevel) ([]FeatureLevel, error) {
	levels, known := metadata.KafkaFeatures()[f.Name]
	switch {
	case !known:
		return nil, fmt.Errorf("Unknown feature: %s", f.Name)
	case f.Name == metadata.MetadataVersionFeature:
		if _, ok := releaseOf(f.Level); !ok {
			return nil, fmt.Errorf("Feature level %d is not supported for feature %s", f.Level, f.Name)
		}
	case f.Level < 0 || f.Level > levels.Max:
		return nil, fmt.Errorf("Feature level %d is not supported for feature %s", f.Level, f.Name)
	case f.Name == metadata.EligibleLeaderReplicasFeature && f.Level == 1:
		return []FeatureLevel{{metadata.MetadataVersionFeature, 23}}, nil
	}
	return nil, nil
}

// InitialFeatures are the levels that a cluster of a release begins with, metadata.version first: those asked for, and for
// the others the release's, as far as this version serves them. Those at level 0 are left out.
func InitialFeatures(r Release, asked []FeatureLevel) ([]FeatureLevel, error) {
	served, known := metadata.ServedFeatures(), metadata.KafkaFeatures()
	levels := map[string]int16{}
	for _, f := range r.Features() {
		levels[f.Name] = min(f.Level, served[f.Name].Max)
	}
	for _, f := range asked {
		if _, ok := levels[f.Name]; !ok && f.Name != metadata.MetadataVersionFeature {
			return nil, fmt.Errorf("Unsupported feature: %s. Supported features are: %s", f.Name, strings.Join(slices.Sorted(maps.Keys(levels)), ", "))
		}
		switch {
		case f.Name == metadata.MetadataVersionFeature || f.Name == "kraft.version":
			continue // the release, and what the quorum is
		case f.Level < 0 || f.Level > known[f.Name].Max:
			return nil, fmt.Errorf("No feature:%s with feature level %d", f.Name, f.Level)
		case f.Level > served[f.Name].Max:
			return nil, fmt.Errorf("this version serves %s up to level %d, not %d", f.Name, served[f.Name].Max, f.Level)
		}
		needs, err := FeatureDependencies(f)
		if err != nil {
			return nil, err
		}
		for _, need := range needs {
			if r.Level < need.Level {
				return nil, fmt.Errorf("%s could not be set to %d because it depends on %s level %d", f.Name, f.Level, need.Name, need.Level)
			}
		}
		levels[f.Name] = f.Level
	}
	initial := []FeatureLevel{{metadata.MetadataVersionFeature, r.Level}}
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		if levels[name] > 0 && name != "kraft.version" {
			initial = append(initial, FeatureLevel{name, levels[name]})
		}
	}
	return initial, nil
}
