package api

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// creations are the topics that the controller was asked for because clients asked for their metadata. Clients ask again
// until a topic is there, and a controller that cannot be reached is waited for: so a topic is asked for by one request at
// a time, and there are no more than creationLimit of these. What is not asked for now is when a client comes back.
type creations struct {
	mu       sync.Mutex
	topics   map[string]bool
	requests int
}

const creationLimit = 64

// begin returns those of the topics that nobody has asked for, which the caller now does: it gives them to end, unless
// there are none.
func (c *creations) begin(topics []string) (mine []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == creationLimit {
		return nil
	}
	for _, name := range topics {
		if !c.topics[name] {
			mine = append(mine, name)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	if c.topics == nil {
		c.topics = make(map[string]bool)
	}
	for _, name := range mine {
		c.topics[name] = true
	}
	c.requests++
	return mine
}

func (c *creations) end(mine []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range mine {
		delete(c.topics, name)
	}
	c.requests--
}

// autoCreate asks the controller for topics, and does not wait for it.
func (c *call) autoCreate(topics []string) {
	topics = c.t.creating.begin(topics)
	if len(topics) == 0 {
		return
	}
	request := wire.NewCreateTopicsRequest()
	request.TimeoutMs = 30_000
	for _, name := range topics {
		request.Topics = append(request.Topics, wire.CreateTopicsRequestTopics{Name: name, NumPartitions: -1, ReplicationFactor: -1})
	}
	caller, t := c.caller(), c.t
	go func() {
		defer t.creating.end(topics)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		response, err := t.o.Forwarder.Forward(ctx, caller, request, 7)
		if err != nil {
			t.o.Log.Warn("topics could not be created for a client that asked for them", "err", err)
			return
		}
		for _, one := range response.(*wire.CreateTopicsResponse).Topics {
			switch one.ErrorCode {
			case kafka.None:
				t.o.Log.Info("a topic was created because a client asked for it", "topic", one.Name, "client", caller.Host, "client id", caller.ClientID)
			case kafka.TopicAlreadyExists:
			default:
				t.o.Log.Warn("a topic that a client asked for could not be created", "topic", one.Name, "err", one.ErrorCode)
			}
		}
	}()
}
