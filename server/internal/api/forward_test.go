package api

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
)

// carrier is a controller that answers what it is told, or is not there.
type carrier struct {
	mu     sync.Mutex
	answer wire.Message
	err    error

	caller  controller.Caller
	request wire.Message
	version int16
}

func (c *carrier) Forward(_ context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caller, c.request, c.version = caller, request, version
	return c.answer, c.err
}

func (c *carrier) says(answer wire.Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer, c.err = answer, err
	c.request = nil
}

// asked reports whether a request was carried since it was told what to say.
func (c *carrier) asked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request != nil
}

// forwarded are a request of each kind that a gate carries, and what its answer says of a controller that cannot be
// reached: the place of the error is another in each.
func forwarded() []struct {
	request  wire.Message
	response func() wire.Message
	refused  wire.Message
} {
	name, other, id := "a", "b", kafka.TopicID{15: 9}
	code, why := kafka.NotController, "nobody leads"
	created := wire.NewCreateTopicsResponseTopics()
	created.Name, created.ErrorCode, created.ErrorMessage = name, code, &why
	created.Configs = []wire.CreateTopicsResponseConfigs{}
	createTopics := wire.NewCreateTopicsResponse()
	createTopics.Topics = []wire.CreateTopicsResponseTopics{created}
	deleteTopics := wire.NewDeleteTopicsResponse()
	deleteTopics.Responses = []wire.DeleteTopicsResponseResponses{{Name: &other, ErrorCode: code, ErrorMessage: &why}, {TopicID: id, ErrorCode: code, ErrorMessage: &why}}
	createPartitions := wire.NewCreatePartitionsResponse()
	createPartitions.Results = []wire.CreatePartitionsResponseResults{{Name: name, ErrorCode: code, ErrorMessage: &why}}
	alterConfigs := wire.NewAlterConfigsResponse()
	alterConfigs.Responses = []wire.AlterConfigsResponseResponses{{ResourceType: 2, ResourceName: name, ErrorCode: code, ErrorMessage: &why}}
	incremental := wire.NewIncrementalAlterConfigsResponse()
	incremental.Responses = []wire.IncrementalAlterConfigsResponseResponses{{ResourceType: 4, ResourceName: "1", ErrorCode: code, ErrorMessage: &why}}
	elect := wire.NewElectLeadersResponse()
	elect.ErrorCode = code
	elect.ReplicaElectionResults = []wire.ElectLeadersResponseReplicaElectionResults{{Topic: name, PartitionResult: []wire.ElectLeadersResponsePartitionResult{{PartitionID: 3, ErrorCode: code, ErrorMessage: &why}}}}
	features := wire.NewUpdateFeaturesResponse()
	features.ErrorCode, features.ErrorMessage = code, &why
	unregister := wire.NewUnregisterBrokerResponse()
	unregister.ErrorCode, unregister.ErrorMessage = code, &why
	registration := wire.NewBrokerRegistrationResponse()
	registration.ErrorCode = code
	heartbeat := wire.NewBrokerHeartbeatResponse()
	heartbeat.ErrorCode = code
	ids := wire.NewAllocateProducerIdsResponse()
	ids.ErrorCode = code
	alter := wire.NewAlterPartitionResponse()
	alter.ErrorCode = code
	assign := wire.NewAssignReplicasToDirsResponse()
	assign.ErrorCode = code
	return []struct {
		request  wire.Message
		response func() wire.Message
		refused  wire.Message
	}{
		{&wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: name, NumPartitions: 1, ReplicationFactor: 1}}, TimeoutMs: 1}, func() wire.Message { return wire.NewCreateTopicsResponse() }, createTopics},
		{&wire.DeleteTopicsRequest{Topics: []wire.DeleteTopicsRequestTopics{{Name: &other}, {TopicID: id}}, TimeoutMs: 1}, func() wire.Message { return wire.NewDeleteTopicsResponse() }, deleteTopics},
		{&wire.CreatePartitionsRequest{Topics: []wire.CreatePartitionsRequestTopics{{Name: name, Count: 2}}, TimeoutMs: 1}, func() wire.Message { return wire.NewCreatePartitionsResponse() }, createPartitions},
		{&wire.AlterConfigsRequest{Resources: []wire.AlterConfigsRequestResources{{ResourceType: 2, ResourceName: name}}}, func() wire.Message { return wire.NewAlterConfigsResponse() }, alterConfigs},
		{&wire.IncrementalAlterConfigsRequest{Resources: []wire.IncrementalAlterConfigsRequestResources{{ResourceType: 4, ResourceName: "1"}}}, func() wire.Message { return wire.NewIncrementalAlterConfigsResponse() }, incremental},
		{&wire.ElectLeadersRequest{TopicPartitions: []wire.ElectLeadersRequestTopicPartitions{{Topic: name, Partitions: []int32{3}}}, TimeoutMs: 1}, func() wire.Message { return wire.NewElectLeadersResponse() }, elect},
		{&wire.UpdateFeaturesRequest{}, func() wire.Message { return wire.NewUpdateFeaturesResponse() }, features},
		{&wire.UnregisterBrokerRequest{BrokerID: 7}, func() wire.Message { return wire.NewUnregisterBrokerResponse() }, unregister},
		{&wire.BrokerRegistrationRequest{BrokerID: 7}, func() wire.Message { return wire.NewBrokerRegistrationResponse() }, registration},
		{&wire.BrokerHeartbeatRequest{BrokerID: 7}, func() wire.Message { return wire.NewBrokerHeartbeatResponse() }, heartbeat},
		{&wire.AllocateProducerIdsRequest{BrokerID: 7}, func() wire.Message { return wire.NewAllocateProducerIdsResponse() }, ids},
		{&wire.AlterPartitionRequest{BrokerID: 7}, func() wire.Message { return wire.NewAlterPartitionResponse() }, alter},
		{&wire.AssignReplicasToDirsRequest{BrokerID: 7}, func() wire.Message { return wire.NewAssignReplicasToDirsResponse() }, assign},
	}
}

