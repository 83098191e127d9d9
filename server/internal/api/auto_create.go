package api

import (
	"context"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// creations are the topics that the controller was asked for because clients asked for their metadata. A controller that
// cannot be reached is waited for while clients come back again and again: so a topic is asked for by one request at a
// time, and there are no more than creationLimit of these. What is not asked for now is when a client comes back.
type creations struct {
	mu       sync.Mutex
	topics   map[string]chan struct{} // closed when the controller has answered
	requests int
}

const creationLimit = 64

// begin returns those of the topics that nobody has asked for, which the caller now does: it gives them to end, unless
// there are none. The channels are closed when the topics that are asked for, by whomever, are there or refused.
func (c *creations) begin(topics []string) (mine []string, ended []chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	for _, name := range topics {
		if other, ok := c.topics[name]; ok {
			ended = append(ended, other)
		} else if c.requests < creationLimit {
			mine = append(mine, name)
		}
	}
	if len(mine) == 0 {
		return nil, ended
	}
	if c.topics == nil {
		c.topics = make(map[string]chan struct{})
	}
	for _, name := range mine {
		c.topics[name] = done
	}
	c.requests++
	return mine, append(ended, done)
}

func (c *creations) end(mine []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.topics[mine[0]])
	for _, name := range mine {
		delete(c.topics, name)
	}
	c.requests--
}

// autoCreateWait is how long a client waits for a topic that it asked for. It takes some milliseconds, unless there is no
// controller.
const autoCreateWait = time.Second

// autoCreate asks the controller for topics and waits for a while until they are there; the image of the call is then one
// that has them.
func (c *call) autoCreate(topics []string) {
	mine, ended := c.t.creating.begin(topics)
	if len(mine) > 0 {
		c.askForTopics(mine)
	}
	limit := time.NewTimer(autoCreateWait)
	defer limit.Stop()
	for _, done := range ended {
		select {
		case <-done:
		case <-limit.C:
			return
		case <-c.Done():
			return
		}
	}
	c.image = c.t.o.Image()
}

// askForTopics asks the controller for topics, and does not wait for it.
func (c *call) askForTopics(topics []string) {
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
