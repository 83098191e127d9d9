package api

import (
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func TestInitProducerIDOfTransactions(t *testing.T) {
	g := newGate(t)
	id, none := "t", ""
	for _, test := range []struct {
		id      *string
		timeout int32
		want    kafka.ErrorCode
	}{
		{&id, 60_000, kafka.NotCoordinator}, {&id, 900_000, kafka.NotCoordinator}, {&id, 900_001, kafka.InvalidTransactionTimeout},
		{&id, 0, kafka.InvalidTransactionTimeout}, {&none, 60_000, kafka.InvalidRequest},
	} {
		request := wire.NewInitProducerIdRequest()
		request.TransactionalID, request.TransactionTimeoutMs = test.id, test.timeout
		if got := initProducerID(g.call(5), request).(*wire.InitProducerIdResponse).ErrorCode; got != test.want {
			t.Errorf("%q, timeout %d: %s, want %s", *test.id, test.timeout, got, test.want)
		}
	}
}
