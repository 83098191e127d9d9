package scripts

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// clusterCommands are the commands of kafka-cluster, the one tool here whose options are parsed by argparse
// rather than by jopt-simple.
var clusterCommands = []struct {
	name, help string
	run        func(*cluster) error
}{
	{"cluster-id", "Show the id of the cluster.", (*cluster).id},
	{"unregister", "Forget a broker that is gone.", (*cluster).unregister},
	{"list-endpoints", "List the addresses of brokers or controllers.", (*cluster).endpoints},
	{"api-versions", "List the versions of requests that each broker speaks.", (*cluster).versions},
}

// cluster is one run of kafka-cluster.
type cluster struct {
	*call
	server, controller, file string
	fenced                   bool
	broker                   int32
}

func runCluster(c *call) error {
	var names []string
	for _, command := range clusterCommands {
		names = append(names, command.name)
	}
	synopsis := "usage: kafka-cluster [-h] {" + strings.Join(names, ",") + "} ..."
	fail := func(format string, args ...any) error {
		return terse("%s\nkafka-cluster: error: %s", synopsis, fmt.Sprintf(format, args...))
	}
	if len(c.args) == 0 {
		return fail("too few arguments")
	}
	if c.args[0] == "-h" || c.args[0] == "--help" {
		c.printf("%s\n\nThe Kafka cluster tool.\n\n", synopsis)
		for _, command := range clusterCommands {
			c.printf("  %-20s %s\n", command.name, command.help)
		}
		return nil
	}
	for _, command := range clusterCommands {
		if command.name == c.args[0] {
			s := &cluster{call: c, broker: -1}
			if done, err := s.parse(command.name, c.args[1:]); done || err != nil {
				return err
			}
			return command.run(s)
		}
	}
	return fail("invalid choice: '%s' (choose from '%s')", c.args[0], strings.Join(names, "', '"))
}

// parse reads the options of a command; done is true when they asked for help.
func (s *cluster) parse(command string, args []string) (done bool, err error) {
	synopsis := "usage: kafka-cluster " + command + " [-h] [--command-config COMMAND_CONFIG]"
	switch command {
	case "unregister":
		synopsis += " --id ID"
	case "list-endpoints":
		synopsis += " [--include-fenced-brokers]"
	}
	synopsis += "\n                     (--bootstrap-server BOOTSTRAP_SERVER | --bootstrap-controller BOOTSTRAP_CONTROLLER)"
	fail := func(format string, args ...any) (bool, error) {
		return false, terse("%s\nkafka-cluster: error: %s", synopsis, fmt.Sprintf(format, args...))
	}
	id := ""
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		var into *string
		switch {
		case name == "-h" || name == "--help":
			s.printf("%s\n", synopsis)
			return true, nil
		case name == "--bootstrap-server" || name == "-b":
			into = &s.server
		case name == "--bootstrap-controller" || name == "-C":
			into = &s.controller
		case name == "--command-config" || name == "--config" || name == "-c":
			into = &s.file
		case (name == "--id" || name == "-i") && command == "unregister":
			into = &id
		case name == "--include-fenced-brokers" && command == "list-endpoints":
			s.fenced = true
			continue
		default:
			return fail("unrecognized arguments: '%s'", args[i])
		}
		if !inline {
			if i++; i == len(args) {
				return fail("argument %s: expected one argument", name)
			}
			value = args[i]
		}
		*into = value
	}
	switch {
	case command == "unregister" && id == "":
		return fail("argument --id/-i is required")
	case s.server == "" && s.controller == "":
		return fail("one of the arguments --bootstrap-server/-b --bootstrap-controller/-C is required")
	case s.server != "" && s.controller != "":
		return fail("argument --bootstrap-controller/-C: not allowed with argument --bootstrap-server/-b")
	}
	if id != "" {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return fail("argument --id/-i: could not convert '%s' to Integer (32 bit)", id)
		}
		s.broker = int32(n)
	}
	return false, nil
}

// open makes a client of the brokers, or of the controllers (KIP-919).
func (s *cluster) open() (*kgo.Client, error) {
	if s.controller == "" {
		return s.client(s.server, s.file)
	}
	p, err := dial.Load(s.file, s.controller)
	if err != nil {
		return nil, err
	}
	options, err := p.Options()
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(options...) // controllers answer no Metadata, so nobody is pinged
}

// ask sends a request to a broker. Controllers are only known by the addresses that were given, which are
// asked in turn until one is the active controller.
func (s *cluster) ask(cl *kgo.Client, request kmsg.Request) (kmsg.Response, error) {
	if s.controller == "" {
		return cl.Request(s, request)
	}
	var response kmsg.Response
	var err error
	for _, seed := range cl.SeedBrokers() {
		response, err = seed.Request(s, request)
		if err != nil {
			continue
		}
		if u, ok := response.(*kmsg.UnregisterBrokerResponse); !ok || u.ErrorCode != kerr.NotController.Code {
			return response, nil
		}
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("no controller answers on %s (%w)", s.controller, network.Err)
	}
	return response, err
}

