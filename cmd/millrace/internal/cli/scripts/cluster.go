package scripts

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
}

// cluster is one run of kafka-cluster.
type cluster struct {
	*call
	server, controller, file string
	fenced                   bool
	broker                   int32

	brokers     *kgo.Client
	controllers *dial.Controllers // in place of brokers, for --bootstrap-controller
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
	synopsis := "usage: kafka-cluster " + command + " [-h] [--config CONFIG]\n                     [--command-config COMMAND_CONFIG]"
	switch command {
	case "unregister":
		synopsis += " --id ID"
	case "list-endpoints":
		synopsis += " [--include-fenced-brokers]"
	}
	synopsis += "\n                     (--bootstrap-server BOOTSTRAP_SERVER |\n                     --bootstrap-controller BOOTSTRAP_CONTROLLER)"
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
func (s *cluster) open() (err error) {
	if s.controller == "" {
		s.brokers, err = s.client(s.server, s.file)
		return err
	}
	p, err := dial.Load(s.file, s.controller)
	if err == nil {
		s.controllers, err = dial.OpenControllers(p)
	}
	return err
}

func (s *cluster) close() {
	if s.controllers != nil {
		s.controllers.Close()
		return
	}
	s.brokers.Close()
}

// ask sends a request to a broker, or to the active controller.
func (s *cluster) ask(request kmsg.Request) (kmsg.Response, error) {
	if s.controllers != nil {
		return s.controllers.Request(s, request)
	}
	return s.brokers.Request(s, request)
}

// describe asks for the cluster: its brokers, or its controllers when it was reached through one.
func (s *cluster) describe() (*kmsg.DescribeClusterResponse, error) {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.EndpointType = 1
	if s.controller != "" {
		request.EndpointType = 2
	}
	request.IncludeFencedBrokers = s.fenced
	raw, err := s.ask(request)
	if err != nil {
		return nil, dial.Explain(err)
	}
	response := raw.(*kmsg.DescribeClusterResponse)
	return response, dial.Code(response.ErrorCode, response.ErrorMessage)
}

func (s *cluster) id() error {
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	response, err := s.describe()
	if err != nil {
		return err
	}
	s.printf("Cluster ID: %s\n", response.ClusterID)
	return nil
}

func (s *cluster) unregister() error {
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = s.broker
	raw, err := s.ask(request)
	if dial.Unsupported(err) {
		s.printf("The target cluster does not support the broker unregistration API.\n")
		return nil
	}
	if err == nil {
		response := raw.(*kmsg.UnregisterBrokerResponse)
		err = dial.Code(response.ErrorCode, response.ErrorMessage)
	}
	if err != nil {
		return terse("%s", javaError(err))
	}
	s.printf("Broker %d is no longer registered.\n", s.broker)
	return nil
}

func (s *cluster) endpoints() error {
	if s.fenced && s.controller != "" {
		return terse("The option --include-fenced-brokers is only supported with --bootstrap-server option")
	}
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	response, err := s.describe()
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

func rackOf(b kmsg.DescribeClusterResponseBroker) string {
	if b.Rack == nil {
		return "null"
	}
	return *b.Rack
}
