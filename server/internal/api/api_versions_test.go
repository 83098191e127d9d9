package api

import (
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func TestAPIVersionsOfANode(t *testing.T) {
	g := newGate(t)
	mine, other := "a-cluster", "another"
	for _, test := range []struct {
		cluster *string
		node    int32
		name    string
		want    kafka.ErrorCode
	}{
		{nil, -1, "x", kafka.None}, {&mine, 1, "x", kafka.None}, {&mine, -1, "x", kafka.InvalidRequest}, {nil, 1, "x", kafka.InvalidRequest},
		{&other, 1, "x", kafka.RebootstrapRequired}, {&mine, 2, "x", kafka.RebootstrapRequired}, {&other, 1, "", kafka.InvalidRequest},
	} {
		request := wire.NewApiVersionsRequest()
		request.ClientSoftwareName, request.ClientSoftwareVersion, request.ClusterID, request.NodeID = test.name, "1", test.cluster, test.node
		if got := apiVersions(g.call(5), request).(*wire.ApiVersionsResponse).ErrorCode; got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
