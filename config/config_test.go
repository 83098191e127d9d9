package config

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func table() *Table {
	return NewTable(
		Key{Name: "retention.ms", Type: Long, Default: Value("604800000"), Valid: AtLeast(-1),
			Synonyms: []Synonym{{Name: "log.retention.ms"}, {Name: "log.retention.minutes", Factor: Minutes}, {Name: "log.retention.hours", Factor: Hours}}},
		Key{Name: "cleanup.policy", Type: List, Default: Value("delete"), Valid: ListOf("compact", "delete"), Synonyms: []Synonym{{Name: "log.cleanup.policy"}}},
		Key{Name: "compression.gzip.level", Type: Int, Default: Value("-1"), Valid: Either(Between(1, 9), Exactly(-1))},
		Key{Name: "min.cleanable.dirty.ratio", Type: Double, Default: Value("0.5"), Valid: BetweenFloats(0, 1)},
		Key{Name: "preallocate", Type: Bool, Default: Value("false")},
		Key{Name: "secret", Type: Password},
		Key{Name: "internal.thing", Type: Int, Internal: true},
		Key{Name: "word", Type: String, Valid: In("a", "b")},
		Key{Name: "fold", Type: String, Valid: InFold("UP", "DOWN")},
		Key{Name: "short", Type: Short},
		Key{Name: "full", Type: List, Valid: All(NonEmpty(), Distinct())},
	)
}

func brokerTable() *Table {
	return NewTable(
		Key{Name: "log.cleanup.policy", Type: List, Default: Value("delete"), Update: ClusterWide},
		Key{Name: "log.retention.ms", Type: Long, Update: ClusterWide, Synonyms: []Synonym{{Name: "log.retention.ms"}, {Name: "log.retention.minutes"}, {Name: "log.retention.hours"}}},
		Key{Name: "log.retention.hours", Type: Int, Default: Value("168")},
	)
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		key, value string
		ok         bool
	}{
		{"retention.ms", " 5 ", true}, {"retention.ms", "+5", true}, {"retention.ms", "-1", true}, {"retention.ms", "-2", false},
		{"retention.ms", "", false}, {"retention.ms", "1_000", false}, {"retention.ms", "1.0", false}, {"retention.ms", "9223372036854775808", false},
		{"cleanup.policy", "", true}, {"cleanup.policy", " delete , compact ", true}, {"cleanup.policy", "delete,delete", true}, {"cleanup.policy", "delete,", false}, {"cleanup.policy", "DELETE", false},
		{"compression.gzip.level", "-1", true}, {"compression.gzip.level", "9", true}, {"compression.gzip.level", "0", false}, {"compression.gzip.level", "3000000000", false},
		{"min.cleanable.dirty.ratio", "1", true}, {"min.cleanable.dirty.ratio", "0.5d", true}, {"min.cleanable.dirty.ratio", "1.1", false}, {"min.cleanable.dirty.ratio", "inf", false},
		{"min.cleanable.dirty.ratio", "Infinity", false}, {"min.cleanable.dirty.ratio", "x", false},
		{"preallocate", " TRUE ", true}, {"preallocate", "false", true}, {"preallocate", "1", false}, {"preallocate", "", false},
		{"word", "a", true}, {"word", "A", false}, {"fold", "up", true}, {"fold", "sideways", false},
		{"short", "32767", true}, {"short", "32768", false},
		{"full", "a,b", true}, {"full", "", false}, {"full", "a,a", false},
	} {
		err := table().Check(tc.key, tc.value)
		if (err == nil) != tc.ok {
			t.Errorf("%s = %q: %v", tc.key, tc.value, err)
		}
		if err != nil && !strings.Contains(err.Error(), tc.key) {
			t.Errorf("the error does not name the key: %v", err)
		}
	}
}

