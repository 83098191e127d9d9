package api

import (
	"testing"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func TestInitProducerIDOfTransactions(t *testing.T) {
	g := newGate(t)
	g.o.BrokerConfigs = config.NewTable(BrokerKeys()...)
	id, none := "t", ""
	for _, test := range []struct {
		id      *string
		timeout int32
		want    kafka.ErrorCode
		longest string // transaction.max.timeout.ms, where it is set
	}{
		{&id, 60_000, kafka.NotCoordinator, ""}, {&id, 900_000, kafka.NotCoordinator, ""}, {&id, 900_001, kafka.InvalidTransactionTimeout, ""},
		{&id, 0, kafka.InvalidTransactionTimeout, ""}, {&none, 60_000, kafka.InvalidRequest, ""},
		{&id, 1_000, kafka.NotCoordinator, "1000"}, {&id, 1_001, kafka.InvalidTransactionTimeout, "1000"}, {&id, 900_001, kafka.NotCoordinator, "2000000"},
	} {
		request := wire.NewInitProducerIdRequest()
		request.TransactionalID, request.TransactionTimeoutMs = test.id, test.timeout
		g.o.Static = map[string]string{}
		if test.longest != "" {
			g.o.Static["transaction.max.timeout.ms"] = test.longest
		}
		if got := initProducerID(g.call(5), request).(*wire.InitProducerIdResponse).ErrorCode; got != test.want {
			t.Errorf("%q, timeout %d: %s, want %s", *test.id, test.timeout, got, test.want)
		}
	}
}
