package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// shown writes an answer in lines: the resource with its error, and below it its settings.
func shownConfigs(response *wire.DescribeConfigsResponse) string {
	var b strings.Builder
	value := func(v *string) string {
		if v == nil {
			return "null"
		}
		return fmt.Sprintf("%q", *v)
	}
	for _, r := range response.Results {
		fmt.Fprintf(&b, "%s %q: %s", kafka.ResourceType(r.ResourceType), r.ResourceName, r.ErrorCode)
		if r.ErrorMessage == nil {
			b.WriteString(" without a message")
		} else if *r.ErrorMessage != "" {
			b.WriteString(", because")
		}
		b.WriteByte('\n')
		for _, c := range r.Configs {
			fmt.Fprintf(&b, "  %s=%s source %d", c.Name, value(c.Value), c.ConfigSource)
			if c.ReadOnly {
				b.WriteString(" read-only")
			}
			if c.IsSensitive {
				b.WriteString(" sensitive")
			}
			for _, s := range c.Synonyms {
				fmt.Fprintf(&b, " < %s=%s %d", s.Name, value(s.Value), s.Source)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func TestDescribeConfigs(t *testing.T) {
	g := newGate(t)
	g.apply(append(aTopic("t", 1, 1),
		aConfig(kafka.ResourceTopic, "t", "retention.ms", "77"),
		aConfig(kafka.ResourceBroker, "", "log.retention.ms", "1000"),
		aConfig(kafka.ResourceBroker, "1", "log.cleanup.policy", "compact"),
		aConfig(kafka.ResourceGroup, "g", "consumer.session.timeout.ms", "50000"),
		aConfig(kafka.ResourceClientMetrics, "m", "interval.ms", "60000"),
	)...)
	for _, test := range []struct {
		kind kafka.ResourceType
		name string
		keys []string
		want string
	}{
		{kafka.ResourceTopic, "t", nil, `
TOPIC "t": NONE
  cleanup.policy="compact" source 2 < log.cleanup.policy="compact" 2 < log.cleanup.policy="delete" 5
  retention.ms="77" source 1 < retention.ms="77" 1 < log.retention.ms="1000" 3 < log.retention.hours="168" 5
`},
		{kafka.ResourceTopic, "t", []string{"retention.ms", "no.such.key"}, `
TOPIC "t": NONE
  retention.ms="77" source 1 < retention.ms="77" 1 < log.retention.ms="1000" 3 < log.retention.hours="168" 5
`},
		{kafka.ResourceTopic, "t", []string{}, `
TOPIC "t": NONE
  cleanup.policy="compact" source 2 < log.cleanup.policy="compact" 2 < log.cleanup.policy="delete" 5
  retention.ms="77" source 1 < retention.ms="77" 1 < log.retention.ms="1000" 3 < log.retention.hours="168" 5
`},
		{kafka.ResourceTopic, "nowhere", nil, "\nTOPIC \"nowhere\": UNKNOWN_TOPIC_OR_PARTITION\n"},
		{kafka.ResourceTopic, "not a name!", nil, "\nTOPIC \"not a name!\": INVALID_TOPIC_EXCEPTION, because\n"},
		{kafka.ResourceTopic, "", nil, "\nTOPIC \"\": INVALID_TOPIC_EXCEPTION, because\n"},
		{kafka.ResourceBroker, "1", nil, `
BROKER "1": NONE
  delete.topic.enable="true" source 5 read-only < delete.topic.enable="true" 5
  log.cleanup.policy="compact" source 2 < log.cleanup.policy="compact" 2 < log.cleanup.policy="delete" 5
  log.retention.hours="168" source 5 read-only < log.retention.hours="168" 5
  log.retention.ms="1000" source 3 < log.retention.ms="1000" 3
  num.partitions="3" source 4 read-only < num.partitions="3" 4 < num.partitions="1" 5
  ssl.key.password=null source 4 sensitive < ssl.key.password=null 4
`},
		{kafka.ResourceBroker, "", nil, `
BROKER "": NONE
  log.retention.ms="1000" source 3 < log.retention.ms="1000" 3
`},
		{kafka.ResourceBroker, "", []string{"num.partitions"}, "\nBROKER \"\": NONE\n"},
		{kafka.ResourceBroker, "7", nil, "\nBROKER \"7\": INVALID_REQUEST, because\n"},
		{kafka.ResourceBroker, "one", nil, "\nBROKER \"one\": INVALID_REQUEST, because\n"},
		{kafka.ResourceBroker, "4294967297", nil, "\nBROKER \"4294967297\": INVALID_REQUEST, because\n"},
		{kafka.ResourceBrokerLogger, "1", nil, "\nBROKER_LOGGER \"1\": NONE\n  root=\"INFO\" source 6 read-only\n"},
		{kafka.ResourceBrokerLogger, "9", nil, "\nBROKER_LOGGER \"9\": INVALID_REQUEST, because\n"},
		{kafka.ResourceBrokerLogger, "", nil, "\nBROKER_LOGGER \"\": INVALID_REQUEST, because\n"},
		{kafka.ResourceGroup, "g", nil, `
GROUP "g": NONE
  consumer.session.timeout.ms="50000" source 8 < consumer.session.timeout.ms="50000" 8 < consumer.session.timeout.ms="45000" 5
`},
		{kafka.ResourceGroup, "unheard of", nil, "\nGROUP \"unheard of\": NONE\n  consumer.session.timeout.ms=\"45000\" source 5 < consumer.session.timeout.ms=\"45000\" 5\n"},
		{kafka.ResourceGroup, "", nil, "\nGROUP \"\": INVALID_REQUEST, because\n"},
		{kafka.ResourceClientMetrics, "m", nil, `
CLIENT_METRICS "m": NONE
  interval.ms="60000" source 7 < interval.ms="60000" 7
  match="" source 5
`},
		{kafka.ResourceClientMetrics, "unheard of", nil, `
CLIENT_METRICS "unheard of": NONE
  interval.ms="300000" source 5
  match="" source 5
`},
		{kafka.ResourceClientMetrics, "", nil, "\nCLIENT_METRICS \"\": INVALID_REQUEST, because\n"},
	} {
		request := wire.NewDescribeConfigsRequest()
		request.IncludeSynonyms = true
		request.Resources = []wire.DescribeConfigsRequestResources{{ResourceType: int8(test.kind), ResourceName: test.name, ConfigurationKeys: test.keys}}
		got := "\n" + shownConfigs(describeConfigs(g.call(4), request).(*wire.DescribeConfigsResponse))
		if got != test.want {
			t.Errorf("%s %q %q:%swant%s", test.kind, test.name, test.keys, got, test.want)
		}
	}
}

func TestDescribeConfigsOfUnknownKinds(t *testing.T) {
	g := newGate(t)
	for _, kind := range []int8{0, 1, 3, -1, 64} {
		request := wire.NewDescribeConfigsRequest()
		request.Resources = []wire.DescribeConfigsRequestResources{{ResourceType: kind, ResourceName: "x"}}
		r := describeConfigs(g.call(4), request).(*wire.DescribeConfigsResponse).Results[0]
		if r.ErrorCode != kafka.InvalidRequest || r.ResourceType != kind || r.ResourceName != "x" || *r.ErrorMessage == "" {
			t.Errorf("type %d: %+v", kind, r)
		}
	}
}

// The same resource twice is answered twice, and documentation and synonyms come when asked.
func TestDescribeConfigsAsAsked(t *testing.T) {
	g := newGate(t)
	g.apply(aTopic("t", 1, 1)...)
	request := wire.NewDescribeConfigsRequest()
	one := wire.DescribeConfigsRequestResources{ResourceType: int8(kafka.ResourceTopic), ResourceName: "t", ConfigurationKeys: []string{"retention.ms"}}
	request.Resources = []wire.DescribeConfigsRequestResources{one, one}
	for _, docs := range []bool{false, true} {
		request.IncludeDocumentation = docs
		results := describeConfigs(g.call(4), request).(*wire.DescribeConfigsResponse).Results
		if len(results) != 2 {
			t.Fatalf("%d results for two resources", len(results))
		}
		c := results[1].Configs[0]
		if c.Synonyms != nil || c.ConfigType != 5 || docs != (c.Documentation != nil) || docs && *c.Documentation == "" {
			t.Errorf("documentation %v: %+v", docs, c)
		}
	}
}

func TestDescribeConfigsUnauthorized(t *testing.T) {
	g := newGate(t)
	g.apply(append(aTopic("t", 1, 1), aTopic("u", 2, 1)...)...)
	g.o.Authorizer = acls{"t": true}
	request := wire.NewDescribeConfigsRequest()
	for _, r := range []struct {
		kind kafka.ResourceType
		name string
	}{{kafka.ResourceTopic, "t"}, {kafka.ResourceTopic, "u"}, {kafka.ResourceTopic, "nowhere"}, {kafka.ResourceBroker, "1"}} {
		request.Resources = append(request.Resources, wire.DescribeConfigsRequestResources{ResourceType: int8(r.kind), ResourceName: r.name})
	}
	var got []kafka.ErrorCode
	for _, r := range describeConfigs(g.call(4), request).(*wire.DescribeConfigsResponse).Results {
		got = append(got, r.ErrorCode)
	}
	if want := []kafka.ErrorCode{kafka.None, kafka.TopicAuthorizationFailed, kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestListConfigResources(t *testing.T) {
	g := newGate(t)
	g.apply(append(append(aTopic("b", 1, 1), aTopic("a", 2, 1)...), aBroker(1, "one", false), aBroker(2, "two", true),
		aConfig(kafka.ResourceGroup, "g", "consumer.session.timeout.ms", "50000"),
		aConfig(kafka.ResourceClientMetrics, "m", "interval.ms", "60000"))...)
	for _, test := range []struct {
		version int16
		types   []int8
		want    string
	}{
		{0, nil, "CLIENT_METRICS m"},
		{1, nil, "TOPIC a, TOPIC b, BROKER 1, BROKER 2, BROKER_LOGGER 1, BROKER_LOGGER 2, CLIENT_METRICS m, GROUP g"},
		{1, []int8{2}, "TOPIC a, TOPIC b"},
		{1, []int8{32, 16, 32}, "GROUP g, CLIENT_METRICS m"},
		{1, []int8{2, 3}, "UNSUPPORTED_VERSION"},
		{1, []int8{0}, "UNSUPPORTED_VERSION"},
		{1, []int8{-1}, "UNSUPPORTED_VERSION"},
	} {
		request := wire.NewListConfigResourcesRequest()
		request.ResourceTypes = test.types
		response := listConfigResources(g.call(test.version), request).(*wire.ListConfigResourcesResponse)
		var got []string
		if response.ErrorCode != kafka.None {
			got = append(got, response.ErrorCode.String())
		}
		for _, r := range response.ConfigResources {
			got = append(got, fmt.Sprintf("%s %s", kafka.ResourceType(r.ResourceType), r.ResourceName))
		}
		if joined := strings.Join(got, ", "); joined != test.want {
			t.Errorf("version %d, types %v: %s, want %s", test.version, test.types, joined, test.want)
		}
	}
	g.o.Authorizer = acls{}
	if r := listConfigResources(g.call(1), wire.NewListConfigResourcesRequest()).(*wire.ListConfigResourcesResponse); r.ErrorCode != kafka.ClusterAuthorizationFailed || len(r.ConfigResources) > 0 {
		t.Errorf("unauthorized: %+v", r)
	}
}