// describe asks for the cluster: its brokers, or its controllers when it was reached through one.
func (s *cluster) describe(cl *kgo.Client) (*kmsg.DescribeClusterResponse, error) {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.EndpointType = 1
	if s.controller != "" {
		request.EndpointType = 2
	}
	request.IncludeFencedBrokers = s.fenced
	raw, err := s.ask(cl, request)
	if err != nil {
		return nil, dial.Explain(err)
	}
	response := raw.(*kmsg.DescribeClusterResponse)
	return response, dial.Code(response.ErrorCode, response.ErrorMessage)
}

func (s *cluster) id() error {
	cl, err := s.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	response, err := s.describe(cl)
	if err != nil {
		return err
	}
	s.printf("Cluster ID: %s\n", response.ClusterID)
	return nil
}

func (s *cluster) unregister() error {
	cl, err := s.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = s.broker
	raw, err := s.ask(cl, request)
	if dial.Unsupported(err) {
		s.printf("The target cluster does not support the broker unregistration API.\n")
		return nil
	}
	if err == nil {
		response := raw.(*kmsg.UnregisterBrokerResponse)
		err = dial.Code(response.ErrorCode, response.ErrorMessage)
	}
	if err != nil {
		return dial.Explain(err)
	}
	s.printf("Broker %d is no longer registered.\n", s.broker)
	return nil
}

func (s *cluster) endpoints() error {
	cl, err := s.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	response, err := s.describe(cl)
	if err != nil {
		return err
	}
	slices.SortFunc(response.Brokers, func(a, b kmsg.DescribeClusterResponseBroker) int { return cmp.Compare(a.NodeID, b.NodeID) })
	host, rack := len("HOST"), 10
	for _, b := range response.Brokers {
		host = max(host, len(b.Host))
		if b.Rack != nil {
			rack = max(rack, len(*b.Rack))
		}
	}
	kind := "broker"
	if s.controller != "" {
		kind = "controller"
	}
	if s.controller != "" { // controllers are never fenced
		s.printf("%-10s %-*s %-10s %-*s %-15s\n", "ID", host, "HOST", "PORT", rack, "RACK", "ENDPOINT_TYPE")
		for _, b := range response.Brokers {
			s.printf("%-10d %-*s %-10d %-*s %-15s\n", b.NodeID, host, b.Host, b.Port, rack, rackOf(b), kind)
		}
		return nil
	}
	s.printf("%-10s %-*s %-10s %-*s %-10s %-15s\n", "ID", host, "HOST", "PORT", rack, "RACK", "STATE", "ENDPOINT_TYPE")
	for _, b := range response.Brokers {
		state := "unfenced"
		if b.IsFenced {
			state = "fenced"
		}
		s.printf("%-10d %-*s %-10d %-*s %-10s %-15s\n", b.NodeID, host, b.Host, b.Port, rack, rackOf(b), state, kind)
	}
	return nil
}

// versions prints what each broker speaks, in the shape of kafka-broker-api-versions:
//
//	127.0.0.1:9092 (id: 1 rack: null isFenced: false) -> (
//		Produce(0): 0 to 13 [usable: 13],
func (s *cluster) versions() error {
	cl, err := s.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	response, err := s.describe(cl)
	if err != nil {
		return err
	}
	slices.SortFunc(response.Brokers, func(a, b kmsg.DescribeClusterResponseBroker) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, b := range response.Brokers {
		request := kmsg.NewPtrApiVersionsRequest()
		request.ClientSoftwareName, request.ClientSoftwareVersion = "millrace", KafkaVersion
		raw, err := cl.Broker(int(b.NodeID)).RetriableRequest(s, request)
		if err != nil {
			return dial.Explain(err)
		}
		keys := raw.(*kmsg.ApiVersionsResponse).ApiKeys
		s.printf("%s:%d (id: %d rack: %s isFenced: %t) -> (\n", b.Host, b.Port, b.NodeID, rackOf(b), b.IsFenced)
		for i, k := range keys {
			separator := ","
			if i == len(keys)-1 {
				separator = ""
			}
			name, usable := kmsg.Key(k.ApiKey).Name(), "UNSUPPORTED"
			if speaks := kmsg.RequestForKey(k.ApiKey); speaks != nil && min(speaks.MaxVersion(), k.MaxVersion) >= k.MinVersion {
				usable = "usable: " + strconv.Itoa(int(min(speaks.MaxVersion(), k.MaxVersion)))
			}
			of := fmt.Sprintf("%d to %d", k.MinVersion, k.MaxVersion)
			if k.MinVersion == k.MaxVersion {
				of = strconv.Itoa(int(k.MinVersion))
			}
			s.printf("\t%s(%d): %s [%s]%s\n", name, k.ApiKey, of, usable, separator)
		}
		s.printf(")\n")
	}
	return nil
}

func rackOf(b kmsg.DescribeClusterResponseBroker) string {
	if b.Rack == nil {
		return "null"
	}
	return *b.Rack
}