// Whoever carries a request says who asked, in which version, and hands the answer over as it is; and when nobody can be
// reached, each answer says so where its clients look.
func TestForward(t *testing.T) {
	for _, test := range forwarded() {
		info := test.request.Info()
		t.Run(info.Name, func(t *testing.T) {
			for _, of := range []func(Options) *Table{New, NewController} {
				g := newGate(t)
				c := &carrier{}
				g.o.Forwarder = c
				table := of(g.o)
				if table.handlers[info.Type] == nil { // what brokers ask is answered by controllers alone
					continue
				}
				ask := g.serve(table)
				for version := info.MinVersion; version <= info.MaxVersion; version++ {
					if info.Name == "DeleteTopicsRequest" && version < 6 {
						continue
					}
					check := func(what string, want wire.Message) {
						t.Helper()
						got := test.response()
						if err := ask(test.request, got, version); err != nil {
							t.Fatalf("version %d: %s: %v", version, what, err)
						}
						if a, b := got.AppendTo(nil, version), want.AppendTo(nil, version); !bytes.Equal(a, b) {
							t.Errorf("version %d: %s: %+v, want %+v", version, what, got, want)
						}
						c.mu.Lock()
						defer c.mu.Unlock()
						if c.version != version || c.caller.Principal != "User:ANONYMOUS" || !bytes.Equal(c.request.AppendTo(nil, version), test.request.AppendTo(nil, version)) {
							t.Errorf("version %d: carried %+v of version %d for %+v", version, c.request, c.version, c.caller)
						}
					}
					c.says(nil, kafka.NotController.Errorf("nobody leads"))
					check("nobody leads", test.refused)
					answer := test.response()
					c.says(answer, nil)
					check("an answer", answer)
				}
			}
		})
	}
}

// Below version 6 topics to delete are named, no more.
func TestForwardDeleteTopicsByName(t *testing.T) {
	g := newGate(t)
	g.o.Forwarder = &carrier{err: kafka.RequestTimedOut}
	response := deleteTopics(g.call(5), &wire.DeleteTopicsRequest{TopicNames: []string{"a", "b"}}).(*wire.DeleteTopicsResponse)
	if len(response.Responses) != 2 || *response.Responses[0].Name != "a" || *response.Responses[1].Name != "b" || response.Responses[1].ErrorCode != kafka.RequestTimedOut {
		t.Errorf("%+v", response.Responses)
	}
}