func TestErrorsHideSecrets(t *testing.T) {
	k := Key{Name: "pin", Type: Int, Sensitive: true}
	if err := k.Check("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if _, err := k.Int32("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"retension.ms": "retention.ms", "retention_ms": "retention.ms", "cleanup.polciy": "cleanup.policy", "Preallocate": "preallocate",
		"internal.thingg": "", "zzzzzzzz": "", "": "",
	} {
		if got := table().Nearest(name); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
	if err := table().Check("retension.ms", "1"); !strings.Contains(err.Error(), "did you mean retention.ms?") {
		t.Error(err)
	}
}

func TestParseHelpers(t *testing.T) {
	k, _ := table().Lookup("retention.ms")
	if n, err := k.Int64(" 7 "); n != 7 || err != nil {
		t.Error(n, err)
	}
	if _, err := k.Int64("x"); err == nil || !strings.Contains(err.Error(), "retention.ms") {
		t.Error(err)
	}
	if b, err := k.Bool("True"); !b || err != nil {
		t.Error(b, err)
	}
	if got := k.List("a , b,,"); !slices.Equal(got, []string{"a", "b", "", ""}) {
		t.Errorf("%q", got)
	}
	for text, want := range map[string]float64{"1e3": 1000, "0x1p4": 16, " 2f ": 2, "-Infinity": math.Inf(-1), "1e999": math.Inf(1)} {
		if got, err := ParseFloat64(text); got != want || err != nil {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	if f, err := ParseFloat64("NaN"); !math.IsNaN(f) || err != nil {
		t.Error(f, err)
	}
}

// The expected texts are those of Java's Double.toString.
func TestCanonical(t *testing.T) {
	for _, tc := range []struct {
		kind        Type
		value, want string
	}{
		{Double, "0.5", "0.5"}, {Double, "1", "1.0"}, {Double, "10000000", "1.0E7"}, {Double, "0.0001", "1.0E-4"}, {Double, "1.7976931348623157e308", "1.7976931348623157E308"},
		{Double, "0", "0.0"}, {Double, "123456.5", "123456.5"}, {Bool, " TRUE ", "true"}, {Int, "+5", "5"}, {List, " a , b ", "a,b"}, {String, " x ", "x"}, {Int, "x", "x"},
	} {
		k := Key{Name: "k", Type: tc.kind}
		if got := k.Canonical(tc.value); got != tc.want {
			t.Errorf("%s %q is shown as %q, want %q", tc.kind, tc.value, got, tc.want)
		}
	}
	k := Key{Name: "k", Type: List, Valid: ListOf("a", "b")}
	for value, want := range map[string]string{" b , a,b": "b,a", "": "", "a": "a"} {
		if got := k.Canonical(value); got != want {
			t.Errorf("the list %q is shown as %q, want %q", value, got, want)
		}
	}
}

func describe(e Entry) string {
	var b strings.Builder
	show := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	b.WriteString(show(e.Value))
	for _, s := range e.Synonyms {
		b.WriteString(" " + string(rune('0'+s.Source)) + ":" + s.Name + "=" + show(s.Value))
	}
	return b.String()
}

func TestResolve(t *testing.T) {
	topic := func(kv ...string) Layer { return Layer{SourceTopic, PropertiesOf(kv...).Map()} }
	dynamic := func(kv ...string) Layer { return Layer{SourceDynamicBroker, PropertiesOf(kv...).Map()} }
	cluster := func(kv ...string) Layer { return Layer{SourceDynamicDefaultBroker, PropertiesOf(kv...).Map()} }
	static := func(kv ...string) Layer { return Layer{SourceStaticBroker, PropertiesOf(kv...).Map()} }
	for _, tc := range []struct {
		key    string
		layers []Layer
		source Source
		want   string
	}{
		{"cleanup.policy", nil, SourceDefault, "delete 5:log.cleanup.policy=delete"},
		{"cleanup.policy", []Layer{topic("cleanup.policy", " compact "), static("log.cleanup.policy", "compact,delete")}, SourceTopic,
			"compact 1:cleanup.policy=compact 4:log.cleanup.policy=compact,delete 5:log.cleanup.policy=delete"},
		{"cleanup.policy", []Layer{dynamic("log.cleanup.policy", "compact"), cluster("log.cleanup.policy", "delete"), static()}, SourceDynamicBroker,
			"compact 2:log.cleanup.policy=compact 3:log.cleanup.policy=delete 5:log.cleanup.policy=delete"},
		// The value of another unit is effective; that it is not listed is Kafka's.
		{"retention.ms", []Layer{static("log.retention.hours", "2")}, SourceDefault, "7200000"},
		{"retention.ms", []Layer{static("log.retention.minutes", "-1")}, SourceDefault, "-1"},
		{"retention.ms", []Layer{dynamic("log.retention.ms", "5"), static("log.retention.hours", "2")}, SourceDynamicBroker,
			"5 2:log.retention.ms=5 4:log.retention.hours=2 5:log.retention.hours=168"},
		{"preallocate", nil, SourceDefault, "false"},
		{"secret", []Layer{topic("secret", "s3")}, SourceTopic, "null 1:secret=null"},
		{"internal.thing", nil, SourceDefault, "null"},
	} {
		e, ok := table().Resolve(tc.key, brokerTable(), tc.layers...)
		if !ok || describe(e) != tc.want || e.Source != tc.source {
			t.Errorf("%s over %v is %q from %d, want %q from %d", tc.key, tc.layers, describe(e), e.Source, tc.want, tc.source)
		}
	}
	if all := table().ResolveAll(brokerTable()); len(all) != table().Len()-1 {
		t.Errorf("%d entries: internal keys are left out", len(all))
	}
	if v, ok := table().Effective("retention.ms", static("log.retention.ms", "1", "log.retention.hours", "9")); v != "1" || !ok {
		t.Error(v, ok)
	}
	if e, _ := brokerTable().Resolve("log.retention.hours", nil, static("log.retention.hours", "9")); describe(e) != "9 4:log.retention.hours=9 5:log.retention.hours=168" || !e.ReadOnly || e.Default {
		t.Errorf("%s %+v", describe(e), e)
	}
	if e, _ := brokerTable().Resolve("log.retention.ms", nil, static("log.retention.hours", "9")); describe(e) != "null" {
		t.Errorf("a broker's key took the value of its family: %s", describe(e))
	}
}

func TestTablesRefuseMistakes(t *testing.T) {
	for name, f := range map[string]func(){
		"twice":   func() { NewTable(Key{Name: "a"}, Key{Name: "a"}) },
		"default": func() { NewTable(Key{Name: "a", Type: Int, Default: Value("x")}) },
		"join":    func() { Join(table(), table()) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	names := []string{}
	for k := range Join(table(), brokerTable()).All() {
		names = append(names, k.Name)
	}
	if !slices.IsSorted(names) || len(names) != table().Len()+brokerTable().Len() {
		t.Error(names)
	}
}

func TestProperties(t *testing.T) {
	const file = "# comment\n! too\n\na=1\n b : 2 \nc 3\nlong=x,\\\n   y,\\\n\t z\nempty\nempty.too=\nk\\=\\:\\ =v=w:\nu=\\u00e9\\ud83d\\ude00\\t|\nback=a\\\\\na=4\nutf=é\r\nlast=\\"
	p, err := ParseProperties(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "4", "b": "2 ", "c": "3", "long": "x,y,z", "empty": "", "empty.too": "", "k=: ": "v=w:", "u": "é😀\t|", "back": `a\`, "utf": "é", "last": ""}
	if got := p.Map(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, property := range p.All() {
		if property.Key == "a" && property.Line != 15 || property.Key == "long" && property.Line != 7 {
			t.Errorf("%s stands in line %d", property.Key, property.Line)
		}
	}
	if p, err := ParseProperties(strings.NewReader("a=\xe9")); err != nil || p.Map()["a"] != "é" {
		t.Errorf("Latin-1: %q %v", p.Map(), err)
	}
	if _, err := ParseProperties(strings.NewReader("a=1\nb=\\u12")); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("got %v", err)
	}
}

func FuzzPropertiesRoundTrip(f *testing.F) {
	f.Add("key", "value")
	f.Add(" k=e:y ", " \\v\n\t#\r\fé😀!")
	f.Add("#", "")
	f.Fuzz(func(t *testing.T, key, value string) {
		var b strings.Builder
		if key == "" || strings.ToValidUTF8(key, "") != key || strings.ToValidUTF8(value, "") != value {
			return
		}
		written := PropertiesOf(key, value)
		if _, err := written.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		p, err := ParseProperties(strings.NewReader(b.String()))
		if got, ok := p.Get(key); err != nil || !ok || got != value {
			t.Errorf("%q=%q was written as %q and read as %q, %v", key, value, b.String(), got, err)
		}
	})
}
