package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Groups over HTTP, as JSON:
//
//	GET /groups                 [{"group", "type", "protocolType", "state"}, …]: those that this node coordinates
//	GET /groups/NAME/explain    {"group", "type", "protocolType", "state", "since", "events": [event, …]}
//	  event                     {"at", "event", "text", "cause"?, "epoch", "members"?, "by"?, "member"?,
//	                             "tookMs"?, "waitedMs"?, "wholeMs"?}
//	  member                    {"id", "instanceId"?, "clientId", "host"}
//	errors                      {"error", "code"}: 404 when there is no such group; 503 when this node is not its
//	                            coordinator, or is loading it
//
// The name is one segment of the path: a slash in it is %2F. events are the last ones, the oldest first; text is the
// event in a sentence, event its name for programs (history.Kind), and since from when on the coordinator knows.
func serveGroups(mux *http.ServeMux, groups func() *group.Coordinator) {
	mux.HandleFunc("GET /groups", func(w http.ResponseWriter, r *http.Request) {
		list, err := listGroups(r, groups())
		answer(w, list, err)
	})
	mux.HandleFunc("GET /groups/{group}/explain", func(w http.ResponseWriter, r *http.Request) {
		explanation, err := explainGroup(r, groups())
		answer(w, explanation, err)
	})
}

// groupLine is a group of the list.
type groupLine struct {
	Group        string `json:"group"`
	Type         string `json:"type"`
	ProtocolType string `json:"protocolType"`
	State        string `json:"state"`
}

type groupExplanation struct {
	groupLine
	Since  time.Time    `json:"since"`
	Events []groupEvent `json:"events"`
}

type groupEvent struct {
	At       time.Time    `json:"at"`
	Event    string       `json:"event"`
	Text     string       `json:"text"`
	Cause    string       `json:"cause,omitempty"`
	Epoch    int32        `json:"epoch"`
	Members  int32        `json:"members,omitempty"`
	By       string       `json:"by,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Member   *groupMember `json:"member,omitempty"`
	TookMs   float64      `json:"tookMs,omitempty"`
	WaitedMs float64      `json:"waitedMs,omitempty"`
	WholeMs  float64      `json:"wholeMs,omitempty"`
}

type groupMember struct {
	ID         string `json:"id"`
	InstanceID string `json:"instanceId,omitempty"`
	ClientID   string `json:"clientId"`
	Host       string `json:"host"`
}

func eventOf(e *history.Event) groupEvent {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	one := groupEvent{
		At: e.At.UTC(), Event: e.Kind.String(), Text: e.Sentence(), Epoch: e.Epoch, Members: e.Members, By: e.By,
		Reason: e.Reason, TookMs: ms(e.Took), WaitedMs: ms(e.Waited), WholeMs: ms(e.Whole),
	}
	if e.Cause != history.None {
		one.Cause = e.Cause.String()
	}
	if m := e.Member; m != nil {
		one.Member = &groupMember{m.ID, m.Instance, m.ClientID, m.Host}
	}
	return one
}

// noGroups is the answer of a node that coordinates none: a controller, or one that starts or stops.
var noGroups = kafka.CoordinatorNotAvailable.Errorf("this node coordinates no groups now; ask a broker that serves")

// result is what a coordinator answers with.
type result[T any] struct {
	value T
	err   error
}

// wait waits for an answer for as long as the client does.
func wait[T any](r *http.Request, ask func(done func(T, error))) (T, error) {
	answered := make(chan result[T], 1)
	ask(func(v T, err error) { answered <- result[T]{v, err} })
	select {
	case a := <-answered:
		return a.value, a.err
	case <-r.Context().Done():
		var none T
		return none, r.Context().Err()
	}
}

func listGroups(r *http.Request, c *group.Coordinator) ([]groupLine, error) {
	if c == nil {
		return nil, noGroups
	}
	listed, err := wait(r, func(done func([]wire.ListGroupsResponseGroups, error)) {
		c.ListGroups(&wire.ListGroupsRequest{}, done)
	})
	lines := []groupLine{}
	for _, g := range listed {
		lines = append(lines, groupLine{g.GroupID, g.GroupType, g.ProtocolType, g.GroupState})
	}
	return lines, err
}

func explainGroup(r *http.Request, c *group.Coordinator) (*groupExplanation, error) {
	if c == nil {
		return nil, noGroups
	}
	e, err := wait(r, func(done func(*group.Explanation, error)) { c.Explain(r.PathValue("group"), done) })
	if err != nil {
		return nil, err
	}
	explanation := &groupExplanation{groupLine{e.Group, e.Kind, e.ProtocolType, e.State}, e.Since.UTC(), []groupEvent{}}
	for i := range e.Events {
		explanation.Events = append(explanation.Events, eventOf(&e.Events[i]))
	}
	return explanation, nil
}

// answer answers in JSON.
func answer(w http.ResponseWriter, object any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusServiceUnavailable
		if kafka.CodeOf(err) == kafka.GroupIDNotFound {
			status = http.StatusNotFound
		}
		object = map[string]string{"error": err.Error(), "code": fmt.Sprint(kafka.CodeOf(err))}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(object) // an error is that of a client that went away
}