// Who gives a request no time hears so for all that it asks, and nothing is done. A request that names everything twice is
// refused for that before.
func TestForwardWithoutTime(t *testing.T) {
	g := newGate(t)
	c := &carrier{}
	g.o.Forwarder = c
	ask := g.serve(New(g.o))
	name, other, id := "a", "b", kafka.TopicID{15: 9}
	for _, test := range []struct {
		what              string
		request, response wire.Message
		version           int16
		late              int // how many answers say so; 0: the controller answers
	}{
		{"create", &wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: name}, {Name: other}, {Name: name}}}, wire.NewCreateTopicsResponse(), 7, 3},
		{"create one twice", &wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: name}, {Name: name}}}, wire.NewCreateTopicsResponse(), 7, 0},
		{"create nothing", &wire.CreateTopicsRequest{}, wire.NewCreateTopicsResponse(), 7, 0},
		{"create the log of metadata", &wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: kafka.MetadataTopic}}}, wire.NewCreateTopicsResponse(), 7, 0},
		{"create before", &wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: name}}, TimeoutMs: -5}, wire.NewCreateTopicsResponse(), 2, 1},
		{"delete", &wire.DeleteTopicsRequest{TopicNames: []string{name, other}}, wire.NewDeleteTopicsResponse(), 1, 2},
		{"delete by id", &wire.DeleteTopicsRequest{Topics: []wire.DeleteTopicsRequestTopics{{TopicID: id}}}, wire.NewDeleteTopicsResponse(), 6, 1},
		{"delete one twice", &wire.DeleteTopicsRequest{Topics: []wire.DeleteTopicsRequestTopics{{Name: &name}, {Name: &name}}}, wire.NewDeleteTopicsResponse(), 6, 0},
		{"create partitions", &wire.CreatePartitionsRequest{Topics: []wire.CreatePartitionsRequestTopics{{Name: name}}}, wire.NewCreatePartitionsResponse(), 3, 1},
		{"elect", &wire.ElectLeadersRequest{TopicPartitions: []wire.ElectLeadersRequestTopicPartitions{{Topic: name, Partitions: []int32{0, 1}}}}, wire.NewElectLeadersResponse(), 0, 2},
		{"elect all", &wire.ElectLeadersRequest{}, wire.NewElectLeadersResponse(), 2, 1},
	} {
		c.says(nil, kafka.NotController.Errorf("nobody leads"))
		if err := ask(test.request, test.response, test.version); err != nil {
			t.Fatal(err)
		}
		if carried := c.asked(); carried != (test.late == 0) {
			t.Errorf("%s: carried to the controller: %v", test.what, carried)
		}
		late := 0
		count := func(code kafka.ErrorCode, message *string) {
			if code == kafka.RequestTimedOut && message == nil {
				late++
			}
		}
		switch r := test.response.(type) {
		case *wire.CreateTopicsResponse:
			for _, one := range r.Topics {
				count(one.ErrorCode, one.ErrorMessage)
			}
		case *wire.DeleteTopicsResponse:
			for _, one := range r.Responses {
				count(one.ErrorCode, one.ErrorMessage)
			}
		case *wire.CreatePartitionsResponse:
			for _, one := range r.Results {
				count(one.ErrorCode, one.ErrorMessage)
			}
		case *wire.ElectLeadersResponse:
			count(r.ErrorCode, nil)
			for _, topic := range r.ReplicaElectionResults {
				for _, one := range topic.PartitionResult {
					count(one.ErrorCode, one.ErrorMessage)
				}
			}
		}
		if late != test.late {
			t.Errorf("%s: %d answers are REQUEST_TIMED_OUT, want %d", test.what, late, test.late)
		}
	}
	g.o.Static = map[string]string{"delete.topic.enable": "false"}
	deleteTopics(g.call(1), &wire.DeleteTopicsRequest{TopicNames: []string{name}})
	if !c.asked() {
		t.Error("that no topic is deleted is for the controller to say, however late it is")
	}
}
