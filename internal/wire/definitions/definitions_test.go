package definitions_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/millrace-io/millrace/internal/wire/definitions"
)

func TestLoad(t *testing.T) {
	set := definitions.Load()
	brokers := 0
	for _, a := range set.APIs {
		if a.Broker {
			brokers++
		}
		if !a.Broker && !a.Controller {
			t.Errorf("%s is answered nowhere", a.Name)
		}
		if set.API(a.Key) != a || set.Message(a.Name+"Request") != a.Request || set.Message(a.Name+"Response") != a.Response {
			t.Errorf("%s is not found again", a.Name)
		}
	}
	if len(set.APIs) != 91 || brokers != 79 {
		t.Errorf("%d APIs, %d of them of brokers; want 91 and 79", len(set.APIs), brokers)
	}
	metadata := 0
	numbers := make(map[string]string)
	for _, m := range set.Messages {
		if m.Family == "" {
			continue
		}
		if m.Family == "metadata" {
			metadata++
		}
		kind := m.Family + string(m.Kind)
		if other, taken := numbers[kind+string(rune(m.Number))]; taken {
			t.Errorf("%s and %s have the same type %d", other, m.Name, m.Number)
		}
		numbers[kind+string(rune(m.Number))] = m.Name
		// Each type of a coordinator's records has a key and a value.
		if name, isKey := strings.CutSuffix(m.Name, "Key"); isKey && m.Kind == definitions.Key {
			if value := set.Message(name + "Value"); value == nil || value.Number != m.Number || value.Family != m.Family {
				t.Errorf("%s has no value", m.Name)
			}
		}
	}
	if metadata != 27 {
		t.Errorf("%d types of metadata records, want 27", metadata)
	}
}

func TestParse(t *testing.T) {
	api, _, err := definitions.Parse("x.def", `
api 7 Grind           # a comment
  versions  2-4
  unstable  5
  flexible  3+
  listeners broker controller
  flags     forwarded cluster-action
request
  grain_id      int32  = -1
  sacks         []struct 3+
    mill_ids    []int32? 4
    note        string   null 4+
    wheel       struct   5+
      turns     int8
  wheel         struct
    turns       int64
  rack          string?  4+ tag 1 = null
response
`)
	if err != nil {
		t.Fatal(err)
	}
	if api.Key != 7 || api.Versions != (definitions.Versions{Min: 2, Max: 4}) || api.Unstable != 5 || api.FlexibleFrom != 3 ||
		!api.Broker || !api.Controller || !api.Forwarded || !api.ClusterAction {
		t.Errorf("api %+v", api)
	}
	q := api.Request
	if q.Name != "GrindRequest" || q.Latest != 5 || q.Flexible(2) || !q.Flexible(3) || len(q.Fields) != 4 || len(api.Response.Fields) != 0 {
		t.Fatalf("request %+v", q)
	}
	grain, sacks, wheel, rack := q.Fields[0], q.Fields[1], q.Fields[2], q.Fields[3]
	if grain.GoName != "GrainID" || grain.Default != "-1" || grain.Versions != (definitions.Versions{Min: 2, Max: 5}) || grain.IsNullable() || grain.Tag != -1 {
		t.Errorf("grain_id %+v", grain)
	}
	if !sacks.Array || sacks.GoStruct != "GrindRequestSacks" || sacks.Versions != (definitions.Versions{Min: 3, Max: 5}) || len(sacks.Fields) != 3 {
		t.Errorf("sacks %+v", sacks)
	}
	if ids := sacks.Fields[0]; ids.GoName != "MillIDs" || ids.Versions != (definitions.Versions{Min: 4, Max: 4}) || ids.Nullable != ids.Versions {
		t.Errorf("mill_ids %+v", ids)
	}
	if note := sacks.Fields[1]; note.Versions != (definitions.Versions{Min: 3, Max: 5}) || note.Nullable != (definitions.Versions{Min: 4, Max: 5}) {
		t.Errorf("note %+v", note)
	}
	// Two structs of one name take the names of what they are nested in.
	if inner := sacks.Fields[2]; inner.GoStruct != "GrindRequestSacksWheel" || wheel.GoStruct != "GrindRequestWheel" {
		t.Errorf("the wheels are %s and %s", inner.GoStruct, wheel.GoStruct)
	}
	if rack.Tag != 1 || rack.Default != "null" || !rack.IsNullable() {
		t.Errorf("rack %+v", rack)
	}
	// sacks at version 3: a count of one byte in the message; an element: note and the number of tags.
	if n := definitions.MinSize(q, sacks.Fields, 3); n != 2 {
		t.Errorf("a sack takes at least %d bytes in version 3, want 2", n)
	}
	if n := definitions.MinSize(q, q.Fields, 2); n != 12 {
		t.Errorf("a request takes at least %d bytes in version 2, want 12", n)
	}

	_, records, err := definitions.Parse("y.def", "family grain\nrecord Sack type 3 versions 1-2 flexible none\n  weight float64\nmessage Flour versions 0-0 flexible 0+\n")
	if err != nil || len(records) != 2 || records[0].Number != 3 || records[0].Family != "grain" || records[0].Kind != definitions.Record ||
		records[0].FlexibleFrom != definitions.NeverFlexible || records[1].Number != -1 {
		t.Errorf("records %+v, %v", records, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "api 1 A\n  versions 0-2\n  flexible 1+\nrequest\n"
	for _, c := range []struct{ text, want string }{
		{"  a int8", "x.def:1: an indented line belongs to nothing"},
		{"grain", "opens no block"},
		{"api 1 A\napi 2 B", "x.def:2: want one"},
		{"api 70000 A", "not a number of 16 bits"},
		{"api 1 A\nrequest", "after an api and its versions"},
		{"api 1 A\n  versions 0-1\n  listeners mill", "no listener"},
		{"api 1 A\n  flags mill", "no flag"},
		{"api 1 A\n  colour blue", "no property"},
		{"api 1 A\n  flexible 3", "neither none nor like"},
		{"api 1 A\n  versions", "says nothing"},
		{head, "needs a request and a response"},
		{head + "  a", "a name and a type"},
		{head + "  a int7", "no type"},
		{head + "   a int8", "two spaces"},
		{head + "    a int8", "two spaces"},
		{head + "  a int8\n    b int8", "no struct"},
		{head + "  a int8\n  a int8", "two fields"},
		{head + "  a int8?", "no room"},
		{head + "  a int8 5+", "no version"},
		{head + "  a int8 tag 0", "not flexible"},
		{head + "  a string = null", "cannot be null"},
		{head + "  a string? 1+ tag 0", "only arrays and structs"},
		{head + "  a int8 colour blue", "no property"},
		{head + "  a int8 tag", "says nothing"},
		{head + "  a int8 3-x", "not a number"},
		{head + "  a []struct\nresponse", "without fields"},
		{"family", "family NAME"},
		{"record A type", "want \"KIND"},
		{"record A type 1 flexible 0+", "no versions"},
		{"record A colour blue", "no property"},
	} {
		if _, _, err := definitions.Parse("x.def", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	message := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("message " + name + " versions 0-0 flexible none\n")}
	}
	if _, err := definitions.Read(fstest.MapFS{"a.def": message("A"), "b.def": message("A")}); err == nil {
		t.Error("two messages of one name are taken")
	}
	one := &fstest.MapFile{Data: []byte("api 1 A\n  versions 0-0\nrequest\nresponse\n")}
	two := &fstest.MapFile{Data: []byte("api 1 B\n  versions 0-0\nrequest\nresponse\n")}
	if _, err := definitions.Read(fstest.MapFS{"a.def": one, "b.def": two}); err == nil {
		t.Error("two APIs of one key are taken")
	}
}

func TestGoName(t *testing.T) {
	for snake, want := range map[string]string{
		"topic_id": "TopicID", "id": "ID", "broker_ids": "BrokerIDs", "api_key": "ApiKey", "enable2_pc": "Enable2Pc", "isr": "Isr", "idle": "Idle",
	} {
		if got := definitions.GoName(snake); got != want {
			t.Errorf("%s is %s, want %s", snake, got, want)
		}
	}
}
